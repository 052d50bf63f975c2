"""Use case: what was sent, to whom, when, and exactly how it read."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mmcampaign.app import App
from mmcampaign.context import token_values
from mmcampaign.delivery import WRITES_THE_MAIL
from mmcampaign.delivery.sendgrid_body import requests_for
from mmcampaign.errors import InputError, UnavailableError
from mmcampaign.frozen import sender_of
from mmcampaign.model import Batch, MessageStatus, Outgoing, Sender
from mmcampaign.outgoing import Maker
from mmcampaign.shapes import Filler
from mmcampaign.store.campaigns import Campaign, get_campaign, list_campaigns
from mmcampaign.store.history import COLUMNS, HistoryFilter, StoredMessage, read_history, stored_message

__all__ = ["COLUMNS", "HistoryFilter", "ShownMessage", "campaign_list", "sends", "show"]


@dataclass(frozen=True, kw_only=True)
class ShownMessage:
    """A past message made again. ``reproduced`` is True when what was handed over has the digest that was logged
    then, None when nothing was handed over or no digest could be logged."""

    facts: dict[str, Any]
    subject: str
    html: str
    text: str
    eml: bytes
    reproduced: bool | None


def campaign_list(app: App, campaign: int | None = None) -> list[Campaign]:
    """All campaigns, newest first, or the one asked for."""
    with app.store.read() as connection:
        if campaign is None:
            return list_campaigns(connection)
        found = get_campaign(connection, campaign)
    if found is None:
        raise InputError(f"There is no campaign {campaign}.", todo="mmcampaign status  (lists all campaigns)")
    return [found]


def sends(app: App, wanted: HistoryFilter) -> Iterator[dict[str, Any]]:
    """Every message that matches, streamed, with the keys of COLUMNS."""
    with app.store.read() as connection:
        yield from read_history(connection, wanted)


def show(app: App, key: str) -> ShownMessage:
    """One past message from what was frozen and logged; its digest is verified.

    Raises UnavailableError when the bytes differ from what was handed over: the database was tampered with, or this
    version of the program writes messages in another way.
    """
    with app.store.read() as connection:
        stored = stored_message(connection, key)
    if stored is None:
        raise InputError(f"There is no message {key!r}.", todo="mmcampaign history  (lists all messages)")
    dated: datetime = stored.claimed.claimed_at or app.clock()
    sender = sender_of(stored.settings)
    claimed = stored.claimed._replace(claimed_at=dated)
    campaign = stored.row["campaign_id"]
    try:
        (outgoing,) = Maker(stored.shape, sender, campaign, whole=True).outgoing([(claimed, stored.content)])
    except ValueError as error:  # it failed for this reason when it was to be handed over
        raise UnavailableError(f"Message {key} cannot be shown: {error}.", unchanged="It was never sent.") from error
    logged = _logged(stored)
    if logged and logged not in _digests(outgoing, stored, sender):
        raise UnavailableError(
            f"Message {key} cannot be shown as it was sent: its bytes do not have the logged digest.",
            unchanged="Nothing was changed.",
            todo="mmcampaign audit --verify",
        )
    filler = Filler(stored.shape)
    values = token_values(json.loads(stored.content.personal), stored.content.unsubscribe_url)
    return ShownMessage(
        facts=_facts({**stored.row, "digest": logged}),
        subject=outgoing.subject,
        html=filler.html(values),
        text=filler.text(values),
        eml=outgoing.eml,
        reproduced=True if logged else None,
    )


_HANDED_OVER = frozenset({MessageStatus.SENDING, MessageStatus.ACCEPTED, MessageStatus.FAILED, MessageStatus.UNKNOWN})


def _logged(stored: StoredMessage) -> str | None:
    """The digest of what was handed over; None if nothing was. Of what was told it was known before."""
    row = stored.row
    told = row["provider"] in WRITES_THE_MAIL and row["status"] in _HANDED_OVER
    return row["digest"] or (row["told_digest"] if told else None)


def _digests(outgoing: Outgoing, stored: StoredMessage, sender: Sender) -> Iterator[str]:
    """What may have been logged for a message: the digest of what its provider was told, or of the whole message."""
    if stored.row["provider"] in WRITES_THE_MAIL:
        (request,) = requests_for(Batch(sender=sender, messages=(outgoing._replace(told=""),)), 1)
        if outgoing.told in ("", *request.people):
            yield from request.digests()
    yield hashlib.sha256(outgoing.eml).hexdigest()


def _facts(row: dict[str, Any] | Any) -> dict[str, Any]:
    kept = ("cohort", "trigger_course", "trigger_run", "next_course", "email", "subject", "status", "delivery_status")
    late = ("provider", "provider_message_id", "attempts", "sent_at", "error", "digest")
    return {
        "message": row["message_id"],
        "campaign": row["campaign_id"],
        "student_id": row["learner_id"],
        **{key: row[key] for key in (*kept, *late)},
    }
