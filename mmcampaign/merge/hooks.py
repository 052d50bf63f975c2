"""The environment of traced renders: every operation of a template goes through a hook that sees traced values.

Jinja lets filters, tests, calls, attributes and arithmetic be replaced; for the rest (comparisons, joining with ``~``,
loops, slices, printing) a hook is compiled into the template. Where nothing personal is involved a hook does what Jinja
does. Where something is, it gives a traced value for which Jinja's own function is run, now and for everybody later.
"""

import operator
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from types import BuiltinMethodType
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.nodes import EvalContext
from jinja2.runtime import Context, Macro
from jinja2.sandbox import SandboxedEnvironment, safe_range
from jinja2.utils import Namespace
from markupsafe import Markup

from mmcampaign.merge.environment import Environment
from mmcampaign.merge.expressions import UntraceableError
from mmcampaign.merge.rewriting import Rewriter
from mmcampaign.merge.tracing import Printed, PrintedText, Trace, Traced, is_traced
from mmcampaign.shapes import MARK, Place

_COMPARISONS: Mapping[str, tuple[str, Callable[[Any, Any], Any]]] = {
    "eq": ("==", operator.eq),
    "ne": ("!=", operator.ne),
    "lt": ("<", operator.lt),
    "lteq": ("<=", operator.le),
    "gt": (">", operator.gt),
    "gteq": (">=", operator.ge),
    "in": ("in", lambda one, other: one in other),
    "notin": ("not in", lambda one, other: one not in other),
}
_ALWAYS_KNOWN = frozenset({"defined", "undefined", "none", "string"})  # of a personal value itself
_PASSING_ON = (dict, Namespace)  # keep what they are given, as it is
_OF_JINJA = frozenset({"_loop_vars", "_block_vars"})  # what its compiler adds to the arguments of a call
_TRACE: ContextVar[Trace] = ContextVar("trace")


@contextmanager
def tracing(trace: Trace) -> Iterator[None]:
    """Renders inside belong to this trace."""
    token = _TRACE.set(trace)
    try:
        yield
    finally:
        _TRACE.reset(token)


class TracingEnvironment(Environment):
    """`Environment`, with a hook at each operation. To be rendered with inside ``with tracing(…)``."""

    intercepted_binops = frozenset(SandboxedEnvironment.default_binop_table)
    intercepted_unops = frozenset(SandboxedEnvironment.default_unop_table)

    def __init__(self, sources: Mapping[str, str]) -> None:
        super().__init__(sources)
        self.filters = {name: _hooked(self, name, each, "|") for name, each in self.filters.items()} | HOOKS
        self.tests = {name: _hooked(self, name, each, "is") for name, each in self.tests.items()}

    def _generate(self, source: nodes.Template, *args: Any, **kwargs: Any) -> str:
        return super()._generate(Rewriter(self).visit(source), *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        function = self.binop_table[operator]
        if is_traced(left) or is_traced(right):
            return _TRACE.get().apply(function, (left, right), {}, words=f"{{0}} {operator} {{1}}", key=operator)
        return function(left, right)

    def call_unop(self, context: Context, operator: str, arg: Any) -> Any:
        function = self.unop_table[operator]
        if is_traced(arg):
            return _TRACE.get().apply(function, (arg,), {}, words=f"{operator}{{0}}", key=f"unary {operator}")
        return function(arg)

    def getitem(self, obj: Any, argument: Any) -> Any:
        owner = _traced_text(obj)
        if isinstance(owner, Traced) or is_traced(argument):
            return _TRACE.get().apply(super().getitem, (owner, argument), {}, words="{0}[{1}]", key="item")
        return super().getitem(obj, argument)

    def getattr(self, obj: Any, attribute: str) -> Any:
        owner = _traced_text(obj)
        if not isinstance(owner, Traced):
            return super().getattr(obj, attribute)
        found = owner.trace.now(self.plain_getattr, owner, attribute)
        if callable(found) and not isinstance(found, jinja2.Undefined):
            return _Attribute(self, owner, attribute)
        return owner.trace.apply(
            self.plain_getattr, (owner, attribute), {}, words=f"{{0}}.{attribute}", key="attribute"
        )

    def plain_getattr(self, obj: Any, attribute: str) -> Any:
        return super().getattr(obj, attribute)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        own = {name: value for name, value in kwargs.items() if name not in _OF_JINJA}
        if isinstance(__obj, _Attribute):
            return __obj.called(args, own)
        # Macros only pass values on, and their own operations are hooked.
        passing_on = isinstance(__obj, Macro) or any(__obj is each for each in _PASSING_ON)
        if not passing_on and is_traced([args, own]):
            return _called(__self, __obj, args, own)
        return super().call(__context, __obj, *args, **kwargs)


def _hooked(environment: Environment, name: str, function: Any, sign: str) -> Callable[..., Any]:
    """A filter or a test behind its hook."""
    wanted = getattr(function, "jinja_pass_arg", None)
    passed = "" if wanted is None else wanted.name  # what Jinja puts in front of the arguments
    leading = 1 if passed else 0

    @wraps(function)
    def hook(*args: Any, **kwargs: Any) -> Any:
        given = args[leading:]
        if not is_traced([given, kwargs]):
            return function(*args, **kwargs)
        if passed == "context":  # `random` is one; `map` looks into the template's own names
            _refuse(f"the filter {name} looks at a personal value")
        if isinstance(given[0], Traced) and given[0].expression.is_field:
            if sign == "is" and name in _ALWAYS_KNOWN:
                return function(*args[:leading], "", *given[1:], **kwargs)
            if name in ("default", "d") and not (given[2:] or kwargs.get("boolean")):
                return given[0]
        escaping = bool(args[0].autoescape) if passed == "eval_context" else None
        run = _with_leading(environment, function, escaping) if passed else function
        words = f"{{0}} {sign} {name}" + ("({rest})" if given[1:] or kwargs else "")
        return _TRACE.get().apply(run, given, kwargs, words=words, key=f"{sign} {name}, escaping: {escaping}")

    return hook


def _with_leading(environment: Environment, function: Callable[..., Any], escaping: bool | None) -> Callable[..., Any]:
    """The function with what Jinja passes to it first: the environment, or how texts are escaped."""
    leading: Any = environment
    if escaping is not None:
        leading = EvalContext(environment)
        leading.autoescape = escaping
    return lambda *args, **kwargs: function(leading, *args, **kwargs)


class _Attribute(Traced):
    """A method of a traced value, about to be called. Everything else that is done to it is refused."""

    __slots__ = ("_environment", "_name", "_owner")

    def __init__(self, environment: "TracingEnvironment", owner: Traced, name: str) -> None:
        self.trace = owner.trace
        self._environment, self._owner, self._name = environment, owner, name

    @property
    def expression(self) -> NoReturn:  # type: ignore[override]  # a method by itself stands for no value
        raise UntraceableError(f"the attribute {self._name} is asked of a personal value")

    def called(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Traced:
        """What the method gives. The sandbox is asked again for each person."""
        return _method(self._environment, self._owner, self._name, args, kwargs)


def _method(
    environment: "TracingEnvironment", owner: Any, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Traced:
    def run(owner: Any, *args: Any, **kwargs: Any) -> Any:
        method = environment.plain_getattr(owner, name)
        if not environment.is_safe_callable(method):
            _refuse(f"the method {name} is asked of a personal value")
        return method(*args, **kwargs)

    words, key = f"{{0}}.{name}({{rest}})", f"method {name}"
    return _TRACE.get().apply(run, (owner, *args), kwargs, words=words, key=key)


def _refuse(why: str) -> NoReturn:
    raise UntraceableError(why)


def _called(
    environment: "TracingEnvironment", function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Traced:
    """A call with traced arguments: of `range`, or of a method of a shared text, list or dictionary."""
    if function is safe_range:
        return _TRACE.get().apply(_range_list, args, kwargs, words="range({0})", key="range")
    method = getattr(function, "__wrapped__", function)  # the sandbox wraps `format`
    owner = getattr(method, "__self__", None)
    if not isinstance(method, BuiltinMethodType) or not isinstance(owner, str | list | tuple | dict):
        _refuse("a personal value is passed to a function that may look at it")
    return _method(environment, owner, method.__name__, args, kwargs)


# ---- hooks compiled into templates by `rewriting.py`, under the names at the end


def _traced_text(value: Any) -> Any:
    """A text with tokens in it as a traced value, everything else as it is."""
    if isinstance(value, str) and MARK in value:
        trace = _TRACE.get()
        return Traced(trace.lift(value), trace)
    return value


def _compared(one: Any, other: Any, name: str) -> Any:
    sign, function = _COMPARISONS[name]
    if is_traced(one) or is_traced(other):
        return _TRACE.get().apply(function, (one, other), {}, words=f"{{0}} {sign} {{1}}", key=sign)
    return function(one, other)


def _pairs(value: Any) -> Any:
    """In front of a list whose entries are unpacked."""
    if isinstance(value, list | tuple | dict) and any(isinstance(each, str) and MARK in each for each in value):
        _refuse("a text with a personal value is unpacked")
    return _traced_text(value)


def _untraced(value: Any) -> Any:
    """In front of what is compared in a row (``a < b < c``), or taken apart at two levels."""
    return _refuse("a personal value is compared in a row, or unpacked at two levels") if is_traced(value) else value


def _joined(value: Any) -> Any:
    """In front of what is joined with ``~``: the text it is printed as, escaped already where it is markup."""
    if not isinstance(value, str) and is_traced(value):
        trace = _TRACE.get()
        expression = trace.lift(value)
        if trace.is_markup(expression):
            return Markup(trace.print(expression, Place.HTML))  # noqa: S704  a token: its value is escaped when filled
        return trace.print(expression, Place.TEXT)
    return value


def _printed(value: Any) -> Any:
    """In front of what is printed."""
    if isinstance(value, str):
        if isinstance(value, Markup) or MARK not in value:
            return value
        return PrintedText(value)
    if is_traced(value):
        trace = _TRACE.get()
        return Printed(trace.lift(value), trace)
    return value


HOOKS = {
    "trace_text": _traced_text,
    "trace_compared": _compared,
    "trace_not": _untraced,
    "trace_pairs": _pairs,
    "trace_joined": _joined,
    "trace_printed": _printed,
}


def _range_list(*bounds: int) -> list[int]:
    """The sandbox's bounded range, as a list: a range of values that differ by person is looped over."""
    return list(safe_range(*bounds))
