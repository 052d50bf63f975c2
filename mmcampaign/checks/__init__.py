"""The checks of emails before they are sent (console 2.3): one rule, one function from an email to what it found.

``check_emails`` runs every rule over every email, and tells the same thing at the same place once for all shapes
that have it. Spam scores (``spam.py``) and asking after links (``online.py``) stand apart: they leave the process.
"""

from collections.abc import Iterable, Iterator, Sequence

from mmcampaign.checks import clients, contrast, images, links, parts, structure, wording
from mmcampaign.checks.email import CheckedEmail, House, Page, Spot
from mmcampaign.checks.places import Place
from mmcampaign.findings import Finding, Severity

RULES = (
    *parts.RULES,
    *wording.RULES,
    *links.RULES,
    *structure.RULES,
    *images.RULES,
    *contrast.RULES,
    *clients.RULES,
)
_ORDER = list(Severity)

Found = tuple[CheckedEmail, Spot, Place | None]


def check_emails(emails: Iterable[CheckedEmail], house: House) -> tuple[Finding, ...]:
    """Everything the rules find, the worst first, each once for all shapes that have it."""
    return grouped(found for email in emails for found in _spots(Page(email, house)))


def _spots(page: Page) -> Iterator[Found]:
    for rule in RULES:
        for spot in rule(page):
            yield page.email, spot, page.place_of(spot)


def grouped(found: Iterable[Found]) -> tuple[Finding, ...]:
    """One finding for each code and place (or, without a place, for each message)."""
    groups: dict[object, list[Found]] = {}
    for email, spot, place in found:
        groups.setdefault((spot.code, spot.part, place or spot.message), []).append((email, spot, place))
    return in_order(map(_together, groups.values()))


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The worst first, then by place."""
    return tuple(
        sorted(findings, key=lambda each: (_ORDER.index(each.severity), each.file or "", each.line or 0, each.code))
    )


def _together(group: Sequence[Found]) -> Finding:
    _, spot, place = group[0]
    learners = {email.shape: email.learners for email, _, _ in group}
    more = len({each.message for _, each, _ in group}) - 1
    return Finding(
        severity=spot.severity,
        code=spot.code,
        message=spot.message + (f" And {more} more of this kind in this place." if more else ""),
        mend=spot.mend,
        part=spot.part,
        file=place[0] if place else None,
        line=place[1] if place else None,
        shapes=tuple(learners),
        learners=sum(learners.values()),
    )
