"""Work through the queue, on PostgreSQL, within this process: what is enqueued, what a share does, what is said."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from threading import Event, Thread, Timer
from typing import Any

import pytest
from sqlalchemy import make_url, text

from mmcampaign.campaigns import pause, resume
from mmcampaign.errors import ConfigError, RefusedError, UnavailableError
from mmcampaign.following import SHARES, send_by_workers
from mmcampaign.model import Batch, CampaignState, Outcome, Receipt
from mmcampaign.sending import SendRequest
from mmcampaign.store import queue
from mmcampaign.store.campaigns import Campaign
from mmcampaign.store.engine import Store, connect, current_revision, head_revision, require_current, upgrade
from mmcampaign.store.job_runner import AgainError
from mmcampaign.store.queue import Job
from mmcampaign.testing import MemoryBackend
from mmcampaign.worker import do_share, work
from tests.conftest import _admin, _database
from tests.steps import acts, address, approved, kill_during, rows
from tests.worlds import Scripted, TestApp, on_sqlite

on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
S = CampaignState


def agree(_campaign: Campaign, _number: int) -> None:
    """Whatever is asked."""


def queued(app: TestApp) -> list[dict[str, Any]]:
    with app.store.read() as connection:
        found = f"SELECT args FROM {queue.SCHEMA}.procrastinate_jobs WHERE status = 'todo' ORDER BY id"
        return [row.args for row in connection.execute(text(found))]


def sign_of_life(app: TestApp, *, seconds_ago: float = 0) -> None:
    """A worker that was last heard of then."""
    with app.store.write() as connection:
        connection.execute(
            text(
                f"INSERT INTO {queue.SCHEMA}.procrastinate_workers (last_heartbeat)"
                " VALUES (clock_timestamp() - make_interval(secs => :seconds))"
            ),
            {"seconds": seconds_ago},
        )


def enqueue(app: TestApp, campaign: Campaign, **request: Any) -> None:
    """What ``send`` does before it follows."""
    stop = Event()
    stop.set()
    send_by_workers(app, SendRequest(campaign=campaign.id, **request), confirm=agree, stop=stop)


def do(app: TestApp, told: list[str] | None = None, stop: Event | None = None) -> Any:
    """The first share in the queue."""
    return do_share(app, Job(**queued(app)[0]), stop=stop or app.clock, tell=(told if told is not None else []).append)


@pytest.fixture
def crewed(make: Callable[..., TestApp]) -> Callable[..., tuple[TestApp, Campaign]]:
    """An approved campaign of so many, and one worker alive."""

    def build(number: int = 5, backend: Any = None) -> tuple[TestApp, Campaign]:
        app = make(number, backend=backend or MemoryBackend())
        sign_of_life(app)
        return app, approved(app)

    return build


@on_postgresql
@pytest.mark.parametrize("seconds_ago", [None, 31], ids=["none ever", "one that was silent for too long"])
def test_without_a_worker_nothing_is_begun(make: Callable[..., TestApp], seconds_ago: float | None):
    app = make(3)
    campaign = approved(app)
    if seconds_ago:
        sign_of_life(app, seconds_ago=seconds_ago)
    with pytest.raises(UnavailableError, match="No worker is running") as caught:
        send_by_workers(app, SendRequest(campaign=campaign.id), confirm=agree)
    assert caught.value.unchanged == "Nothing was sent."
    assert caught.value.todo == f"start mmcampaign worker, or send from here: mmcampaign send {campaign.id} --local"
    assert queued(app) == []


@on_postgresql
def test_a_whole_campaign_has_a_share_for_every_worker_and_a_second_send_asks_nothing(crewed):
    app, campaign = crewed()
    enqueue(app, campaign)
    enqueue(app, campaign)
    assert (
        queued(app) == [{"campaign": campaign.id, "backend": "file", "first": None, "leave": 0, "wait": False}] * SHARES
    )
    assert acts(app).count("sending") == 1


@on_postgresql
def test_what_nobody_has_begun_is_replaced_by_the_next_send(crewed):
    app, campaign = crewed()
    enqueue(app, campaign)
    pause(app, campaign.id)
    resume(app, campaign.id)
    pause(app, campaign.id)
    enqueue(app, campaign, resume=True, limit=2)
    assert [job["leave"] for job in queued(app)] == [3]


@on_postgresql
def test_nothing_is_queued_when_the_question_is_answered_with_no(crewed):
    app, campaign = crewed()

    def refuse(_campaign: Campaign, number: int) -> None:
        raise RefusedError(f"not {number}")

    with pytest.raises(RefusedError, match="not 5"):
        send_by_workers(app, SendRequest(campaign=campaign.id), confirm=refuse)
    assert queued(app) == []


@on_postgresql
def test_a_first_wave_is_one_share_and_does_not_grow_when_it_is_done_again(crewed):
    """A worker that was killed after two of three: whoever takes over sends one more."""
    app, campaign = crewed(8)
    enqueue(app, campaign, first=3, backend="file")
    assert queued(app) == [{"campaign": campaign.id, "backend": "file", "first": 3, "leave": 5, "wait": False}]
    stopping = _StopsAfter(1)
    with pytest.raises(AgainError):
        do(replace(app, settings=_one_at_a_time(app)), stop=stopping)
    assert do(app) is None
    done = {row.status for row in rows(app, campaign)}
    assert done == {"accepted", "pending"}
    assert sum(row.status == "accepted" for row in rows(app, campaign)) == 3
    state, reason, by = _state(app, campaign)
    assert (state, reason, by) == ("paused", "the first wave has gone out", "kim")


def _one_at_a_time(app: TestApp) -> Any:
    return app.settings._replace(mail=app.settings.mail.model_copy(update={"claim_batch": 1}))


class _StopsAfter(Event):
    """Set once it has been asked so often."""

    def __init__(self, asked: int) -> None:
        super().__init__()
        self.left = asked * 3

    def is_set(self) -> bool:
        self.left -= 1
        return self.left < 0


def _state(app: TestApp, campaign: Campaign) -> tuple[str, str, str | None]:
    with app.store.read() as connection:
        row = connection.execute(
            text("SELECT state, pause_reason, paused_by FROM campaigns WHERE id = :id"), {"id": campaign.id}
        ).one()
    return row.state, row.pause_reason, row.paused_by


@on_postgresql
def test_a_share_that_cannot_be_done_pauses_the_campaign_and_says_why(crewed):
    app, campaign = crewed()
    enqueue(app, campaign, backend="sendgrid")
    told: list[str] = []
    assert do(app, told) is None
    state, reason, by = _state(app, campaign)
    assert (state, by) == ("paused", None)
    assert "a worker could not send" in reason
    assert "SENDGRID_API_KEY" in reason
    assert told == [f"campaign {campaign.id}: paused, for this worker cannot send it: {reason.partition(': ')[2]}"]


@on_postgresql
def test_a_share_of_a_campaign_that_is_paused_does_nothing(crewed):
    app, campaign = crewed()
    enqueue(app, campaign)
    with app.store.write() as connection:
        connection.execute(text("UPDATE campaigns SET state = 'paused', paused_by = 'lee', pause_reason = 'typo'"))
    assert do(app) is None
    assert {row.status for row in rows(app, campaign)} == {"pending"}


@on_postgresql
def test_claims_of_a_dead_worker_are_looked_at_when_they_have_run_out(crewed):
    app, campaign = crewed(6)
    kill_during(app, campaign)
    enqueue(app, campaign, backend="file")
    later = do(app)
    assert later > app.clock() + timedelta(minutes=9)
    app.clock.now = later
    assert do(app) is None
    with app.store.read() as connection:
        counts = dict(connection.execute(text("SELECT status, count(*) FROM messages GROUP BY status")).all())
    assert counts == {"accepted": 4, "unknown": 2}


@on_postgresql
def test_settling_sends_nobody_anything(crewed):
    """However many are pending: they may be those that a limit has left."""
    app, campaign = crewed(6)
    enqueue(app, campaign, limit=2, backend="file")
    job = Job(**queued(app)[0])
    kill_during(app, campaign)
    app.clock.now += timedelta(minutes=11)
    assert do_share(app, job.only_settle(), stop=app.clock, tell=print) is None
    assert sorted(row.status for row in rows(app, campaign)) == ["accepted", *["pending"] * 3, *["unknown"] * 2]


@on_postgresql
def test_a_worker_tells_nobody_what_a_server_answered(crewed):
    backend = Scripted({address(number): [Outcome.FAILED] for number in range(1, 31)})
    app, campaign = crewed(30, backend=backend)
    enqueue(app, campaign)
    told: list[str] = []
    do_share(app, replace(Job(**queued(app)[0]), backend=""), stop=app.clock, tell=told.append)
    assert told == [f"campaign {campaign.id}: 30 of 30 done by this worker; paused, see mmcampaign status 1"]


@on_postgresql
def test_a_server_that_is_away_while_mail_goes_out_loses_no_answer(crewed, database_url: str):
    name, other = make_url(database_url).database, _database(database_url, "postgres")

    class GoesAway(MemoryBackend):
        def deliver(self, batch: Batch) -> list[Receipt]:
            _admin(other, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            _admin(other, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
            Timer(1.0, lambda: _admin(other, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")).start()
            return super().deliver(batch)

    app, campaign = crewed(backend=GoesAway())
    enqueue(app, campaign)
    do_share(app, replace(Job(**queued(app)[0]), backend=""), stop=app.clock, tell=print)
    assert {row.status for row in rows(app, campaign)} == {"accepted"}


@on_postgresql
def test_who_follows_leaves_when_the_workers_are_gone_for_good(crewed):
    app, campaign = crewed()
    worker = app.settings.worker.model_copy(update={"takeover_seconds": 0.5})
    app = replace(app, settings=app.settings._replace(worker=worker))
    sign_of_life(app, seconds_ago=-600)  # alive until it is made silent, however slow this machine is

    def leave(_campaign: Campaign, _number: int) -> None:
        with app.store.write() as connection:
            connection.execute(text(f"DELETE FROM {queue.SCHEMA}.procrastinate_workers"))

    with pytest.raises(UnavailableError, match=r"No worker is running any more; 0 of 5 are done\.") as caught:
        send_by_workers(app, SendRequest(campaign=campaign.id), confirm=leave)
    assert caught.value.unchanged == "What is left stays in the queue for the next worker."


@on_sqlite
def test_on_sqlite_there_are_no_workers(make: Callable[..., TestApp]):
    with pytest.raises(ConfigError, match="Workers need PostgreSQL"):
        work(make(1), stop=Event(), tell=print)


# --- the schema of the queue ------------------------------------------------------------------------------------------


@on_postgresql
def test_a_queue_of_another_version_is_named_with_the_command_that_replaces_it(store: Store):
    with store.write() as connection:
        connection.execute(text(f"COMMENT ON SCHEMA {queue.SCHEMA} IS 'of another version'"))
        connection.execute(text(f"DROP TABLE {queue.SCHEMA}.procrastinate_events"))
    with pytest.raises(UnavailableError, match="work queue of another version") as caught:
        require_current(store)
    assert "mmcampaign db upgrade" in caught.value.todo
    upgrade(store)
    require_current(store)
    with store.read() as connection:
        assert queue.standing(connection, 1, takeover_seconds=30).workers == 0


def test_two_upgrades_at_once_wait_for_each_other(postgres_url: str):
    _admin(postgres_url, "CREATE DATABASE upgraded_twice")
    url = _database(postgres_url, "upgraded_twice")
    troubles: list[BaseException] = []

    def run() -> None:
        fresh = connect(url)
        try:
            upgrade(fresh)
        except BaseException as error:
            troubles.append(error)
        finally:
            fresh.close()

    both = [Thread(target=run) for _ in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join()
    done = connect(url)
    require_current(done)
    assert (troubles, current_revision(done)) == ([], head_revision())
    done.close()
    _admin(postgres_url, "DROP DATABASE upgraded_twice WITH (FORCE)")
