"""Opening the database: creation, revisions, transactions, and what people are told when it goes wrong."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from threading import Timer

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, select, text

from mmcampaign.errors import ConfigError, UnavailableError
from mmcampaign.store import engine as engine_module
from mmcampaign.store.engine import Store, current_revision, head_revision, open_store, upgrade
from mmcampaign.store.tables import metadata, program_courses

FULL = 2  # SQLite's number for synchronous = FULL
COURSE = {
    "course": "c1",
    "program": "p",
    "position": 0,
    "prefix": "X_C1",
    "series": True,
    "passing_grade": 0.5,
}


def test_migrations_build_the_schema_of_the_metadata(store: Store) -> None:
    with store.read() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
    assert differences == []


def test_a_new_sqlite_file_has_the_schema_that_the_migrations_build(tmp_path: Path) -> None:
    def schema(store: Store) -> dict[str, list[str]]:
        """Tables and indexes; the order of a table's constraints says nothing."""
        with store.read() as connection:
            rows = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'"))
            found = {name: sorted(re.split(r"[\s,]+", sql)) for name, sql in rows if name != "alembic_version"}
        store.close()
        return found

    migrated = engine_module.connect(f"sqlite:///{tmp_path / 'migrated.db'}")
    upgrade(migrated)
    created = open_store(f"sqlite:///{tmp_path / 'created.db'}")
    upgrade(created)  # to Alembic it is at its end already
    assert schema(created) == schema(migrated)


def test_new_sqlite_file_is_created_at_the_newest_revision(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'sub' / 'new.db'}")
    assert current_revision(store) == head_revision()
    store.close()


def test_write_is_rolled_back_when_anything_is_raised(store: Store) -> None:
    with pytest.raises(RuntimeError), store.write() as connection:
        connection.execute(program_courses.insert(), COURSE)
        raise RuntimeError
    with store.read() as connection:
        assert connection.execute(select(program_courses)).all() == []


def test_older_schema_is_named_with_the_command_that_upgrades_it(store: Store) -> None:
    with store.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0000'"))
    with pytest.raises(UnavailableError) as caught:
        engine_module.require_current(store)
    assert "older schema" in caught.value.what
    assert "mmcampaign db upgrade" in caught.value.todo


@pytest.mark.parametrize("left_by_a_kill", [False, True], ids=["as it was", "as a killed first load left it"])
def test_an_upgrade_from_the_first_schema_leaves_the_index_by_address(store: Store, left_by_a_kill: bool) -> None:
    with store.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
        if left_by_a_kill:
            connection.execute(text("DROP INDEX ix_learners_email_key"))
        else:
            connection.execute(text("CREATE INDEX ix_learners_username ON learners (username)"))
    upgrade(store)
    with store.read() as connection:
        assert [index["name"] for index in inspect(connection).get_indexes("learners")] == ["ix_learners_email_key"]


def test_newer_schema_is_refused(store: Store) -> None:
    with store.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(UnavailableError, match="newer mmcampaign"):
        engine_module.require_current(store)


def test_what_is_committed_is_on_the_disk(sqlite_url: str) -> None:
    """A claim that a power cut could undo would be a message that is sent again; so for every ordinary connection."""
    with closing(open_store(sqlite_url)) as store:
        for opened in (store.write(), store.write(patient=True), store.read()):
            with opened as connection:
                settings = ("synchronous", "journal_mode")
                found = [connection.exec_driver_sql(f"PRAGMA {each}").scalar() for each in settings]
            assert found == [FULL, "wal"]


def test_locked_database_says_so_and_what_to_do(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "LOCK_WAIT_SECONDS", 0.1)
    store = open_store(sqlite_url)
    other = sqlite3.connect(tmp_path / "mmcampaign.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(UnavailableError) as caught, store.write() as connection:
        connection.execute(program_courses.insert(), COURSE)
    assert "locked by another program" in caught.value.what
    assert caught.value.todo
    other.close()
    store.close()


def test_a_patient_writer_waits_for_the_lock(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "LOCK_WAIT_SECONDS", 0.05)
    store = open_store(sqlite_url)
    other = sqlite3.connect(tmp_path / "mmcampaign.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    release = Timer(0.5, lambda: other.execute("ROLLBACK"))
    release.start()
    with store.write(patient=True) as connection:
        connection.execute(program_courses.insert(), COURSE)
    release.join()
    with store.read() as connection:
        assert connection.execute(select(program_courses)).all()
    other.close()
    store.close()


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.db"
    path.write_bytes(b"%PDF-1.7 " * 400)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="not a database file"):
        open_store(f"sqlite:///{path}")
    assert path.read_bytes() == before


@pytest.mark.parametrize("url", ["nonsense", "mysterydb://x"], ids=["no url", "unknown engine"])
def test_a_url_that_means_nothing_is_a_configuration_error(url: str) -> None:
    with pytest.raises(ConfigError, match=r"database\.url"):
        open_store(url)


def test_store_waits_for_nothing_it_may_not_have(store: Store) -> None:
    assert engine_module.is_healthy(store) == ""
