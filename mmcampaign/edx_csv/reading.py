"""A report opened for reading, plainly or from an odd form; either way its rows come from ``rows.read_rows``.

An odd form is rewritten into edX's own, batch by batch and flat in memory: UTF-8, commas, only the columns we need, in
their places. What is rejected is led back to its line and text in the file.
"""

import csv
import io
from collections.abc import Iterator
from datetime import datetime
from typing import BinaryIO, NamedTuple

from mmcampaign.arrow_values import empty_table
from mmcampaign.edx_csv.header import read_layout
from mmcampaign.edx_csv.odd_forms import OddForm, Record, find_odd_form, in_batches
from mmcampaign.edx_csv.rows import ROWS, Chunk, RejectedRow, read_rows

BATCH = 20_000
NO_ADDRESS = "The row is shifted: its second cell is no address."


class Report(NamedTuple):
    """A report whose rows have not been read yet. ``resaved``: it is a copy that a spreadsheet has saved (E8)."""

    warnings: tuple[str, ...]
    chunks: Iterator[Chunk]
    resaved: bool = False


def open_plain(file: BinaryIO, kind: str, exported_at: datetime, *, insist: bool = False) -> Report:
    """A report as edX writes it. Raises InputError when it is none, here or while its rows are read."""
    layout = read_layout(file, kind, exported_at, insist=insist)
    if layout is None:
        return Report(warnings=(), chunks=iter(()))
    return Report(warnings=layout.warnings, chunks=read_rows(file, layout, exported_at))


def open_odd(
    file: BinaryIO, kind: str, exported_at: datetime, *, insist: bool = False, few: bool = False
) -> Report | None:
    """A report that was refused plainly, in one of the odd forms known for certain; None when it is in none.

    ``few``: the file holds some rows of a report, mended.
    """
    form = find_odd_form(file, kind, exported_at, insist=insist, few=few)
    if form is None:
        return None
    rows = _odd_rows(file, form, exported_at)
    return Report(warnings=form.layout.warnings, chunks=rows, resaved=not form.surplus)


def _odd_rows(file: BinaryIO, form: OddForm, exported_at: datetime) -> Iterator[Chunk]:
    places = form.places()
    columns = {name: number for number, name in enumerate(places)}
    layout = form.layout._replace(columns=columns, cells=len(places), header_lines=0)
    for batch in in_batches(file, form, BATCH):
        sound = [record for record in batch if not form.surplus or "@" in record.cells[places["email"]]]
        if len(sound) < len(batch):
            shifted = (record for record in batch if "@" not in record.cells[places["email"]])
            rejected = tuple(_rejected(record, NO_ADDRESS) for record in shifted)
            yield Chunk(rows=empty_table(ROWS[form.layout.kind]), rejected=rejected, tracks={})
        data, origin = _canonical(sound, form, list(places.items()))
        for chunk in read_rows(io.BytesIO(data), layout, exported_at):
            yield chunk._replace(rejected=tuple(_rejected(origin[row.line], row.reason) for row in chunk.rejected))


def _canonical(batch: list[Record], form: OddForm, places: list[tuple[str, int]]) -> tuple[bytes, dict[int, Record]]:
    """The rows as edX would have written them, and which record stands on which line of that."""
    written: list[str] = []
    writer = csv.writer(_Sink(written))
    origin, line = {}, 1
    for record in batch:
        cells = (form.grade(record.cells[place]) if name == "grade" else record.cells[place] for name, place in places)
        writer.writerow(cells)
        origin[line] = record
        line += written[-1].count("\n")
    return "".join(written).encode(), origin


class _Sink(NamedTuple):
    """What csv.writer writes to: one piece for each row."""

    rows: list[str]

    def write(self, row: str) -> None:
        self.rows.append(row)


def _rejected(record: Record, reason: str) -> RejectedRow:
    return RejectedRow(line=record.line, reason=reason, raw=record.raw.rstrip("\r\n"))
