"""The completion page: it adds up, says what it cannot know, holds hostile words, and reads well in Chromium."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import html as lxml_html
from playwright.sync_api import Browser, Page

from mmcampaign.figures import CourseSummary, Pace, ProgramSummary, RunSummary, Source, Standing, term_order
from mmcampaign.model import Program
from mmcampaign.pages.completion import CompletionPage, completion_html, percent
from tests.builders import make_capstone, make_course, make_program

TODAY = date(2027, 6, 15)
EXPORTED = datetime(2027, 6, 13, 20, 0, tzinfo=UTC)  # already the 14th in Brisbane
STANDINGS = [(0, 0, 0, 900), (0, 1, 0, 60), (1, 1, 0, 20), (2, 2, 1, 2), (3, 3, 0, 5), (4, 3, 1, 3)]


def make_summary(program: Program | None = None, **changes: Any) -> ProgramSummary:
    """Rivers: 990 learners, of whom 8 passed the whole series and 3 the capstone as well; 2 the capstone early."""
    found = program or make_program(*(make_course(number, runs=("3T2026", "1T2027")) for number in (1, 2, 3)))
    facts: dict[str, Any] = {
        "program": found,
        "courses": tuple(make_course_summary(course) for course in found.courses),
        "standings": tuple(
            Standing(certificates=certificates, series_passed=series, others_passed=others, learners=learners)
            for certificates, series, others, learners in STANDINGS
        ),
        "pace": Pace(order=("3T2026", "1T2027"), by_terms={0: 2, 1: 5}, unknown=1),
        "exports": tuple(make_source(course.code) for course in found.courses),
    }
    return ProgramSummary(**(facts | changes))


def make_course_summary(course: Any) -> CourseSummary:
    runs = (
        RunSummary(run="3T2026", enrolled=30, passed=10, certificates=4),
        RunSummary(run="1T2027", enrolled=20, passed=2, certificates=1),
    )
    tracks = {"audit": 34, "verified": 9, "": 4, "executive": 1}
    return CourseSummary(course=course, enrolled=48, tracks=tracks, passed=12, certified=3, eligible=2, runs=runs)


def make_source(course: str, **changes: Any) -> Source:
    facts: dict[str, Any] = {
        "course_code": course,
        "run": "1T2027",
        "kind": "grade_report",
        "file": f"NX_{course}_1T2027_grade_report_2027-06-13-2000.csv",
        "exported_at": EXPORTED,
        "ingested_at": EXPORTED,
        "rows": 20,
    }
    return Source(**(facts | changes))


def markup(numbers: ProgramSummary | None = None) -> str:
    found = make_summary() if numbers is None else numbers
    return completion_html(CompletionPage(numbers=found, today=TODAY, timezone="Australia/Brisbane", made_at=EXPORTED))


def rendered(numbers: ProgramSummary | None = None) -> Any:
    return lxml_html.fromstring(markup(numbers))


def table(document: Any, section: str) -> list[list[str]]:
    """The body of a section's table, cell by cell, with single spaces."""
    rows = document.xpath(f"//section[@id='{section}']//table/tbody/tr")
    return [[" ".join(cell.text_content().split()) for cell in row.xpath("th|td")] for row in rows]


def said(document: Any, path: str = "//body") -> str:
    return " ".join(" ".join(node.text_content() for node in document.xpath(path)).split())


# --- the arithmetic -------------------------------------------------------------------------------------------------


def test_the_funnel_counts_everybody_who_got_at_least_so_far() -> None:
    steps = [(step.label, step.learners) for step in make_summary().funnel]
    assert steps == [
        ("Enrolled", 990),
        ("Passed 1 of 3 or more", 90),
        ("Passed 2 of 3 or more", 10),
        ("Passed all 3", 8),
        ("And passed the capstone", 3),
    ]
    shares = [(step.of_previous, step.of_first) for step in make_summary().funnel]
    assert shares[0] == (None, 1.0)
    assert shares[-1] == (3 / 8, 3 / 990)
    assert make_summary().capstone_early == 2


def test_a_series_of_one_without_a_capstone() -> None:
    program = make_program(courses=(make_course(1),))
    standings = (Standing(certificates=0, series_passed=1, others_passed=0, learners=2),)
    numbers = make_summary(program, standings=standings)
    assert [(step.label, step.learners) for step in numbers.funnel] == [("Enrolled", 2), ("Passed the course", 2)]
    assert numbers.capstone_early == 0


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(0, 1), st.integers(1, 99)), max_size=20))
def test_no_step_of_the_funnel_is_larger_than_the_one_before(found: list[tuple[int, int, int, int]]) -> None:
    standings = tuple(
        Standing(certificates=certificates, series_passed=series, others_passed=others, learners=learners)
        for certificates, series, others, learners in found
    )
    numbers = make_summary(standings=standings)
    counts = [step.learners for step in numbers.funnel]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] == numbers.learners == sum(numbers.by_certificates.values())


@pytest.mark.parametrize(
    ("runs", "order"),
    [
        pytest.param([("a", "b", "c"), ("a", "b", "c"), ()], ("a", "b", "c"), id="all agree"),
        pytest.param([("a", "c"), ("a", "b"), ("b", "c")], ("a", "b", "c"), id="together they are complete"),
        pytest.param([("a", "b"), ("a", "c"), ()], (), id="b and c without an order"),
        pytest.param([("a", "b"), ("b", "a"), ()], (), id="a contradiction"),
        pytest.param([("a",), ("b",), ()], (), id="each course for itself"),
        pytest.param([(), (), ()], (), id="none listed"),
    ],
)
def test_runs_are_terms_only_in_one_order(runs: list[tuple[str, ...]], order: tuple[str, ...]) -> None:
    courses = [make_course(number, runs=listed) for number, listed in enumerate(runs, start=1)]
    assert term_order(make_program(*courses, make_capstone(runs=("x", "a")))) == order


@pytest.mark.parametrize(
    ("fraction", "shown"),
    [(None, "–"), (0.0, "0.0 %"), (0.0001, "<0.1 %"), (0.124, "12.4 %"), (0.9999, ">99.9 %"), (1.0, "100.0 %")],
)
def test_shares_are_never_rounded_to_none_or_all(fraction: float | None, shown: str) -> None:
    assert percent(fraction).replace("\N{NO-BREAK SPACE}", " ") == shown


# --- the words ------------------------------------------------------------------------------------------------------


def test_every_table_has_the_figures() -> None:
    page = rendered()
    assert said(page, "//h1") == "90 of 990 learners passed a course of the series; 8 passed every one"
    assert table(page, "funnel")[1] == ["Passed 1 of 3 or more", "90", "9.1 %", "9.1 %"]
    assert "2 learners passed the capstone without having passed all 3" in said(page, "//section[@id='funnel']")
    assert table(page, "courses")[:2] == [
        ["Rain river1x", "48", "12 25.0 %", "5 10.4 %", ""],
        ["3T2026", "30", "10 33.3 %", "4 13.3 %", ""],
    ]
    assert table(page, "tracks")[0] == ["river1x audit 34, verified 9, not known 4, executive 1", "9", "34", "5"]
    assert table(page, "certificates") == [
        ["0", "960", "97.0 %"],
        ["1", "20", "2.0 %"],
        ["2", "2", "0.2 %"],
        ["3", "5", "0.5 %"],
        ["4", "3", "0.3 %"],
    ]
    assert table(page, "pace") == [
        ["0", "2", "25.0 %"],
        ["1", "5", "62.5 %"],
        ["Not known: a run outside the order", "1", "12.5 %"],
    ]
    assert table(page, "data")[0][2:] == ["14 June 2027, 06:00", "1 day", "14 June 2027, 06:00", "20"]


def test_each_chart_has_a_title_a_description_and_the_numbers_of_its_table() -> None:
    page = rendered()
    charts = page.xpath("//svg[@role='img']")
    for chart in charts:
        names = [said(page, f"//*[@id='{name}']") for name in chart.get("aria-labelledby").split()]
        assert len(names) == 2
        assert all(names)
    drawn = {
        chart.getparent().xpath("ancestor::section")[0].get("id"): chart.xpath(".//text/text()") for chart in charts
    }
    assert drawn["funnel"][1::2] == [row[1] for row in table(page, "funnel")]
    assert drawn["certificates"][1::2] == [row[1] for row in table(page, "certificates")[1:]]
    assert drawn["pace"] == ["0 terms", "2", "1 term", "5"]
    assert drawn["tracks"][1::2] == ["48"] * 4


def test_bars_are_as_long_as_their_numbers() -> None:
    widths = [float(bar.get("width")) for bar in rendered().xpath("//section[@id='certificates']//rect[@class='full']")]
    assert widths == [479.0, 47.0, 119.0, 71.0]  # 20, 2, 5 and 3 of 20 on 480, less the outline


def test_what_is_not_known_is_said() -> None:
    unknown = rendered(make_summary(pace=Pace(order=(), by_terms={}, unknown=8)))
    assert "Not known for the 8 learners who hold a certificate" in said(unknown, "//section[@id='pace']")
    nobody = rendered(make_summary(pace=Pace(order=(), by_terms={}, unknown=0)))
    assert "No learner holds a certificate in every course" in said(nobody, "//section[@id='pace']")


def test_a_report_never_loaded_is_named_on_top() -> None:
    numbers = make_summary(exports=(make_source("river1x", warnings=("Half of it is missing.",)),))
    page = rendered(numbers)
    assert said(page, "//section[@aria-labelledby='missing']/h2") == "Missing: 3 reports"
    assert "No grade report of NX_RIVER2x_1T2027 was loaded" in said(page, "//section[@aria-labelledby='missing']")
    assert "Warning: Half of it is missing." in said(page, "//section[@id='data']")


def test_a_program_without_data_says_the_next_command() -> None:
    program = make_program()
    courses = tuple(
        CourseSummary(course=course, enrolled=0, tracks={}, passed=0, certified=0, eligible=0)
        for course in program.courses
    )
    empty = make_summary(
        program, courses=courses, standings=(), exports=(), pace=Pace(order=(), by_terms={}, unknown=0)
    )
    page = rendered(empty)
    assert said(page, "//h1") == "No learner of Rivers was loaded yet"
    assert "mmcampaign ingest FOLDER" in said(page, "//header")
    assert table(page, "funnel")[0] == ["Enrolled", "0", "–", "–"]


def test_hostile_words_stay_words() -> None:
    evil = "</title><script>document.title='run'</script>{{ 7 * 7 }}"
    program = make_program(make_course(1, title=evil, code="river1x"), title=evil)
    page = rendered(make_summary(program, exports=(make_source(evil, file=evil, warnings=(evil,)),)))
    assert page.xpath("//script") == []
    assert evil in said(page, "//section[@id='courses']")
    assert evil in said(page, "//section[@id='data']")


def test_it_holds_no_names_and_asks_the_network_for_nothing() -> None:
    text = markup()
    assert "@mail.example" not in text
    assert "https://" not in text
    assert "http://" not in text


# --- in Chromium ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """An ordinary page, and one with words that do not end and numbers in millions."""
    endless = make_program(make_course(1, title="N" * 300), title="N" * 300)
    millions = tuple(
        Standing(certificates=count, series_passed=count, others_passed=0, learners=10_000_000) for count in range(4)
    )
    summaries = (make_summary(), make_summary(endless, standings=millions))
    folder = tmp_path_factory.mktemp("completion")
    for number, numbers in enumerate(summaries):
        (folder / f"{number}.html").write_text(markup(numbers), encoding="utf-8")
    return sorted(folder.glob("*.html"))


def listen(page: Page) -> list[str]:
    """Every address the page asks for, and every word on its console."""
    heard: list[str] = []
    page.on("request", lambda request: heard.append(request.url))
    page.on("console", lambda message: heard.append(message.text))
    return heard


@pytest.mark.browser
@pytest.mark.parametrize("width", [375, 768, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_sticks_out_and_nothing_is_fetched(
    browser: Browser, files: list[Path], width: int, scheme: Any
) -> None:
    for path in files:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page = context.new_page()
        heard = listen(page)
        page.goto(path.as_uri())
        page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true })")
        assert page.evaluate("document.documentElement.scrollWidth") == width
        outside = (
            "all => all.filter(e => { const b = e.getBoundingClientRect(); return b.right > innerWidth + 1 }).length"
        )
        assert page.locator("main *").evaluate_all(outside) == 0
        assert heard == [path.as_uri()]
        context.close()


@pytest.mark.browser
def test_the_chart_stands_beside_its_table_on_a_desktop_and_under_it_on_a_phone(
    browser: Browser, files: list[Path]
) -> None:
    for width, beside in ((1280, True), (375, False)):
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.goto(files[0].as_uri())
        table_box = page.locator("#funnel table").bounding_box()
        chart_box = page.locator("#funnel svg.chart").bounding_box()
        assert table_box
        assert chart_box
        assert (chart_box["x"] > table_box["x"] + table_box["width"]) is beside
        assert (chart_box["y"] > table_box["y"] + table_box["height"]) is not beside
        page.close()


@pytest.mark.browser
def test_a_print_is_light_opens_what_is_folded_and_keeps_charts_whole(browser: Browser, files: list[Path]) -> None:
    page = browser.new_page(color_scheme="dark")
    page.goto(files[0].as_uri())
    meanings = page.locator("#funnel dl")
    assert not meanings.is_visible()
    page.emulate_media(media="print")
    box = meanings.bounding_box()
    assert box is not None
    assert box["height"] > 20
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    chart = page.locator("#funnel svg.chart")
    assert chart.evaluate("chart => getComputedStyle(chart).breakInside") == "avoid"
    page.close()
