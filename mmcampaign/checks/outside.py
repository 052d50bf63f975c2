"""The checks that leave the process: a spam filter on this machine, and the servers behind the links.

Each gives its findings and, in words, what it could not check; nothing unchecked is ever called fine.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from mmcampaign.checks import grouped, limits
from mmcampaign.checks.email import CheckedEmail, House, Page, Spot
from mmcampaign.checks.links import host_of, web_links
from mmcampaign.checks.online import Answer, ask_all
from mmcampaign.checks.places import Place
from mmcampaign.checks.spam import NOT_INSTALLED, assassin, spam_spot
from mmcampaign.findings import Finding, Severity

Given = tuple[tuple[Finding, ...], list[str]]
_NO_HOUSE = House(postal_address="")


def check_spam(emails: Sequence[CheckedEmail]) -> Given:
    """SpamAssassin's score of the most frequent shapes."""
    program = assassin()
    if program is None:
        return (), [NOT_INSTALLED]
    found: list[tuple[CheckedEmail, Spot, Place | None]] = []
    aside = [
        f"spam score: {limits.SHAPES_FOR_SPAM} shapes of {len(emails)} were looked at"
        for _ in range(len(emails) > limits.SHAPES_FOR_SPAM)
    ]
    for email in emails[: limits.SHAPES_FOR_SPAM]:
        spot = spam_spot(email, program)
        if isinstance(spot, str):
            return (), [spot]
        if spot:
            found.append((email, spot, None))
    return grouped(found), aside


def check_links(
    emails: Sequence[CheckedEmail], ask: Callable[[Iterable[str]], Mapping[str, Answer]] = ask_all
) -> Given:
    """What the servers behind the links say, each asked once; never the way out."""
    pages = [Page(email, _NO_HOUSE) for email in emails]
    answers = ask(address for page in pages for _, address in _addresses(page))
    found = [
        (page.email, _dead(spot, address, answers[address].problem), page.place_of(spot))
        for page in pages
        for spot, address in _addresses(page)
        if answers[address].checked and answers[address].problem
    ]
    silent = sorted({host_of(address) for address, answer in answers.items() if not answer.checked})
    return grouped(found), [f"links to {', '.join(silent)}: no answer could be had"] if silent else []


def _addresses(page: Page) -> Iterator[tuple[Spot, str]]:
    for spot, address in web_links(page):
        if address != page.email.unsubscribe_url:
            yield spot, address


def _dead(spot: Spot, address: str, problem: str) -> Spot:
    return replace(
        spot,
        severity=Severity.WARN,
        code="dead-link",
        message=f"The link to {address} {problem}.",
        mend="open it in a browser, and correct the address",
    )
