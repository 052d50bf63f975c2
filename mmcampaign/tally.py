"""The count of one file's rows as they are read: accepted + rejected = data rows, and how many may be bad."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mmcampaign.completion import FREE_TRACKS, PAID_TRACKS
from mmcampaign.errors import InputError
from mmcampaign.model import FileStatus
from mmcampaign.store.import_log import ImportEntry

if TYPE_CHECKING:  # they are Arrow's, which those do without who only word a count
    from mmcampaign.edx_csv.rows import Chunk, RejectedRow

# More bad rows than this, and the file is not what it seems (edX case E22); the details of no more are kept.
BAD_ROWS, BAD_SHARE, BAD_ROWS_KEPT = 5, 0.01, 10_000
SHOWN_OF_REFUSED = 100


@dataclass(kw_only=True)
class Tally:
    """Counts the rows of one file as they are read."""

    rows: int = 0
    rejected: int = 0
    kept: "list[RejectedRow]" = field(default_factory=list)
    tracks: Counter[str] = field(default_factory=Counter)
    complete: bool = False

    def add(self, chunk: "Chunk") -> None:
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
        return entry._replace(
            status=FileStatus.LOADED,
            rows=self.rows,
            accepted=self.rows - self.rejected,
            rejected=self.rejected,
            rejected_rows=_plain(self.kept),
            warnings=(*warnings, *self.warnings()),
        )

    def shown(self) -> tuple[tuple[int, str, str], ...]:
        """Some of the rejected rows of a file that is refused as a whole."""
        return _plain(self.kept[:SHOWN_OF_REFUSED])

    def require_few_rejected(self, *, mended: bool = False) -> None:
        """After the last row. Raises InputError where more rows are bad than an export has (edX case E22).

        Of mended rows every one may still be bad.
        """
        self.complete = True
        few = max(BAD_ROWS, self.rows * BAD_SHARE)
        if self.rejected > (BAD_ROWS_KEPT if mended else min(few, BAD_ROWS_KEPT)):
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
            yield f"Unknown enrollment track {track}, of {count_of_learners(self.tracks[track])}: taken as not paid."


def count_of_learners(number: int) -> str:
    return f"{number} learner" + ("" if number == 1 else "s")


def _plain(rows: "Sequence[RejectedRow]") -> tuple[tuple[int, str, str], ...]:
    return tuple((row.line, row.reason, row.raw) for row in rows)
