"""One file of an ingest, step by step: its name, its bytes, its header, its rows, then the merge.

Each step can refuse the file with a reason; what was refused is logged, and nothing of it enters the tables.
"""

import hashlib
import os
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from mmcampaign.completion import FREE_TRACKS, PAID_TRACKS
from mmcampaign.edx_csv import (
    GRADE_ERRORS,
    GRADES,
    OPT_IN,
    READABLE,
    ROWS,
    UNKNOWN,
    Chunk,
    ExportName,
    OptInList,
    RejectedRow,
    Report,
    count_records,
    open_odd,
    open_plain,
    parse_name,
    sniff_kind,
    term_and_year,
    unpacked,
)
from mmcampaign.errors import InputError
from mmcampaign.model import Course, FileStatus, Program
from mmcampaign.store.consents import merge_choices
from mmcampaign.store.engine import Store
from mmcampaign.store.exports import Changes, as_duplicate, merge_export
from mmcampaign.store.import_log import ImportEntry, find_read, log_import
from mmcampaign.store.staging import open_staging, staged_grades, staged_profiles

# More bad rows than this, and the file is not what it seems (edX case E22); the details of no more are kept.
BAD_ROWS, BAD_SHARE, BAD_ROWS_KEPT = 5, 0.01, 10_000
SHOWN_OF_REFUSED = 100
NO_STAMP = "When it was exported is not known, and the newest export of a run counts."


@dataclass(frozen=True, kw_only=True)
class Found:
    """A file to look at. ``shown`` is how people know it: for a file out of an archive, archive and name.

    ``refused`` says why an archive was not opened.
    """

    path: Path
    shown: Path
    refused: InputError | None = None


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How the files of one ``ingest`` are read."""

    store: Store
    programs: tuple[Program, ...]
    only_program: str | None
    now: datetime
    on_rows: Callable[[int], None]
    insist: bool = False
    stated: ExportName | None = None  # what a person has said of the one file there is

    def turn(self, found: Found) -> tuple[str, str, float, str]:
        """A run's newest export of a kind comes first: an older one must not count for a while. Copies come last."""
        name = self.parse(found.path)
        age = -name.exported_at.timestamp() if name.exported_at else 0.0
        return f"{name.prefix}_{name.run}", name.kind, age, found.path.stem

    def parse(self, path: Path) -> ExportName:
        """What the file's name says, or a person has said in its place; the stamp may still be the name's."""
        name = parse_name(path.name, [course.prefix for program in self.programs for course in program.courses])
        if self.stated is None:
            return name
        stamp = self.stated.exported_at or name.exported_at
        refused = NO_STAMP if stamp is None and self.stated.kind != OPT_IN else ""
        return replace(self.stated, exported_at=stamp, refused=refused, asks=bool(refused))

    def read(self, found: Found) -> tuple[ImportEntry, Changes]:
        name = self.parse(found.path)
        if found.refused:
            name = ExportName(kind="archive", refused=f"{found.refused.what} {found.refused.todo}".strip())
        entry, course = self._entry(found.path, name)
        try:
            if self.only_program and entry.program not in (None, self.only_program):
                entry = replace(entry, reason=f"It belongs to the program {entry.program}.")
                return entry, Changes()
            with found.path.open("rb") as file:
                return self._read_packed(file, found, entry, name, course)
        except OSError as error:
            return _refused(entry, f"The file cannot be read: {error.strerror}."), Changes()

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

    def _read_packed(
        self, file: BinaryIO, found: Found, entry: ImportEntry, name: ExportName, course: Course | None
    ) -> tuple[ImportEntry, Changes]:
        may_be_csv = found.path.name.lower().endswith((".csv", ".csv.gz"))
        try:
            with unpacked(file) if may_be_csv else nullcontext(file) as plain:
                entry = replace(entry, sha256=_digest(plain))
                return self._read_open(plain, found, entry, name, course)
        except InputError as damaged:
            file.seek(0)
            return self._logged(_refused(replace(entry, sha256=_digest(file)), f"{damaged.what} {damaged.todo}"))

    def _read_open(
        self, file: BinaryIO, found: Found, entry: ImportEntry, name: ExportName, course: Course | None
    ) -> tuple[ImportEntry, Changes]:
        if name.refused:
            hint = _how_to_say(found, entry) if name.asks else ""
            return self._logged(_refused(entry, f"{name.refused} {hint}".strip()))
        if name.ignored:
            return self._logged(_ignored(entry, name.ignored, found, file))
        with self.store.read() as connection:
            twin = find_read(connection, entry)
        if twin is not None:
            return self._logged(as_duplicate(entry, twin))
        tally = _Tally()
        try:
            if entry.kind == OPT_IN:
                return self._merge_choices(file, entry, tally)
            assert course is not None  # a report of no configured course was refused by its name
            return self._merge_report(file, entry, course, tally)
        except InputError as refusal:
            rows = tally.rows if tally.complete else 0
            shown = tuple(tally.kept[:SHOWN_OF_REFUSED])
            entry = replace(entry, rows=rows, rejected=rows, rejected_rows=_plain(shown))
            return self._logged(_refused(entry, f"{refusal.what} {refusal.todo}".strip()))

    def _merge_report(
        self, file: BinaryIO, entry: ImportEntry, course: Course, tally: "_Tally"
    ) -> tuple[ImportEntry, Changes]:
        """As edX writes it; what is refused like that is looked at once more, for it may be a known odd form."""
        try:
            report = open_plain(file, entry.kind, entry.stamp, insist=self.insist)
            return self._merge(file, report, entry, course, tally)
        except InputError:
            odd = open_odd(file, entry.kind, entry.stamp, insist=self.insist)
            if odd is None:
                raise
        tally.forget()
        return self._merge(file, odd, entry, course, tally)

    def _merge(
        self, file: BinaryIO, report: Report, entry: ImportEntry, course: Course, tally: "_Tally"
    ) -> tuple[ImportEntry, Changes]:
        before = os.fstat(file.fileno())
        table = staged_grades if entry.kind == GRADES else staged_profiles
        with open_staging(self.store, table, ROWS[entry.kind]) as staging:
            for chunk in report.chunks:
                tally.add(chunk)
                staging.add(chunk.rows)
                self.on_rows(len(chunk.rows) + len(chunk.rejected))
            tally.require_few_rejected()
            _require_unchanged(before, os.fstat(file.fileno()))
            entry = tally.loaded(entry, report.warnings)
            term, year = term_and_year(entry.run or "")
            return merge_export(staging, entry, passing_grade=course.passing_grade, term=term, year=year)

    def _merge_choices(self, file: BinaryIO, entry: ImportEntry, tally: "_Tally") -> tuple[ImportEntry, Changes]:
        """The e-mail opt-in list: no export of a run replaces it, the newest choice of each person counts (E49)."""
        before = os.fstat(file.fileno())
        listed = OptInList(file)
        for chunk in listed.chunks():
            tally.add(chunk)
            self.on_rows(len(chunk.rows) + len(chunk.rejected))
        tally.require_few_rejected()
        _require_unchanged(before, os.fstat(file.fileno()))
        entry = tally.loaded(entry, ())
        rows = ((one.person, one.choice, one.chosen_at) for one in listed.choices())
        with self.store.write() as connection:
            merge_choices(connection, entry, rows, by_id=listed.by_id)
        return entry, Changes()

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

    def forget(self) -> None:
        """Start again: the file is read in another way."""
        self.rows, self.rejected, self.complete = 0, 0, False
        self.kept.clear()
        self.tracks.clear()

    def loaded(self, entry: ImportEntry, warnings: tuple[str, ...]) -> ImportEntry:
        return replace(
            entry,
            status=FileStatus.LOADED,
            rows=self.rows,
            accepted=self.rows - self.rejected,
            rejected=self.rejected,
            rejected_rows=_plain(self.kept),
            warnings=(*warnings, *self.warnings()),
        )

    def require_few_rejected(self) -> None:
        """After the last row. Raises InputError where more rows are bad than an export has (edX case E22)."""
        self.complete = True
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


def _ignored(entry: ImportEntry, why: str, found: Found, file: BinaryIO) -> ImportEntry:
    """A file that is not needed; unless its first line shows a report whose name a person has changed."""
    if entry.kind == GRADE_ERRORS:
        return replace(entry, reason=why, warnings=tuple(_missing_grades(file)))
    kind = sniff_kind(file) if entry.kind == UNKNOWN else UNKNOWN
    if kind not in READABLE:
        return replace(entry, reason=why)
    entry = replace(entry, kind=kind)
    if kind == OPT_IN:
        said = "By its first line it is an e-mail opt-in list, but its name is not edX's."
    else:
        said = "The name does not say which course run it is of. Give it back the name edX gave it."
    return _refused(entry, f"{said} {_how_to_say(found, entry)}")


def _how_to_say(found: Found, entry: ImportEntry) -> str:
    """What to type for a file whose name does not tell, with as much of it as is known."""
    options = f"--kind {entry.kind}"
    if entry.kind != OPT_IN:
        options = f"--course {shlex.quote(entry.course or 'CODE')} --run {shlex.quote(entry.run or 'RUN')} {options}"
        options += (
            f" --exported {entry.exported_at:%Y-%m-%d-%H%M}" if entry.exported_at else " --exported YYYY-MM-DD-HHMM"
        )
    before = "Or say what it is" if found.path == found.shown else "Or unpack the archive and say what it is"
    name = found.shown if found.path == found.shown else found.path.name
    return f"{before}: mmcampaign ingest {shlex.quote(str(name))} {options}"


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
