"""Promise 1 by the hundred: kill -9 at random moments to senders, workers and PostgreSQL, for each backend.

``make soak`` prints what came of it as a table. Every case has a seed of its own, which is part of its name.
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.crew import TAKEOVER, approve_campaign, name_of
from tests.acceptance.kill_cases import Case
from tests.acceptance.kills import trial
from tests.acceptance.postgres import Mortal, mortal_postgres
from tests.acceptance.runner import Cli
from tests.acceptance.sinks import SINKS
from tests.acceptance.worlds import make_river, people

pytestmark = pytest.mark.soak
MESSAGES = 4_000
BACKENDS = ("file", "smtp", "sendgrid")
PLANNED_FOR = "sendgrid"  # so that what it is told lies ready; the others may be chosen all the same
ENVIRONMENT = {
    "MMCAMPAIGN_MAIL__CLAIM_BATCH": "100",  # a small hand, so that there are many moments between two of them
    "MMCAMPAIGN_DELIVERY__SMTP__BATCH": "10",
    "MMCAMPAIGN_WORKER__TAKEOVER_SECONDS": str(TAKEOVER),
}


def cases(database: str, *processes: int, kills: int, **what: bool) -> list[Case]:
    """For each backend and number of processes."""
    return [
        Case(backend=backend, database=database, processes=number, kills=kills, messages=MESSAGES, **what)
        for backend in BACKENDS
        for number in processes
    ]


CASES = [
    *cases("SQLite", 1, 2, kills=16),
    *cases("PostgreSQL", 1, 2, 4, kills=16),
    *cases("PostgreSQL", 2, kills=12, workers=True),
    *cases("PostgreSQL", 3, kills=10, server=True),
    *cases("PostgreSQL", 2, kills=10, workers=True, server=True),
]


@pytest.fixture(scope="module")
def approved_on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose campaign 1 is approved."""
    folder = tmp_path_factory.mktemp("sqlite") / "world"
    make_river(folder, people(MESSAGES))
    approve_campaign(folder, f"sqlite:///{folder / 'mmcampaign.db'}", backend=PLANNED_FOR)
    return folder


@pytest.fixture(scope="module")
def server() -> Iterator[Mortal]:
    with mortal_postgres() as made:
        yield made


@pytest.fixture(scope="module")
def approved_on_postgresql(server: Mortal, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder, and the address of a database in which its campaign 1 is approved."""
    folder = tmp_path_factory.mktemp("postgresql") / "world"
    make_river(folder, people(MESSAGES))
    url = server.new()
    approve_campaign(folder, url, backend=PLANNED_FOR)
    return folder, url


@pytest.fixture
def world(request: pytest.FixtureRequest, case: Case, tmp_path: Path) -> Iterator[tuple[Cli, str]]:
    """The command in a folder of its own, and the address of a database of its own."""
    folder = tmp_path / "world"
    if case.database == "SQLite":
        shutil.copytree(request.getfixturevalue("approved_on_sqlite"), folder)
        url = f"sqlite:///{folder / 'mmcampaign.db'}"
        yield command(folder, url, case), url
        return
    source, template = request.getfixturevalue("approved_on_postgresql")
    shutil.copytree(source, folder)
    server: Mortal = request.getfixturevalue("server")
    url = server.copy_of(name_of(template))
    yield command(folder, url, case), url
    server.drop(url)


def command(folder: Path, url: str, case: Case) -> Cli:
    """At full rate; where the senders outlive the kills, at one that lasts until the last kill, and with a smaller hand
    still: no rate holds ``file`` back."""
    return Cli(folder=folder).with_env(
        **ENVIRONMENT | ({"MMCAMPAIGN_MAIL__CLAIM_BATCH": "20"} if case.server else {}),
        MMCAMPAIGN_DATABASE__URL=url,
        MMCAMPAIGN_DELIVERY__FILE__DIR=str(folder / "outbox"),  # one for all workers, who have a folder each
        MMCAMPAIGN_MAIL__RATE_PER_SECOND="250" if case.server else "100000",
    )


@pytest.mark.parametrize(("case", "seed"), [pytest.param(case, n, id=case.name) for n, case in enumerate(CASES)])
def test_killed_at_random_moments(
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
    world: tuple[Cli, str],
    case: Case,
    seed: int,
) -> None:
    """The receiving side's own record is the judge."""
    cli, url = world
    server = request.getfixturevalue("server") if case.database == "PostgreSQL" else None
    print(f"seed {seed}")
    with SINKS[case.backend](cli) as sink, trial(case, sink, url, seed=seed, server=server) as attempt:
        attempt.run()
        outcome = attempt.outcome()
        record_property("kills", outcome)
        assert (outcome["duplicates"], outcome["missing"], outcome["not in the log"]) == (0, 0, 0), outcome
        assert outcome["unknown"] <= outcome["at most"], outcome
        assert outcome["kills"] >= (case.kills // 2 if case.server else case.kills)
        attempt.require_sums_in_line()
