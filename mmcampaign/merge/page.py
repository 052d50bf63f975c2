"""The HTML part after rendering: made safe to parse, its styles inlined, and where its tokens stand."""

import logging
import os
import re
import xml.dom
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lxml import cssselect, etree

from mmcampaign.shapes import Place, Token, doubled, tokens

# premailer reads its cache size on import; 128 entries thrash on a large style sheet (measured: 503 against 132 ms).
os.environ.setdefault("PREMAILER_CACHE_MAXSIZE", "10000")
from premailer import Premailer

# A person's own links. What is derived from one is not kept: a preview could not show it without the living link.
LINK_FIELDS = frozenset({"unsubscribe_url", "item.unsubscribe_link"})
_WORDED_ATTRIBUTES = frozenset({"title", "alt", "content", "aria-label", "summary"})

# In links parser and serialiser leave printable ASCII alone and encode the rest. A comment could end, or begin, with a
# value that has hyphens or an exclamation mark at its ends; what stands inside it is escaped.
_REQUIRED = {"link": re.compile(r"[!-~]+"), "comment": re.compile(r"(?!-)[^\n\]]*(?<![-!])")}
_AFTER_AMPERSAND = re.compile(r"&#?\w*?(Zq7[ht][a-z012]+?7qZ)")  # a value could make an entity of it

_DOCTYPE = re.compile(r"\A\s*(<!doctype\b[^>]*>|)", re.IGNORECASE)
_STYLE = r"<style\b[^>]*>(?:(?!</style)[\s\S])*?"
OUTSIDE_STYLES = re.compile(rf"<link\b[^>]*\bstylesheet\b|{_STYLE}@import\b", re.IGNORECASE)
_STYLE_SHEET = re.compile(r"<style\b[^>]*>(.*?)</style", re.IGNORECASE | re.DOTALL)
_COMPARED_ATTRIBUTE = re.compile(r"\[([^\]=]*?)\s*[~|^$*]?=")  # [x-apple-data-detectors] asks for no value


class InliningError(Exception):
    """A page or its CSS that premailer cannot read. Its text holds no merged value."""


def inline(html: str) -> str:
    """The page with its style rules written into the elements; media queries and pseudo-classes stay in ``<style>``.

    Nothing is fetched. ``!important`` is kept, or dark and narrow styles would lose against the inlined ones.
    """
    page = Premailer(
        allow_network=False, strip_important=False, disable_validation=True, cssutils_logging_level=logging.CRITICAL
    )
    _, doctype, rest = _DOCTYPE.split(html, maxsplit=1)  # premailer drops all but its own spelling of one
    try:
        return f"{doctype}\n{page.transform(rest, pretty_print=False)}".lstrip()
    except _INLINING_ERRORS as error:
        raise InliningError(type(error).__name__) from None


# premailer has no error of its own: these come from its three libraries and from its assumptions about their results.
_PYTHON_ERRORS = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError)
_INLINING_ERRORS = (etree.LxmlError, xml.dom.DOMException, cssselect.SelectorError, *_PYTHON_ERRORS)


def with_safe_conditionals(html: str) -> str:
    """``<![if !mso]>`` as ``<!--[if !mso]><!-->``: HTML parsers turn the first form into an empty comment, and Outlook
    would show both branches."""
    pieces = re.split(r"(<!--.*?-->)", html, flags=re.DOTALL)
    for place in range(0, len(pieces), 2):  # outside comments: inside, the new form would end the comment
        pieces[place] = re.sub(r"<!\[if ([^\]]*)\]>", r"<!--[if \1]><!-->", pieces[place])
        pieces[place] = pieces[place].replace("<![endif]>", "<!--<![endif]-->")
    return "".join(pieces)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where a shape's tokens stand. ``ill`` are those whose values could change the page around them. ``required`` are
    patterns that a value must match whole to be like its token, by name: in links and in comments."""

    ill: tuple[Token, ...]
    required: tuple[tuple[str, re.Pattern[str]], ...]


def standing(subject: str, html: str, text: str) -> Standing:
    """Where filling a token in is the same as having rendered its value, and where not.

    It is the same in words (text, and attributes made of words), in links for values that need no encoding there, and
    in comments for values that cannot end one. It is not where CSS, scripts or the structure of the page could depend
    on the value.
    """
    foreign = [token for token in tokens(subject + text) if token.place is Place.HTML]
    foreign += [token for token in tokens(html) if token.place is Place.TEXT]
    foreign += [Token.read(found) for found in _AFTER_AMPERSAND.findall(html)]
    well = Counter[Token]()
    required: dict[tuple[str, re.Pattern[str]], None] = {}
    page = _parsed(doubled(html))
    compared = _compared_attributes(html)
    for place, attribute, words in [] if page is None else _places(page):
        if attribute and any(attribute in name or "\\" in name for name in compared):
            continue
        well.update(tokens(words))
        if place in _REQUIRED:
            required.update(dict.fromkeys((token.field, _REQUIRED[place]) for token in tokens(words)))
    twice = Counter(tokens(html) * 2)
    ill = dict.fromkeys([*foreign, *(token for token in twice if well[token] != twice[token])])
    return Standing(ill=tuple(ill), required=tuple(required))


def _parsed(html: str) -> Any:
    try:
        return etree.fromstring(html, etree.HTMLParser())
    except (etree.LxmlError, ValueError):
        return None


def _compared_attributes(html: str) -> set[str]:
    """The attributes whose values style rules look at, as they are written."""
    sheets = _STYLE_SHEET.findall(html)
    return {name.lower() for sheet in sheets for name in _COMPARED_ATTRIBUTE.findall(sheet)}


def _places(page: Any) -> Iterator[tuple[str, str, str]]:
    """Texts of the page in which tokens may stand, each with what it is (words, link, comment) and the attribute."""
    for node in page.iter():
        if node.tag is etree.Comment:
            yield "comment", "", node.text or ""
        elif isinstance(node.tag, str) and node.tag not in ("script", "style"):
            yield "words", "", node.text or ""
            for name, value in node.attrib.items():
                if name in _WORDED_ATTRIBUTES:
                    yield "words", name, value
                elif name == "href":
                    yield "link", name, value
        yield "words", "", node.tail or ""
