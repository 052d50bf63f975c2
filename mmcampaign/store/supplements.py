"""Mended rows added to the export they came from (``imports --rejected --out``); they replace nobody's.

While that export counts its new rows count too; once a newer one has replaced it, they bring facts about learners and
the history of the run only. The newer one replaces them together with their export.
"""

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, Row, select

from mmcampaign.errors import InputError
from mmcampaign.model import FileStatus
from mmcampaign.store.completion import note_learners, rebuild_completions
from mmcampaign.store.enrollment_history import add_to_history, listed_in
from mmcampaign.store.enrollments import Run, add_grades, add_profiles
from mmcampaign.store.exports import flag_hidden_audit
from mmcampaign.store.import_log import Changes, ImportEntry, as_duplicate, find_read, log_import
from mmcampaign.store.learners import merge_learners
from mmcampaign.store.staging import Staging, staged_grades
from mmcampaign.store.tables import imports

REASON_SUPERSEDED = "A newer export of this run counts; of these rows, names and addresses were looked at."


def standing_in(connection: Connection, import_id: int, learners: Collection[int]) -> frozenset[int]:
    """Which of these learners stand in an export that was read, or in what was added to it already."""
    return listed_in(connection, _export(connection, import_id), learners)


def merge_supplement(
    staging: Staging, entry: ImportEntry, *, passing_grade: float, term: str | None, year: int | None
) -> tuple[ImportEntry, Changes]:
    """Add the staged rows to the export that ``entry.supplements`` names; returns its log entry, and what changed.

    Raises InputError when a learner of them stands there by now, and when one is staged twice.
    """
    with staging.merge() as connection:
        if twin := find_read(connection, entry):
            entry = as_duplicate(entry, twin)
            log_import(connection, entry)
            return entry, Changes()
        assert entry.supplements is not None
        export = _export(connection, entry.supplements)
        _require_new(connection, staging, export)
        if export.status != FileStatus.LOADED:
            entry = entry._replace(status=FileStatus.SUPERSEDED, reason=REASON_SUPERSEDED)
        add_to_history(connection, staging.table, export)
        import_id = log_import(connection, entry)
        changes = merge_learners(connection, staging.table, entry.stamp)
        if entry.status is FileStatus.SUPERSEDED:
            return entry, changes
        run = Run(
            course=entry.course or "",
            run=entry.run or "",
            course_instance=entry.course_instance or "",
            term=term,
            year=year,
            passing_grade=passing_grade,
            import_id=import_id,
        )
        changes += _add_to_run(connection, staging, run)
        return flag_hidden_audit(connection, entry, import_id), changes


def _export(connection: Connection, import_id: int) -> Row[Any]:
    return connection.execute(select(imports).where(imports.c.id == import_id)).one()


def _require_new(connection: Connection, staging: Staging, export: Row[Any]) -> None:
    """The reading has looked at this already, but another ingest may have come between."""
    staged = connection.execute(select(staging.table.c.student_id)).scalars().all()
    if listed_in(connection, export, staged):
        raise InputError("Another ingest has added rows of it meanwhile.", todo="Ingest the file again.")


def _add_to_run(connection: Connection, staging: Staging, run: Run) -> Changes:
    staged = staging.table
    note_learners(connection, run.course, select(staged.c.student_id))
    add_rows = add_grades if staged is staged_grades else add_profiles
    add_rows(connection, staged, run)
    return rebuild_completions(connection, run.course, run.course_instance)
