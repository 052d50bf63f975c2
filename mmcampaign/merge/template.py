"""One template, frozen as it was read: merging for a person, and the shapes that many share.

A template is traced (`tracing.py`) for the first person of an unseen path through its decisions; CSS is inlined once
for each shape. What cannot be traced is rendered plainly and inlined for each such person alone: correct, slow, told.
"""

import hashlib
import json
import re
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jinja2

from mmcampaign.context import MergeContext
from mmcampaign.errors import TemplateError
from mmcampaign.merge.environment import Environment, merge_values
from mmcampaign.merge.expressions import UntraceableError
from mmcampaign.merge.hooks import TracingEnvironment, tracing
from mmcampaign.merge.page import OUTSIDE_STYLES, InliningError, inline, standing, with_safe_conditionals
from mmcampaign.merge.paths import Choice, Leaf, Tree, choices
from mmcampaign.merge.tracing import Trace
from mmcampaign.model import Shape
from mmcampaign.shapes import DERIVED_MARK, clean, one_line, tokens, without_tokens

MOST_SHAPES = 2_000  # kept in memory; only a template that splits people all the time has more
CONFIG = "config.toml"  # where a configured subject stands

_COMPUTING_ERRORS = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
_ERRORS = (jinja2.TemplateError, UntraceableError, *_COMPUTING_ERRORS)
_NOBODY: Mapping[str, str] = {}
_Parts = tuple[str, str, str]


@dataclass(frozen=True, kw_only=True)
class Merged:
    """A recipient's shape and the values that fill it: the personal ones, and those ``derived`` from them.

    ``choices`` are the decisions that lead to the shape. ``shared`` is false for a render of that person alone, whose
    shape has no tokens; ``reason`` says why, with the template's line.
    """

    shape: Shape
    values: Mapping[str, str]
    shared: bool
    derived: Mapping[str, str] = field(default_factory=dict)
    choices: tuple[Choice, ...] = ()
    reason: str = ""


class Template:
    """One template, frozen as it was read. ``files`` are its sources by name; ``digest`` is the SHA-256 over them and
    the configured subject, where that is used. ``alone`` counts who was rendered alone so far, by reason."""

    def __init__(self, name: str, files: Mapping[str, str], parts: _Parts, subject: str = "") -> None:
        self.name = name
        self.files = files
        self.digest = _digest([subject, *sorted(files.items())])
        self.alone: Counter[str] = Counter()
        self._parts = parts
        self._sources = {**files, CONFIG: subject} if subject else files
        with self._explained():
            self._traced = [*map(TracingEnvironment(self._sources).get_template, parts)]
        self._trees: dict[str, Tree] = {}
        self._shapes: dict[str, Shape] = {}

    def merge(self, context: MergeContext, personal: Mapping[str, str]) -> Merged:
        """The email for one recipient. ``personal`` maps dotted field names to plain values.

        Raises ``TemplateError``, with part and line, when the template cannot be merged with these values.
        """
        values = {name: clean(value) for name, value in personal.items() if DERIVED_MARK not in name}
        tree = self._trees.get(context.digest)
        if tree is None:
            tree = self._trees[context.digest] = Tree()
        derived: dict[str, str] = {}
        try:
            leaf = tree.leaf(values, derived) or self._trace(tree, context, values, derived)
            reason = leaf.reason or _unlike(leaf, values, derived)
        except _ERRORS as error:
            reason = self._told(error)
        if reason:
            return self._alone(context, values, reason)
        assert leaf.shape is not None
        return Merged(shape=leaf.shape, values=values | derived, shared=True, derived=derived, choices=leaf.choices)

    def _alone(self, context: MergeContext, values: Mapping[str, str], reason: str) -> Merged:
        with self._explained(values):
            parts = self._rendered(self._plain, context, values)
        shape = self._shape(*map(without_tokens, parts))
        self.alone[reason] += 1
        return Merged(shape=shape, values=values, shared=False, reason=reason)

    def _trace(self, tree: Tree, context: MergeContext, values: Mapping[str, str], derived: dict[str, str]) -> Leaf:
        """The leaf for one more path, which is kept. Raises UntraceableError where there is no room for another, and
        whatever the template raises."""
        if crowded := tree.crowded():
            raise UntraceableError(crowded)
        trace = Trace(values)
        try:
            leaf = self._shared_leaf(trace, context)
        except UntraceableError as error:
            leaf = Leaf(shape=None, reason=self._told(error))
        tree.add(trace.path, leaf)
        derived.update(trace.found)
        return leaf

    def _shared_leaf(self, trace: Trace, context: MergeContext) -> Leaf:
        with tracing(trace):
            parts = self._rendered(self._traced, context, trace.personal())
        stand = standing(*parts)
        where = {token.field: trace.printed(token) for part in parts for token in tokens(part)}
        if stand.ill:
            raise UntraceableError(f"{where[stand.ill[0].field]} stands where the page could change with it")
        return Leaf(
            shape=self._kept(parts),
            choices=choices(trace.path),
            required=tuple(
                (name, pattern, f"{where[name]} has signs that a link or a comment changes")
                for name, pattern in stand.required
            ),
            unasked=trace.unasked(),
        )

    def _kept(self, parts: _Parts) -> Shape:
        key = _digest([*parts])  # many contexts come out the same; inlining is the dear step
        if key not in self._shapes:
            if len(self._shapes) >= MOST_SHAPES:
                raise UntraceableError(f"there are more than {MOST_SHAPES} forms of this email")
            self._shapes[key] = self._shape(*parts)
        return self._shapes[key]

    @cached_property
    def _plain(self) -> list[jinja2.Template]:
        """The parts as Jinja alone renders them, for people who are rendered alone."""
        return [*map(Environment(self._sources).get_template, self._parts)]

    @staticmethod
    def _rendered(templates: Sequence[jinja2.Template], context: MergeContext, personal: Mapping[str, Any]) -> _Parts:
        values = merge_values(context.values, personal)
        subject, html, text = (part.render(values) for part in templates)
        return one_line(subject), with_safe_conditionals(html), _tidy(text)

    def _shape(self, subject: str, html: str, text: str) -> Shape:
        if not subject:
            raise self._error("the subject comes out empty", self._parts[0], todo="every email needs a subject")
        if OUTSIDE_STYLES.search(html):
            raise self._error(
                "asks for a style sheet from elsewhere, which mail programs do not load",
                *_first_match(OUTSIDE_STYLES, self._sources),
                todo="put the rules into a <style> element",
            )
        try:
            html = inline(html)
        except InliningError as error:
            raise self._error(f"its CSS cannot be inlined ({error})", self._parts[1]) from None
        return Shape(digest=_digest([subject, html, text]), subject=subject, html=html, text=text)

    @contextmanager
    def _explained(self, values: Mapping[str, str] = _NOBODY) -> Iterator[None]:
        """Whatever Jinja raises becomes a ``TemplateError`` with its place. No personal value gets into its text."""
        try:
            yield
        except jinja2.TemplateError as error:
            missing = isinstance(error, jinja2.TemplateNotFound)
            problem = f"there is no file {error.message}" if missing else str(error.message)
            if any(value in problem and not self._says(value) for value in values.values() if value):
                problem = "a personal value is used as the name of something that does not exist"
            raise self._error(problem, *_place(error, self._sources)) from (None if values else error)
        except _COMPUTING_ERRORS as error:
            problem = f"an expression cannot be computed ({type(error).__name__})"
            raise self._error(problem, *_place(error, self._sources)) from None

    def _says(self, words: str) -> bool:
        """Whether these are the template's own words."""
        return any(words in source for source in self._sources.values())

    def _told(self, error: Exception) -> str:
        """Why somebody is rendered alone, in words that hold no personal value."""
        why = (
            str(error)
            if isinstance(error, UntraceableError)
            else f"what it does cannot be followed ({type(error).__name__})"
        )
        file, line = _place(error, self._sources)
        return f"{file}, line {line}: {why}" if file else why

    def _error(self, problem: str, source: str, line: int = 0, *, todo: str = "") -> TemplateError:
        where = f"{source or self.name}, line {line}" if line else source or self.name
        return TemplateError(
            f"{where}: {problem.rstrip('.')}.",
            part=source.removeprefix(f"{self.name}/"),
            line=line,
            unchanged="nothing was merged with this template",
            todo=todo or "mend the template, then try again",
        )


def _place(error: BaseException, sources: Mapping[str, str]) -> tuple[str, int]:
    """The template file and line an error comes from: Jinja rewrites tracebacks to point into templates."""
    if isinstance(error, jinja2.TemplateSyntaxError):
        return error.name or "", error.lineno
    frames = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    return next((place for place in reversed(frames) if place[0] in sources), ("", 0))


def _first_match(pattern: re.Pattern[str], sources: Mapping[str, str]) -> tuple[str, int]:
    found = ((name, content, pattern.search(content)) for name, content in sources.items())
    return next(((name, content.count("\n", 0, match.end()) + 1) for name, content, match in found if match), ("", 0))


def _unlike(leaf: Leaf, values: Mapping[str, str], derived: Mapping[str, str]) -> str:
    """Why a leaf's shape is not for these values after all; empty when it is. Raises what a plain render would."""
    for expression in leaf.unasked:
        expression.compute(values)
    for name, pattern, reason in leaf.required:
        if not pattern.fullmatch(derived[name] if name in derived else values[name]):
            return reason
    return ""


def _digest(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _tidy(text: str) -> str:
    """A text part without trailing spaces and without more than one empty line in a row."""
    text = re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)
    return re.sub(r"\n{3,}", "\n\n", text).strip("\n") + "\n"
