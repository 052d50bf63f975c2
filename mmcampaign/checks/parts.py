"""What must stand in both parts, and whether HTML and text say the same.

Nobody looks at the text part unless it is put before them; it is where the wrong branch goes unseen.
"""

import re
from collections.abc import Iterator

from mmcampaign.checks.email import Page, Spot, one_line, shown
from mmcampaign.findings import Part, Severity

_EACH = (Part.HTML, Part.TEXT)
_ONE_CLICK = "List-Unsubscribe=One-Click"  # RFC 8058 3.1
# Merge values that people read; the others steer branches and addresses.
_VALUE = re.compile(
    r"\b((?:learner|item|program|trigger|next|certificates|site|campaign)\.[a-z_]+|unsubscribe_url|other_triggers)\b"
)
_LOOKED_AT = frozenset({"site.postal_address"})  # by a rule of its own, as links are
_PRINTED = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)


def unsubscribe(page: Page) -> Iterator[Spot]:
    """A way out in each part (Spam Act 2003, CAN-SPAM; delivery 4)."""
    url = page.email.unsubscribe_url
    missing = {Part.HTML: all(link.address != url for link in page.links), Part.TEXT: url not in page.email.text}
    for part in _EACH:
        if missing[part]:
            yield Spot(
                severity=Severity.BLOCK,
                code="no-unsubscribe-link",
                message=f"The {_named(part)} has no link to unsubscribe. The law asks for one.",
                mend="print {{ unsubscribe_url }}" + (" as the href of a link" if part is Part.HTML else ""),
                part=part,
                source=r"unsubscri|\bopt[- ]?out",
            )


def one_click(page: Page) -> Iterator[Spot]:
    """RFC 8058: both headers, the first with an https address."""
    headers = page.email.headers
    listed = re.findall(r"<([^>]*)>", headers.get("List-Unsubscribe", ""))
    own_trial = any(link.startswith("http://") for link in listed) and not page.house.reaches_people
    encrypted = any(link.startswith("https://") for link in listed)
    if not (encrypted or own_trial) or headers.get("List-Unsubscribe-Post", "").strip() != _ONE_CLICK:
        yield Spot(
            severity=Severity.BLOCK,
            code="no-one-click-unsubscribe",
            message="The headers List-Unsubscribe (an https address) and List-Unsubscribe-Post are not both there; "
            "Gmail and Yahoo ask for them.",
            mend="set mail.public_url in config.toml to an https:// address",
            part=Part.HEADERS,
        )


def postal_address(page: Page) -> Iterator[Spot]:
    """Who sends this, and where they are (CAN-SPAM; Spam Act 2003, section 17)."""
    wanted = set(re.findall(r"\w{2,}", page.house.postal_address.lower()))
    said = {Part.HTML: page.words, Part.TEXT: page.text}
    missing = [
        part for part in _EACH if len(wanted & set(re.findall(r"\w{2,}", said[part].lower()))) < 0.6 * len(wanted)
    ]
    for part in missing:
        neither = len(missing) == len(_EACH)
        yield Spot(
            severity=Severity.BLOCK if neither else Severity.WARN,
            code="no-postal-address" if neither else "postal-address-in-one-part",
            message=f"The {_named(part)} does not give our postal address. The law asks for one.",
            mend="print {{ site.postal_address }} at the end",
            part=part,
            source=r"unsubscri",
        )


def same_branch(page: Page) -> Iterator[Spot]:
    """Both parts are about the same courses: one that speaks of a course the other leaves out took another branch."""
    html, text = page.words.lower(), page.text.lower()
    in_html = {link.address for link in page.links}
    in_text = {address for address, _ in page.text_links}
    for title, link in page.email.courses.items():
        name = one_line(title).lower()
        by_part = {
            Part.HTML: _speaks_of(html, name) or link in in_html,
            Part.TEXT: _speaks_of(text, name) or link in in_text,
        }
        if by_part[Part.HTML] is by_part[Part.TEXT]:
            continue
        has, lacks = sorted(_EACH, key=lambda part: not by_part[part])
        yield Spot(
            severity=Severity.BLOCK,
            code="parts-differ",
            message=f"The {_named(has)} is about {title}, and the {_named(lacks)} does not mention it: they came from "
            "different branches of the template.",
            mend="give both parts the same {% if … %} branches",
            part=has,
            element=_element_with(page, name, link) if has is Part.HTML else None,
            text_line=_line_with(page, name, link) if has is Part.TEXT else None,
        )


def _speaks_of(text: str, name: str) -> bool:
    return bool(name) and re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) is not None


def _element_with(page: Page, name: str, link: str) -> object:
    for each in page.links:
        if link and each.address == link:
            return each.element
    body = page.root.find("body")
    pieces = shown(body) if body is not None else iter(())
    return next((element for element, text in pieces if _speaks_of(one_line(text).lower(), name)), None)


def _line_with(page: Page, name: str, link: str) -> int | None:
    """A title may be broken over two lines; then its first word tells the line."""
    for wanted in (name, link.lower(), name.partition(" ")[0]):
        for number, line in enumerate(page.lines):
            if wanted and wanted in line.lower():
                return number
    return None


def same_links(page: Page) -> Iterator[Spot]:
    """A link that only one part has; the way out is looked at by itself."""
    own = page.email.unsubscribe_url
    in_html = {link.address for link in page.links} | {own}
    for link in page.links:
        address = link.address.removeprefix("mailto:").partition("?")[0] if "mailto:" in link.address else link.address
        elsewhere = ":" in link.address and link.address != own
        if elsewhere and address not in page.email.text:
            yield _one_part("link-in-one-part", f"A link to {address[:80]}", Part.HTML, element=link.element)
    for address, line in page.text_links:
        if address not in in_html and address not in page.words:
            yield _one_part("link-in-one-part", f"A link to {address[:80]}", Part.TEXT, text_line=line)


def same_values(page: Page) -> Iterator[Spot]:
    """A merge value that one part prints and the other neither prints nor asks about."""
    sources = {part: page.email.places.source_of(part) for part in _EACH}
    used = {part: set(_VALUE.findall(source)) for part, source in sources.items()}
    for part, other in ((Part.HTML, Part.TEXT), (Part.TEXT, Part.HTML)):
        printed = {value for words in _PRINTED.findall(sources[part]) for value in _VALUE.findall(words)}
        for value in sorted(printed - used[other]):
            if value in _LOOKED_AT or value.endswith(("link", "_url")):
                continue
            where = rf"\{{\{{[^}}]*\b{re.escape(value)}\b"
            yield _one_part("value-in-one-part", f"The value {value}", part, source=where)


def _one_part(
    code: str, what: str, part: Part, *, element: object = None, text_line: int | None = None, source: str = ""
) -> Spot:
    other = _named(Part.TEXT if part is Part.HTML else Part.HTML)
    return Spot(
        severity=Severity.WARN,
        code=code,
        message=f"{what} stands in the {_named(part)} and not in the {other}.",
        mend=f"say it in the {other} too",
        part=part,
        element=element,
        text_line=text_line,
        source=source,
    )


def _named(part: Part) -> str:
    return "HTML part" if part is Part.HTML else "text part"


RULES = (unsubscribe, one_click, postal_address, same_branch, same_links, same_values)
