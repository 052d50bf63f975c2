"""The completion report as one page: funnel, tracks, courses and runs, certificates, pace, and the data behind it.

Counts only, no names. One file without scripts that needs neither server nor network, made to be printed too.
"""

from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from mmcampaign.figures import ProgramSummary, Source, share
from mmcampaign.pages.html import environment


@dataclass(frozen=True, kw_only=True)
class CompletionPage:
    """What the page shows. ``today`` is the day to which ages are counted, ``timezone`` an IANA name."""

    numbers: ProgramSummary
    today: date
    timezone: str
    made_at: datetime

    @property
    def sources(self) -> tuple[Source, ...]:
        return self.numbers.exports

    def age_days(self, source: Source) -> int:
        """Whole days in the page's zone between a file's export and ``today``."""
        return (self.today - source.exported_at.astimezone(ZoneInfo(self.timezone)).date()).days

    @property
    def oldest_days(self) -> int | None:
        """Age in days of the oldest export; None when there is none."""
        return max(map(self.age_days, self.sources), default=None)


def completion_html(page: CompletionPage) -> str:
    """The page as HTML."""
    jinja = environment()
    jinja.filters["percent"] = percent
    jinja.globals["share"] = share
    return jinja.get_template("completion.html").render(page=page, numbers=page.numbers)


def percent(fraction: float | None) -> str:
    """A share for people: ``12.4 %``, with a no-break space; a dash where there was nothing to divide by.

    What is not quite nothing is never shown as nothing, and what is not quite all never as all.
    """
    if fraction is None:
        return "–"
    text = f"{fraction:.1%}"
    if fraction > 0 and text == "0.0%":
        text = "<0.1%"
    if fraction < 1 and text == "100.0%":
        text = ">99.9%"
    return text.replace("%", "\N{NO-BREAK SPACE}%")
