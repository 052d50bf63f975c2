"""Reads the completion report of a program: the rows of its view, and the counts that sum it up (contract 4)."""

import json
from collections.abc import Generator, Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, Integer, Select, and_, case, cast, column, func, null, select, table

from mmcampaign.figures import Source, Standing
from mmcampaign.model import FileStatus, Program, Status
from mmcampaign.store.engine import Store
from mmcampaign.store.programs import view_name
from mmcampaign.store.runs import of_courses
from mmcampaign.store.tables import completions, course_instancedetails, imports

_ROWS_AT_A_TIME = 5_000
_CERTIFICATE = (Status.CERTIFIED.value, Status.ELIGIBLE.value)


class CompletionCount(NamedTuple):
    """Learners of a course that share a track, a status and a ``passed`` mark."""

    course: str
    track: str
    status: Status
    passed: str
    learners: int


class RunCount(NamedTuple):
    """Learners of a course run that share a status."""

    course: str
    run: str
    status: Status
    learners: int


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
        .where(completions.c.course.in_(_codes(program)))
        .group_by(completions.c.course, track, completions.c.status, completions.c.passed)
    )
    return [
        CompletionCount(course, track, Status(status), passed, learners)
        for course, track, status, passed, learners in connection.execute(query)
    ]


def run_counts(connection: Connection, program: Program) -> list[RunCount]:
    """How many learners stand where in each course run."""
    details = course_instancedetails.c
    query = (
        select(details.course, details.run, details.status, func.count())
        .where(of_courses(_codes(program)))
        .group_by(details.course, details.run, details.status)
        .order_by(details.course, details.run)
    )
    return [RunCount(course, run, Status(status), count) for course, run, status, count in connection.execute(query)]


def standing_counts(connection: Connection, program: Program) -> list[Standing]:
    """How many learners have so many certificates and have passed so many courses in the series and outside it."""
    in_series = completions.c.course.in_([course.code for course in program.series])
    passed = completions.c.passed == "Y"
    per_learner = (
        select(
            _number(completions.c.status.in_(_CERTIFICATE)).label("certificates"),
            _number(and_(passed, in_series)).label("series_passed"),
            _number(and_(passed, ~in_series)).label("others_passed"),
        )
        .where(completions.c.course.in_(_codes(program)))
        .group_by(completions.c.learner_id)
        .subquery()
    )
    columns = per_learner.c.certificates, per_learner.c.series_passed, per_learner.c.others_passed
    query = select(*columns, func.count().label("learners")).group_by(*columns).order_by(*columns)
    return [Standing(**row._mapping) for row in connection.execute(query)]


def _number(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.count(case((condition, 1)))


def term_counts(connection: Connection, program: Program, order: Sequence[str]) -> dict[int | None, int]:
    """Of the learners with a certificate in every course of the series: terms from the first to the last -> learners.

    ``order`` names the runs, oldest first; None stands for learners with a certificate from any other run.
    """
    places = {course.instance(run): place for course in program.series for place, run in enumerate(order)}
    place = case(places, value=completions.c.course_instance) if places else cast(null(), Integer)
    courses = [course.code for course in program.series]
    span = case((func.count(place) == len(courses), func.max(place) - func.min(place)))
    per_learner = (
        select(span.label("terms"))
        .where(completions.c.course.in_(courses), completions.c.status.in_(_CERTIFICATE))
        .group_by(completions.c.learner_id)
        .having(func.count() == len(courses))
        .subquery()
    )
    query = select(per_learner.c.terms, func.count()).group_by(per_learner.c.terms).order_by(per_learner.c.terms)
    return {terms: learners for terms, learners in connection.execute(query)}  # noqa: C416  rows are no pairs to mypy


def newest_exports(connection: Connection, program: Program) -> list[Source]:
    """What the report rests on, by course, run and kind."""
    query = (
        select(imports)
        .where(
            imports.c.course.in_(_codes(program)),
            imports.c.status == FileStatus.LOADED,
            imports.c.exported_at.is_not(None),
        )
        .order_by(imports.c.course, imports.c.run, imports.c.kind)
    )
    return [
        Source(
            course_code=row.course,
            run=row.run,
            kind=row.kind,
            file=row.name,
            exported_at=row.exported_at,
            ingested_at=row.ingested_at,
            rows=row.rows,
            warnings=tuple(json.loads(row.warnings)),
        )
        for row in connection.execute(query)
    ]


def _codes(program: Program) -> list[str]:
    return [course.code for course in program.courses]
