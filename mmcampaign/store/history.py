"""Read models of what was sent: ``campaigns`` and ``messages`` together are the log, this is the query over both."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, func, or_, select

from mmcampaign.model import Shape
from mmcampaign.store.contents import Content, stored
from mmcampaign.store.outbox import Claimed
from mmcampaign.store.tables import campaigns, learners, merge_values, messages, shapes, whole_messages

COLUMNS = (
    "message",
    "campaign",
    "program",
    "cohort",
    "student_id",
    "email",
    "subject",
    "status",
    "delivery_status",
    "provider_message_id",
    "sent_at",
    "error",
)


@dataclass(frozen=True, kw_only=True)
class HistoryFilter:
    """Which sends to list; None means any. ``learner`` is an edX user id, a user name or an address.

    ``since`` is a time: what was handed over from then on, whatever came of it.
    """

    campaign: int | None = None
    learner: str | None = None
    program: str | None = None
    since: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class StoredMessage:
    """One message with everything that its bytes are made from."""

    row: Mapping[str, Any]
    claimed: Claimed
    content: Content
    shape: Shape
    settings: Mapping[str, Any]


def history_query(wanted: HistoryFilter) -> Select[Any]:
    """Every send that matches, newest campaign first, in the order of planning: the columns of COLUMNS."""
    m, c = messages.c, campaigns.c
    query = (
        select(
            m.message_id.label("message"),
            m.campaign_id.label("campaign"),
            c.program,
            m.cohort,
            m.learner_id.label("student_id"),
            merge_values.c.email,
            merge_values.c.subject,
            m.status,
            m.delivery_status,
            m.provider_message_id,
            m.sent_at,
            m.error,
        )
        .join(campaigns, c.id == m.campaign_id)
        .join(merge_values, merge_values.c.id == m.id)
        .order_by(m.campaign_id.desc(), m.learner_id)
    )
    if wanted.campaign is not None:
        query = query.where(m.campaign_id == wanted.campaign)
    if wanted.program is not None:
        query = query.where(c.program == wanted.program)
    if wanted.since is not None:
        query = query.where(func.coalesce(m.sent_at, m.claimed_at) >= wanted.since)
    if wanted.learner is not None:
        query = query.where(_of_learner(wanted.learner))
    return query


def _of_learner(key: str) -> Any:
    matches = [
        messages.c.email_key == key.casefold(),
        messages.c.learner_id.in_(select(learners.c.student_id).where(learners.c.username == key)),
    ]
    if key.isdecimal() and len(key) < 19:
        matches.append(messages.c.learner_id == int(key))
    return or_(*matches)


def read_history(connection: Connection, wanted: HistoryFilter) -> Iterator[dict[str, Any]]:
    """The sends that match, streamed."""
    with connection.execute(history_query(wanted).execution_options(yield_per=2_000)) as rows:
        for row in rows:
            yield dict(row._mapping)


def stored_message(connection: Connection, key: str) -> StoredMessage | None:
    """The message with this opaque id, and what it was made from."""
    row = connection.execute(whole_messages.where(messages.c.message_id == key)).first()
    if row is None:
        return None
    shape = connection.execute(select(shapes).where(shapes.c.digest == row.shape_digest)).one()
    settings = connection.execute(select(campaigns.c.settings).where(campaigns.c.id == row.campaign_id)).scalar_one()
    claimed, content = stored(row)
    return StoredMessage(
        row=dict(row._mapping),
        claimed=claimed,
        content=content,
        shape=Shape(digest=shape.digest, subject=shape.subject, html=shape.html, text=shape.text),
        settings=json.loads(settings),
    )
