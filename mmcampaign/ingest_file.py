"""One file of an ingest, step by step: its name, its bytes, whether it was read before; then its rows.

Each step can refuse the file with a reason; what was refused is logged, and nothing of it enters the tables.
"""

import hashlib
import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from mmcampaign.edx_csv import (
    GRADE_ERRORS,
    OPT_IN,
    READABLE,
    UNKNOWN,
    ExportName,
    count_records,
    parse_name,
    sniff_kind,
    unpacked,
)
from mmcampaign.errors import InputError
from mmcampaign.ingest_ready import Found, Ready, logged, refused, unwritten
from mmcampaign.model import Course, FileStatus, Program
from mmcampaign.scratch import Scratch
from mmcampaign.store.engine import Store
from mmcampaign.store.holdback import LossLimit
from mmcampaign.store.import_log import ExportKey, ImportEntry, as_duplicate, export_key, find_mended, find_read
from mmcampaign.store.seen_files import SeenFile, as_seen, is_settled
from mmcampaign.tally import count_of_learners

NO_STAMP = "When it was exported is not known, and the newest export of a run counts."


class Reading(NamedTuple):
    """How the files of one ``ingest`` are read; ``scratch`` has a folder for their rows.

    ``at_once`` is set while nothing read before waits to be written; ``is_first`` when nothing was in the database as
    the ingest began; a first load keeps the database to itself. ``seen`` are files of earlier ingests by path,
    ``newly_seen`` those to be remembered of this one; ``read_before`` are imports of the former.
    """

    store: Store
    programs: tuple[Program, ...]
    only_program: str | None
    now: datetime
    on_rows: Callable[[int], None]
    scratch: Scratch
    seen: Mapping[str, SeenFile]
    read_before: Mapping[ExportKey, Any]
    newly_seen: dict[Path, SeenFile]
    insist: bool
    stated: ExportName | None  # what a person has said of the one file there is
    loss: LossLimit
    at_once: bool = False
    is_first: bool = False

    def parse(self, path: Path) -> ExportName:
        """What the file's name says, or a person has said in its place; the stamp may still be the name's."""
        name = parse_name(path.name, [course.prefix for program in self.programs for course in program.courses])
        if self.stated is None or name.mends:
            return name
        stamp = self.stated.exported_at or name.exported_at
        refused = NO_STAMP if stamp is None and self.stated.kind != OPT_IN else ""
        return self.stated._replace(exported_at=stamp, refused=refused, asks=bool(refused))

    def known(self, found: Found) -> Ready | None:
        """What is said of a file that nobody has touched since an earlier ingest. None: it must be read.

        Told at once, for that takes less time than to hand a file to another thread.
        """
        try:
            digest = self._seen_digest(found.path, found.path.stat())
        except OSError:
            return None
        if not digest or found.name.mends:
            return None
        if found.name.ignored or found.name.refused:
            return self.read(found)
        entry = self._entry(found.path, found.name)[0]._replace(sha256=digest)
        twin = self.read_before.get(export_key(entry))
        return self._as_duplicate(entry, twin) if twin is not None and self._is_wanted(entry) else None

    def read(self, found: Found) -> Ready:
        """Look at a file and read its rows, if it has any we need."""
        name = found.name
        if (name.mends or found.again) and not self.at_once:
            return self.later(found)  # what became of the export that it mends, or is a copy of, must be known
        entry, course = self._entry(found.path, name)
        if name.mends and name.kind != OPT_IN:
            entry, course, name = self._as_supplement(entry, name)
        try:
            if not self._is_wanted(entry):
                entry = entry._replace(reason=f"It belongs to the program {entry.program}.")
                return unwritten(entry)
            with found.path.open("rb") as file:
                return self._read_packed(file, found, entry, name, course)
        except OSError as error:
            return unwritten(refused(entry, f"The file cannot be read: {error.strerror}."))

    def later(self, found: Found) -> Ready:
        """Not read until it is written, when everything before it has been."""
        return Ready(write=lambda: self._replace(at_once=True).read(found).write())

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

    def _as_supplement(self, entry: ImportEntry, name: ExportName) -> tuple[ImportEntry, Course | None, ExportName]:
        """Mended rows are of the export they came from, whatever else the name says by now."""
        with self.store.read() as connection:
            export = find_mended(connection, name.mends, entry.name)
        if export is None:
            why = f"The file it mends, whose SHA-256 begins with {name.mends}, was not read yet. Ingest that one first."
            return entry, None, name._replace(refused=why)
        course = next((c for program in self.programs for c in program.courses if c.code == export.course), None)
        if course is None:
            return entry, None, name._replace(refused=f"No course is configured any more for {export.name}.")
        same = {key: getattr(export, key) for key in ("kind", "program", "course", "run", "course_instance")}
        return entry._replace(**same, exported_at=export.exported_at, supplements=export.id), course, name

    def _read_packed(
        self, file: BinaryIO, found: Found, entry: ImportEntry, name: ExportName, course: Course | None
    ) -> Ready:
        may_be_csv = found.path.name.lower().endswith((".csv", ".csv.gz"))
        try:
            with unpacked(file) if may_be_csv else nullcontext(file) as plain:
                entry = entry._replace(sha256=self._digest(found, plain, os.fstat(file.fileno())))
                return self._read_open(plain, found, entry, name, course)
        except InputError as damaged:
            file.seek(0)
            return logged(self.store, refused(entry._replace(sha256=_digest(file)), f"{damaged.what} {damaged.todo}"))

    def _digest(self, found: Found, file: BinaryIO, state: os.stat_result) -> str:
        """The SHA-256 of the bytes, as it is known of a file that nobody has touched since."""
        if known := self._seen_digest(found.path, state):
            return known
        digest = _digest(file)
        if is_settled(state) and found.path == found.shown:  # what was unpacked is gone soon
            self.newly_seen[found.path.absolute()] = as_seen(state, digest)
        return digest

    def _seen_digest(self, path: Path, state: os.stat_result) -> str:
        before = self.seen.get(str(path.absolute()))
        return before.sha256 if before is not None and before == as_seen(state, before.sha256) else ""

    def _read_open(
        self, file: BinaryIO, found: Found, entry: ImportEntry, name: ExportName, course: Course | None
    ) -> Ready:
        if name.refused:
            hint = _how_to_say(found, entry) if name.asks else ""
            return logged(self.store, refused(entry, f"{name.refused} {hint}".strip()))
        if name.ignored:
            return logged(self.store, _ignored(entry, name.ignored, found, file))
        twin = self._find_read(entry)
        return self._read_rows(file, found, entry, course) if twin is None else self._as_duplicate(entry, twin)

    def _is_wanted(self, entry: ImportEntry) -> bool:
        return self.only_program is None or entry.program in (None, self.only_program)

    def _as_duplicate(self, entry: ImportEntry, twin: Any) -> Ready:
        known = as_duplicate(entry, twin)
        return unwritten(known) if twin.name == entry.name else logged(self.store, known)

    def _read_rows(self, file: BinaryIO, found: Found, entry: ImportEntry, course: Course | None) -> Ready:
        from mmcampaign.ingest_rows import RowReading  # noqa: PLC0415  a folder read before needs neither Arrow nor NumPy

        reading = RowReading(
            store=self.store,
            course=course,
            loss=self.loss._replace(file=_typed(found)),
            on_rows=self.on_rows,
            folder=self.scratch.folder,
            insist=self.insist,
        )
        return reading.read(file, entry)

    def _find_read(self, entry: ImportEntry) -> Any:
        if self.is_first and not self.at_once:
            return None
        twin = self.read_before.get(export_key(entry))
        if twin is not None:
            return twin
        with self.store.read() as connection:
            return find_read(connection, entry)


def _digest(file: Any) -> str:
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    file.seek(0)
    return digest


def _ignored(entry: ImportEntry, why: str, found: Found, file: BinaryIO) -> ImportEntry:
    """A file that is not needed; unless its first line shows a report whose name a person has changed."""
    if entry.kind == GRADE_ERRORS:
        return entry._replace(reason=why, warnings=tuple(_missing_grades(file)))
    kind = sniff_kind(file) if entry.kind == UNKNOWN else UNKNOWN
    if kind not in READABLE:
        return entry._replace(reason=why)
    entry = entry._replace(kind=kind)
    if kind == OPT_IN:
        said = "By its first line it is an e-mail opt-in list, but its name is not edX's."
    else:
        said = "The name does not say which course run it is of. Give it back the name edX gave it."
    return refused(entry, f"{said} {_how_to_say(found, entry)}")


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
        yield f"The grades of {count_of_learners(number)} are missing: edX could not grade them."


def _typed(found: Found) -> str:
    """What to type for the file, or for the archive it is in."""
    return str(next((path for path in (found.shown, *found.shown.parents) if path.is_file()), found.shown))
