"""What a template computes from personal values, kept so that it can be computed again for somebody else.

An expression has words as a template would write them, for people, and a key that is equal for equal computations, for
machines. The functions in it are Jinja's own: nothing is imitated, so the outcome is that of a plain render.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import jinja2
from markupsafe import Markup, escape

from mmcampaign.shapes import DERIVED_MARK

Values = Mapping[str, str]

_LONGEST_WORDS = 60
_PLAIN = (str, int, float, type(None))
_HEX_LETTERS = str.maketrans("0123456789abcdef", "abcdefghijklmnop")


class UntraceableError(Exception):
    """A template does something with a personal value that cannot be done again for others. Its text, in words of the
    template, goes into a report; it holds no personal value."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Expression:
    """Something computed from the personal values ``fields``; ``compute`` raises what the template would raise."""

    words: str
    key: str
    fields: tuple[str, ...]
    compute: Callable[[Values], Any]
    parts: tuple["Expression", ...] = ()
    simple: bool = True  # its words need no brackets in a longer expression

    @property
    def is_field(self) -> bool:
        """Whether it is a personal value itself, and so a clean text."""
        return self.words == self.key and self.fields == (self.key,)

    @property
    def bracketed(self) -> str:
        return self.words if self.simple else f"({self.words})"


def field(name: str) -> Expression:
    """The personal value ``name`` itself."""
    return Expression(words=name, key=name, fields=(name,), compute=itemgetter(name))


def constant(value: Any) -> Expression:
    """A shared value or a literal. Raises UntraceableError for what has no lasting form."""
    if isinstance(value, jinja2.Undefined):
        shown = "(undefined)"
    elif isinstance(value, _PLAIN):
        shown = repr(value)
    else:
        raise UntraceableError(f"a value of type {type(value).__name__} is used with a personal value")
    words = shown if len(shown) <= _LONGEST_WORDS else f"{shown[:_LONGEST_WORDS]}…"
    return Expression(words=words, key=shown, fields=(), compute=lambda _: value)


def sequence(entries: Sequence[Expression], kind: type[list[Any]] | type[tuple[Any, ...]]) -> Expression:
    """A list or a tuple of expressions; ``kind`` is ``list`` or ``tuple``."""
    return Expression(
        words=f"[{', '.join(entry.words for entry in entries)}]",
        key=f"{kind.__name__}[{', '.join(entry.key for entry in entries)}]",
        fields=_fields(entries),
        compute=lambda values: kind(entry.compute(values) for entry in entries),
        parts=tuple(entries),
    )


def mapping(entries: Mapping[str, Expression]) -> Expression:
    """A dictionary with constant keys."""
    return Expression(
        words=f"{{{', '.join(f'{key}: {entry.words}' for key, entry in entries.items())}}}",
        key=f"{{{', '.join(f'{key!r}: {entry.key}' for key, entry in entries.items())}}}",
        fields=_fields(tuple(entries.values())),
        compute=lambda values: {key: entry.compute(values) for key, entry in entries.items()},
        parts=tuple(entries.values()),
    )


def text_of(pieces: Sequence[tuple[str | Expression, bool]], *, markup: bool) -> Expression:
    """A text with values in it: literal pieces, and expressions with whether they stand escaped."""
    expressions = tuple(piece for piece, _ in pieces if isinstance(piece, Expression))

    def compute(values: Values) -> str:
        text = "".join(
            piece if isinstance(piece, str) else str((escape if escaped else str)(piece.compute(values)))
            for piece, escaped in pieces
        )
        return Markup(text) if markup else text  # noqa: S704  # each piece is escaped, or was markup before

    keys = [(piece if isinstance(piece, str) else (piece.key, escaped)) for piece, escaped in pieces]
    return Expression(
        words=f"the text with {' and '.join(dict.fromkeys(each.words for each in expressions))}",
        key=f"{'markup' if markup else 'text'} {keys!r}",
        fields=_fields(expressions),
        compute=compute,
        parts=expressions,
        simple=False,
    )


def applied(
    function: Callable[..., Any], arguments: Expression, named: Expression, *, words: str, key: str
) -> Expression:
    """What ``function`` gives for a tuple and a dictionary of arguments. ``key`` names the function, and whatever else
    its outcome depends on."""
    return Expression(
        words=words,
        key=f"{key}({arguments.key}, {named.key})",
        fields=tuple(dict.fromkeys(arguments.fields + named.fields)),
        compute=_calling(function, arguments, named),
        parts=(arguments, named),
        simple=False,
    )


def _calling(function: Callable[..., Any], arguments: Expression, named: Expression) -> Callable[[Values], Any]:
    """The call. Most often only its first argument is a person's, and the others are made once."""
    first, *others = arguments.parts
    if named.fields or any(each.fields for each in others):
        return lambda values: function(*arguments.compute(values), **named.compute(values))
    compute, rest, by_name = first.compute, tuple(each.compute({}) for each in others), named.compute({})
    if by_name:
        return lambda values: function(compute(values), *rest, **by_name)
    return lambda values: function(compute(values), *rest)


def entry_of(whole: Expression, place: int) -> Expression:
    """The entry at a place of what ``whole`` gives when it is gone through."""
    return Expression(
        words=f"{whole.bracketed}[{place}]",
        key=f"entry({whole.key}, {place})",
        fields=whole.fields,
        compute=lambda values: list(whole.compute(values))[place],
        parts=(whole,),
    )


def derived_name(expression: Expression, *, unescaped: bool) -> str:
    """The name under which the printed value is kept: the field it comes from, and a digest of what is done to it."""
    if expression.is_field:
        return expression.key
    digest = hashlib.sha256(f"{expression.key} {unescaped}".encode()).hexdigest()[:10]
    return f"{expression.fields[0]}{DERIVED_MARK}{digest.translate(_HEX_LETTERS)}"


def everything_in(expression: Expression) -> set[int]:
    """The identities of an expression and of all that it is made of."""
    found, waiting = set[int](), [expression]
    while waiting:
        each = waiting.pop()
        if id(each) not in found:
            found.add(id(each))
            waiting += each.parts
    return found


def _fields(expressions: Sequence[Expression]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for each in expressions for name in each.fields))
