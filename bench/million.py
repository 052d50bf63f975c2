"""A very large campaign: does memory stay flat, and does a message cost what it costs among ten thousand?

Planning is measured elsewhere: here the messages of a small approved campaign are copied under other ids. The folder of
a million emails would need some 50 GB with its mbox, so by default they go through ``sendgrid`` only.
"""

import os
import sqlite3
import tempfile
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from bench.delivery import World
from bench.measure import line, mmcampaign
from bench.sinks import sendgrid_sink
from mmcampaign import history
from mmcampaign.app import open_app
from mmcampaign.store.history import HistoryFilter

SEED = 2_000  # messages that are planned
SMALL = 10_000

_OTHER = {
    "message_id": "printf('%06x', :copy) || substr(message_id, 7)",
    "learner_id": "learner_id + :copy * 100000000",
    "email": ":copy || '.' || email",
    "email_key": ":copy || '.' || email_key",
}


def run(messages: int, *, files: bool = False) -> None:
    """What a message costs among 10,000 and among so many, and what questions cost then."""
    ways: dict[str, Mapping[str, str]] = {"file": {}} if files else {}
    with tempfile.TemporaryDirectory() as scratch, sendgrid_sink() as url:
        world = World(Path(scratch), SEED)
        ways["sendgrid"] = {"MMCAMPAIGN_DELIVERY__SENDGRID__HOST": url, "SENDGRID_API_KEY": "SG.x"}
        line("", "us a message", "peak MB", "status ms", "history ms", "show ms")
        for number in (SMALL, messages):
            for name, environ in ways.items():
                _fill(world, number)
                os.environ.update(environ)
                cost = mmcampaign("send", "1", "--yes", "--expect", str(number), "--backend", name, cwd=world.folder)
                per_message = f"{cost.seconds / number * 1e6:,.0f}"
                line(f"{number:,} through {name}", per_message, f"{cost.peak_mb:,.0f}", *_questions(world.folder))


def _fill(world: World, number: int) -> None:
    """A fresh database with so many pending messages."""
    world.fresh()
    with closing(sqlite3.connect(world.folder / "mmcampaign.db")) as connection:
        names = [row[1] for row in connection.execute("PRAGMA table_info(messages)") if row[1] != "id"]
        chosen = ", ".join(_OTHER.get(name, name) for name in names)
        last = connection.execute("SELECT max(id) FROM messages").fetchone()[0]
        copy = f"INSERT INTO messages ({', '.join(names)}) SELECT {chosen} FROM messages WHERE id <= :last"
        for copied in range(1, number // SEED):
            connection.execute(copy, {"copy": copied, "last": last})
        counts = "UPDATE campaigns SET pending = :n, chosen = :n, considered = excluded + :n"
        connection.execute(counts, {"n": number})
        connection.commit()


def _questions(folder: Path) -> list[str]:
    """Milliseconds of what ``status``, ``history`` and ``show`` ask the database, the start of Python not counted."""
    app = open_app(None, os.environ, cwd=folder)
    try:
        with app.store.read() as connection:
            first = str(connection.exec_driver_sql("SELECT message_id FROM messages LIMIT 1").scalar_one())
        questions = (
            lambda: history.campaign_list(app, 1),
            lambda: list(history.sends(app, HistoryFilter(learner="3"))),
            lambda: history.show(app, first),
        )
        return [_milliseconds(question) for question in questions]
    finally:
        app.store.close()


def _milliseconds(question: object) -> str:
    assert callable(question)
    started = time.perf_counter()
    question()
    return f"{(time.perf_counter() - started) * 1e3:,.0f}"
