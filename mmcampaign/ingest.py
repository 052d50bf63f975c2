"""Use case: edX's downloads become learners, enrollments and completions (edx-exports, design 4).

The outcome depends on the set of files alone, never on their order, and a file read again changes nothing. Each file is
one transaction (``ingest_file.py``), but for the first load of a database, which is one; a file that is not certain is
refused with its reason. Two threads read files while this one writes those before
(docs/decisions/0009-how-ingest-is-fast.md).
"""

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import closing, nullcontext
from datetime import datetime
from functools import partial
from itertools import chain
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, NamedTuple

from mmcampaign.edx_csv import OPT_IN, READABLE, ExportName, extract, is_archive
from mmcampaign.errors import InputError
from mmcampaign.ingest_file import Reading
from mmcampaign.ingest_ready import Found, Outcome
from mmcampaign.ingest_unit import ReadyUnit, read_unit
from mmcampaign.model import FileStatus, Program
from mmcampaign.read_ahead import read_ahead
from mmcampaign.reading_order import in_turn
from mmcampaign.scratch import Scratch, scratch_folder
from mmcampaign.store.engine import Store
from mmcampaign.store.holdback import LossLimit
from mmcampaign.store.import_log import READ, Changes, ExportKey, ImportEntry, read_before
from mmcampaign.store.programs import sync_programs
from mmcampaign.store.seen_files import SeenFile, read_seen, remember
from mmcampaign.store.unread import is_unread

if TYPE_CHECKING:
    from mmcampaign.store.changes import ExportChanges
    from mmcampaign.store.first_load import FirstLoad

__all__ = ["Changes", "FileResult", "IngestResult", "LossLimit", "Stated", "find_files", "ingest", "sync_programs"]

AHEAD = 4  # files, or runs of a first load, that wait: enough small ones for the time that a large one takes


class FileResult(NamedTuple):
    """What became of one file; the fields are the keys of the ``--json`` document, plus ``path``.

    ``accepted + rejected == rows``, the data rows of the file; all are 0 for a file whose rows were not counted.
    """

    path: Path
    name: str
    kind: str
    program: str | None
    course: str | None
    run: str | None
    exported_at: datetime | None
    status: FileStatus
    rows: int
    accepted: int
    rejected: int
    reason: str
    warnings: tuple[str, ...]


class IngestResult(NamedTuple):
    """All files in the order they were given, and what they changed. ``warnings`` are of no single file.

    ``first_exports`` are those of a first load, with what each has changed, as long as nothing else was read of them.
    """

    files: tuple[FileResult, ...]
    changes: Changes
    warnings: tuple[str, ...] = ()
    first_exports: "tuple[ExportChanges, ...]" = ()


class Stated(NamedTuple):
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
    loss: LossLimit | None = None,
    now: datetime,
    on_file: Callable[[FileResult], None] = lambda _: None,
    on_rows: Callable[[int], None] = lambda _: None,
) -> IngestResult:
    """Read files, and the files of folders, of the folders in them and of ZIP archives.

    ``insist`` takes the grades of reports that say nothing of completion (edX case E18); ``stated`` is what a person
    knows of the one file there is (E10). ``loss`` is how many of a run's learners a newer export may lack before it is
    held back. ``on_file`` hears of each file when it is done, of those of a first load when all of them are;
    ``on_rows`` hears of rows as they are read. Raises InputError when there is nothing to read or no such program or
    course, and UnavailableError when the database or the disk gives up: files reported until then are in, the others
    are not, and the same command goes on with them.
    """
    _require_known(only_program, programs)
    paths = find_files(paths)
    said = _stated_name(stated, programs, paths) if stated else None
    sync_programs(store, programs)
    results, changes = {}, Changes()
    seen, read_earlier = _seen(store, paths)
    with scratch_folder() as scratch:
        reading = Reading(
            store=store,
            programs=tuple(programs),
            only_program=only_program,
            now=now,
            on_rows=on_rows,
            scratch=scratch,
            seen=seen,
            read_before=read_earlier,
            newly_seen={},
            insist=insist,
            stated=said,
            loss=loss or LossLimit(),
        )
        files = [found for path in paths for found in _opened(path, scratch, reading.parse)]
        known = {found: ready for found in files if (ready := reading.known(found))}
        told = [(found, ready.write()) for found, ready in known.items()]  # a first load has the database to itself
        runs, others = in_turn(found for found in files if found not in known)
        with (_begin_first_load(store, scratch) if runs else None) or nullcontext() as load:
            for found, (entry, changed) in chain(told, _outcomes(reading, runs, others, load)):
                changes += changed
                results[found.shown] = _result(found.shown, entry)
                on_file(results[found.shown])
        _remember(store, reading.newly_seen)
    ordered = tuple(results[found.shown] for found in files)
    return IngestResult(
        files=ordered,
        changes=changes,
        warnings=tuple(_twins(store, changes)),
        first_exports=_untouched(load, ordered) if load else (),
    )


def _begin_first_load(store: Store, scratch: Scratch) -> "FirstLoad | None":
    if not is_unread(store):
        return None
    from mmcampaign.store.first_load import begin_first_load  # noqa: PLC0415  it brings Arrow, NumPy and ADBC

    return begin_first_load(store, scratch.folder)


def _outcomes(
    reading: Reading, runs: Sequence[tuple[Found, ...]], others: Sequence[Found], load: "FirstLoad | None"
) -> Iterator[tuple[Found, Outcome]]:
    """Each file with what came of it, as soon as it is written."""
    stopped, awaited = Event(), Event()

    def on_rows(count: int) -> None:
        if stopped.is_set():
            raise CancelledError
        reading.on_rows(count)

    attentive = reading._replace(on_rows=on_rows, is_first=load is not None)
    units = [*runs, *((found,) for found in others)]
    work = [partial(read_unit, attentive, unit, awaited=awaited if load else None) for unit in runs]
    work += [partial(read_unit, attentive, (found,)) for found in others]
    with closing(read_ahead(_call, work, depth=AHEAD, stop=stopped.set, discard=ReadyUnit.discard)) as ahead:
        firsts = [_bring_in(load, ahead, awaited) for _ in runs] if load else []
        changed = load.finish() if load else Changes()
        for unit, ready in zip(units, chain(firsts, ahead), strict=True):
            for found, (entry, more) in zip(unit, ready.write(load), strict=True):
                yield found, (entry, changed + more)
                changed = Changes()


def _call(work: Callable[[], ReadyUnit]) -> ReadyUnit:
    return work()


def _bring_in(load: "FirstLoad", ahead: Iterator[ReadyUnit], awaited: Event) -> ReadyUnit:
    """Add the next run to the load, if it is one for it; its rows are not needed any more."""
    awaited.set()
    unit = next(ahead)
    awaited.clear()
    if unit.run is not None:
        load.add(unit.run)
    return unit._replace(run=None)


def _seen(store: Store, paths: Sequence[Path]) -> tuple[dict[str, SeenFile], dict[ExportKey, Any]]:
    """What earlier ingests have seen, and what these files were read as, if they are still the same."""
    with store.read() as connection:
        seen = read_seen(connection)
        here = [seen[key].sha256 for key in map(str, map(Path.absolute, paths)) if key in seen]
        return seen, read_before(connection, here) if here else {}


def _remember(store: Store, files: Mapping[Path, SeenFile]) -> None:
    if files:
        with store.write() as connection:
            remember(connection, files)


def _untouched(load: "FirstLoad", files: Sequence[FileResult]) -> "tuple[ExportChanges, ...]":
    """What the first exports have changed, but for those that something else was read of."""
    read = Counter((file.course, file.run, file.kind) for file in files if file.status in READ)
    return tuple(one for one in load.summary if read[one.course, one.run, one.kind] == 1)


def _opened(path: Path, scratch: Scratch, parse: Callable[[Path], ExportName]) -> Iterator[Found]:
    """The file, or in its place those of an archive, unpacked in ``scratch``."""
    if not is_archive(path.name):
        yield Found(path=path, shown=path, name=parse(path))
        return
    try:
        folder = Path(tempfile.mkdtemp(dir=scratch.folder))
        members = extract(path, folder)
    except InputError as damaged:
        yield _unopened(path, f"{damaged.what} {damaged.todo}".strip())
    except OSError as error:
        yield _unopened(path, f"It cannot be unpacked: {error.strerror}.")
    else:
        for member in members:
            yield Found(path=member, shown=path / member.relative_to(folder), name=parse(member))
        if not members:
            yield Found(path=path, shown=path, name=parse(path))


def _unopened(path: Path, why: str) -> Found:
    return Found(path=path, shown=path, name=ExportName(kind="archive", refused=why))


def _twins(store: Store, changes: Changes) -> Iterator[str]:
    """Edge case E34; said whenever an address has come in, for it takes a look at all of them."""
    if not (changes.new_learners or changes.renamed):
        return
    from mmcampaign.store.learners import count_twins  # noqa: PLC0415  as the first load

    with store.read() as connection:
        number = count_twins(connection)
    if number:
        have = "1 account has" if number == 1 else f"{number:,} accounts have"
        yield f"{have} the address of another: an address is written to once, as the account whose file is newest."


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
    return FileResult(path, *(getattr(entry, name) for name in FileResult._fields[1:]))
