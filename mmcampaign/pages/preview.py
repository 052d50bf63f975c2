"""Merged emails as files to open: a page over all shapes, a page for each, and HTML, text and .eml of every email.

The pages work from a folder, without scripts: their switches are radio buttons. An email is shown in a frame without
any rights, under a policy of its own (console 2.5); links in it do nothing.
"""

import operator
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email.parser import BytesHeaderParser
from email.policy import default
from pathlib import Path

from jinja2 import Environment

from mmcampaign.findings import Finding, Severity
from mmcampaign.pages.folder import whole_folder
from mmcampaign.pages.html import environment, framed, preheader

INDEX, SOURCE = "index.html", "source.html"
MOST_STRIPS = 24  # shapes pictured on the first page, four frames each; all have a page of their own
INBOX_LENGTHS = (35, 60, 100)  # characters that a phone, a small and a large window show (console 2.5)


@dataclass(frozen=True, kw_only=True)
class PreviewEmail:
    """One email merged for one learner. ``why`` says what makes this learner worth a look."""

    student_id: int
    why: tuple[str, ...] = ()
    name: str
    to_email: str
    subject: str
    html: str = field(repr=False)
    text: str = field(repr=False)
    eml: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class PreviewShape:
    """One form of the email. ``learners`` is how many get it; ``emails`` are some of them, the first one first.

    ``facts`` are what its learners share, or differ in: what it is about, and the value in words. ``choices`` are the
    decisions that the template took on personal values, in its own words.
    """

    number: int
    digest: str
    learners: int
    cohort: str
    trigger_title: str
    next_title: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    choices: tuple[str, ...] = ()
    emails: tuple[PreviewEmail, ...]


@dataclass(frozen=True, kw_only=True)
class PreviewPage:
    """Everything the pages say. ``sources`` are the template's files by name, as a finding's ``file`` has it."""

    program_title: str
    sender: str
    shapes: tuple[PreviewShape, ...]
    sources: Mapping[str, str] = field(default_factory=dict, repr=False)
    findings: tuple[Finding, ...] = ()
    remark: str = ""


@dataclass(frozen=True, kw_only=True)
class EmailFiles:
    """Where the three files of one email are."""

    html: Path
    text: Path
    eml: Path


@dataclass(frozen=True, kw_only=True)
class PreviewFiles:
    """The page to open, and the files of each shape's emails in the order they were given."""

    index: Path
    shapes: tuple[tuple[EmailFiles, ...], ...]


def write_previews(page: PreviewPage, folder: Path) -> PreviewFiles:
    """Write index.html, source.html, ``shape-N.html``, and each email as ``NN-<cohort>-<shape>.html``, .txt and .eml.

    Further learners of a shape have their place in it at the end. File names hold no name or address of a learner;
    line ends of ``eml`` are kept as they are. Raises UnavailableError when the folder cannot be written; an error
    leaves it as it was.
    """
    stems = {shape.number: list(_stems(shape, len(page.shapes))) for shape in page.shapes}
    jinja = _environment(page)
    with whole_folder(folder, last=INDEX) as draft:
        for shape in page.shapes:
            for stem, email in zip(stems[shape.number], shape.emails, strict=True):
                (draft / f"{stem}.html").write_text(email.html, encoding="utf-8", newline="")
                (draft / f"{stem}.txt").write_text(email.text, encoding="utf-8", newline="")
                (draft / f"{stem}.eml").write_bytes(email.eml)
            one = jinja.get_template("preview_shape.html").render(page=page, shape=shape, stems=stems[shape.number])
            (draft / f"shape-{shape.number}.html").write_text(one, encoding="utf-8")
        for name, template in ((SOURCE, "preview_source.html"), (INDEX, "preview.html")):
            (draft / name).write_text(jinja.get_template(template).render(page=page), encoding="utf-8")
    return PreviewFiles(
        index=folder / INDEX,
        shapes=tuple(tuple(_files(folder, stem) for stem in stems[shape.number]) for shape in page.shapes),
    )


def _stems(shape: PreviewShape, shapes: int) -> Iterator[str]:
    cohort = re.sub(r"[^a-z0-9]+", "-", shape.cohort.lower()).strip("-")
    stem = f"{shape.number:0{max(2, len(str(shapes)))}}-{cohort}-{shape.number}"
    for place in range(1, len(shape.emails) + 1):
        yield stem if place == 1 else f"{stem}-{place}"


def _files(folder: Path, stem: str) -> EmailFiles:
    return EmailFiles(html=folder / f"{stem}.html", text=folder / f"{stem}.txt", eml=folder / f"{stem}.eml")


# --- what the templates ask for -------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class SourceLine:
    """A line of a template with what was found in it."""

    number: int
    text: str
    findings: tuple[Finding, ...]


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """A template's file, line by line; ``number`` is its place among the files, for links."""

    number: int
    name: str
    lines: tuple[SourceLine, ...]


def _environment(page: PreviewPage) -> Environment:
    files = source_files(page.sources, page.findings)
    places = {
        (file.name, line.number): f"{SOURCE}#f{file.number}-{line.number}" for file in files for line in file.lines
    }
    numbers = {shape.digest: shape.number for shape in page.shapes}
    jinja = environment()
    jinja.filters |= {"viewed": viewed, "inbox_lines": inbox_lines, "headers": headers, "severity": _SEVERITIES.get}
    jinja.tests["contains"] = operator.contains
    jinja.globals |= {"files": files, "places": places, "numbers": numbers, "strips": MOST_STRIPS}
    return jinja


_SEVERITIES = {Severity.BLOCK: "Blocks approval", Severity.WARN: "Warning", Severity.NOTE: "Note"}


def viewed(html: str, images: bool) -> str:
    """An email for a frame without rights, under the policy of console 2.5; without images, their words are shown."""
    allowed = "https: data:" if images else "'none'"
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src {allowed}"
    return f'<meta http-equiv="Content-Security-Policy" content="{policy}">{framed(html)}'


def inbox_lines(html: str) -> list[tuple[int, str]]:
    """The preview text as inboxes of each width show it."""
    words = preheader(html)
    return [(length, words if len(words) <= length else words[:length].rstrip() + "…") for length in INBOX_LENGTHS]


def headers(eml: bytes) -> list[tuple[str, str]]:
    """The message's headers, unfolded and decoded."""
    return [(name, str(value)) for name, value in BytesHeaderParser(policy=default).parsebytes(eml).items()]


def source_files(sources: Mapping[str, str], findings: Sequence[Finding]) -> list[SourceFile]:
    """The template's files, its own before those it builds on, with the findings at their lines."""
    names = sorted(sources, key=lambda name: (name.startswith(("_", "default:")), name))
    return [
        SourceFile(
            number=number,
            name=name,
            lines=tuple(
                SourceLine(
                    number=line,
                    text=text,
                    findings=tuple(each for each in findings if (each.file, each.line) == (name, line)),
                )
                for line, text in enumerate(sources[name].splitlines(), start=1)
            ),
        )
        for number, name in enumerate(names, start=1)
    ]
