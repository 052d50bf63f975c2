"""The log of files read, ``imports`` and ``rejected_rows``, and what is said of a file."""

import json
from collections.abc import Collection, Sequence
from datetime import datetime
from pathlib import PurePath
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, delete, insert, or_, select, update

from mmcampaign.model import FileStatus
from mmcampaign.store.dialect import one_of
from mmcampaign.store.tables import imports, rejected_rows

REASON_SUPERSEDED = "A newer export of this run counts; names and addresses were looked at."
ExportKey = tuple[str, str, str | None, datetime | None]
READ = (FileStatus.LOADED.value, FileStatus.SUPERSEDED.value)


class ImportEntry(NamedTuple):
    """One file as the log keeps it; ``rejected_rows`` are (line, reason, raw row).

    ``header`` is the file's first line, where rows of it may be mended; ``supplements`` the id of the import that a
    file of mended rows is added to; ``resaved`` whether it is a copy that a spreadsheet has saved.
    """

    sha256: str
    name: str
    kind: str
    status: FileStatus
    ingested_at: datetime
    program: str | None = None
    course: str | None = None
    run: str | None = None
    course_instance: str | None = None
    exported_at: datetime | None = None
    rows: int = 0
    accepted: int = 0
    rejected: int = 0
    reason: str = ""
    warnings: tuple[str, ...] = ()
    rejected_rows: tuple[tuple[int, str, str], ...] = ()
    header: str | None = None
    supplements: int | None = None
    resaved: bool = False

    @property
    def stamp(self) -> datetime:
        """``exported_at`` of an export that is read; every such name has one."""
        assert self.exported_at is not None
        return self.exported_at


class Changes(NamedTuple):
    """What an ingest changed, counted once for each learner and course or run.

    Learners seen for the first time; those with another user name or address than before; courses that became passed,
    or certified; runs in which a learner moved from a free to a paid track; runs whose newest exports list a learner no
    more.
    """

    new_learners: int = 0
    renamed: int = 0
    newly_passed: int = 0
    newly_certified: int = 0
    upgraded: int = 0
    vanished: int = 0

    def __add__(self, other: "Changes") -> "Changes":  # type: ignore[override]  # counts are added, not joined
        return Changes(*(ours + theirs for ours, theirs in zip(self, other, strict=True)))


def export_key(export: ImportEntry | Row[Any]) -> ExportKey:
    """The bytes of an export and what they are an export of: who has all of that in common is the same one."""
    return export.sha256, export.kind, export.course_instance, export.exported_at


def read_before(connection: Connection, digests: Collection[str]) -> dict[ExportKey, Row[Any]]:
    """The imports of files with these SHA-256 that were read: ``find_read`` for many of them at once."""
    query = select(imports).where(one_of(connection, imports.c.sha256, list(digests)), imports.c.status.in_(READ))
    return {export_key(row): row for row in connection.execute(query)}


def find_read(connection: Connection, entry: ImportEntry) -> Row[Any] | None:
    """The import of the same bytes as the same export, under whatever name, if there is one (edX case E3).

    Equal bytes of another run or stamp are another export: reports without rows all look alike.
    """
    same = select(imports).where(
        imports.c.sha256 == entry.sha256,
        imports.c.kind == entry.kind,
        imports.c.course_instance == entry.course_instance,
        imports.c.exported_at == entry.exported_at,
        imports.c.status.in_(READ),
    )
    return connection.execute(same).first()


def as_duplicate(entry: ImportEntry, twin: Any) -> ImportEntry:
    """The entry of a file whose bytes were read before as the same export (edX case E3)."""
    said = "The same file was read" if twin.name == entry.name else f"Its bytes were read as {twin.name}"
    return entry._replace(
        status=FileStatus.DUPLICATE,
        rows=twin.rows,
        accepted=twin.accepted,
        rejected=twin.rejected,
        reason=f"{said} on {twin.ingested_at:%Y-%m-%d}.",
        warnings=(),
        rejected_rows=(),
    )


def find_mended(connection: Connection, digits: str, name: str) -> Row[Any] | None:
    """The import whose refused rows a file of that name holds, mended; ``digits`` begin its SHA-256.

    None when no such file was read. Of the same bytes read as several exports, the one whose name the file still has.
    """
    query = select(imports).where(
        imports.c.sha256.startswith(digits, autoescape=True),
        imports.c.status.in_(READ),
        imports.c.supplements.is_(None),
    )
    found = connection.execute(query.order_by(imports.c.id)).all()
    named = (row for row in found if name.startswith(PurePath(row.name).name.split(".csv")[0] + "."))
    return next(named, found[0] if found else None)


def find_current(connection: Connection, kind: str, course_instance: str | None) -> Row[Any] | None:
    """The export that counts for a course run and kind; mended rows that supplement it are no export of their own."""
    current = select(imports).where(
        imports.c.kind == kind,
        imports.c.course_instance == course_instance,
        imports.c.status == FileStatus.LOADED.value,
        imports.c.supplements.is_(None),
    )
    return connection.execute(current).first()


def place(export: ImportEntry | Row[Any]) -> tuple[datetime, bool, str, str]:
    """Which of two exports of a run and kind counts: the higher one, by stamp.

    In one minute an original comes before what a spreadsheet has saved (E8), whatever their names; then name and bytes
    decide.
    """
    assert export.exported_at is not None
    return export.exported_at, not export.resaved, PurePath(export.name).stem, export.sha256


def log_import(connection: Connection, entry: ImportEntry) -> int:
    """Write a file to the log, in place of what the log said of the same file before; returns the import's id.

    Nothing is written when the log says so already, or knows the file as the one that was read.
    """
    values = {**row_of(entry), "audit_hidden": False}
    before = _find_same_file(connection, entry)
    if before is not None and _says_so(before, values):
        return int(before.id)
    if before is None:
        added = connection.execute(insert(imports).values(values).returning(imports.c.id))
        import_id = int(added.scalar_one())
    else:
        import_id = int(before.id)
        connection.execute(delete(rejected_rows).where(rejected_rows.c.import_id == import_id))
        connection.execute(update(imports).where(imports.c.id == import_id).values(values))
    _log_rejected(connection, import_id, entry.rejected_rows)
    return import_id


def row_of(entry: ImportEntry) -> dict[str, Any]:
    """The columns of ``imports`` that an entry says."""
    named = (name for name in imports.columns.keys() if name not in ("id", "warnings", "audit_hidden"))  # noqa: SIM118
    return {name: getattr(entry, name) for name in named} | {"warnings": json.dumps(entry.warnings, ensure_ascii=False)}


def _says_so(before: Row[Any], values: dict[str, Any]) -> bool:
    if values["status"] is FileStatus.DUPLICATE and before.status in READ:
        return True
    return all(before._mapping[name] == value for name, value in values.items() if name != "ingested_at")


def _find_same_file(connection: Connection, entry: ImportEntry) -> Row[Any] | None:
    same = select(imports).where(imports.c.sha256 == entry.sha256, imports.c.name == entry.name)
    return connection.execute(same).first()


def _log_rejected(connection: Connection, import_id: int, rows: Sequence[tuple[int, str, str]]) -> None:
    if rows:
        connection.execute(insert(rejected_rows), rows_of_rejected(import_id, rows))


def rows_of_rejected(import_id: int, rows: Sequence[tuple[int, str, str]]) -> list[dict[str, Any]]:
    """The rows of ``rejected_rows`` for those of an entry."""
    return [{"import_id": import_id, "line": line, "reason": why, "raw": raw} for line, why, raw in rows]


def add_warning(connection: Connection, import_id: int, warning: str) -> None:
    """Say one more thing about a file whose merge has shown it."""
    said = connection.execute(select(imports.c.warnings).where(imports.c.id == import_id)).scalar_one()
    warnings = json.dumps([*json.loads(said), warning], ensure_ascii=False)
    connection.execute(update(imports).where(imports.c.id == import_id).values(warnings=warnings))


def mark_superseded(connection: Connection, import_id: int) -> None:
    """Another export of the same run and kind counts from now on; what supplements this one goes with it."""
    loaded = imports.c.status == FileStatus.LOADED.value
    connection.execute(
        update(imports)
        .where(loaded, or_(imports.c.id == import_id, imports.c.supplements == import_id))
        .values(status=FileStatus.SUPERSEDED.value, reason=REASON_SUPERSEDED, audit_hidden=False)
    )


def set_audit_hidden(connection: Connection, course_instance: str, kind: str, *, hidden: bool) -> None:
    """Flag the grade report that counts for a run as one that leaves audit learners out (edX case E44), or not."""
    connection.execute(
        update(imports)
        .where(
            imports.c.course_instance == course_instance,
            imports.c.kind == kind,
            imports.c.status == FileStatus.LOADED.value,
            imports.c.audit_hidden != hidden,
        )
        .values(audit_hidden=hidden)
    )
