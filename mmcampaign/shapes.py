"""Personal values in a shape: the tokens that stand for them, and how they are filled in.

A shape is one rendered email that many people share. Where a personal value stands, the shape holds a token of plain
letters and digits, so that HTML parsing, CSS inlining and quoted-printable leave it alone. A token names the field and
the place it stands in, because a value is written differently in HTML and in text::

    Zq7hlearner0first1name7qZ     learner.first_name, in HTML
    Zq7tlearner0first1name7qZ     learner.first_name, in the text part or the subject

What a template makes of a value before it prints it (``learner.name | title``) is a value of its own, a *derived* one.
It is computed when a campaign is planned and kept under the field's name with a digest of what was done to it::

    Zq7hlearner0name2cfhkaolnbd7qZ    learner.name#cfhkaolnbd, in HTML
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Self

from mmcampaign.model import Shape

MARK = "Zq7"  # every token starts with it; `clean` keeps it out of personal values
DERIVED_MARK = "#"  # between the field of a derived value and its digest of ten letters
_TOKEN = re.compile(r"(Zq7[ht][a-z]+(?:[01][a-z]+)*(?:2[a-p]{10})?7qZ)")
_FIELD = re.compile(r"[a-z]+(?:[._][a-z]+)*(?:#[a-p]{10})?")
_TO_TOKEN = str.maketrans("._#", "012")
_TO_FIELD = str.maketrans("012", "._#")

# Embeddings, overrides and isolates: they reorder the text around them.
_BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")
# Controls (C0, DEL, C1), line and paragraph separators, what UTF-8 or an HTML parser does not take; runs of spaces.
_BREAKS = re.compile("[\x00-\x20\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]+")


class Place(StrEnum):
    """Where a token stands: it decides how its value is written."""

    HTML = "h"
    TEXT = "t"


@dataclass(frozen=True, kw_only=True)
class Token:
    """A stand-in for the personal value ``field`` (dotted, ``learner.name``) in a place."""

    field: str
    place: Place

    def __post_init__(self) -> None:
        if not _FIELD.fullmatch(self.field):
            raise ValueError(f"a personal field is lower-case words joined by dots and underscores, not {self.field!r}")

    @cached_property
    def text(self) -> str:
        """The token as it is written."""
        return f"{MARK}{self.place}{self.field.translate(_TO_TOKEN)}7qZ"

    @classmethod
    def read(cls, text: str) -> Self:
        """The token written as ``text``."""
        return cls(field=text[4:-3].translate(_TO_FIELD), place=Place(text[3]))


def split(text: str) -> list[str]:
    """Cut at the tokens: literal text at even places, tokens (as written) at odd ones."""
    return _TOKEN.split(text)


def tokens(text: str) -> list[Token]:
    """The tokens in ``text``, in order, repeats included."""
    return [Token.read(found) for found in split(text)[1::2]]


def with_places(text: str, place: Place) -> str:
    """The text with every token standing in ``place``."""
    return _TOKEN.sub(lambda found: f"{MARK}{place}{found[0][4:]}", text)


def doubled(text: str) -> str:
    """The text with every token written twice, a space between: as a value of two words would stand."""
    return _TOKEN.sub(r"\1 \1", text)


def without_tokens(text: str) -> str:
    """The text with nothing in it that could pass for a token."""
    return text.replace(MARK, "Zq 7")


def clean(value: str) -> str:
    """A personal value as it is merged everywhere: one line, no control characters, no outer or doubled spaces.

    Line breaks and controls become a space, bidirectional overrides go, and nothing can pass for a token.
    """
    if value.isprintable() and "  " not in value and MARK not in value:
        return value.strip()
    return without_tokens(one_line(value))


def clean_all(values: Sequence[str]) -> Sequence[str]:
    """``clean`` of each. All are looked at as one text first: nearly always there is nothing to do."""
    if _is_clean("|".join(values)):
        return values
    return [clean(value) for value in values]


def _is_clean(joined: str) -> bool:
    edges = "| " in joined or " |" in joined or joined[:1] == " " or joined[-1:] == " "
    return joined.isprintable() and "  " not in joined and MARK not in joined and not edges


def one_line(text: str) -> str:
    """A text for a header: line breaks and controls become one space, bidirectional overrides go; tokens stay."""
    return _BREAKS.sub(" ", _BIDI.sub("", text)).strip()


def escape(value: str) -> str:
    """Escaped for HTML text and quoted attributes, with the entities that Jinja's autoescape writes."""
    if value.isalnum():
        return value
    return (
        value.replace("&", "&amp;")
        .replace(">", "&gt;")
        .replace("<", "&lt;")
        .replace("'", "&#39;")
        .replace('"', "&#34;")
    )


def escape_all(values: Sequence[str]) -> Sequence[str]:
    """``escape`` of each; all are one line."""
    joined = "\n".join(values)
    escaped = escape(joined)
    return values if escaped is joined else escaped.split("\n")


class Segments:
    """A text cut at its tokens once, to be filled many times."""

    def __init__(self, text: str) -> None:
        self._parts = split(text)
        self._slots = [(place, self._parts[place]) for place in range(1, len(self._parts), 2)]

    @property
    def tokens(self) -> list[str]:
        """As they are written, each once, in order."""
        return list(dict.fromkeys(self._parts[1::2]))

    def fill(self, written: Mapping[str, str]) -> str:
        """The text with each token replaced by what ``written`` holds for it."""
        parts = self._parts.copy()
        for place, token in self._slots:
            parts[place] = written[token]
        return "".join(parts)


class Filler:
    """Fills one shape. Values are plain strings by field name; a missing field raises ``KeyError``.

    ``tokens`` are those of its two parts as they are written, in the order of ``columns``; ``fields`` are what
    these stand for.
    """

    def __init__(self, shape: Shape) -> None:
        self._subject, self._html, self._text = Segments(shape.subject), Segments(shape.html), Segments(shape.text)
        self._subject_uses, self._html_uses, self._text_uses = map(_uses, (self._subject, self._html, self._text))
        self._uses = self._text_uses + self._html_uses
        self.fields = tuple(dict.fromkeys(field for _, field, _ in self._uses))
        self.tokens = tuple(token for token, _, _ in self._uses)

    def subject(self, values: Mapping[str, str]) -> str:
        return self._subject.fill(_written(self._subject_uses, values))

    def html(self, values: Mapping[str, str]) -> str:
        return self._html.fill(_written(self._html_uses, values))

    def text(self, values: Mapping[str, str]) -> str:
        return self._text.fill(_written(self._text_uses, values))

    def columns(self, values: Mapping[str, Sequence[str]]) -> list[Sequence[str]]:
        """For each of ``tokens`` what it stands for in many messages, escaped where it stands in HTML.

        ``values`` are theirs by field, one after the other.
        """
        own = {field: clean_all(values[field]) for field in self.fields}  # most stand in both parts
        return [escape_all(own[field]) if in_html else own[field] for _, field, in_html in self._uses]


_Use = tuple[str, str, bool]  # a token as it is written, its field, whether it stands in HTML


def _uses(part: Segments) -> tuple[_Use, ...]:
    read = [(written, Token.read(written)) for written in part.tokens]
    return tuple((written, token.field, token.place is Place.HTML) for written, token in read)


def _written(uses: tuple[_Use, ...], values: Mapping[str, str]) -> dict[str, str]:
    return {token: escape(clean(values[field])) if in_html else clean(values[field]) for token, field, in_html in uses}


def with_nobodys_link(
    shape: Shape, values: Mapping[str, str], *, theirs: str, nobodys: str
) -> tuple[Shape, dict[str, str]]:
    """A shape and the values for it as they may be shown to others: with an unsubscribe link that nobody is behind.

    A shape of one learner alone, and what a template makes of the link, hold the learner's own.
    """
    html = shape.html.replace(theirs, nobodys).replace(escape(theirs), nobodys)
    shown = shape._replace(html=html, text=shape.text.replace(theirs, nobodys))
    return shown, {field: value.replace(theirs, nobodys) for field, value in values.items()}
