"""The first line of a report: its kind, and where the columns we need stand (edx-exports 2.5, 4 to 6).

Columns differ by era, by course and by site, so they are found by name and never by place (E16, E19).
"""

import csv
import io
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import BinaryIO, NamedTuple

from mmcampaign.edx_csv.names import GRADES, OPT_IN, PROFILE, UNKNOWN
from mmcampaign.edx_csv.opening import AGAIN, open_report, read_record
from mmcampaign.errors import InputError

Names = Mapping[str, tuple[str, ...]]

# Our name -> edX's, lower case. A repeated header counts once: on the left the first, on the right the last (E15).
_GRADES_LEFT: Names = {
    "student_id": ("student id", "id"),
    "email": ("email",),
    "username": ("username",),
    "grade": ("grade",),
}
_GRADES_RIGHT: Names = {
    "enrollment_track": ("enrollment track",),
    "verification_status": ("verification status",),
    "certificate_eligible": ("certificate eligible",),
    "certificate_delivered": ("certificate delivered",),
    "certificate_type": ("certificate type",),
}
_GRADES_OPTIONAL: Names = {"enrollment_status": ("enrollment status",)}
_PROFILE_LEFT: Names = {"student_id": ("id",), "username": ("username",), "name": ("name",), "email": ("email",)}
_PROFILE_OPTIONAL: Names = {"profile_track": ("enrollment_mode",), "country": ("country",)}

_OPT_IN_COLUMNS = {"email", "course_id", "is_opted_in_for_email", "preference_set_datetime"}

_STATUS_COLUMN_SURE = datetime(2017, 6, 1, tzinfo=UTC)


GRADES_ALONE = "Grades alone were read: the report has no tracks or certificates, so who completed is not known."


class Layout(NamedTuple):
    """Where the columns we need stand: our name to the place in the row, which has ``cells`` cells in all."""

    kind: str
    columns: Mapping[str, int]
    cells: int
    header_lines: int
    names: tuple[str, ...] = ()  # the whole header, trimmed and in lower case
    warnings: tuple[str, ...] = ()


def kind_of_header(header: list[str]) -> str:
    """The kind of report by its header alone, or ``unknown``."""
    names = [name.strip().lower() for name in header]
    if any(name.endswith(("(earned)", "(possible)")) for name in names):
        return "problem_grade_report"
    if names[:1] in (["student id"], ["id"]) and names[1:4] == ["email", "username", "grade"]:
        return GRADES
    if {"id", "username", "email"} <= set(names[:5]) and "name" in names and "grade" not in names:
        return PROFILE
    return OPT_IN if set(names) >= _OPT_IN_COLUMNS else UNKNOWN


def read_layout(file: BinaryIO, kind: str, exported_at: datetime, *, insist: bool = False) -> Layout | None:
    """Read the header; the file then stands at its first row. None: there is nothing but a BOM (E7).

    Raises InputError when the file is not what its name says, or leaves completion unknown (E18) and nobody insists.
    """
    record = open_report(file)
    if not record:
        if file.read(1):
            raise InputError("The first line is empty, so it is no report of edX.", todo=AGAIN)
        return None
    header = cells_of(record)
    found = kind_of_header(header)
    if found != kind:
        raise InputError(f"The name says {kind}, but the first line {_described(record, found)}.", todo=AGAIN)
    layout = layout_of(header, kind, exported_at, insist=insist)
    return layout._replace(header_lines=record.count(b"\n") + 1)


def layout_of(header: list[str], kind: str, exported_at: datetime, *, insist: bool = False) -> Layout:
    """Where a header of that kind has our columns. Raises InputError when completion would be unknown (E18)."""
    names = [name.strip().lower() for name in header]
    warnings: tuple[str, ...] = ()
    if kind == PROFILE:
        columns = _profile_columns(names)
    else:
        columns, warnings = _grade_columns(names, insist)
        warnings = warnings or _missing_status(names, exported_at)
    return Layout(kind=kind, columns=columns, cells=len(header), header_lines=1, names=tuple(names), warnings=warnings)


def sniff_kind(file: BinaryIO) -> str:
    """The kind of a file whose name says nothing; ``unknown`` for anything that is no report."""
    head = file.read(1 << 16)
    text = head.decode("utf-16" if head.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig", "replace")
    kinds = (kind_of_header(header_cells(text, delimiter)) for delimiter in ",;\t")
    return next((kind for kind in kinds if kind != UNKNOWN), UNKNOWN)


def header_cells(text: str, delimiter: str) -> list[str]:
    """The cells of the first record, or none where there is no such thing."""
    try:
        return next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
    except csv.Error:
        return []


def count_records(file: BinaryIO) -> int:
    """Data rows of a list that is counted but not read (``grade_report_err``). Raises InputError for a damaged one."""
    header, number = cells_of(open_report(file)), 0
    while header and (record := read_record(file)):
        if not record.endswith(b"\n") or len(cells_of(record.rstrip(b"\r\n"))) != len(header):
            raise InputError("The list is damaged.", todo=AGAIN)
        number += 1
    return number


def cells_of(record: bytes) -> list[str]:
    """The cells of one record.

    Raises InputError for bytes that are no UTF-8, and for what holds a bare carriage return outside quotes: a line ends
    there for some readers, and what stands behind it would be lost.
    """
    try:
        return next(csv.reader([record.decode("utf-8")]), [])
    except UnicodeDecodeError as error:
        raise InputError("The header is not UTF-8: a spreadsheet has probably saved the file.", todo=AGAIN) from error
    except csv.Error as error:
        raise InputError("The first line is no CSV.", todo=AGAIN) from error


def _described(record: bytes, found: str) -> str:
    for letter, word in ((b";", "semicolons"), (b"\t", "tabs")):
        if record.count(letter) > max(2, record.count(b",") / 2):
            return f"is separated by {word}: a spreadsheet has saved the file and may have damaged names and numbers"
    return "is not that of an edX report" if found == UNKNOWN else f"is that of a {found}"


def _profile_columns(names: list[str]) -> dict[str, int]:
    return {**_find(names, _PROFILE_LEFT), **_find(names, _PROFILE_OPTIONAL, last=True)}


def _grade_columns(names: list[str], insist: bool) -> tuple[dict[str, int], tuple[str, ...]]:
    """The columns, and a warning where the grades are all there is (E18; eras G0 and G1 have none of the five)."""
    left = _find(names, _GRADES_LEFT)
    right = _find(names, _GRADES_RIGHT, last=True)
    missing = [theirs[0] for ours, theirs in _GRADES_RIGHT.items() if ours not in right]
    if missing and insist and not right:
        return left, (GRADES_ALONE,)
    if missing:
        raise InputError(
            f"The report has no column for {', '.join(missing)}, as before April 2015: who completed is not known.",
            todo="Ask edX for a new report of this run; it comes in today's format. "
            "To read its grades alone, say so: mmcampaign ingest FILE --insist",
        )
    return {**left, **right, **_find(names, _GRADES_OPTIONAL, last=True)}, ()


def _find(names: list[str], wanted: Names, *, last: bool = False) -> dict[str, int]:
    order = range(len(names))[:: -1 if last else 1]
    places = {ours: next((place for place in order if names[place] in theirs), -1) for ours, theirs in wanted.items()}
    return {ours: place for ours, place in places.items() if place >= 0}


def _missing_status(names: list[str], exported_at: datetime) -> tuple[str, ...]:
    if "enrollment status" in names or exported_at < _STATUS_COLUMN_SURE:
        return ()
    return ("There is no column Enrollment Status, so who has unenrolled is not known.",)
