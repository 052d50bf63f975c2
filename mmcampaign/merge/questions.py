"""What a template has to know of a person, asked of one learner and then of others."""

import html
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import escape

from mmcampaign.merge.expressions import Expression, UntraceableError
from mmcampaign.shapes import Place, clean, tokens

# How something is printed: spaces before it, whether it is there at all, spaces after it, whether it is markup.
# None: in a way that no token can stand for.
Form = tuple[str, bool, str, bool] | None
Answer = bool | int | Form


@dataclass(frozen=True, kw_only=True, eq=False)
class Question:
    """Something that a template has to know of a person, and the file and line where it first does.

    ``ask`` answers it from personal values, and notes derived values as it meets them; ``told`` puts an answer into
    words, empty where it is not worth telling.
    """

    key: str
    words: str
    file: str
    line: int
    ask: Callable[[Mapping[str, str], dict[str, str]], Answer]
    told: Callable[[Answer], str]
    about: Expression


def printed_form(value: Any, place: Place) -> tuple[str, Form]:
    """What is printed without its outer spaces, and its form. What depends on the text around it or changes that has
    none: line breaks, doubled spaces, markup other than escaped text."""
    markup = hasattr(value, "__html__")
    text = str(value)
    if markup and place is Place.HTML:
        unescaped = html.unescape(text)
        if str(escape(unescaped)) != text:
            return "", None
        text = unescaped
    core = text.strip(" ")
    if clean(core) != core:
        return "", None
    lead, _, trail = text.partition(core) if core else (text, "", "")
    return core, (lead, bool(core), trail, markup)


def told_form(answer: Answer) -> str:
    if not isinstance(answer, tuple):
        return "not plain text"
    lead, present, trail, _ = answer
    return ("with outer spaces" if lead or trail else "") if present else "empty"


def require_one_way(text: str, *, markup: bool) -> str:
    """The text itself, unless nobody can tell whether what its tokens stand for is to be escaped: markup holding
    unescaped tokens comes from a macro of a text file, or from joining a plain text with markup."""
    if markup and any(token.place is Place.TEXT for token in tokens(text)):
        raise UntraceableError("a plain text becomes markup")
    return text


def template_place() -> tuple[str, int]:
    """The template file and line that is being rendered."""
    frame = sys._getframe()
    while (caller := frame.f_back) is not None:
        template = caller.f_globals.get("__jinja_template__")
        if template is not None:
            return template.name or "", template.get_corresponding_lineno(caller.f_lineno)
        frame = caller
    return "", 0
