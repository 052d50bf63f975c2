"""Sending: the whole ``send`` with its durable log, beside others that hand the same messages to the same sink.

Rounds are interleaved and medians told, so that a noisy machine is equally unkind to everybody.
"""

import os
import re
import shutil
import smtplib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from sendgrid import SendGridAPIClient
from sendgrid.helpers.mail import Mail

from bench.measure import line, mmcampaign
from bench.rivals import install_rivals, write_messages
from bench.sinks import sendgrid_sink, smtp_sink
from mmcampaign.app import open_app
from mmcampaign.config import load_settings
from mmcampaign.delivery import quote_reply
from mmcampaign.demo_data import demo_config, write_exports
from mmcampaign.history import HistoryFilter, ShownMessage, sends, show
from mmcampaign.resources import resource
from mmcampaign.sending import SendRequest, send

PROGRAM = "engy"
OUR_BATCHES = (100, 25)
SENDGRID_TIMES = 10  # as many people for SendGrid: with fewer its requests would not be full
QUICK_SECONDS, QUICK_TIMES = 4.0, 3  # what is done sooner has so many turns a round: a machine is slow for longer

Ways = dict[str, Callable[[], float]]


def run(messages: int, rounds: int = 3) -> None:
    """Print messages per second and ratios: SMTP first, then SendGrid."""
    with tempfile.TemporaryDirectory() as scratch:
        smtp(World(Path(scratch) / "smtp", messages, backend="smtp"), rounds)
        world = World(Path(scratch) / "sendgrid", SENDGRID_TIMES * messages, backend="sendgrid")
        sendgrid(world, rounds)


def smtp(world: "World", rounds: int) -> None:
    eml = world.built()
    folder = write_messages(eml)
    try:
        rivals = install_rivals(folder / "environment")
        with smtp_sink() as (sink, port):
            size = statistics.mean(map(len, eml))
            print(f"smtp: {len(eml):,} messages of {size / 1000:.1f} KB, sink: {sink}, {rivals.versions}")
            ways: Ways = {}
            for batch in OUR_BATCHES:
                there = world.smtp(port, batch)
                ways[f"mmcampaign, log on, batch = {batch}"] = partial(world.send, there)
            ways["mmcampaign send, the whole command"] = lambda: world.command(world.smtp(port, OUR_BATCHES[0]))
            ways["smtplib, one connection, messages built, no log"] = lambda: _bare(port, eml)
            for processes in (1, 2, 4):
                ways[f"django-post_office, {processes} processes x 5 threads"] = partial(
                    rivals.post_office, folder, port, processes
                )
            ways["mailmerge, HTML"] = lambda: rivals.mailmerge(folder, port)
            if source := shutil.which("smtp-source", path="/usr/sbin:/usr/bin") or shutil.which("smtp-source"):
                ways["Postfix's smtp-source, 4 connections"] = lambda: _source(source, port, len(eml), int(size))
            _compare(ways, len(eml), rounds)
    finally:
        shutil.rmtree(folder)


def sendgrid(world: "World", rounds: int) -> None:
    with sendgrid_sink() as url:
        mails = world.shown(min(world.messages, 1_000))
        print(f"sendgrid: {world.messages:,} people, and {len(mails):,} of them for one request a person")
        each = world.messages / len(mails)
        ways: Ways = {
            "mmcampaign, log on, 1,000 people a request": lambda: world.send(world.sendgrid(url, 1_000)),
            "mmcampaign, log on, 500 people a request": lambda: world.send(world.sendgrid(url, 500)),
            "sendgrid client, one request a person, no log": lambda: each * _one_by_one(url, mails, _mail),
            "the same, its JSON at hand": lambda: each * _one_by_one(url, mails, _json),
        }
        _compare(ways, world.messages, rounds)


class World:
    """An approved campaign of so many messages, planned for a backend; every round gets a copy of its database."""

    def __init__(self, folder: Path, messages: int, *, backend: str) -> None:
        self.folder, self.messages = folder, messages
        folder.mkdir()
        today = datetime.now(UTC).date()
        source = resource("config.toml").read_text(encoding="utf-8")
        (folder / "config.toml").write_text(demo_config(source, today=today), encoding="utf-8")
        os.environ["MMCAMPAIGN_SECRET_KEY"] = "a key for the benchmark that is long enough"
        os.environ["MMCAMPAIGN_MAIL__RATE_PER_SECOND"] = "1000000"
        os.environ["MMCAMPAIGN_MAIL__BACKEND"] = backend
        program = load_settings(folder / "config.toml", {}).programs[PROGRAM]
        courses = tuple(course._replace(runs=(course.current_run,), coming_run=None) for course in program.courses)
        write_exports(
            folder / "downloads", (replace(program, courses=courses),), learners=24 * messages, seed=1, today=today
        )
        for step in (("ingest", "downloads"), ("dry-run", PROGRAM, "--limit", str(messages)), ("approve", "1")):
            mmcampaign(*step, cwd=folder)
        self._keep = folder / "approved.db"
        (folder / "mmcampaign.db").rename(self._keep)

    def built(self) -> list[bytes]:
        """The messages as the ``file`` backend writes them."""
        self.command({"MMCAMPAIGN_MAIL__BACKEND": "file"})
        found = [path.read_bytes() for path in sorted(self.folder.glob("outbox/*/*.eml"))]
        if len(found) != self.messages:
            sys.exit(f"{self.messages} messages were asked for, {len(found)} learners were chosen")
        return found

    def smtp(self, port: int, batch: int) -> dict[str, str]:
        return {
            "MMCAMPAIGN_MAIL__BACKEND": "smtp",
            "MMCAMPAIGN_DELIVERY__SMTP__HOST": "127.0.0.1",
            "MMCAMPAIGN_DELIVERY__SMTP__PORT": str(port),
            "MMCAMPAIGN_DELIVERY__SMTP__BATCH": str(batch),
        }

    def sendgrid(self, url: str, people: int) -> dict[str, str]:
        return {
            "MMCAMPAIGN_MAIL__BACKEND": "sendgrid",
            "MMCAMPAIGN_MAIL__CLAIM_BATCH": str(2 * people),
            "MMCAMPAIGN_DELIVERY__SENDGRID__HOST": url,
            "MMCAMPAIGN_DELIVERY__SENDGRID__BATCH_SIZE": str(people),
            "SENDGRID_API_KEY": "SG.x",
        }

    def shown(self, number: int) -> list[ShownMessage]:
        """So many of the messages as ``show`` renders them."""
        self.fresh()
        app = open_app(None, os.environ, cwd=self.folder)
        try:
            keys = [row["message"] for row in islice(sends(app, HistoryFilter(campaign=1)), number)]
            return [show(app, key) for key in keys]
        finally:
            app.store.close()

    def send(self, environ: dict[str, str]) -> float:
        """Seconds of the use case: settle, check for drift, claim, build, hand over, record, add up."""
        self.fresh()
        app = open_app(None, {**os.environ, **environ}, cwd=self.folder)
        try:
            started = time.perf_counter()
            done, _ = send(app, SendRequest(campaign=1), confirm=lambda _campaign, _number: None)
            seconds = time.perf_counter() - started
        finally:
            app.store.close()
        assert done.ledger["accepted"] == self.messages, dict(done.ledger)
        return seconds

    def command(self, environ: dict[str, str]) -> float:
        """Seconds of ``mmcampaign send`` as a person runs it, start included."""
        self.fresh()
        kept = dict(os.environ)
        os.environ.update(environ)
        try:
            return mmcampaign("send", "1", "--yes", "--expect", str(self.messages), cwd=self.folder).seconds
        finally:
            os.environ.clear()
            os.environ.update(kept)

    def fresh(self) -> None:
        for old in self.folder.glob("mmcampaign.db*"):
            old.unlink()
        shutil.copyfile(self._keep, self.folder / "mmcampaign.db")
        os.sync()  # the copy is not what is measured


def _compare(ways: Ways, messages: int, rounds: int) -> None:
    seconds: dict[str, list[float]] = {what: [] for what in ways}
    quick = dict.fromkeys(ways, True)
    for turn in range(QUICK_TIMES * rounds):
        for what, way in ways.items():
            if quick[what] or turn % QUICK_TIMES == 0:
                started = time.perf_counter()
                seconds[what].append(way())
                quick[what] = time.perf_counter() - started < QUICK_SECONDS
    line("", "messages/s", "spread", "we are")
    ours = messages / statistics.median(next(iter(seconds.values())))
    for what, taken in seconds.items():
        rate = messages / statistics.median(taken)
        spread = (max(taken) - min(taken)) / statistics.median(taken)
        line(what, f"{rate:,.0f}", f"{spread:.0%}", f"{ours / rate:.1f} x")


def _bare(port: int, eml: list[bytes]) -> float:
    pairs = [(_recipient(message), message) for message in eml]
    started = time.perf_counter()
    with smtplib.SMTP("127.0.0.1", port) as session:
        for recipient, message in pairs:
            session.sendmail("business@uqx.uq.edu.au", [recipient], message)
    return time.perf_counter() - started


def _recipient(message: bytes) -> str:
    found = re.search(rb"^To: (?:.*?<)?([^<>\s]+@[^<>\s]+?)>?\r\n", message, re.MULTILINE | re.DOTALL)
    assert found, quote_reply(message[:200])
    return found[1].decode()


def _source(program: str, port: int, messages: int, size: int) -> float:
    started = time.perf_counter()
    subprocess.run([program, "-s", "4", "-m", str(messages), "-l", str(size), f"127.0.0.1:{port}"], check=True)
    return time.perf_counter() - started


def _one_by_one(url: str, mails: Sequence[ShownMessage], made: Callable[[ShownMessage], Any]) -> float:
    client = SendGridAPIClient("SG.x", host=url)
    started = time.perf_counter()
    for mail in mails:
        assert client.send(made(mail)).status_code == 202
    return time.perf_counter() - started


def _mail(mail: ShownMessage) -> Mail:
    """As the client's own pages do it."""
    sender, person = "business@uqx.uq.edu.au", mail.facts["email"]
    return Mail(sender, person, mail.subject, plain_text_content=mail.text, html_content=mail.html)


def _json(mail: ShownMessage) -> dict[str, Any]:
    return {
        "from": {"email": "business@uqx.uq.edu.au"},
        "personalizations": [{"to": [{"email": mail.facts["email"]}], "subject": mail.subject}],
        "content": [{"type": "text/plain", "value": mail.text}, {"type": "text/html", "value": mail.html}],
    }
