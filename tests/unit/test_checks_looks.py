"""How an email looks: contrast as WCAG counts it, and what mail programs leave out by the tables of caniemail."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcampaign.checks import clients
from mmcampaign.checks.contrast import declarations, ratio
from mmcampaign.checks.email import Page
from tests.unit.checks_builders import HOUSE, after_greeting, checked_email, findings

LANDSCAPE = "<style>@media (orientation: landscape) { a { top: 1px } }</style>"


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("#000000", "#ffffff", 21.0),
        ("#767676", "#ffffff", 4.54),
        ("#777777", "#ffffff", 4.48),
        ("#ff0000", "#ffffff", 4.0),
    ],
)
def test_contrast_ratios_are_those_of_wcag(one: str, other: str, expected: float) -> None:
    def channels(colour: str) -> tuple[float, float, float]:
        red, green, blue = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
        return red, green, blue

    assert round(ratio(channels(one), channels(other)), 2) == expected


COLOURS = st.tuples(*[st.floats(0, 1)] * 3)


@given(COLOURS, COLOURS)
def test_contrast_is_symmetric_and_within_its_bounds(one: Any, other: Any) -> None:
    assert 1 <= ratio(one, other) == ratio(other, one) <= 21.001


@pytest.mark.parametrize(
    ("style", "enough"),
    [
        pytest.param("color: #767676", True, id="just enough"),
        pytest.param("color: #777777", False, id="just not enough"),
        pytest.param("color: #777777; font-size: 24px", True, id="large"),
        pytest.param("color: #777777; font-size: 14pt; font-weight: bold", True, id="large in bold"),
        pytest.param("color: #777777; font-size: 1.2em; font-weight: 700", True, id="large by its parent"),
        pytest.param("color: white; background: #000 none", True, id="ground in a shorthand"),
        pytest.param("color: white; background-color: rgba(0, 0, 0, 0.2)", False, id="thin ground"),
        pytest.param("color: white; display: none", True, id="hidden"),
        pytest.param("color: no-such-colour", True, id="no colour"),
    ],
)
def test_contrast_of_styles(tmp_path: Path, style: str, enough: bool) -> None:
    found = findings(tmp_path, body_html=after_greeting(f'<p style="{style}">Well done</p>'))
    assert ("low-contrast" not in {each.code for each in found}) is enough


def test_a_style_is_read_as_css_is() -> None:
    assert declarations("COLOR: Red; color: #FFF !important; ; broken; width:1px") == {"color": "#fff", "width": "1px"}


# --- caniemail --------------------------------------------------------------------------------------------------------


def test_the_data_is_what_the_manifest_says() -> None:
    manifest = json.loads((clients.DATA / "MANIFEST.json").read_text("utf-8"))
    assert set(manifest) == {"caniemail.json"}
    entry = manifest["caniemail.json"]
    content = (clients.DATA / "caniemail.json").read_bytes()
    assert hashlib.sha256(content).hexdigest() == entry["sha256"]
    assert json.loads(content)["last_update_date"].startswith(entry["data_of"])
    assert "MIT" in (clients.DATA / entry["licence_file"]).read_text("utf-8")


def test_every_name_in_our_tables_is_one_of_the_data() -> None:
    tables = (
        clients._PAIRS,
        clients._FUNCTIONS,
        clients._AT_RULES,
        clients._MEDIA,
        clients._ELEMENTS,
        clients._ATTRIBUTES,
    )
    named = {slug for table in tables for slug in table.values()} | clients.GRACEFUL | set(clients._PROPERTIES)
    assert named <= set(clients.features())


@pytest.mark.parametrize(
    ("platforms", "verdict"),
    [
        pytest.param({"ios": {"1": "n", "2": "y"}}, "y", id="the newest version counts"),
        pytest.param({"ios": {"1": "n #1"}, "android": {"1": "n"}, "web": {"1": "y"}}, "n", id="most leave it out"),
        pytest.param({"ios": {"1": "n"}, "android": {"1": "y"}, "web": {"1": "y"}}, "y", id="few leave it out"),
        pytest.param({"ios": {"1": "a #2"}, "android": {"1": "n"}, "web": {"1": "y"}}, "a", id="most in part"),
        pytest.param({"ios": {"1": "u"}, "web": {"1": "n"}}, "n", id="not known says nothing"),
        pytest.param({}, "y", id="nothing known"),
    ],
)
def test_verdicts_on_a_family(platforms: dict[str, dict[str, str]], verdict: str) -> None:
    assert clients._verdict(platforms) == verdict


@pytest.mark.parametrize(
    ("html", "slug"),
    [
        pytest.param('<p style="border-top-width: 1px">x</p>', "css-border", id="longhand as its shorthand"),
        pytest.param('<p style="border-top-left-radius: 1px">x</p>', "css-border", id="nearest known name"),
        pytest.param('<div style="display: grid">x</div>', "css-display-grid", id="property with value"),
        pytest.param('<p style="width: calc(10px + 1em)">x</p>', "css-unit-calc", id="function"),
        pytest.param('<p style="width: 10vw">x</p>', "css-unit-vw", id="unit"),
        pytest.param('<p style="--x: 1">x</p>', "css-variables", id="custom property"),
        pytest.param("<style>a:hover { color: red }</style>", "css-pseudo-class-hover", id="pseudo-class"),
        pytest.param(
            LANDSCAPE,
            "css-left-right-top-bottom",
            id="inside a media query",
        ),
        pytest.param(
            LANDSCAPE,
            "css-at-media-orientation",
            id="media feature",
        ),
        pytest.param("<video src='x'></video>", "html-video", id="element"),
        pytest.param("<input type='radio'>", "html-input-radio", id="input"),
        pytest.param("<section>x</section>", "html-semantics", id="semantics"),
        pytest.param('<img src="https://a.edu/x.WEBP?a=1">', "image-webp", id="picture format"),
        pytest.param('<img src="data:image/png;base64,xx">', "image-base64", id="picture in the page"),
        pytest.param('<img src="https://a.edu/x.tif">', "image-tiff", id="another ending"),
    ],
)
def test_what_a_page_uses(tmp_path: Path, html: str, slug: str) -> None:
    page = checked_page(tmp_path, html)
    assert slug in {used.slug for used in clients._uses(page)}
    assert slug in clients.features()


def checked_page(folder: Path, html: str) -> Any:
    return Page(replace(checked_email(folder), html=f"<html><body>{html}</body></html>"), HOUSE)
