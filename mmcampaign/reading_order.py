"""The order in which the files of an ingest are read. What comes of them is the same in any order; the work is not."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path

from mmcampaign.edx_csv import GRADES, PROFILE, ExportName
from mmcampaign.ingest_ready import Found

Named = tuple[ExportName, Found]


def in_turn(files: Iterable[Found], parse: Callable[[Path], ExportName]) -> tuple[list[tuple[Found, ...]], list[Found]]:
    """The newest grade report and the newest profile of each run, together; and every other file, which comes after.

    All runs of a course follow one another, and the course with the newest export comes first, for it says most about
    its learners. Of a run the newest exports come first: an older one must not count for a while. Copies come after
    what they are copies of, mended rows last.
    """
    courses: defaultdict[tuple[bool, str], list[Named]] = defaultdict(list)
    for found in files:
        name = parse(found.path)
        courses[bool(name.mends), name.prefix].append((name, found))
    runs: list[tuple[Found, ...]] = []
    others: list[Found] = []
    for course in sorted(courses, key=lambda course: (course[0], min(map(_age, courses[course])), course[1])):
        for files_of_run in _by_run(courses[course]):
            newest = _newest(files_of_run)
            runs.append(newest)
            others += _others(files_of_run, newest)
    return [run for run in runs if run], others


def _by_run(files: list[Named]) -> Iterator[list[Named]]:
    runs: defaultdict[str, list[Named]] = defaultdict(list)
    for file in files:
        runs[file[0].run].append(file)
    for run in sorted(runs, key=lambda run: (min(map(_age, runs[run])), run)):
        yield sorted(runs[run], key=lambda file: (file[0].kind, _age(file), file[1].path.stem))


def _newest(files: list[Named]) -> tuple[Found, ...]:
    kinds = {name.kind: found for name, found in reversed(files) if name.kind in (GRADES, PROFILE) and not name.mends}
    return tuple(kinds[kind] for kind in (GRADES, PROFILE) if kind in kinds)


def _others(files: list[Named], newest: tuple[Found, ...]) -> Iterator[Found]:
    """With a mark on each that is by its name an export that comes before."""
    known = {_export(name) for name, found in files if found in newest}
    for name, found in files:
        if found not in newest:
            yield found._replace(again=_export(name) in known)
            known.add(_export(name))


def _export(name: ExportName) -> tuple[str, datetime | None]:
    return name.kind, name.exported_at


def _age(file: Named) -> float:
    """Lower for newer exports."""
    stamp = file[0].exported_at
    return -stamp.timestamp() if stamp else 0.0
