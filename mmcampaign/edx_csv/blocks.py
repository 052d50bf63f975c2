"""The bytes of a CSV file as blocks of whole records, each checked before anybody parses it (edx-exports 3).

A record ends at a line feed outside quotes, and edX quotes every cell that holds a quote, a comma or a line break.
One pass, flat in memory, and it knows where each record stands, so that whoever parses a block can be held to its
number of records, and a rejected row can be shown with its line number.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from mmcampaign.errors import InputError

BLOCK_BYTES = 4 << 20
LONGEST_RECORD = 64 << 20
BOM = b"\xef\xbb\xbf"
AGAIN = "Download the report again from edX."

_LF, _CR, _COMMA, _QUOTE = 10, 13, 44, 34
_FOREIGN = (
    (b"\x1f\x8b", "The file is a compressed copy (gzip), not CSV."),
    (b"PK\x03\x04", "The file is a ZIP archive, or a workbook, not CSV."),
    (b"%PDF", "The file is a PDF, not CSV."),
    (b"\xff\xfe", "The file is UTF-16, as spreadsheets save it, not edX's CSV."),
    (b"\xfe\xff", "The file is UTF-16, as spreadsheets save it, not edX's CSV."),
)

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Block:
    """Whole records. ``first_line`` is the line of the file its first record starts on."""

    data: bytes
    first_line: int
    ends: Positions  # where each record's line feed stands in ``data``
    quotes: Positions

    @property
    def records(self) -> int:
        return len(self.ends)

    @property
    def shortest(self) -> int:
        """Bytes of the shortest record, its line end included."""
        return int(np.diff(self.ends, prepend=-1).min())

    @property
    def is_plain(self) -> bool:
        """Whether every quote opens or closes a cell or is doubled, so that all readers agree on where cells end."""
        octets = np.frombuffer(self.data, np.uint8)
        opening, closing = self.quotes[0::2], self.quotes[1::2]
        before = octets[opening[opening > 0] - 1]
        after = octets[closing + 1]
        line_ends = closing[after == _CR]
        return bool(
            np.isin(before, (_COMMA, _LF, _QUOTE)).all()
            and np.isin(after, (_COMMA, _CR, _LF, _QUOTE)).all()
            and (octets[line_ends + 2] == _LF).all()
        )

    def require_cells(self, cells: int) -> None:
        """Raise InputError with the line and the numbers for a row longer or shorter than that (E11, E12, E13)."""
        octets = np.frombuffer(self.data, np.uint8)
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
        return self.first_line + self.data.count(b"\n", 0, self.span(record)[0])

    def raw(self, record: int) -> str:
        start, end = self.span(record)
        return self.data[start:end].decode("utf-8", "replace").rstrip("\r\n")


def open_report(file: BinaryIO) -> bytes:
    """Read the header record, without BOM and line end; the file then stands at its first data record.

    Empty when there is nothing but a BOM (E7). Raises InputError for what is no CSV at all (E5).
    """
    head = file.read(1024)
    if not head:
        raise InputError("The file is empty.", todo=AGAIN)
    for magic, what in _FOREIGN:
        if head.startswith(magic):
            raise InputError(what, todo=AGAIN)
    if head.removeprefix(BOM).lstrip().startswith(b"<"):
        raise InputError("The file is an error page, not CSV: the download link had run out.", todo=AGAIN)
    file.seek(len(BOM) if head.startswith(BOM) else 0)
    return _header_record(file)


def _header_record(file: BinaryIO) -> bytes:
    header = b""
    while line := file.readline(LONGEST_RECORD):
        header += line
        if header.count(b'"') % 2 == 0:
            break
    if header and not header.endswith(b"\n"):
        raise InputError("The file is cut off in its header.", todo=AGAIN)
    return header.rstrip(b"\r\n")


def split_blocks(file: BinaryIO, *, cells: int | None, first_line: int, size: int = BLOCK_BYTES) -> Iterator[Block]:
    """The rest of the file, in blocks of about ``size`` bytes.

    Raises InputError for a cut-off file (E6), for bytes that are no UTF-8, and for rows longer or shorter than the
    header's ``cells``; None leaves these to the caller.
    """
    rest, line = b"", first_line
    while piece := file.read(size):
        data = rest + piece
        ends, quotes = _ends(data)
        if not len(ends):
            rest = data
            if len(rest) > LONGEST_RECORD:
                raise InputError("A quote is opened and never closed.", todo=AGAIN)
            continue
        cut = int(ends[-1]) + 1
        block = Block(data=data[:cut], first_line=line, ends=ends, quotes=quotes[: np.searchsorted(quotes, cut)])
        _require_text(block)
        if cells is not None:
            block.require_cells(cells)
        yield block
        rest, line = data[cut:], line + block.data.count(b"\n")
    if rest:
        raise InputError(f"The file is cut off in its last row, which starts in line {line}.", todo=AGAIN)


def _ends(data: bytes) -> tuple[Positions, Positions]:
    """Where line feeds stand outside quotes, and where quotes stand."""
    octets = np.frombuffer(data, np.uint8)
    quotes = np.flatnonzero(octets == _QUOTE)
    return _outside(np.flatnonzero(octets == _LF), quotes), quotes


def _outside(marks: Positions, quotes: Positions) -> Positions:
    """A place is inside when an odd number of quotes stands before it; a doubled quote flips twice."""
    return marks[np.searchsorted(quotes, marks) % 2 == 0] if len(quotes) else marks


def _require_text(block: Block) -> None:
    if b"\0" in block.data:
        raise InputError("The file holds zero bytes: it is damaged, or no CSV.", todo=AGAIN)
    if block.data.isascii():
        return
    try:
        block.data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = block.first_line + block.data.count(b"\n", 0, error.start)
        raise InputError(
            f"Line {line} is not UTF-8: the file was probably saved by a spreadsheet.", todo=AGAIN
        ) from error
