"""Claimed messages as a backend gets them: made from what was frozen, the same from the same claim each time."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from itertools import chain

from sqlalchemy import Connection

from mmcampaign.columns import rows_of
from mmcampaign.context import own_name
from mmcampaign.delivery import WRITES_THE_MAIL
from mmcampaign.frozen import sender_of
from mmcampaign.mime import Composer, Letters, ascii_addresses, require_writable
from mmcampaign.model import Outcome, Outgoing, Receipt, Sender, Shape
from mmcampaign.shapes import Filler
from mmcampaign.store import campaigns
from mmcampaign.store.campaigns import Campaign
from mmcampaign.store.contents import Content, contents
from mmcampaign.store.engine import Store
from mmcampaign.store.outbox import Claimed

ClaimedContent = tuple[Claimed, Content]

MOST_SHAPES = 100  # kept ready at a time


@dataclass(frozen=True, kw_only=True)
class Written:
    """Messages ready for the wire, those of one shape together.

    ``failed`` are the receipts of those that cannot be written, ``digests`` those of the bytes, both by message id.
    """

    messages: Sequence[Outgoing] = ()
    failed: Mapping[str, Receipt]
    digests: Mapping[str, str]


class Desk:
    """Writes the claimed messages of a campaign: reads what was frozen of them, which never changes, in a transaction
    of its own.
    """

    def __init__(self, store: Store, campaign: Campaign, backend: str) -> None:
        self._store, self._campaign = store, campaign.id
        self.sender = sender_of(campaign.settings)
        self._whole = backend not in WRITES_THE_MAIL
        self._makers: dict[str, Maker] = {}  # of the latest shapes; emails of one person have one each

    def written(self, claimed: Sequence[Claimed]) -> Written:
        """These messages as they are handed over. Raises UnavailableError when the database does not answer."""
        with self._store.read() as connection:
            found = contents(connection, [each.id for each in claimed], for_told=not self._whole)
            makers = {digest: self._maker(connection, digest) for digest in {each.shape_digest for each in claimed}}
        alike: dict[tuple[str, bool], list[ClaimedContent]] = {}
        for message in zip(claimed, found, strict=True):
            alike.setdefault(_alike(message), []).append(message)
        failed: dict[str, Receipt] = {}
        made = (_made(makers[digest], messages, failed) for (digest, _), messages in alike.items())
        outgoing = list(chain.from_iterable(made))
        digests = {each.message_id: sha256(each.eml).hexdigest() for each in outgoing if each.eml}
        return Written(messages=outgoing, failed=failed, digests=digests)

    def _maker(self, connection: Connection, digest: str) -> "Maker":
        if digest not in self._makers:
            if len(self._makers) >= MOST_SHAPES:
                del self._makers[next(iter(self._makers))]
            shape = campaigns.get_shape(connection, digest)
            self._makers[digest] = Maker(shape, self.sender, self._campaign, whole=self._whole)
        return self._makers[digest]


def _alike(message: ClaimedContent) -> tuple[str, bool]:
    """Those are made together that have the same shape, and for whom what is told lies ready or not."""
    claimed, content = message
    return claimed.shape_digest, not content.told


def _made(maker: "Maker", messages: Sequence[ClaimedContent], failed: dict[str, Receipt]) -> list[Outgoing]:
    """The messages without those that cannot be written."""
    try:
        return maker.outgoing(messages)
    except ValueError as error:
        if len(messages) > 1:
            return [outgoing for message in messages for outgoing in _made(maker, [message], failed)]
        message_id = messages[0][0].message_id
        failed[message_id] = Receipt(message_id=message_id, outcome=Outcome.FAILED, error=str(error))
        return []


class Maker:
    """Makes the messages of one shape in a campaign, as ``whole`` emails or for a provider that writes them itself."""

    def __init__(self, shape: Shape, sender: Sender, campaign: int, *, whole: bool) -> None:
        self._shape, self._campaign = shape, campaign
        self._composer = Composer(shape, sender) if whole else None

    @cached_property
    def _names(self) -> dict[str, str | None]:
        """Of each field in the shape, the name of a person's own value; None for the unsubscribe link."""
        return {field: own_name(field) for field in Filler(self._shape).fields}

    def outgoing(self, messages: Sequence[ClaimedContent]) -> list[Outgoing]:
        """The messages; for all of them what is told lies ready, or for none.

        Raises ``ValueError`` when an address, link or id of any could not stand in a mail header.
        """
        claimed, content = zip(*messages, strict=True)
        ids = [each.message_id for each in claimed]
        emails, subjects, links, personal, told = zip(*content, strict=True)
        addresses = ascii_addresses(emails)
        names, values, eml = [""] * len(ids), [dict[str, str]()] * len(ids), [b""] * len(ids)
        if self._composer or not told[0]:  # what lies ready was made of a message that can be written
            own = json.loads(f"[{','.join(personal)}]")  # of all at once: that takes half the time
            names = [each["name"] for each in own]
            columns = {
                field: links if name is None else [each[name] for each in own] for field, name in self._names.items()
            }
            values = _by_message(columns) or values
            if self._composer:
                dates = [each.claimed_at for each in claimed]
                eml = self._composer.compose_all(Letters(ids, names, addresses, subjects, links, dates, columns))
            else:
                require_writable(ids, addresses, links)
        campaign, shape = [self._campaign] * len(ids), [self._shape] * len(ids)
        return rows_of(Outgoing, ids, campaign, names, addresses, subjects, links, values, shape, eml, told)


def _by_message(columns: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
