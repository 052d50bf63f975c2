"""The order in which the files of an ingest are read. What comes of them is the same in any order; the work is not."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from mmcampaign.edx_csv import GRADES, PROFILE, ExportName
from mmcampaign.ingest_file import Found

Named = tuple[ExportName, Found]


def in_turn(files: Iterable[Found], parse: Callable[[Path], ExportName]) -> list[tuple[Found, ...]]:
    """The files, in pairs where a run's newest grade report and newest profile can be written together.

    The run with the newest export comes first, for it says most about its learners, and of a run the newest export of
    each kind: an older one must not count for a while. Copies come after what they are copies of, mended rows last.
    """
    runs: defaultdict[tuple[bool, str], list[Named]] = defaultdict(list)
    for found in files:
        name = parse(found.path)
        runs[bool(name.mends), f"{name.prefix}_{name.run}"].append((name, found))
    order = sorted(runs, key=lambda run: (run[0], min(_age(name) for name, _ in runs[run]), run[1]))
    return [unit for run in order for unit in _of_run(runs[run])]


def _of_run(files: list[Named]) -> Iterator[tuple[Found, ...]]:
    files = sorted(files, key=lambda file: (file[0].kind, _age(file[0]), file[1].path.stem))
    newest = {name.kind: found for name, found in reversed(files) if name.kind in (GRADES, PROFILE) and not name.mends}
    if newest:
        yield tuple(newest[kind] for kind in (GRADES, PROFILE) if kind in newest)
    yield from ((found,) for _, found in files if found not in newest.values())


def _age(name: ExportName) -> float:
    """Lower for newer exports."""
    return -name.exported_at.timestamp() if name.exported_at else 0.0
