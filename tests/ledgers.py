"""Campaigns and messages as bare rows, for tests of the store that need no planning."""

import itertools
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select, update

from mmcampaign.model import CampaignState, MessageStatus
from mmcampaign.store.outbox import count_by_status
from mmcampaign.store.tables import campaigns, merge_contexts, messages, shapes
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
    number = connection.execute(insert(messages).returning(messages.c.id), row).scalar_one()
    counts = count_by_status(connection, campaign)
    connection.execute(
        update(campaigns).where(campaigns.c.id == campaign).values({**counts, "chosen": sum(counts.values())})
    )
    return int(number)


def _keep(connection: Connection, table: Any, row: dict[str, str]) -> None:
    if connection.execute(select(table).where(table.c.digest == row["digest"])).first() is None:
        connection.execute(insert(table), row)
