"""The messages of a campaign on their way out: claim, record, settle. The campaign's counts change with them.

A claim is committed before anything goes over the wire (``sending``, with a lease); what came of it is recorded after.
A message left at ``sending`` is never claimed again: it becomes ``unknown`` unless a backend's own record proves more.

Whatever changes a ledger holds the campaign's row first (``hold``), so changes of one campaign come one after the other
on PostgreSQL as they do on SQLite: no deadlock, and nothing is claimed once a pause is committed (decision 13).
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Select,
    Update,
    and_,
    bindparam,
    case,
    func,
    or_,
    select,
    true,
)
from sqlalchemy.sql.dml import ReturningUpdate

from mmcampaign.lifecycle import Settled
from mmcampaign.model import CampaignState, MessageStatus, Receipt
from mmcampaign.store.dialect import keys_for, one_of, one_of_bound
from mmcampaign.store.tables import campaigns, messages, suppressions

LEASE = timedelta(minutes=10)
CANCELLED_WITH = "the campaign was cancelled"
SUPPRESSED_SINCE, TOO_LATE = "suppressed since planning", "the deadline has passed"
PENDING, SENDING, UNKNOWN = (
    status.value for status in (MessageStatus.PENDING, MessageStatus.SENDING, MessageStatus.UNKNOWN)
)


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """A message this process holds and may hand over. ``attempts`` includes this one."""

    id: int
    message_id: str
    email: str
    personal: Mapping[str, str]
    unsubscribe_url: str
    shape_digest: str
    subject: str
    attempts: int
    claimed_at: datetime


@dataclass(frozen=True, kw_only=True)
class Record:
    """What came of a claimed message."""

    id: int
    claimed_at: datetime
    settled: Settled
    receipt: Receipt | None = None
    digest: str | None = None
    attempts: int = 0


def claim(connection: Connection, campaign: int, *, size: int, by: str, provider: str, now: datetime) -> list[Claimed]:
    """Take up to ``size`` pending messages of one shape for the backend called ``provider``.

    None unless the campaign is being sent. Rows that somebody else has locked are skipped, not waited for.
    """
    if hold(connection, campaign) is not CampaignState.SENDING:
        return []
    rows = connection.execute(_next(), {"campaign": campaign, "now_": now, "size": size}).all()
    ids = [row[0] for row in rows if row[1] == rows[0][1]]
    if not ids:
        return []
    values = {"by": by, "backend": provider, "now_": now, "until": now + LEASE}
    taken = connection.execute(_take(connection.dialect.name), {**values, "ids": keys_for(connection, ids)}).all()
    claimed = [claimed_from_row(row) for row in taken]
    _count(connection, campaign, Counter({PENDING: -len(claimed), SENDING: len(claimed)}))
    return sorted(claimed, key=lambda message: message.id)


# The statements of each batch are built once: building one takes SQLAlchemy longer than SQLite takes to run it.


@cache
def _next() -> Select[Any]:
    ready = and_(
        messages.c.campaign_id == bindparam("campaign"),
        messages.c.status == PENDING,
        or_(messages.c.not_before.is_(None), messages.c.not_before <= bindparam("now_")),
    )
    first = select(messages.c.id, messages.c.shape_digest).where(ready).order_by("shape_digest", "id")
    return first.limit(bindparam("size", type_=Integer)).with_for_update(skip_locked=True)


@cache
def _take(dialect: str) -> ReturningUpdate[Any]:
    return (
        messages.update()
        .where(one_of_bound(dialect, messages.c.id, "ids"))
        .values(
            status=SENDING,
            attempts=messages.c.attempts + 1,
            claimed_by=bindparam("by"),
            provider=bindparam("backend"),
            claimed_at=bindparam("now_"),
            claimed_until=bindparam("until"),
            not_before=None,
            # What an earlier hand-over left belongs to other bytes: the Date of a message is that of its claim.
            digest=None,
            provider_message_id=None,
            error=None,
        )
        .returning(*(messages.c[name] for name in Claimed.__dataclass_fields__))
    )


def claimed_from_row(row: Any) -> Claimed:
    """A row of ``messages`` as what its bytes are made from."""
    return Claimed(
        id=row.id,
        message_id=row.message_id,
        email=row.email,
        personal=json.loads(row.personal),
        unsubscribe_url=row.unsubscribe_url,
        shape_digest=row.shape_digest,
        subject=row.subject,
        attempts=row.attempts,
        claimed_at=row.claimed_at,
    )


def record(connection: Connection, campaign: int, records: Sequence[Record], *, by: str, now: datetime) -> int:
    """Write what came of claimed messages; returns how many rows there were to write it to.

    A row is ours by process and time of claim. One that was given up as ``unknown`` meanwhile is settled all the same:
    this is the word it waits for. One that a person has settled stays as it is.
    """
    if not records:
        return 0
    over = hold(connection, campaign) is CampaignState.CANCELLED
    rows = [{**_row(one, now, cancelled=over), "by": by} for one in records]
    changed = connection.execute(_settling(SENDING), rows).rowcount
    if changed != len(rows):
        sure = [row for row in rows if row["status"] != UNKNOWN]
        changed += connection.execute(_settling(UNKNOWN), sure).rowcount if sure else 0
        _recount(connection, campaign)
        return int(changed)
    moved = Counter(row["status"] for row in rows)
    moved[SENDING] -= len(rows)
    _count(connection, campaign, moved)
    return len(rows)


@cache
def _settling(origin: str) -> Update:
    columns = ("status", "error", "not_before", "provider_message_id", "digest", "sent_at", "attempts")
    return (
        messages.update()
        .where(
            messages.c.id == bindparam("row"),
            messages.c.status == origin,
            messages.c.claimed_by == bindparam("by"),
            messages.c.claimed_at == bindparam("claim"),
        )
        .values({name: bindparam(name) for name in columns})
    )


def _row(one: Record, now: datetime, *, cancelled: bool) -> dict[str, Any]:
    """The row's new values. What was put back belongs to nobody any more once its campaign is cancelled."""
    receipt = one.receipt
    if cancelled and one.settled.status is MessageStatus.PENDING:
        one = replace(one, settled=Settled(status=MessageStatus.CANCELLED, error=CANCELLED_WITH))
    return {
        "row": one.id,
        "claim": one.claimed_at,
        "status": one.settled.status.value,
        "error": one.settled.error or None,
        "not_before": one.settled.not_before,
        "provider_message_id": receipt.provider_message_id if receipt else None,
        "digest": one.digest,
        "attempts": one.attempts,
        "sent_at": now if one.settled.status is MessageStatus.ACCEPTED else None,
    }


def drop_unmailable(connection: Connection, campaign: int, today: date, *, claimed: Sequence[int] | None = None) -> int:
    """The late check (design 7): messages whose address was suppressed since, whose deadline has passed, or that are
    pending in a campaign that is cancelled; returns how many.

    Of all pending messages, or of those just ``claimed`` alone: what a batch costs must not grow with the campaign.
    """
    over = hold(connection, campaign) is CampaignState.CANCELLED
    origin = MessageStatus.PENDING if claimed is None else MessageStatus.SENDING
    which = {"campaign": campaign} if claimed is None else {"ids": keys_for(connection, claimed)}
    faulty = _unmailable(connection.dialect.name, those=claimed is not None, over=over)
    found: dict[str, list[int]] = {}
    for row in connection.execute(faulty, {**which, "origin": origin.value, "today": today}):
        found.setdefault(row.why, []).append(row.id)
    for error, ids in found.items():
        status = MessageStatus.SUPPRESSED if error == SUPPRESSED_SINCE else MessageStatus.CANCELLED
        move(connection, campaign, ids, origin=origin, status=status, error=error)
    return sum(map(len, found.values()))


@cache
def _unmailable(dialect: str, *, those: bool, over: bool) -> Select[Any]:
    """Row ids of ``those`` messages or of a campaign's, with the reason."""
    chosen = one_of_bound(dialect, messages.c.id, "ids") if those else messages.c.campaign_id == bindparam("campaign")
    suppressed = messages.c.email_key.in_(select(suppressions.c.email_key))
    late = and_(messages.c.deadline.is_not(None), messages.c.deadline < bindparam("today"))
    why = case((suppressed, SUPPRESSED_SINCE), (late, TOO_LATE), else_=CANCELLED_WITH)
    faulty = and_(chosen, messages.c.status == bindparam("origin"), true() if over else or_(suppressed, late))
    return select(messages.c.id, why.label("why")).where(faulty)


def still_claimed(connection: Connection, ids: Sequence[int]) -> set[int]:
    """Which of these rows are at ``sending``."""
    found = select(messages.c.id).where(one_of(connection, messages.c.id, ids), messages.c.status == SENDING)
    return set(connection.execute(found).scalars())


def orphans(connection: Connection, campaign: int, *, now: datetime, alone: bool) -> list[tuple[int, str, str]]:
    """Messages left at ``sending``, as (row id, message id, backend).

    All of them when nobody else can be sending, else those whose lease ran out.
    """
    left = and_(messages.c.campaign_id == campaign, messages.c.status == SENDING)
    if not alone:
        left = and_(left, messages.c.claimed_until < now)
    found = select(messages.c.id, messages.c.message_id, messages.c.provider).where(left)
    return [(row[0], row[1], row[2]) for row in connection.execute(found)]


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
        moved += _move(connection, campaign, chosen, status, error, origin=origin)
    return moved


def cancel_pending(connection: Connection, campaign: int) -> int:
    hold(connection, campaign)
    pending = and_(messages.c.campaign_id == campaign, messages.c.status == PENDING)
    return _move(connection, campaign, pending, MessageStatus.CANCELLED, CANCELLED_WITH)


def unknown_ids(connection: Connection, campaign: int, message_id: str | None = None) -> list[int]:
    """Row ids of unknown messages, all of a campaign or the one with this opaque id."""
    found = select(messages.c.id).where(messages.c.campaign_id == campaign, messages.c.status == UNKNOWN)
    if message_id is not None:
        found = found.where(messages.c.message_id == message_id)
    return list(connection.execute(found).scalars())


def _move(
    connection: Connection,
    campaign: int,
    where: ColumnElement[bool],
    status: MessageStatus,
    error: str | None,
    *,
    origin: MessageStatus = MessageStatus.PENDING,
) -> int:
    values: dict[str, Any] = {"status": status.value, "error": error}
    if status is MessageStatus.ACCEPTED:
        values["sent_at"] = messages.c.claimed_at  # the hand-over that turned out to be taken
    changed = connection.execute(messages.update().where(where).values(values)).rowcount
    if changed:
        _count(connection, campaign, Counter({origin.value: -changed, status.value: changed}))
    return int(changed)


def next_try(connection: Connection, campaign: int) -> datetime | None:
    """When the earliest pending message may be tried again; None when there is none waiting."""
    waiting = and_(messages.c.campaign_id == campaign, messages.c.status == PENDING, messages.c.not_before.is_not(None))
    return connection.execute(select(func.min(messages.c.not_before)).where(waiting)).scalar()


def last_claim_until(connection: Connection, campaign: int) -> datetime | None:
    """When the last claim that is held now runs out; None when nothing is claimed."""
    held = and_(messages.c.campaign_id == campaign, messages.c.status == SENDING)
    return connection.execute(select(func.max(messages.c.claimed_until)).where(held)).scalar()


def count_by_status(connection: Connection, campaign: int) -> dict[str, int]:
    """The ledger as the messages themselves have it, every status named."""
    query = select(messages.c.status, func.count()).where(messages.c.campaign_id == campaign)
    found = {row[0]: row[1] for row in connection.execute(query.group_by(messages.c.status))}
    return {status.value: found.get(status.value, 0) for status in MessageStatus}


def hold(connection: Connection, campaign: int) -> CampaignState:
    """Keep everybody else from changing this campaign until the end of the transaction; its state, which stays.

    On SQLite a writing transaction does that anyway. Rows that refer to the campaign may still be added.
    """
    return CampaignState(connection.execute(_held(), {"campaign": campaign}).scalar_one())


@cache
def _held() -> Select[Any]:
    return select(campaigns.c.state).where(campaigns.c.id == bindparam("campaign")).with_for_update(key_share=True)


def _count(connection: Connection, campaign: int, change: Mapping[str, int]) -> None:
    steps = {f"by_{status}": n for status, n in sorted(change.items()) if n}
    if steps:
        connection.execute(_counting(tuple(steps)), {**steps, "campaign": campaign})


@cache
def _counting(steps: tuple[str, ...]) -> Update:
    columns = {step.removeprefix("by_"): step for step in steps}
    values = {status: campaigns.c[status] + bindparam(step) for status, step in columns.items()}
    return campaigns.update().where(campaigns.c.id == bindparam("campaign")).values(values)


def _recount(connection: Connection, campaign: int) -> None:
    connection.execute(
        campaigns.update().where(campaigns.c.id == campaign).values(count_by_status(connection, campaign))
    )
