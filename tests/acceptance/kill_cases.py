"""Who is killed and when, and the table of what came of it."""

import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Process = subprocess.Popen[str]


@dataclass(frozen=True, kw_only=True)
class Case:
    """Which backend on which database, how many processes at once, and how often they are killed.

    ``workers``: they are ``mmcampaign worker``, not ``send``. ``server``: not they are killed but their PostgreSQL.
    """

    backend: str
    database: str
    processes: int
    kills: int
    messages: int
    workers: bool = False
    server: bool = False

    @property
    def killed(self) -> str:
        who = f"{self.processes} {'worker' if self.workers else 'sender'}{'s' if self.processes > 1 else ''}"
        return f"PostgreSQL under {who}" if self.server else who

    @property
    def name(self) -> str:
        return f"{self.backend} on {self.database} - {self.killed}"


@dataclass(frozen=True, kw_only=True)
class Moment:
    """So many ``seconds`` after so many mails have arrived in all.

    ``at_once``: by the receiving server itself, before it answers. ``limit``: the run is to send no more than so many.
    """

    arrivals: int
    seconds: float = 0.0
    at_once: bool = False
    limit: int = 0


class Doomed:
    """A process and the moment of its end."""

    def __init__(self, process: Process, moment: Moment) -> None:
        self.process, self.moment = process, moment
        self._due = 0.0

    def look(self, arrived: int) -> bool:
        """Kill it when it is time; whether it is gone, by that or by itself."""
        now = time.monotonic()
        if not self._due and arrived >= self.moment.arrivals:
            self._due = now + self.moment.seconds
        if self._due and now >= self._due:
            self.kill()
        return self.process.poll() is not None

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def table(outcomes: Sequence[Mapping[str, Any]]) -> list[str]:
    """The outcomes in Markdown, and their sums."""
    names = list(outcomes[0])
    words, numbers = names[:3], names[3:]
    rows = sorted([str(outcome[name]) for name in names] for outcome in outcomes)
    sums = ["all", "", "", *(f"{sum(outcome[name] for outcome in outcomes):,}" for name in numbers)]
    lines = [names, ["---"] * len(words) + ["---:"] * len(numbers), *rows, sums]
    return [f"| {' | '.join(line)} |" for line in lines]
