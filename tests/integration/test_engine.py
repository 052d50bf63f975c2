"""Opening the database: creation, revisions, transactions, and what people are told when it goes wrong."""

import re
import resource as resource_limits
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, select, text

from mmcampaign.errors import ConfigError, UnavailableError
from mmcampaign.store import engine as engine_module
from mmcampaign.store.engine import Store, current_revision, head_revision, open_store, upgrade
from mmcampaign.store.programs import sync_programs, view_name
from mmcampaign.store.tables import (
    learners,
    merge_values,
    messages,
    metadata,
    program_courses,
    seen_again,
    whole_messages,
)
from tests.builders import make_program
from tests.ledgers import add_campaign, add_message
from tests.migrations import go_back

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
        """Tables and indexes; the order of a table's constraints says nothing, nor do quotes."""
        with store.read() as connection:
            rows = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'"))
            made = {name: sql.replace('"', "") for name, sql in rows if name != "alembic_version"}
        store.close()
        return {name: sorted(re.split(r"[\s,]+", sql)) for name, sql in made.items()}

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


def test_an_upgrade_keeps_when_each_learner_was_seen(store: Store) -> None:
    """A report view looks at the learners meanwhile; it is there again when the database is opened."""
    program = make_program()
    seen, profile_seen = datetime(2019, 2, 1, 7, 30, tzinfo=UTC), datetime(2015, 1, 1, tzinfo=UTC)
    seen_again_at = datetime(2020, 3, 1, tzinfo=UTC)
    sync_programs(store, [program])
    row = {"username": "a", "email": "a@mail.example", "email_key": "a@mail.example", "seen_at": seen}
    with store.write() as connection:
        connection.execute(learners.insert(), {"student_id": 1, "profile_seen_at": None, **row})
        connection.execute(learners.insert(), {"student_id": 2, "profile_seen_at": profile_seen, **row})
        connection.execute(learners.insert(), {"student_id": 3, "profile_seen_at": None, **row})
        again = {"student_id": 3, "seen_at": seen_again_at, "profile_seen_at": profile_seen}
        connection.execute(seen_again.insert(), again)
    go_back(store, "0002")
    with store.read() as connection:
        old = connection.execute(text("SELECT student_id, seen_at, profile_seen_at FROM learners ORDER BY 1")).all()
    assert [str(stamp)[:19] for stamp in old[1][1:]] == ["2019-02-01 07:30:00", "2015-01-01 00:00:00"]
    assert [str(stamp)[:19] for stamp in old[2][1:]] == ["2020-03-01 00:00:00", "2015-01-01 00:00:00"]
    assert old[0][2] is None
    upgrade(store)
    sync_programs(store, [program])
    with store.read() as connection:
        found = connection.execute(select(learners.c.seen_at, learners.c.profile_seen_at).order_by("student_id")).all()
        assert connection.execute(text(f"SELECT count(*) FROM {view_name(program.code)}")).scalar_one() == 0
    assert [tuple(row) for row in found] == [(seen, None), (seen, profile_seen), (seen_again_at, profile_seen)]


@pytest.mark.parametrize("left_by_a_kill", [False, True], ids=["as it was", "as a killed first load left it"])
def test_an_upgrade_from_the_first_schema_leaves_the_index_by_address(store: Store, left_by_a_kill: bool) -> None:
    go_back(store, "0001")
    with store.write() as connection:
        assert len(inspect(connection).get_indexes("learners")) == 2
        if left_by_a_kill:
            for index in ("ix_learners_email_key", "ix_learners_username"):
                connection.execute(text(f"DROP INDEX {index}"))
    upgrade(store)
    with store.read() as connection:
        assert [index["name"] for index in inspect(connection).get_indexes("learners")] == ["ix_learners_email_key"]


def test_an_upgrade_makes_the_indexes_of_messages_that_a_new_database_has(store: Store) -> None:
    def found() -> list[tuple[str | None, list[str | None], str]]:
        with store.read() as connection:
            indexes = inspect(connection).get_indexes("messages")
        where = f"{store.dialect}_where"
        return sorted((each["name"], each["column_names"], str(each["dialect_options"].get(where))) for each in indexes)

    new = found()
    assert "'pending'" in {name: where for name, _, where in new}["ix_messages_pending"]
    go_back(store, "0003")
    assert "ix_messages_campaign_id_status_shape_digest" in [name for name, *_ in found()]
    upgrade(store)
    assert found() == new


def test_an_upgrade_sets_apart_what_messages_are_merged_from(store: Store) -> None:
    def found() -> tuple[list[Any], list[Any], dict[str, Any]]:
        with store.read() as connection:
            schema = inspect(connection)
            keys = {
                "unique": sorted(tuple(each["column_names"]) for each in schema.get_unique_constraints("messages")),
                "foreign": sorted(str(each["name"]) for each in schema.get_foreign_keys("messages")),
                "values": [str(each["name"]) for each in schema.get_foreign_keys("merge_values")],
                "columns": [
                    (each["name"], str(each["type"]), each["nullable"]) for each in schema.get_columns("messages")
                ],
                "indexes": sorted(str(each["name"]) for each in schema.get_indexes("messages")),
            }
            wholes = connection.execute(whole_messages.order_by(messages.c.id)).all()
            return list(wholes), list(connection.execute(select(merge_values)).all()), keys

    with store.write() as connection:
        campaign = add_campaign(connection)
        for learner in (3, 1, 2):
            add_message(
                connection, campaign, learner, personal=f'{{"name": "Ana {learner}"}}', context_digest=f"c{learner}"
            )
    new = found()
    assert len(new[0]) == len(new[1]) == 3
    go_back(store, "0004")
    with store.read() as connection:
        old = connection.execute(text("SELECT learner_id, personal, context_digest FROM messages ORDER BY id")).all()
        assert not inspect(connection).has_table("merge_values")
    assert [tuple(row) for row in old] == [(n, f'{{"name": "Ana {n}"}}', f"c{n}") for n in (3, 1, 2)]
    upgrade(store)
    assert found() == new
    if store.dialect == "sqlite":
        with store.read() as connection:
            assert connection.exec_driver_sql("PRAGMA freelist_count").scalar() == 0


def test_an_upgrade_is_done_where_there_is_no_room_for_giving_back_pages(tmp_path: Path) -> None:
    def free(store: Store) -> int:
        with store.read() as connection:
            return int(connection.exec_driver_sql("PRAGMA freelist_count").scalar_one())

    with closing(open_store(f"sqlite:///{tmp_path / 'mmcampaign.db'}")) as store:
        with store.write() as connection:
            campaign = add_campaign(connection)
            for learner in range(200):
                add_message(connection, campaign, learner)
            connection.execute(merge_values.delete().where(merge_values.c.id > 1))
        assert (before := free(store)) > 0
        soft, hard = resource_limits.getrlimit(resource_limits.RLIMIT_FSIZE)
        resource_limits.setrlimit(resource_limits.RLIMIT_FSIZE, (4096, hard))  # as a full disk: no file grows
        try:
            engine_module._give_back_pages(store)
        finally:
            resource_limits.setrlimit(resource_limits.RLIMIT_FSIZE, (soft, hard))
        assert free(store) == before
        assert engine_module.is_healthy(store) == ""
        engine_module._give_back_pages(store)
        assert free(store) == 0


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
