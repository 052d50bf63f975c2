"""The pages in Chromium: nothing sticks out, nothing is fetched, links in an email are dead, a print hides nothing."""

from dataclasses import replace
from pathlib import Path

import pytest

from mmcampaign.pages.dry_run import write_dry_run
from tests.unit.conftest import Opened
from tests.unit.pages_builders import page_of_words
from tests.unit.pages_example import write_example

pytestmark = pytest.mark.browser

EMAIL = """<!doctype html><html><body><p>Dear Ada, <a id="own-target" href="https://www.edx.org/" target="_self">go</a>
<a id="plain" href="https://www.edx.org/">on</a></p><img src="https://www.edx.org/logo.png" alt="edX">
<script>document.title = "run"</script><form action="https://www.edx.org/"><button>Send</button></form></body></html>"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with an email that tries everything and words that do not end."""
    page, recipients, excluded = page_of_words("N" * 300)
    page = replace(page, samples=(replace(page.samples[0], html=EMAIL),))
    return write_dry_run(page, recipients, excluded, tmp_path_factory.mktemp("browser") / "report").report


@pytest.mark.parametrize("width", [375, 768, 1280])
def test_nothing_sticks_out(opened: Opened, report: Path, tmp_path: Path, width: int) -> None:
    for path in (report, write_example(tmp_path / "example")):
        with opened(path, width=width) as (page, _):
            page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true })")
            assert page.evaluate("document.documentElement.scrollWidth") == width


def test_email_in_its_frame_can_do_nothing(opened: Opened, report: Path) -> None:
    with opened(report) as (page, fetched):
        frame = page.frame_locator("iframe").first
        for target in ("#plain", "button"):
            frame.locator(target).click()
        assert frame.get_by_text("Dear Ada").is_visible()
        frame.locator("#own-target").click()
        assert page.context.pages == [page]
        assert page.title() == "Dry run of campaign 3: " + "N" * 300
        assert fetched == []


def test_dark_page_is_dark_and_its_emails_stay_as_they_are(opened: Opened, report: Path) -> None:
    colour = "getComputedStyle(document.body).backgroundColor"
    with opened(report, scheme="dark") as (page, _):
        assert page.evaluate(colour) == "rgb(23, 21, 28)"
        frame = page.locator("iframe").first
        assert frame.evaluate("frame => getComputedStyle(frame).backgroundColor") == "rgb(255, 255, 255)"
        page.emulate_media(media="print")
        assert page.evaluate(colour) == "rgb(255, 255, 255)"


def test_print_opens_what_is_folded(opened: Opened, report: Path) -> None:
    with opened(report) as (page, _):
        names, text = page.locator("#unenrolled table"), page.locator(".shape pre")
        assert not names.is_visible()
        page.emulate_media(media="print")
        for folded in (names, text):
            box = folded.bounding_box()
            assert box is not None
            assert box["height"] > 20
