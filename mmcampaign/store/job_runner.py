"""Runs the jobs of the queue in this process: fetches one at a time, gives signs of life, takes over from the dead.

Procrastinate's worker is asynchronous and so is this file; the job itself is a plain function in a thread.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from threading import Event
from typing import Any

from procrastinate import App, BaseRetryStrategy, PsycopgConnector, RetryDecision
from procrastinate.exceptions import AlreadyEnqueued, ConnectorException
from procrastinate.jobs import Job as Queued
from psycopg import OperationalError

from mmcampaign.store.engine import Store
from mmcampaign.store.queue import QUEUE, SCHEMA, SETTLE, SHARE, Job

TRY_AGAIN_SECONDS = 2.0
LOOK_SECONDS = 0.2


class AgainError(Exception):
    """Raised by a job that is not through: it goes back into the queue, for whoever is free ``at`` that time."""

    def __init__(self, at: datetime | None = None) -> None:
        super().__init__()
        self.at = at


class _Again(BaseRetryStrategy):
    """Only what asked for it is done again; of everything else the ledger tells."""

    def get_retry_decision(self, *, exception: BaseException, job: Queued) -> RetryDecision | None:
        return RetryDecision(retry_at=exception.at) if isinstance(exception, AgainError) else None


Work = Callable[[Job], datetime | None]


def run_jobs(
    store: Store, work: Work, *, takeover_seconds: float, stop: Event, tell: Callable[[str], None] = lambda _: None
) -> None:
    """Do jobs until ``stop`` is set; the one at hand is finished first.

    ``work`` does one share; the time it returns is when the campaign shall be looked at again by one of the workers.
    A database that does not answer is tried again, every two seconds.
    """
    for name in ("procrastinate", "psycopg.pool", "asyncio"):  # what they know is told in our words, or in the ledger
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    asyncio.run(_run_until(stop, _Runner(store, work, takeover_seconds, tell)))


async def _run_until(stop: Event, runner: "_Runner") -> None:
    lost = False
    while not stop.is_set():
        try:
            await runner.run(stop)
        except (ConnectorException, OperationalError):
            if not lost:
                runner.tell("the database does not answer; trying again")
            lost = True
            await asyncio.sleep(TRY_AGAIN_SECONDS)
        else:
            lost = False


class _Runner:
    def __init__(self, store: Store, work: Work, takeover_seconds: float, tell: Callable[[str], None]) -> None:
        self._work, self._takeover, self.tell = work, takeover_seconds, tell
        address = store.engine.url.set(drivername="postgresql")
        self._conninfo = address.render_as_string(hide_password=False)

    async def run(self, stop: Event) -> None:
        """Work until told to stop, or until the connection is lost."""
        app = self._app()
        async with app.open_async():
            worker = asyncio.create_task(
                app.run_worker_async(
                    queues=[QUEUE],
                    install_signal_handlers=False,
                    fetch_job_polling_interval=min(5.0, self._takeover),
                    update_heartbeat_interval=self._takeover / 3,
                    stalled_worker_timeout=self._takeover,
                    delete_jobs="always",
                )
            )
            self.tell("ready")
            takeover = asyncio.create_task(self._take_over(app))
            try:
                while not (stop.is_set() or worker.done() or takeover.done()):
                    await asyncio.sleep(LOOK_SECONDS)
            finally:
                takeover.cancel()
                worker.cancel()  # lets go after the job at hand
                results = await asyncio.gather(worker, takeover, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _take_over(self, app: App) -> None:
        """Put the jobs of dead workers back. Not a job itself: with every worker at work nobody would come to it."""
        while True:
            for job in await app.job_manager.get_stalled_jobs(seconds_since_heartbeat=self._takeover):
                with suppress(ConnectorException):  # another one was faster
                    await app.job_manager.retry_job(job)
                    self.tell(f"campaign {job.task_kwargs['campaign']}: taken over from a worker that is gone")
            await asyncio.sleep(self._takeover / 3)

    def _app(self) -> App:
        app = App(
            connector=PsycopgConnector(
                conninfo=self._conninfo,
                kwargs={"options": f"-c search_path={SCHEMA}"},
                min_size=1,
                max_size=4,
                timeout=10.0,
            )
        )

        @app.task(name=SHARE, queue=QUEUE, retry=_Again())
        async def share(**values: Any) -> None:
            job = Job(**values)
            later = await asyncio.to_thread(self._work, job)
            if later is not None:
                with suppress(AlreadyEnqueued):
                    settle = app.configure_task(SETTLE, schedule_at=later, queueing_lock=f"{SETTLE} {job.campaign}")
                    await settle.defer_async(**asdict(job.only_settle()))

        @app.task(name=SETTLE, queue=QUEUE, retry=_Again())
        async def settle(**values: Any) -> None:
            await share(**values)

        return app
