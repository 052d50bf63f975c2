"""Campaigns and messages as bare rows, for tests of the store that need no planning."""

import itertools
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from mmcampaign.lifecycle import settle
from mmcampaign.model import CampaignState, MessageStatus, Outcome, Receipt
from mmcampaign.store import outbox
from mmcampaign.store.campaigns import add_messages
from mmcampaign.store.engine import Store
from mmcampaign.store.outbox import Claimed, Claimer, Record, count_by_status
from mmcampaign.store.tables import campaigns, merge_contexts, messages, shapes, whole_messages
from tests.builders import NOW, RUN, TODAY

_numbers = itertools.count(1)


def add_campaign(
    connection: Connection, *, state: CampaignState = CampaignState.SENDING, started_at: datetime | None = None
) -> int:
    counts = dict.fromkeys(("considered", "chosen", "excluded", *(status.value for status in MessageStatus)), 0)
    row = {
        "program": "river",
        "name": "June",
        "state": state.value,
        "fingerprint": "f",
        "settings": "{}",
        "planned_on": TODAY,
        "planned_at": NOW,
        "planned_by": "kim",
        "started_at": started_at,
    }
    return int(connection.execute(insert(campaigns).returning(campaigns.c.id), {**row, **counts}).scalar_one())


def add_message(connection: Connection, campaign: int, learner: int, **changes: Any) -> int:
    """A pending message of shape ``s1``, and the campaign's counts in line with it; its row id."""
    email = changes.get("email", f"learner{learner}@mail.example")
    row = {
        "message_id": f"{next(_numbers):016x}",
        "campaign_id": campaign,
        "learner_id": learner,
        "email": email,
        "email_key": email.casefold(),
        "cohort": "audit-upgrade",
        "trigger_course": "river1x",
        "trigger_run": RUN,
        "next_course": "river2x",
        "certificates_earned": 0,
        "context_digest": "c1",
        "personal": '{"name": "Ana"}',
        "unsubscribe_url": "https://mail.nx.example/u/x",
        "shape_digest": "s1",
        "subject": "Hello",
        "status": MessageStatus.PENDING,
        "attempts": 0,
        **changes,
    }
    _keep(connection, merge_contexts, {"digest": row["context_digest"], "context": "{}"})
    shape = {"digest": row["shape_digest"], "template_digest": "t", "subject": "Hello", "html": "<p>", "text": "."}
    _keep(connection, shapes, shape)
    (number,) = add_messages(connection, [row])
    counts = count_by_status(connection, campaign)
    connection.execute(
        update(campaigns).where(campaigns.c.id == campaign).values({**counts, "chosen": sum(counts.values())})
    )
    return int(number)


def _keep(connection: Connection, table: Any, row: dict[str, str]) -> None:
    if connection.execute(select(table).where(table.c.digest == row["digest"])).first() is None:
        connection.execute(insert(table), row)


def claim(
    store: Store, campaign: int, *, size: int = 100, by: str = "a", now: datetime = NOW, after: int | None = None
) -> list[Claimed]:
    with store.write() as connection:
        return outbox.claim(connection, campaign, claimer(by, now), size=size, after=after)


def claimer(by: str = "a", now: datetime = NOW) -> Claimer:
    return Claimer(by=by, provider="memory", now=now, today=TODAY)


def record(
    store: Store, campaign: int, claimed: Sequence[Claimed], outcome: Outcome = Outcome.ACCEPTED, *, by: str = "a"
) -> int:
    records = [record_of(message, outcome) for message in claimed]
    with store.write() as connection:
        return outbox.record(connection, campaign, outbox.settlements(records), by=by, now=NOW)


def record_of(message: Claimed, outcome: Outcome, now: datetime = NOW) -> Record:
    receipt = Receipt(message_id=message.message_id, outcome=outcome, provider_message_id="p1", error="why")
    settled = settle(receipt, attempts=message.attempts, now=now)
    return Record(
        id=message.id,
        claimed_at=message.claimed_at,
        settled=settled,
        receipt=receipt,
        digest="d1",
    )


def rows(store: Store, campaign: int) -> list[Row[Any]]:
    with store.read() as connection:
        return list(connection.execute(whole_messages.where(messages.c.campaign_id == campaign).order_by("id")))


def ledger(connection: Connection, campaign: int) -> dict[str, int]:
    row = connection.execute(select(campaigns).where(campaigns.c.id == campaign)).one()
    return {status.value: getattr(row, status.value) for status in MessageStatus}


def assert_adds_up(store: Store, campaign: int) -> dict[str, int]:
    """The counts of the campaign are those of its messages; returned without the zeros."""
    with store.read() as connection:
        kept = ledger(connection, campaign)
        assert kept == outbox.count_by_status(connection, campaign)
        chosen = connection.execute(select(campaigns.c.chosen).where(campaigns.c.id == campaign)).scalar_one()
    assert sum(kept.values()) == chosen
    return {status: number for status, number in kept.items() if number}


def make(store: Store, number: int = 3, **changes: Any) -> int:
    """A campaign with so many pending messages."""
    with store.write() as connection:
        campaign = add_campaign(connection)
        for learner in range(1, number + 1):
            add_message(connection, campaign, learner, **changes)
    return campaign
