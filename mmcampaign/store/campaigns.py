"""Campaigns as rows: planning, states, and what was frozen."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, Row, func, select

from mmcampaign.model import CampaignState, MessageStatus, Shape
from mmcampaign.store.dialect import insert_into, new_ids
from mmcampaign.store.tables import (
    campaigns,
    exclusions,
    imports,
    learners,
    merge_contexts,
    merge_values,
    messages,
    shapes,
    suppressions,
    template_versions,
    whole_messages,
)

LEDGER = tuple(status.value for status in MessageStatus)


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """One mailout, or the dry run of it. ``settings`` is everything frozen when it was planned."""

    id: int
    program: str
    name: str
    state: CampaignState
    fingerprint: str
    settings: Mapping[str, Any]
    planned_on: date
    planned_at: datetime
    planned_by: str
    approved_at: datetime | None
    approved_by: str | None
    started_at: datetime | None
    finished_at: datetime | None
    sent_by: str | None
    pause_reason: str | None
    paused_by: str | None
    backend: str | None
    note: str | None
    considered: int
    chosen: int
    excluded: int
    ledger: Mapping[str, int]

    @property
    def unfinished(self) -> bool:
        """Started, and something is still pending, in flight or unknown; so a cancelled one may be, too."""
        return self.started_at is not None and self.open > 0

    @property
    def open(self) -> int:
        """How many messages are not settled for good."""
        return self.ledger["pending"] + self.ledger["sending"] + self.ledger["unknown"]


def _campaign(row: Row[Any]) -> Campaign:
    plain = (field for field in Campaign.__dataclass_fields__ if field not in ("state", "settings", "ledger"))
    return Campaign(
        **{field: getattr(row, field) for field in plain},
        state=CampaignState(row.state),
        settings=json.loads(row.settings),
        ledger={status: getattr(row, status) for status in LEDGER},
    )


def add_campaign(connection: Connection, *, program: str, name: str, planned_on: date, at: datetime, by: str) -> int:
    """A new, still empty campaign; its id. ``complete_plan`` fills in the rest in the same transaction."""
    counts = dict.fromkeys(("considered", "chosen", "excluded", *LEDGER), 0)
    row = {
        "program": program,
        "name": name,
        "state": CampaignState.PLANNED,
        "fingerprint": "",
        "settings": "{}",
        "planned_on": planned_on,
        "planned_at": at,
        "planned_by": by,
    }
    return int(connection.execute(campaigns.insert().returning(campaigns.c.id), {**row, **counts}).scalar_one())


def complete_plan(
    connection: Connection, campaign: int, *, settings: str, fingerprint: str, chosen: int, excluded: int
) -> None:
    """Freeze what was planned, with counts that add up: considered = chosen + excluded, chosen = pending."""
    connection.execute(
        campaigns.update().where(campaigns.c.id == campaign),
        {
            "settings": settings,
            "fingerprint": fingerprint,
            "considered": chosen + excluded,
            "chosen": chosen,
            "excluded": excluded,
            "pending": chosen,
        },
    )


def add_messages(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> Sequence[int]:
    """New messages, each with what it is merged from; their row ids. All rows have the same keys."""
    ids = new_ids(connection, messages, len(rows))
    for table in (messages, merge_values) if rows else ():
        names = [name for name in table.columns.keys() if name in rows[0]]  # noqa: SIM118  it is no dict
        own = [{"id": number, **{name: row[name] for name in names}} for number, row in zip(ids, rows, strict=True)]
        connection.execute(table.insert(), own)
    return ids


def add_exclusions(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        connection.execute(exclusions.insert(), list(rows))


def keep_context(connection: Connection, digest: str, context: str) -> None:
    """Keep shared merge values under their digest; what is there stays."""
    _keep(connection, merge_contexts, {"digest": digest, "context": context})


def keep_shape(connection: Connection, shape: Shape, template_digest: str) -> None:
    row = {"digest": shape.digest, "subject": shape.subject, "html": shape.html, "text": shape.text}
    _keep(connection, shapes, {**row, "template_digest": template_digest})


def keep_template(connection: Connection, files: Mapping[str, tuple[str, str]], at: datetime) -> None:
    """Keep template files: path -> (digest, content)."""
    for path, (digest, content) in files.items():
        _keep(connection, template_versions, {"digest": digest, "path": path, "content": content, "first_used_at": at})


def _keep(connection: Connection, table: Any, row: Mapping[str, Any]) -> None:
    connection.execute(insert_into(connection, table).on_conflict_do_nothing(index_elements=["digest"]), row)


def get_campaign(connection: Connection, campaign: int, *, hold: bool = False) -> Campaign | None:
    """The campaign; with ``hold`` nobody else changes it until the end of the transaction (see ``outbox.hold``)."""
    found = select(campaigns).where(campaigns.c.id == campaign)
    row = connection.execute(found.with_for_update(key_share=True) if hold else found).first()
    return _campaign(row) if row else None


def list_campaigns(connection: Connection) -> list[Campaign]:
    """Newest first."""
    return [_campaign(row) for row in connection.execute(select(campaigns).order_by(campaigns.c.id.desc()))]


def change_state(connection: Connection, campaign: int, state: CampaignState, **columns: Any) -> None:
    """Set the state and the columns that go with it; whether the change is allowed is the caller's rule.

    A reason to pause goes with the pause.
    """
    values = {"pause_reason": None, "paused_by": None, **columns, "state": state}
    connection.execute(campaigns.update().where(campaigns.c.id == campaign), values)


def state_of(connection: Connection, campaign: int) -> tuple[CampaignState, str, str]:
    """The state, why it is paused and by whom; empty for nothing. Cheap enough to be asked every second."""
    columns = (campaigns.c.state, campaigns.c.pause_reason, campaigns.c.paused_by)
    row = connection.execute(select(*columns).where(campaigns.c.id == campaign)).one()
    return CampaignState(row.state), row.pause_reason or "", row.paused_by or ""


def planned_recipients(connection: Connection, campaign: int, pending_only: bool) -> Iterator[Row[Any]]:
    """The frozen recipients, by student id, as far as selection decides about them.

    Without those whose address was suppressed since: the late check at the claim drops them one by one (design 7).
    """
    columns = ("learner_id", "cohort", "trigger_course", "trigger_run", "next_course", "context_digest", "personal")
    query = whole_messages.with_only_columns(*(whole_messages.selected_columns[name] for name in columns)).where(
        messages.c.campaign_id == campaign, messages.c.email_key.not_in(select(suppressions.c.email_key))
    )
    if pending_only:
        query = query.where(messages.c.status == MessageStatus.PENDING.value)
    yield from connection.execute(query.order_by(messages.c.learner_id).execution_options(yield_per=2_000))


def recipients(connection: Connection, campaign: int) -> Iterator[Row[Any]]:
    """The messages of a campaign in the order of planning, which is that of the learners."""
    query = whole_messages.where(messages.c.campaign_id == campaign).order_by(messages.c.learner_id)
    yield from connection.execute(query.execution_options(yield_per=2_000))


def excluded(connection: Connection, campaign: int) -> Iterator[Row[Any]]:
    """The exclusions of a campaign with the learners' names and addresses of today."""
    query = (
        select(exclusions, learners.c.name, learners.c.email)
        .join(learners, learners.c.student_id == exclusions.c.learner_id, isouter=True)
        .where(exclusions.c.campaign_id == campaign)
        .order_by(exclusions.c.id)
    )
    yield from connection.execute(query.execution_options(yield_per=2_000))


def count_exclusions(connection: Connection, campaign: int) -> dict[str, int]:
    query = select(exclusions.c.reason, func.count()).where(exclusions.c.campaign_id == campaign)
    return {row[0]: row[1] for row in connection.execute(query.group_by(exclusions.c.reason))}


def count_triggers(connection: Connection, campaign: int) -> dict[tuple[str, str], tuple[int, int]]:
    """(cohort, trigger course) -> (chosen, left out)."""
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for place, table in enumerate((messages, exclusions)):
        query = select(table.c.cohort, table.c.trigger_course, func.count()).where(table.c.campaign_id == campaign)
        for cohort, course, people in connection.execute(query.group_by(table.c.cohort, table.c.trigger_course)):
            counts = list(found.get((cohort, course), (0, 0)))
            counts[place] = people
            found[cohort, course] = (counts[0], counts[1])
    return found


def shape_counts(connection: Connection, campaign: int) -> list[tuple[str, int, int]]:
    """Each shape of the campaign: its digest, how many people get it, and its first message's row id."""
    query = select(messages.c.shape_digest, func.count(), func.min(messages.c.id)).where(
        messages.c.campaign_id == campaign
    )
    rows = connection.execute(
        query.group_by(messages.c.shape_digest).order_by(func.count().desc(), func.min(messages.c.id))
    )
    return [(row[0], row[1], row[2]) for row in rows]


def get_shape(connection: Connection, digest: str) -> Shape:
    row = connection.execute(select(shapes).where(shapes.c.digest == digest)).one()
    return Shape(digest=row.digest, subject=row.subject, html=row.html, text=row.text)


def data_sources(connection: Connection, courses: Iterable[str]) -> list[Row[Any]]:
    """The exports that the data of these courses stand on, by course run."""
    query = select(imports).where(imports.c.course.in_(list(courses)), imports.c.status == "loaded")
    return list(connection.execute(query.order_by(imports.c.course, imports.c.run, imports.c.kind)))


def get_message(connection: Connection, row_id: int) -> Row[Any]:
    return connection.execute(whole_messages.where(messages.c.id == row_id)).one()
