"""Campaigns from approval to the end: who may, what stops, what resumes, and that nobody is written to twice."""

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from email import message_from_bytes, policy
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from filelock import FileLock
from sqlalchemy import Row, select, update

from mmcampaign.campaigns import approve, cancel, reject, resolve
from mmcampaign.delivery import FileOptions
from mmcampaign.delivery.file import FileBackend
from mmcampaign.errors import InputError, RefusedError, UnavailableError
from mmcampaign.history import campaign_list, sends, show
from mmcampaign.model import Batch, CampaignState, MessageStatus, Outcome, Receipt
from mmcampaign.planning import PlanRequest, plan
from mmcampaign.sending import FAILURES_IN_A_ROW, Run, SendRequest, send
from mmcampaign.store import audit, outbox
from mmcampaign.store.campaigns import Campaign, count_exclusions
from mmcampaign.store.engine import Store
from mmcampaign.store.history import HistoryFilter
from mmcampaign.store.tables import campaigns, messages
from mmcampaign.testing import MemoryBackend
from tests.builders import (
    NOW,
    TODAY,
    certified,
    make_candidate,
    make_course,
    make_enrollment,
    make_learner,
    make_program,
)
from tests.worlds import (
    Clock,
    Scripted,
    TestApp,
    fill,
    make_app,
    on_sqlite,
    people,
    suppress,
    with_policy,
    with_program,
    write_template,
)

S, M = CampaignState, MessageStatus


def address(number: int) -> str:
    return f"learner{number}@mail.example"


def planned(app: TestApp, **request: Any) -> Campaign:
    return plan(
        app, PlanRequest(**{"program": "river", "name": "June", **request}), lambda _connection, _campaign: None
    )


def approved(app: TestApp, **request: Any) -> Campaign:
    return approve(app, planned(app, **request).id)


def go(app: TestApp, campaign: Campaign, **request: Any) -> tuple[Campaign, Run]:
    """Send, confirming whatever is asked; waiting moves the clock."""
    stop = request.pop("stop", None) or app.clock
    confirm = request.pop("confirm", lambda _campaign, _number: None)
    return send(app, SendRequest(campaign=campaign.id, **request), confirm=confirm, stop=stop)


def open_counts(campaign: Campaign) -> dict[str, int]:
    assert sum(campaign.ledger.values()) == campaign.chosen
    return {status: number for status, number in campaign.ledger.items() if number}


def rows(app: TestApp, campaign: Campaign) -> list[Row[Any]]:
    with app.store.read() as connection:
        found = select(messages).where(messages.c.campaign_id == campaign.id).order_by("learner_id")
        return list(connection.execute(found))


def acts(app: TestApp) -> list[str]:
    with app.store.read() as connection:
        assert audit.first_broken(connection) is None
        return [entry["act"] for entry in audit.entries(connection)]


@pytest.fixture
def make(store: Store, tmp_path: Path) -> Callable[..., TestApp]:
    """An installation with so many audit passers."""

    def build(number: int = 5, *programs: Any, backend: Any = None) -> TestApp:
        fill(store, people(number))
        return make_app(store, tmp_path, *programs, backend=backend)

    return build


# --- approval -------------------------------------------------------------------------------------------------------


def test_approval_is_written_down(make: Callable[..., TestApp]):
    app = make()
    done = approve(app, planned(app).id, by="lee", note="read with Kim")
    assert (done.state, done.approved_by, done.approved_at, done.note) == (S.APPROVED, "lee", NOW, "read with Kim")
    assert acts(app) == ["planned", "approved"]


@on_sqlite
@pytest.mark.parametrize(
    ("by", "fine"),
    [("lee", True), ("kim", False), ("", False)],
    ids=["somebody else", "the planner by name", "the planner"],
)
def test_a_second_person_approves_where_the_policy_asks_for_one(make: Callable[..., TestApp], by: str, fine: bool):
    app = make()
    campaign = planned(app)
    careful = with_policy(app, approval="second-person")
    if fine:
        assert approve(careful, campaign.id, by=by).state is S.APPROVED
        return
    with pytest.raises(RefusedError, match="somebody else must approve") as raised:
        approve(careful, campaign.id, by=by)
    assert "policy.approval" in raised.value.todo
    assert campaign_list(app, campaign.id) == [campaign]


@on_sqlite
def test_a_campaign_without_recipients_cannot_be_approved(make: Callable[..., TestApp]):
    app = make(3)
    campaign = planned(app, holdout_percent=100.0)
    with pytest.raises(RefusedError, match="no recipients"):
        approve(app, campaign.id)
    assert campaign_list(app, campaign.id)[0].state is S.PLANNED


@on_sqlite
def test_nobody_approves_twice(make: Callable[..., TestApp]):
    app = make()
    campaign = approved(app)
    with pytest.raises(RefusedError, match="is approved, so it cannot become approved"):
        approve(app, campaign.id)


@on_sqlite
@pytest.mark.parametrize("act", [approve, reject, cancel, lambda app, campaign: resolve(app, campaign, "failed")])
def test_a_campaign_that_does_not_exist(make: Callable[..., TestApp], act: Any):
    with pytest.raises(InputError, match="no campaign 99"):
        act(make(), 99)


@on_sqlite
def test_rejecting_frees_the_learners(make: Callable[..., TestApp]):
    app = make()
    done = reject(app, planned(app).id, by="lee", note="wrong deadline")
    assert done.state is S.CANCELLED
    assert open_counts(done) == {"cancelled": 5}
    assert approved(app).chosen == 5
    with pytest.raises(RefusedError, match="only a planned one"):
        reject(app, done.id)


@on_sqlite
def test_only_a_planned_campaign_is_rejected(make: Callable[..., TestApp]):
    app = make()
    campaign = approved(app)
    with pytest.raises(RefusedError, match="is approved; only a planned one"):
        reject(app, campaign.id)
    assert campaign_list(app, campaign.id) == [campaign]


# --- sending --------------------------------------------------------------------------------------------------------


def test_a_whole_campaign(make: Callable[..., TestApp]):
    backend = MemoryBackend(batch_size=2)
    app = make(5, backend=backend)
    done, run = go(app, approved(app))
    assert (done.state, open_counts(done), done.unfinished) == (S.FINISHED, {"accepted": 5}, False)
    assert (run.total, run.done, run.trouble, run.interrupted) == (5, 5, "", False)
    assert (done.started_at, done.finished_at, done.backend) == (NOW, NOW, "memory")
    assert sorted(message.to_email for message in backend.taken) == [address(number) for number in range(1, 6)]
    assert [len(batch.messages) for batch in backend.batches] == [2, 2, 1]
    assert backend.closed == 1
    assert acts(app) == ["planned", "approved", "sending", "finished"]


def test_what_is_handed_over_is_the_persons_own_mail(make: Callable[..., TestApp]):
    backend = MemoryBackend()
    app = make(2, backend=backend)
    go(app, approved(app))
    for message, row in zip(backend.taken, rows(app, campaign_list(app)[0]), strict=True):
        parsed = message_from_bytes(message.eml, policy=policy.default)
        assert parsed["To"].addresses[0].addr_spec == row.email
        assert parsed["X-MMCampaign-Message"] == row.message_id
        [text] = [part.get_content() for part in parsed.walk() if part.get_content_type() == "text/plain"]
        assert f"Dear Ana{row.learner_id} Pine" in text
        assert row.unsubscribe_url in text
        assert hashlib.sha256(message.eml).hexdigest() == row.digest


def test_a_second_send_sends_nothing(make: Callable[..., TestApp]):
    backend = MemoryBackend()
    app = make(backend=backend)
    campaign = approved(app)
    first, _ = go(app, campaign)
    again, run = go(app, campaign)
    assert again == first
    assert (run.total, run.done) == (0, 0)
    assert len(backend.taken) == 5
    assert acts(app).count("finished") == 1


@on_sqlite
@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        pytest.param(planned, "planned but not approved", id="not approved"),
        pytest.param(lambda app: cancel(app, approved(app).id), "was cancelled", id="cancelled"),
    ],
)
def test_refused_states(make: Callable[..., TestApp], prepare: Any, said: str):
    backend = MemoryBackend()
    app = make(backend=backend)
    campaign = prepare(app)
    with pytest.raises(RefusedError, match=said):
        go(app, campaign)
    assert backend.batches == []
    assert backend.closed == 1
    assert campaign_list(app, campaign.id) == [campaign]


@on_sqlite
def test_without_a_yes_nothing_happens(make: Callable[..., TestApp]):
    backend = MemoryBackend()
    app = make(backend=backend)
    campaign = approved(app)
    asked: list[tuple[int, int]] = []

    def refuse(row: Campaign, number: int) -> None:
        asked.append((row.id, number))
        raise RefusedError("Not confirmed.")

    with pytest.raises(RefusedError, match="Not confirmed"):
        go(app, campaign, confirm=refuse, limit=3)
    assert asked == [(campaign.id, 3)]
    assert backend.batches == []
    assert campaign_list(app, campaign.id) == [campaign]


@on_sqlite
def test_what_drifted_since_the_approval_is_refused(make: Callable[..., TestApp], tmp_path: Path):
    backend = MemoryBackend()
    app = make(backend=backend)
    campaign = approved(app)
    write_template(tmp_path, "river/subject.txt", "Something else")
    with pytest.raises(RefusedError) as raised:
        go(app, campaign)
    assert raised.value.facts == ("template river/subject.txt was edited",)
    assert backend.batches == []
    assert campaign_list(app, campaign.id) == [campaign]


@on_sqlite
def test_links_without_a_secret_key_go_to_files_only(make: Callable[..., TestApp]):
    app = make()
    app = replace(app, settings=replace(app.settings, secrets=replace(app.settings.secrets, secret_key="")))
    campaign = approved(app)

    class Smtp(MemoryBackend):
        name = "smtp"

    with pytest.raises(RefusedError, match="without a secret key"):
        go(replace(app, swapped=Smtp()), campaign)
    done, _ = go(app, campaign, backend="file")
    assert (done.state, done.backend) == (S.FINISHED, "file")


def test_a_limit_sends_so_many_now_and_the_rest_later(make: Callable[..., TestApp]):
    backend = MemoryBackend(batch_size=3)
    app = make(7, backend=backend)
    campaign = approved(app)
    part, run = go(app, campaign, limit=4)
    assert (part.state, open_counts(part), part.unfinished) == (S.SENDING, {"pending": 3, "accepted": 4}, True)
    assert run.total == run.done == 4
    whole, run = go(app, campaign, limit=100)
    assert (whole.state, open_counts(whole), run.total) == (S.FINISHED, {"accepted": 7}, 3)
    assert Counter(message.to_email for message in backend.taken).most_common(1)[0][1] == 1
    assert whole.started_at == part.started_at


def test_the_stop_event_ends_after_what_is_in_flight(make: Callable[..., TestApp]):
    stop = Clock()
    backend = Scripted({}, batch_size=2)
    backend.on_batch = stop.set
    app = make(5, backend=backend)
    campaign = approved(app)
    part, run = go(app, campaign, stop=stop)
    assert (part.state, open_counts(part), run.interrupted) == (S.SENDING, {"pending": 3, "accepted": 2}, True)
    assert acts(app)[-1] == "stopped part-way"
    backend.on_batch = lambda: None
    whole, run = go(app, campaign)
    assert (whole.state, open_counts(whole), run.interrupted) == (S.FINISHED, {"accepted": 5}, False)


def test_only_one_process_sends_from_a_sqlite_file(sqlite_url: str, tmp_path: Path):
    from mmcampaign.store.engine import open_store

    store = open_store(sqlite_url)
    fill(store, people(2))
    backend = MemoryBackend()
    app = make_app(store, tmp_path, backend=backend)
    campaign = approved(app)
    with FileLock(f"{store.path}-sender.lock"), pytest.raises(UnavailableError, match="Another mmcampaign is sending"):
        go(app, campaign)
    assert backend.batches == []
    assert go(app, campaign)[0].state is S.FINISHED
    store.close()


# --- answers --------------------------------------------------------------------------------------------------------

DOWN = Receipt(message_id="", outcome=Outcome.NOT_TAKEN, error="connection refused", halt=True)


@on_sqlite
@pytest.mark.parametrize(
    ("steps", "status", "attempts", "handed_over"),
    [
        pytest.param([Outcome.ACCEPTED], M.ACCEPTED, 1, 1, id="accepted"),
        pytest.param([Outcome.FAILED], M.FAILED, 1, 1, id="refused for good"),
        pytest.param([Outcome.UNKNOWN], M.UNKNOWN, 1, 1, id="in doubt: never again by itself"),
        pytest.param([Outcome.NOT_TAKEN], M.ACCEPTED, 2, 2, id="not taken, then accepted"),
        pytest.param([Outcome.NOT_TAKEN] * 4, M.ACCEPTED, 5, 5, id="accepted at the last try"),
        pytest.param([Outcome.NOT_TAKEN] * 9, M.FAILED, 5, 5, id="not taken too often"),
        pytest.param([Outcome.NOT_TAKEN, Outcome.UNKNOWN], M.UNKNOWN, 2, 2, id="not taken, then in doubt"),
    ],
)
def test_answers(
    make: Callable[..., TestApp], steps: list[Any], status: MessageStatus, attempts: int, handed_over: int
):
    backend = Scripted({address(2): steps}, batch_size=2)
    app = make(3, backend=backend)
    done, _ = go(app, approved(app))
    row = rows(app, done)[1]
    assert (row.status, row.attempts) == (status, attempts)
    assert backend.handed_over.count(address(2)) == handed_over
    assert open_counts(done) == ({"accepted": 3} if status is M.ACCEPTED else {"accepted": 2, status.value: 1})
    assert done.state is (S.SENDING if status is M.UNKNOWN else S.FINISHED)
    assert done.unfinished is (status is M.UNKNOWN)


@on_sqlite
def test_a_message_put_back_waits_its_time(make: Callable[..., TestApp]):
    app = make(1, backend=Scripted({address(1): [Outcome.NOT_TAKEN, Outcome.NOT_TAKEN]}))
    done, _ = go(app, approved(app))
    assert open_counts(done) == {"accepted": 1}
    assert app.clock() >= NOW + timedelta(seconds=2 + 8)


def test_a_service_that_is_down_pauses_the_campaign_and_costs_no_attempt(make: Callable[..., TestApp]):
    backend = Scripted({address(number): [DOWN] for number in (3, 4)}, batch_size=2)
    app = make(6, backend=backend)
    campaign = approved(app)
    done, run = go(app, campaign)
    assert (done.state, open_counts(done)) == (S.PAUSED, {"accepted": 2, "pending": 4})
    assert run.trouble == "connection refused"
    assert [row.attempts for row in rows(app, done)] == [1, 1, 0, 0, 0, 0]
    assert acts(app)[-1] == "paused"
    again, run = go(app, campaign)
    assert (again.state, open_counts(again), run.trouble) == (S.FINISHED, {"accepted": 6}, "")
    assert len(backend.taken) == 6


@on_sqlite
@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.UNKNOWN])
def test_many_failures_in_a_row_pause_the_campaign(make: Callable[..., TestApp], outcome: Outcome):
    """In doubt counts as well: a service that never answers must not leave everybody in doubt."""
    backend = Scripted({address(number): [outcome] for number in range(1, 100)}, batch_size=5)
    app = make(40, backend=backend)
    done, run = go(app, approved(app))
    assert FAILURES_IN_A_ROW == 25
    assert (done.state, open_counts(done)) == (S.PAUSED, {outcome.value: 25, "pending": 15})
    assert run.trouble.startswith("25 messages in a row were not accepted, the last: The memory backend answered")


@on_sqlite
def test_failures_with_an_acceptance_between_them_do_not_pause(make: Callable[..., TestApp]):
    backend = Scripted({address(number): [Outcome.FAILED] for number in range(1, 41) if number % 20}, batch_size=5)
    app = make(40, backend=backend)
    done, run = go(app, approved(app))
    assert (done.state, open_counts(done), run.trouble) == (S.FINISHED, {"failed": 38, "accepted": 2}, "")


@on_sqlite
def test_messages_put_back_do_not_hide_failures(make: Callable[..., TestApp]):
    script: dict[str, Any] = {address(number): [Outcome.FAILED] for number in range(1, 60)}
    script |= {address(number): [Outcome.NOT_TAKEN, Outcome.FAILED] for number in range(1, 60, 5)}
    app = make(59, backend=Scripted(script, batch_size=5))
    done, run = go(app, approved(app))
    assert done.state is S.PAUSED
    assert run.failures_in_a_row >= 25


@pytest.mark.parametrize("raised", [RuntimeError("a bug"), KeyboardInterrupt()], ids=["a bug", "Ctrl-C twice"])
def test_a_backend_that_raises_leaves_its_batch_in_doubt(make: Callable[..., TestApp], raised: Any):
    backend = Scripted({address(4): [raised]}, batch_size=3)
    app = make(8, backend=backend)
    campaign = approved(app)
    with pytest.raises(type(raised)):
        go(app, campaign)
    assert [row.status for row in rows(app, campaign)] == [M.ACCEPTED] * 3 + [M.UNKNOWN] * 3 + [M.PENDING] * 2
    assert backend.closed == 1
    [part] = campaign_list(app, campaign.id)
    assert (part.state, part.unfinished) == (S.SENDING, True)
    backend.script.clear()
    done, _ = go(app, campaign)
    assert open_counts(done) == {"accepted": 5, "unknown": 3}
    assert max(Counter(backend.handed_over).values()) == 1


def test_a_backend_that_raises_but_keeps_a_record_leaves_no_doubt(make: Callable[..., TestApp]):
    app = make(4)

    class Breaking(FileBackend):
        """Writes one file of the batch, then breaks."""

        def deliver(self, batch: Batch) -> list[Receipt]:
            super().deliver(replace(batch, messages=batch.messages[:1]))
            raise RuntimeError("a bug")

    campaign = approved(app)
    with pytest.raises(RuntimeError):
        go(replace(app, swapped=Breaking(FileOptions(dir=app.settings.delivery.file.dir))), campaign)
    first, *others = rows(app, campaign)
    assert (first.status, first.attempts, first.sent_at) == (M.ACCEPTED, 1, NOW)
    assert {(row.status, row.attempts) for row in others} == {(M.PENDING, 0)}
    done, _ = go(app, campaign, backend="file")
    assert (done.state, open_counts(done)) == (S.FINISHED, {"accepted": 4})
    assert show(app, first.message_id).reproduced


@on_sqlite
def test_a_backend_that_forgets_an_answer_leaves_it_in_doubt(make: Callable[..., TestApp]):
    class Forgetful(MemoryBackend):
        def deliver(self, batch: Any) -> list[Receipt]:
            return super().deliver(batch)[:-1]

    app = make(3, backend=Forgetful())
    done, _ = go(app, approved(app))
    assert open_counts(done) == {"accepted": 2, "unknown": 1}


@on_sqlite
def test_a_message_that_cannot_be_composed_fails_alone(make: Callable[..., TestApp]):
    backend = MemoryBackend()
    app = make(3, backend=backend)
    campaign = approved(app)
    with app.store.write() as connection:
        connection.execute(
            update(messages).where(messages.c.learner_id == 2).values(unsubscribe_url="javascript:alert(1)")
        )
    done, _ = go(app, campaign)
    assert open_counts(done) == {"accepted": 2, "failed": 1}
    assert [message.to_email for message in backend.taken] == [address(1), address(3)]
    with pytest.raises(UnavailableError, match="cannot be shown"):
        show(app, rows(app, done)[1].message_id)


@on_sqlite
def test_a_batch_of_which_nothing_can_be_composed_is_not_handed_over(make: Callable[..., TestApp]):
    backend = MemoryBackend()
    app = make(2, backend=backend)
    campaign = approved(app)
    with app.store.write() as connection:
        connection.execute(update(messages).values(unsubscribe_url="javascript:alert(1)"))
    done, _ = go(app, campaign)
    assert open_counts(done) == {"failed": 2}
    assert backend.batches == []


# --- the late check -------------------------------------------------------------------------------------------------


def test_who_unsubscribes_before_the_send_is_not_mailed_and_stops_nobody_else(make: Callable[..., TestApp]):
    backend = MemoryBackend()
    app = make(4, backend=backend)
    campaign = approved(app)
    with app.store.write() as connection:
        suppress(connection, address(2))
    done, run = go(app, campaign)
    assert (done.state, open_counts(done)) == (S.FINISHED, {"accepted": 3, "suppressed": 1})
    assert run.total == 3
    assert address(2) not in [message.to_email for message in backend.taken]


def test_who_unsubscribes_during_the_send_is_not_mailed(make: Callable[..., TestApp]):
    backend = Scripted({}, batch_size=1)
    app = make(4, backend=backend)
    campaign = approved(app)

    def unsubscribe() -> None:
        with app.store.write() as connection:
            suppress(connection, address(3))

    backend.on_batch = unsubscribe
    done, _ = go(app, campaign)
    assert (done.state, open_counts(done)) == (S.FINISHED, {"accepted": 3, "suppressed": 1})
    assert backend.handed_over == [address(1), address(2), address(4)]


def test_after_the_deadline_nothing_is_sent_and_the_campaign_is_finished(make: Callable[..., TestApp]):
    backend = MemoryBackend()
    program = make_program(make_course(1, upgrade_deadline=TODAY))
    app = make(3, program, backend=backend)
    campaign = approved(app)
    tomorrow = replace(app, fixed_today=TODAY + timedelta(days=1))
    done, run = go(tomorrow, campaign)
    assert (done.state, open_counts(done), run.total) == (S.FINISHED, {"cancelled": 3}, 0)
    assert backend.batches == []
    assert acts(app)[-1] == "finished"


def test_a_paused_campaign_whose_rest_unsubscribed_is_finished(make: Callable[..., TestApp]):
    app = make(2, backend=Scripted({address(1): [DOWN], address(2): [DOWN]}))
    campaign = approved(app)
    assert go(app, campaign)[0].state is S.PAUSED
    with app.store.write() as connection:
        for number in (1, 2):
            suppress(connection, address(number))
    done, _ = go(app, campaign)
    assert (done.state, open_counts(done)) == (S.FINISHED, {"suppressed": 2})


# --- interruption ---------------------------------------------------------------------------------------------------


def kill_during(app: TestApp, campaign: Campaign, *, provider: str = "memory", hand_over: bool = False) -> list[Any]:
    """Leave two messages as a killed process does: claimed, with or without the hand-over, nothing recorded."""
    go(app, campaign, limit=1, backend="" if provider == "memory" else provider)
    with app.store.write() as connection:
        claimed = outbox.claim(connection, campaign.id, size=2, by="dead:1", provider=provider, now=app.clock())
    if hand_over:
        folder = app.settings.delivery.file.dir / str(campaign.id)
        (folder / f"{claimed[0].message_id}.eml").write_bytes(b"Subject: handed over\r\n\r\n")
    return claimed


def test_messages_left_behind_are_in_doubt_and_never_sent_again(make: Callable[..., TestApp]):
    backend = MemoryBackend()
    app = make(6, backend=backend)
    campaign = approved(app)
    claimed = kill_during(app, campaign)
    app.clock.now += timedelta(hours=1)
    done, _ = go(app, campaign)
    assert (done.state, open_counts(done)) == (S.SENDING, {"accepted": 4, "unknown": 2})
    assert not {message.email for message in claimed} & {message.to_email for message in backend.taken}
    assert {row.error for row in rows(app, done) if row.status == M.UNKNOWN} == {
        "the sending process ended before the answer"
    }
    assert "settled after an interruption" in acts(app)


def test_the_file_backend_proves_what_it_took(make: Callable[..., TestApp]):
    app = make(6)
    campaign = approved(app)
    handed_over, not_yet = kill_during(app, campaign, provider="file", hand_over=True)
    app.clock.now += timedelta(hours=1)
    done, _ = go(app, campaign, backend="file")
    assert (done.state, open_counts(done)) == (S.FINISHED, {"accepted": 6})
    by_id = {row.id: row for row in rows(app, done)}
    assert (by_id[handed_over.id].attempts, by_id[not_yet.id].attempts) == (1, 2)
    assert by_id[handed_over.id].sent_at == NOW
    folder = app.settings.delivery.file.dir / str(campaign.id)
    assert len(list(folder.glob("*.eml"))) == 6


def test_another_backend_proves_nothing(make: Callable[..., TestApp]):
    app = make(4)
    campaign = approved(app)
    kill_during(app, campaign, provider="file")
    app.clock.now += timedelta(hours=1)
    done, _ = go(app, campaign)
    assert open_counts(done)["unknown"] == 2


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_on_postgresql_a_fresh_lease_is_left_to_its_owner(make: Callable[..., TestApp]):
    app = make(4)
    campaign = approved(app)
    kill_during(app, campaign)
    done, _ = go(app, campaign)
    assert open_counts(done) == {"accepted": 2, "sending": 2}
    assert (done.state, done.unfinished) == (S.SENDING, True)


def test_a_sum_that_does_not_add_up_stops_everything(make: Callable[..., TestApp]):
    app = make(3)
    campaign = approved(app)
    with app.store.write() as connection:
        connection.execute(update(campaigns).values(accepted=1))
    with pytest.raises(UnavailableError, match="does not add up"):
        go(app, campaign)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_two_senders_at_once_write_to_everybody_once(make: Callable[..., TestApp]):
    app = make(40)
    campaign = approved(app)
    backends = [MemoryBackend(batch_size=3), MemoryBackend(batch_size=4)]
    trouble: list[BaseException] = []

    def work(backend: MemoryBackend) -> None:
        mine = replace(app, swapped=backend, clock=Clock())
        try:
            go(mine, campaign)
        except BaseException as error:
            trouble.append(error)

    threads = [Thread(target=work, args=(backend,)) for backend in backends]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert trouble == []
    [done] = campaign_list(app, campaign.id)
    assert (done.state, open_counts(done)) == (S.FINISHED, {"accepted": 40})
    taken = Counter(message.to_email for backend in backends for message in backend.taken)
    assert taken == {address(number): 1 for number in range(1, 41)}


# --- cancelling and settling by hand --------------------------------------------------------------------------------


def test_cancelling_keeps_what_went_out(make: Callable[..., TestApp]):
    app = make(5, backend=Scripted({address(2): [Outcome.UNKNOWN]}))
    campaign = approved(app)
    go(app, campaign, limit=3)
    done = cancel(app, campaign.id)
    assert (done.state, open_counts(done)) == (S.CANCELLED, {"accepted": 2, "unknown": 1, "cancelled": 2})
    assert done.unfinished  # somebody may or may not have got it
    assert resolve(app, campaign.id, "failed") == 1
    [settled] = campaign_list(app, campaign.id)
    assert (settled.state, open_counts(settled)) == (S.CANCELLED, {"accepted": 2, "failed": 1, "cancelled": 2})
    assert not settled.unfinished


def test_a_finished_campaign_cannot_be_cancelled(make: Callable[..., TestApp]):
    app = make()
    done, _ = go(app, approved(app))
    with pytest.raises(RefusedError, match="is finished, so it cannot become cancelled"):
        cancel(app, done.id)


def test_cancelled_by_somebody_else_while_it_is_being_sent(make: Callable[..., TestApp]):
    """What is in flight is recorded, what comes back is cancelled, and trouble does not wake it up again."""
    backend = Scripted({address(1): [Outcome.NOT_TAKEN], address(2): [DOWN]}, batch_size=3)
    app = make(6, backend=backend)
    campaign = approved(app)
    backend.on_batch = partial(cancel, app, campaign.id)
    done, run = go(app, campaign)
    assert (done.state, open_counts(done)) == (S.CANCELLED, {"accepted": 1, "cancelled": 5})
    assert run.trouble == "connection refused"
    assert len(backend.batches) == 1


def test_left_behind_in_a_cancelled_campaign_proven_not_taken(make: Callable[..., TestApp]):
    app = make(4)
    campaign = approved(app)
    kill_during(app, campaign, provider="file")
    cancel(app, campaign.id)
    app.clock.now += timedelta(hours=1)
    with pytest.raises(RefusedError, match="was cancelled"):
        go(app, campaign, backend="file")
    assert open_counts(campaign_list(app, campaign.id)[0]) == {"accepted": 1, "cancelled": 3}


@pytest.mark.parametrize(
    ("decision", "counts", "state"),
    [
        ("accepted", {"accepted": 4}, S.FINISHED),
        ("failed", {"accepted": 2, "failed": 2}, S.FINISHED),
        ("retry", {"accepted": 2, "pending": 2}, S.SENDING),
    ],
)
def test_resolve(make: Callable[..., TestApp], decision: str, counts: dict[str, int], state: CampaignState):
    app = make(4, backend=Scripted({address(number): [Outcome.UNKNOWN] for number in (2, 3)}))
    campaign = approved(app)
    go(app, campaign)
    assert resolve(app, campaign.id, decision) == 2
    [done] = campaign_list(app, campaign.id)
    assert (open_counts(done), done.state) == (counts, state)
    assert (acts(app)[-1] == "finished") is (state is S.FINISHED)
    assert f"resolved as {decision}" in acts(app)
    assert resolve(app, campaign.id, decision) == 0


@on_sqlite
def test_resolve_one_message_only(make: Callable[..., TestApp]):
    app = make(3, backend=Scripted({address(number): [Outcome.UNKNOWN] for number in (1, 2)}))
    campaign = approved(app)
    go(app, campaign)
    first = rows(app, campaign)[0].message_id
    assert resolve(app, campaign.id, "accepted", first) == 1
    assert [row.status for row in rows(app, campaign)] == [M.ACCEPTED, M.UNKNOWN, M.ACCEPTED]
    assert resolve(app, campaign.id, "accepted", first) == 0


def test_what_a_person_sends_again_is_sent_again(make: Callable[..., TestApp]):
    backend = Scripted({address(1): [Outcome.UNKNOWN]})
    app = make(2, backend=backend)
    campaign = approved(app)
    go(app, campaign)
    resolve(app, campaign.id, "retry")
    app.clock.now += timedelta(days=2)
    done, _ = go(app, campaign)
    assert (done.state, open_counts(done)) == (S.FINISHED, {"accepted": 2})
    assert Counter(backend.handed_over) == {address(1): 2, address(2): 1}


def test_nothing_of_a_cancelled_campaign_is_tried_again(make: Callable[..., TestApp]):
    app = make(2, backend=Scripted({address(1): [Outcome.UNKNOWN]}))
    campaign = approved(app)
    go(app, campaign)
    cancel(app, campaign.id)
    with pytest.raises(RefusedError, match="is cancelled"):
        resolve(app, campaign.id, "retry")
    assert open_counts(campaign_list(app, campaign.id)[0]) == {"accepted": 1, "unknown": 1}


# --- two campaigns --------------------------------------------------------------------------------------------------


def excluded(app: TestApp, campaign: Campaign) -> dict[str, int]:
    with app.store.read() as connection:
        return count_exclusions(connection, campaign.id)


def test_the_next_campaign_knows_who_was_mailed(make: Callable[..., TestApp]):
    app = make(3, backend=Scripted({address(2): [Outcome.FAILED]}))
    go(app, approved(app))
    fill(app.store, [make_candidate(certified(1), learner=make_learner(3, name="Ana3 Pine"))])
    second = planned(app)
    assert excluded(app, second) == {"already_mailed": 1, "recently_mailed": 1}
    assert [row.learner_id for row in rows(app, second)] == [2]
    weeks_later = replace(app, fixed_today=TODAY + timedelta(days=14))
    third = planned(weeks_later)
    assert excluded(app, third) == {"already_mailed": 1}
    assert [row.learner_id for row in rows(app, third)] == [2, 3]


def test_a_message_in_doubt_counts_as_sent(make: Callable[..., TestApp]):
    app = make(2, backend=Scripted({address(1): [Outcome.UNKNOWN]}))
    go(app, approved(app))
    assert excluded(app, planned(app)) == {"already_mailed": 2}


def test_a_campaign_being_sent_counts_whole_for_the_next(make: Callable[..., TestApp]):
    app = make(4)
    go(app, approved(app), limit=1)
    second = planned(app)
    assert (second.chosen, excluded(app, second)) == (0, {"already_mailed": 4})


def test_of_two_approved_campaigns_only_the_first_is_sent(make: Callable[..., TestApp]):
    backend = MemoryBackend()
    app = make(3, backend=backend)
    first, second = approved(app), approved(app)
    go(app, first, limit=1)
    with pytest.raises(RefusedError) as raised:
        go(app, second)
    assert raised.value.facts == ("3 learners were planned who would not be chosen now (edX users 1, 2, 3)",)
    done, _ = go(app, first)
    assert open_counts(done) == {"accepted": 3}
    assert len(backend.taken) == 3


def test_resuming_days_later_is_no_drift(make: Callable[..., TestApp]):
    """Its own messages and the passing of days do not speak against a campaign that is under way."""
    app = make(4)
    campaign = approved(app)
    go(app, campaign, limit=2)
    app.clock.now += timedelta(days=5)
    done, _ = go(app, campaign)
    assert open_counts(done) == {"accepted": 4}


def test_resuming_is_refused_when_somebody_still_to_be_mailed_changed(make: Callable[..., TestApp]):
    app = make(4)
    campaign = approved(app)
    go(app, campaign, limit=2)
    upgraded = make_enrollment(1, track="verified")
    fill(app.store, [make_candidate(upgraded, learner=make_learner(1, name="Ana1 Pine"))])  # was mailed already
    fill(app.store, [make_candidate(learner=make_learner(9))])  # new: the next campaign's
    assert open_counts(go(app, campaign, limit=1)[0]) == {"accepted": 3, "pending": 1}
    fill(app.store, [make_candidate(upgraded, learner=make_learner(4, name="Ana4 Pine"))])
    with pytest.raises(RefusedError) as raised:
        go(app, campaign)
    assert raised.value.facts == ("1 learners were planned who would not be chosen now (edX users 4)",)


def test_with_a_limit_somebody_new_pushes_nobody_out(make: Callable[..., TestApp]):
    app = make(0)
    fill(app.store, [make_candidate(learner=make_learner(number)) for number in (2, 3, 4)])
    campaign = approved(app, limit=2)
    go(app, campaign, limit=1)
    fill(app.store, [make_candidate(learner=make_learner(1))])
    assert open_counts(go(app, campaign)[0]) == {"accepted": 2}


@on_sqlite
def test_a_template_edited_under_way_stops_the_rest(make: Callable[..., TestApp], tmp_path: Path):
    app = make(4)
    campaign = approved(app)
    go(app, campaign, limit=2)
    write_template(tmp_path, "river/body.txt", "Dear {{ learner.name }}, {{ unsubscribe_url }}")
    with pytest.raises(RefusedError, match="no longer what was planned"):
        go(app, campaign)
    assert open_counts(campaign_list(app, campaign.id)[0]) == {"accepted": 2, "pending": 2}


@on_sqlite
def test_a_course_renamed_after_the_end_changes_nothing(make: Callable[..., TestApp]):
    """A finished campaign answers for itself."""
    app = make(2)
    campaign = approved(app)
    done, _ = go(app, campaign)
    renamed = with_program(app, make_program(make_course(1, title="Drizzle")))
    assert go(renamed, campaign)[0] == done
    for message in sends(renamed, HistoryFilter(campaign=campaign.id)):
        assert show(renamed, message["message"]).reproduced
