"""Whether letters stand out from their ground: WCAG 2.2, 1.4.3, on the inlined colours of the light design.

Colours inherit from element to element as browsers do it. Where a picture lies behind words the contrast is not known,
and that is said.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import tinycss2
from tinycss2.color3 import RGBA, parse_color

from mmcampaign.checks import limits
from mmcampaign.checks.email import HIDDEN, Page, Spot
from mmcampaign.findings import Part, Severity

Colour = tuple[float, float, float]  # red, green, blue; 0 to 1
_HEADINGS = {"h1": 32.0, "h2": 24.0, "h3": 18.72}
_BOLD = frozenset({"b", "strong", "th", "h1", "h2", "h3", "h4", "h5", "h6"})
_BLACK, _WHITE, _LINK = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (0.0, 0.0, 238 / 255)
_UNREAD = frozenset({"head", "style", "script", "title", "template"})


@dataclass(frozen=True, kw_only=True)
class Look:
    """How words look at one place. ``ground`` is None over a picture."""

    colour: Colour = _BLACK
    ground: Colour | None = _WHITE
    pixels: float = 16.0
    bold: bool = False

    @property
    def needed(self) -> float:
        large = self.pixels >= (limits.LARGE_BOLD_PIXELS if self.bold else limits.LARGE_PIXELS)
        return limits.CONTRAST_LARGE if large else limits.CONTRAST_NORMAL


def contrast(page: Page) -> Iterator[Spot]:
    body = page.root.find("body")
    yield from _walk(body, Look()) if body is not None else ()


def _walk(element: Any, outer: Look) -> Iterator[Spot]:
    if not isinstance(element.tag, str) or element.tag in _UNREAD or HIDDEN.search(element.get("style") or ""):
        return
    look = _look(element, outer)
    own = [element.text or "", *(child.tail or "" for child in element)]
    if any(char.isalnum() for piece in own for char in piece):
        yield from _judge(element, look)
    for child in element:
        yield from _walk(child, look)


def _judge(element: Any, look: Look) -> Iterator[Spot]:
    if look.ground is None:
        yield Spot(
            severity=Severity.NOTE,
            code="contrast-not-known",
            message="Words lie on a picture, so their contrast is not known; with pictures off they lie on its colour.",
            mend="give the same element a background-color that the words stand out from",
            part=Part.HTML,
            element=element,
        )
        return
    found = ratio(look.colour, look.ground)
    if found < look.needed:
        yield Spot(
            severity=Severity.WARN,
            code="low-contrast",
            message=f"Words in {written(look.colour)} on {written(look.ground)} have a contrast of "
            f"{int(found * 100) / 100:g}:1; {look.needed:g}:1 is needed to read them well.",
            mend="darken one of the colours or lighten the other",
            part=Part.HTML,
            element=element,
        )


def ratio(one: Colour, other: Colour) -> float:
    """The contrast ratio of two colours, 1 to 21 (WCAG 2.2, definition of contrast ratio)."""
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: Colour) -> float:
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def written(colour: Colour) -> str:
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in colour)


def _look(element: Any, outer: Look) -> Look:
    style = declarations(element.get("style") or "")
    look = replace(outer, bold=outer.bold or element.tag in _BOLD)
    if element.tag in _HEADINGS:
        look = replace(look, pixels=_HEADINGS[element.tag])
    if element.tag == "a" and "href" in element.attrib:
        look = replace(look, colour=_LINK)
    look = _with_ground(look, element, style)
    look = _with_colour(look, style.get("color") or (element.get("color") if element.tag == "font" else None), outer)
    return _with_size(look, style)


def _with_colour(look: Look, said: str | None, outer: Look) -> Look:
    if said == "inherit":
        return replace(look, colour=outer.colour)
    colour = _read(said)
    return replace(look, colour=_over(colour, look.ground or _WHITE)) if colour else look


def _with_ground(look: Look, element: Any, style: dict[str, str]) -> Look:
    background = style.get("background", "")
    pieces = [style.get("background-color", ""), *_pieces(background), element.get("bgcolor") or ""]
    colour = next((colour for piece in pieces if (colour := _read(piece))), None)
    picture = "url(" in background + style.get("background-image", "") or "gradient(" in background
    if picture or element.get("background"):
        return replace(look, ground=None)
    if colour is None or not colour.alpha:
        return look
    return replace(look, ground=_over(colour, look.ground or _WHITE))


def _with_size(look: Look, style: dict[str, str]) -> Look:
    weight = style.get("font-weight", "")
    if weight:
        look = replace(look, bold=weight in ("bold", "bolder") or (weight.isdigit() and int(weight) >= 700))
    size = re.fullmatch(r"([\d.]+)(px|pt|em|rem|%)", style.get("font-size", "").strip())
    if not size:
        return look
    times = {"px": 1.0, "pt": 96 / 72, "em": look.pixels, "rem": 16.0, "%": look.pixels / 100}
    return replace(look, pixels=float(size[1]) * times[size[2]])


def _read(said: str | None) -> RGBA | None:
    colour = parse_color(said) if said else None
    return colour if isinstance(colour, RGBA) else None


def _over(colour: RGBA, ground: Colour) -> Colour:
    red, green, blue = (
        colour.alpha * channel + (1 - colour.alpha) * below for channel, below in zip(colour[:3], ground, strict=True)
    )
    return (red, green, blue)


def _pieces(value: str) -> list[str]:
    return [part.serialize() for part in tinycss2.parse_component_value_list(value)]


@lru_cache(maxsize=4096)
def declarations(style: str) -> dict[str, str]:
    """A style attribute's properties in lower case with their values; the last of the same name counts."""
    found = tinycss2.parse_blocks_contents(style, skip_comments=True, skip_whitespace=True)
    return {
        each.lower_name: tinycss2.serialize(each.value).strip().lower() for each in found if each.type == "declaration"
    }


RULES = (contrast,)
