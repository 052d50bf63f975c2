"""The Jinja environment of the pages, and how numbers, times and emails are put there for people.

Everything a template prints is escaped; a name it does not know is an error. Emails are merged in ``merge.py``.
"""

import re
from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from lxml import etree
from lxml import html as lxml_html

from mmcampaign.pages.reasons import COHORT_TITLES

PREHEADER_LENGTH = 110  # characters; inboxes show 35 to 130 of them (console 2.3)

# What templates pad the preheader with so that no body text follows it in the inbox.
_PADDING = "\u00ad\u034f\u061c\u115f\u180e\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"
_LONG_PADDING = re.compile(rf"(?:\s*[{_PADDING}]){{20}}.*", re.DOTALL)


def number(value: int) -> str:
    """1234 -> ``1,234``."""
    return f"{value:,}"


def counted(value: int, singular: str, plural: str = "") -> str:
    """1 -> ``1 email``, 412 -> ``412 emails``."""
    return f"{value:,} {singular if value == 1 else plural or singular + 's'}"


def change(value: int) -> str:
    """A difference with its sign: ``+14``, ``−3`` (a real minus), ``no change``."""
    return f"{value:+,}".replace("-", "−") if value else "no change"


def day(value: date) -> str:
    """A date in words: ``5 June 2019``."""
    return f"{value.day} {value:%B %Y}"


def clock(value: datetime, timezone: str) -> str:
    """A moment in the given zone, which the page names beside it: ``5 June 2019, 14:32``."""
    local = value.astimezone(ZoneInfo(timezone))
    return f"{day(local)}, {local:%H:%M}"


def offset(value: datetime, timezone: str) -> str:
    """The zone's distance from UTC at that moment: ``UTC+10:00``."""
    text = f"{value.astimezone(ZoneInfo(timezone)):%z}"
    return f"UTC{text[:3]}:{text[3:]}"


def duration(seconds: float) -> str:
    """How long something takes, as people say it: ``about 17 minutes``."""
    minutes = round(seconds / 60)
    if seconds < 60:
        return "less than a minute"
    if minutes < 60:
        return f"about {counted(minutes, 'minute')}"
    hours, rest = divmod(minutes, 60)
    return f"about {counted(hours, 'hour')}" + (f" {counted(rest, 'minute')}" if rest else "")


def groups(digest: str, size: int = 4) -> str:
    """A digest in groups that people can compare by eye: ``3f2a 90bc …``."""
    return " ".join(digest[start : start + size] for start in range(0, len(digest), size))


def cohort_title(cohort: str) -> str:
    """What being in a cohort means for a learner; the code itself for one not known here."""
    return COHORT_TITLES.get(cohort, cohort)


def preheader(html: str) -> str:
    """The first words of an email's body, which an inbox shows behind the subject; long padding ends them."""
    try:
        document = lxml_html.document_fromstring(html.encode(), parser=lxml_html.HTMLParser(encoding="utf-8"))
    except etree.ParserError:  # nothing in it
        return ""
    words = document.xpath("//body//text()[not(ancestor::style or ancestor::script or ancestor::title)]")
    shown = " ".join(_LONG_PADDING.sub("", " ".join(words)).translate(dict.fromkeys(map(ord, _PADDING))).split())
    return shown if len(shown) <= PREHEADER_LENGTH else shown[: PREHEADER_LENGTH - 1].rstrip() + "…"


def framed(html: str) -> str:
    """An email for a frame without rights: clicking a link does nothing, and a print keeps the email's colours.

    The frame's empty ``sandbox`` forbids new windows, and ``base`` sends every link to one (a link with a target of
    its own meets the page's policy instead, which lets no frame load anything). Where a link leads still shows when
    the mouse rests on it.
    """
    return f'<base target="_blank"><style>*{{-webkit-print-color-adjust:exact;print-color-adjust:exact}}</style>{html}'


def environment() -> Environment:
    """Strict and escaping, over the templates beside this module."""
    jinja = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (number, counted, change, day, clock, offset, duration, groups, cohort_title, preheader, framed)
    jinja.filters.update({function.__name__: function for function in filters})
    return jinja
