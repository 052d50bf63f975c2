"""Reports that the plain way refuses but that can still be read for certain (edX cases E8, E11, E12).

Looked at only after a refusal, so that ordinary files cost nothing more. ``find_odd_form`` reads the whole file once
and says in which of the known forms *all* of it is; a file that mixes forms, or is in none of them, stays refused.
"""

import codecs
import csv
import io
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from typing import BinaryIO, NamedTuple

from mmcampaign.edx_csv.header import Layout, header_cells, kind_of_header, layout_of
from mmcampaign.edx_csv.names import GRADES
from mmcampaign.edx_csv.opening import AGAIN, BOM
from mmcampaign.errors import InputError

DAMAGED = "A spreadsheet has saved this file ({how}): names and user names may be damaged. A new download is safer."
SHIFTED = (
    "Every row is {cells} than the header, a known fault of edX: it was read from both ends, assignments left out."
)
PERCENT = "The column Grade Percent was divided by 100."

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_UTF8_LETTER = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_PIECE = 1 << 20
_HEADER = 1 << 20
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_ENCODINGS = {"cp1252": "code page 1252", "utf-16": "UTF-16"}

_ID = re.compile(r"[1-9][0-9]{0,17}")
_FRACTION = re.compile(r"\d(?:[.,]\d+)?")
_PERCENT_SIGN = re.compile(r"(\d{1,3}(?:[.,]\d+)?) ?%")
_PERCENT_PLAIN = re.compile(r"\d{1,3}(?:\.\d+)?")
_MOST = 2  # a grade is a fraction; extra credit takes it a little over 1 (E23)
_TEAMS_FIXED = datetime(2017, 5, 11, tzinfo=UTC)  # E12


class Record(NamedTuple):
    """One record of an oddly written file: the line it starts on, its cells, and its text as it stands."""

    line: int
    cells: list[str]
    raw: str


class OddForm(NamedTuple):
    """How a file is written. ``surplus`` is the cells of every row over those of the header (E12: 1, E11: below 0).

    ``layout`` is that of the header, ``percent`` whether plain grades are out of 100.
    """

    encoding: str
    delimiter: str
    layout: Layout
    surplus: int = 0
    percent: bool = False

    @property
    def spreadsheet(self) -> bool:
        return self.encoding != "utf-8-sig" or self.delimiter != ","

    def places(self) -> dict[str, int]:
        """Where each column stands in a row: the first four from the left, all others from the right (E11, E12)."""
        columns = self.layout.columns
        if not self.surplus:
            return dict(columns)
        return {name: place if place < 4 else place + self.surplus for name, place in columns.items()}

    def grade(self, cell: str) -> str:
        """A grade cell as edX would write it; what cannot be read for certain is left for the row check to reject."""
        if self.percent:
            return _hundredth(cell) if _PERCENT_PLAIN.fullmatch(cell) else f"{cell} of 100"
        if found := _PERCENT_SIGN.fullmatch(cell):
            return _hundredth(found[1])
        return cell.replace(",", ".") if _FRACTION.fullmatch(cell) else cell


def _hundredth(percent: str) -> str:
    return f"{Decimal(percent.replace(',', '.')) / 100:f}"


def find_odd_form(
    file: BinaryIO, kind: str, exported_at: datetime, *, insist: bool = False, few: bool = False
) -> OddForm | None:
    """The form of a file that was refused as it stands, or None where it is in no form that we know for certain.

    ``few``: some rows of a report, mended. They say too little of how the file as a whole was treated, and those that
    are bad are rejected one by one.

    Raises InputError for a form that is known but has lost what we need: ids that are no plain integers any more,
    grades that cannot be (E8), no completion (E18).
    """
    form = written_form(file, kind, exported_at, insist=insist)
    if form is None:
        return None
    try:
        return _judged(file, form, exported_at, few=few)
    except (csv.Error, UnicodeError):
        return None


def written_form(file: BinaryIO, kind: str, exported_at: datetime, *, insist: bool = False) -> OddForm | None:
    """Encoding, delimiter and header; None when no combination gives the header of that kind."""
    encoding = _encoding(file)
    if encoding is None:
        return None
    file.seek(0)
    text = file.read(_HEADER).decode(encoding, "ignore")
    for delimiter in _DELIMITERS:
        header = header_cells(text, delimiter)
        percent = kind == GRADES and _is_percent(header)
        if percent:
            header = ["Grade" if name == "Grade Percent" else name for name in header]
        if percent or kind_of_header(header) == kind:
            layout = layout_of(header, kind, exported_at, insist=insist)
            return OddForm(encoding=encoding, delimiter=delimiter, layout=layout, percent=percent)
    return None


def _is_percent(header: list[str]) -> bool:
    """The form of one platform's fork (edx-exports 6): its column is called exactly that, and there is no other."""
    names = [name.strip().lower() for name in header]
    known = names[:1] in (["student id"], ["id"]) and {"email", "username"} <= set(names)
    return known and header.count("Grade Percent") == 1 and "grade" not in names


def _encoding(file: BinaryIO) -> str | None:
    """UTF-16 by its mark, UTF-8, or code page 1252; None for a UTF-8 file with damage in it."""
    file.seek(0)
    head = file.read(3)
    if head.startswith(_UTF16):
        return "utf-16"
    file.seek(0)
    decoder, utf8, letters = codecs.getincrementaldecoder("utf-8")(), True, False
    while piece := file.read(_PIECE):
        letters = letters or bool(_UTF8_LETTER.search(piece))
        try:
            decoder.decode(piece)
        except UnicodeDecodeError:
            utf8 = False
    if utf8 and not decoder.getstate()[0]:
        return "utf-8-sig"
    return None if letters or head == BOM else "cp1252"


def _judged(file: BinaryIO, form: OddForm, exported_at: datetime, *, few: bool) -> OddForm | None:
    """Read every row once: the same number of cells in each, and for a spreadsheet's copy ids and grades undamaged."""
    widths, percent_signs, check = set(), False, _Plausible()
    place = form.places()
    for record in records(file, form):
        if "\0" in record.raw or not record.raw.endswith("\n"):
            return None
        widths.add(len(record.cells))
        if len(widths) > 1 or max(place["student_id"], place.get("grade", 0)) >= len(record.cells):
            return None
        grade = record.cells[place["grade"]] if "grade" in place else ""
        percent_signs = percent_signs or bool(_PERCENT_SIGN.fullmatch(grade))
        check.add(record, record.cells[place["student_id"]], form.grade(grade))
    surplus = next(iter(widths), form.layout.cells) - form.layout.cells
    spreadsheet = form.spreadsheet or percent_signs
    if surplus:
        known = not spreadsheet and not form.percent and _is_known_fault(form.layout, surplus, exported_at)
        return _warned(form._replace(surplus=surplus), "") if known else None
    if spreadsheet or form.percent:
        check.require(spreadsheet=spreadsheet and not few, percent=percent_signs or form.percent)
        return _warned(form, "grades as 65%" if percent_signs else "")
    return None


def _is_known_fault(layout: Layout, surplus: int, exported_at: datetime) -> bool:
    """E11: at most one cell is missing for each ``(Avg)`` column. E12: one too many, until May 2017 with teams off."""
    right = [place for place in layout.columns.values() if place >= 4]
    if layout.kind != GRADES or not right or sorted(layout.columns.values())[:4] != [0, 1, 2, 3]:
        return False
    between = layout.names[4 : min(right)]
    if surplus > 0:
        return surplus == 1 and exported_at < _TEAMS_FIXED and "team name" not in between
    averages = sum(name.endswith("(avg)") for name in between)
    return -surplus <= averages


def _warned(form: OddForm, percent: str) -> OddForm:
    said = []
    if form.spreadsheet or percent:
        known = (_DELIMITERS[form.delimiter] if form.delimiter != "," else "", _ENCODINGS.get(form.encoding, ""))
        said.append(DAMAGED.format(how=", ".join(filter(None, (*known, percent)))))
    if form.percent:
        said.append(PERCENT)
    if form.surplus:
        cells = f"{abs(form.surplus)} cell{'' if abs(form.surplus) == 1 else 's'}"
        said.append(SHIFTED.format(cells=f"{cells} {'longer' if form.surplus > 0 else 'shorter'}"))
    return form._replace(layout=form.layout._replace(warnings=(*said, *form.layout.warnings)))


class _Plausible:
    """What a spreadsheet may have done to ids and grades (E8)."""

    def __init__(self) -> None:
        self.bad_id = self.too_high = self.ones = self.fractions = 0

    def add(self, record: Record, student_id: str, grade: str) -> None:
        if not _ID.fullmatch(student_id):
            self.bad_id = self.bad_id or record.line
        if _FRACTION.fullmatch(grade):
            value = Decimal(grade)
            self.too_high = self.too_high or (record.line if value > _MOST else 0)
            self.ones += value == 1
            self.fractions += value % 1 != 0

    def require(self, *, spreadsheet: bool, percent: bool) -> None:
        if spreadsheet and self.bad_id:
            raise InputError(
                f"A spreadsheet has saved this file and damaged ids: that in line {self.bad_id} is no whole number.",
                todo=AGAIN,
            )
        if self.too_high:
            raise InputError(f"The grade in line {self.too_high} cannot be: it stands for over 200 %.", todo=AGAIN)
        if spreadsheet and not percent and self.ones and not self.fractions:
            raise InputError(
                "A spreadsheet has saved this file and rounded the grades: every one of them is 0 or 1.", todo=AGAIN
            )


def records(file: BinaryIO, form: OddForm) -> Iterator[Record]:
    """The data rows, with the line each starts on (the header's being 1). Raises csv.Error and UnicodeError."""
    file.seek(0)
    text = io.TextIOWrapper(file, form.encoding, newline="")
    lines = _Lines(text)
    try:
        reader = csv.reader(lines, delimiter=form.delimiter, strict=True)
        for number, cells in enumerate(reader):
            line, raw = lines.taken()
            if number:
                yield Record(line=line, cells=cells, raw=raw)
    finally:
        text.detach()


def in_batches(file: BinaryIO, form: OddForm, size: int) -> Iterator[list[Record]]:
    rows = records(file, form)
    while batch := list(islice(rows, size)):
        yield batch


class _Lines:
    """The lines of a text, remembered until they are taken as a record."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text
        self._seen: list[str] = []
        self._line = 1

    def __iter__(self) -> Iterator[str]:
        for line in self._text:
            self._seen.append(line)
            yield line

    def taken(self) -> tuple[int, str]:
        raw, line = "".join(self._seen), self._line
        self._seen.clear()
        self._line += raw.count("\n")
        return line, raw
