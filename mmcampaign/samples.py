"""Use case: send samples of a campaign to staff, marked as a test and outside the log of learners' mail.

A sample is the frozen shape with the words of one of its learners, so it holds that learner's name: it goes to staff
only, and its unsubscribe link is nobody's.
"""

import hashlib
import json
import re
import secrets
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from threading import Event
from typing import Any

from sqlalchemy import Connection

from mmcampaign.addresses import address_problem
from mmcampaign.app import App
from mmcampaign.campaigns import get, log_act
from mmcampaign.context import token_values
from mmcampaign.delivery import Backend
from mmcampaign.errors import InputError, RefusedError, UnavailableError
from mmcampaign.frozen import sender_of
from mmcampaign.mime import Composer, ascii_address
from mmcampaign.model import Batch, MessageStatus, Outcome, Outgoing, Receipt, Sender, Shape
from mmcampaign.shapes import escape, with_nobodys_link
from mmcampaign.store import campaigns, samples, throttle
from mmcampaign.store.campaigns import Campaign
from mmcampaign.store.candidates import find_learner

MOST_ADDRESSES = 20
MOST_SHAPES = 20
NO_CAMPAIGN = 0  # what a sample counts for: the file backend keeps it apart, and no event is taken for a learner's
_BODY = re.compile(r"<body\b[^>]*>", re.IGNORECASE)
_STATUS = {Outcome.ACCEPTED: MessageStatus.ACCEPTED, Outcome.UNKNOWN: MessageStatus.UNKNOWN}


@dataclass(frozen=True, kw_only=True)
class SampleRequest:
    """Which campaign, to whom. ``learner`` chooses whose email is shown; without it, one of each shape.

    ``backend`` overrides the configured one.
    """

    campaign: int
    addresses: tuple[str, ...]
    learner: str = ""
    backend: str = ""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One email to one address. ``status`` is accepted, failed or unknown; ``learners`` get this shape.

    ``halted``: after this answer there was no use in going on.
    """

    address: str
    shape: int
    learners: int
    subject: str
    status: MessageStatus
    provider_message_id: str = ""
    error: str = ""
    halted: bool = False


@dataclass(frozen=True, kw_only=True)
class _Model:
    """A shape as staff get it, and the words of the learner it is shown for."""

    number: int
    learners: int
    shape: Shape
    subject: str
    values: dict[str, str]


def send_samples(app: App, request: SampleRequest) -> tuple[list[Sample], str]:
    """Send one of each shape, or one learner's, to every address; and a remark where not every shape was sent.

    A campaign in any state will do. Raises InputError for what cannot be sent, RefusedError for an address that is
    suppressed or is a learner's who is not staff, UnavailableError when nothing at all was taken.
    """
    addresses = _addresses(request.addresses)
    with app.store.read() as connection:
        campaign = get(connection, request.campaign)
        _refuse(app, connection, addresses)
        models = list(_models(app, connection, campaign, request.learner))
        left_out = 0 if request.learner else len(campaigns.shape_counts(connection, campaign.id)) - len(models)
    backend = app.backend(request.backend)
    found: list[Sample] = []
    try:
        for model in models:
            found += _send(app, backend, sender_of(campaign.settings), model, addresses)
            if found[-1].halted:
                break
    finally:
        backend.close()
        _record(app, campaign.id, addresses, found, backend.name)
    if not any(sample.status is MessageStatus.ACCEPTED for sample in found):
        raise UnavailableError(
            f"No sample was taken: {found[-1].error or 'the backend gave no reason'}",
            unchanged="No learner was written to.",
            todo="mmcampaign doctor",
        )
    remark = f"The {MOST_SHAPES} shapes with most learners were sent; {left_out:,} more are in the dry-run report."
    return found, remark if left_out else ""


# --- to whom --------------------------------------------------------------------------------------------------------


def _addresses(typed: Sequence[str]) -> list[str]:
    """Each address once, as typed first."""
    wanted = list({address.strip().casefold(): address.strip() for address in reversed(typed)}.values())[::-1]
    if not 0 < len(wanted) <= MOST_ADDRESSES:
        raise InputError(
            f"Samples go to 1 to {MOST_ADDRESSES} addresses, not to {len(wanted):,}.", unchanged="Nothing was sent."
        )
    for number, address in enumerate(wanted, start=1):
        if problem := address_problem(address):
            where = "The address" if len(wanted) == 1 else f"Address {number}"
            raise InputError(f"{where} is {problem}.", unchanged="Nothing was sent.")
    return wanted


def _refuse(app: App, connection: Connection, addresses: Sequence[str]) -> None:
    """Refuse those on the list, and learners who are not staff; no address is in the error's text."""
    keys = [address.casefold() for address in addresses]
    if stopped := samples.suppressed(connection, keys):
        raise RefusedError(
            "Some of these addresses are on the list of addresses not to be mailed.",
            facts=_places(keys, stopped),
            unchanged="Nothing was sent.",
            todo="mmcampaign suppress list",
        )
    staff = [entry.casefold() for entry in app.settings.site.staff]
    people = {key for key, username in samples.of_learners(connection, keys) if not _is_staff(staff, key, username)}
    if people:
        raise RefusedError(
            "Some of these addresses are learners', and a sample shows another learner's name.",
            facts=_places(keys, people),
            unchanged="Nothing was sent.",
            todo="Give addresses of staff. Staff who learn on edX too: name them under site.staff in config.toml.",
        )


def _places(keys: Sequence[str], found: set[str]) -> tuple[str, ...]:
    return tuple(f"address {number} of {len(keys)}" for number, key in enumerate(keys, start=1) if key in found)


def _is_staff(staff: Sequence[str], email_key: str, username: str) -> bool:
    """As the rule ``staff_account`` has it: a domain with its @, an address, or a user name."""
    return any(
        email_key.endswith(entry) if entry.startswith("@") else entry in (email_key, username.casefold())
        for entry in staff
    )


# --- what -----------------------------------------------------------------------------------------------------------


def _models(app: App, connection: Connection, campaign: Campaign, learner: str) -> Iterator[_Model]:
    """The most frequent shapes, or the one that this learner gets."""
    counts = campaigns.shape_counts(connection, campaign.id)
    if not counts:
        raise InputError(
            f"Campaign {campaign.id} has no recipients, so there is no email to show.",
            todo=f"mmcampaign status {campaign.id}",
        )
    only = _message_of(connection, campaign.id, learner) if learner else None
    link = f"{campaign.settings['mail']['public_url']}/u/preview"
    for number, (digest, people, row_id) in enumerate(counts, start=1):
        if only is None and number > MOST_SHAPES:
            return
        if only is None or only.shape_digest == digest:
            row = only or campaigns.get_message(connection, row_id)
            note = (
                f"TEST of campaign {campaign.id}, {campaign.name}: shape {number} of {len(counts)}, for {people:,} "
                f"{'learner' if people == 1 else 'learners'}. The unsubscribe link does nothing."
            )
            shape, values = with_nobodys_link(
                campaigns.get_shape(connection, digest),
                token_values(json.loads(row.personal), link),
                theirs=row.unsubscribe_url,
                nobodys=link,
            )
            yield _Model(
                number=number,
                learners=people,
                shape=_marked(shape, note),
                subject=f"TEST: {row.subject}",
                values=values,
            )


def _message_of(connection: Connection, campaign: int, key: str) -> Any:
    learner = find_learner(connection, key)
    row = samples.message_of(connection, campaign, learner.student_id) if learner else None
    if row is None:
        raise InputError(
            f"Campaign {campaign} has no message for this learner.",
            unchanged="Nothing was sent.",
            todo=f"mmcampaign history --campaign {campaign}  (lists its learners)",
        )
    return row


def _marked(shape: Shape, note: str) -> Shape:
    """The shape with a visible line on top of both parts."""
    html, text = shape.html, shape.text
    line = (
        '<div style="padding: 12px 16px; background-color: #fdf3e2; color: #7a4100; '
        f'font: bold 14px/20px Helvetica, Arial, sans-serif; text-align: center">{escape(note)}</div>'
    )
    body = _BODY.search(html)
    at = body.end() if body else 0
    html, text = html[:at] + line + html[at:], f"{textwrap.fill(note, 76)}\n\n{text}"
    digest = hashlib.sha256("\0".join((shape.subject, html, text)).encode()).hexdigest()
    return Shape(digest=digest, subject=shape.subject, html=html, text=text)


# --- sending --------------------------------------------------------------------------------------------------------


def _send(app: App, backend: Backend, sender: Sender, model: _Model, addresses: Sequence[str]) -> list[Sample]:
    composer = Composer(model.shape, sender)
    outgoing = [_outgoing(app, sender, composer, model, address) for address in addresses]
    receipts: dict[str, Receipt] = {}
    waiting = outgoing
    while waiting:
        now, waiting = _next(app, backend, waiting)
        for receipt in backend.deliver(Batch(sender=sender, messages=tuple(now))):
            receipts[receipt.message_id] = receipt
    pairs = zip(addresses, outgoing, strict=True)
    return [_sample(address, model, receipts[message.message_id]) for address, message in pairs]


def _next(app: App, backend: Backend, waiting: list[Outgoing]) -> tuple[list[Outgoing], list[Outgoing]]:
    """As many as may go now, in line with whoever else sends through this backend; and the rest."""
    number = min(len(waiting), backend.batch_size)
    if backend.name not in ("file", "memory"):
        with app.store.write() as connection:
            rate = app.settings.mail.rate_per_second
            slots = throttle.take_slots(connection, backend.name, number, per_second=rate)
        Event().wait(slots.wait)
        number = slots.count
    return waiting[:number], waiting[number:]


def _outgoing(app: App, sender: Sender, composer: Composer, model: _Model, address: str) -> Outgoing:
    message_id = f"test-{secrets.token_hex(8)}"
    link = model.values["unsubscribe_url"]
    return Outgoing(
        message_id=message_id,
        campaign_id=NO_CAMPAIGN,
        to_name="",
        to_email=ascii_address(address),
        subject=model.subject,
        unsubscribe_url=link,
        values=model.values,
        shape=model.shape,
        eml=composer.compose(
            message_id=message_id,
            to_name="",
            to_email=address,
            subject=model.subject,
            values=model.values,
            unsubscribe_url=link,
            dated_at=app.clock(),
        ),
    )


def _sample(address: str, model: _Model, receipt: Receipt) -> Sample:
    return Sample(
        address=address,
        shape=model.number,
        learners=model.learners,
        subject=model.subject,
        status=_STATUS.get(receipt.outcome, MessageStatus.FAILED),
        provider_message_id=receipt.provider_message_id,
        error=receipt.error,
        halted=receipt.halt,
    )


def _record(app: App, campaign: int, addresses: Sequence[str], found: Sequence[Sample], backend: str) -> None:
    """One row in the audit log; it holds no address, only their number and domains."""
    facts = {
        "addresses": len(addresses),
        "domains": sorted({address.rpartition("@")[2].casefold() for address in addresses}),
        "samples": len(found),
        "accepted": sum(sample.status is MessageStatus.ACCEPTED for sample in found),
        "backend": backend,
    }
    with app.store.write() as connection:
        log_act(app, connection, "test sent", campaign, facts)
