"""Batches to hand over: only what a test is about is spelt out."""

import hashlib
from datetime import UTC, datetime

from mmcampaign.mime import Composer
from mmcampaign.model import Batch, Outgoing, Sender, Shape
from mmcampaign.shapes import Place, Token

SENDER = Sender(name="UQx Updates", email="business@uqx.example.org", reply_to="help@uqx.example.org")
NOW = datetime(2019, 5, 1, 9, 30, tzinfo=UTC)


def token(field: str, place: Place) -> str:
    return Token(field=field, place=place).text


def make_shape(*, more: str = "") -> Shape:
    """A shape with a name and a private link in both parts. ``more`` is added to both as it is."""
    name, link = "learner.name", "unsubscribe_url"
    subject = f"Well done, {token(name, Place.TEXT)}"
    html = (
        f"<p>Dear {token(name, Place.HTML)} – {token(name, Place.HTML)}</p>\n<p>.dot</p>\n"
        f'<p><a href="{token(link, Place.HTML)}">Unsubscribe</a> Ünïcode{more}</p>\n'
    )
    text = (
        f"Dear {token(name, Place.TEXT)}\n.a line with a dot\nFrom here on\n{token(link, Place.TEXT)} Ünïcode{more}\n"
    )
    digest = hashlib.sha256(repr((subject, html, text)).encode()).hexdigest()
    return Shape(digest=digest, subject=subject, html=html, text=text)


SHAPE = make_shape()


def make_message(
    number: int, *, name: str = "Ada Lovelace", email: str = "", campaign_id: int = 7, shape: Shape = SHAPE
) -> Outgoing:
    """Message ``number`` to one person."""
    message_id = f"{number:016x}"
    url = f"https://mail.example.edu/u/{message_id * 2}?a=1&b=2"
    values = {"learner.name": name, "unsubscribe_url": url}
    subject = f"Well done, {name}"
    to_email = email or f"learner{number}@example.com"
    eml = Composer(shape, SENDER).compose(
        message_id=message_id,
        to_name=name,
        to_email=to_email if to_email.isascii() else "stand-in@example.com",
        subject=subject,
        values=values,
        unsubscribe_url=url,
        dated_at=NOW,
    )
    return Outgoing(
        message_id=message_id,
        campaign_id=campaign_id,
        to_name=name,
        to_email=to_email,
        subject=subject,
        unsubscribe_url=url,
        values=values,
        shape=shape,
        eml=eml,
    )


def make_batch(*messages: Outgoing) -> Batch:
    return Batch(sender=SENDER, messages=messages)


def people(count: int) -> Batch:
    """A batch of so many people."""
    return make_batch(*(make_message(number) for number in range(1, count + 1)))
