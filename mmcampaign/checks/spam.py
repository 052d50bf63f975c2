"""SpamAssassin's score of an email, where SpamAssassin is installed. Local rules only: nothing leaves the machine."""

import re
import shutil
import subprocess

from mmcampaign.checks import limits
from mmcampaign.checks.email import CheckedEmail, Spot
from mmcampaign.findings import Part, Severity

SECONDS = 60
NOT_INSTALLED = "spam score: SpamAssassin is not installed (Debian: apt install spamassassin)"
NOT_ANSWERED = "spam score: SpamAssassin gave no score"
_SCORE = re.compile(rb"^X-Spam-Status:.*?\bscore=(-?[\d.]+)", re.MULTILINE | re.DOTALL)
_RULES = re.compile(rb"^X-Spam-Status:.*?\btests=([\w,\s=.-]+?)(?:\s+autolearn|\r?\n\S)", re.MULTILINE | re.DOTALL)


def assassin() -> str | None:
    """The program on the path, if there is one."""
    return shutil.which("spamassassin")


def score(eml: bytes, program: str) -> tuple[float, str] | None:
    """SpamAssassin's score and the names of the rules that gave it; None when it does not answer."""
    try:
        done = subprocess.run([program, "-L", "-t"], input=eml, capture_output=True, timeout=SECONDS, check=False)  # noqa: S603  found on the path
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = _SCORE.search(done.stdout)
    if found is None:
        return None
    rules = _RULES.search(done.stdout)
    return float(found[1]), ", ".join(re.findall(r"[A-Z][A-Z0-9_]+", rules[1].decode())) if rules else ""


def spam_spot(email: CheckedEmail, program: str) -> Spot | str | None:
    """A warning over the limit; a word on what was not checked; None when all is well."""
    found = score(email.eml, program)
    if found is None:
        return NOT_ANSWERED
    number, rules = found
    if number <= limits.SPAM_SCORE:
        return None
    return Spot(
        severity=Severity.WARN,
        code="spam-score",
        message=f"SpamAssassin gives {number:g} points (spam from 5), for: {rules.lower().replace('_', ' ')}.",
        mend="mend what it names",
        part=Part.HEADERS,
    )
