"""Sending: every answer of a backend, limits, the late check, and that nobody is written to twice."""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from email import message_from_bytes, policy
from pathlib import Path
from threading import current_thread
from typing import Any

import pytest
from filelock import FileLock
from sqlalchemy import update

from mmcampaign.campaigns import cancel
from mmcampaign.delivery import FileOptions
from mmcampaign.delivery.file import FileBackend
from mmcampaign.errors import RefusedError, UnavailableError
from mmcampaign.history import campaign_list, show
from mmcampaign.model import Batch, CampaignState, MessageStatus, Outcome, Outgoing, Receipt
from mmcampaign.outgoing import Desk, Written
from mmcampaign.sending_run import FAILURES_IN_A_ROW
from mmcampaign.store.campaigns import Campaign, change_state
from mmcampaign.store.outbox import Claimed
from mmcampaign.store.tables import merge_values
from mmcampaign.testing import MemoryBackend
from tests.builders import (
    NOW,
    TODAY,
    make_course,
    make_program,
)
from tests.steps import DOWN, acts, address, approved, go, open_counts, planned, rows
from tests.worlds import (
    Clock,
    Scripted,
    TestApp,
    fill,
    make_app,
    on_sqlite,
    people,
    suppress,
    write_template,
)

S, M = CampaignState, MessageStatus


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
    app = replace(app, settings=app.settings._replace(secrets=replace(app.settings.secrets, secret_key="")))
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

    class Interrupted(MemoryBackend):
        def _answer(self, message: Outgoing) -> Receipt:
            if len(self.taken) == 2:
                stop.set()
            return super()._answer(message)

    backend = Interrupted(batch_size=2)
    app = make(5, backend=backend)
    campaign = approved(app)
    part, run = go(app, campaign, stop=stop)
    assert (part.state, open_counts(part), run.interrupted) == (S.SENDING, {"pending": 2, "accepted": 3}, True)
    assert (run.trouble, run.told, acts(app)[-1]) == ("", "", "stopped part-way")
    assert {row.attempts for row in rows(app, part)} == {0, 1}
    whole, run = go(app, campaign)
    assert (whole.state, open_counts(whole), run.interrupted) == (S.FINISHED, {"accepted": 5}, False)


def test_only_one_process_sends_from_a_sqlite_file(sqlite_url: str, tmp_path: Path):
    from mmcampaign.store.engine import open_store

    store = open_store(sqlite_url)
    fill(store, people(2))
    backend = MemoryBackend()
    app = make_app(store, tmp_path, backend=backend)
    campaign = approved(app)
    with FileLock(f"{store.path}-sender.lock"):
        with pytest.raises(UnavailableError, match=r"sending from this database right now\.$"):
            go(app, campaign)
        with store.write() as connection:
            change_state(connection, campaign.id, S.SENDING, sent_by="lee")
        with pytest.raises(UnavailableError, match="campaign 1, started by lee, 0 of 2 accepted so far"):
            go(app, campaign)
    assert backend.batches == []
    assert go(app, campaign)[0].state is S.FINISHED
    store.close()


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
            super().deliver(batch._replace(messages=batch.messages[:1]))
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


@pytest.mark.parametrize(
    "raised", [UnavailableError("The database does not answer."), RuntimeError("a bug")], ids=["no answer", "a bug"]
)
@pytest.mark.parametrize("batch", [0, 1], ids=["the first batch", "the next"])
def test_what_cannot_be_read_goes_back_untouched(
    make: Callable[..., TestApp], monkeypatch: pytest.MonkeyPatch, raised: Exception, batch: int
):
    """The content of a claimed batch is read apart from its claim, by the wire's thread."""
    backend = Scripted({}, batch_size=2)
    app = make(6, backend=backend)
    campaign = approved(app)
    written, by = Desk.written, list[str]()

    def breaking(desk: Desk, claimed: Sequence[Claimed]) -> Written:
        by.append(current_thread().name)
        if len(by) > batch:
            raise raised
        return written(desk, claimed)

    with monkeypatch.context() as patched:
        patched.setattr(Desk, "written", breaking)
        with pytest.raises(type(raised)):
            go(app, campaign)
    assert [name.startswith("wire") for name in by] == [True] * (batch + 1)
    found = Counter(row.status for row in rows(app, campaign))
    assert (found[M.ACCEPTED], found[M.PENDING]) == (2 * batch, 6 - 2 * batch)
    assert {row.attempts for row in rows(app, campaign) if row.status == M.PENDING} == {0}
    done, _ = go(app, campaign)
    assert (done.state, open_counts(done)) == (S.FINISHED, {"accepted": 6})
    assert set(Counter(backend.handed_over).values()) == {1}


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
            update(merge_values).where(merge_values.c.id == 2).values(unsubscribe_url="javascript:alert(1)")
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
        connection.execute(update(merge_values).values(unsubscribe_url="javascript:alert(1)"))
    done, _ = go(app, campaign)
    assert open_counts(done) == {"failed": 2}
    assert backend.batches == []


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
