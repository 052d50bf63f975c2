"""The rows of a report as typed Arrow tables: every value checked, rejects with line and reason (E14, E22).

Arrow reads the chosen columns as text and types nothing: ``NA``, ``null`` and ``00123`` stay what they are (E27,
docs/decisions/0009-how-ingest-is-fast.md).
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from mmcampaign.arrow_values import array, from_numpy, scalar
from mmcampaign.edx_csv.blocks import Block, split_blocks
from mmcampaign.edx_csv.header import Layout
from mmcampaign.edx_csv.names import GRADES, PROFILE
from mmcampaign.edx_csv.opening import AGAIN, BOM
from mmcampaign.errors import InputError

_TEXTS = ("username", "email", "email_key")
_PROFILE_TEXTS = (*_TEXTS, "name", "country", "profile_track")
_CODES = ("enrollment_track", "verification_status", "certificate_eligible", "certificate_delivered")
_GRADE_TEXTS = (*_TEXTS, *_CODES, "certificate_type", "enrollment_status")


def _schema(texts: tuple[str, ...], *numbers: pa.Field) -> pa.Schema:
    return pa.schema([("student_id", pa.int64()), *numbers, *((name, pa.string()) for name in texts)])


# The columns of ``Chunk.rows``.
ROWS: Mapping[str, pa.Schema] = {
    PROFILE: _schema(_PROFILE_TEXTS),
    GRADES: _schema(_GRADE_TEXTS, pa.field("grade", pa.float64())),
}

_TRACK = {PROFILE: "profile_track", GRADES: "enrollment_track"}
_ID_DIGITS = scalar(18, pa.int32())
_EMPTY, _UNKNOWN = scalar("", pa.string()), scalar(None, pa.string())
_PATTERNS: Mapping[str, tuple[str, str]] = {
    "grade": (r"[0-9](\.[0-9]+)?", "The grade is not a fraction such as 0.65."),  # above 1 is possible (E23), 65 is not
    "enrollment_track": (r"[A-Za-z0-9_-]+", "The enrollment track is not a code such as verified."),
    "profile_track": (r"[A-Za-z0-9_-]*", "The enrollment mode is not a code such as verified."),
    "verification_status": (r"N/A|Not ID Verified|ID Verified", "The verification status is not one of edX's three."),
    "certificate_eligible": (r"[YN]", "Certificate Eligible is neither Y nor N."),
    "certificate_delivered": (r"[YN]", "Certificate Delivered is neither Y nor N."),
    "enrollment_status": (r"enrolled|unenrolled", "The enrollment status is neither enrolled nor unenrolled."),
}
# Null rule (edx-exports 5, E26): `None` means unknown in optional columns only; a person may be called None.
_NULLS = {"profile_track": ["", "None"], "name": [""], "country": [""]}
_UNMARKED_UNENROLLED_SINCE = datetime(2017, 5, 1, tzinfo=UTC)


class RejectedRow(NamedTuple):
    """``line`` is where the row starts in the file, the header being line 1."""

    line: int
    reason: str
    raw: str


class Chunk(NamedTuple):
    """Some rows of a report: the accepted ones with the columns of ``ROWS[kind]``, and the others.

    ``tracks`` counts the accepted rows by enrollment track.
    """

    rows: pa.Table
    rejected: tuple[RejectedRow, ...]
    tracks: Mapping[str, int]


def read_rows(file: BinaryIO, layout: Layout, exported_at: datetime) -> Iterator[Chunk]:
    """The rows after the header, in chunks. Raises InputError for a file that must be refused as a whole."""
    for block in split_blocks(file, cells=None, first_line=layout.header_lines + 1):
        cells = _parse(block, layout)
        problems = _problems(cells)
        if problems:
            sound = np.ones(len(cells), bool)
            sound[list(problems)] = False
            cells = cells.filter(from_numpy(sound))
        yield Chunk(
            rows=_typed(cells, layout.kind, exported_at),
            rejected=_rejected(block, problems),
            tracks=_tracks(cells, layout.kind),
        )


def _parse(block: Block, layout: Layout) -> pa.Table:
    """The chosen columns as text. Raises InputError unless Arrow finds the block's records, each of its length."""
    if not block.is_plain:
        block.require_cells(layout.cells)
    names = [str(place) for place in range(layout.cells)]
    for name, place in layout.columns.items():
        names[place] = name
    # Arrow drops a byte order mark at the start of what it reads; in the middle of a file it is part of a cell.
    first = b"," * (layout.cells - 1) + b"\n" if block.data.startswith(BOM) else b""
    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(first + block.data if first else block.data),
            read_options=pyarrow.csv.ReadOptions(
                column_names=names, block_size=len(first) + len(block.data) + 1, use_threads=False
            ),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
            convert_options=pyarrow.csv.ConvertOptions(
                include_columns=list(layout.columns),
                column_types=dict.fromkeys(layout.columns, pa.string()),
                strings_can_be_null=False,
                quoted_strings_can_be_null=False,
                check_utf8=False,  # the block is known to be UTF-8
            ),
        )
    except pa.ArrowInvalid as error:
        block.require_cells(layout.cells)
        raise _unreadable(block) from error
    table = table.slice(1 if first else 0)
    if len(table) != block.records:
        raise _unreadable(block)
    if pc.any(pc.equal(table["student_id"], _EMPTY)).as_py():  # Arrow takes an empty line for a row
        block.require_cells(layout.cells)
    return table


def _unreadable(block: Block) -> InputError:
    return InputError(f"A stray quote or line break stands in line {block.first_line} or after it.", todo=AGAIN)


def _problems(cells: pa.Table) -> dict[int, str]:
    """What is wrong, by the number of the row; the first problem of each."""
    found = dict.fromkeys(_places(pc.invert(_are_ids(cells["student_id"]))), "The learner's id is not a whole number.")
    for name, (rule, why) in _PATTERNS.items():
        if name in cells.column_names:
            for place in _breaks(cells[name], rule):
                found.setdefault(place, why)
    return dict(sorted(found.items()))


def _are_ids(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Which are one to eighteen digits, the first of them not 0."""
    short = pc.less_equal(pc.binary_length(values), _ID_DIGITS)
    return pc.and_not(pc.and_(pc.ascii_is_decimal(values), short), pc.starts_with(values, "0"))


def _breaks(values: pa.ChunkedArray, rule: str) -> list[int]:
    """Where values break the rule; of few different ones, so that each is looked at once."""
    different = values.unique()
    wrong = different.filter(pc.invert(pc.match_substring_regex(different, f"^({rule})$")))
    return _places(pc.is_in(values, wrong)) if len(wrong) else []


def _places(which: pa.ChunkedArray) -> list[int]:
    places: list[int] = pc.indices_nonzero(which).to_pylist()
    return places


def _rejected(block: Block, problems: Mapping[int, str]) -> tuple[RejectedRow, ...]:
    return tuple(
        RejectedRow(line=block.line(place), reason=why, raw=block.raw(place)) for place, why in problems.items()
    )


def _tracks(cells: pa.Table, kind: str) -> Mapping[str, int]:
    if _TRACK[kind] not in cells.column_names:
        return {}
    counts = pc.value_counts(cells[_TRACK[kind]]).to_pylist()
    return {count["values"]: count["counts"] for count in counts if count["values"] not in _NULLS.get(_TRACK[kind], ())}


def _typed(cells: pa.Table, kind: str, exported_at: datetime) -> pa.Table:
    known = cells.append_column("email_key", _casefolded(cells["email"]))
    if kind == GRADES and exported_at < _UNMARKED_UNENROLLED_SINCE and "enrollment_status" not in known.column_names:
        # Only active enrollments were listed then (E17).
        known = known.append_column("enrollment_status", array(["enrolled"] * len(cells), pa.string()))
    return pa.table([_column(known, field) for field in ROWS[kind]], schema=ROWS[kind])


def _casefolded(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Of ASCII, lower case is the same."""
    lower = pc.ascii_lower(values)
    if all(bytes(chunk.buffers()[-1] or b"").isascii() for chunk in values.chunks):
        return lower
    foreign = pc.invert(pc.string_is_ascii(values))
    folded = array([value.casefold() for value in values.filter(foreign).to_pylist()], pa.string())
    return pc.replace_with_mask(lower.combine_chunks(), foreign.combine_chunks(), folded)


def _column(table: pa.Table, field: pa.Field) -> pa.ChunkedArray:
    if field.name not in table.column_names:
        return pa.chunked_array([pa.nulls(len(table), field.type)])
    values = table[field.name]
    for text in _NULLS.get(field.name, ()):
        values = pc.if_else(pc.equal(values, scalar(text, pa.string())), _UNKNOWN, values)
    return values.cast(field.type)
