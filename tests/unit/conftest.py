"""What tests of pages share: a real browser, and axe."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Literal, Protocol

import pytest
from playwright.sync_api import Browser, Page, Route, sync_playwright

Scheme = Literal["light", "dark", "no-preference"]

AXE = Path(__file__).resolve().parents[1] / "data" / "axe"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium")
    if path is None:
        message = "CHROMIUM IS NOT INSTALLED: the pages are not looked at (apt-get install chromium)"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def axe() -> str:
    """The script of axe-core, as its README names it."""
    script = (AXE / "axe.min.js").read_bytes()
    assert hashlib.sha256(script).hexdigest() in (AXE / "README.md").read_text("utf-8")
    return script.decode()


class Opened(Protocol):
    """Opens a page from the disk in a window of its own; gives it, and every network address that it got through to."""

    def __call__(
        self, path: Path, *, width: int = 1280, scheme: Scheme = "light"
    ) -> AbstractContextManager[tuple[Page, list[str]]]: ...


@pytest.fixture
def opened(browser: Browser) -> Opened:
    @contextmanager
    def open_page(path: Path, *, width: int = 1280, scheme: Scheme = "light") -> Iterator[tuple[Page, list[str]]]:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page = context.new_page()
        fetched: list[str] = []

        def answer(route: Route) -> None:
            fetched.append(route.request.url)
            route.fulfill(body="reached")

        context.route("https://**", answer)
        page.goto(path.as_uri())
        yield page, fetched
        context.close()

    return open_page
