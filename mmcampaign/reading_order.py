"""The order in which the files of an ingest are read. What comes of them is the same in any order; the work is not."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime

from mmcampaign.edx_csv import GRADES, PROFILE
from mmcampaign.ingest_ready import Found


def in_turn(files: Iterable[Found]) -> tuple[list[tuple[Found, ...]], list[Found]]:
    """The newest grade report and the newest profile of each run, together; and every other file, which comes after.

    All runs of a course follow one another, and the course with the newest export comes first, for it says most about
    its learners. Of a run the newest exports come first: an older one must not count for a while. Copies come after
    what they are copies of, mended rows last.
    """
    courses: defaultdict[tuple[bool, str], list[Found]] = defaultdict(list)
    for found in files:
        courses[bool(found.name.mends), found.name.prefix].append(found)
    runs: list[tuple[Found, ...]] = []
    others: list[Found] = []
    for course in sorted(courses, key=lambda course: (course[0], min(map(_age, courses[course])), course[1])):
        for files_of_run in _by_run(courses[course]):
            newest = _newest(files_of_run)
            runs.append(newest)
            others += _others(files_of_run, newest)
    return [run for run in runs if run], others


def _by_run(files: list[Found]) -> Iterator[list[Found]]:
    runs: defaultdict[str, list[Found]] = defaultdict(list)
    for file in files:
        runs[file.name.run].append(file)
    for run in sorted(runs, key=lambda run: (min(map(_age, runs[run])), run)):
        yield sorted(runs[run], key=lambda file: (file.name.kind, _age(file), file.path.stem))


def _newest(files: list[Found]) -> tuple[Found, ...]:
    kinds = {file.name.kind: file for file in reversed(files) if not file.name.mends}
    return tuple(kinds[kind] for kind in (GRADES, PROFILE) if kind in kinds)


def _others(files: list[Found], newest: tuple[Found, ...]) -> Iterator[Found]:
    """With a mark on each that is by its name an export that comes before."""
    known = {_export(file) for file in newest}
    for file in files:
        if file not in newest:
            yield file._replace(again=_export(file) in known)
            known.add(_export(file))


def _export(file: Found) -> tuple[str, datetime | None]:
    return file.name.kind, file.name.exported_at


def _age(file: Found) -> float:
    """Lower for newer exports."""
    stamp = file.name.exported_at
    return -stamp.timestamp() if stamp else 0.0
