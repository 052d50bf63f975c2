"""Merged emails as files to open: HTML, text and .eml of each, and one page that shows them side by side."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmcampaign.pages.folder import whole_folder
from mmcampaign.pages.html import environment

INDEX = "index.html"


@dataclass(frozen=True, kw_only=True)
class PreviewEmail:
    """One form of the email, merged for one learner. ``learners`` is how many get this form, 0 when not counted."""

    student_id: int
    shape: int
    shape_digest: str
    learners: int
    cohort: str
    trigger_title: str
    next_title: str = ""
    name: str
    to_email: str
    subject: str
    html: str = field(repr=False)
    text: str = field(repr=False)
    eml: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class EmailFiles:
    """Where the three files of one email are."""

    html: Path
    text: Path
    eml: Path


@dataclass(frozen=True, kw_only=True)
class PreviewFiles:
    """The page to open, and the files of each email in the order they were given."""

    index: Path
    emails: tuple[EmailFiles, ...]


def write_previews(emails: Sequence[PreviewEmail], folder: Path) -> PreviewFiles:
    """Write every email as ``NN-<cohort>-<shape>.html``, ``.txt`` and ``.eml``, and an index.html showing them all.

    File names hold no name or address of a learner. Line ends of ``eml`` are kept as they are. Raises
    UnavailableError when the folder cannot be written; an error leaves it as it was.
    """
    stems = list(_stems(emails))
    with whole_folder(folder, last=INDEX) as draft:
        for stem, email in zip(stems, emails, strict=True):
            (draft / f"{stem}.html").write_text(email.html, encoding="utf-8", newline="")
            (draft / f"{stem}.txt").write_text(email.text, encoding="utf-8", newline="")
            (draft / f"{stem}.eml").write_bytes(email.eml)
        page = environment().get_template("preview.html").render(entries=list(zip(stems, emails, strict=True)))
        (draft / INDEX).write_text(page, encoding="utf-8")
    return PreviewFiles(index=folder / INDEX, emails=tuple(_files(folder, stem) for stem in stems))


def _stems(emails: Sequence[PreviewEmail]) -> Iterator[str]:
    width = max(2, len(str(len(emails))))
    for position, email in enumerate(emails, start=1):
        cohort = re.sub(r"[^a-z0-9]+", "-", email.cohort.lower()).strip("-")
        yield f"{position:0{width}}-{cohort}-{email.shape}"


def _files(folder: Path, stem: str) -> EmailFiles:
    return EmailFiles(html=folder / f"{stem}.html", text=folder / f"{stem}.txt", eml=folder / f"{stem}.eml")
