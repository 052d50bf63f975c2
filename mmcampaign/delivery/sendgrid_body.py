"""What is posted to SendGrid: people of one shape, grouped into requests within its limits (delivery.md 1.4).

The JSON is joined from texts: each person's part is written once, and that is what is counted, logged and posted.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from email.utils import parseaddr
from functools import lru_cache
from hashlib import sha256
from itertools import groupby
from json.encoder import encode_basestring_ascii as quoted
from typing import Any

from mmcampaign.mime import LINK_HERE, SHARED_HEADERS, own_headers
from mmcampaign.model import Batch, Outgoing, Sender, Shape
from mmcampaign.shapes import Filler, clean_all

MAX_PEOPLE = 1_000
MAX_SUBSTITUTIONS = 10_000  # bytes for one person
MAX_REQUEST = 20_000_000  # bytes; the API takes 30 MB


@dataclass(frozen=True, kw_only=True)
class Request:
    """People of one shape who get the same ``text`` and ``html``, apart from their substitutions.

    ``people`` are their ``personalizations``, one for each message. ``filled``: its only person has more words than
    substitutions may hold, so they stand in the two parts.
    """

    messages: Sequence[Outgoing]
    people: Sequence[str]
    text: str
    html: str
    filled: bool = False

    def halves(self) -> list["Request"]:
        """The same people in two requests."""
        middle = len(self.people) // 2
        return [
            replace(self, messages=self.messages[half], people=self.people[half])
            for half in (slice(middle), slice(middle, None))
        ]

    def body(self, sender: Sender, *, sandbox: bool) -> bytes:
        """The JSON document. SendGrid's own tracking and unsubscribe links are off: ours stand in the message."""
        people = ",".join(self.people)
        return f'{{"personalizations":[{people}],{_common(sender, self.text, self.html, sandbox)}}}'.encode("ascii")

    def digests(self) -> list[str]:
        """For each person ``digest_of`` all that SendGrid is told; empty where that was made beforehand."""
        parts = (self.text, self.html) if self.filled else ()
        return [
            "" if message.told else digest_of(message.shape, person, *parts)
            for message, person in zip(self.messages, self.people, strict=True)
        ]


class Writer:
    """Writes the people of one shape: column by column, which takes a third of the time of one by one."""

    def __init__(self, shape: Shape, sender: Sender) -> None:
        self._shape, self._filler = shape, Filler(shape)
        own = own_headers(_HERE, LINK_HERE, sender.email.rpartition("@")[2])
        headers = f"{json.dumps(own, separators=(',', ':'))[:-1]},{json.dumps(SHARED_HEADERS)[1:]}"
        # Kept for long and seen by SendGrid's staff: opaque ids only (delivery.md 0). They come back with each event.
        ids = f'"custom_args":{{"mmc_message":"{_HERE}","mmc_campaign":"{_HERE}"}}'
        about = f'{{"to":[{_HERE}],"subject":{_HERE},"headers":{headers},{ids}'.replace(LINK_HERE, _HERE)
        about = about.replace("%", "%%").replace(_HERE, "%s")
        self._words = ",".join([f"{quoted(token)}:%s" for token in self._filler.tokens])
        self._told_apart = f"{about}}}"
        self._told = f'{about},"substitutions":{{{self._words}}}}}' if self._words else self._told_apart

    def people(self, messages: Sequence[Outgoing]) -> list[str]:
        """What SendGrid is told of each of them; nothing of whoever has more words than the substitutions may hold."""
        rows = self._rows(messages)
        people = [self._told % row for row in rows]
        for place, person in enumerate(people):
            if len(person) > MAX_SUBSTITUTIONS and self._is_too_much(rows[place][_OWN:]):
                people[place] = ""
        return people

    def _rows(self, messages: Sequence[Outgoing]) -> list[tuple[str, ...]]:
        """What stands in place of each ``%s`` for each of them."""
        ids, campaigns, names, emails, subjects, links, values, *_ = zip(*messages, strict=True)
        plain = [quoted(link)[1:-1] for link in links]
        by_field = {field: [each[field] for each in values] for field in self._filler.fields}
        own = [map(quoted, column) for column in self._filler.columns(by_field)]
        return list(
            zip(_mailboxes(names, emails), map(quoted, subjects), ids, ids, plain, ids, campaigns, *own, strict=True)
        )

    def _is_too_much(self, words: tuple[str, ...]) -> bool:
        return len(self._words % words) + len("{}") > MAX_SUBSTITUTIONS

    def filled(self, message: Outgoing) -> Request:
        """One person alone, who is told the whole text."""
        person = self._told_apart % self._rows([message])[0][:_OWN]
        text, html = self._filler.text(message.values), self._filler.html(message.values)
        return Request(messages=(message,), people=(person,), text=text, html=html, filled=True)


def requests_for(batch: Batch, batch_size: int) -> list[Request]:
    """Everybody of the batch once, in as few requests as the limits allow, one shape after the other.

    All could stand in a mail (``require_writable``). An address stands only once in a request (Errors page). Who has
    more words than the substitutions may hold goes alone.
    """
    at_most = min(batch_size, MAX_PEOPLE)
    alike = _grouped(batch.messages)
    return [request for messages in alike for request in _requests(messages, batch.sender, at_most)]


def _grouped(messages: Sequence[Outgoing]) -> Iterable[list[Outgoing]]:
    """Those of one shape, apart those for whom what is told lies ready and those for whom it is to be made."""
    groups: dict[tuple[str, bool], list[Outgoing]] = {}
    for key, run in groupby(messages, key=lambda message: (message.shape.digest, bool(message.told))):
        groups.setdefault(key, []).extend(run)
    return groups.values()


def _requests(messages: Sequence[Outgoing], sender: Sender, at_most: int) -> list[Request]:
    shape, alone = messages[0].shape, list[Request]()
    people = [message.told for message in messages]
    if not messages[0].told:
        writer = _writer(shape, sender)
        people = writer.people(messages)
        alone = [writer.filled(message) for message, person in zip(messages, people, strict=True) if not person]
        messages = [message for message, person in zip(messages, people, strict=True) if person]
        people = list(filter(None, people))
    parts = _parts(messages, people, at_most, MAX_REQUEST - _size(shape))
    together = [
        Request(messages=messages[part], people=people[part], text=shape.text, html=shape.html) for part in parts
    ]
    return together + alone


def digest_of(shape: Shape, *told: str) -> str:
    """SHA-256 over a shape and what SendGrid is told of a person, with the text and HTML of one who is told them."""
    return sha256("\n".join((shape.digest, *told)).encode()).hexdigest()


def told_beforehand(messages: Sequence[Outgoing], sender: Sender) -> dict[str, tuple[str, str]]:
    """What SendGrid will be told of each and its digest, by message id.

    Who has more words than the substitutions may hold is left for the hand-over.
    """
    return {
        message.message_id: (person, digest_of(message.shape, person))
        for of_one_shape in _grouped(messages)
        for message, person in zip(
            of_one_shape, _writer(of_one_shape[0].shape, sender).people(of_one_shape), strict=True
        )
        if person
    }


_writer = lru_cache(maxsize=32)(Writer)


@lru_cache(maxsize=32)
def _size(shape: Shape) -> int:
    """Of its parts in JSON, in bytes."""
    return len(quoted(shape.html)) + len(quoted(shape.text))


def _parts(messages: Sequence[Outgoing], people: Sequence[str], at_most: int, room: int) -> Iterator[slice]:
    """Cut in order, wherever the next one would be too many, too large or the same address again."""
    keys = [message.to_email.casefold() for message in messages]
    if 0 < len(keys) <= at_most and len(set(keys)) == len(keys) and sum(map(len, people)) + len(keys) <= room:
        yield slice(None)  # as nearly always
        return
    start, size, addresses = 0, 0, set[str]()
    for place, (address, person) in enumerate(zip(keys, people, strict=True)):
        if place - start >= at_most or (addresses and size + len(person) > room) or address in addresses:
            yield slice(start, place)
            start, size, addresses = place, 0, set()
        size += len(person) + 1
        addresses.add(address)
    if addresses:
        yield slice(start, None)


@lru_cache(maxsize=16)
def _common(sender: Sender, text: str, html: str, sandbox: bool) -> str:
    """What all people of a request share, without the outer braces."""
    reply_name, reply_to = parseaddr(sender.reply_to)
    shared: dict[str, Any] = {
        "from": json.loads(_mailbox(sender.name, sender.email)),
        **({"reply_to": json.loads(_mailbox(reply_name, reply_to))} if reply_to else {}),
        "content": [{"type": "text/plain", "value": text}, {"type": "text/html", "value": html}],
        "mail_settings": {"sandbox_mode": {"enable": sandbox}},
        "tracking_settings": {
            "click_tracking": {"enable": False, "enable_text": False},
            "open_tracking": {"enable": False},
            "subscription_tracking": {"enable": False},
        },
    }
    return json.dumps(shared)[1:-1]


def _mailboxes(names: Sequence[str], emails: Sequence[str]) -> list[str]:
    """SendGrid's Limitations page: a name may hold neither comma nor semicolon."""
    plain = clean_all([name.replace(",", " ").replace(";", " ") for name in names])
    return [
        f'{{"email":{quoted(email)},"name":{quoted(name)}}}' if name else f'{{"email":{quoted(email)}}}'
        for name, email in zip(plain, emails, strict=True)
    ]


def _mailbox(name: str, email: str) -> str:
    return _mailboxes([name], [email])[0]


_HERE = "-what-differs-"  # stands in no message and no sender
_OWN = 7  # how many values of a row come before those of the template
