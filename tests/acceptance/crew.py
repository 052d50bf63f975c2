"""Workers on one PostgreSQL, each in a folder of its own as on a machine of its own, and the mail server they reach."""

import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import OperationalError
from typer.testing import CliRunner

from mmcampaign.app import App, open_app
from mmcampaign.cli import app as command
from mmcampaign.cli.shell import Shell
from tests.acceptance.runner import LONGEST_SECONDS, Cli
from tests.acceptance.sinks import Watched, require_adding_up
from tests.servers.smtp import SmtpServer, smtp_server

TAKEOVER = 4  # seconds; a new worker may need half of them to load on a busy machine

# The command with a lease of so many seconds: what a killed worker held is in doubt that much sooner.
WITH_LEASE = """
import sys
from datetime import timedelta
from mmcampaign.store import outbox
outbox.LEASE = timedelta(seconds=float(sys.argv.pop(1)))
from mmcampaign.__main__ import main
main()
"""


class Slow(Watched[Any]):
    """A server that needs a while for each message."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def append(self, mail: Any) -> None:
        time.sleep(self.seconds)
        super().append(mail)


class Crew:
    """One approved campaign, number 1, and whoever works on it."""

    def __init__(self, cli: Cli, url: str, server: SmtpServer) -> None:
        self.server, self._engine = server, create_engine(url, pool_pre_ping=True)
        self.mails = server.mails = Slow(0.01)
        self.cli = cli.with_env(
            MMCAMPAIGN_DATABASE__URL=url,
            MMCAMPAIGN_MAIL__BACKEND="smtp",
            MMCAMPAIGN_MAIL__RATE_PER_SECOND="100000",
            MMCAMPAIGN_MAIL__CLAIM_BATCH="4",
            MMCAMPAIGN_DELIVERY__SMTP__HOST=server.host,
            MMCAMPAIGN_DELIVERY__SMTP__PORT=str(server.port),
            MMCAMPAIGN_WORKER__TAKEOVER_SECONDS=str(TAKEOVER),
        )
        self.workers: list[subprocess.Popen[str]] = []

    def worker(self, *, lease: float = 600) -> subprocess.Popen[str]:
        """One more, in a folder that holds a configuration and nothing else; it is ready when this returns."""
        process = start_worker(self.cli, self.cli.folder.parent / f"machine{len(self.workers)}", lease=lease)
        self.workers.append(process)
        assert process.stderr
        line = process.stderr.readline()
        assert line.endswith(" ready\n"), line + process.stderr.read()
        return process

    def stop(self, worker: subprocess.Popen[str], number: int = signal.SIGTERM) -> str:
        """Ask it to stop; what it said, all its life."""
        worker.send_signal(number)
        _, said = worker.communicate(timeout=LONGEST_SECONDS)
        assert worker.returncode == (130 if number == signal.SIGINT else 0), said
        assert "Traceback" not in said
        assert "@post.example" not in said
        return said

    def dismiss(self) -> None:
        for worker in self.workers:
            if worker.poll() is None:
                worker.kill()
            worker.communicate()

    def query(self, sql: str) -> list[Any]:
        with self._engine.connect() as connection:
            return list(connection.execute(text(sql)))

    def wait_for(self, sql: str) -> None:
        """Until the database says yes; one that is away for a moment says no."""
        until = time.monotonic() + LONGEST_SECONDS
        while not self._says_yes(sql):
            assert time.monotonic() < until, sql
            time.sleep(0.05)

    def _says_yes(self, sql: str) -> bool:
        try:
            return bool(self.query(sql)[0][0])
        except OperationalError:
            return False

    def sender_of(self, mail: int, workers: Sequence[subprocess.Popen[str]]) -> int:
        """The place in ``workers`` of the one that holds this mail, the first being 0."""
        message = message_from_bytes(self.mails[mail].content)["X-MMCampaign-Message"]
        (row,) = self.query(f"SELECT claimed_by FROM messages WHERE message_id = '{message}'")
        return [worker.pid for worker in workers].index(int(row.claimed_by.rpartition(":")[2]))

    def statuses(self) -> dict[str, str]:
        return {row.message_id: row.status for row in self.query("SELECT message_id, status FROM messages")}

    def counts(self) -> Counter[str]:
        return Counter(self.statuses().values())

    def require_adding_up(self) -> Counter[str]:
        arrived = Counter(str(message_from_bytes(mail.content)["X-MMCampaign-Message"]) for mail in self.mails)
        return require_adding_up(arrived, self.statuses())

    def close(self) -> None:
        self.dismiss()
        self._engine.dispose()


def start_worker(cli: Cli, folder: Path, *, lease: float) -> subprocess.Popen[str]:
    """A worker in a new folder that holds a configuration and nothing else. It says on stderr when it is ready."""
    folder.mkdir()
    shutil.copy(cli.folder / "config.toml", folder)
    return subprocess.Popen(
        [sys.executable, "-c", WITH_LEASE, str(lease), "worker"],
        cwd=folder,
        env={**Cli(folder=folder, env=cli.env).environment(), "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def crew(folder: Path, url: str) -> Iterator[Crew]:
    with smtp_server() as server:
        made = Crew(Cli(folder=folder), url, server)
        try:
            yield made
        finally:
            made.close()


def databases(server_url: str, *, strategy: str = "WAL_LOG") -> tuple[Callable[[str], str], Callable[[str], None]]:
    """On this server: a new database like the named one (its address), and an end to it.

    A server that will be killed needs ``FILE_COPY``: PostgreSQL 18 sets the sequences of a database that was copied by
    ``WAL_LOG`` back when it recovers, unless there was a checkpoint since.
    """

    def execute(statement: str) -> None:
        engine = create_engine(server_url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(statement))
        engine.dispose()

    def copy_of(template: str) -> str:
        name = f"w_{uuid.uuid4().hex}"
        execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY {strategy}")
        return make_url(server_url).set(database=name).render_as_string(hide_password=False)

    def drop(url: str) -> None:
        execute(f"DROP DATABASE {name_of(url)} WITH (FORCE)")

    return copy_of, drop


def name_of(url: str) -> str:
    return str(make_url(url).database)


def approve_campaign(folder: Path, url: str, *, backend: str = "file") -> None:
    """Ingest what lies in the folder, plan it for a backend and approve it."""
    cli = Cli(folder=folder).with_env(MMCAMPAIGN_DATABASE__URL=url, MMCAMPAIGN_MAIL__BACKEND=backend)
    opened: list[App] = []

    def open_and_note(shell: Shell, *words: str) -> App:
        opened.append(open_app(shell.config, os.environ, cwd=Path.cwd()))
        return opened[-1]

    with pytest.MonkeyPatch.context() as patch:  # within this process: it costs a tenth
        patch.setattr(Shell, "open", open_and_note)
        patch.chdir(folder)
        for name, value in cli.environment().items():
            patch.setenv(name, value)
        for words in (("ingest", "downloads"), ("dry-run", "river"), ("approve", "1")):
            result = CliRunner().invoke(command, words)
            assert result.exit_code == 0, result.output
    for each in opened:
        each.store.close()


def kill(process: subprocess.Popen[str]) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=LONGEST_SECONDS)
