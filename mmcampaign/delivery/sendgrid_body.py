"""What is posted to SendGrid: people of one shape, grouped into requests within its limits (delivery.md 1.4).

The JSON is joined from texts: each person's part is written once, and that is what is counted, logged and posted.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from email.utils import parseaddr
from functools import lru_cache
from json.encoder import encode_basestring_ascii as quoted
from typing import Any, NamedTuple

from mmcampaign.mime import SHARED_HEADERS, own_headers
from mmcampaign.model import Batch, Outgoing, Sender, Shape
from mmcampaign.shapes import Filler, clean_all

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
    """Writes the people of one shape: column by column, which takes half the time of one by one."""

    def __init__(self, shape: Shape, sender: Sender) -> None:
        self._filler = Filler(shape)
        self._words = ",".join([f"{quoted(token)}:%s" for token in self._filler.tokens])
        own = own_headers(_ID_HERE, _LINK_HERE, sender.email.rpartition("@")[2])
        headers = f"{json.dumps(own, separators=(',', ':'))[:-1]},{json.dumps(SHARED_HEADERS)[1:]}"
        self._around = re.split(f"{_ID_HERE}|{_LINK_HERE}", headers)

    def people(self, messages: Sequence[Outgoing]) -> list[Person]:
        """Messages that could stand in a mail (``require_writable``), in JSON.

        Who has more words than the substitutions may hold is told the whole text instead.
        """
        words = self._written(messages)
        wordy = {place for place, each in enumerate(words) if len(each) + 2 > MAX_SUBSTITUTIONS}
        for place in wordy:
            words[place] = ""
        people = map(Person, messages, self._json(messages, words))
        return [self._filled(person) if place in wordy else person for place, person in enumerate(people)]

    def _filled(self, person: Person) -> Person:
        values = person.message.values
        return person._replace(filled=(self._filler.text(values), self._filler.html(values)))

    def _written(self, messages: Sequence[Outgoing]) -> list[str]:
        """The substitutions of each."""
        columns = self._filler.columns([message.values for message in messages])
        if not columns:
            return [""] * len(messages)
        return [self._words % words for words in zip(*(map(quoted, column) for column in columns), strict=True)]

    def _json(self, messages: Sequence[Outgoing], words: Sequence[str]) -> list[str]:
        before, between, after, end = self._around
        boxes = _mailboxes([message.to_name for message in messages], [message.to_email for message in messages])
        links = [quoted(message.unsubscribe_url)[1:-1] for message in messages]
        # Kept for long and seen by SendGrid's staff: opaque ids only (delivery.md 0). They come back with each event.
        return [
            f'{{"to":[{box}],"subject":{quoted(message.subject)},'
            f'"headers":{before}{message.message_id}{between}{message.message_id}{after}{link}{end},'
            f'"custom_args":{{"mmc_message":"{message.message_id}","mmc_campaign":"{message.campaign_id}"}}'
            f"{f',{_SUBSTITUTIONS}:{{{own}}}' if own else ''}}}"
            for message, box, link, own in zip(messages, boxes, links, words, strict=True)
        ]


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
    people = writer.people(messages)
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


def _mailboxes(names: Sequence[str], emails: Sequence[str]) -> list[str]:
    """SendGrid's Limitations page: a name may hold neither comma nor semicolon."""
    plain = clean_all([name.replace(",", " ").replace(";", " ") for name in names])
    return [
        f'{{"email":{quoted(email)},"name":{quoted(name)}}}' if name else f'{{"email":{quoted(email)}}}'
        for name, email in zip(plain, emails, strict=True)
    ]


def _mailbox(name: str, email: str) -> str:
    return _mailboxes([name], [email])[0]


_ID_HERE, _LINK_HERE = "-message-id-here-", "https://link.here"  # what no message and no sender has
_SUBSTITUTIONS = '"substitutions"'
