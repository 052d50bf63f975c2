"""What is wrong, or could be better, with an email before it is sent: the values that checks give and pages show."""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """``block`` keeps a campaign from being approved; ``warn`` wants a look or a reason; ``note`` is good to know."""

    BLOCK = "block"
    WARN = "warn"
    NOTE = "note"


class Part(StrEnum):
    """The part of an email, or of its template, that a finding is about."""

    SUBJECT = "subject"
    HTML = "html"
    TEXT = "text"
    HEADERS = "headers"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing found, once for all shapes that have it.

    ``code`` is stable and made of words (``image-without-alt``); ``message`` says what is wrong, ``mend`` what to do
    about it. ``file`` and ``line`` point into the template (as seen from the template folder, 1 is the first
    line); None where nothing there can be pointed at. ``shapes`` are shape digests, ``learners`` how many would get one
    of them. ``accepted`` is the reason for which a person has let it stand, empty for nobody.
    """

    severity: Severity
    code: str
    message: str
    mend: str
    part: Part
    file: str | None = None
    line: int | None = None
    shapes: tuple[str, ...] = ()
    learners: int = 0
    accepted: str = ""
