"""Learners in course runs: the newest grade report and the newest profile of a run, joined by learner (edx-exports 8).

An export replaces the older one of its run and kind whole (edX cases E2, E45): who stands in neither newest export any
more has no row any more.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Connection,
    Integer,
    Table,
    Text,
    and_,
    case,
    delete,
    exists,
    false,
    func,
    literal,
    select,
    true,
    union_all,
    update,
)

from mmcampaign.completion import FREE_TRACKS, PAID_TRACKS
from mmcampaign.model import Status
from mmcampaign.store.completion import audit_passed_in_sql, status_in_sql
from mmcampaign.store.dialect import insert_into
from mmcampaign.store.import_log import Changes
from mmcampaign.store.standing import GRADE_REPORT, STUDENT_PROFILE, VALUES
from mmcampaign.store.tables import course_instancedetails

_details = course_instancedetails.c
_GRADE_COLUMNS = (
    "grade",
    "enrollment_track",
    "verification_status",
    "certificate_eligible",
    "certificate_delivered",
    "certificate_type",
    "enrollment_status",
)


class Run(NamedTuple):
    """The course run an export belongs to, and the import that brings it. ``passing_grade`` is a fraction."""

    course: str
    run: str
    course_instance: str
    term: str | None
    year: int | None
    passing_grade: float
    import_id: int


def replace_grades(connection: Connection, staged: Table, run: Run) -> Changes:
    """Make the staged grade report the one of its run. Who left it but has a profile row becomes ``grade_unknown``."""
    upgraded = _count_upgraded(connection, staged, run, staged.c.enrollment_track, true())
    gone = and_(_details.course_instance == run.course_instance, ~_is_staged(staged))
    emptied: dict[str, Any] = dict.fromkeys(_GRADE_COLUMNS)
    emptied |= {"import_id": None, "status": Status.GRADE_UNKNOWN, "audit_passed": False}
    emptied["enrollment_track"] = _details.profile_track
    connection.execute(
        update(course_instancedetails)
        .where(gone, _details.import_id.is_not(None), _details.profile_import_id.is_not(None))
        .values(emptied)
    )
    vanished = connection.execute(delete(course_instancedetails).where(gone, _details.profile_import_id.is_(None)))
    add_grades(connection, staged, run)
    return Changes(upgraded=upgraded, vanished=vanished.rowcount)


def add_grades(connection: Connection, staged: Table, run: Run) -> None:
    """Bring the staged rows into the grade report of the run; learners who are not staged stay as they are."""
    columns = _of_grades(staged, run)
    insert = _insert(connection, staged, run, columns)
    connection.execute(_on_conflict(insert, {name: insert.excluded[name] for name in columns}))


def _of_grades(staged: Table, run: Run) -> dict[str, Any]:
    """The columns that a row of a grade report fills."""
    grade, track, cut = staged.c.grade, staged.c.enrollment_track, literal(run.passing_grade)
    return {
        **{name: staged.c[name] for name in _GRADE_COLUMNS},
        "audit_passed": audit_passed_in_sql(grade=grade, track=track, passing_grade=cut),
        "status": status_in_sql(
            grade=grade,
            track=track,
            eligible=staged.c.certificate_eligible,
            delivered=staged.c.certificate_delivered,
            passing_grade=cut,
        ),
        "import_id": literal(run.import_id),
    }


def replace_profiles(connection: Connection, staged: Table, run: Run) -> Changes:
    """Make the staged profile report the one of its run. Who stands in no grade report is ``grade_unknown`` (E32)."""
    upgraded = _count_upgraded(connection, staged, run, staged.c.profile_track, _details.import_id.is_(None))
    gone = and_(_details.course_instance == run.course_instance, ~_is_staged(staged))
    connection.execute(
        update(course_instancedetails)
        .where(gone, _details.import_id.is_not(None), _details.profile_import_id.is_not(None))
        .values(profile_track=None, profile_import_id=None)
    )
    vanished = connection.execute(delete(course_instancedetails).where(gone, _details.import_id.is_(None)))
    add_profiles(connection, staged, run)
    return Changes(upgraded=upgraded, vanished=vanished.rowcount)


def add_profiles(connection: Connection, staged: Table, run: Run) -> None:
    """Bring the staged rows into the profile of the run; learners who are not staged stay as they are."""
    columns = _of_profile(staged, run.import_id)
    insert = _insert(connection, staged, run, columns)
    of_grades = _details.import_id.is_not(None)
    track = case((of_grades, _details.enrollment_track), else_=insert.excluded.profile_track)
    kept = {name: insert.excluded[name] for name in ("profile_track", "profile_import_id")}
    connection.execute(_on_conflict(insert, {**kept, "enrollment_track": track}))


def _of_profile(staged: Table, import_id: int) -> dict[str, Any]:
    """The columns that a row of a profile fills."""
    return {
        "enrollment_track": staged.c.profile_track,
        "profile_track": staged.c.profile_track,
        "status": literal(Status.GRADE_UNKNOWN.value),
        "audit_passed": false(),
        "profile_import_id": literal(import_id),
    }


def touched_by_grades(staged: Table, course_instance: str) -> CompoundSelect[Any]:
    """The learners whose completion the staged grade report may change: who left it, changed in it or came."""
    graded = and_(_details.course_instance == course_instance, _details.import_id.is_not(None))
    return _touched(staged, VALUES[GRADE_REPORT], changing=graded, known=graded)


def touched_by_profiles(staged: Table, course_instance: str) -> CompoundSelect[Any]:
    """The same of a profile, which says nothing that counts about who stands in the grade report."""
    here = _details.course_instance == course_instance
    return _touched(staged, VALUES[STUDENT_PROFILE], changing=and_(here, _details.import_id.is_(None)), known=here)


def _touched(
    staged: Table, names: Sequence[str], *, changing: ColumnElement[bool], known: ColumnElement[bool]
) -> CompoundSelect[Any]:
    """``learner_id`` once each."""
    same = staged.c.student_id == _details.learner_id
    unchanged = and_(*(_details[name].is_not_distinct_from(staged.c[name]) for name in names))
    changed = select(_details.learner_id).where(changing, ~exists(select(staged.c.student_id).where(same, unchanged)))
    came = select(staged.c.student_id).where(~exists(select(_details.learner_id).where(known, same)))
    return union_all(changed, came)


def _is_staged(staged: Table) -> ColumnElement[bool]:
    return exists(select(staged.c.student_id).where(staged.c.student_id == _details.learner_id))


def _count_upgraded(
    connection: Connection, staged: Table, run: Run, track: ColumnElement[str], which: ColumnElement[bool]
) -> int:
    here = and_(_details.course_instance == run.course_instance, _details.learner_id == staged.c.student_id)
    moved = and_(_details.enrollment_track.in_(sorted(FREE_TRACKS)), track.in_(sorted(PAID_TRACKS)))
    joined = staged.join(course_instancedetails, here)
    return int(connection.execute(select(func.count()).select_from(joined).where(moved, which)).scalar_one())


def _insert(connection: Connection, staged: Table, run: Run, columns: dict[str, Any]) -> Any:
    """The staged rows by learner, which is the order of the table's key; SQLite wants a WHERE before ON CONFLICT."""
    of_run = {
        "course_instance": literal(run.course_instance),
        "learner_id": staged.c.student_id,
        "course": literal(run.course),
        "run": literal(run.run),
        "term": literal(run.term, Text()),
        "year": literal(run.year, Integer()),
    }
    every = {**of_run, **columns}
    rows = select(*every.values()).select_from(staged).where(true()).order_by(staged.c.student_id)
    return insert_into(connection, course_instancedetails).from_select(list(every), rows)


def _on_conflict(insert: Any, values: dict[str, Any]) -> Any:
    return insert.on_conflict_do_update(index_elements=["course_instance", "learner_id"], set_=values)


def audit_is_hidden(connection: Connection, course_instance: str) -> bool:
    """Whether the run's grade report lists verified learners only while its profile shows others (edX case E44)."""
    here = _details.course_instance == course_instance
    others_graded = exists(
        select(_details.learner_id).where(
            here, _details.import_id.is_not(None), _details.enrollment_track != "verified"
        )
    )
    others_enrolled = exists(select(_details.learner_id).where(here, _details.profile_track != "verified"))
    return bool(connection.execute(select(and_(~others_graded, others_enrolled))).scalar_one())
