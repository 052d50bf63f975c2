"""Use case: the MicroMasters completion report, as rows in CSV, JSON or a workbook, and summed up per course.

Rows are passed on one by one, so a report of a million learners needs no more memory than one of ten.
"""

import csv
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from xlsxwriter import Workbook
from xlsxwriter.exceptions import XlsxWriterException

from mmcampaign.completion import FREE_TRACKS, PAID_TRACKS
from mmcampaign.errors import InputError
from mmcampaign.model import Course, Program, Status
from mmcampaign.pages.safe_csv import safe_cell
from mmcampaign.store.engine import Store
from mmcampaign.store.reports import (
    CompletionCount,
    NewestExport,
    certificate_counts,
    completion_counts,
    completion_rows,
    newest_exports,
    report_columns,
)

__all__ = [
    "CourseSummary",
    "ProgramSummary",
    "completion_rows",
    "report_columns",
    "summary",
    "write_csv",
    "write_json",
    "write_xlsx",
]

Row = tuple[object, ...]

_SHEET_ROWS = 1_048_576  # Excel's limit, the header included


@dataclass(frozen=True, kw_only=True)
class CourseSummary:
    """A course in numbers: learners by their best status over runs. ``tracks`` counts by enrollment track."""

    course: Course
    enrolled: int
    tracks: Mapping[str, int]
    passed: int
    certified: int
    eligible: int

    @property
    def free(self) -> int:
        return sum(count for track, count in self.tracks.items() if track in FREE_TRACKS)

    @property
    def paid(self) -> int:
        return sum(count for track, count in self.tracks.items() if track in PAID_TRACKS)

    @property
    def certificates(self) -> int:
        """Certified or eligible, as the report's ``no_certificate_eligible`` counts."""
        return self.certified + self.eligible


@dataclass(frozen=True, kw_only=True)
class ProgramSummary:
    """A program in numbers. ``by_certificates``: number of courses certified or eligible -> learners."""

    program: Program
    learners: int
    courses: tuple[CourseSummary, ...]
    by_certificates: Mapping[int, int]
    exports: tuple[NewestExport, ...]

    @property
    def newest_export_at(self) -> datetime | None:
        return max((export.exported_at for export in self.exports), default=None)


def summary(store: Store, program: Program) -> ProgramSummary:
    """The program in numbers: per course, by certificates, and how new the data is."""
    counts: dict[str, list[CompletionCount]] = defaultdict(list)
    with store.read() as connection:
        for count in completion_counts(connection, program):
            counts[count.course].append(count)
        by_certificates = certificate_counts(connection, program)
        exports = tuple(newest_exports(connection, program))
    return ProgramSummary(
        program=program,
        learners=sum(by_certificates.values()),
        courses=tuple(_course_summary(course, counts[course.code]) for course in program.courses),
        by_certificates=by_certificates,
        exports=exports,
    )


def _course_summary(course: Course, counts: list[CompletionCount]) -> CourseSummary:
    tracks: Counter[str] = Counter()
    for count in counts:
        tracks[count.track] += count.learners
    by_status: Counter[Status] = Counter()
    for count in counts:
        by_status[count.status] += count.learners
    return CourseSummary(
        course=course,
        enrolled=tracks.total(),
        tracks=dict(tracks.most_common()),
        passed=sum(count.learners for count in counts if count.passed == "Y"),
        certified=by_status[Status.CERTIFIED],
        eligible=by_status[Status.ELIGIBLE],
    )


def write_csv(stream: TextIO, columns: Iterable[str], rows: Iterable[Row]) -> int:
    """Write header and rows; returns the number of rows. Open files with ``newline=""``."""
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    written = 0
    for row in rows:
        writer.writerow([safe_cell(value) for value in row])
        written += 1
    return written


def write_json(stream: TextIO, columns: Iterable[str], rows: Iterable[Row]) -> int:
    """Write one JSON list with an object for each row, cells unchanged; returns the number of rows."""
    names = tuple(columns)
    written = 0
    stream.write("[")
    for row in rows:
        stream.write(",\n" if written else "\n")
        json.dump(dict(zip(names, row, strict=True)), stream, ensure_ascii=False)
        written += 1
    stream.write("\n]\n")
    return written


def write_xlsx(path: Path, columns: Iterable[str], rows: Iterable[Row], numbers: ProgramSummary) -> int:
    """Write a workbook: the sheet Summary, then the rows in the sheet Completion; returns the number of rows.

    Text is written as text, whatever it looks like. The file appears whole or not at all. Raises InputError when it
    cannot be written, or when there are more rows than a sheet holds.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        part.touch()  # a folder that is missing or closed to us is told before any work is done
        with Workbook(part, {"constant_memory": True}) as book:
            _write_summary(book, numbers)
            written = _write_rows(book, tuple(columns), rows)
        part.replace(path)
    except (OSError, XlsxWriterException) as error:
        raise InputError(
            f"{path} cannot be written: {error}", todo="Close it where it is open, or name another."
        ) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    return written


def _write_rows(book: Any, columns: tuple[str, ...], rows: Iterable[Row]) -> int:
    sheet = book.add_worksheet("Completion")
    for place, name in enumerate(columns):
        sheet.set_column(place, place, {"email": 34, "name": 28, "username": 20}.get(name, max(11, len(name) + 3)))
    sheet.freeze_panes(1, 4)
    _write_line(sheet, 0, columns, book.add_format({"bold": True, "bottom": 1}))
    written = 0
    for row in rows:
        if written + 1 >= _SHEET_ROWS:
            raise InputError("The report has more rows than a sheet of a workbook holds.", todo="Take --format csv.")
        written += 1
        _write_line(sheet, written, row)
    sheet.autofilter(0, 0, written, len(columns) - 1)
    return written


def _write_line(sheet: Any, line: int, cells: Iterable[object], style: Any = None) -> None:
    for place, value in enumerate(cells):
        if isinstance(value, int | float):
            sheet.write_number(line, place, value, style)
        elif value is not None:
            sheet.write_string(line, place, str(value), style)


def _write_summary(book: Any, numbers: ProgramSummary) -> None:
    sheet = book.add_worksheet("Summary")
    bold = book.add_format({"bold": True})
    sheet.set_column(0, 0, 16)
    sheet.set_column(1, 1, 44)
    sheet.set_column(2, 20, 15)
    for line, (cells, heading) in enumerate(summary_lines(numbers)):
        _write_line(sheet, line, cells, bold if heading else None)


def summary_lines(numbers: ProgramSummary) -> Iterator[tuple[Row, bool]]:
    """The summary as lines of cells, each with whether it is a heading."""
    yield (f"{numbers.program.title}: completion report",), True
    yield ("learners", "", numbers.learners), False
    yield ("newest export", "", _minute(numbers.newest_export_at)), False
    yield (), False
    tracks = sorted({track for course in numbers.courses for track in course.tracks})
    shown = [track or "track unknown" for track in tracks]
    yield ("course", "title", "enrolled", "free track", "paid track", "passed", "certified", "eligible", *shown), True
    for course in numbers.courses:
        cells = (course.enrolled, course.free, course.paid, course.passed, course.certified, course.eligible)
        by_track = (course.tracks.get(track, 0) for track in tracks)
        yield (course.course.code, course.course.title, *cells, *by_track), False
    yield (), False
    yield ("certificates", "(courses certified or eligible)", "learners"), True
    for earned, learners in sorted(numbers.by_certificates.items()):
        yield (earned, "", learners), False
    yield (), False
    yield ("course", "run", "report", "exported at"), True
    for export in numbers.exports:
        yield (export.course, export.run, export.kind, _minute(export.exported_at)), False


def _minute(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC" if moment else "none"
