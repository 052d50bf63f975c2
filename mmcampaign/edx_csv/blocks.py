"""The bytes of a CSV file as blocks of whole records, each checked before anybody parses it (edx-exports 3).

A record ends at a line feed outside quotes, and edX quotes every cell that holds a quote, a comma or a line break.
Blocks are flat in memory and are read once; they know how many records they hold, so that whoever parses one can be
held to it. Where each record stands is looked up only when somebody asks, for the line number of a rejected row.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import BinaryIO, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mmcampaign.edx_csv.opening import AGAIN, LONGEST_RECORD, read_record
from mmcampaign.errors import InputError

BLOCK_BYTES = 4 << 20

_LF, _CR, _COMMA, _QUOTE = 10, 13, 44, 34
Octets = npt.NDArray[np.uint8]
Positions = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Block:
    """Whole records. ``first_line`` is the line of the file its first record starts on."""

    data: bytes
    first_line: int

    @property
    def octets(self) -> Octets:
        return np.frombuffer(self.data, np.uint8)

    @cached_property
    def quotes(self) -> Positions:
        """Where quotes stand; in most blocks nowhere, and then counting is enough for all the rest."""
        return np.flatnonzero(self.octets == _QUOTE) if b'"' in self.data else np.empty(0, np.int64)

    @cached_property
    def line_feeds(self) -> Positions:
        return np.flatnonzero(self.octets == _LF)

    @cached_property
    def ends(self) -> Positions:
        """Where the line feed of each record stands."""
        return _outside(self.line_feeds, self.quotes)

    @cached_property
    def lines(self) -> int:
        return len(self.line_feeds) if len(self.quotes) else int(np.count_nonzero(self.octets == _LF))

    @property
    def records(self) -> int:
        return len(self.ends) if len(self.quotes) else self.lines

    def whole(self) -> Self:
        """Itself, or without its last record where that has no end, which is so in a damaged file only."""
        if len(self.quotes) % 2 == 0 and self.data.endswith(b"\n"):
            return self
        start = int(self.ends[-1]) + 1 if len(self.ends) else 0
        return replace(self, data=self.data[:start])

    @property
    def is_plain(self) -> bool:
        """Whether every quote opens or closes a cell or is doubled, so that all readers agree on where cells end."""
        octets = self.octets
        opening, closing = self.quotes[0::2], self.quotes[1::2]
        before = octets[opening[opening > 0] - 1]
        after = octets[closing + 1]
        line_ends = closing[after == _CR]
        return bool(
            _are_among(before, _COMMA, _LF, _QUOTE)
            and _are_among(after, _COMMA, _CR, _LF, _QUOTE)
            and (octets[line_ends + 2] == _LF).all()
        )

    def require_cells(self, cells: int) -> None:
        """Raise InputError with the line and the numbers for a row longer or shorter than that (E11, E12, E13)."""
        octets = self.octets
        marks = _outside(np.flatnonzero((octets == _COMMA) | (octets == _LF)), self.quotes)
        found = np.diff(np.flatnonzero(octets[marks] == _LF), prepend=-1)
        wrong = np.flatnonzero(found != cells)
        if len(wrong):
            first = int(wrong[0])
            raise InputError(
                f"Line {self.line(first)} has {found[first]} cells where the header has {cells}: "
                "which value belongs to which column is not certain.",
                todo=AGAIN,
            )

    def span(self, record: int) -> tuple[int, int]:
        return (int(self.ends[record - 1]) + 1 if record else 0), int(self.ends[record]) + 1

    def line(self, record: int) -> int:
        """The line of the file a record starts on; records may span lines (E20)."""
        return self.first_line + int(np.searchsorted(self.line_feeds, self.span(record)[0]))

    def raw(self, record: int) -> str:
        start, end = self.span(record)
        return self.data[start:end].decode("utf-8", "replace").rstrip("\r\n")


def split_blocks(file: BinaryIO, *, cells: int | None, first_line: int, size: int = BLOCK_BYTES) -> Iterator[Block]:
    """The rest of the file, in blocks of about ``size`` bytes.

    Raises InputError for a cut-off file (E6), for bytes that are no UTF-8, and for rows longer or shorter than the
    header's ``cells``; None leaves these to the caller.
    """
    line = first_line
    while data := _read_lines(file, size):
        found = _completed(Block(data=data, first_line=line), file)
        block = found.whole()
        _require_text(block)
        if cells is not None:
            block.require_cells(cells)
        if block.data:
            yield block
        line += block.lines
        if block is not found:
            raise _unfinished(len(found.data) - len(block.data), line)


def _read_lines(file: BinaryIO, size: int) -> bytes:
    """At least ``size`` bytes, up to the end of a line; read in one piece, since putting two together copies both."""
    start = file.tell()
    file.seek(start + size)
    file.readline(LONGEST_RECORD)
    end = file.tell()
    file.seek(start)
    return file.read(end - start)


def _completed(block: Block, file: BinaryIO) -> Block:
    """The block with the rest of its last record, when that goes on in the lines that follow."""
    if len(block.quotes) % 2 == 0:
        return block
    return Block(data=block.data + read_record(file, quoted=True), first_line=block.first_line)


def _unfinished(size: int, line: int) -> InputError:
    if size > LONGEST_RECORD:
        return InputError("A quote is opened and never closed.", todo=AGAIN)
    return InputError(f"The file is cut off in its last row, which starts in line {line}.", todo=AGAIN)


def _are_among(octets: Octets, *allowed: int) -> bool:
    return bool(np.logical_or.reduce([octets == one for one in allowed]).all())


def _outside(marks: Positions, quotes: Positions) -> Positions:
    """A place is inside when an odd number of quotes stands before it; a doubled quote flips twice."""
    return marks[np.searchsorted(quotes, marks) % 2 == 0] if len(quotes) else marks


def _require_text(block: Block) -> None:
    if b"\0" in block.data:
        raise InputError("The file holds zero bytes: it is damaged, or no CSV.", todo=AGAIN)
    if block.data.isascii() or _is_utf8(block.data):
        return
    try:
        block.data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = block.first_line + int(np.searchsorted(block.line_feeds, error.start))
        raise InputError(
            f"Line {line} is not UTF-8: the file was probably saved by a spreadsheet.", todo=AGAIN
        ) from error


def _is_utf8(data: bytes) -> bool:
    """By Arrow, which needs a quarter of the time and no copy: one text is made of the bytes where they stand."""
    ends = pa.py_buffer(np.array([0, len(data)], np.int32))
    try:
        pa.StringArray.from_buffers(1, ends, pa.py_buffer(data)).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True
