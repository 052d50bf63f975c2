"""One campaign whose senders, or whose database, are killed again and again until it is settled; what came of it."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from mmcampaign.app import open_app
from mmcampaign.sending_run import batches
from tests.acceptance.crew import start_worker
from tests.acceptance.kill_cases import Case, Doomed, Moment, Process
from tests.acceptance.postgres import Mortal
from tests.acceptance.runner import LONGEST_SECONDS, Cli
from tests.acceptance.sinks import Sink, judge

LEASE = 5.0  # seconds; on PostgreSQL what a killed process held is in doubt after them
LOOK_SECONDS = 0.001
# `send` of campaign 1, everything loaded beforehand; it begins with a line that says how many may go (0: all).
SENDER = """
import os, sys
from datetime import timedelta
from pathlib import Path

import mmcampaign.merge
from mmcampaign.app import open_app
from mmcampaign.sending_run import batches
from mmcampaign.errors import MmcampaignError
from mmcampaign.sending import SendRequest, send
from mmcampaign.store import outbox

outbox.LEASE = timedelta(seconds=float(sys.argv[1]))
print("ready", file=sys.stderr, flush=True)
limit = int(sys.stdin.readline())
try:
    app = open_app(None, os.environ, cwd=Path.cwd())
    send(app, SendRequest(campaign=1, limit=limit or None), confirm=lambda campaign, number: None)
except MmcampaignError as error:
    sys.exit(error.what)
"""


class Trial:
    """Campaign 1 of ``sink.cli`` under the kills of ``case``; all that is random comes from ``seed``."""

    def __init__(self, case: Case, sink: Sink, url: str, *, seed: int, server: Mortal | None) -> None:
        self.case, self.sink, self.killed = case, sink, 0
        self._rng, self._server, self._machines = random.Random(seed), server, 0
        self._engine = create_engine(url, pool_pre_ping=True)
        self._running: list[Process] = []
        self._in_hand = most_in_hand(sink.cli)

    def run(self) -> None:
        """Kill as often as the case wants; then send what is left, undisturbed, until nothing is open."""
        if self.case.server:
            self._kill_server()
        else:
            self._kill_processes()
        self._finish()

    def close(self) -> None:
        self._dismiss(list(self._running))
        self._engine.dispose()

    # --- what the log says, read without the program ---

    def query(self, sql: str) -> list[Any]:
        """A database that was just killed is asked again."""
        until = time.monotonic() + LONGEST_SECONDS
        while True:
            try:
                with self._engine.connect() as connection:
                    return list(connection.execute(text(sql)))
            except OperationalError:
                assert time.monotonic() < until
                time.sleep(0.02)

    def number(self, *statuses: str) -> int:
        """How many messages stand at one of these."""
        quoted = ", ".join(f"'{status}'" for status in statuses)
        return int(self.query(f"SELECT count(*) AS n FROM messages WHERE status IN ({quoted})")[0].n)

    def outcome(self) -> Mapping[str, Any]:
        """A line of the table: the receiving side's record against the log, when the campaign is settled."""
        log = {row.message_id: row.status for row in self.query("SELECT message_id, status FROM messages")}
        found, case = judge(self.sink.counts(), log), self.case
        return {
            "backend": case.backend,
            "database": case.database,
            "killed": case.killed,
            "messages": len(log),
            "kills": self.killed,
            "duplicates": found.duplicates,
            "missing": found.missing + len(log) - found.log["accepted"] - found.log["unknown"],
            "not in the log": found.unlisted,
            "unknown": found.log["unknown"],
            "at most": self._most_unknown(),
        }

    def _most_unknown(self) -> int:
        """docs/delivery-proofs.md, how many can be in doubt."""
        if self.case.backend == "file" and self.case.database == "SQLite":  # its folder is the proof, decision 15
            return 0
        return self.killed * self._in_hand * (self.case.processes if self.case.server else 1)

    def require_sums_in_line(self) -> None:
        """The campaign's own counts are those of its messages, and ``doctor`` has nothing to say."""
        (kept,) = self.query("SELECT accepted, unknown, pending, sending FROM campaigns")
        assert tuple(kept) == (self.number("accepted"), self.number("unknown"), 0, 0)
        checks = {row["what"]: row["state"] for row in self.sink.cli.json("doctor")["checks"]}
        assert (checks["ledger"], checks["audit log"]) == ("ok", "ok")

    # --- processes ---

    def _team(self) -> list[Process]:
        return [self._start() for _ in range(self.case.processes)]

    def _start(self) -> Process:
        """One more; a worker works as soon as it can, a sender waits for ``_begin``."""
        cli = self.sink.cli
        if self.case.workers:
            self._machines += 1
            process = start_worker(cli, cli.folder.parent / f"machine{self._machines}", lease=LEASE)
        else:
            process = subprocess.Popen(
                [sys.executable, "-c", SENDER, str(LEASE)],
                cwd=cli.folder,
                env=cli.environment(),
                stdin=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        self._running.append(process)
        return process

    def _begin(self, process: Process, limit: int = 0) -> None:
        assert process.stderr
        line = process.stderr.readline()
        assert line.endswith("ready\n"), line + process.stderr.read()
        if process.stdin:
            process.stdin.write(f"{limit}\n")
            process.stdin.flush()

    def _bury(self, process: Process) -> bool:
        """Of a process that is gone: whether it was killed. It has said nothing that a person should not see."""
        _, said = process.communicate(timeout=LONGEST_SECONDS)
        self._running.remove(process)
        assert "Traceback" not in said, said
        assert "@post.example" not in said
        assert process.returncode in {0, 1, -signal.SIGKILL}, said
        return process.returncode == -signal.SIGKILL

    def _dismiss(self, team: Sequence[Process]) -> None:
        """Those that never began, or that a test which failed has left behind."""
        for process in team:
            process.kill()
            process.communicate()
            self._running.remove(process)

    # --- kills ---

    def _moment(self) -> Moment:
        """At the start of a run, while a message is taken, while others are under way or recorded, or at its end."""
        now, far = self.sink.number(), self._rng.randint(1, self._window())
        what = self._rng.choices(("start", "taken", "under way", "end"), (2, 4, 4, 1))[0]
        if what == "start":
            return Moment(arrivals=now, seconds=self._rng.random() * 0.3)
        if what == "taken":
            return Moment(arrivals=now + far, at_once=True)
        if what == "under way":
            return Moment(arrivals=now + far, seconds=self._rng.random() * 0.02)
        return Moment(arrivals=now + far, seconds=self._rng.random() * 0.1, limit=0 if self.case.server else far)

    def _window(self) -> int:
        """Within how many arrivals the next round is to end, so that there is something to send in the last one too."""
        wanted = self.case.kills - self.killed
        at_once = 1 if self.case.server or self.case.database == "SQLite" else self.case.processes
        pending = self.number("pending")
        assert pending or self.case.server, f"nothing is left to send after {self.killed} kills"
        return max(1, (pending // (wanted + at_once) - self._in_hand) * at_once)

    def _kill_processes(self) -> None:
        """Round by round: all begin together, each ends at a moment of its own. The next ones load meanwhile."""
        if self.case.workers:
            self._enqueue()
        team = self._team()
        while self.killed < self.case.kills:
            doomed = [Doomed(process, self._moment()) for process in team]
            for one in doomed:
                self._begin(one.process, one.moment.limit)
            team = [] if self.case.workers else self._team()
            self._see_to_the_end(doomed)
            self.killed += sum(self._bury(one.process) for one in doomed)
            team = team or self._team()
        self._dismiss(team)

    def _see_to_the_end(self, doomed: Sequence[Doomed]) -> None:
        for one in doomed:
            if one.moment.at_once:
                self.sink.at(one.moment.arrivals, one.kill)
        self._wait_until(lambda: sum(one.look(self.sink.number()) for one in doomed) == len(doomed))

    def _kill_server(self) -> None:
        """The database is killed while there is something to send; senders that give up are replaced."""
        assert self._server
        if self.case.workers:
            self._enqueue()
        team, spare = self._team(), [] if self.case.workers else self._team()
        for process in team:
            self._begin(process)
        while self.killed < self.case.kills and self.number("pending"):
            self._wait_for(self._moment(), team)
            self.killed += self._server.strike(self._rng)
            self.query("SELECT true")
            for place in [place for place, process in enumerate(team) if not _alive(process)]:
                self._bury(team[place])
                team[place] = spare.pop()  # a worker is never gone: it waits for its database
                self._begin(team[place])
                spare.append(self._start())
        self._dismiss(spare)
        for process in team:
            self._end(process)

    def _wait_for(self, moment: Moment, team: Sequence[Process]) -> None:
        self._wait_until(lambda: self.sink.number() >= moment.arrivals or not any(map(_alive, team)))
        time.sleep(moment.seconds)

    def _enqueue(self) -> None:
        """What a person does: ``send`` puts shares into the queue. Then nobody looks on, and the first worker dies."""
        worker = self._start()
        self._begin(worker)
        follower = self.sink.cli.start("send", 1, "--yes", "--expect", self.case.messages)
        self._wait_until(lambda: self.sink.number() > 0)
        for process in (follower, worker):
            process.kill()
        follower.communicate()
        self.killed += self._bury(worker)

    def _finish(self) -> None:
        """On PostgreSQL the claims of the dead have to run out first."""
        while self.number("pending", "sending"):
            process = self._start()
            self._begin(process)
            self._end(process)

    def _end(self, process: Process) -> None:
        """A sender ends by itself, a worker when nothing is open any more and it is told to."""
        if self.case.workers:
            self._wait_until(lambda: not self.number("pending", "sending"))
            process.terminate()
        process.wait(LONGEST_SECONDS)
        assert not self._bury(process)

    def _wait_until(self, so: Callable[[], bool]) -> None:
        until = time.monotonic() + LONGEST_SECONDS
        while not so():
            assert time.monotonic() < until
            time.sleep(LOOK_SECONDS)


@contextmanager
def trial(case: Case, sink: Sink, url: str, *, seed: int, server: Mortal | None) -> Iterator[Trial]:
    made = Trial(case, sink, url, seed=seed, server=server)
    try:
        yield made
    finally:
        with suppress(OperationalError):
            made.close()


def _alive(process: Process) -> bool:
    return process.poll() is None


def most_in_hand(cli: Cli) -> int:
    """How many messages one process may have claimed: a batch on the wire and one that waits for it."""
    app = open_app(cli.folder / "config.toml", cli.environment(), cwd=cli.folder)
    try:
        return batches(app, app.backend()).in_hand
    finally:
        app.store.close()
