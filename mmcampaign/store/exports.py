"""One export merged in one transaction: rows, log, the older export it replaces, completions."""

from typing import Any, NamedTuple

from sqlalchemy import Connection

from mmcampaign.model import FileStatus
from mmcampaign.store.completion import note_learners, rebuild_completions
from mmcampaign.store.enrollment_history import record_history
from mmcampaign.store.enrollments import (
    Run,
    audit_is_hidden,
    replace_grades,
    replace_profiles,
    touched_by_grades,
    touched_by_profiles,
)
from mmcampaign.store.holdback import LossLimit, require_small_loss
from mmcampaign.store.import_log import (
    REASON_SUPERSEDED,
    Changes,
    ImportEntry,
    add_warning,
    as_duplicate,
    find_current,
    find_read,
    log_import,
    mark_superseded,
    place,
    set_audit_hidden,
)
from mmcampaign.store.learners import merge_learners
from mmcampaign.store.staging import Staging, staged_grades

GRADE_REPORT = "grade_report"  # the kind, as edX's file names say it
AUDIT_HIDDEN = (
    "The grade report of this run lists verified learners only, so those who passed on a free track are missing: "
    "nobody can be invited to upgrade in this run."
)


Merged = tuple[ImportEntry, Changes]  # the log entry as it was written, and what changed


class Export(NamedTuple):
    """An export whose rows are staged. ``passing_grade`` is a fraction."""

    staging: Staging
    entry: ImportEntry
    passing_grade: float
    term: str | None
    year: int | None
    loss: LossLimit

    def run(self, import_id: int) -> Run:
        return Run(
            course=self.entry.course or "",
            run=self.entry.run or "",
            course_instance=self.entry.course_instance or "",
            term=self.term,
            year=self.year,
            passing_grade=self.passing_grade,
            import_id=import_id,
        )


def merge_export(export: Export) -> Merged:
    """Merge the staged rows of an export.

    An export older than the one that counts is ``superseded`` at once and brings facts about learners only (edX cases
    E2, E33). Raises InputError when a learner stands in it twice (E21), and when it lacks more of the learners of the
    export it replaces than ``loss`` allows.
    """
    staging, entry = export.staging, export.entry
    with staging.merge() as connection:
        if twin := find_read(connection, entry):
            entry = as_duplicate(entry, twin)
            log_import(connection, entry)
            return entry, Changes()
        current = find_current(connection, entry.kind, entry.course_instance)
        entry = _judged(entry, current)
        if current is not None:
            require_small_loss(connection, staging.table, entry, current, export.loss)
            record_history(connection, staging.table, entry)
        import_id = log_import(connection, entry)
        is_old = entry.status is FileStatus.SUPERSEDED
        newer = current if current is not None and current.exported_at > entry.stamp else None
        changes = merge_learners(connection, staging.table, entry.stamp, newer=newer)
        if is_old:
            return entry, changes
        if current is not None:
            mark_superseded(connection, current.id)
        changes += _replace_run(connection, staging, export.run(import_id))
        return flag_hidden_audit(connection, entry, import_id), changes


def _judged(entry: ImportEntry, current: Any) -> ImportEntry:
    """Whether the export counts: the newest stamp; in the same minute the name that sorts last, ``… (1)`` say."""
    if current is None:
        return entry
    if current.exported_at == entry.exported_at:
        which = "the one whose name sorts last counts"
        if entry.resaved != current.resaved:
            which = "the original counts, not the copy that a spreadsheet has saved"
        warning = f"{current.name} is of the same minute but differs; {which}."
        entry = entry._replace(warnings=(*entry.warnings, warning))
    if place(entry) > place(current):
        return entry
    return entry._replace(status=FileStatus.SUPERSEDED, reason=REASON_SUPERSEDED)


def _replace_run(connection: Connection, staging: Staging, run: Run) -> Changes:
    of_grades = staging.table is staged_grades
    touched = touched_by_grades if of_grades else touched_by_profiles
    note_learners(connection, run.course, touched(staging.table, run.course_instance))
    replace_rows = replace_grades if of_grades else replace_profiles
    changes = replace_rows(connection, staging.table, run)
    return changes + rebuild_completions(connection, run.course, run.course_instance)


def flag_hidden_audit(connection: Connection, entry: ImportEntry, import_id: int) -> ImportEntry:
    """Edge case E44; either of a run's two reports may be the one that shows it."""
    instance = entry.course_instance or ""
    if find_current(connection, GRADE_REPORT, instance) is None:
        return entry
    hidden = audit_is_hidden(connection, instance)
    set_audit_hidden(connection, instance, GRADE_REPORT, hidden=hidden)
    if not hidden:
        return entry
    add_warning(connection, import_id, AUDIT_HIDDEN)
    return entry._replace(warnings=(*entry.warnings, AUDIT_HIDDEN))
