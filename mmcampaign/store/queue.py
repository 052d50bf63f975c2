"""The queue of the workers: Procrastinate's tables, in a PostgreSQL schema of their own, and what stands in them.

The queue only says who shall send; what is sent is said by the ledger alone. So nothing is lost with it, and a new form
of its tables replaces the old one whole (decision 15).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from sqlalchemy import Connection, text

from mmcampaign.errors import ConfigError

SCHEMA = "mmcampaign_queue"
SHARE, SETTLE = "share", "settle"
QUEUE = "send"
EVERYBODY = 2**31 - 1  # more pending messages than any campaign has


@dataclass(frozen=True, kw_only=True)
class Job:
    """One worker's share of a campaign; it ends when nothing is left to claim. The fields are those of SendRequest."""

    campaign: int
    backend: str
    first: int | None = None
    leave: int = 0
    wait: bool = False

    def only_settle(self) -> "Job":
        """A share that sends nothing: it settles what others have left behind."""
        return replace(self, first=None, leave=EVERYBODY, wait=False)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """``workers`` that are alive; of one campaign, the shares being done or due, and those set for ``later``."""

    workers: int
    live: int
    later: int


def install(connection: Connection) -> None:
    """Create the queue, or replace one of another form. The caller holds the lock of schema changes."""
    wanted = _form()
    if _form_there(connection) == wanted:
        return
    driver = connection.connection.driver_connection
    assert driver is not None
    driver.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
    driver.execute(f"CREATE SCHEMA {SCHEMA}")
    driver.execute(f"SET LOCAL search_path TO {SCHEMA}")
    driver.execute(_definition().read_text(encoding="utf-8"))
    driver.execute("SET LOCAL search_path TO DEFAULT")
    driver.execute(f"COMMENT ON SCHEMA {SCHEMA} IS '{wanted}'")


def is_current(connection: Connection) -> bool:
    """Whether the queue has the form that the installed Procrastinate works with."""
    return _form_there(connection) == _form()


def _definition() -> Path:
    """Procrastinate's own schema.sql; found without importing it, for that takes longer than most commands."""
    found = find_spec("procrastinate")
    if found is None or found.origin is None:
        raise ConfigError(
            "A PostgreSQL database needs the Python package procrastinate, which is not installed.",
            todo="pip install 'mmcampaign[postgres]'",
        )
    return Path(found.origin).parent / "sql" / "schema.sql"


def _form() -> str:
    return hashlib.sha256(_definition().read_bytes()).hexdigest()


def _form_there(connection: Connection) -> str | None:
    found = text("SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = :name")
    form: str | None = connection.execute(found, {"name": SCHEMA}).scalar()
    return form


def enqueue(connection: Connection, jobs: Sequence[Job]) -> None:
    """Put shares into the queue, in place of those of the same campaigns that nobody has begun."""
    from procrastinate import App, SyncPsycopgConnector  # noqa: PLC0415  most commands do without

    campaigns = sorted({job.campaign for job in jobs})
    connection.execute(text(f"SET LOCAL search_path TO {SCHEMA}"))  # for the triggers too
    connection.execute(
        text(
            "DELETE FROM procrastinate_jobs"
            " WHERE status = 'todo' AND task_name = :share AND (args->>'campaign')::bigint = ANY(:campaigns)"
        ),
        {"share": SHARE, "campaigns": campaigns},
    )
    defer = App(connector=SyncPsycopgConnector()).configure_task(
        SHARE, allow_unknown=True, queue=QUEUE, connection=connection.connection.driver_connection
    )
    defer.batch_defer(*(asdict(job) for job in jobs))
    connection.execute(text("SET LOCAL search_path TO DEFAULT"))


def standing(connection: Connection, campaign: int, *, takeover_seconds: float) -> Standing:
    """Who is there to work, and what is queued of this campaign."""
    jobs = text(
        "SELECT status = 'todo' AND coalesce(scheduled_at > clock_timestamp(), false)"  # noqa: S608  a constant
        f" FROM {SCHEMA}.procrastinate_jobs"
        " WHERE status IN ('todo', 'doing') AND task_name = :share AND (args->>'campaign')::bigint = :campaign"
    )
    later = list(connection.execute(jobs, {"share": SHARE, "campaign": campaign}).scalars())
    return Standing(
        workers=count_workers(connection, takeover_seconds=takeover_seconds),
        live=later.count(False),
        later=later.count(True),
    )


def count_workers(connection: Connection, *, takeover_seconds: float) -> int:
    """Workers that have given a sign of life within so many seconds."""
    alive = text(
        f"SELECT count(*) FROM {SCHEMA}.procrastinate_workers"  # noqa: S608  a constant
        " WHERE last_heartbeat > clock_timestamp() - make_interval(secs => :seconds)"
    )
    return int(connection.execute(alive, {"seconds": takeover_seconds}).scalar_one())
