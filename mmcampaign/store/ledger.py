"""A campaign's ledger: its lock, its counts, and messages that go from one status to another.

Whatever changes a ledger holds the campaign's row first (``hold``), so changes of one campaign come one after the other
on PostgreSQL as they do on SQLite: no deadlock, and nothing is claimed once a pause is committed (decision 13).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Update, and_, bindparam, func, select

from mmcampaign.model import CampaignState, MessageStatus
from mmcampaign.store.tables import campaigns, messages


def hold(connection: Connection, campaign: int) -> CampaignState:
    """Keep everybody else from changing this campaign until the end of the transaction; its state, which stays.

    On SQLite a writing transaction does that anyway. Rows that refer to the campaign may still be added.
    """
    return CampaignState(connection.execute(_held(), {"campaign": campaign}).scalar_one())


@cache
def _held() -> Select[Any]:
    return select(campaigns.c.state).where(campaigns.c.id == bindparam("campaign")).with_for_update(key_share=True)


def count(connection: Connection, campaign: int, change: Mapping[str, int]) -> None:
    """Change the campaign's counts by so many for each status. The caller holds the campaign and moved the messages."""
    steps = {f"by_{status}": n for status, n in sorted(change.items()) if n}
    if steps:
        connection.execute(_counting(tuple(steps)), {**steps, "campaign": campaign})


@cache
def _counting(steps: tuple[str, ...]) -> Update:
    columns = {step.removeprefix("by_"): step for step in steps}
    values = {status: campaigns.c[status] + bindparam(step) for status, step in columns.items()}
    return campaigns.update().where(campaigns.c.id == bindparam("campaign")).values(values)


def recount(connection: Connection, campaign: int) -> None:
    """Make the campaign's counts those of its messages."""
    connection.execute(
        campaigns.update().where(campaigns.c.id == campaign).values(count_by_status(connection, campaign))
    )


def count_by_status(connection: Connection, campaign: int) -> dict[str, int]:
    """The ledger as the messages themselves have it, every status named."""
    query = select(messages.c.status, func.count()).where(messages.c.campaign_id == campaign)
    found = {row[0]: row[1] for row in connection.execute(query.group_by(messages.c.status))}
    return {status.value: found.get(status.value, 0) for status in MessageStatus}


def move(
    connection: Connection,
    campaign: int,
    ids: Sequence[int],
    *,
    origin: MessageStatus,
    status: MessageStatus,
    error: str | None,
) -> int:
    """Move these rows from one status to another; rows that are no longer at ``origin`` stay as they are."""
    hold(connection, campaign)
    moved = 0
    for start in range(0, len(ids), 5_000):
        chosen = and_(messages.c.id.in_(ids[start : start + 5_000]), messages.c.status == origin.value)
        moved += move_where(connection, campaign, chosen, status, error, origin=origin)
    return moved


def move_where(
    connection: Connection,
    campaign: int,
    where: ColumnElement[bool],
    status: MessageStatus,
    error: str | None,
    *,
    origin: MessageStatus = MessageStatus.PENDING,
) -> int:
    """Give a new status to the messages ``where``, all of which are at ``origin``; how many there were."""
    values: dict[str, Any] = {"status": status.value, "error": error}
    if status is MessageStatus.ACCEPTED:
        values["sent_at"] = messages.c.claimed_at  # the hand-over that turned out to be taken
    changed = connection.execute(messages.update().where(where).values(values)).rowcount
    if changed:
        count(connection, campaign, Counter({origin.value: -changed, status.value: changed}))
    return int(changed)
