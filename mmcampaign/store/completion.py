"""The ladder of ``completion.py`` in SQL, and the ``completions`` derived with it: best status over runs, set-based.

Completions are rebuilt in the transaction that changed the rows they come from, for the learners it touched only.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Insert,
    MetaData,
    Select,
    SelectBase,
    Table,
    and_,
    case,
    delete,
    exists,
    func,
    literal,
    or_,
    select,
    true,
    update,
)

from mmcampaign.completion import FREE_TRACKS, PAID_TRACKS, RANK, passed_mark
from mmcampaign.model import Status
from mmcampaign.store.dialect import insert_into
from mmcampaign.store.import_log import Changes
from mmcampaign.store.runs import of_courses
from mmcampaign.store.tables import completions, course_instancedetails

_details = course_instancedetails.c
_ALONE = (_details.course, _details.learner_id, _details.status, _details.enrollment_track, _details.course_instance)
_temporary = MetaData()
_touched = Table(
    "touched_learners",
    _temporary,
    Column("learner_id", BigInteger, primary_key=True, autoincrement=False),
    Column("has_completion", Boolean),
    prefixes=["TEMPORARY"],
)
_fresh = Table(
    "fresh_completions",
    _temporary,
    *(Column(column.name, column.type, primary_key=column.name == "learner_id") for column in completions.columns),
    prefixes=["TEMPORARY"],
)


def status_in_sql(
    *,
    grade: ColumnElement[Any],
    track: ColumnElement[Any],
    eligible: ColumnElement[Any],
    delivered: ColumnElement[Any],
    passing_grade: ColumnElement[Any],
) -> ColumnElement[str]:
    """``completion.status_of_run`` as an expression."""
    return case(
        (delivered == "Y", Status.CERTIFIED.value),
        (and_(eligible == "Y", track.in_(sorted(PAID_TRACKS))), Status.ELIGIBLE.value),
        (grade.is_(None), Status.GRADE_UNKNOWN.value),
        (grade < passing_grade, Status.NOT_PASSED.value),
        (track.in_(sorted(FREE_TRACKS)), Status.AUDIT_PASSED.value),
        else_=Status.PASSED_NOT_ELIGIBLE.value,
    )


def audit_passed_in_sql(
    *, grade: ColumnElement[Any], track: ColumnElement[Any], passing_grade: ColumnElement[Any]
) -> ColumnElement[bool]:
    """``completion.is_audit_passed`` as an expression, never null."""
    return func.coalesce(and_(grade >= passing_grade, track.in_(sorted(FREE_TRACKS))), False)


def recompute_status(connection: Connection, course: str, passing_grade: float) -> None:
    """Judge every row of a course anew, after its passing grade changed."""
    cut = literal(passing_grade)
    grade, track = _details.grade, _details.enrollment_track
    connection.execute(
        update(course_instancedetails)
        .where(of_courses([course]))
        .values(
            status=status_in_sql(
                grade=grade,
                track=track,
                eligible=_details.certificate_eligible,
                delivered=_details.certificate_delivered,
                passing_grade=cut,
            ),
            audit_passed=audit_passed_in_sql(grade=grade, track=track, passing_grade=cut),
        )
    )


def note_learners(connection: Connection, course: str, learners: SelectBase) -> None:
    """Remember whose rows of the course are about to change, each once; ``rebuild_completions`` needs it."""
    _temporary.create_all(connection, checkfirst=False)
    who = learners.subquery().c[0]
    has_completion = exists(
        select(completions.c.learner_id).where(completions.c.course == course, completions.c.learner_id == who)
    )
    connection.execute(_touched.insert().from_select(_touched.c.keys(), select(who, has_completion).order_by(who)))


def rebuild_completions(connection: Connection, course: str, course_instance: str) -> Changes:
    """Derive the course's completions anew for the learners noted, whose rows of one run have changed.

    Who has no completion of the course yet has a row of this run alone, which is copied.
    """
    changes = _rebuild_noted(connection, course)
    alone = _details.learner_id.in_(select(_touched.c.learner_id).where(~_touched.c.has_completion))
    changes += _copy(connection, select(*_ALONE).where(_details.course_instance == course_instance, alone))
    _temporary.drop_all(connection, checkfirst=False)
    return changes


def rebuild_course(connection: Connection, course: str) -> None:
    """Derive every completion of a course from nothing."""
    connection.execute(delete(completions).where(completions.c.course == course))
    _temporary.create_all(connection, checkfirst=False)
    everybody = select(_details.learner_id, true()).where(of_courses([course])).distinct()
    connection.execute(_touched.insert().from_select(_touched.c.keys(), everybody))
    _rebuild_noted(connection, course)
    _temporary.drop_all(connection, checkfirst=False)


def first_completions(course: str, course_instances: Sequence[str]) -> Insert:
    """The statement that adds all completions of a course that has none yet, from the rows of all its runs."""
    alone = select(*_ALONE).where(_details.course_instance.in_(course_instances))
    rows = _of_one_run(alone) if len(course_instances) == 1 else _best(course, true())
    return _into_completions(rows)


def _copy(connection: Connection, rows: Select[Any]) -> Changes:
    """Of learners who have one run of the course."""
    every = _of_one_run(rows)
    run = every.order_by(None).subquery().c
    counted = select(_count_if(run.passed == "Y"), _count_if(run.status == Status.CERTIFIED.value))
    newly_passed, newly_certified = connection.execute(counted).one()
    connection.execute(_into_completions(every))
    return Changes(newly_passed=newly_passed, newly_certified=newly_certified)


def _of_one_run(rows: Select[Any]) -> Select[Any]:
    run = rows.subquery().c
    columns = (run.course, run.learner_id, run.status, run.enrollment_track, _passed(run.status), run.course_instance)
    return select(*columns).order_by(run.learner_id)


def _passed(status: ColumnElement[str]) -> ColumnElement[str]:
    return case({one.value: passed_mark(one) for one in Status}, value=status).label("passed")


def _into_completions(rows: Select[Any]) -> Insert:
    return completions.insert().inline().from_select([column.name for column in completions.columns], rows)


def _count_if(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.count(case((condition, 1)))


def _rebuild_noted(connection: Connection, course: str) -> Changes:
    with_completion = select(_touched.c.learner_id).where(_touched.c.has_completion)
    if connection.execute(with_completion.limit(1)).first() is None:
        return Changes()
    noted = _details.learner_id.in_(with_completion)
    connection.execute(
        _fresh.insert().from_select([column.name for column in completions.columns], _best(course, noted))
    )
    changes = Changes(
        newly_passed=_count_new(connection, _fresh.c.passed == "Y", completions.c.passed == "Y"),
        newly_certified=_count_new(
            connection,
            _fresh.c.status == Status.CERTIFIED.value,
            completions.c.status == Status.CERTIFIED.value,
        ),
    )
    _replace(connection, course, with_completion)
    return changes


def _best(course: str, which: ColumnElement[bool]) -> Select[Any]:
    """One row for each of these learners: ``completion.best_run`` as a query."""
    paid_last = case((_details.enrollment_track.in_(sorted(PAID_TRACKS)), 0), else_=1)
    order = (
        case({status.value: rank for status, rank in RANK.items()}, value=_details.status),
        paid_last,
        func.coalesce(_details.grade, -1).desc(),
        _details.course_instance.desc(),
    )
    place = func.row_number().over(partition_by=_details.learner_id, order_by=order).label("place")
    runs = (
        select(_details.course, _details.learner_id, _details.status, _details.enrollment_track, place)
        .add_columns(_details.course_instance)
        .where(of_courses([course]), which)
        .subquery()
    )
    return _of_one_run(select(runs).where(runs.c.place == 1))


def _same_learner() -> ColumnElement[bool]:
    return and_(completions.c.course == _fresh.c.course, completions.c.learner_id == _fresh.c.learner_id)


def _count_new(connection: Connection, now: ColumnElement[bool], before: ColumnElement[bool]) -> int:
    already = exists(select(completions.c.learner_id).where(_same_learner(), before))
    return int(connection.execute(select(func.count()).select_from(_fresh).where(now, ~already)).scalar_one())


def _replace(connection: Connection, course: str, learners: Select[Any]) -> None:
    connection.execute(
        delete(completions).where(
            completions.c.course == course,
            completions.c.learner_id.in_(learners),
            ~exists(select(_fresh.c.learner_id).where(_same_learner())),
        )
    )
    every = [column.name for column in completions.columns]
    insert = insert_into(connection, completions)
    insert = insert.from_select(every, select(_fresh).where(literal(True)).order_by(_fresh.c.learner_id))
    values = {name: insert.excluded[name] for name in ("status", "enrollment_track", "passed", "course_instance")}
    differs = or_(*(completions.c[name].is_distinct_from(value) for name, value in values.items()))
    connection.execute(
        insert.on_conflict_do_update(index_elements=["course", "learner_id"], set_=values, where=differs)
    )
