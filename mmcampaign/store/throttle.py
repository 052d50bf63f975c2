"""The line of time that all senders through a backend share, as a row; ``pace.py`` has the rules.

The clock is the database's, so that senders on several machines need not agree on theirs.
"""

import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection, bindparam, func, select

from mmcampaign import pace
from mmcampaign.pace import Slots, Throttle
from mmcampaign.store.dialect import insert_into
from mmcampaign.store.tables import send_rates

Answer = TypeVar("Answer")


def take_slots(connection: Connection, backend: str, wanted: int, *, per_second: float) -> Slots:
    """Book the next slots for up to ``wanted`` messages; nobody else gets them."""
    return _change(
        connection, backend, lambda line, now: pace.reserve(line, now=now, wanted=wanted, per_second=per_second)
    )


def slow_down(connection: Connection, backend: str, retry_after: float | None) -> None:
    """Tell everybody who sends through this backend that the provider wants fewer messages."""
    _change(connection, backend, lambda line, now: (pace.slow_down(line, now=now, retry_after=retry_after), None))


def _change(connection: Connection, backend: str, rule: Callable[[Throttle, float], tuple[Throttle, Answer]]) -> Answer:
    """Change the row by a rule, alone with it until the end of the transaction."""
    row = {"free_at": 0.0, "share": 1.0, "slowed_at": 0.0}
    of = {"of": backend}
    found = connection.execute(_KEPT, of).first()
    if found is None:
        first = insert_into(connection, send_rates).on_conflict_do_nothing(index_elements=["backend"])
        connection.execute(first, {"backend": backend, **row})
        found = connection.execute(_KEPT, of).one()
    line, answer = rule(Throttle(**found._mapping), _now(connection))
    connection.execute(_CHANGED, {name: getattr(line, name) for name in row} | of)
    return answer


_KEPT = (
    select(*(send_rates.c[name] for name in ("free_at", "share", "slowed_at")))
    .where(send_rates.c.backend == bindparam("of"))
    .with_for_update()
)
_CHANGED = send_rates.update().where(send_rates.c.backend == bindparam("of"))


def _now(connection: Connection) -> float:
    if connection.dialect.name == "sqlite":
        return time.time()
    return float(connection.execute(select(func.extract("epoch", func.clock_timestamp()))).scalar_one())
