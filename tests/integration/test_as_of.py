"""A past state is what a database holds that has read only the files of that time."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, select, text
from sqlalchemy.exc import DBAPIError

from mmcampaign.errors import InputError
from mmcampaign.ingest import ingest
from mmcampaign.store import suppressions
from mmcampaign.store.as_of import HIDDEN, state_as_of
from mmcampaign.store.engine import Store
from mmcampaign.store.read_only import open_read_only
from mmcampaign.store.tables import completions, course_instancedetails, imports, messages
from tests.exports import NOW, PROGRAM, Export, Folder, exports, graded, wipe
from tests.ledgers import add_campaign, add_message

IDS = {"import_id", "profile_import_id"}


def read_all(store: Store, files: list[Export]) -> None:
    with TemporaryDirectory() as place:
        for file in files:
            ingest(store, (PROGRAM,), [file.write(Folder(Path(place)))], now=NOW)


def state(connection: Connection) -> list[Any]:
    """Rows, completions, and the names of the files that count; row numbers of files aside."""
    columns = [column for column in course_instancedetails.columns if column.name not in IDS]
    details = select(*columns).order_by("course_instance", "learner_id")
    derived = select(completions).order_by("course", "learner_id")
    counting = select(imports.c.name, imports.c.audit_hidden).where(imports.c.status == "loaded").order_by("name")
    return [[tuple(row) for row in connection.execute(query)] for query in (details, derived, counting)]


@settings(max_examples=4, suppress_health_check=list(HealthCheck))
@given(files=exports(), month=st.integers(1, 5))
def test_a_past_state_is_that_of_the_files_of_that_time(store: Store, files: list[Export], month: int) -> None:
    end = datetime(2019, month, 1, tzinfo=UTC) + timedelta(seconds=1)
    older = [file for file in files if file.stamp < end]
    wipe(store)
    read_all(store, older)
    with store.read() as connection:
        expected = state(connection)
    wipe(store)
    read_all(store, files)
    if not older:
        with pytest.raises(InputError, match="was ingested"), state_as_of(store, PROGRAM, end):
            pass
        return
    with state_as_of(store, PROGRAM, end) as (connection, _):
        found = state(connection)
    # Terms are only kept of runs that still have rows.
    assert _without_terms(found) == _without_terms(expected)


def _without_terms(found: list[Any]) -> list[Any]:
    return [[row[:4] + row[6:] for row in found[0]], *found[1:]]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "downloads")


@pytest.fixture
def two_exports(store: Store, folder: Folder) -> Iterator[Store]:
    """A learner who passes between February and March."""
    for stamp, grade in (("2019-02-01-0000", 0.2), ("2019-03-01-0000", 0.9)):
        ingest(store, (PROGRAM,), [folder.grades(stamp, graded(1, grade))], now=NOW)
    yield store


FEBRUARY = datetime(2019, 2, 20, tzinfo=UTC)


def grades(connection: Connection) -> list[float]:
    return list(connection.execute(select(course_instancedetails.c.grade)).scalars())


def test_the_database_stays_as_it_is_and_the_next_look_sees_today(two_exports: Store) -> None:
    with state_as_of(two_exports, PROGRAM, FEBRUARY) as (connection, then):
        assert grades(connection) == [0.2]
        assert [export.exported_at for export in then.exports] == [datetime(2019, 2, 1, tzinfo=UTC)]
    with two_exports.read() as connection:
        assert grades(connection) == [0.9]
        assert connection.execute(select(imports)).rowcount != 0


def test_a_database_opened_for_looking_only_still_refuses_every_change(two_exports: Store, database_url: str) -> None:
    looking = open_read_only(database_url)
    with state_as_of(looking, PROGRAM, FEBRUARY) as (connection, _):
        assert grades(connection) == [0.2]
        with pytest.raises(DBAPIError):
            connection.execute(text("DELETE FROM learners"))
    with looking.read() as connection, pytest.raises(DBAPIError):
        connection.execute(text("DELETE FROM learners"))
    looking.close()


def test_messages_and_suppressions_are_those_of_the_time(two_exports: Store) -> None:
    with two_exports.write() as connection:
        campaign = add_campaign(connection)
        for number, day in ((1, 5), (2, 25)):
            sent = datetime(2019, 2, day, tzinfo=UTC)
            add_message(connection, campaign, number, status="accepted", sent_at=sent)
            suppressions.add(connection, f"a{number}@mail.example", reason="unsubscribed", by="test", note="", at=sent)
    with state_as_of(two_exports, PROGRAM, FEBRUARY) as (connection, _):
        assert list(connection.execute(select(messages.c.learner_id)).scalars()) == [1]
        assert connection.execute(text("SELECT email_key FROM suppressions")).scalars().all() == ["a1@mail.example"]


def test_every_hidden_table_keeps_its_columns_keys_and_indexes(two_exports: Store) -> None:
    with state_as_of(two_exports, PROGRAM, FEBRUARY) as (connection, _):
        for table in HIDDEN:
            assert connection.execute(select(table)).keys() == table.columns.keys()
