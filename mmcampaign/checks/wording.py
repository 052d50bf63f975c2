"""What is read before and beside the page: subject, preheader, text part, and words that were never filled in."""

import re
from collections.abc import Iterator
from typing import Any

from mmcampaign.checks import limits
from mmcampaign.checks.email import HIDDEN, Page, Spot, one_line
from mmcampaign.findings import Part, Severity

# Of our templates, and of services whose templates people paste.
_UNFILLED = re.compile(r"\{\{|\{%|\{#|\*\|[A-Z_:]+\|\*|%%\w+%%|\[\[\w[\w .]*\]\]|%recipient\.\w+%|\$\{\w+\}|<%=?")
_NONE = re.compile(r"(?<![\w'’-])None(?=[.,;:!?)]|\s*$)")  # what `{{ x }}` prints for a value that is none
_EXCLAIMED = re.compile(r"!\s*!")
_PADDING = dict.fromkeys(map(ord, "\u00a0\u00ad\u034f\u061c\u115f\u180e\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"))


def subject(page: Page) -> Iterator[Spot]:
    words = page.email.subject.strip()
    if not words:
        yield Spot(
            severity=Severity.BLOCK,
            code="empty-subject",
            message="The subject is empty.",
            mend="write one into subject.txt",
            part=Part.SUBJECT,
            source=r"\A",
        )
        return
    own = words
    for title in page.email.courses:
        own = own.replace(title, "")
    letters = [letter for letter in own if letter.isalpha()]
    loud = len(letters) >= 8 and sum(map(str.isupper, letters)) > 0.7 * len(letters)
    if loud or _EXCLAIMED.search(words):
        yield _about_subject(
            Severity.WARN,
            "shouting-subject",
            "The subject shouts, which readers and spam filters dislike.",
            "write it like a sentence",
        )
    if len(own) > limits.SUBJECT_CHARACTERS:
        yield _about_subject(
            Severity.WARN,
            "long-subject",
            f"The subject has {len(own)} characters, course titles not counted; most inboxes show "
            f"{limits.SUBJECT_CHARACTERS} in all.",
            "say the point in fewer words",
        )
    elif len(words) > limits.SUBJECT_CHARACTERS:
        yield _about_subject(
            Severity.NOTE,
            "subject-cut-short",
            f"With the course title the subject has {len(words)} characters; inboxes cut it at about "
            f"{limits.SUBJECT_CHARACTERS}, phones earlier.",
            "put what matters first",
        )


def _about_subject(severity: Severity, code: str, message: str, mend: str) -> Spot:
    return Spot(severity=severity, code=code, message=message, mend=mend, part=Part.SUBJECT, source=r"\S")


def unfilled(page: Page) -> Iterator[Spot]:
    """A mark of a template left standing: a reader would see it."""
    mend = "fill it in, or take it out"
    if found := _UNFILLED.search(page.email.subject):
        yield _unfilled(found[0], Part.SUBJECT, mend, source=re.escape(found[0]))
    for element in page.elements:
        own = [element.text or "", *(child.tail or "" for child in element), *element.attrib.values()]
        if element.tag != "script" and (found := _UNFILLED.search(" ".join(own))):
            yield _unfilled(found[0], Part.HTML, mend, element=element, source=re.escape(found[0]))
    for number, line in enumerate(page.lines):
        if found := _UNFILLED.search(line):
            yield _unfilled(found[0], Part.TEXT, mend, text_line=number, source=re.escape(found[0]))


def _unfilled(mark: str, part: Part, mend: str, **place: Any) -> Spot:
    return Spot(
        severity=Severity.BLOCK,
        code="unfilled-mark",
        message=f"“{mark}” stands in the finished email: something was not filled in.",
        mend=mend,
        part=part,
        **place,
    )


def printed_none(page: Page) -> Iterator[Spot]:
    """``{{ next }}`` without a next course prints "None"."""
    message, mend = "“None” is printed where a value is missing.", "put {% if … %} around it"
    for element in page.elements:
        own = [element.text or "", *(child.tail or "" for child in element)]
        if any(map(_NONE.search, own)) and element.tag not in ("style", "script"):
            yield Spot(
                severity=Severity.WARN, code="prints-none", message=message, mend=mend, part=Part.HTML, element=element
            )
    for number, line in enumerate(page.lines):
        if _NONE.search(line):
            yield Spot(
                severity=Severity.WARN, code="prints-none", message=message, mend=mend, part=Part.TEXT, text_line=number
            )


def preheader(page: Page) -> Iterator[Spot]:
    """The words an inbox shows behind the subject: the first of the body, hidden ones included."""
    element = next((each for each in page.elements if HIDDEN.search(each.get("style") or "")), None)
    body = page.root.find("body")
    before = "" if element is None or body is None else _text_before(body, element)
    if element is None or before:
        yield _about_preheader(
            Severity.WARN,
            "no-preheader",
            "There is no preheader, so inboxes show the first words of the page behind the subject.",
            "write a hidden <div> with one sentence as the first element of the body",
            body,
        )
        return
    whole = "".join(element.itertext())
    said = one_line(whole.translate(_PADDING))
    if len(said) < limits.PREHEADER_SHORTEST:
        yield _about_preheader(
            Severity.WARN,
            "short-preheader",
            f"The preheader has {len(said)} characters; inboxes fill the rest of the line with other text.",
            f"write {limits.PREHEADER_SHORTEST} to {limits.PREHEADER_LONGEST} characters",
            element,
        )
    elif len(said) > limits.PREHEADER_LONGEST:
        yield _about_preheader(
            Severity.NOTE,
            "long-preheader",
            f"The preheader has {len(said)} characters, of which inboxes show {limits.PREHEADER_LONGEST} at most.",
            "say the point first",
            element,
        )
    if len(whole) - len(said) < limits.PREHEADER_LONGEST - len(said):
        yield _about_preheader(
            Severity.NOTE,
            "unpadded-preheader",
            "Nothing stands between the preheader and the page, so inboxes show the page's first words behind it.",
            "pad it with invisible characters: &#847;&zwnj;&nbsp; many times",
            element,
        )


def _text_before(body: Any, element: Any) -> str:
    found = [body.text or ""]
    for node in body.iterdescendants():
        if node is element:
            return "".join(found).strip()
        if isinstance(node.tag, str) and node not in element.iterancestors():
            found += [node.text or "", node.tail or ""]
    return "".join(found).strip()


def _about_preheader(severity: Severity, code: str, message: str, mend: str, element: Any) -> Spot:
    return Spot(
        severity=severity,
        code=code,
        message=message,
        mend=mend,
        part=Part.HTML,
        element=element,
        source=r"<body\b",
    )


def text_part(page: Page) -> Iterator[Spot]:
    if not page.text:
        yield Spot(
            severity=Severity.WARN,
            code="empty-text-part",
            message="The text part is empty; some people read nothing else.",
            mend="write the same words into body.txt",
            part=Part.TEXT,
            source=r"\A",
        )
    for number, line in enumerate(page.lines):
        if len(line) > limits.TEXT_COLUMNS and "://" not in line:
            yield Spot(
                severity=Severity.NOTE,
                code="wide-text",
                message=f"A line of the text part has {len(line)} columns; {limits.TEXT_COLUMNS} are read everywhere.",
                mend="break the line, and give long titles a line of their own",
                part=Part.TEXT,
                text_line=number,
            )


RULES = (subject, unfilled, printed_none, preheader, text_part)
