"""Claimed messages as a backend gets them: made from what was frozen, the same from the same claim each time."""

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat

from mmcampaign.context import own_name
from mmcampaign.mime import Composer, ascii_address, require_writable
from mmcampaign.model import Outgoing, Sender, Shape
from mmcampaign.shapes import Filler
from mmcampaign.store.outbox import Claimed


class Maker:
    """Makes the messages of one shape in a campaign, as ``whole`` emails or for a provider that writes them itself."""

    def __init__(self, shape: Shape, sender: Sender, campaign: int, *, whole: bool) -> None:
        self._shape, self._campaign = shape, campaign
        self._composer = Composer(shape, sender) if whole else None
        self._domain = sender.email.rpartition("@")[2]
        self._names = {field: own_name(field) for field in Filler(shape).fields}

    def outgoing(self, messages: Sequence[Claimed]) -> list[Outgoing]:
        """The messages. Raises ``ValueError`` when an address, link or id of any could not stand in a mail header."""
        _, ids, _, emails, links, _, subjects, _, personal, told, _ = zip(*messages, strict=True)
        addresses = emails if "".join(emails).isascii() else [ascii_address(email) for email in emails]
        names: Iterable[str] = repeat("")
        values: Iterable[Mapping[str, str]] = repeat({})
        eml: Iterable[bytes] = repeat(b"")
        if self._composer or not all(told):
            own = json.loads(f"[{','.join(personal)}]")  # of all at once: that takes half the time
            names = [each["name"] for each in own]
            values = self._values(own, links)
        if self._composer:
            eml = [self._composed(self._composer, *each) for each in zip(messages, names, values, strict=True)]
        else:
            require_writable(ids, addresses, links)
        campaign, shape = repeat(self._campaign), repeat(self._shape)
        return list(map(Outgoing, ids, campaign, names, addresses, subjects, links, values, shape, eml, told))

    def _values(self, personal: Sequence[Mapping[str, str]], links: Sequence[str]) -> list[dict[str, str]]:
        """For each message what the tokens of the shape stand for, by field."""
        columns = [links if name is None else [own[name] for own in personal] for name in self._names.values()]
        return [dict(zip(self._names, row, strict=True)) for row in zip(*columns, strict=True)] or [{} for _ in links]

    def _composed(self, composer: Composer, message: Claimed, name: str, values: Mapping[str, str]) -> bytes:
        return composer.compose(
            message_id=message.message_id,
            to_name=name,
            to_email=message.email,
            subject=message.subject,
            values=values,
            unsubscribe_url=message.unsubscribe_url,
            dated_at=message.claimed_at,
            domain=self._domain,
        )
