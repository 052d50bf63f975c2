"""A very large campaign: does memory stay flat, does a message cost what it costs among ten thousand, and do questions
about it stay quick?

Planning is measured elsewhere: here the messages of a small approved campaign are copied under other ids. Its template
is a short one (a message of 1.5 KB), so that a million emails in a folder fit a disk: 4 GB, and 1.5 GB for their mbox.
"""

import hashlib
import json
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path

from bench.measure import line, mmcampaign
from bench.sinks import sendgrid_sink
from tests.acceptance.worlds import make_river, people

SEED = 2_000  # messages that are planned
SMALL = 10_000
ROUNDS = 3  # of the small one; the large one is its own average
BYTES_PER_FILE = 12_000  # of the disk: a block of 4 KB, its place in the folder, its part of the mbox, and the database

_WAS = "(SELECT message_id FROM messages WHERE messages.id = merge_values.id)"
_IS = f"printf('%06x', :copy) || substr({_WAS}, 7)"
_TOLD = f"""replace(replace(told, {_WAS}, {_IS}), '"email":"' || email, '"email":"' || :copy || '.' || email)"""
_SHAPE = "(SELECT shape_digest FROM messages WHERE messages.id = merge_values.id)"
_OTHER = {
    "id": "id + :copy * :last",
    "message_id": "printf('%06x', :copy) || substr(message_id, 7)",
    "told": _TOLD,
    "told_digest": f"sha256({_SHAPE} || char(10) || {_TOLD})",
    "learner_id": "learner_id + :copy * 100000000",
    "email": ":copy || '.' || email",
    "email_key": ":copy || '.' || email_key",
}
# Each command as a person gives it, in a process that has everything loaded: milliseconds.
_ASK = """
import json, statistics, sys, time
from typer.testing import CliRunner
from mmcampaign.cli import app

def milliseconds(words):
    started = time.perf_counter()
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    return (time.perf_counter() - started) * 1e3

commands = json.loads(sys.argv[1])
print(json.dumps([statistics.median([milliseconds(words) for _ in range(6)][1:]) for words in commands]))
"""


def run(messages: int) -> None:
    """What a message costs among 10,000 and among so many, and what questions cost then."""
    with tempfile.TemporaryDirectory() as scratch, sendgrid_sink() as url:
        _require_space(Path(scratch), messages)
        ways: dict[str, Mapping[str, str]] = {
            "file": {},
            "sendgrid": {"MMCAMPAIGN_DELIVERY__SENDGRID__HOST": url, "SENDGRID_API_KEY": "SG.x"},
        }
        line("", "us a message", "CPU us", "peak MB", "status ms", "history ms", "show ms")
        for backend, environ in ways.items():
            os.environ.update({"MMCAMPAIGN_MAIL__BACKEND": backend, **environ})
            world = World(Path(scratch) / backend)
            for number, rounds in ((SMALL, ROUNDS), (messages, 1)):
                rows = [world.send(backend, number) for _ in range(rounds)]
                figures = [f"{statistics.median(column):,.0f}" for column in zip(*rows, strict=True)]
                line(f"{number:,} through {backend}", *figures)


def _require_space(scratch: Path, messages: int) -> None:
    free = shutil.disk_usage(scratch).free
    if free < messages * BYTES_PER_FILE:
        sys.exit(f"{scratch} has {free / 1e9:.0f} GB free, {messages * BYTES_PER_FILE / 1e9:.0f} GB are needed.")


class World:
    """An approved campaign, and copies of its database in which it has as many messages as one likes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._database = folder / "mmcampaign.db"
        os.environ["MMCAMPAIGN_SECRET_KEY"] = "a key for the benchmark that is long enough"
        os.environ["MMCAMPAIGN_MAIL__RATE_PER_SECOND"] = "1000000"
        make_river(folder, people(SEED))
        for step in (("ingest", "downloads"), ("dry-run", "river"), ("approve", "1")):
            mmcampaign(*step, cwd=folder)
        self._start_seconds = mmcampaign("status", cwd=folder).cpu_seconds
        self._approved = self._database.rename(folder / "approved.db")

    def send(self, backend: str, number: int) -> list[float]:
        """Microseconds and CPU microseconds a message, peak memory in MB, and milliseconds of each question."""
        self._fill(number)
        cost = mmcampaign("send", "1", "--yes", "--expect", str(number), "--backend", backend, cwd=self.folder)
        microseconds = self._seconds() / number * 1e6
        cpu = (cost.cpu_seconds - self._start_seconds) / number * 1e6
        figures = [microseconds, cpu, cost.peak_mb, *self._questions()]
        shutil.rmtree(self.folder / "outbox", ignore_errors=True)
        return figures

    def _fill(self, number: int) -> None:
        """A fresh database with so many pending messages."""
        for old in self.folder.glob("mmcampaign.db*"):
            old.unlink()
        shutil.copyfile(self._approved, self._database)
        with closing(sqlite3.connect(self._database)) as connection:
            connection.create_function("sha256", 1, _sha256, deterministic=True)
            last = connection.execute("SELECT max(id) FROM messages").fetchone()[0]
            for copied in range(1, number // SEED):
                for table in ("merge_values", "messages"):
                    names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
                    chosen = ", ".join(_OTHER.get(name, name) for name in names)
                    copy = f"INSERT INTO {table} ({', '.join(names)}) SELECT {chosen} FROM {table} WHERE id <= :last"
                    connection.execute(copy, {"copy": copied, "last": last})
            counts = "UPDATE campaigns SET pending = :n, chosen = :n, considered = excluded + :n"
            connection.execute(counts, {"n": number})
            connection.commit()

    def _seconds(self) -> float:
        """From the first claim to the last record, by the campaign's own times."""
        with closing(sqlite3.connect(self._database)) as connection:
            accepted, *times = connection.execute("SELECT accepted, started_at, finished_at FROM campaigns").fetchone()
            (number,) = connection.execute("SELECT count(*) FROM messages").fetchone()
        assert accepted == number, f"{accepted:,} of {number:,} were accepted"
        started, finished = map(datetime.fromisoformat, times)
        return (finished - started).total_seconds()

    def _questions(self) -> list[float]:
        with closing(sqlite3.connect(self._database)) as connection:
            found = connection.execute("SELECT message_id, email_key FROM messages ORDER BY id DESC LIMIT 1").fetchone()
        commands = [["status", "1"], ["history", "--learner", found[1]], ["show", found[0]]]
        asked = [sys.executable, "-c", _ASK, json.dumps(commands)]
        answer = subprocess.run(asked, cwd=self.folder, capture_output=True, text=True, check=True)
        return list(json.loads(answer.stdout))


def _sha256(text: str | None) -> str | None:
    return None if text is None else hashlib.sha256(text.encode()).hexdigest()
