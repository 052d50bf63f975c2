"""The Jinja that emails are written in: strict, sandboxed, and watching what a template does with personal values.

A personal value that is not empty is a `Personal` while a shape is rendered. It prints its token and is true; a guard
stands in front of each operand of each operation of a template (`_Guards`), and one that meets a personal value, or a
text into which one was printed, raises `InspectedError`. So a render that comes through has not looked at any.
"""

from collections.abc import Collection, Mapping
from datetime import date
from difflib import get_close_matches
from typing import Any, Never

import jinja2
from jinja2 import nodes
from jinja2.loaders import FunctionLoader
from jinja2.runtime import Context, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing
from jinja2.visitor import NodeTransformer

from mmcampaign.shapes import MARK, Place, Token

_MONTHS = "January February March April May June July August September October November December"


def long_date(value: str | date) -> str:
    """``2027-01-20`` as "20 January 2027", whatever the machine's language."""
    day = value if isinstance(value, date) else date.fromisoformat(value)
    return f"{day.day} {_MONTHS.split()[day.month - 1]} {day.year}"


class _Values(dict[str, Any]):
    """Merge values that know where they stand, so that an undefined one can be named in full."""

    def __init__(self, values: Mapping[str, Any], path: str) -> None:
        super().__init__({key: _named(value, f"{path}{key}") for key, value in values.items()})
        self._path = path  # the underscore keeps it out of templates' reach


def _named(value: Any, path: str) -> Any:
    if isinstance(value, Mapping):
        return _Values(value, f"{path}.")
    if isinstance(value, list | tuple):
        return [_named(entry, f"{path}[]") for entry in value]
    return value


def merge_values(shared: Mapping[str, Any], personal: Mapping[str, Any]) -> dict[str, Any]:
    """The tree a template sees: shared values with the personal ones at their dotted places."""
    tree = dict(shared)
    for field, value in personal.items():
        group, _, leaf = field.rpartition(".")
        if group:
            tree[group] = {**tree.get(group, {}), leaf: value}
        else:
            tree[leaf] = value
    return _Values(tree, "")


class _Undefined(jinja2.StrictUndefined):
    """An error wherever it is used, naming the merge value that does not exist and one that does."""

    @property
    def _undefined_message(self) -> str:
        owner, name = self._undefined_obj, str(self._undefined_name)
        if isinstance(owner, _Values):
            near = get_close_matches(name, owner, n=1)
            hint = f"; did you mean {owner._path}{near[0]}?" if near else ""
            return f"there is no merge value {owner._path}{name}{hint}"
        if owner is missing and not self._undefined_hint:
            return f"there is no merge value {name}"
        if owner is None:
            return f"{name} is asked of a value that is none here; put {{% if … %}} around it"
        return super()._undefined_message


class Personal:
    """What a template is given for a personal value that is not empty: it prints its token, and is true."""

    def __init__(self, field: str) -> None:
        self._html = Token(field=field, place=Place.HTML).text
        self._text = Token(field=field, place=Place.TEXT).text

    def __html__(self) -> str:
        return self._html

    def __str__(self) -> str:
        return self._text

    def _inspected(self, *_: object) -> Never:
        raise InspectedError

    __repr__ = __hash__ = __format__ = __eq__ = _inspected


class InspectedError(Exception):
    """A template does more with a personal value than print it."""


class Environment(ImmutableSandboxedEnvironment):
    """Strict and sandboxed Jinja over the given sources, with guards compiled into each template."""

    def __init__(self, sources: Mapping[str, str]) -> None:
        super().__init__(
            loader=FunctionLoader(lambda name: (sources[name], name, None) if name in sources else None),
            undefined=_Undefined,
            autoescape=lambda name: bool(name and name.endswith(".html")),
            cache_size=-1,
        )
        self.filters |= {"long_date": long_date} | _GUARDS

    def _generate(self, source: nodes.Template, *args: Any, **kwargs: Any) -> str:
        return super()._generate(_Guards(self).visit(source), *args, **kwargs)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        # Macros only pass values on, and their own operations are guarded. Anything else could look at them.
        if not isinstance(__obj, Macro):
            _opaque([*args, *kwargs.values()])
        return super().call(__context, __obj, *args, **kwargs)


def _is_personal(value: Any) -> bool:
    """A personal value's stand-in, or a text that one has been printed into."""
    return isinstance(value, Personal) or (isinstance(value, str) and MARK in value)


def _whole(value: Any) -> Any:
    """Guards what is taken apart: a list of personal values may be, such a value may not."""
    if _is_personal(value):
        raise InspectedError
    return value


def _opaque(value: Any) -> Any:
    """Guards what is looked at, however deep."""
    _whole(value)
    if isinstance(value, Collection) and not isinstance(value, str | bytes | jinja2.Undefined):
        for entry in [*value.keys(), *value.values()] if isinstance(value, Mapping) else value:
            _opaque(entry)
    return value


def _printed(value: Any) -> Any:
    """Guards what is printed: a personal value may be, a list of them may not (it would show their quotes)."""
    return value if _is_personal(value) else _opaque(value)


def _escaped(value: Any) -> Any:
    """Guards what is escaped: fine for the value itself, not for plain text it has been printed into."""
    return value if hasattr(value, "__html__") else _opaque(value)


_GUARDS = {"guard_whole": _whole, "guard_opaque": _opaque, "guard_printed": _printed, "guard_escaped": _escaped}


_ARITHMETIC = (nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Pow)
_OPERANDS: dict[type[nodes.Node], dict[str, str]] = {
    nodes.Compare: {"expr": "opaque"},
    nodes.Operand: {"expr": "opaque"},
    nodes.Concat: {"nodes": "opaque"},
    nodes.Neg: {"node": "opaque"},
    nodes.Pos: {"node": "opaque"},
    nodes.Pair: {"key": "opaque"},
    nodes.Slice: {"start": "opaque", "stop": "opaque", "step": "opaque"},
    nodes.Getattr: {"node": "whole"},
    nodes.Getitem: {"node": "whole", "arg": "opaque"},
    nodes.For: {"iter": "whole"},
    nodes.Output: {"nodes": "printed"},
} | {kind: {"left": "opaque", "right": "opaque"} for kind in _ARITHMETIC}
_FILTER_OPERANDS = dict.fromkeys(("node", "args", "kwargs", "dyn_args", "dyn_kwargs"), "opaque")
_HARMLESS_FILTERS = frozenset({"default", "d"})
_HARMLESS_TESTS = frozenset({"defined", "undefined", "none"})


class _Guards(NodeTransformer):
    """Puts a guard in front of each operand of each operation of a template.

    Without a guard remain: printing of the value alone, truth (``if``, ``and``, ``or``, ``not``), naming (``set``,
    ``with``, arguments of macros), ``default``, and asking whether it is defined.
    """

    def __init__(self, environment: jinja2.Environment) -> None:
        self._environment = environment

    def generic_visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> nodes.Node:
        super().generic_visit(node, *args, **kwargs)
        for field, guard in self._operands(node).items():
            operand = getattr(node, field)
            if isinstance(operand, list):
                setattr(node, field, [self._guarded(entry, guard) for entry in operand])
            elif operand is not None or (field == "node" and isinstance(node, nodes.Filter)):
                setattr(node, field, self._guarded(operand, guard, node.lineno))
        return node

    def _operands(self, node: nodes.Node) -> Mapping[str, str]:
        if isinstance(node, nodes.Filter | nodes.Test):
            if node.name in (_HARMLESS_FILTERS if isinstance(node, nodes.Filter) else _HARMLESS_TESTS):
                return {}
            return {"node": "escaped"} if node.name in ("e", "escape") else _FILTER_OPERANDS
        if isinstance(node, nodes.For | nodes.Assign) and isinstance(node.target, nodes.Tuple):
            return {"iter" if isinstance(node, nodes.For) else "node": "opaque"}  # it is unpacked
        return _OPERANDS.get(type(node), {})

    def _guarded(self, operand: Any, guard: str, lineno: int = 0) -> Any:
        """The operand behind a guard. No operand at all: a filter's block of text (``{% filter upper %}``)."""
        if isinstance(operand, nodes.Keyword):
            operand.value = self._guarded(operand.value, guard)
            return operand
        if isinstance(operand, nodes.Const | nodes.TemplateData | nodes.Slice):
            return operand
        line = operand.lineno if operand is not None else lineno
        return nodes.Filter(operand, f"guard_{guard}", [], [], None, None, lineno=line, environment=self._environment)
