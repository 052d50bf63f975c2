"""Every page passes axe: no violation on a phone or a desktop, in light or in dark."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.unit.pages_example import write_example
from tests.unit.test_pages_completion import make_summary, markup
from tests.unit.test_preview_browser import write_preview

pytestmark = pytest.mark.browser

RULES = ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"]
# The emails in their frames are no part of the page; they are looked at as pages of their own.
LOOK = """async rules => {
  const seen = await axe.run(document, {runOnly: rules, iframes: false});
  return seen.violations.map(one => `${one.id}: ${one.nodes.map(node => node.target.join(' ')).join(', ')}`);
}"""
PAGES = ("dry run", "completion", "previews", "a shape", "its source")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("axe")
    completion = folder / "completion.html"
    completion.write_text(markup(make_summary()), encoding="utf-8")
    preview = write_preview(folder / "preview")
    shape, source = preview / "shape-1.html", preview / "source.html"
    found = (write_example(folder / "dry-run"), completion, preview / "index.html", shape, source)
    return dict(zip(PAGES, found, strict=True))


def violations(browser: Browser, axe: str, page: Path, *, width: int, scheme: Any) -> list[str]:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    window = context.new_page()
    window.goto(page.as_uri())
    window.locator("details").evaluate_all("all => all.forEach(one => { one.open = true })")
    window.evaluate(axe)
    found: list[str] = window.evaluate(LOOK, RULES)
    context.close()
    return found


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize(("width", "scheme"), [(375, "light"), (1280, "dark")])
def test_no_violation(browser: Browser, axe: str, pages: dict[str, Path], name: str, width: int, scheme: str) -> None:
    assert violations(browser, axe, pages[name], width=width, scheme=scheme) == []


def test_a_violation_is_seen(browser: Browser, axe: str, tmp_path: Path) -> None:
    page = tmp_path / "pale.html"
    page.write_text("<!doctype html><html lang=en><title>x</title><main><h1>x</h1><img src=x></main>", encoding="utf-8")
    assert violations(browser, axe, page, width=375, scheme="light") == ["image-alt: img"]


# The programs share one base; the styles are the same.
EMAILS = sorted((Path(__file__).parents[1] / "golden" / "emails").glob("engy-*.html"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_emails_have_no_violation(browser: Browser, axe: str, scheme: str) -> None:
    """Landmarks are for pages: mail programs show an email inside their own."""
    found = {path.name: violations(browser, axe, path, width=375, scheme=scheme) for path in EMAILS}
    assert EMAILS
    pages_only = ("region", "landmark", "page-has-heading-one")
    assert {name: [one for one in some if not one.startswith(pages_only)] for name, some in found.items()} == {
        name: [] for name in found
    }
