"""The hours in which mail may go out, as ``[mail] send_window`` writes them: ``mon-fri 09:00-17:00``. Values only."""

import re
from datetime import datetime, time, timedelta
from typing import NamedTuple

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_FORM = re.compile(r"(?:(?P<days>[a-z,\- ]+?)\s+)?(?P<opens>\d\d:\d\d)\s*-\s*(?P<closes>\d\d:\d\d)", re.IGNORECASE)


class SendWindow(NamedTuple):
    """``days`` are those on which it opens, Monday being 0. One that closes before it opens lasts over midnight."""

    days: frozenset[int]
    opens: time
    closes: time

    def is_open(self, at: datetime) -> bool:
        """Whether mail may go out at this local time."""
        today, clock = at.weekday(), at.time()
        if self.opens < self.closes:
            return today in self.days and self.opens <= clock < self.closes
        since_yesterday = (today - 1) % 7 in self.days and clock < self.closes
        return since_yesterday or (today in self.days and clock >= self.opens)

    def next_opening(self, at: datetime) -> datetime:
        """When it opens next, not before this local time."""
        days = (at.date() + timedelta(days=ahead) for ahead in range(8))
        openings = (datetime.combine(day, self.opens, tzinfo=at.tzinfo) for day in days if day.weekday() in self.days)
        return next(opening for opening in openings if opening >= at)


def read_window(text: str) -> SendWindow:
    """The window in words: ``09:00-17:00`` on all days, ``mon-thu,sat 22:00-06:00`` on some. ValueError otherwise."""
    found = _FORM.fullmatch(text.strip())
    if not found:
        raise ValueError(f"{text!r} is not a send window; write it like mon-fri 09:00-17:00")
    if found["opens"] == found["closes"]:
        raise ValueError(f"{text!r} opens and closes at the same time")
    opens, closes = _clock(found["opens"]), _clock(found["closes"])
    return SendWindow(days=_days(found["days"] or "mon-sun"), opens=opens, closes=closes)


def _clock(text: str) -> time:
    try:
        return time() if text == "24:00" else time.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text} is no time of day") from error


def _days(text: str) -> frozenset[int]:
    days: set[int] = set()
    for part in text.lower().split(","):
        first, _, last = (word.strip() for word in part.partition("-"))
        try:
            start, end = DAYS.index(first), DAYS.index(last or first)
        except ValueError as error:
            raise ValueError(f"{part.strip()!r} is no day; days are {', '.join(DAYS)}") from error
        days.update((start + step) % 7 for step in range((end - start) % 7 + 1))
    return frozenset(days)
