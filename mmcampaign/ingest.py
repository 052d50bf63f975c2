"""Use case: edX's downloads become learners, enrollments and completions (edx-exports, design 4).

The outcome depends on the set of files alone, never on their order, and a file read again changes nothing. Each file is
one transaction (``ingest_file.py``); one that is not certain is refused with its reason.
"""

import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path

from mmcampaign.edx_csv import OPT_IN, READABLE, ExportName, extract, is_archive
from mmcampaign.errors import InputError
from mmcampaign.ingest_file import Found, Reading
from mmcampaign.model import FileStatus, Program
from mmcampaign.store.engine import Store
from mmcampaign.store.exports import Changes
from mmcampaign.store.import_log import ImportEntry
from mmcampaign.store.learners import count_shared_addresses
from mmcampaign.store.programs import sync_programs

__all__ = ["Changes", "FileResult", "IngestResult", "Stated", "find_files", "ingest", "sync_programs"]


@dataclass(frozen=True, kw_only=True)
class FileResult:
    """What became of one file; the fields are the keys of the ``--json`` document, plus ``path``.

    ``accepted + rejected == rows``, the data rows of the file; all are 0 for a file whose rows were not counted.
    """

    path: Path
    name: str
    kind: str
    program: str | None = None
    course: str | None = None
    run: str | None = None
    exported_at: datetime | None = None
    status: FileStatus
    rows: int = 0
    accepted: int = 0
    rejected: int = 0
    reason: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class IngestResult:
    """All files in the order they were given, and what they changed. ``warnings`` are of no single file."""

    files: tuple[FileResult, ...]
    changes: Changes
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Stated:
    """What a person says of a file whose name does not tell: course code, run, kind; ``exported_at`` is in UTC."""

    kind: str
    course: str = ""
    run: str = ""
    exported_at: datetime | None = None


def ingest(
    store: Store,
    programs: Sequence[Program],
    paths: Sequence[Path],
    *,
    only_program: str | None = None,
    insist: bool = False,
    stated: Stated | None = None,
    now: datetime,
    on_file: Callable[[FileResult], None] = lambda _: None,
    on_rows: Callable[[int], None] = lambda _: None,
) -> IngestResult:
    """Read files, and the files of folders, of the folders in them and of ZIP archives.

    ``insist`` takes the grades of reports that say nothing of completion (edX case E18); ``stated`` is what a person
    knows of the one file there is (E10). ``on_file`` hears of each file when it is done, ``on_rows`` of rows as they
    are read. Raises InputError when there is nothing to read or no such program or course, and UnavailableError when
    the database or the disk gives up: files reported until then are in, the others are not, and the same command goes
    on with them.
    """
    _require_known(only_program, programs)
    paths = find_files(paths)
    said = _stated_name(stated, programs, paths) if stated else None
    sync_programs(store, programs)
    reading = Reading(
        store=store,
        programs=tuple(programs),
        only_program=only_program,
        now=now,
        on_rows=on_rows,
        insist=insist,
        stated=said,
    )
    results, changes = {}, Changes()
    with ExitStack() as stack:
        files = [found for path in paths for found in _opened(path, stack)]
        for found in sorted(files, key=reading.turn):
            entry, changed = reading.read(found)
            changes += changed
            results[found.shown] = _result(found.shown, entry)
            on_file(results[found.shown])
    ordered = tuple(results[found.shown] for found in files)
    return IngestResult(files=ordered, changes=changes, warnings=tuple(_shared_addresses(store, ordered)))


def _opened(path: Path, stack: ExitStack) -> Iterator[Found]:
    """The file, or in its place those of an archive; ``stack`` holds what was unpacked."""
    if not is_archive(path.name):
        yield Found(path=path, shown=path)
        return
    try:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mmcampaign-")))
        members = extract(path, folder)
    except (InputError, OSError) as error:
        what = error if isinstance(error, InputError) else InputError(f"It cannot be unpacked: {error.strerror}.")
        yield Found(path=path, shown=path, refused=what)
        return
    for member in members:
        yield Found(path=member, shown=path / member.relative_to(folder))
    if not members:
        yield Found(path=path, shown=path)


def _shared_addresses(store: Store, files: Sequence[FileResult]) -> Iterator[str]:
    """Edge case E34; said whenever something was read."""
    if not any(file.status in (FileStatus.LOADED, FileStatus.SUPERSEDED) for file in files):
        return
    with store.read() as connection:
        number = count_shared_addresses(connection)
    if number:
        stand = "1 address stands" if number == 1 else f"{number} addresses stand"
        yield f"{stand} on more than one account: each is written to once, as the account whose file is newest."


def _stated_name(stated: Stated, programs: Sequence[Program], paths: Sequence[Path]) -> ExportName:
    """Raises InputError for what does not fit together."""
    courses = {course.code: course for program in programs for course in program.courses}
    if len(paths) != 1 or is_archive(paths[0].name):
        problem = "What a file is can be said of one file at a time."
    elif stated.kind not in READABLE:
        problem = f"There is no kind {stated.kind}; those read are: {', '.join(sorted(READABLE))}."
    elif stated.kind == OPT_IN:
        return ExportName(kind=OPT_IN, exported_at=stated.exported_at)
    elif stated.course not in courses:
        problem = f"There is no course {stated.course!r}; configured are: {', '.join(courses) or 'none'}."
    elif not re.fullmatch(r"[\w.-]+", stated.run):
        problem = f"{stated.run!r} is no run such as 1T2019."
    else:
        prefix = courses[stated.course].prefix
        return ExportName(kind=stated.kind, prefix=prefix, run=stated.run, exported_at=stated.exported_at)
    raise InputError(
        problem,
        unchanged="Nothing was ingested.",
        todo="mmcampaign ingest FILE --course CODE --run RUN --kind KIND --exported YYYY-MM-DD-HHMM",
    )


def _require_known(only_program: str | None, programs: Sequence[Program]) -> None:
    known = [program.code for program in programs]
    if only_program is not None and only_program not in known:
        raise InputError(
            f"There is no program {only_program}; configured are: {', '.join(known) or 'none'}.",
            unchanged="Nothing was ingested.",
            todo="Name one of them, or add it to config.toml.",
        )


def find_files(paths: Sequence[Path]) -> list[Path]:
    """The files to look at, each once, by name within a folder; hidden ones are left out.

    Raises InputError for a path that does not exist and for a folder without files.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            files = sorted(
                one for one in (*path.glob("*"), *path.glob("*/*")) if one.is_file() and not _hidden(one, path)
            )
            if not files:
                raise InputError(
                    f"There is no file in the folder {path}.",
                    unchanged="Nothing was ingested.",
                    todo="Name the folder that holds edX's downloads, such as ORG_COURSE_RUN_grade_report_….csv.",
                )
            found.update(dict.fromkeys(files))
        elif path.exists():
            found[path] = None
        else:
            raise InputError(
                f"There is no file or folder {path}.", unchanged="Nothing was ingested.", todo="Check the path."
            )
    return list({path.resolve(): path for path in reversed(found)}.values())[::-1]


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _result(path: Path, entry: ImportEntry) -> FileResult:
    shared = {one.name: getattr(entry, one.name) for one in fields(FileResult) if one.name != "path"}
    return FileResult(path=path, **shared)
