"""The database as it stood at a moment: temporary tables that hide the real ones behind their own names.

Both databases look a plain table name up among the temporary tables first, so every query that serves today serves
then. All of it is gone with the connection's transaction. What is not kept over time is today's: addresses, names,
e-mail choices (the newest alone is stored), and of course config.toml.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Index,
    MetaData,
    Row,
    Select,
    Table,
    and_,
    func,
    insert,
    literal,
    or_,
    select,
    text,
    true,
    update,
)

from mmcampaign.errors import InputError
from mmcampaign.model import FileStatus, MessageStatus, Program, Status
from mmcampaign.store.completion import rebuild_course, recompute_status
from mmcampaign.store.dialect import insert_into
from mmcampaign.store.engine import Store
from mmcampaign.store.enrollment_history import counting_exports, state_at
from mmcampaign.store.enrollments import audit_is_hidden
from mmcampaign.store.import_log import READ, set_audit_hidden
from mmcampaign.store.standing import GRADE_REPORT, STUDENT_PROFILE, VALUES
from mmcampaign.store.tables import completions, course_instancedetails, imports, messages, suppressions

HIDDEN = (course_instancedetails, completions, imports, messages, suppressions)
_GONE = (MessageStatus.ACCEPTED, MessageStatus.UNKNOWN, MessageStatus.SENDING)


@dataclass(frozen=True, kw_only=True)
class AsOf:
    """A past state that is being looked at. ``exports`` are those that counted then, by course, run and kind."""

    end: datetime
    exports: tuple[Row[Any], ...]


@contextmanager
def state_as_of(store: Store, program: Program, end: datetime) -> Iterator[tuple[Connection, AsOf]]:
    """A connection that sees the program as all exports stamped before ``end`` had it, whenever they were ingested.

    Messages and suppressions are those of before ``end``. Nothing is written to the database. Raises InputError when
    no export of the program is that old.
    """
    with store.read() as connection:
        with _may_make_temporary_tables(connection):
            exports = _counting_then(connection, program, end)
            real = {table: _hide(connection, table) for table in HIDDEN}
            _copy(connection, real[imports], _was_read(real[imports], end))
            _copy(connection, real[messages], _was_sent(real[messages], end))
            _copy(connection, real[suppressions], real[suppressions].c.since < end)
            for export in sorted(exports, key=lambda row: row.kind == STUDENT_PROFILE):
                _fill(connection, real[course_instancedetails], export)
            _derive(connection, program, exports)
        yield connection, AsOf(end=end, exports=exports)


def _counting_then(connection: Connection, program: Program, end: datetime) -> tuple[Row[Any], ...]:
    of_program = imports.c.course.in_([course.code for course in program.courses])
    every = counting_exports(connection, of_program)
    newest = {(row.course, row.run, row.kind): row for row in every if row.exported_at < end}
    if not newest:
        oldest = f" The oldest was exported on {every[0].exported_at:%Y-%m-%d}." if every else ""
        raise InputError(
            f"No export of {program.title} from that time was ingested.{oldest}",
            todo="mmcampaign imports  (shows what was read)",
        )
    return tuple(newest[key] for key in sorted(newest))


@contextmanager
def _may_make_temporary_tables(connection: Connection) -> Iterator[None]:
    """A connection for looking only refuses temporary tables too, so it is opened for them and closed again.

    PostgreSQL allows that before the first query of a transaction only.
    """
    if connection.dialect.name == "sqlite":
        only = connection.execute(text("PRAGMA query_only")).scalar()
        connection.execute(text("PRAGMA query_only = OFF"))
        try:
            yield
        finally:
            if only:
                connection.execute(text("PRAGMA query_only = ON"))
        return
    only = connection.execute(text("SHOW transaction_read_only")).scalar() == "on"
    if only:
        connection.execute(text("SET TRANSACTION READ WRITE"))
    yield
    if only:
        connection.execute(text("SET TRANSACTION READ ONLY"))


def _hide(connection: Connection, table: Table) -> Table:
    """Put an empty temporary table of the same name and form before a table; returns the table behind it."""
    columns = [Column(column.name, column.type, primary_key=column.primary_key) for column in table.columns]
    in_front = Table(table.name, MetaData(), *columns, prefixes=["TEMPORARY"])
    for index in table.indexes:
        Index(index.name, *(in_front.c[column.name] for column in index.columns))
    in_front.create(connection, checkfirst=False)
    return table.to_metadata(MetaData(), schema=str(connection.dialect.default_schema_name))


def _copy(connection: Connection, real: Table, wanted: ColumnElement[bool]) -> None:
    connection.execute(insert(_in_front(real)).from_select(real.columns.keys(), select(real).where(wanted)))


def _in_front(real: Table) -> Table:
    return next(table for table in HIDDEN if table.name == real.name)


def _was_read(real: Table, end: datetime) -> ColumnElement[bool]:
    undated = and_(real.c.exported_at.is_(None), real.c.ingested_at < end)
    return or_(real.c.exported_at < end, undated)


def _was_sent(real: Table, end: datetime) -> ColumnElement[bool]:
    return and_(real.c.status.in_(_GONE), func.coalesce(real.c.sent_at, real.c.claimed_at) < end)


def _fill(connection: Connection, real: Table, export: Row[Any]) -> None:
    """The rows of one export; those of a profile join those of the run's grade report, as ingest has them."""
    table, kind = course_instancedetails, export.kind
    state = state_at(kind, export.course_instance, export.exported_at, real).subquery()
    of_run = select(real.c.term, real.c.year).where(real.c.course_instance == export.course_instance).limit(1)
    term, year = connection.execute(of_run).one_or_none() or (None, None)
    columns: dict[str, ColumnElement[Any]] = {
        "course_instance": literal(export.course_instance),
        "learner_id": state.c.learner_id,
        "course": literal(export.course),
        "run": literal(export.run),
        "term": literal(term, table.c.term.type),
        "year": literal(year, table.c.year.type),
        "status": literal(Status.GRADE_UNKNOWN.value),
        **{name: state.c[name] for name in VALUES[kind]},
    }
    if kind == GRADE_REPORT:
        columns["import_id"] = literal(export.id)
    else:
        columns |= {"enrollment_track": state.c.profile_track, "profile_import_id": literal(export.id)}
    rows: Select[Any] = select(*columns.values()).where(true()).order_by(state.c.learner_id)
    statement = insert_into(connection, table).from_select(list(columns), rows)
    if kind == STUDENT_PROFILE:
        joined = {name: statement.excluded[name] for name in ("profile_track", "profile_import_id")}
        statement = statement.on_conflict_do_update(index_elements=["course_instance", "learner_id"], set_=joined)
    connection.execute(statement)


def _derive(connection: Connection, program: Program, exports: Sequence[Row[Any]]) -> None:
    """Standings, completions, and which files counted, by the rules that ingest goes by."""
    for course in program.courses:
        recompute_status(connection, course.code, course.passing_grade)
        rebuild_course(connection, course.code)
    counted = [export.id for export in exports]
    of_reports = and_(imports.c.status.in_(READ), imports.c.kind.in_(list(VALUES)))
    loaded = or_(imports.c.id.in_(counted), imports.c.supplements.in_(counted))
    values = {"status": FileStatus.SUPERSEDED.value, "audit_hidden": False}
    connection.execute(update(imports).where(of_reports).values(values))
    connection.execute(update(imports).where(of_reports, loaded).values(status=FileStatus.LOADED.value))
    for export in exports:
        if export.kind == GRADE_REPORT and audit_is_hidden(connection, export.course_instance):
            set_audit_hidden(connection, export.course_instance, GRADE_REPORT, hidden=True)
