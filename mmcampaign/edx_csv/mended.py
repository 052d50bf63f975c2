"""Files of refused rows that a person has mended: the header line of their export, and the rows as they stood.

Such a file is added to its export and replaces nothing, so that a learner who stands there already, or in a row
further up, is refused as a row.
"""

import codecs
import csv
import io
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import BinaryIO, NamedTuple

import pyarrow as pa

from mmcampaign.arrow_values import array
from mmcampaign.edx_csv.odd_forms import OddForm, Record, records, written_form
from mmcampaign.edx_csv.rows import Chunk, RejectedRow

STANDS = "The learner stands in the export already."
TWICE = "A row further up in this file is of the same learner."
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def header_text(file: BinaryIO) -> str:
    """The header record of a report as it stands, without byte order mark and line end; the file is read anew."""
    file.seek(0)
    encoding = "utf-16" if file.read(2) in _UTF16 else "utf-8-sig"
    for guess in (encoding, "cp1252"):
        file.seek(0)
        text = io.TextIOWrapper(file, guess, newline="")
        try:
            return _header_record(text)
        except UnicodeDecodeError:
            continue
        finally:
            text.detach()
    return ""


def _header_record(text: io.TextIOWrapper) -> str:
    header = ""
    for line in text:
        header += line
        if header.count('"') % 2 == 0:
            break
    return header.rstrip("\r\n")


def mended_csv(header: str, rows: Sequence[str]) -> bytes:
    """A file to mend, for a text editor or a spreadsheet: with a byte order mark, or the latter damages names."""
    return codecs.BOM_UTF8 + "".join(f"{line}\r\n" for line in (header, *rows)).encode()


class MendedRows(NamedTuple):
    """The rows of a file of mended rows by learner, read once beforehand: such files are small."""

    rows: dict[int, list[RejectedRow]]

    @property
    def learners(self) -> Collection[int]:
        return self.rows.keys()

    def sift(self, chunks: Iterator[Chunk], standing: Collection[int]) -> Iterator[Chunk]:
        """The chunks without the learners who stand in the export, or further up; their rows are rejected."""
        taken, left = set(standing), {learner: list(rows) for learner, rows in self.rows.items()}
        for chunk in chunks:
            bad = {row.line for row in chunk.rejected}
            kept, rejected = [], list(chunk.rejected)
            for place, learner in enumerate(chunk.rows["student_id"].to_pylist()):
                row = _next_row(left.get(learner, []), bad)
                if learner in taken:
                    rejected.append(row._replace(reason=STANDS if learner in standing else TWICE))
                else:
                    kept.append(place)
                taken.add(learner)
            rows = chunk.rows.take(array(kept, pa.int64()))
            yield chunk._replace(rows=rows, rejected=tuple(sorted(rejected, key=lambda row: row.line)))


def _next_row(rows: list[RejectedRow], bad: Collection[int]) -> RejectedRow:
    """The learner's next row that was not rejected for itself; readers keep the order of the file."""
    while rows:
        row = rows.pop(0)
        if row.line not in bad:
            return row
    return RejectedRow(line=0, reason="", raw="")


def read_mended(file: BinaryIO, kind: str, exported_at: datetime, *, insist: bool = False) -> MendedRows:
    """Who stands in a file of mended rows, and in which lines; the file then stands at its beginning.

    Nobody where it is no CSV of that kind: reading it as a report tells why.
    """
    found: dict[int, list[RejectedRow]] = defaultdict(list)
    form = written_form(file, kind, exported_at, insist=insist)
    if form is not None:
        for learner, record in _by_learner(file, form):
            found[learner].append(RejectedRow(line=record.line, reason="", raw=record.raw.rstrip("\r\n")))
    file.seek(0)
    return MendedRows(rows=found)


def _by_learner(file: BinaryIO, form: OddForm) -> Iterator[tuple[int, Record]]:
    place = form.layout.columns["student_id"]
    try:
        for record in records(file, form):
            cell = record.cells[place] if place < len(record.cells) else ""
            if cell.isascii() and cell.isdecimal():
                yield int(cell), record
    except (csv.Error, UnicodeError):
        return
