"""What tests of pages share: a real browser, and axe."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

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
