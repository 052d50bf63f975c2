"""The HTML part after rendering: made safe to parse, its styles inlined, and where its tokens stand."""

import logging
import os
import re
import xml.dom
from collections.abc import Iterator
from typing import Any

from lxml import cssselect, etree

from mmcampaign.shapes import Place, Token, tokens

# premailer reads its cache size on import; 128 entries thrash on a large style sheet (measured: 503 against 132 ms).
os.environ.setdefault("PREMAILER_CACHE_MAXSIZE", "10000")
from premailer import Premailer

# Addresses in links: their shapes are shared only while parser and serialiser leave the value alone.
LINK_FIELDS = frozenset({"unsubscribe_url", "item.unsubscribe_link"})
LINK = re.compile(r"https?://[!-~]+")
_WORDED_ATTRIBUTES = frozenset({"title", "alt", "content", "aria-label", "summary"})

_DOCTYPE = re.compile(r"\A\s*(<!doctype\b[^>]*>|)", re.IGNORECASE)
_STYLE = r"<style\b[^>]*>(?:(?!</style)[\s\S])*?"
OUTSIDE_STYLES = re.compile(rf"<link\b[^>]*\bstylesheet\b|{_STYLE}@import\b", re.IGNORECASE)
_ATTRIBUTE_SELECTOR = re.compile(rf"{_STYLE}\[", re.IGNORECASE)


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


def tokens_stand_well(subject: str, html: str, text: str) -> bool:
    """Whether every token stands where filling it in is the same as having rendered the value.

    That is the case in words (text, and attributes made of words) and, for the unsubscribe links, in an ``href`` or a
    comment for Outlook. It is not where CSS, scripts or the structure of the page could depend on the value.
    """
    if any(token.place is Place.HTML for token in tokens(subject + text)):
        return False
    found = tokens(html)
    try:
        page = etree.fromstring(html, etree.HTMLParser())
    except (etree.LxmlError, ValueError):
        return False
    if page is None:  # nothing but comments
        return False
    in_words = [token for words in _words(page) for token in tokens(words)]
    in_attributes = [token for element in page.iter(etree.Element) for token in _tokens_in_attributes(element)]
    if in_attributes and _ATTRIBUTE_SELECTOR.search(html):
        return False
    return len(found) == len(in_words) + len(in_attributes) and all(token.place is Place.HTML for token in found)


def _words(page: Any) -> Iterator[str]:
    for node in page.iter():
        if node.tag is etree.Comment:
            yield "".join(token.text for token in tokens(node.text or "") if token.field in LINK_FIELDS)
        elif node.tag not in ("script", "style"):
            yield node.text or ""
        yield node.tail or ""


def _tokens_in_attributes(element: Any) -> Iterator[Token]:
    for name, value in element.attrib.items():
        found = tokens(value)
        if name in _WORDED_ATTRIBUTES or (
            name == "href" and [token.text for token in found] == [value] and found[0].field in LINK_FIELDS
        ):
            yield from found
