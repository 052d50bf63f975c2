"""One traced render: values that print tokens and note every decision made on them.

A `Traced` value stands for a personal value, or for what a template computed from one. The operations of a template
reach it through the hooks of `hooks.py`; each gives another `Traced` value. Where a template has to know (is it true,
how many letters, is there anything to print), the trace asks a `Question`, answers it for the learner at hand and notes
both. Whatever comes by another way is refused with UntraceableError, and the learner is rendered plainly.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Never

import jinja2
from markupsafe import Markup, escape

from mmcampaign.merge.expressions import (
    Expression,
    UntraceableError,
    applied,
    constant,
    derived_name,
    entry_of,
    everything_in,
    field,
    mapping,
    sequence,
    text_of,
)
from mmcampaign.merge.page import LINK_FIELDS
from mmcampaign.merge.questions import Answer, Form, Question, printed_form, require_one_way, template_place, told_form
from mmcampaign.shapes import MARK, Place, Token, split, tokens, with_places

_RESULTS = (str, int, float, type(None), list, tuple, dict, jinja2.Undefined)


class Trace:
    """What one render for one learner did with personal values."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self.path: list[tuple[Question, Answer]] = []
        self.found: dict[str, str] = {}
        self._values = values
        self._answers: dict[str, Answer] = {}
        self._printed: dict[str, tuple[Expression, str, int]] = {}  # by name, with the place of the first time
        self._computed: list[Expression] = []

    def personal(self) -> dict[str, "Traced"]:
        """The personal values as the template is given them."""
        return {name: Traced(field(name), self) for name in self._values}

    def unasked(self) -> tuple[Expression, ...]:
        """What was computed and then not used: for somebody else it may fail, as a plain render would."""
        used = set[int]()
        for question, _ in self.path:
            used |= everything_in(question.about)
        return tuple(each for each in self._computed if id(each) not in used)

    def printed(self, token: Token) -> str:
        """What a token stands for and where it was printed, in words. Raises UntraceableError for one not of ours."""
        if token.field not in self._printed:
            raise UntraceableError("something that looks like a token stands in the template or its shared values")
        expression, file, line = self._printed[token.field]
        return f"{file}, line {line}: {expression.words}"

    def now(self, function: Callable[..., Any], value: "Traced", *more: Any) -> Any:
        """What ``function`` gives for the learner at hand, without noting it."""
        return function(value.expression.compute(self._values), *more)

    # ---- operations

    def apply(
        self,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        named: Mapping[str, Any],
        *,
        words: str,
        key: str,
    ) -> "Traced":
        """What ``function`` gives for arguments some of which are traced, computed at once: it may fail.

        ``words`` shows the first two arguments in place of ``{0}`` and ``{1}``, all but the first for ``{rest}``.
        """
        lifted = [self.lift(argument) for argument in arguments]
        by_name = {name: self.lift(argument) for name, argument in named.items()}
        rest = [each.words for each in lifted[1:]] + [f"{name}={each.words}" for name, each in by_name.items()]
        shown = words.format(*(each.bracketed for each in lifted), rest=", ".join(rest))
        return self._result(applied(function, sequence(lifted, tuple), mapping(by_name), words=shown, key=key))

    def _result(self, expression: Expression) -> "Traced":
        if not isinstance(expression.compute(self._values), _RESULTS):
            raise UntraceableError(f"{expression.words} gives something that cannot be followed")
        self._computed.append(expression)
        return Traced(expression, self)

    def lift(self, value: Any) -> Expression:
        """The expression behind a value: traced itself, a text with tokens in it, or a list of such."""
        if isinstance(value, Traced):
            return value.expression
        if isinstance(value, str) and MARK in value:
            return self._text(value)
        if isinstance(value, list | tuple):
            return sequence([self.lift(entry) for entry in value], list if isinstance(value, list) else tuple)
        if isinstance(value, dict) and all(isinstance(key, str) for key in value):
            return mapping({key: self.lift(entry) for key, entry in value.items()})
        return constant(value)

    def _text(self, value: str) -> Expression:
        pieces = [
            (self._core(Token.read(piece)), piece[3] == Place.HTML) if place % 2 else (piece, False)
            for place, piece in enumerate(split(require_one_way(str(value), markup=isinstance(value, Markup))))
        ]
        return text_of(pieces, markup=isinstance(value, Markup))

    def _core(self, token: Token) -> Expression:
        self.printed(token)
        return self._printed[token.field][0]

    def is_markup(self, expression: Expression) -> bool:
        """Whether it is markup for the learner at hand; printing it notes that."""
        return hasattr(expression.compute(self._values), "__html__")

    # ---- decisions

    def true(self, expression: Expression) -> bool:
        """Whether it is true, for ``if``, ``and``, ``or`` and ``not``."""
        return bool(
            self._ask(
                f"truth of {expression.key}",
                expression,
                lambda values, _: bool(expression.compute(values)),
                lambda answer: "yes" if answer else "no",
            )
        )

    def entries(self, expression: Expression) -> list["Traced"]:
        """What comes out when it is gone through: how many entries there are is a decision, they are not."""
        length = self._ask(
            f"length of {expression.key}",
            expression,
            lambda values, _: len(list(expression.compute(values))),
            str,
            words=f"length of {expression.bracketed}",
        )
        assert isinstance(length, int)
        return [self._result(entry_of(expression, place)) for place in range(length)]

    def print(self, expression: Expression, place: Place) -> str:
        """A token for it, with the spaces around; nothing where nothing is printed."""
        name, form = self._present(expression) if expression.is_field else self._formed(expression, place)
        if form is None:
            raise UntraceableError(f"{expression.words} comes out with markup, line breaks or control characters")
        lead, present, trail, _ = form
        if present:
            core = field(name) if expression.is_field else _core_of(expression, place)
            self._printed.setdefault(name, (core, *template_place()))
            return f"{lead}{Token(field=name, place=place).text}{trail}"
        return lead

    def _present(self, expression: Expression) -> tuple[str, Form]:
        name = expression.key
        present = self._answers.get(f"truth of {name}")
        if present is None:
            present = self._ask(
                f"print of {name}", expression, lambda values, _: bool(values[name]), lambda yes: "" if yes else "empty"
            )
        return name, ("", bool(present), "", False)

    def _formed(self, expression: Expression, place: Place) -> tuple[str, Form]:
        """The name and the form of what is printed."""
        if LINK_FIELDS.intersection(expression.fields):  # a preview could not take the living link out of it again
            raise UntraceableError(f"{expression.words} changes the unsubscribe link")
        names = [derived_name(expression, unescaped=unescaped) for unescaped in (False, True)]

        def ask(values: Mapping[str, str], found: dict[str, str]) -> Answer:
            core, form = printed_form(expression.compute(values), place)
            if form is not None and form[1]:
                found[names[form[3] and place is Place.HTML]] = core
            return form

        known = (self._answers.get(f"print of {expression.key} in {each}") for each in Place)
        form = next(
            (each for each in known if isinstance(each, tuple) and not each[3]), None
        )  # no markup: as well here
        if form is None:
            answer = self._ask(f"print of {expression.key} in {place}", expression, ask, told_form)
            form = answer if isinstance(answer, tuple) else None
        return names[bool(form and form[3] and place is Place.HTML)], form

    def _ask(
        self,
        key: str,
        expression: Expression,
        ask: Callable[[Mapping[str, str], dict[str, str]], Answer],
        told: Callable[[Answer], str],
        *,
        words: str = "",
    ) -> Answer:
        if key not in self._answers:
            file, line = template_place()
            answer = ask(self._values, self.found)
            question = Question(
                key=key, words=words or expression.words, file=file, line=line, ask=ask, told=told, about=expression
            )
            self.path.append((question, answer))
            self._answers[key] = answer
        return self._answers[key]


def _core_of(expression: Expression, place: Place) -> Expression:
    """What stands in the token's place, for a text that was printed into and is then worked on."""
    return applied(
        lambda value: printed_form(value, place)[0],
        sequence([expression], tuple),
        mapping({}),
        words=expression.words,
        key=f"printed in {place}",
    )


class Traced:
    """A personal value, or what was computed from some, during a traced render."""

    __slots__ = ("expression", "trace")

    def __init__(self, expression: Expression, trace: Trace) -> None:
        self.expression, self.trace = expression, trace

    def __bool__(self) -> bool:
        return self.trace.true(self.expression)

    def __iter__(self) -> Iterator["Traced"]:
        return iter(self.trace.entries(self.expression))

    def __getitem__(self, place: slice) -> "Traced":  # slices do not come by way of the environment
        bounds = ("" if bound is None else str(bound) for bound in (place.start, place.stop))
        step = "" if place.step is None else f":{place.step}"
        key = f"[{':'.join(bounds)}{step}]"
        return self.trace.apply(lambda value: value[place], (self,), {}, words=f"{{0}}{key}", key=key)

    def _refused(self, *_: object) -> Never:
        raise UntraceableError(f"{self.expression.words} is used in a way that cannot be followed")

    __str__ = __repr__ = __hash__ = __eq__ = __ne__ = __format__ = _refused


class Printed:
    """A traced value about to be printed; the compiled template says by ``str`` or ``escape`` into what."""

    def __init__(self, expression: Expression, trace: Trace) -> None:
        self._expression, self._trace = expression, trace

    def __html__(self) -> str:
        return self._trace.print(self._expression, Place.HTML)

    def __str__(self) -> str:
        return self._trace.print(self._expression, Place.TEXT)


class PrintedText:
    """A plain text with tokens in it about to be printed: in HTML, what they stand for is escaped like the rest."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __html__(self) -> str:
        if any(token.place is Place.HTML for token in tokens(self._text)):
            raise UntraceableError("a text is escaped twice")
        return with_places(str(escape(self._text)), Place.HTML)

    def __str__(self) -> str:
        return self._text


def is_traced(value: Any) -> bool:
    """Whether a value is traced, is a text with tokens in it, or holds one that is, however deep."""
    if isinstance(value, str):
        return MARK in value
    if isinstance(value, Traced):
        return True
    if not isinstance(value, Collection) or isinstance(value, bytes | jinja2.Undefined):
        return False
    return any(map(is_traced, [*value.keys(), *value.values()] if isinstance(value, Mapping) else value))
