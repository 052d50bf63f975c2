"""Templates and merging: strict, sandboxed Jinja, then CSS inlining, once for each shape and not for each person.

`Merger` finds a template's files, `Template` merges it (`template.py`): a traced render (`tracing.py`) gives a shape
and the decisions that lead to it, a tree of these (`paths.py`) takes everybody else to a shape without rendering. The
outcome is always that of a plain render with its CSS inlined.
"""

import re
from pathlib import Path

import jinja2
from jinja2 import meta
from jinja2.loaders import split_template_path

from mmcampaign.errors import TemplateError
from mmcampaign.merge.environment import Environment
from mmcampaign.merge.paths import Choice
from mmcampaign.merge.template import CONFIG, Merged, Template

__all__ = ["HTML", "SUBJECT", "TEXT", "Choice", "Merged", "Merger", "Template"]

SUBJECT, HTML, TEXT = "subject.txt", "body.html", "body.txt"
_REFERRING = re.compile(r"\{%[-+]?\s*(?:extends|include|import|from)\b")
_ORIGINAL = "default:"  # a site's file extends ours of the same name: {% extends "default:engy/body.html" %}


class Merger:
    """Finds templates in ``folders``: a site's own first, those of the program last."""

    def __init__(self, *folders: Path) -> None:
        self._folders = folders

    def load(self, name: str, *, subject: str = "") -> "Template":
        """The template in the folder ``name`` with every file it builds on, as they are at this moment.

        ``subject`` is the configured one; a ``subject.txt`` in the folder wins. Raises ``TemplateError``.
        """
        parts, files, subject = self._found(name, subject)
        for path, content in files.items():
            _parsed(path, content)  # an error is told although nobody may be written to
        return Template(name, files, parts, subject)

    def files(self, name: str, *, subject: str = "") -> dict[str, str]:
        """The sources of the template that ``load`` gives, by name, without the time it takes to compile it."""
        return self._found(name, subject)[1]

    def _found(self, name: str, subject: str) -> tuple[tuple[str, str, str], dict[str, str], str]:
        """The names of its three parts, its files, and the configured subject if that is the first part."""
        html, text = self._bodies(name)
        own_subject = f"{name}/{SUBJECT}"
        if self._read(own_subject) is not None:
            return (own_subject, html, text), self._with_dependencies(own_subject, html, text), ""
        if not subject.strip():
            raise TemplateError(
                f"The template {name} has no {SUBJECT}, and no subject is configured for it.",
                part=SUBJECT,
                todo=f"write {own_subject}, or set `subject` of the program in config.toml",
            )
        return (CONFIG, html, text), self._with_dependencies(html, text), subject

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


def _is_safe(path: str) -> bool:
    """Whether a name stays inside its folder."""
    try:
        return "/".join(split_template_path(path)) == path != ""
    except jinja2.TemplateNotFound:
        return False


def _parsed(name: str, content: str) -> jinja2.nodes.Template:
    try:
        return Environment({}).parse(content, name)
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(
            f"{name}, line {error.lineno}: {error.message}.",
            part=name.rpartition("/")[2],
            line=error.lineno,
            todo="mend the template, then try again",
        ) from error


def _references(name: str, content: str) -> list[str]:
    """The files that a file names, whether they exist or not. To see that it names none takes no parsing."""
    if not _REFERRING.search(content):
        return []
    found = list(meta.find_referenced_templates(_parsed(name, content)))
    if None in found:
        raise TemplateError(
            f"{name} extends, includes or imports a file whose name is computed.",
            part=name.rpartition("/")[2],
            todo="write the file's name out, so that the template can be frozen with all its files",
        )
    return [reference for reference in found if reference]
