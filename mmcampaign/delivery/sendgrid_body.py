"""What is posted to SendGrid: people of one shape, grouped into requests within its limits (delivery.md 1.4)."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.utils import parseaddr
from typing import Any

from mmcampaign.model import Batch, Outgoing, Sender
from mmcampaign.shapes import Filler, clean

MAX_PEOPLE = 1_000
MAX_SUBSTITUTIONS = 10_000  # bytes for one person
MAX_REQUEST = 20_000_000  # bytes; the API takes 30 MB

# SendGrid refuses the first two lines (OpenAPI); the last one it writes itself.
_NOT_OURS = {
    *("to", "cc", "bcc", "from", "reply-to", "subject", "content-type", "content-transfer-encoding"),
    *("received", "dkim-signature", "x-sg-id", "x-sg-eid"),
    *("date", "mime-version"),
}

_FOLD = re.compile(r"\r\n(?=[ \t])")


@dataclass(frozen=True, kw_only=True)
class Person:
    """One message as a ``personalization``, and how many bytes that takes."""

    message: Outgoing
    personalization: Mapping[str, Any]
    size: int


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

    def body(self, sender: Sender, *, sandbox: bool) -> dict[str, Any]:
        """The JSON document. SendGrid's own tracking and unsubscribe links are off: ours stand in the message."""
        reply_name, reply_to = parseaddr(sender.reply_to)
        return {
            "from": _mailbox(sender.name, sender.email),
            **({"reply_to": _mailbox(reply_name, reply_to)} if reply_to else {}),
            "personalizations": [person.personalization for person in self.people],
            "content": [{"type": "text/plain", "value": self.text}, {"type": "text/html", "value": self.html}],
            "mail_settings": {"sandbox_mode": {"enable": sandbox}},
            "tracking_settings": {
                "click_tracking": {"enable": False, "enable_text": False},
                "open_tracking": {"enable": False},
                "subscription_tracking": {"enable": False},
            },
        }


def requests_for(batch: Batch, batch_size: int) -> list[Request]:
    """Everybody of the batch once, in as few requests as the limits allow.

    An address stands only once in a request (Errors page). Who has more words than the substitutions may hold goes
    alone, with the text filled in.
    """
    shape, filler = batch.shape, Filler(batch.shape)
    together: list[Person] = []
    alone: list[Request] = []
    for message in batch.messages:
        substitutions = filler.substitutions(message.values)
        if _size(substitutions) <= MAX_SUBSTITUTIONS:
            together.append(_person(message, substitutions))
        else:
            text, html = filler.text(message.values), filler.html(message.values)
            alone.append(Request(people=(_person(message, {}),), text=text, html=html))
    groups = _grouped(together, min(batch_size, MAX_PEOPLE), MAX_REQUEST - _size([shape.html, shape.text]))
    return [Request(people=tuple(people), text=shape.text, html=shape.html) for people in groups] + alone


def _grouped(people: Iterable[Person], at_most: int, room: int) -> list[list[Person]]:
    """Cut in order, wherever the next one would be too many, too large or the same address again."""
    groups: list[list[Person]] = []
    size, addresses = 0, set[str]()
    for person in people:
        address = person.message.to_email.casefold()
        if not groups or len(groups[-1]) >= at_most or size + person.size > room or address in addresses:
            groups.append([])
            size, addresses = 0, set()
        groups[-1].append(person)
        size += person.size
        addresses.add(address)
    return groups


def _person(message: Outgoing, substitutions: Mapping[str, str]) -> Person:
    personalization: dict[str, Any] = {
        "to": [_mailbox(message.to_name, message.to_email)],
        "subject": message.subject,
        "headers": _headers(message),
        # Kept for long and seen by SendGrid's staff: opaque ids only (delivery.md 0). They come back with each event.
        "custom_args": {"mmc_message": message.message_id, "mmc_campaign": str(message.campaign_id)},
    }
    if substitutions:
        personalization["substitutions"] = dict(substitutions)
    return Person(message=message, personalization=personalization, size=_size(personalization))


def _headers(message: Outgoing) -> dict[str, str]:
    """The headers that the other backends send, less those that SendGrid writes itself; unfolded (RFC 5322 2.2.3)."""
    head = message.eml[: message.eml.index(b"\r\n\r\n")].decode("ascii")
    pairs = (line.split(":", 1) for line in _FOLD.sub("", head).split("\r\n"))
    return {name: value.strip() for name, value in pairs if name.lower() not in _NOT_OURS}


def _mailbox(name: str, email: str) -> dict[str, str]:
    """SendGrid's Limitations page: a name may hold neither comma nor semicolon."""
    plain = clean(name.replace(",", " ").replace(";", " "))
    return {"email": email, "name": plain} if plain else {"email": email}


def _size(value: object) -> int:
    return len(json.dumps(value))
