"""The rows of a report as typed Arrow tables: every value checked, rejects with line and reason (E14, E22).

pandas reads the chosen columns as text and types nothing: ``NA``, ``null`` and ``00123`` stay what they are (E27).
"""

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import BinaryIO

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from mmcampaign.edx_csv.blocks import AGAIN, Block, split_blocks
from mmcampaign.edx_csv.header import Layout
from mmcampaign.edx_csv.names import GRADES, PROFILE
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
_ID = r"[1-9][0-9]{0,17}"
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


@dataclass(frozen=True, kw_only=True)
class RejectedRow:
    """``line`` is where the row starts in the file, the header being line 1."""

    line: int
    reason: str
    raw: str


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Some rows of a report: the accepted ones with the columns of ``ROWS[kind]``, and the others.

    ``tracks`` counts the accepted rows by enrollment track.
    """

    rows: pa.Table
    rejected: tuple[RejectedRow, ...]
    tracks: Mapping[str, int]


def read_rows(file: BinaryIO, layout: Layout, exported_at: datetime) -> Iterator[Chunk]:
    """The rows after the header, in chunks. Raises InputError for a file that must be refused as a whole."""
    for block in split_blocks(file, cells=layout.cells, first_line=layout.header_lines + 1):
        frame = _parse(block, layout)
        problems = _problems(frame)
        rows = _typed(frame if problems is None else frame[problems == ""], layout.kind, exported_at)
        yield Chunk(
            rows=rows,
            rejected=() if problems is None else _rejected(block, problems),
            tracks=_tracks(rows[_TRACK[layout.kind]]),
        )


def _parse(block: Block, layout: Layout) -> pd.DataFrame:
    chosen = sorted(layout.columns.items(), key=lambda column: column[1])
    try:
        frame = pd.read_csv(
            io.BytesIO(block.data),
            header=None,
            names=[name for name, _ in chosen],
            usecols=[place for _, place in chosen],
            dtype=str,  # a category would be typed by its values after all
            na_filter=False,
            index_col=False,
            skip_blank_lines=False,
            engine="c",
        )
    except ValueError as error:  # ParserError among others
        raise _unreadable(block) from error
    if len(frame) != block.records:
        raise _unreadable(block)
    return frame


def _unreadable(block: Block) -> InputError:
    return InputError(f"A stray quote or line break stands in line {block.first_line} or after it.", todo=AGAIN)


def _problems(frame: pd.DataFrame) -> "pd.Series[str] | None":
    """What is wrong with each row, empty for nothing; None when every row is in order."""
    found = [(~_matches(frame["student_id"], _ID), "The learner's id is not a whole number.")]
    found += [(~_matches(frame[name], rule, few=True), why) for name, (rule, why) in _PATTERNS.items() if name in frame]
    problems = None
    for wrong, why in found:
        if wrong.any():
            problems = pd.Series("", index=frame.index, dtype=object) if problems is None else problems
            problems[wrong & (problems == "")] = why
    return problems


def _matches(values: "pd.Series[str]", rule: str, *, few: bool = False) -> "pd.Series[bool]":
    """Whether each value matches; where few different ones occur, each is looked at once."""
    if few:
        different = pd.Series(values.unique())
        return values.isin(different[different.str.fullmatch(rule)])
    return values.str.fullmatch(rule)


def _rejected(block: Block, problems: "pd.Series[str]") -> tuple[RejectedRow, ...]:
    places = (problems != "").to_numpy().nonzero()[0].tolist()
    return tuple(
        RejectedRow(line=block.line(place), reason=problems.iloc[place], raw=block.raw(place)) for place in places
    )


def _tracks(column: pa.ChunkedArray) -> Mapping[str, int]:
    counts = pc.value_counts(column.drop_null()).to_pylist()
    return {count["values"]: count["counts"] for count in counts}


def _typed(frame: pd.DataFrame, kind: str, exported_at: datetime) -> pa.Table:
    known = frame.assign(email_key=frame["email"].str.casefold())
    if kind == GRADES and exported_at < _UNMARKED_UNENROLLED_SINCE and "enrollment_status" not in known:
        known["enrollment_status"] = "enrolled"  # only active enrollments were listed then (E17)
    table = pa.Table.from_pandas(known, preserve_index=False)
    return pa.table([_column(table, field) for field in ROWS[kind]], schema=ROWS[kind])


def _column(table: pa.Table, field: pa.Field) -> pa.ChunkedArray:
    if field.name not in table.column_names:
        return pa.chunked_array([pa.nulls(len(table), field.type)])
    values = table[field.name]
    if unknown := _NULLS.get(field.name):
        values = pc.if_else(pc.is_in(values, pa.array(unknown, values.type)), pa.scalar(None, values.type), values)
    return values.cast(field.type)
