"""What mail programs make of the HTML and CSS that an email uses, by the tables of caniemail.com (``data/``).

A feature that most programs of a family leave out is a warning; a note where most support it in part only, or where an
email without it still reads as meant (``GRACEFUL``).
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import tinycss2

from mmcampaign.checks.contrast import declarations
from mmcampaign.checks.email import Page, Spot
from mmcampaign.findings import Part, Severity

DATA = Path(__file__).with_name("data")
AUDIENCE = {"gmail": "Gmail", "outlook": "Outlook", "apple-mail": "Apple Mail", "yahoo": "Yahoo"}

# Left out, these cost looks and not sense: corners, shadows, dark and narrow designs, hints to programs. Yahoo writes
# `min-height` for `height`; `body` becomes a `div`, which keeps its style.
_GRACEFUL = """
css-at-media css-at-media-prefers-color-scheme css-at-media-prefers-reduced-motion css-at-media-hover
css-at-media-orientation css-at-media-device-pixel-ratio css-at-supports css-border-radius css-box-shadow
css-color-scheme css-cursor css-hyphens css-letter-spacing css-overflow css-overflow-wrap css-word-wrap
css-word-break css-pseudo-class-hover css-pseudo-class-focus css-pseudo-class-active css-pseudo-class-visited
css-pseudo-class-link css-text-overflow css-text-shadow css-text-underline-offset css-text-wrap css-transition
css-animation css-at-keyframes css-white-space css-opacity css-outline css-max-height css-height css-font-kerning
css-important css-comments css-unit-initial css-orphans css-widows css-text-decoration-thickness
css-text-decoration-color css-text-decoration-skip-ink css-user-select css-border-collapse css-border-spacing
html-meta-color-scheme html-role html-lang html-aria-label html-aria-hidden html-aria-labelledby
html-aria-describedby html-aria-live html-doctype html-comments html-style html-dir html-semantics html-abbr
html-loading-attribute html-hidden html-target html-srcset html-wbr html-bdi html-body
"""
GRACEFUL = frozenset(_GRACEFUL.split())


@dataclass(frozen=True, kw_only=True)
class Feature:
    """One feature with what each audience's programs do with it: ``n`` not there, ``a`` in part, ``y`` there."""

    slug: str
    name: str
    verdicts: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Used:
    """A feature that a page uses, and where."""

    slug: str
    element: Any = None
    source: str = ""


# These have rules of their own (``structure.py``).
_TOLD_ELSEWHERE = frozenset({"css-at-font-face", "css-at-import", "html-link", "html-object"})


def clients(page: Page) -> Iterator[Spot]:
    told = set(_TOLD_ELSEWHERE)
    for used in _uses(page):
        if used.slug in told or used.slug not in features():
            continue
        told.add(used.slug)
        if spot := _spot(features()[used.slug], used):
            yield spot


def _spot(feature: Feature, used: Used) -> Spot | None:
    lacking = [AUDIENCE[family] for family, verdict in feature.verdicts.items() if verdict == "n"]
    graceful = feature.slug in GRACEFUL
    partly = [AUDIENCE[family] for family, verdict in feature.verdicts.items() if verdict == "a" and not graceful]
    if not lacking and not partly:
        return None
    wrong = [f"is left out by {_list(lacking)}"] if lacking else []
    wrong += [f"works only in part in {_list(partly)}"] if partly else []
    return Spot(
        severity=Severity.WARN if lacking and not graceful else Severity.NOTE,
        code=f"clients-{feature.slug.removesuffix('-')}",
        message=f"{feature.name} {' and '.join(wrong)} (caniemail.com).",
        mend="leave it: without it the email still reads as meant"
        if graceful
        else "make sure that the email reads well without it, or do it another way",
        part=Part.HTML,
        element=used.element,
        source=used.source,
    )


def _list(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


# --- the tables -----------------------------------------------------------------------------------------------------


def data_digest() -> str:
    """SHA-256 of the data file, as the manifest has it."""
    return hashlib.sha256((DATA / "caniemail.json").read_bytes()).hexdigest()


@lru_cache(maxsize=1)
def features() -> Mapping[str, Feature]:
    """Every feature of the data by its slug, judged for our audience."""
    document = json.loads((DATA / "caniemail.json").read_text("utf-8"))
    return {
        each["slug"]: Feature(
            slug=each["slug"],
            name=each["title"].strip(),
            verdicts={family: _verdict(each["stats"][family]) for family in AUDIENCE if family in each["stats"]},
        )
        for each in document["data"]
    }


def _verdict(platforms: Mapping[str, Mapping[str, str]]) -> str:
    """Of a family: what most of its platforms do, each in the newest version tested; ``u`` (not known) says nothing.

    The data lists versions oldest first.
    """
    newest = [list(versions.values())[-1][:1] for versions in platforms.values() if versions]
    known = [answer for answer in newest if answer in "yan"]
    if known.count("n") * 2 > len(known):
        return "n"
    return "a" if (known.count("n") + known.count("a")) * 2 > len(known) else "y"


@lru_cache(maxsize=1)
def _by_property() -> Mapping[str, str]:
    """CSS property -> slug. Features of several properties list them in their title."""
    found: dict[str, str] = {}
    for slug, feature in features().items():
        if not slug.startswith("css-") or slug.startswith(("css-unit", "css-at-", "css-pseudo", "css-selector")):
            continue
        names = _PROPERTIES.get(slug) or [re.sub(r" (property|shorthand|CSS property)$", "", feature.name)]
        found |= {name: slug for name in names if re.fullmatch(r"[a-z-]+", name)}
    return found


_PROPERTIES = {
    "css-left-right-top-bottom": ["left", "right", "top", "bottom"],
    "css-gap": ["gap", "column-gap", "row-gap"],
    "css-block-inline-size": ["block-size", "inline-size"],
    "css-margin-inline-block": ["margin-inline", "margin-block"],
    "css-padding-inline-block": ["padding-inline", "padding-block"],
    "css-grid-template": ["grid-template", "grid-template-areas", "grid-template-columns", "grid-template-rows"],
    "css-color-scheme": ["color-scheme"],
    "css-column-layout-properties": ["column-count", "column-rule", "column-span", "column-width", "columns"],
    "css-padding": ["padding"],
    "css-margin": ["margin"],
}
_PAIRS = {
    ("display", "flex"): "css-display-flex",
    ("display", "grid"): "css-display-grid",
    ("display", "none"): "css-display-none",
    ("flex-direction", "column"): "css-flex-direction",
    ("flex-wrap", "wrap"): "css-flex-wrap",
}
_FUNCTIONS = {
    "linear-gradient": "css-linear-gradient",
    "radial-gradient": "css-radial-gradient",
    "conic-gradient": "css-conic-gradient",
    "calc": "css-unit-calc",
    "clamp": "css-function-clamp",
    "max": "css-function-max",
    "min": "css-function-min",
    "light-dark": "css-function-light-dark",
    "rgb": "css-rgb",
    "rgba": "css-rgba",
    "lch": "css-modern-color",
    "oklch": "css-modern-color",
    "lab": "css-modern-color",
    "oklab": "css-modern-color",
    "var": "css-variables",
}
_AT_RULES = {
    "font-face": "css-at-font-face",
    "import": "css-at-import",
    "keyframes": "css-at-keyframes",
    "supports": "css-at-supports",
    "media": "css-at-media",
}
_MEDIA = {
    "prefers-color-scheme": "css-at-media-prefers-color-scheme",
    "prefers-reduced-motion": "css-at-media-prefers-reduced-motion",
    "orientation": "css-at-media-orientation",
    "hover": "css-at-media-hover",
    "device-pixel-ratio": "css-at-media-device-pixel-ratio",
}
_ELEMENTS = {"ul": "html-lists", "ol": "html-lists", "dl": "html-lists", "map": "html-image-maps"}
_ELEMENTS |= {f"h{level}": "html-h1-h6" for level in range(1, 7)}
_SEMANTICS = "article aside details figcaption figure footer header main mark nav section summary time"
_ELEMENTS |= dict.fromkeys(_SEMANTICS.split(), "html-semantics")
_ATTRIBUTES = {"srcset": "html-srcset", "sizes": "html-srcset", "loading": "html-loading-attribute"}
_FORMATS = {"jpeg": "jpg", "tif": "tiff", "heic": "heif"}


# --- what a page uses -----------------------------------------------------------------------------------------------


def _uses(page: Page) -> Iterator[Used]:
    for element in page.elements:
        yield from _of_element(element)
        for name, value in declarations(element.get("style") or "").items():
            yield from _of_declaration(name, value)
    for style in page.root.iter("style"):
        yield from _of_rules(tinycss2.parse_stylesheet(style.text or "", skip_comments=True, skip_whitespace=True))


def _of_element(element: Any) -> Iterator[Used]:
    tag = element.tag
    yield Used(slug=_ELEMENTS.get(tag, f"html-{tag}"), element=element)
    for name in element.attrib:
        yield Used(slug=_ATTRIBUTES.get(name, f"html-{name}"), element=element)
    if tag == "meta" and element.get("name") == "color-scheme":
        yield Used(slug="html-meta-color-scheme", element=element)
    if tag in ("input", "button"):
        yield Used(slug=f"html-{tag}-{element.get('type', 'text')}", element=element)
    if tag == "a" and (element.get("href") or "").startswith(("mailto:", "#")):
        yield Used(
            slug="html-mailto-links" if "mailto:" in element.get("href") else "html-anchor-links", element=element
        )
    if tag == "img":
        yield from _of_image(element)


def _of_image(element: Any) -> Iterator[Used]:
    address = (element.get("src") or "").strip().lower()
    if address.startswith("data:"):
        yield Used(slug="image-base64", element=element)
    elif ending := re.search(r"\.(\w+)$", re.split(r"[?#]", address)[0]):
        yield Used(slug=f"image-{_FORMATS.get(ending[1], ending[1])}", element=element)


def _of_rules(rules: list[Any]) -> Iterator[Used]:
    for rule in rules:
        if rule.type == "at-rule":
            yield from _of_at_rule(rule)
        elif rule.type == "qualified-rule":
            for name in re.findall(r"::?([a-z-]+)", tinycss2.serialize(rule.prelude)):
                yield Used(slug=f"css-pseudo-class-{name}", source=rf":{name}\b")
                yield Used(slug=f"css-pseudo-element-{name}", source=rf":{name}\b")
            for name, value in declarations(tinycss2.serialize(rule.content)).items():
                yield from _of_declaration(name, value)


def _of_at_rule(rule: Any) -> Iterator[Used]:
    name, prelude = rule.lower_at_keyword.removeprefix("-webkit-"), tinycss2.serialize(rule.prelude)
    if name in _AT_RULES:
        yield Used(slug=_AT_RULES[name], source=rf"@(-webkit-)?{name}\b")
    for word, slug in _MEDIA.items():
        if word in prelude:
            yield Used(slug=slug, source=rf"@media[^{{]*{word}")
    if name in ("media", "supports") and rule.content:
        yield from _of_rules(tinycss2.parse_rule_list(rule.content, skip_comments=True, skip_whitespace=True))


def _of_declaration(name: str, value: str) -> Iterator[Used]:
    source = rf"(?<![\w-]){re.escape(name)}\s*:"
    slug = _PAIRS.get((name, value)) or _slug_of(name)
    if name.startswith("--"):
        slug = "css-variables"
    if slug:
        yield Used(slug=slug, source=source)
    for function in re.findall(r"([a-z-]+)\(", value):
        if function in _FUNCTIONS:
            yield Used(slug=_FUNCTIONS[function], source=rf"\b{function}\(")
    for unit in re.findall(r"(?<![\w#.-])-?[\d.]+([a-z]+)\b", value):
        yield Used(slug=f"css-unit-{unit}", source=rf"\d{unit}\b")


def _slug_of(name: str) -> str:
    """Of the longest property that the data knows: ``border-top-width`` is judged as ``border``."""
    words = name.split("-")
    names = ("-".join(words[:length]) for length in range(len(words), 0, -1))
    return next((_by_property()[each] for each in names if each in _by_property()), "")


RULES = (clients,)
