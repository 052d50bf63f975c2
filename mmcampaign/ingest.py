"""Use case: edX's downloads become learners, enrollments and completions (edx-exports, design 4).

The outcome depends on the set of files alone, never on their order, and a file read again changes nothing. Each file is
one transaction (``ingest_file.py``); one that is not certain is refused with its reason.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path

from mmcampaign.errors import InputError
from mmcampaign.ingest_file import Reading
from mmcampaign.model import FileStatus, Program
from mmcampaign.store.engine import Store
from mmcampaign.store.exports import Changes
from mmcampaign.store.import_log import ImportEntry
from mmcampaign.store.programs import sync_programs

__all__ = ["Changes", "FileResult", "IngestResult", "find_files", "ingest", "sync_programs"]


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
    """All files in the order they were given, and what they changed."""

    files: tuple[FileResult, ...]
    changes: Changes


def ingest(
    store: Store,
    programs: Sequence[Program],
    paths: Sequence[Path],
    *,
    only_program: str | None = None,
    now: datetime,
    on_file: Callable[[FileResult], None] = lambda _: None,
    on_rows: Callable[[int], None] = lambda _: None,
) -> IngestResult:
    """Read files, and the files of folders and of the folders in them.

    ``on_file`` hears of each file when it is done, ``on_rows`` of rows as they are read. Raises InputError when there
    is nothing to read or no such program, and UnavailableError when the database or the disk gives up: files reported
    until then are in, the others are not, and the same command goes on with them.
    """
    _require_known(only_program, programs)
    found = find_files(paths)
    sync_programs(store, programs)
    reading = Reading(store=store, programs=tuple(programs), only_program=only_program, now=now, on_rows=on_rows)
    results, changes = {}, Changes()
    for path in sorted(found, key=reading.turn):
        entry, changed = reading.read(path)
        changes += changed
        results[path] = _result(path, entry)
        on_file(results[path])
    return IngestResult(files=tuple(results[path] for path in found), changes=changes)


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
