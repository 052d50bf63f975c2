"""Reads the completion report of a program: the rows of its view, and the counts that sum it up (contract 4)."""

from collections.abc import Generator
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, Select, case, column, func, select, table

from mmcampaign.model import FileStatus, Program, Status
from mmcampaign.store.engine import Store
from mmcampaign.store.programs import view_name
from mmcampaign.store.tables import completions, imports

_ROWS_AT_A_TIME = 5_000


class CompletionCount(NamedTuple):
    """Learners of a course that share a track, a status and a ``passed`` mark."""

    course: str
    track: str
    status: Status
    passed: str
    learners: int


class NewestExport(NamedTuple):
    """The newest loaded export of a course run and kind. ``exported_at`` is UTC."""

    course: str
    run: str
    kind: str
    exported_at: datetime


def report_columns(program: Program) -> tuple[str, ...]:
    """The columns of the report, in order (contract 4)."""
    per_course = (f"{course.code}_{column}" for course in program.courses for column in ("enrollment_track", "passed"))
    start, end = (
        ("student_id", "username", "email", "name"),
        ("no_certificate_eligible", "no_audited_passed", "country"),
    )
    return (*start, *per_course, *end)


def completion_rows(store: Store, program: Program, *, limit: int | None = None) -> Generator[tuple[object, ...]]:
    """The rows of the report, most certificates first, then by student id; flat in memory.

    Holds one reading transaction open until the last row is taken or the iterator is closed.
    """
    query = _view_query(program).limit(limit)
    with (
        store.read() as connection,
        connection.execute(query, execution_options={"yield_per": _ROWS_AT_A_TIME}) as result,
    ):
        for row in result:
            yield tuple(row)


def _view_query(program: Program) -> Select[tuple[object, ...]]:
    view = table(view_name(program.code), *(column(name) for name in report_columns(program)))
    return select(*view.columns).order_by(view.c.no_certificate_eligible.desc(), view.c.student_id)


def completion_counts(connection: Connection, program: Program) -> list[CompletionCount]:
    """How many learners stand where, for each course of the program."""
    track = func.coalesce(completions.c.enrollment_track, "")
    query = (
        select(completions.c.course, track, completions.c.status, completions.c.passed, func.count())
        .where(completions.c.course.in_([course.code for course in program.courses]))
        .group_by(completions.c.course, track, completions.c.status, completions.c.passed)
    )
    return [
        CompletionCount(course, track, Status(status), passed, learners)
        for course, track, status, passed, learners in connection.execute(query)
    ]


def certificate_counts(connection: Connection, program: Program) -> dict[int, int]:
    """Number of courses certified or eligible -> number of learners."""
    certificates = case((completions.c.status.in_([Status.CERTIFIED, Status.ELIGIBLE]), 1), else_=0)
    per_learner = (
        select(func.sum(certificates).label("earned"))
        .where(completions.c.course.in_([course.code for course in program.courses]))
        .group_by(completions.c.learner_id)
        .subquery()
    )
    query = select(per_learner.c.earned, func.count()).group_by(per_learner.c.earned).order_by(per_learner.c.earned)
    return {int(earned): learners for earned, learners in connection.execute(query)}


def newest_exports(connection: Connection, program: Program) -> list[NewestExport]:
    """What the report rests on, by course, run and kind."""
    query = (
        select(imports.c.course, imports.c.run, imports.c.kind, func.max(imports.c.exported_at))
        .where(
            imports.c.course.in_([course.code for course in program.courses]),
            imports.c.status == FileStatus.LOADED,
            imports.c.exported_at.is_not(None),
        )
        .group_by(imports.c.course, imports.c.run, imports.c.kind)
        .order_by(imports.c.course, imports.c.run, imports.c.kind)
    )
    return [NewestExport(*row) for row in connection.execute(query)]
