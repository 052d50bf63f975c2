"""An email under check, parsed once, and what a rule says about it."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from lxml import etree

from mmcampaign.checks.places import Place, Places, is_element, page_of
from mmcampaign.findings import Part, Severity

_WEB_ADDRESS = re.compile(r"https?://[^\s<>\"']+", re.IGNORECASE)
_NOT_READ = frozenset({"script", "style", "title", "head", "template"})
HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden|max-height\s*:\s*0(?![\d.])|font-size\s*:\s*0", re.I)


@dataclass(frozen=True, kw_only=True)
class CheckedEmail:
    """One email to check, merged with harmless values. ``learners`` get it today; ``courses`` are the courses it is
    about (the trigger and the next one), title to link. ``places`` know the template it comes from."""

    shape: str
    subject: str
    html: str = field(repr=False)
    text: str = field(repr=False)
    eml: bytes = field(default=b"", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    unsubscribe_url: str
    learners: int = 0
    courses: Mapping[str, str] = field(default_factory=dict)
    places: Places


@dataclass(frozen=True, kw_only=True)
class House:
    """What holds for all emails of an installation. ``own_hosts`` stand in config.toml; ``reaches_people`` is false
    where mail is written to files."""

    postal_address: str
    own_hosts: frozenset[str] = frozenset()
    reaches_people: bool = False


@dataclass(frozen=True, kw_only=True)
class Spot:
    """Something that one rule found in one email, and what its place in the template is told by: an element of the
    page, a line of the text part (0 is the first), or a regular expression over the template's files."""

    severity: Severity
    code: str
    message: str
    mend: str
    part: Part
    element: Any = None
    text_line: int | None = None
    source: str = ""
    place: Place | None = None


@dataclass(frozen=True, kw_only=True)
class Link:
    """A link of the page with the words it shows."""

    element: Any
    address: str
    words: str


class Page:
    """A parsed email, as the rules see it."""

    def __init__(self, email: CheckedEmail, house: House) -> None:
        self.email, self.house = email, house
        self.root = page_of(email.html)
        self.elements = [node for node in self.root.iter() if is_element(node)]
        self.lines = email.text.split("\n")

    @cached_property
    def links(self) -> list[Link]:
        found = [element for element in self.elements if element.tag in ("a", "area") and "href" in element.attrib]
        return [Link(element=each, address=each.get("href").strip(), words=words_of(each)) for each in found]

    @cached_property
    def text_links(self) -> list[tuple[str, int]]:
        """Web addresses of the text part with their line."""
        return [
            (found.rstrip(".,;:!?)]"), number)
            for number, line in enumerate(self.lines)
            for found in _WEB_ADDRESS.findall(line)
        ]

    @cached_property
    def words(self) -> str:
        """What a reader of the page sees, in one line."""
        body = self.root.find("body")
        return one_line(" ".join(text for _, text in shown(body if body is not None else self.root)))

    @cached_property
    def text(self) -> str:
        return one_line(self.email.text)

    @cached_property
    def _element_places(self) -> dict[int, Place]:
        return self.email.places.of_elements(self.elements)

    @cached_property
    def _line_places(self) -> dict[int, Place]:
        return self.email.places.of_lines(self.lines)

    @cached_property
    def _positions(self) -> dict[Any, int]:
        return {element: position for position, element in enumerate(self.elements)}

    def place_of(self, spot: Spot) -> Place | None:
        """The file and line of a spot, or None where it cannot be told."""
        if spot.place is not None:
            return spot.place
        if spot.element is not None and (found := self._element_places.get(self._positions.get(spot.element, -1))):
            return found
        if spot.text_line is not None and (found := self._line_places.get(spot.text_line)):
            return found
        return self.email.places.of_source(spot.source, spot.part) if spot.source else None


def shown(element: Any) -> Iterator[tuple[Any, str]]:
    """The pieces of text in an element that are not hidden, each with the element that holds it."""
    if not isinstance(element.tag, str):
        return
    if element.tag in _NOT_READ or HIDDEN.search(element.get("style") or "") or "hidden" in element.attrib:
        return
    if element.text:
        yield element, element.text
    for child in element:
        yield from shown(child)
        if child.tail:
            yield element, child.tail


def words_of(element: Any) -> str:
    """What an element shows or is read out as: text, alternative texts, labels."""
    labels = [each.get("alt") or each.get("aria-label") or "" for each in element.iter(etree.Element)]
    return one_line(" ".join([*(text for _, text in shown(element)), *labels, element.get("title") or ""]))


def one_line(text: str) -> str:
    return " ".join(text.split())
