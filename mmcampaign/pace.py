"""How fast messages may go."""

import time
from collections.abc import Callable
from threading import Event


class Pace:
    """Keeps to a number of messages per second, without catching up after a pause; 0 means as fast as it goes."""

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second, self._clock = per_second, clock
        self._free_at = clock()

    @property
    def most_at_once(self) -> int:
        """A batch holds at most one second's worth."""
        return max(1, int(self._per_second)) if self._per_second else 1_000_000

    def after(self, count: int, stop: Event) -> None:
        """Wait until the next batch may go."""
        if not self._per_second:
            return
        now = self._clock()
        self._free_at = max(self._free_at, now - 1) + count / self._per_second
        if self._free_at > now:
            stop.wait(self._free_at - now)
