"""What is read and written together in an ingest: one file, or the first two reports of a run."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from mmcampaign.ingest_file import Found, Outcome, Reading, Ready
from mmcampaign.store.pairs import Pair, join_first_pair, merge_first_pair


@dataclass(frozen=True, kw_only=True)
class ReadyUnit:
    """Files that were read; ``pair`` are the rows of both reports of a run, where they can be written at once."""

    files: tuple[Ready, ...]
    pair: Pair | None = None

    def write(self) -> Iterator[Outcome]:
        """What came of each file, as soon as it is written."""
        outcomes = None
        if self.pair is not None:
            with self.pair.joined:
                outcomes = merge_first_pair(self.pair)
        yield from outcomes or (file.write() for file in self.files)

    def discard(self) -> None:
        for file in self.files:
            file.discard()
        if self.pair is not None:
            self.pair.joined.close()


def read_unit(reading: Reading, unit: Sequence[Found]) -> ReadyUnit:
    """Read the files, and bring their rows to where they are merged from."""
    with ExitStack() as stack:
        files = []
        for found in unit:
            files.append(reading.read(found))
            stack.callback(files[-1].discard)
        pair = _joined(reading, files)
        if pair is not None:  # the rows need not be kept twice: should the pair be of no use, they are read again
            return ReadyUnit(files=tuple(reading.later(found) for found in unit), pair=pair)
        for file in files:
            if file.export is not None:
                file.export.staging.load()
        stack.pop_all()
        return ReadyUnit(files=tuple(files))


def _joined(reading: Reading, files: Sequence[Ready]) -> Pair | None:
    exports = [file.export for file in files if file.export is not None]
    if len(exports) != 2:
        return None
    grades, profile = exports
    return join_first_pair(grades, profile, reading.scratch)
