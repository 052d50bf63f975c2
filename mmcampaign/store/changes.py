"""What each export changed against the one before it, by course run and by learner.

Read from ``enrollment_history``: what a row there held until an export is compared with what followed it, which is the
learner's next row, or else the newest state. A run's first export has nothing before it: everybody it lists is new.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Double,
    Row,
    Select,
    Subquery,
    and_,
    case,
    cast,
    func,
    literal,
    null,
    or_,
    select,
)

from mmcampaign.completion import FREE_TRACKS, PAID_TRACKS, PASSED
from mmcampaign.errors import InputError
from mmcampaign.model import Change, FileStatus, Status
from mmcampaign.store.completion import status_in_sql
from mmcampaign.store.enrollment_history import counting_exports, state_at
from mmcampaign.store.import_log import READ
from mmcampaign.store.standing import GRADE_REPORT, VALUES, is_listed
from mmcampaign.store.tables import course_instancedetails, enrollment_history, imports, learners, program_courses

SUPPLEMENT = "Mended rows count with the export they were added to"
_KEY = ("course_instance", "learner_id", "until", "was_present", "now_present")
_details = course_instancedetails.c
_history = enrollment_history.c


class ExportChanges(NamedTuple):
    """How many learners of a run an export changed in each way; somebody may have changed in several.

    ``since`` is the stamp of the export before it, None for a run's first.
    """

    file_number: int
    name: str
    kind: str
    course: str
    run: str
    exported_at: datetime
    since: datetime | None
    newly_enrolled: int = 0
    passed: int = 0
    upgraded: int = 0
    certified: int = 0
    vanished: int = 0
    lowered: int = 0

    @property
    def counts(self) -> dict[str, int]:
        return {change: getattr(self, change) for change in Change}


class LearnerChange(NamedTuple):
    """What one export changed for one learner; before and after are None where the export does not list them."""

    student_id: int
    username: str
    changes: tuple[str, ...]
    grade_before: float | None
    grade_after: float | None
    track_before: str | None
    track_after: str | None
    status_before: str | None
    status_after: str | None


def list_changes(connection: Connection, wanted: Sequence[tuple[str, str, str]] | None = None) -> list[ExportChanges]:
    """Every export that has counted, in the order of reading, with what it changed.

    ``wanted`` narrows that to the exports that count now of these course runs, as (course, run, kind). Courses
    configured no more are left out.
    """
    passing = _passing_grades(connection)
    exports = [
        (row, since)
        for row, since in _with_predecessors(counting_exports(connection, imports.c.course.in_(list(passing))))
        if wanted is None or (row.status == FileStatus.LOADED and (row.course, row.run, row.kind) in wanted)
    ]
    later = [row for row, since in exports if since is not None]
    counted = {kind: _count(connection, kind, later, passing, newest=wanted is not None) for kind in VALUES}
    found = []
    for row, since in exports:
        if since is None:
            counts = _count_first(connection, row, passing[row.course])
        else:
            counts = counted[row.kind].get((row.course_instance, row.exported_at), {})
        found.append(_summed(row, since, counts))
    return sorted(found, key=lambda one: one.file_number)


def find_export(connection: Connection, key: str) -> Row[Any]:
    """The export of that number or file name. Raises InputError for a file that is none that has counted."""
    name = key.rpartition("/")[2]
    which = imports.c.id == int(key) if key.isdecimal() and len(key) < 19 else imports.c.name == name
    found = connection.execute(select(imports).where(which).order_by(imports.c.id.desc())).first()
    todo = "mmcampaign imports  (shows the files with their numbers)"
    if found is None:
        raise InputError(f"No file {key} was read.", todo=todo)
    if found.supplements is not None:
        raise InputError(f"{SUPPLEMENT}, number {found.supplements}.", todo=f"mmcampaign changes {found.supplements}")
    here = and_(imports.c.course_instance == found.course_instance, imports.c.kind == found.kind)
    if found.status in READ and any(row.id == found.id for row in counting_exports(connection, here)):
        return found
    raise InputError(f"{found.name} is {found.status} and has changed no enrollment: {found.reason}", todo=todo)


def learners_changed(connection: Connection, export: Row[Any]) -> Iterator[LearnerChange]:
    """Whom an export changed, and how, by student id."""
    here = and_(imports.c.course_instance == export.course_instance, imports.c.kind == export.kind)
    since = dict(_with_predecessors(counting_exports(connection, here)))
    passing: ColumnElement[Any] = literal(_passing_grades(connection).get(export.course), Double())
    before = next(stamp for row, stamp in since.items() if row.id == export.id)
    if before is None:
        changed = _everybody(export)
    else:
        of_export = (_history.course_instance == export.course_instance,)
        changed = _transitions(export.kind, of_export)
    changed = _judged(export.kind, changed, passing)
    flags = _flags(changed)
    columns: list[Any] = [changed.c.learner_id, learners.c.username, changed.c.was_present, changed.c.now_present]
    columns += flags.values()
    columns += [changed.c[f"{side}_{name}"] for side in ("was", "now") for name in ("grade", "track", "status")]
    query = select(*columns).outerjoin_from(changed, learners, learners.c.student_id == changed.c.learner_id)
    query = query.where(changed.c.until == export.exported_at, or_(*flags.values())).order_by(changed.c.learner_id)
    for row in connection.execute(query):
        yield _learner_change(tuple(row))


def _learner_change(row: Sequence[Any]) -> LearnerChange:
    student_id, username, was, now, *rest = row
    happened, shown = rest[: len(Change)], rest[len(Change) :]
    before, after = shown[:3], shown[3:]
    values = [value if there else None for there, side in ((was, before), (now, after)) for value in side]
    return LearnerChange(
        student_id=student_id,
        username=username or "",
        changes=tuple(change.value for change, flag in zip(Change, happened, strict=True) if flag),
        grade_before=values[0],
        track_before=values[1],
        status_before=values[2],
        grade_after=values[3],
        track_after=values[4],
        status_after=values[5],
    )


def _passing_grades(connection: Connection) -> dict[str, float]:
    query = select(program_courses.c.course, program_courses.c.passing_grade)
    return {course: grade for course, grade in connection.execute(query)}  # noqa: C416  rows are no pairs to mypy


def _with_predecessors(exports: Sequence[Row[Any]]) -> Iterator[tuple[Row[Any], datetime | None]]:
    """Each export with the stamp of the one before it; ``exports`` are in the order of their stamps."""
    latest: dict[tuple[str, str], datetime] = {}
    for row in exports:
        of_run = (row.course_instance, row.kind)
        yield row, latest.get(of_run)
        latest[of_run] = row.exported_at


def _summed(row: Row[Any], since: datetime | None, counts: Mapping[str, int]) -> ExportChanges:
    return ExportChanges(
        file_number=row.id,
        name=row.name,
        kind=row.kind,
        course=row.course,
        run=row.run,
        exported_at=row.exported_at,
        since=since,
        **counts,
    )


def _count(
    connection: Connection, kind: str, exports: Sequence[Row[Any]], passing: Mapping[str, float], *, newest: bool
) -> dict[tuple[str, datetime], dict[str, int]]:
    """The counts of exports of a kind, by course run and stamp; none is a run's first, all count now if ``newest``."""
    exports = [row for row in exports if row.kind == kind]
    if not exports:
        return {}
    cuts = {row.course_instance: passing[row.course] for row in exports}
    which: ColumnElement[bool] = _history.course_instance.in_(list(cuts))
    if newest:
        which = or_(*(_of_export(row) for row in exports))
    changed = _transitions(kind, (which,), newest=newest)
    changed = _judged(kind, changed, case(cuts, value=changed.c.course_instance))
    flags = _flags(changed)
    by_export = (changed.c.course_instance, changed.c.until)
    query = select(*by_export, *(func.count(case((flag, 1))) for flag in flags.values())).group_by(*by_export)
    return {
        (run, until): dict(zip(map(str, Change), counts, strict=True))
        for run, until, *counts in connection.execute(query)
    }


def _of_export(row: Row[Any]) -> ColumnElement[bool]:
    return and_(_history.course_instance == row.course_instance, _history.until == row.exported_at)


def _count_first(connection: Connection, export: Row[Any], passing_grade: float) -> dict[str, int]:
    """Everybody is new. Of an export that still counts the rows themselves say the rest."""
    passed = sorted(status.value for status in PASSED)
    if export.status == FileStatus.LOADED:
        here = and_(_details.course_instance == export.course_instance, is_listed(export.kind))
        rows = select(_details.status.label("status")).where(here).subquery()
    else:
        state = _judged(export.kind, _everybody(export), literal(passing_grade))
        rows = select(state.c.now_status.label("status")).subquery()
    flags = (rows.c.status.in_(passed), rows.c.status == Status.CERTIFIED.value)
    counts: list[Any] = [func.count(), *(func.count(case((flag, 1))) for flag in flags)]
    listed, passes, certificates = connection.execute(select(*counts).select_from(rows)).one()
    if export.kind != GRADE_REPORT:
        passes = certificates = 0
    return {"newly_enrolled": listed, "passed": passes, "certified": certificates}


def _transitions(kind: str, conditions: Sequence[ColumnElement[bool]], *, newest: bool = False) -> Subquery:
    """What each learner's row was before an export (``was_...``) and after it (``now_...``).

    ``newest``: the conditions are of exports that count now, which nothing has followed.
    """
    names = ("present", *VALUES[kind])
    order: dict[str, Any] = {
        "partition_by": (_history.course_instance, _history.learner_id),
        "order_by": _history.until,
    }
    following = (
        (cast(null(), _history[name].type) if newest else func.lead(_history[name]).over(**order)).label(f"next_{name}")
        for name in names
    )
    was = (_history[name].label(f"was_{name}") for name in names)
    key = (_history.course_instance, _history.learner_id, _history.until)
    rows = select(*key, *was, *following).where(_history.kind == kind, *conditions).subquery()
    same = and_(
        _details.course_instance == rows.c.course_instance, _details.learner_id == rows.c.learner_id, is_listed(kind)
    )
    last = rows.c.next_present.is_(None)
    now = [case((last, _details.learner_id.is_not(None)), else_=rows.c.next_present).label("now_present")]
    now += [case((last, _details[name]), else_=rows.c[f"next_{name}"]).label(f"now_{name}") for name in VALUES[kind]]
    kept = [rows.c[name] for name in ("course_instance", "learner_id", "until", *(f"was_{name}" for name in names))]
    query: Select[Any] = select(*kept, *now).outerjoin_from(rows, course_instancedetails, same)
    return query.subquery()


def _everybody(export: Row[Any]) -> Subquery:
    """A first export as transitions: from nothing to what it lists."""
    state = state_at(export.kind, export.course_instance, export.exported_at).subquery()
    nothing = (cast(null(), state.c[name].type).label(f"was_{name}") for name in VALUES[export.kind])
    now = (state.c[name].label(f"now_{name}") for name in VALUES[export.kind])
    of_export = (
        literal(export.exported_at, _history.until.type).label("until"),
        literal(False).label("was_present"),
        literal(True).label("now_present"),
    )
    return select(state.c.learner_id, *of_export, *nothing, *now).subquery()


def _judged(kind: str, rows: Subquery, passing_grade: ColumnElement[Any]) -> Subquery:
    """The transitions with grade, track and standing before and after; a profile knows of the track alone."""
    kept = (rows.c[name] for name in rows.c.keys() if name in _KEY)  # noqa: SIM118  a collection of columns, no dict
    found: list[ColumnElement[Any]] = []
    grade: ColumnElement[Any]
    track: ColumnElement[Any]
    status: ColumnElement[str]
    for side in ("was", "now"):
        if kind == GRADE_REPORT:
            grade, track = rows.c[f"{side}_grade"], rows.c[f"{side}_enrollment_track"]
            status = status_in_sql(
                grade=grade,
                track=track,
                eligible=rows.c[f"{side}_certificate_eligible"],
                delivered=rows.c[f"{side}_certificate_delivered"],
                passing_grade=passing_grade,
            )
        else:
            grade, track = cast(null(), Double()), rows.c[f"{side}_profile_track"]
            status = literal(Status.GRADE_UNKNOWN.value)
        found += [grade.label(f"{side}_grade"), track.label(f"{side}_track"), status.label(f"{side}_status")]
    return select(*kept, *found).subquery()


def _flags(rows: Subquery) -> dict[Change, ColumnElement[bool]]:
    """Whether each change has happened; never null."""
    was, now = rows.c.was_status, rows.c.now_status
    passed, certified = sorted(status.value for status in PASSED), Status.CERTIFIED.value
    stayed = and_(rows.c.was_present, rows.c.now_present)
    to_paid = and_(rows.c.was_track.in_(sorted(FREE_TRACKS)), rows.c.now_track.in_(sorted(PAID_TRACKS)))
    lost = or_(
        and_(was.in_(passed), now.not_in(passed)),
        and_(was == certified, now != certified),
        func.coalesce(rows.c.now_grade < rows.c.was_grade, False),
    )
    return {
        Change.NEWLY_ENROLLED: and_(~rows.c.was_present, rows.c.now_present),
        Change.PASSED: and_(now.in_(passed), was.not_in(passed)),
        Change.UPGRADED: and_(stayed, func.coalesce(to_paid, False)),
        Change.CERTIFIED: and_(now == certified, was != certified),
        Change.VANISHED: and_(rows.c.was_present, ~rows.c.now_present),
        Change.LOWERED: and_(stayed, lost),
    }
