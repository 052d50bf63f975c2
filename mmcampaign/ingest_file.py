"""One file of an ingest, step by step: its name, its bytes, its header, its rows, then the merge.

Each step can refuse the file with a reason; what was refused is logged, and nothing of it enters the tables.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from mmcampaign.completion import FREE_TRACKS, PAID_TRACKS
from mmcampaign.edx_csv import (
    GRADE_ERRORS,
    GRADES,
    REPORTS,
    ROWS,
    UNKNOWN,
    Chunk,
    ExportName,
    RejectedRow,
    count_records,
    parse_name,
    read_layout,
    read_rows,
    sniff_kind,
    term_and_year,
)
from mmcampaign.errors import InputError
from mmcampaign.model import Course, FileStatus, Program
from mmcampaign.store.engine import Store
from mmcampaign.store.exports import Changes, as_duplicate, merge_export
from mmcampaign.store.import_log import ImportEntry, find_read, log_import
from mmcampaign.store.staging import open_staging, staged_grades, staged_profiles

# More bad rows than this, and the file is not what it seems (edX case E22); the details of no more are kept.
BAD_ROWS, BAD_SHARE, BAD_ROWS_KEPT = 5, 0.01, 10_000
SHOWN_OF_REFUSED = 100


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How the files of one ``ingest`` are read."""

    store: Store
    programs: tuple[Program, ...]
    only_program: str | None
    now: datetime
    on_rows: Callable[[int], None]

    def turn(self, path: Path) -> tuple[str, str, float, str]:
        """A run's newest export of a kind comes first: an older one must not count for a while. Copies come last."""
        name = self.parse(path)
        age = -name.exported_at.timestamp() if name.exported_at else 0.0
        return f"{name.prefix}_{name.run}", name.kind, age, path.stem

    def parse(self, path: Path) -> ExportName:
        return parse_name(path.name, [course.prefix for program in self.programs for course in program.courses])

    def read(self, path: Path) -> tuple[ImportEntry, Changes]:
        name = self.parse(path)
        entry, course = self._entry(path, name)
        try:
            if self.only_program and entry.program not in (None, self.only_program):
                entry = replace(entry, reason=f"It belongs to the program {entry.program}.")
                return entry, Changes()
            with path.open("rb") as file:
                entry, changes = self._read_open(file, replace(entry, sha256=_digest(file)), name, course)
        except OSError as error:
            entry = replace(entry, status=FileStatus.REFUSED, reason=f"The file cannot be read: {error.strerror}.")
            changes = Changes()
        return entry, changes

    def _entry(self, path: Path, name: ExportName) -> tuple[ImportEntry, Course | None]:
        owners = ((program, course) for program in self.programs for course in program.courses)
        program, course = next(((p, c) for p, c in owners if name.prefix and c.prefix == name.prefix), (None, None))
        entry = ImportEntry(
            sha256="",
            name=path.name,
            kind=name.kind,
            program=program.code if program else None,
            course=course.code if course else None,
            run=name.run or None,
            course_instance=course.instance(name.run) if course else None,
            exported_at=name.exported_at,
            status=FileStatus.IGNORED,
            ingested_at=self.now,
        )
        return entry, course

    def _read_open(
        self, file: BinaryIO, entry: ImportEntry, name: ExportName, course: Course | None
    ) -> tuple[ImportEntry, Changes]:
        if name.refused:
            return self._logged(_refused(entry, name.refused))
        if name.ignored:
            return self._logged(_ignored(entry, name.ignored, file))
        assert course is not None  # a report of no configured course was refused by its name
        with self.store.read() as connection:
            twin = find_read(connection, entry)
        if twin is not None:
            return self._logged(as_duplicate(entry, twin))
        tally = _Tally()
        try:
            return self._merge(file, entry, course, tally)
        except InputError as refusal:
            rows = tally.rows if tally.complete else 0
            shown = tuple(tally.kept[:SHOWN_OF_REFUSED])
            entry = replace(entry, rows=rows, rejected=rows, rejected_rows=_plain(shown))
            return self._logged(_refused(entry, f"{refusal.what} {refusal.todo}".strip()))

    def _merge(
        self, file: BinaryIO, entry: ImportEntry, course: Course, tally: "_Tally"
    ) -> tuple[ImportEntry, Changes]:
        before = os.fstat(file.fileno())
        layout = read_layout(file, entry.kind, entry.stamp)
        table = staged_grades if entry.kind == GRADES else staged_profiles
        with open_staging(self.store, table, ROWS[entry.kind]) as staging:
            for chunk in read_rows(file, layout, entry.stamp) if layout else ():
                tally.add(chunk)
                staging.add(chunk.rows)
                self.on_rows(len(chunk.rows) + len(chunk.rejected))
            tally.complete = True
            tally.require_few_rejected()
            _require_unchanged(before, os.fstat(file.fileno()))
            entry = replace(
                entry,
                status=FileStatus.LOADED,
                rows=tally.rows,
                accepted=tally.rows - tally.rejected,
                rejected=tally.rejected,
                rejected_rows=_plain(tally.kept),
                warnings=(*(layout.warnings if layout else ()), *tally.warnings()),
            )
            term, year = term_and_year(entry.run or "")
            return merge_export(staging, entry, passing_grade=course.passing_grade, term=term, year=year)

    def _logged(self, entry: ImportEntry) -> tuple[ImportEntry, Changes]:
        """The log keeps what was recognised, not every stray file of a folder."""
        if entry.status is not FileStatus.IGNORED or entry.course is not None:
            with self.store.write() as connection:
                log_import(connection, entry)
        return entry, Changes()


@dataclass(kw_only=True)
class _Tally:
    """Counts the rows of one file as they are read."""

    rows: int = 0
    rejected: int = 0
    kept: list[RejectedRow] = field(default_factory=list)
    tracks: Counter[str] = field(default_factory=Counter)
    complete: bool = False

    def add(self, chunk: Chunk) -> None:
        self.rows += len(chunk.rows) + len(chunk.rejected)
        self.rejected += len(chunk.rejected)
        self.kept.extend(chunk.rejected[: BAD_ROWS_KEPT - len(self.kept)])
        self.tracks.update(chunk.tracks)

    def require_few_rejected(self) -> None:
        if self.rejected > min(max(BAD_ROWS, self.rows * BAD_SHARE), BAD_ROWS_KEPT):
            first = self.kept[0]
            raise InputError(
                f"{self.rejected} of {self.rows} rows are not in order, more than an export has; "
                f"the first is in line {first.line}: {first.reason}",
                todo="Download the report again from edX.",
            )

    def warnings(self) -> Iterator[str]:
        if self.rows == 0:
            yield "The report lists no learner."
        for track in sorted(self.tracks.keys() - FREE_TRACKS - PAID_TRACKS):
            yield f"Unknown enrollment track {track}, of {_learners(self.tracks[track])}: taken as not paid."


def _learners(number: int) -> str:
    return f"{number} learner" + ("" if number == 1 else "s")


def _digest(file: Any) -> str:
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    file.seek(0)
    return digest


def _require_unchanged(before: os.stat_result, after: os.stat_result) -> None:
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise InputError("The file changed while it was being read.", todo="Let the download finish first.")


def _ignored(entry: ImportEntry, why: str, file: BinaryIO) -> ImportEntry:
    """A file that is not needed; unless its first line shows a report whose name a person has changed."""
    if entry.kind == GRADE_ERRORS:
        return replace(entry, reason=why, warnings=tuple(_missing_grades(file)))
    kind = sniff_kind(file) if entry.kind == UNKNOWN else UNKNOWN
    if kind not in REPORTS:
        return replace(entry, reason=why)
    entry = replace(entry, kind=kind)
    return _refused(entry, "The name does not say which course run it is of. Give it back the name edX gave it.")


def _missing_grades(file: BinaryIO) -> Iterator[str]:
    try:
        number = count_records(file)
    except InputError:
        yield "Grades are missing, of how many learners is not known: the list is damaged."
        return
    if number:
        yield f"The grades of {_learners(number)} are missing: edX could not grade them."


def _refused(entry: ImportEntry, why: str) -> ImportEntry:
    return replace(entry, status=FileStatus.REFUSED, reason=why, accepted=0)


def _plain(rows: Sequence[RejectedRow]) -> tuple[tuple[int, str, str], ...]:
    return tuple((row.line, row.reason, row.raw) for row in rows)
