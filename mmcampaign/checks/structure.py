"""The page as a whole: title, language, size, style sheets, elements left open."""

import re
from collections.abc import Iterator

from mmcampaign.checks import limits
from mmcampaign.checks.email import Page, Spot
from mmcampaign.checks.places import unclosed
from mmcampaign.findings import Part, Severity

# Left behind by editors and template shops; an inbox or a browser tab shows it.
_DEFAULT_TITLES = re.compile(
    r"untitled( document)?|document|e-?mail( template| title)?|new (e-?mail|message|template)|newsletter|title( here)?"
    r"|\*\|MC:SUBJECT\|\*|my (first )?(e-?mail|template)|template|template (title|name)|page title|your title( here)?"
    r"|lorem ipsum.*|insert title here|responsive e-?mail template|subject",
    re.IGNORECASE,
)
_TITLED = frozenset({"og:title", "twitter:title", "title", "subject"})
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")  # RFC 5646, as far as one can tell without its registry
_NEVER_RUN = ("script", "iframe", "object", "embed", "applet")


def size(page: Page) -> Iterator[Spot]:
    """Over 102 kB Gmail hides the end, and with it the footer."""
    bytes_ = len(page.email.html.encode())
    if bytes_ >= limits.SIZE_WARN_BYTES:
        too_big = bytes_ > limits.SIZE_BLOCK_BYTES
        yield Spot(
            severity=Severity.BLOCK if too_big else Severity.WARN,
            code="too-big" if too_big else "nearly-too-big",
            message=f"The HTML part has {bytes_ / 1000:,.0f} kB. Gmail cuts emails at about 102 kB and hides the rest, "
            "the unsubscribe link included.",
            mend="shorten the text, or move rules that repeat in every element into fewer elements",
            part=Part.HTML,
            source=r"<body\b",
        )


def title(page: Page) -> Iterator[Spot]:
    """Screen readers and browser tabs read the title out."""
    found = page.root.find(".//title")
    words = "" if found is None else (found.text or "").strip()
    if not words:
        yield _warn(
            "empty-title",
            "The page has no title; screen readers announce an email by it.",
            "write <title>…</title> into the head, with the words of the subject or headline",
            page.root.find("head") if found is None else found,
            r"<head\b",
        )
    named = [(found, words)] if words else []
    named += [
        (meta, (meta.get("content") or "").strip())
        for meta in page.root.iter("meta")
        if (meta.get("property") or meta.get("name") or "").lower() in _TITLED
    ]
    for element, text in named:
        if _DEFAULT_TITLES.fullmatch(text):
            yield _warn(
                "leftover-title",
                f"The title is still “{text}”, as the editor left it.",
                "write what this email is about, or take the element out",
                element,
            )


def language(page: Page) -> Iterator[Spot]:
    """Without a language a screen reader pronounces the words by that of the machine (WCAG 2.2, 3.1.1)."""
    for element in page.elements:
        value = element.get("lang")
        if (value is None and element is page.root) or (value is not None and not _LANGUAGE.fullmatch(value)):
            wrong = "says no language" if value is None else f"gives “{value}” as a language, which is none"
            yield _warn(
                "no-language" if value is None else "invalid-language",
                f"The page {wrong}; screen readers then guess how to pronounce it.",
                'write <html lang="en">',
                element,
                r"<html\b",
            )


def outside(page: Page) -> Iterator[Spot]:
    """Fonts and style sheets from elsewhere; mail programs drop them."""
    for element in page.root.iter("link"):
        yield _warn(
            "outside-style",
            "A <link> asks for a file from elsewhere (a font or a style sheet), which most mail programs drop.",
            "take it out and name fonts that every machine has",
            element,
        )
    if re.search(r"@font-face\s*\{", page.email.places.html, re.IGNORECASE):  # inlining takes it out
        yield _warn(
            "outside-font",
            "A font of its own (@font-face) is taken out when styles are inlined; most mail programs drop it anyway.",
            "name fonts that every machine has",
            None,
            r"@font-face",
        )


def never_run(page: Page) -> Iterator[Spot]:
    for element in page.root.iter(*_NEVER_RUN):
        yield _warn(
            "script",
            f"A <{element.tag}> never runs in an email, and makes it look like spam.",
            "take it out",
            element,
        )


def left_open(page: Page) -> Iterator[Spot]:
    """The render before inlining is looked at: a parser would have closed everything."""
    places = page.email.places
    for tag, mark in unclosed(places.html):
        place = places.marks.places[int(mark)] if mark else None
        stray = tag.startswith("/")
        yield Spot(
            severity=Severity.WARN,
            code="stray-end-tag" if stray else "unclosed-element",
            message=f"A <{tag}> {'closes nothing' if stray else 'is never closed'}; mail programs repair that "
            "differently.",
            mend="take it out" if stray else f"write </{tag}> where it ends",
            part=Part.HTML,
            place=place,
            source=rf"<{tag}\b" if stray else "",
        )


def conditionals(page: Page) -> Iterator[Spot]:
    """HTML parsers turn the old form into an empty comment; merging rewrites it."""
    pattern = r"<!\[if "
    if page.email.places.of_source(pattern, Part.HTML):
        yield Spot(
            severity=Severity.NOTE,
            code="old-conditional",
            message="A comment for Outlook has the form <![if …]>, which other programs can lose. It was mended here.",
            mend="write <!--[if …]><!--> … <!--<![endif]-->",
            part=Part.HTML,
            source=pattern,
        )


def colour_scheme(page: Page) -> Iterator[Spot]:
    told = any((meta.get("name") or "").lower() == "color-scheme" for meta in page.root.iter("meta"))
    if not told and "prefers-color-scheme" not in page.email.html:
        yield Spot(
            severity=Severity.NOTE,
            code="no-dark-mode",
            message="The email says nothing about dark screens; some mail programs then recolour it as they like.",
            mend='write <meta name="color-scheme" content="light dark"> and rules for dark screens',
            part=Part.HTML,
            element=page.root.find("head"),
            source=r"<head\b",
        )


def _warn(code: str, message: str, mend: str, element: object, source: str = "") -> Spot:
    return Spot(
        severity=Severity.WARN,
        code=code,
        message=message,
        mend=mend,
        part=Part.HTML,
        element=element,
        source=source,
    )


RULES = (size, title, language, outside, never_run, left_open, conditionals, colour_scheme)
