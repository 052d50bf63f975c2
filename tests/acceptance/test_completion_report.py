"""The completion report as a page and as a workbook: every figure is that of the CSV, and of the files edX wrote."""

import csv
import io
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from lxml import html as lxml_html
from openpyxl import load_workbook

from mmcampaign.completion import PASSED, RANK, status_of_run
from mmcampaign.config import load_settings
from mmcampaign.model import Program, Status
from tests.acceptance.conftest import World
from tests.acceptance.runner import Cli

Row = dict[str, str]
RUN_FIGURES = tuple[int, int, int]  # enrolled, passed, certificates


@pytest.fixture
def demo(world: World) -> Cli:
    return Cli(folder=world("demo").folder / "here")


def program_of(cli: Cli) -> Program:
    return load_settings(cli.folder / "config.toml", {}).programs["engy"]


def report_rows(cli: Cli) -> list[Row]:
    return list(csv.DictReader(io.StringIO(cli("report", "engy", "--format", "csv").out)))


def figures(cell: str) -> int:
    """The number a cell starts with."""
    return int(cell.partition(" ")[0].replace(",", ""))


def table(page: Any, section: str) -> list[list[str]]:
    rows = page.xpath(f"//section[@id='{section}']//table/tbody/tr")
    return [[" ".join(cell.text_content().split()) for cell in row.xpath("th|td")] for row in rows]


def from_exports(folder: Path, program: Program) -> dict[str, RUN_FIGURES]:
    """What edX's own files say of each course run: the union of both reports, judged row by row."""
    found: dict[str, dict[str, Status]] = defaultdict(dict)
    for course in program.courses:
        for kind, key in (("student_profile_info", "id"), ("grade_report", "Student ID")):
            newest = {
                path.name.rsplit(f"_{kind}_", 1)[0]: path
                for path in sorted(folder.glob(f"{course.prefix}_*T????_{kind}_????-??-??-????.csv"))
            }
            for instance, path in newest.items():
                people = found[instance]
                with path.open(encoding="utf-8-sig", newline="") as stream:
                    for row in csv.DictReader(stream):
                        status = Status.GRADE_UNKNOWN
                        if kind == "grade_report":
                            status = status_of_run(
                                grade=float(row["Grade"]),
                                track=row["Enrollment Track"],
                                eligible=row["Certificate Eligible"],
                                delivered=row["Certificate Delivered"],
                                passing_grade=course.passing_grade,
                            )
                        before = people.get(row[key], Status.GRADE_UNKNOWN)
                        people[row[key]] = min(before, status, key=RANK.__getitem__)
    certificates = {Status.CERTIFIED, Status.ELIGIBLE}
    return {
        instance: (
            len(people),
            sum(s in PASSED for s in people.values()),
            sum(s in certificates for s in people.values()),
        )
        for instance, people in found.items()
    }


def test_every_number_of_the_page_is_that_of_the_csv(demo: Cli) -> None:
    said = demo("report", "engy", "--format", "html")
    assert "Written to engy-completion.html" in said.err
    assert said.out == ""
    page = lxml_html.fromstring((demo.folder / "engy-completion.html").read_text(encoding="utf-8"))
    program, rows = program_of(demo), report_rows(demo)
    series = [course.code for course in program.series]
    capstones = [course.code for course in program.courses if not course.series]
    passed = [sum(row[f"{code}_passed"] == "Y" for code in series) for row in rows]
    finished = sum(
        count == len(series) and all(row[f"{code}_passed"] == "Y" for code in capstones)
        for row, count in zip(rows, passed, strict=True)
    )
    steps = [figures(row[1]) for row in table(page, "funnel")]
    assert steps == [len(rows), *(sum(count >= number for count in passed) for number in (1, 2, 3, 4)), finished]
    earned = Counter(int(row["no_certificate_eligible"]) for row in rows)
    assert [figures(row[1]) for row in table(page, "certificates")] == [earned[number] for number in range(6)]
    lines = {row[0].split()[-1]: row for row in table(page, "courses") if row[0].split()[-1] in {*series, *capstones}}
    mixes = {row[0].split()[0]: row for row in table(page, "tracks")}
    for code in (*series, *capstones):
        tracks = Counter(row[f"{code}_enrollment_track"] for row in rows)
        enrolled = len(rows) - tracks.pop("-", 0)
        assert [figures(cell) for cell in lines[code][1:3]] == [enrolled, sum(r[f"{code}_passed"] == "Y" for r in rows)]
        assert sum(map(int, mixes[code][1:])) == enrolled
        told = dict(part.rsplit(" ", 1) for part in mixes[code][0].split(" ", 1)[1].split(", "))
        assert {track.replace("not known", "unknown"): int(count) for track, count in told.items()} == dict(tracks)
    assert sum(figures(line[3]) for line in lines.values()) == sum(number * count for number, count in earned.items())


def test_every_run_on_the_page_is_as_edx_exported_it(demo: Cli) -> None:
    demo("report", "engy", "--format", "html", "--out", "page.html")
    page = lxml_html.fromstring((demo.folder / "page.html").read_text(encoding="utf-8"))
    program = program_of(demo)
    bodies = page.xpath("//section[@id='courses']//tbody")
    told: dict[str, RUN_FIGURES] = {}
    for course, body in zip(program.courses, bodies, strict=True):
        for row in body.xpath("tr")[1:]:
            name, *cells = (" ".join(cell.text_content().split()) for cell in row.xpath("th|td"))
            enrolled, passed, certificates = map(figures, cells[:3])
            told[course.instance(name)] = (enrolled, passed, certificates)
    assert told == {key: value for key, value in from_exports(demo.folder / "downloads", program).items() if value[0]}
    used = set(page.xpath("//section[@id='data']//td[@data-label='File']/span/text()"))
    assert used <= {path.name for path in (demo.folder / "downloads").iterdir()}
    assert len(table(page, "data")) == 2 * len(from_exports(demo.folder / "downloads", program))


def test_the_summary_sheet_is_worth_printing_and_has_the_same_numbers(demo: Cli) -> None:
    demo("report", "engy", "--format", "xlsx", "--out", "engy.xlsx")
    sheet = load_workbook(demo.folder / "engy.xlsx")["Summary"]
    lines = [[cell.value for cell in line] for line in sheet.iter_rows()]
    rows = report_rows(demo)
    starts = {line[0]: number for number, line in enumerate(lines)}
    enrolled = lines[starts["Enrolled"]]
    assert enrolled[2:5] == [len(rows), None, 1]
    step = starts["Passed 1 of 4 or more"]
    passed = sum(any(row[f"engy{number}x_passed"] == "Y" for number in range(4)) for row in rows)
    assert lines[step][2] == passed
    assert lines[step][4] == pytest.approx(passed / len(rows))
    assert sheet.cell(step + 1, 5).number_format == "0.0%"
    assert sheet.cell(step + 1, 3).number_format == "#,##0"
    assert (sheet.page_setup.orientation, sheet.page_setup.fitToHeight) == ("landscape", 0)
    assert sheet.sheet_properties.pageSetUpPr.fitToPage
    earned = Counter(int(row["no_certificate_eligible"]) for row in rows)
    start = starts["certificates"] + 1
    assert {line[0]: line[2] for line in lines[start : start + len(earned)]} == earned


def test_a_page_that_cannot_be_written_is_told(demo: Cli) -> None:
    told = demo("report", "engy", "--format", "html", "--out", "none/page.html", code=2)
    assert "none/page.html cannot be written" in told.err
    assert list(demo.folder.glob(".*.part")) == []
