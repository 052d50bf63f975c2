"""Workers on PostgreSQL: they share a campaign, take over from the dead, stop gracefully, and say what is wrong."""

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.crew import Crew, Slow, approve_campaign, crew, databases, kill, name_of
from tests.acceptance.runner import LONGEST_SECONDS
from tests.acceptance.worlds import make_river, people
from tests.conftest import TEMPLATE

ALL = 60
CONFIRMED = ("send", 1, "--yes", "--expect")


@pytest.fixture(scope="module")
def approved(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A folder, and the address of a database in which the campaign of that folder is approved."""
    folder = tmp_path_factory.mktemp("workers") / "world"
    make_river(folder, people(ALL))
    copy_of, drop = databases(postgres_url)
    url = copy_of(TEMPLATE)
    approve_campaign(folder, url)
    yield folder, url
    drop(url)


@pytest.fixture
def team(postgres_url: str, approved: tuple[Path, str], tmp_path: Path) -> Iterator[Crew]:
    folder, template = approved
    shutil.copytree(folder, tmp_path / "world")
    copy_of, drop = databases(postgres_url)
    url = copy_of(name_of(template))
    with crew(tmp_path / "world", url) as made:
        yield made
    drop(url)


def test_two_workers_share_and_who_stops_following_stops_nothing(team: Crew) -> None:
    both = [team.worker(), team.worker()]
    team.mails = team.server.mails = Slow(0.05)
    follower = team.cli.start(*CONFIRMED, ALL)
    team.mails.at(8, lambda: follower.send_signal(signal.SIGINT))
    _, err = follower.communicate(timeout=LONGEST_SECONDS)
    assert follower.returncode == 130, err
    assert b"The workers go on. See: mmcampaign status 1. Stop them: mmcampaign pause 1" in err
    assert len(team.mails) < ALL
    team.mails.seconds = 0.0
    sent = team.cli.json(*CONFIRMED, 0)  # they are at it, so there is nothing to agree to
    assert (sent["state"], sent["accepted"], sent["pending"], sent["stopped"]) == ("finished", ALL, 0, "")
    assert team.require_adding_up() == {"accepted": ALL}
    assert len(team.query("SELECT DISTINCT claimed_by FROM messages")) == 2
    said = [team.stop(worker, number) for worker, number in zip(both, (signal.SIGTERM, signal.SIGINT), strict=True)]
    assert all("done by this worker" in each and each.endswith("stopped\n") for each in said)
    acts = {row.act: row.actor for row in team.query("SELECT act, actor FROM audit_log WHERE subject = 'campaign 1'")}
    assert acts["finished"] == acts["sending"] == "kim"


def test_a_killed_worker_is_taken_over_from_and_only_its_hands_are_in_doubt(team: Crew) -> None:
    both = [team.worker(lease=4), team.worker(lease=4)]
    follower = team.cli.start(*CONFIRMED, ALL)
    team.mails.at(10, lambda: kill(both.pop(team.sender_of(9, both))))
    out, err = follower.communicate(timeout=LONGEST_SECONDS)
    assert follower.returncode in {1, 4}, (out, err)
    team.wait_for("SELECT pending + sending = 0 FROM campaigns")
    counts = team.require_adding_up()
    assert counts.keys() == {"accepted", "unknown"}
    assert 0 < counts["unknown"] <= 4
    assert "taken over from a worker that is gone" in team.stop(both[0])


def test_a_stopped_worker_finishes_what_is_in_flight_and_another_goes_on(team: Crew) -> None:
    only = team.worker()
    follower = team.cli.start(*CONFIRMED, ALL)
    team.mails.at(10, lambda: only.send_signal(signal.SIGTERM))
    only.wait(LONGEST_SECONDS)
    assert only.returncode == 0
    left = team.counts()
    assert left.keys() == {"accepted", "pending"}
    assert left["accepted"] == len(team.mails)
    team.worker()
    out, err = follower.communicate(timeout=LONGEST_SECONDS)
    assert follower.returncode == 0, (out, err)
    assert team.require_adding_up() == {"accepted": ALL}
