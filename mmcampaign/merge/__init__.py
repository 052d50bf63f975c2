"""Templates and merging: strict, sandboxed Jinja, then CSS inlining, once for each shape and not for each person.

A template is rendered with tokens where personal values go (`shapes.py`) and inlined; whoever has the same shared
values, and the same personal values empty, gets that shape with other words filled in. This is right only while the
template does nothing with a personal value but print it or ask whether it is there. Every other operation is therefore
guarded (`environment.py`): one that meets a personal value gives the shared shape up, and each of those recipients is
rendered and inlined alone. The outcome is always that of a plain render; only its cost differs.
"""

import hashlib
import json
import re
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from jinja2 import meta
from jinja2.loaders import split_template_path

from mmcampaign.context import MergeContext
from mmcampaign.errors import TemplateError
from mmcampaign.merge.environment import Environment, InspectedError, Personal, merge_values
from mmcampaign.merge.page import (
    LINK,
    LINK_FIELDS,
    OUTSIDE_STYLES,
    InliningError,
    inline,
    tokens_stand_well,
    with_safe_conditionals,
)
from mmcampaign.model import Shape
from mmcampaign.shapes import clean, one_line

SUBJECT, HTML, TEXT = "subject.txt", "body.html", "body.txt"
_CONFIG = "config.toml"  # where a configured subject stands
_ORIGINAL = "default:"  # a site's file extends ours of the same name: {% extends "default:engy/body.html" %}
_COMPUTING_ERRORS = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


@dataclass(frozen=True, kw_only=True)
class Merged:
    """A recipient's shape and the personal values that fill it. ``shared`` is false for a render of that person alone,
    whose shape has no tokens."""

    shape: Shape
    values: Mapping[str, str]
    shared: bool


class Merger:
    """Finds templates in ``folders``: a site's own first, those of the program last."""

    def __init__(self, *folders: Path) -> None:
        self._folders = folders

    def load(self, name: str, *, subject: str = "") -> "Template":
        """The template in the folder ``name`` with every file it builds on, as they are at this moment.

        ``subject`` is the configured one; a ``subject.txt`` in the folder wins. Raises ``TemplateError``.
        """
        html, text = self._bodies(name)
        own_subject = f"{name}/{SUBJECT}"
        if self._read(own_subject) is not None:
            return Template(name, self._with_dependencies(own_subject, html, text), (own_subject, html, text))
        if not subject.strip():
            raise TemplateError(
                f"The template {name} has no {SUBJECT}, and no subject is configured for it.",
                part=SUBJECT,
                todo=f"write {own_subject}, or set `subject` of the program in config.toml",
            )
        return Template(name, self._with_dependencies(html, text), (_CONFIG, html, text), subject)

    def _bodies(self, name: str) -> tuple[str, str]:
        """The names of the HTML and the text file: ours, or the predecessor's one pair NAME.html, NAME.txt."""
        for folder in self._folders if _is_safe(name) else ():
            files = {path.name for path in (folder / name).glob("*.*")}
            if {HTML, TEXT} & files:
                return f"{name}/{HTML}", f"{name}/{TEXT}"
            pairs = [file[:-5] for file in files if file.endswith(".html") and f"{file[:-5]}.txt" in files]
            if len(pairs) == 1:
                return f"{name}/{pairs[0]}.html", f"{name}/{pairs[0]}.txt"
        raise TemplateError(
            f"There is no template {name!r}. A template is a folder with {SUBJECT}, {HTML} and {TEXT}, "
            "or with one pair of files NAME.html and NAME.txt.",
            todo="make that folder where [templates] dir points, or correct `template` of the program in config.toml",
        )

    def _with_dependencies(self, *required: str) -> dict[str, str]:
        """The content of the required files and of all they extend, include or import."""
        files: dict[str, str] = {}
        waiting = list(required)
        while waiting:
            name = waiting.pop()
            content = None if name in files else self._read(name)
            if content is not None:
                files[name] = content
                waiting += _references(name, content)
        missing = [name for name in required if name not in files]
        if missing:
            raise TemplateError(
                f"{missing[0]} is missing. A template folder holds {SUBJECT}, {HTML} and {TEXT}.",
                part=missing[0].rpartition("/")[2],
                todo=f"write {missing[0]}",
            )
        return files

    def _read(self, name: str) -> str | None:
        folders = self._folders[-1:] if name.startswith(_ORIGINAL) else self._folders
        path = name.removeprefix(_ORIGINAL)
        found = [folder / path for folder in folders if _is_safe(path) and (folder / path).is_file()]
        try:
            return found[0].read_text("utf-8-sig") if found else None
        except (OSError, UnicodeDecodeError) as error:
            raise TemplateError(
                f"{path} cannot be read as UTF-8 text.", part=path, todo="save the file as UTF-8"
            ) from error


class Template:
    """One template, frozen as it was read. ``files`` are its sources by name; ``digest`` is the SHA-256 over them and
    the configured subject, where that is used."""

    def __init__(self, name: str, files: Mapping[str, str], parts: tuple[str, str, str], subject: str = "") -> None:
        self.name = name
        self.files = files
        self.digest = _digest([subject, *sorted(files.items())])
        self._parts = parts
        self._sources = {**files, _CONFIG: subject} if subject else files
        environment = Environment(self._sources)
        with self._explained():
            self._subject, self._html, self._text = map(environment.get_template, parts)
        self._shapes: dict[tuple[str, frozenset[tuple[str, bool]]], Shape | None] = {}
        self._inlined: dict[str, Shape | None] = {}

    def merge(self, context: MergeContext, personal: Mapping[str, str]) -> Merged:
        """The email for one recipient. ``personal`` maps dotted field names to plain values.

        Raises ``TemplateError``, with part and line, when the template cannot be merged with these values.
        """
        values = {field: clean(value) for field, value in personal.items()}
        key = context.digest, frozenset((field, bool(value)) for field, value in values.items())
        if key not in self._shapes:
            self._shapes[key] = self._shared_shape(context, values)
        shape = self._shapes[key]
        links = (values[field] for field in LINK_FIELDS if values.get(field))
        if shape is None or not all(map(LINK.fullmatch, links)):
            return Merged(shape=self._shape(*self._rendered(context, values)), values=values, shared=False)
        return Merged(shape=shape, values=values, shared=True)

    def _shared_shape(self, context: MergeContext, values: Mapping[str, str]) -> Shape | None:
        """The shape of all who have these fields filled and empty; none where the template inspects one."""
        try:
            parts = self._rendered(context, {field: value and Personal(field) for field, value in values.items()})
        except InspectedError:
            return None
        key = _digest([*parts])  # many contexts come out the same; inlining is the dear step
        if key not in self._inlined:
            self._inlined[key] = self._shape(*parts) if tokens_stand_well(*parts) else None
        return self._inlined[key]

    def _rendered(self, context: MergeContext, personal: Mapping[str, "str | Personal"]) -> tuple[str, str, str]:
        values = merge_values(context.values, personal)
        with self._explained():
            subject, html, text = (part.render(values) for part in (self._subject, self._html, self._text))
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
    def _explained(self) -> Iterator[None]:
        """Whatever Jinja raises becomes a ``TemplateError`` with its place. No personal value gets into its text."""
        try:
            yield
        except jinja2.TemplateError as error:
            missing = isinstance(error, jinja2.TemplateNotFound)
            problem = f"there is no file {error.message}" if missing else str(error.message)
            raise self._error(problem, *_place(error, self._sources)) from error
        except _COMPUTING_ERRORS as error:
            problem = f"an expression cannot be computed ({type(error).__name__})"
            raise self._error(problem, *_place(error, self._sources)) from None

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


def _is_safe(path: str) -> bool:
    """Whether a name stays inside its folder."""
    try:
        return "/".join(split_template_path(path)) == path != ""
    except jinja2.TemplateNotFound:
        return False


def _digest(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _references(name: str, content: str) -> list[str]:
    """The files that a file names, whether they exist or not."""
    try:
        found = list(meta.find_referenced_templates(Environment({}).parse(content, name)))
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(
            f"{name}, line {error.lineno}: {error.message}.",
            part=name.rpartition("/")[2],
            line=error.lineno,
            todo="mend the template, then try again",
        ) from error
    if None in found:
        raise TemplateError(
            f"{name} extends, includes or imports a file whose name is computed.",
            part=name.rpartition("/")[2],
            todo="write the file's name out, so that the template can be frozen with all its files",
        )
    return [reference for reference in found if reference]


def _tidy(text: str) -> str:
    """A text part without trailing spaces and without more than one empty line in a row."""
    text = re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)
    return re.sub(r"\n{3,}", "\n\n", text).strip("\n") + "\n"
