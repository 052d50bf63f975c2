"""How fast messages may go: slots on one line of time that all senders through a backend share. Values only.

A slot begins when the one before it has ended, or now, whichever is later: what was not used before is never caught up
with, so a pause ends without a burst. A provider that asks for less (HTTP 429, SMTP 421) halves the rate for everybody;
it comes back slowly.
"""

import time
from dataclasses import dataclass, replace

RECOVERY_SECONDS = 600.0  # from nothing back to the whole rate
LEAST_SHARE = 1 / 64
LONGEST_BREAK_SECONDS = 60.0  # that one answer can ask of everybody; its own messages wait for longer (lifecycle.py)
STANDING_IN_LINE = 30.0  # senders that may wait for slots at a time; time booked further ahead is a clock set back


@dataclass(frozen=True, kw_only=True)
class Throttle:
    """What the senders through one backend share. Times are seconds by one clock that may be set.

    The next slot begins at ``free_at``. ``share`` is the part of the configured rate in use since ``slowed_at``.
    """

    free_at: float = 0.0
    share: float = 1.0
    slowed_at: float = 0.0

    def share_at(self, now: float) -> float:
        """The part of the rate that may be used now; it grows with the time since the provider asked for less."""
        return min(1.0, self.share + max(0.0, now - self.slowed_at) / RECOVERY_SECONDS)

    def _next_slot(self, now: float, rate: float) -> float:
        ahead = self.free_at - now
        return self.free_at if 0 < ahead <= LONGEST_BREAK_SECONDS + STANDING_IN_LINE / rate else now


@dataclass(frozen=True, kw_only=True)
class Slots:
    """``count`` messages may go when ``wait`` seconds have passed."""

    count: int
    wait: float


def reserve(throttle: Throttle, *, now: float, wanted: int, per_second: float) -> tuple[Throttle, Slots]:
    """The next slots for up to ``wanted`` messages, at most one second's worth, and the line of time without them."""
    rate = per_second * throttle.share_at(now)
    count = max(1, min(wanted, int(rate)))
    start = throttle._next_slot(now, rate)
    return replace(throttle, free_at=start + count / rate), Slots(count=count, wait=start - now)


def slow_down(throttle: Throttle, *, now: float, retry_after: float | None = None) -> Throttle:
    """After a provider asked for less: half the rate, and nothing for as long as it said, up to a minute.

    Answers that come within a second are about the same haste, so they halve once.
    """
    pause_until = now + min(max(retry_after or 0.0, 1.0), LONGEST_BREAK_SECONDS)
    ahead = throttle.free_at - now
    free_at = max(throttle.free_at, pause_until) if ahead <= LONGEST_BREAK_SECONDS else pause_until
    if 0 <= now - throttle.slowed_at < 1:
        return replace(throttle, free_at=free_at)
    share = max(throttle.share_at(now) / 2, LEAST_SHARE)
    return Throttle(free_at=free_at, share=share, slowed_at=now)


# Linux's CLOCK_MONOTONIC stands still while the computer sleeps, macOS's does not.
_CLOCK: int | None = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))


def steady() -> float:
    """Seconds on a clock that nobody sets and that goes on while this process is stopped or the computer sleeps."""
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)
