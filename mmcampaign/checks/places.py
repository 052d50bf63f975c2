"""Where in a template something in an email comes from.

Before rendering, every element and every line of text of a template's files gets a mark that says where it stands. The
marked render is never sent: it is laid beside the real email, element by element and line by line, and lends it its
places. That holds through includes, blocks, macros, loops and the inlining of CSS.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from functools import cached_property
from typing import Any

from lxml import etree

from mmcampaign.findings import Part

_ATTRIBUTE = "data-mmc-place"
_JINJA = r"\{%-?\s*raw\s*-?%\}.*?\{%-?\s*endraw\s*-?%\}|\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}"
_CONSTRUCT = re.compile(_JINJA, re.DOTALL)
_START_TAG = re.compile(rf"{_JINJA}|<!--.*?-->|<([A-Za-z][\w:-]*)", re.DOTALL | re.IGNORECASE)
_TEXT_MARK = re.compile("\ue000(\\d+)\ue001")

Place = tuple[str, int]  # file, as seen from the template folder; line, 1 is the first


@dataclass(frozen=True)
class Marks:
    """Marks for the files of one template. A mark is a number; ``places`` says what it stands for."""

    places: list[Place] = field(default_factory=list)

    def mark(self, path: str, content: str) -> str:
        """The file with a mark for each element (``.html``) or each line (other files)."""
        return self._html(path, content) if path.endswith(".html") else self._text(path, content)

    def _next(self, path: str, line: int) -> int:
        self.places.append((path, line))
        return len(self.places) - 1

    def _html(self, path: str, content: str) -> str:
        def marked(found: re.Match[str]) -> str:
            if not found[1]:
                return found[0]
            return f'{found[0]} {_ATTRIBUTE}="{self._next(path, content.count(chr(10), 0, found.start()) + 1)}"'

        return _START_TAG.sub(marked, content)

    def _text(self, path: str, content: str) -> str:
        """Each mark stands directly before something that is printed, so that Jinja strips the same blanks as ever."""
        pieces: list[str] = []
        last = line = 0
        for start in _printed(content):
            now = content.count("\n", 0, start) + 1
            if now > line:
                pieces += [content[last:start], f"\ue000{self._next(path, now)}\ue001"]
                last, line = start, now
        return "".join([*pieces, content[last:]])


def _printed(content: str) -> Iterator[int]:
    """Where something visible starts: a word of the file's own, or ``{{`` without a minus."""
    end = 0
    for construct in _CONSTRUCT.finditer(content):
        yield from (end + word.start() for word in re.finditer(r"\S+", content[end : construct.start()]))
        if re.match(r"\{\{(?!-)", construct[0]):
            yield construct.start()
        end = construct.end()
    yield from (end + word.start() for word in re.finditer(r"\S+", content[end:]))


@dataclass(frozen=True, kw_only=True)
class Places:
    """The places of one email. ``html`` and ``text`` are its marked render, empty where there is none; ``files`` the
    template's sources."""

    files: Mapping[str, str]
    html: str = ""
    text: str = ""
    marks: Marks = field(default_factory=Marks)

    def of_elements(self, elements: Sequence[Any]) -> dict[int, Place]:
        """The places of a page's elements, by their position in ``elements``."""
        marked = [
            (element.tag, element.get(_ATTRIBUTE)) for element in page_of(self.html).iter() if is_element(element)
        ]
        pairs = _aligned([element.tag for element in elements], [tag for tag, _ in marked])
        return {here: self.marks.places[int(mark)] for here, there in pairs if (mark := marked[there][1])}

    def of_lines(self, lines: Sequence[str]) -> dict[int, Place]:
        """The places of the text part's lines, by their position in ``lines``."""
        marked = self._marked_lines
        pairs = _aligned([line.strip() for line in lines], [line for line, _ in marked])
        return {here: place for here, there in pairs if (place := marked[there][1])}

    @cached_property
    def _marked_lines(self) -> list[tuple[str, Place | None]]:
        found: list[tuple[str, Place | None]] = []
        last: Place | None = None
        for line in self.text.split("\n"):
            marks = _TEXT_MARK.findall(line)
            last = self.marks.places[int(marks[0])] if marks else last
            found.append((_TEXT_MARK.sub("", line).strip(), last))
        return found

    def source_of(self, part: Part) -> str:
        """All files of one part, without Jinja's comments."""
        own = "\n".join(content for path, content in self.files.items() if _belongs(path, part))
        return re.sub(r"\{#.*?#\}", "", own, flags=re.DOTALL)

    def of_source(self, pattern: str, part: Part) -> Place | None:
        """The first place in the files of one part that a regular expression matches."""
        wanted = re.compile(pattern, re.IGNORECASE)
        for path, content in self.files.items():
            if _belongs(path, part) and (found := wanted.search(content)):
                return path, content.count("\n", 0, found.start()) + 1
        return None


def _belongs(path: str, part: Part) -> bool:
    if path.endswith(".html") or part is Part.HTML:
        return path.endswith(".html") and part is Part.HTML
    return path.endswith("subject.txt") is (part is Part.SUBJECT)


def unclosed(marked: str) -> list[tuple[str, str | None]]:
    """Elements that are opened and never closed, or closed and never opened: (tag, mark)."""
    found = []
    waiting: list[tuple[str, str | None]] = []
    for tag in re.finditer(r"<!--.*?-->|<(style|script)\b.*?</\1\s*>|<(/?)([a-zA-Z][\w:]*)([^>]*)>", marked, re.DOTALL):
        name = (tag[3] or "").lower()
        if not name or name in _NEVER_CLOSED or tag[4].rstrip().endswith("/"):
            continue
        if not tag[2]:
            mark = re.search(rf'{_ATTRIBUTE}="(\d+)"', tag[4])
            waiting.append((name, mark and mark[1]))
        elif any(name == opened for opened, _ in waiting):
            while waiting[-1][0] != name:
                found.append(waiting.pop())
            waiting.pop()
        elif name not in _MAY_STAY_OPEN:
            found.append((f"/{name}", None))
    return [(name, mark) for name, mark in [*found, *waiting] if name not in _MAY_STAY_OPEN]


# HTML 13.1.2: void elements, and those whose end tag may be left out without harm.
_VOID = "area base br col embed hr img input link meta source track wbr"
_OPTIONAL = "html head body p li dt dd option thead tbody tfoot tr td th colgroup rt rp optgroup caption"
_NEVER_CLOSED, _MAY_STAY_OPEN = frozenset(_VOID.split()), frozenset(_OPTIONAL.split())


def page_of(html: str) -> Any:
    """The page as mail programs see it. Never fails: an empty page where there is nothing to parse."""
    parser = etree.HTMLParser(encoding="utf-8")
    page = etree.fromstring(html.encode("utf-8", "replace"), parser) if html.strip() else None
    return page if page is not None else etree.fromstring(b"<html><body></body></html>", parser)


def is_element(node: Any) -> bool:
    """Whether a node of a page is an element; ``<style>`` is left out, because inlining makes and removes some."""
    return isinstance(node.tag, str) and node.tag != "style"


def _aligned(here: Sequence[str], there: Sequence[str]) -> Iterator[tuple[int, int]]:
    if list(here) == list(there):
        yield from ((position, position) for position in range(len(here)))
        return
    for block in SequenceMatcher(None, here, there, autojunk=False).get_matching_blocks():
        yield from ((block.a + step, block.b + step) for step in range(block.size))
