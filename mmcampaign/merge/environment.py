"""The Jinja that emails are written in: strict and sandboxed, with errors that say what is meant."""

import re
from collections.abc import Iterator, Mapping
from datetime import date
from difflib import get_close_matches
from typing import Any

import jinja2
from jinja2.loaders import FunctionLoader
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing

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


_IN_MEMORY = re.compile(r"<.+ at 0x[0-9a-f]+>")  # how Python shows an object that has no words


def _words(value: Any) -> Any:
    """What is about to be printed. Raises where it is an object without words, such as a list that is still to be made
    (``| map``, ``| reverse``) or a method without ``()``: everybody would read its address in memory."""
    kind: Any = type(value)
    wordless = kind.__str__ is object.__str__ and kind.__repr__ is object.__repr__
    unmade = isinstance(value, Iterator) or (callable(value) and not isinstance(value, jinja2.Undefined))
    if wordless or unmade or (isinstance(value, list | tuple | dict) and _IN_MEMORY.search(str(value))):
        raise jinja2.TemplateRuntimeError(
            f"what is printed here has no words ({kind.__name__}); a list needs | join(', ') and a method needs ()"
        )
    return value


class Environment(ImmutableSandboxedEnvironment):
    """Strict and sandboxed Jinja over the given sources."""

    def __init__(self, sources: Mapping[str, str]) -> None:
        super().__init__(
            loader=FunctionLoader(lambda name: (sources[name], name, None) if name in sources else None),
            undefined=_Undefined,
            finalize=_words,
            autoescape=lambda name: bool(name and name.endswith(".html")),
            cache_size=-1,
        )
        self.filters["long_date"] = long_date
