"""What a delivery backend is, which ones there are, and how one is made. The SDKs are imported only when chosen."""

import importlib
import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from mmcampaign.errors import ConfigError
from mmcampaign.model import Batch, Outcome, Outgoing, Receipt


class Backend(Protocol):
    """Hands messages over. One caller at a time; after ``close`` the next hand-over opens it again."""

    @property
    def name(self) -> str:
        """As in ``[mail] backend``."""

    @property
    def batch_size(self) -> int:
        """How many messages one hand-over should hold; a second one may be claimed while the first is under way."""

    def deliver(self, batch: Batch) -> list[Receipt]:
        """Hand over and return one receipt for each message, in order. Never raises for delivery trouble.

        ``batch.may_go`` is asked right before each message, or request, is begun. What each answer proves is told in
        docs/delivery-proofs.md.
        """

    def proof(self, message_id: str) -> Outcome | None:
        """What the backend's own record proves of a message that a crash left unsettled; None: it cannot tell."""

    def close(self) -> None:
        """Let go of connections and finish files."""


@dataclass(frozen=True, kw_only=True)
class FileOptions:
    """``dir`` is the outbox folder; it is made when needed."""

    dir: Path


@dataclass(frozen=True, kw_only=True)
class SmtpOptions:
    """An empty ``username`` means no login.

    What a crash leaves in doubt is at most ``connections`` times ``batch`` messages: half of them are on the wire, half
    are claimed to follow them. ``timeout`` is in seconds and holds for each reply; the one to a whole
    message may take ``final_timeout``, for giving up on it leaves the message in doubt (RFC 5321 4.5.3.2.6, RFC 1047).
    """

    host: str
    port: int = 25
    security: Literal["none", "starttls", "tls"] = "none"
    username: str = ""
    password: str = field(default="", repr=False)
    connections: int = 4
    batch: int = 100
    timeout: float = 30
    final_timeout: float = 120


@dataclass(frozen=True, kw_only=True)
class SendgridOptions:
    """``batch_size`` is people per request, at most 1,000; ``timeout`` is in seconds."""

    api_key: str = field(repr=False)
    host: str = "https://api.sendgrid.com"
    batch_size: int = 500
    sandbox: bool = False
    timeout: float = 30


@dataclass(frozen=True, kw_only=True)
class SesOptions:
    """An empty ``endpoint_url`` is AWS's own. The keys are found as AWS's tools find them, in the environment first.

    ``connections`` requests are under way at a time; ``batch`` is as for SMTP. ``timeout`` is in seconds.
    """

    region: str
    endpoint_url: str = ""
    configuration_set: str = ""
    connections: int = 4
    batch: int = 10
    timeout: float = 60


Options = FileOptions | SmtpOptions | SendgridOptions | SesOptions

# The name in [mail] backend -> where its class stands. The class takes its options and nothing else.
BACKENDS = {
    "file": "mmcampaign.delivery.file:FileBackend",
    "smtp": "mmcampaign.delivery.smtp:SmtpBackend",
    "sendgrid": "mmcampaign.delivery.sendgrid:SendgridBackend",
    "ses": "mmcampaign.delivery.ses:SesBackend",
}

# These are told what differs for each person, and write the message themselves: nobody needs to do so here.
WRITES_THE_MAIL = frozenset({"sendgrid"})


def check_backend(name: str) -> None:
    """Raise ConfigError unless this version has the backend."""
    if name not in BACKENDS:
        raise ConfigError(
            f"There is no backend {name!r}.", todo=f"Set [mail] backend to one of: {', '.join(BACKENDS)}."
        )


def make_backend(name: str, options: Options) -> Backend:
    """The backend of that name. ConfigError when it is unknown, or its secrets or its library are missing."""
    check_backend(name)
    module, _, class_name = BACKENDS[name].partition(":")
    try:
        chosen = getattr(importlib.import_module(module), class_name)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"The {name} backend needs {error.name}, which is not installed.", todo=f'pip install "mmcampaign[{name}]"'
        ) from error
    backend: Backend = chosen(options)
    return backend


def most_in_one_batch(options: SmtpOptions | SesOptions) -> int:
    """Messages of one hand-over: half of ``connections`` times ``batch``, for two may be in hand at a time."""
    return max(1, options.connections * options.batch // 2)


def is_this_machine(host: str) -> bool:
    """Whether the host is reached without a network, so that nothing needs to be hidden on the way."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


_ADDRESS = re.compile(r"[^\s<>()\[\]\"',;:]+@[^\s<>()\[\]\"',;]+")


def quote_reply(reply: str | bytes, message: Outgoing | None = None) -> str:
    """A server's own words on one line of at most 200 characters, without addresses and the person's name."""
    people = [(message.to_name, message.to_email)] if message else []
    return quote_reply_about(reply, people)


def quote_reply_about(reply: str | bytes, people: Iterable[tuple[str, str]]) -> str:
    """The same of a reply that may speak of any of these people, each with name and address."""
    text = reply.decode("utf-8", "replace") if isinstance(reply, bytes) else reply
    text = _ADDRESS.sub("[address]", " ".join("".join(c if c.isprintable() else " " for c in text).split()))
    private = {word for name, email in people for word in (name, email.rpartition("@")[0]) if word}
    if private and text:
        words = "|".join(map(re.escape, sorted(private, key=len, reverse=True)))
        text = re.sub(rf"(?<!\w)(?:{words})(?!\w)", "[name]", text, flags=re.IGNORECASE)
    return text if len(text) <= 200 else text[:199] + "…"
