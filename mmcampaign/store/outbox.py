"""The messages of a campaign on their way out: claim, record, settle. The campaign's counts change with them.

A claim is committed before anything goes over the wire (``sending``, with a lease); what came of it is recorded after.
A message left at ``sending`` is never claimed again: it becomes ``unknown`` unless a backend's own record proves more.

``ledger.py`` has the lock and the counts.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache, partial
from itertools import groupby, repeat
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Label,
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

from mmcampaign.columns import rows_of
from mmcampaign.lifecycle import TAKEN, Settled
from mmcampaign.model import CampaignState, MessageStatus, Outcome, Receipt
from mmcampaign.store.dialect import columns_of, given_values, keys_for, one_of_bound, values_for
from mmcampaign.store.ledger import count, count_by_status, hold, move, move_where, recount
from mmcampaign.store.tables import (
    IS_PENDING,
    IS_SENDING,
    IS_UNKNOWN,
    messages,
    suppressions,
)

__all__ = [
    "CANCELLED_WITH",
    "LEASE",
    "Claimed",
    "Claimer",
    "Record",
    "Settlement",
    "cancel_pending",
    "claim",
    "count_by_status",
    "drop_unmailable",
    "hold",
    "last_claim_until",
    "move",
    "next_try",
    "orphans",
    "record",
    "settlements",
    "taken_together",
    "unknown_ids",
]

LEASE = timedelta(minutes=10)
CANCELLED_WITH = "the campaign was cancelled"
SUPPRESSED_SINCE, TOO_LATE = "suppressed since planning", "the deadline has passed"
PENDING, SENDING, UNKNOWN = (
    status.value for status in (MessageStatus.PENDING, MessageStatus.SENDING, MessageStatus.UNKNOWN)
)


class Claimed(NamedTuple):
    """A message this process holds and may hand over. ``attempts`` includes this one."""

    id: int
    message_id: str
    learner_id: int
    shape_digest: str
    attempts: int
    claimed_at: datetime


class Record(NamedTuple):
    """What came of a claimed message. ``tried`` is False when the hand-over is not to count among its attempts."""

    id: int
    claimed_at: datetime
    settled: Settled
    receipt: Receipt
    digest: str = ""
    tried: bool = True


@dataclass(frozen=True, kw_only=True)
class Claimer:
    """Who claims, for which backend and when. ``today`` is the day that deadlines are held against."""

    by: str
    provider: str
    now: datetime
    today: date


def claim(
    connection: Connection, campaign: int, claimer: Claimer, *, size: int, after: int | None = None
) -> list[Claimed]:
    """Take up to ``size`` pending messages: shape by shape, or of any shape from the learner ``after`` on.

    None unless the campaign is being sent. Whoever may no longer be mailed is dropped instead (design 7, the late
    check). Rows that somebody else has locked are skipped, not waited for.
    """
    if hold(connection, campaign) is not CampaignState.SENDING:
        return []
    query = _by_shape() if after is None else _of_any_shape()
    wanted = {"campaign": campaign, "now_": claimer.now, "today": claimer.today, "size": size, "after": after}
    while found := columns_of(connection, query, wanted):
        *columns, whys = found
        claimed = rows_of(Claimed, *columns, repeat(claimer.now, len(whys)))
        if any(whys):
            _drop(connection, campaign, [(each.id, why) for each, why in zip(claimed, whys, strict=True) if why])
            claimed = [each for each, why in zip(claimed, whys, strict=True) if not why]
        if claimed:
            _take(connection, campaign, [each.id for each in claimed], claimer)
            return claimed
    return []


# The statements of each batch are built once: building one takes SQLAlchemy longer than SQLite takes to run it.


@cache
def _by_shape() -> Select[Any]:
    return _found(IS_PENDING, by=messages.c.shape_digest)


@cache
def _of_any_shape() -> Select[Any]:
    """By the index of campaign and learner: the one of those that are pending would have to sort them all."""
    unindexed = messages.c.status == PENDING
    return _found(unindexed, messages.c.learner_id > bindparam("after"), by=messages.c.learner_id)


def _found(*which: ColumnElement[bool], by: ColumnElement[Any]) -> Select[Any]:
    due = or_(messages.c.not_before.is_(None), messages.c.not_before <= bindparam("now_"))
    where = (messages.c.campaign_id == bindparam("campaign"), *which, due)
    tries = (messages.c.attempts + 1).label("attempts")
    claimed = (messages.c[name] for name in Claimed._fields if name != "claimed_at")
    columns = [tries if column is messages.c.attempts else column for column in claimed]
    found = select(*columns, _why_not(none_=None)).where(*where).order_by(by)
    return found.limit(bindparam("size", type_=Integer)).with_for_update(skip_locked=True)


def _take(connection: Connection, campaign: int, ids: Sequence[int], claimer: Claimer) -> None:
    now = claimer.now
    values = {"by": claimer.by, "backend": claimer.provider, "now_": now, "until": now + LEASE}
    connection.execute(_taking(connection.dialect.name), {**values, "ids": keys_for(connection, ids)})
    count(connection, campaign, Counter({PENDING: -len(ids), SENDING: len(ids)}))


@cache
def _taking(dialect: str) -> Update:
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
    )


class _Kind(NamedTuple):
    """What many records have in common: nearly always all of a batch.

    ``same_id`` is the provider's id of all; None where each has a digest, and perhaps an id, of its own.
    """

    settled: Settled
    claimed_at: datetime
    tried: bool
    same_id: str | None


class Settlement(NamedTuple):
    """Records of one kind as they are written down: by their row ids, and by JSON of what is each one's own."""

    kind: _Kind
    ids: Sequence[int]
    own: str = ""


_DIGEST = 64  # hexadecimal digits


def taken_together(
    claimed: Sequence[Claimed], receipts: Mapping[str, Receipt], digests: Mapping[str, str]
) -> Settlement | None:
    """The usual case with a provider that takes many at once: one answer took them all. None if that is not so.

    ``digests`` are those that are to be written down for each.
    """
    first = receipts[claimed[0].message_id]
    if digests or first.digest or first.outcome is not Outcome.ACCEPTED:
        return None
    answers = {receipts[each.message_id][1:] for each in claimed}
    kind = _Kind(TAKEN, claimed[0].claimed_at, tried=True, same_id=first.provider_message_id)
    return Settlement(kind, [each.id for each in claimed]) if len(answers) == 1 else None


def settlements(records: Sequence[Record]) -> list[Settlement]:
    """The records by their kind. A row's own value is the digest, filled up to its width, and the provider's id."""
    alike: dict[_Kind, list[Record]] = {}
    for kind, run in groupby(records, key=_kind_of):
        alike.setdefault(_Kind(*kind), []).extend(run)
    return [Settlement(kind, [each.id for each in rows], _own(kind, rows)) for kind, rows in alike.items()]


def _kind_of(record: Record) -> tuple[Settled, datetime, bool, str | None]:
    """As a plain tuple, which takes a third of the time."""
    _, claimed_at, settled, receipt, digest, tried = record
    return settled, claimed_at, tried, None if digest else receipt.provider_message_id


def _own(kind: _Kind, records: Sequence[Record]) -> str:
    if kind.same_id is not None:
        return ""
    return values_for({each.id: each.digest.ljust(_DIGEST) + each.receipt.provider_message_id for each in records})


def record(connection: Connection, campaign: int, settled: Sequence[Settlement], *, by: str, now: datetime) -> int:
    """Write what came of claimed messages; returns how many rows there were to write it to.


    A row is ours by process and time of claim. One that was given up as ``unknown`` meanwhile is settled all the same:
    this is the word it waits for. One that a person has settled stays as it is. What was put back belongs to nobody any
    more once its campaign is cancelled.
    """
    if not settled:
        return 0
    if hold(connection, campaign) is CampaignState.CANCELLED:
        settled = [_over(each) if each.kind.settled.status == PENDING else each for each in settled]
    keeper = partial(_keep, connection, by=by, now=now)
    changed = sum(keeper(SENDING, each) for each in settled)
    if changed != sum(len(each.ids) for each in settled):
        changed += sum(keeper(UNKNOWN, each) for each in settled if each.kind.settled.status != UNKNOWN)
        recount(connection, campaign)
        return changed
    moved = Counter({SENDING: -changed})
    for each in settled:
        moved[each.kind.settled.status.value] += len(each.ids)
    count(connection, campaign, moved)
    return changed


def _over(settlement: Settlement) -> Settlement:
    over = Settled(status=MessageStatus.CANCELLED, error=CANCELLED_WITH)
    return settlement._replace(kind=settlement.kind._replace(settled=over))


def _keep(connection: Connection, origin: str, settlement: Settlement, *, by: str, now: datetime) -> int:
    """One statement for all rows of a kind: it leaves the wire's thread alone, as a statement for each would not."""
    (status, error, not_before), claimed_at, tried, same_id = settlement.kind
    values = {
        "origin": origin,
        "by": by,
        "claim": claimed_at,
        "status_": status.value,
        "error_": error or None,
        "not_before_": not_before,
        "sent_at_": now if status is MessageStatus.ACCEPTED else None,
        "untried": 0 if tried else 1,
    }
    if same_id is None:
        values |= {"rows": settlement.own}
    else:
        values |= {"rows": keys_for(connection, settlement.ids), "provider_message_id_": same_id or None}
    return int(connection.execute(_keeping(connection.dialect.name, alike=same_id is not None), values).rowcount)


@cache
def _keeping(dialect: str, *, alike: bool) -> Update:
    names = ("status", "error", "not_before", "sent_at", *(("provider_message_id",) if alike else ()))
    values: dict[str, Any] = {name: bindparam(f"{name}_") for name in names}
    if alike:
        these = one_of_bound(dialect, messages.c.id, "rows")
    else:
        given = given_values(dialect, "rows", messages.c.id)
        these = messages.c.id == given.c.id
        values["digest"] = func.nullif(func.rtrim(func.substr(given.c.value, 1, _DIGEST)), "")
        values["provider_message_id"] = func.nullif(func.substr(given.c.value, _DIGEST + 1), "")
    return (
        messages.update()
        .where(
            these,
            messages.c.status == bindparam("origin"),
            messages.c.claimed_by == bindparam("by"),
            messages.c.claimed_at == bindparam("claim"),
        )
        .values(**values, attempts=messages.c.attempts - bindparam("untried", type_=Integer))
    )


def drop_unmailable(connection: Connection, campaign: int, today: date) -> int:
    """The late check of all pending messages of a campaign; returns how many were dropped.

    Those whose address was suppressed since, whose deadline has passed, or whose campaign is cancelled.
    """
    over = hold(connection, campaign) is CampaignState.CANCELLED
    found = connection.execute(_unmailable(over=over), {"campaign": campaign, "today": today}).all()
    _drop(connection, campaign, [(row.id, row.why) for row in found])
    return len(found)


@cache
def _unmailable(*, over: bool) -> Select[Any]:
    why = _why_not(none_=CANCELLED_WITH if over else None)
    pending = and_(messages.c.campaign_id == bindparam("campaign"), IS_PENDING)
    return select(messages.c.id, why).where(pending, true() if over else why.element.is_not(None))


def _why_not(*, none_: str | None) -> Label[Any]:
    """Why a message may no longer go out, ``none_`` when it may. ``today`` is a parameter."""
    suppressed = messages.c.email_key.in_(select(suppressions.c.email_key))
    late = messages.c.deadline < bindparam("today")
    return case((suppressed, SUPPRESSED_SINCE), (late, TOO_LATE), else_=none_).label("why")


def _drop(connection: Connection, campaign: int, found: Sequence[tuple[int, str]]) -> None:
    for error in sorted({why for _, why in found}):
        status = MessageStatus.SUPPRESSED if error == SUPPRESSED_SINCE else MessageStatus.CANCELLED
        ids = [row for row, why in found if why == error]
        move(connection, campaign, ids, origin=MessageStatus.PENDING, status=status, error=error)


def orphans(connection: Connection, campaign: int, *, now: datetime, alone: bool) -> list[tuple[int, str, str]]:
    """Messages left at ``sending``, as (row id, message id, backend).

    All of them when nobody else can be sending, else those whose lease ran out.
    """
    left = and_(messages.c.campaign_id == campaign, IS_SENDING)
    if not alone:
        left = and_(left, messages.c.claimed_until < now)
    found = select(messages.c.id, messages.c.message_id, messages.c.provider).where(left)
    return [(row[0], row[1], row[2]) for row in connection.execute(found)]


def cancel_pending(connection: Connection, campaign: int) -> int:
    hold(connection, campaign)
    pending = and_(messages.c.campaign_id == campaign, IS_PENDING)
    return move_where(connection, campaign, pending, MessageStatus.CANCELLED, CANCELLED_WITH)


def unknown_ids(connection: Connection, campaign: int, message_id: str | None = None) -> list[int]:
    """Row ids of unknown messages, all of a campaign or the one with this opaque id."""
    found = select(messages.c.id).where(messages.c.campaign_id == campaign, IS_UNKNOWN)
    if message_id is not None:
        found = found.where(messages.c.message_id == message_id)
    return list(connection.execute(found).scalars())


def next_try(connection: Connection, campaign: int) -> datetime | None:
    """When the earliest pending message may be tried again; None when there is none waiting."""
    waiting = and_(messages.c.campaign_id == campaign, IS_PENDING, messages.c.not_before.is_not(None))
    return connection.execute(select(func.min(messages.c.not_before)).where(waiting)).scalar()


def last_claim_until(connection: Connection, campaign: int) -> datetime | None:
    """When the last claim that is held now runs out; None when nothing is claimed."""
    held = and_(messages.c.campaign_id == campaign, IS_SENDING)
    return connection.execute(select(func.max(messages.c.claimed_until)).where(held)).scalar()
