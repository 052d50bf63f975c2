"""Use case: the MicroMasters completion report, as rows in CSV, JSON or a workbook, and summed up as a page.

Rows are passed on one by one, so a report of a million learners needs no more memory than one of ten.
"""

import csv
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import date, datetime
from pathlib import Path
from typing import Any, TextIO

from xlsxwriter import Workbook
from xlsxwriter.exceptions import XlsxWriterException

from mmcampaign.completion import passed_mark
from mmcampaign.errors import InputError
from mmcampaign.figures import CourseSummary, Pace, ProgramSummary, RunSummary, share, term_order
from mmcampaign.model import Course, Program, Status
from mmcampaign.pages.completion import CompletionPage, completion_html
from mmcampaign.pages.safe_csv import safe_cell
from mmcampaign.store.engine import Store
from mmcampaign.store.reports import (
    CompletionCount,
    RunCount,
    completion_counts,
    completion_rows,
    newest_exports,
    report_columns,
    run_counts,
    standing_counts,
    term_counts,
)

__all__ = [
    "CourseSummary",
    "ProgramSummary",
    "completion_rows",
    "report_columns",
    "summary",
    "write_csv",
    "write_html",
    "write_json",
    "write_xlsx",
]

Row = tuple[object, ...]

_SHEET_ROWS = 1_048_576  # Excel's limit, the header included


def summary(store: Store, program: Program) -> ProgramSummary:
    """The program in numbers: funnel, courses and runs, certificates, pace, and how new the data is."""
    counts: dict[str, list[CompletionCount]] = defaultdict(list)
    runs: dict[str, list[RunCount]] = defaultdict(list)
    order = term_order(program)
    with store.read() as connection:
        for count in completion_counts(connection, program):
            counts[count.course].append(count)
        for each in run_counts(connection, program):
            runs[each.course].append(each)
        standings = tuple(standing_counts(connection, program))
        terms = term_counts(connection, program, order)
        exports = tuple(newest_exports(connection, program))
    unknown = terms.pop(None, 0)
    return ProgramSummary(
        program=program,
        courses=tuple(_course_summary(course, counts[course.code], runs[course.code]) for course in program.courses),
        standings=standings,
        pace=Pace(
            order=order,
            by_terms={number: count for number, count in terms.items() if number is not None},
            unknown=unknown,
        ),
        exports=exports,
    )


def _course_summary(course: Course, counts: list[CompletionCount], runs: list[RunCount]) -> CourseSummary:
    tracks: Counter[str] = Counter()
    by_status: Counter[Status] = Counter()
    for count in counts:
        tracks[count.track] += count.learners
        by_status[count.status] += count.learners
    return CourseSummary(
        course=course,
        enrolled=tracks.total(),
        tracks=dict(tracks.most_common()),
        passed=sum(count.learners for count in counts if count.passed == "Y"),
        certified=by_status[Status.CERTIFIED],
        eligible=by_status[Status.ELIGIBLE],
        runs=tuple(_run_summaries(course, runs)),
    )


def _run_summaries(course: Course, counts: list[RunCount]) -> Iterator[RunSummary]:
    """In the configured order; runs it does not name come after, by name."""
    by_run: dict[str, Counter[Status]] = defaultdict(Counter)
    for count in counts:
        by_run[count.run][count.status] += count.learners
    listed = [run for run in course.runs if run in by_run]
    for run in [*listed, *sorted(by_run.keys() - set(listed))]:
        found = by_run[run]
        yield RunSummary(
            run=run,
            enrolled=found.total(),
            passed=sum(learners for status, learners in found.items() if passed_mark(status) == "Y"),
            certificates=found[Status.CERTIFIED] + found[Status.ELIGIBLE],
        )


def write_html(stream: TextIO, numbers: ProgramSummary, *, today: date, timezone: str, made_at: datetime) -> None:
    """Write the report as one page without names. Ages are counted to ``today``; ``timezone`` is an IANA name."""
    stream.write(completion_html(CompletionPage(numbers=numbers, today=today, timezone=timezone, made_at=made_at)))


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
        _write_cell(sheet, line, place, value, style)


def _write_cell(sheet: Any, line: int, place: int, value: object, style: Any) -> None:
    if isinstance(value, int | float):
        sheet.write_number(line, place, value, style)
    elif value is not None:
        sheet.write_string(line, place, str(value), style)


def _write_summary(book: Any, numbers: ProgramSummary) -> None:
    """One sheet that prints on one page across: headings, whole numbers with separators, shares as per cent."""
    sheet = book.add_worksheet("Summary")
    plain, percent = book.add_format({"num_format": "#,##0"}), book.add_format({"num_format": "0.0%"})
    title = book.add_format({"bold": True, "font_size": 16})
    heading = book.add_format({"bold": True, "bottom": 1, "text_wrap": True})
    sheet.set_column(0, 0, 26)
    sheet.set_column(1, 1, 44)
    sheet.set_column(2, 30, 12)
    sheet.hide_gridlines()
    sheet.set_landscape()
    sheet.set_paper(9)  # A4
    sheet.fit_to_pages(1, 0)
    sheet.set_footer("&L&A, &F&RPage &P of &N")
    for line, (cells, is_heading) in enumerate(summary_lines(numbers)):
        styles = [heading if is_heading else percent if isinstance(cell, float) else plain for cell in cells]
        for place, (cell, style) in enumerate(zip(cells, styles, strict=True)):
            _write_cell(sheet, line, place, cell, style if line else title)


def summary_lines(numbers: ProgramSummary) -> Iterator[tuple[Row, bool]]:
    """The summary as lines of cells, each with whether it is a heading. Fractions are shares."""
    yield (f"{numbers.program.title}: completion report",), True
    yield ("learners", "", numbers.learners), False
    yield ("newest export", "", _minute(numbers.newest_export_at)), False
    for part in (
        *(_funnel_lines, _course_lines, _run_lines, _track_lines),
        *(_certificate_lines, _pace_lines, _export_lines),
    ):
        yield (), False
        yield from part(numbers)


def _funnel_lines(numbers: ProgramSummary) -> Iterator[tuple[Row, bool]]:
    yield ("step", "(courses of the series)", "learners", "of the step before", "of enrolled"), True
    for step in numbers.funnel:
        yield (step.label, "", step.learners, step.of_previous, step.of_first), False


def _course_lines(numbers: ProgramSummary) -> Iterator[tuple[Row, bool]]:
    counted = ("enrolled", "free track", "paid track", "passed", "certified", "eligible")
    yield ("course", "title", *counted, "passed, share", "certificate, share"), True
    for course in numbers.courses:
        cells = (course.enrolled, course.free, course.paid, course.passed, course.certified, course.eligible)
        shares = (share(course.passed, course.enrolled), share(course.certificates, course.enrolled))
        yield (course.course.code, course.course.title, *cells, *shares), False


def _track_lines(numbers: ProgramSummary) -> Iterator[tuple[Row, bool]]:
    tracks = sorted({track for course in numbers.courses for track in course.tracks})
    yield ("course", "title", *(track or "not known" for track in tracks)), True
    for course in numbers.courses:
        yield (course.course.code, course.course.title, *(course.tracks.get(track, 0) for track in tracks)), False


def _run_lines(numbers: ProgramSummary) -> Iterator[tuple[Row, bool]]:
    yield ("course", "run", "enrolled", "passed", "certificate", "passed, share", "certificate, share"), True
    for course in numbers.courses:
        for run in course.runs:
            shares = (share(run.passed, run.enrolled), share(run.certificates, run.enrolled))
            yield (course.course.code, run.run, run.enrolled, run.passed, run.certificates, *shares), False


def _certificate_lines(numbers: ProgramSummary) -> Iterator[tuple[Row, bool]]:
    yield ("certificates", "(courses certified or eligible)", "learners", "share"), True
    for earned, learners in numbers.by_certificates.items():
        yield (earned, "", learners, share(learners, numbers.learners)), False


def _pace_lines(numbers: ProgramSummary) -> Iterator[tuple[Row, bool]]:
    yield ("terms", "(from the first to the last certificate of the series)", "learners"), True
    for terms, learners in numbers.pace.by_terms.items():
        yield (terms, "", learners), False
    yield ("not known", "", numbers.pace.unknown), False


def _export_lines(numbers: ProgramSummary) -> Iterator[tuple[Row, bool]]:
    yield ("course", "report", "rows", "exported at", "", "file, warnings"), True
    for export in numbers.exports:
        report = f"{export.run}, {export.kind.replace('_', ' ')}"
        told = " ".join((export.file, *export.warnings))
        yield (export.course_code, report, export.rows, _minute(export.exported_at), "", told), False


def _minute(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC" if moment else "none"
