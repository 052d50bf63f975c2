"""What is read together in an ingest: one file, or the first reports of a run, which a first load takes joined."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from threading import Event
from typing import TYPE_CHECKING, NamedTuple

from mmcampaign.edx_csv import GRADES, PROFILE
from mmcampaign.ingest_file import Reading
from mmcampaign.ingest_ready import Found, Outcome, Ready
from mmcampaign.store.import_log import Changes

if TYPE_CHECKING:  # whose module brings Arrow; it is loaded where there are rows
    from mmcampaign.store.first_load import FirstLoad, FirstRun


class ReadyUnit(NamedTuple):
    """Files that were read; ``run`` are the rows of their reports, where a first load can take them."""

    files: tuple[Ready, ...]
    run: "FirstRun | None" = None

    def write(self, load: "FirstLoad | None" = None) -> Iterator[Outcome]:
        """What came of each file, as soon as it is written, or in the first load that has ended."""
        for file in self.files:
            added = load.added(file.export) if load and file.export else None
            yield (added, Changes()) if added else file.write()

    def discard(self) -> None:
        for file in self.files:
            file.discard()


def read_unit(reading: Reading, unit: Sequence[Found], *, awaited: Event | None = None) -> ReadyUnit:
    """Read the files, and bring their rows to where they are merged from.

    ``awaited`` is given for the reports of a run that a first load can take: they are joined here, unless whoever
    writes is waiting for them and can do it as well.
    """
    with ExitStack() as stack:
        files = []
        for found in unit:
            files.append(reading.read(found))
            stack.callback(files[-1].discard)
        run = _first_run(files) if awaited is not None else None
        if awaited is not None and run is not None and not awaited.is_set():
            _ = run.joined
        if run is None:
            for file in files:
                if file.export is not None:
                    file.export.staging.load()
        stack.pop_all()
        return ReadyUnit(files=tuple(files), run=run)


def _first_run(files: Sequence[Ready]) -> "FirstRun | None":
    """The reports together, where joining is all that a first load has to do."""
    from mmcampaign.store.first_load import FirstRun  # noqa: PLC0415  a folder read before needs no Arrow

    exports = {file.export.entry.kind: file.export for file in files if file.export is not None}
    run = FirstRun(grades=exports.get(GRADES), profile=exports.get(PROFILE))
    return run if run.is_simple else None
