"""What is posted to SendGrid: people of one shape, grouped into requests within its limits (delivery.md 1.4).

The JSON is joined from texts: each person's part is written once, and that is what is counted, logged and posted.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from email.utils import parseaddr
from functools import lru_cache
from json.encoder import encode_basestring_ascii as quoted
from typing import Any, NamedTuple

from mmcampaign.mime import SHARED_HEADERS, own_headers
from mmcampaign.model import Batch, Outgoing, Sender, Shape
from mmcampaign.shapes import Filler, clean

MAX_PEOPLE = 1_000
MAX_SUBSTITUTIONS = 10_000  # bytes for one person
MAX_REQUEST = 20_000_000  # bytes; the API takes 30 MB


class Person(NamedTuple):
    """One message as a ``personalization`` in JSON. ``filled`` are text and HTML of one whose words are too many."""

    message: Outgoing
    json: str
    filled: tuple[str, str] | None = None

    def digest(self) -> str:
        """SHA-256 over the shape and all that SendGrid is told of this person."""
        told = "\n".join((self.message.shape.digest, self.json, *(self.filled or ())))
        return hashlib.sha256(told.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Request:
    """People who get the same ``text`` and ``html``, apart from their substitutions."""

    people: tuple[Person, ...]
    text: str
    html: str

    def halves(self) -> list["Request"]:
        """The same people in two requests."""
        middle = len(self.people) // 2
        return [
            Request(people=people, text=self.text, html=self.html)
            for people in (self.people[:middle], self.people[middle:])
        ]

    def body(self, sender: Sender, *, sandbox: bool) -> bytes:
        """The JSON document. SendGrid's own tracking and unsubscribe links are off: ours stand in the message."""
        people = ",".join([person.json for person in self.people])
        return f'{{"personalizations":[{people}],{_common(sender, self.text, self.html, sandbox)}}}'.encode("ascii")


class Writer:
    """Writes the people of one shape."""

    def __init__(self, shape: Shape, sender: Sender) -> None:
        self._filler = Filler(shape)
        self._names = [f"{quoted(token)}:" for token in self._filler.tokens]
        own = own_headers(_ID_HERE, _LINK_HERE, sender.email.rpartition("@")[2])
        headers = ",".join([f"{quoted(name)}:{quoted(value)}" for name, value in own.items()])
        self._headers = f"{{{headers},{json.dumps(SHARED_HEADERS)[1:-1]}}}"

    def person(self, message: Outgoing) -> Person:
        """One message, which could stand in a mail (``require_writable``), in JSON.

        Who has more words than the substitutions may hold is told the whole text instead.
        """
        written = self._filler.substitutions(message.values).values()
        words = ",".join([name + quoted(value) for name, value in zip(self._names, written, strict=True)])
        if len(words) + 2 <= MAX_SUBSTITUTIONS:
            return Person(message=message, json=self._json(message, words))
        filled = self._filler.text(message.values), self._filler.html(message.values)
        return Person(message=message, json=self._json(message, ""), filled=filled)

    def _json(self, message: Outgoing, words: str) -> str:
        link = quoted(message.unsubscribe_url)[1:-1]
        # Kept for long and seen by SendGrid's staff: opaque ids only (delivery.md 0). They come back with each event.
        opaque = f'"mmc_message":"{message.message_id}","mmc_campaign":"{message.campaign_id}"'
        return (
            f'{{"to":[{_mailbox(message.to_name, message.to_email)}],"subject":{quoted(message.subject)},'
            f'"headers":{self._headers.replace(_ID_HERE, message.message_id).replace(_LINK_HERE, link)},'
            f'"custom_args":{{{opaque}}}'
            f"{f',{_SUBSTITUTIONS}:{{{words}}}' if words else ''}}}"
        )


def requests_for(batch: Batch, batch_size: int) -> list[Request]:
    """Everybody of the batch once, in as few requests as the limits allow, one shape after the other.

    An address stands only once in a request (Errors page). Who has more words than the substitutions may hold goes
    alone.
    """
    by_shape: dict[str, list[Outgoing]] = {}
    for message in batch.messages:
        by_shape.setdefault(message.shape.digest, []).append(message)
    return [request for messages in by_shape.values() for request in _of_one_shape(messages, batch.sender, batch_size)]


def _of_one_shape(messages: Sequence[Outgoing], sender: Sender, batch_size: int) -> list[Request]:
    shape = messages[0].shape
    writer = Writer(shape, sender)
    people = [writer.person(message) for message in messages]
    room = MAX_REQUEST - len(quoted(shape.html)) - len(quoted(shape.text))
    groups = _grouped((person for person in people if not person.filled), min(batch_size, MAX_PEOPLE), room)
    together = [Request(people=tuple(group), text=shape.text, html=shape.html) for group in groups]
    return together + [
        Request(people=(person,), text=person.filled[0], html=person.filled[1]) for person in people if person.filled
    ]


def _grouped(people: Iterable[Person], at_most: int, room: int) -> list[list[Person]]:
    """Cut in order, wherever the next one would be too many, too large or the same address again."""
    groups: list[list[Person]] = []
    size, addresses = 0, set[str]()
    for person in people:
        address = person.message.to_email.casefold()
        if not groups or len(groups[-1]) >= at_most or size + len(person.json) > room or address in addresses:
            groups.append([])
            size, addresses = 0, set()
        groups[-1].append(person)
        size += len(person.json) + 1
        addresses.add(address)
    return groups


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


def _mailbox(name: str, email: str) -> str:
    """SendGrid's Limitations page: a name may hold neither comma nor semicolon."""
    plain = clean(name.replace(",", " ").replace(";", " "))
    return f'{{"email":{quoted(email)},"name":{quoted(plain)}}}' if plain else f'{{"email":{quoted(email)}}}'


_ID_HERE, _LINK_HERE = "-message-id-here-", "https://link.here"  # what no message and no sender has
_SUBSTITUTIONS = '"substitutions"'
