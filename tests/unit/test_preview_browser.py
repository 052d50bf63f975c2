"""The pages of a preview in Chromium, from the disk: every switch shows what it says."""

from pathlib import Path

import pytest
from playwright.sync_api import FrameLocator, Page, expect

from mmcampaign.findings import Finding, Part, Severity
from mmcampaign.pages.preview import PreviewEmail, PreviewPage, PreviewShape, write_previews
from tests.unit.conftest import Opened

pytestmark = pytest.mark.browser

EMAIL = """<!doctype html><html><head><meta name="color-scheme" content="light dark">
<style>@media (prefers-color-scheme: dark) {{ p {{ color: rgb(1, 2, 3) }} }}
@media (max-width: 400px) {{ p {{ letter-spacing: 3px }} }}</style></head>
<body><p>Dear {name}, <a href="https://www.edx.org/" target="_self">go</a></p>
<img src="https://www.edx.org/logo.png" alt="edX"><script>document.title = "run"</script></body></html>"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_preview(tmp_path_factory.mktemp("browser") / "preview")


def write_preview(folder: Path) -> Path:
    """Two learners in a shape, words that do not end, and a finding."""
    emails = tuple(
        PreviewEmail(
            student_id=number,
            why=(why,),
            name=name,
            to_email="ada@example.org",
            subject="Well done, " + "N" * 120,
            html=EMAIL.format(name=name),
            text=f"Text for {name}",
            eml=b"Subject: Well done\r\nList-Unsubscribe: <https://mail.example.org/u/preview>\r\n\r\n",
        )
        for number, name, why in ((1, "Ada", "the first of them"), (2, "Бо", "not in Latin letters"))
    )
    shape = PreviewShape(
        number=1, digest="ab", learners=87, cohort="continue", trigger_title="Rain " * 30, emails=emails
    )
    finding = Finding(
        severity=Severity.WARN, code="pale", message="Pale.", mend="Darken.", part=Part.HTML, file="a", line=1
    )
    page = PreviewPage(
        program_title="Rivers", sender="NX", shapes=(shape,), sources={"a": "x" * 300}, findings=(finding,)
    )
    return write_previews(page, folder).index.parent


def shown(page: Page) -> FrameLocator:
    """The email that can be seen."""
    return page.frame_locator("iframe:visible")


@pytest.mark.parametrize("name", ["index", "shape-1", "source"])
@pytest.mark.parametrize("width", [375, 1280])
def test_nothing_sticks_out(opened: Opened, folder: Path, name: str, width: int) -> None:
    with opened(folder / f"{name}.html", width=width, scheme="no-preference") as (page, _):
        page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true })")
        assert page.evaluate("document.documentElement.scrollWidth") == width


def test_learners_are_switched_by_keyboard(opened: Opened, folder: Path) -> None:
    with opened(folder / "shape-1.html", scheme="no-preference") as (page, _):
        expect(shown(page).get_by_text("Dear Ada")).to_be_visible()
        page.get_by_label("the first of them").focus()
        page.keyboard.press("ArrowRight")
        expect(page.get_by_label("not in Latin letters")).to_be_checked()
        expect(shown(page).get_by_text("Dear Бо")).to_be_visible()


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        pytest.param("Text part", "Text for Ada", id="text part"),
        pytest.param("HTML source", '<meta name="color-scheme" content="light dark">', id="source"),
        pytest.param("Headers", "<https://mail.example.org/u/preview>", id="headers"),
    ],
)
def test_what_else_there_is_takes_the_emails_place(opened: Opened, folder: Path, choice: str, words: str) -> None:
    with opened(folder / "shape-1.html", scheme="no-preference") as (page, _):
        panel = page.locator(".person-1").get_by_text(words)
        expect(panel).not_to_be_visible()
        page.get_by_label(choice, exact=True).focus()
        page.keyboard.press("Space")
        expect(panel).to_be_visible()
        expect(page.locator("iframe:visible")).to_have_count(0)


def test_widths_and_colours_reach_the_emails_own_styles(opened: Opened, folder: Path) -> None:
    with opened(folder / "shape-1.html", scheme="no-preference") as (page, _):
        words = shown(page).locator("p")
        expect(words).to_have_css("letter-spacing", "normal")
        for width in (768, 375, 800):
            page.locator(f"#wide-{width}").focus()
            page.keyboard.press("Space")
            expect(page.locator("iframe:visible")).to_have_css("width", f"{width}px")
            expect(words).to_have_css("letter-spacing", "3px" if width == 375 else "normal")
        page.locator("#tone-dark").focus()
        page.keyboard.press("Space")
        expect(words).to_have_css("color", "rgb(1, 2, 3)")
        page.keyboard.press("ArrowRight")
        expect(words).to_have_css("color", "rgb(0, 0, 0)")
        expect(page.locator("iframe:visible")).to_have_css("filter", "invert(1) hue-rotate(180deg)")


def test_images_off_fetches_nothing(opened: Opened, folder: Path) -> None:
    with opened(folder / "shape-1.html", scheme="no-preference") as (page, fetched):
        expect(shown(page).get_by_alt_text("edX")).to_be_visible()
        before = list(fetched)
        assert set(before) <= {"https://www.edx.org/logo.png"}
        page.locator("#images-off").focus()
        page.keyboard.press("Space")
        expect(shown(page).get_by_alt_text("edX")).to_be_visible()
        assert fetched == before


def test_an_email_runs_nothing_and_leads_nowhere(opened: Opened, folder: Path) -> None:
    with opened(folder / "shape-1.html", scheme="no-preference") as (page, fetched):
        shown(page).get_by_role("link", name="go").click()
        assert page.context.pages == [page]
        assert "run" not in page.title()
        assert set(fetched) <= {"https://www.edx.org/logo.png"}
