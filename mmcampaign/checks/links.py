"""Where links lead and what they say, in both parts."""

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlsplit

from mmcampaign.checks.email import Link, Page, Spot
from mmcampaign.findings import Part, Severity

_SCHEMES = frozenset({"https", "http", "mailto", "tel", "sms"})
_VAGUE = re.compile(
    r"(please )?(click|tap|press)?( on)?( right)? ?(here|this|this link|link|(read |learn )?more|details|go)[.! ]*",
    re.IGNORECASE,
)
# RFC 2606 and RFC 6761 keep these for tests; the others are what test machines are called.
_TEST_ENDINGS = ("test", "example", "invalid", "localhost", "local", "internal")
_TEST_NAMES = re.compile(r"(.*\.)?example\.(com|net|org|edu)(\.[a-z]{2})?|localhost|.*(ngrok|localtunnel)\..*")
_TEST_LABELS = frozenset({"staging", "stage", "stg", "dev", "test", "testing", "uat", "qa", "preprod", "sandbox"})
_SHOWN_ADDRESS = re.compile(r"(?:https?://)?((?:[a-z0-9-]+\.)+[a-z]{2,})(?:[/?#]\S*)?", re.IGNORECASE)


def host_of(address: str) -> str:
    """The host of a web address in lower case, empty where there is none."""
    try:
        return (urlsplit(address).hostname or "").rstrip(".")
    except ValueError:
        return ""


def is_test_host(host: str) -> bool:
    """Whether nobody outside can be meant by a host: test names, test machines, this machine, private networks."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        labels = host.split(".")
        return bool(
            labels[-1] in _TEST_ENDINGS
            or _TEST_NAMES.fullmatch(host)
            or any(label.split("-")[0] in _TEST_LABELS or label.split("-")[-1] in _TEST_LABELS for label in labels[:-2])
        )
    return not address.is_global


def leading_nowhere(page: Page) -> Iterator[Spot]:
    ids = {element.get("id") or element.get("name") for element in page.elements} - {None}
    for link in page.links:
        problem = _nowhere(link.address, ids)
        if problem:
            empty = not link.address.lstrip("#") or link.address.startswith("#")
            yield Spot(
                severity=Severity.BLOCK,
                code="empty-link" if empty else "broken-link",
                message=f"{_named(link)} {problem}.",
                mend="write a whole address that starts with https://, or take the link out",
                part=Part.HTML,
                element=link.element,
            )


def _nowhere(address: str, ids: set[str | None]) -> str:
    if address in ("", "#") or (address.startswith("#") and address[1:] not in ids):
        return "leads nowhere: its address is empty" if address in ("", "#") else "leads to a place that does not exist"
    if address.startswith("#"):
        return ""
    scheme = address.partition(":")[0].lower()
    if ":" not in address or scheme not in _SCHEMES:
        return f"has the address {_short(address)}, which opens nothing from within an email"
    if scheme in ("http", "https") and (not host_of(address) or re.search(r"\s", address)):
        return f"has the address {_short(address)}, which is none"
    return ""


def test_links(page: Page) -> Iterator[Spot]:
    """Links that only work for us. A host that config.toml names is taken as it is meant."""
    for spot, address in web_links(page):
        host = host_of(address)
        if not host or host in page.house.own_hosts or not is_test_host(host):
            continue
        yield replace(
            spot,
            severity=Severity.BLOCK,
            code="link-to-test-host",
            message=f"A link leads to {host}, which learners cannot reach.",
            mend="write the public address",
        )


def own_hosts(page: Page) -> Iterator[Spot]:
    """A test host that config.toml itself names: fine for a trial run into files, hardly for people."""
    for host in sorted({host_of(address) for _, address in web_links(page)} & page.house.own_hosts):
        if is_test_host(host):
            yield Spot(
                severity=Severity.WARN if page.house.reaches_people else Severity.NOTE,
                code="configured-test-host",
                message=f"config.toml names {host}, which looks like a test machine: links to it work for nobody else.",
                mend="write the public address into config.toml before you send to people",
                part=Part.HTML,
            )


def plain_http(page: Page) -> Iterator[Spot]:
    for spot, address in web_links(page):
        if address.lower().startswith("http://") and host_of(address) not in page.house.own_hosts:
            yield replace(
                spot,
                severity=Severity.WARN,
                code="http-link",
                message=f"The link to {_short(address)} is not encrypted; some programs warn of it.",
                mend="write https://",
            )


def wording(page: Page) -> Iterator[Spot]:
    for link in page.links:
        if not link.words:
            yield _warn(
                "link-without-words",
                f"A link to {_short(link.address) or 'nowhere'} has no words, so a screen reader has nothing to say.",
                "write words into it, or give its image an alt text",
                link,
            )
        elif _VAGUE.fullmatch(link.words):
            yield _warn(
                "vague-link",
                f"A link says “{link.words}”, which means nothing when it is read out alone.",
                "say where it leads: “See the next course”",
                link,
            )
        elif _leads_elsewhere(link):
            yield _warn(
                "address-unlike-target",
                f"A link shows one address and leads to {host_of(link.address)}; filters take that for fraud.",
                "show words instead of an address, or the same address",
                link,
            )


def _leads_elsewhere(link: Link) -> bool:
    shown, target = _SHOWN_ADDRESS.fullmatch(link.words), host_of(link.address)
    if not shown or not target:
        return False
    host = shown[1].lower()
    return host.removeprefix("www.") != target.removeprefix("www.")


def web_links(page: Page) -> Iterator[tuple[Spot, str]]:
    """Every web address of either part, with a spot that has its place and no words yet."""
    blank = Spot(severity=Severity.NOTE, code="", message="", mend="", part=Part.HTML)
    for link in page.links:
        if link.address.lower().startswith(("http://", "https://")):
            yield replace(blank, element=link.element), link.address
    for address, line in page.text_links:
        yield replace(blank, part=Part.TEXT, text_line=line), address


def _named(link: Link) -> str:
    return f"The link “{link.words[:60]}”" if link.words else "A link"


def _short(address: str) -> str:
    return address if len(address) <= 80 else f"{address[:79]}…"


def _warn(code: str, message: str, mend: str, link: Link) -> Spot:
    return Spot(severity=Severity.WARN, code=code, message=message, mend=mend, part=Part.HTML, element=link.element)


RULES = (leading_nowhere, test_links, own_hosts, plain_http, wording)
