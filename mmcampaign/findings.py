"""What is wrong, or could be better, with an email before it is sent: the values that checks give and pages show."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


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

    @property
    def open(self) -> bool:
        """Whether somebody should still do something about it."""
        return self.severity is not Severity.NOTE and not self.accepted

    @property
    def place(self) -> str:
        """``engy/body.html:12``, as far as it is known."""
        return f"{self.file or ''}:{self.line}" if self.line else self.file or ""


def count(findings: Iterable[Finding]) -> dict[str, int]:
    """How many there are of each severity, and how many of the warnings were accepted (those count as warnings too)."""
    found = list(findings)
    counts = {str(severity): sum(each.severity is severity for each in found) for severity in Severity}
    return counts | {"accepted": sum(bool(each.accepted) for each in found)}


def as_dict(finding: Finding) -> dict[str, Any]:
    """The finding as JSON takes it."""
    return {**asdict(finding), "shapes": list(finding.shapes)}


def from_dict(values: Mapping[str, Any]) -> Finding:
    """The finding that ``as_dict`` wrote."""
    known = {**values, "severity": Severity(values["severity"]), "part": Part(values["part"])}
    return Finding(**{**known, "shapes": tuple(values["shapes"])})


# --- frozen with a campaign -----------------------------------------------------------------------------------------

_KEYS = ("findings", "not_checked")


def freeze_into(settings: Mapping[str, Any], findings: Iterable[Finding], not_checked: Sequence[str]) -> dict[str, Any]:
    """A campaign's frozen settings with what was found in its emails, and what was not looked at."""
    return {**settings, "findings": [as_dict(each) for each in findings], "not_checked": list(not_checked)}


def findings_in(settings: Mapping[str, Any]) -> tuple[Finding, ...]:
    """What was found when the campaign was planned."""
    return tuple(from_dict(each) for each in settings.get("findings", ()))


def not_checked_in(settings: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(settings.get("not_checked", ()))


def without_findings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The frozen settings alone, as today's are made to compare with."""
    return {key: value for key, value in settings.items() if key not in _KEYS}
