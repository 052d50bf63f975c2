"""The receiving side of each backend, servers that act at the very moment they have taken a message, and the judge."""

import os
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from email import message_from_bytes
from pathlib import Path
from typing import Any, TypeVar

from tests.acceptance.runner import Cli
from tests.servers.sendgrid import KEY, SendgridServer, sendgrid_server
from tests.servers.smtp import SmtpServer, smtp_server

Mail = TypeVar("Mail")


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The log of a campaign against what arrived.

    ``duplicates``: mails beyond the first to a message. ``missing``: accepted, but never arrived. ``unlisted``:
    arrived, but the log says neither ``accepted`` nor ``unknown``. ``log``: how many messages stand at each status.
    """

    duplicates: int
    missing: int
    unlisted: int
    log: Counter[str]


def judge(arrived: Counter[str], log: Mapping[str, str]) -> Verdict:
    """``arrived`` counts each message id at the receiving side; ``log`` is message id to status."""
    accepted = {key for key, status in log.items() if status == "accepted"}
    unknown = {key for key, status in log.items() if status == "unknown"}
    return Verdict(
        duplicates=arrived.total() - len(arrived),
        missing=len(accepted - arrived.keys()),
        unlisted=len(arrived.keys() - accepted - unknown),
        log=Counter(log.values()),
    )


def require_adding_up(arrived: Counter[str], log: Mapping[str, str]) -> Counter[str]:
    """Nobody twice, nobody lost, and every difference is listed as unknown; what the log says."""
    verdict = judge(arrived, log)
    assert not verdict.duplicates, "somebody got it twice"
    assert not verdict.missing, "accepted, but never arrived"
    assert not verdict.unlisted, "arrived, but the log says it did not"
    return verdict.log


class Watched(list[Mail]):
    """What a server took. ``at(k, act)`` calls ``act`` in the server's thread when the k-th has just been taken:
    whoever sent it is still waiting for the answer."""

    def __init__(self) -> None:
        self._acts: dict[int, Callable[[], object]] = {}
        self._one_at_a_time = threading.RLock()  # a server may have a thread for each connection

    def at(self, count: int, act: Callable[[], object]) -> None:
        self._acts[count] = act

    def append(self, mail: Mail) -> None:
        with self._one_at_a_time:
            super().append(mail)
            act = self._acts.pop(len(self), None)
        if act:
            act()


class Sink(ABC):
    """Where messages arrive. ``counts`` is how often each message id did."""

    cli: Cli
    mails: Watched[Any]

    @abstractmethod
    def message_ids(self) -> Iterator[str]:
        """The opaque id of everything that arrived, repeated ones too."""

    def number(self) -> int:
        """How many have arrived by now."""
        return len(self.mails)

    def at(self, count: int, act: Callable[[], object]) -> None:
        """Have the server act when it has taken so many."""
        self.mails.at(count, act)

    def counts(self) -> Counter[str]:
        return Counter(self.message_ids())


class FileSink(Sink):
    """The outbox folder."""

    def __init__(self, cli: Cli) -> None:
        self.cli = cli
        self.folder = cli.folder / "outbox"

    def files(self) -> list[Path]:
        return sorted(self.folder.glob("*/*.eml"))

    def number(self) -> int:
        if not self.folder.exists():
            return 0
        campaigns = [entry.path for entry in os.scandir(self.folder) if entry.is_dir()]
        return sum(entry.name.endswith(".eml") for campaign in campaigns for entry in os.scandir(campaign))

    def at(self, count: int, act: Callable[[], object]) -> None:
        """A folder does not act; whoever looks into it may."""

    def message_ids(self) -> Iterator[str]:
        return (str(message_from_bytes(path.read_bytes())["X-MMCampaign-Message"]) for path in self.files())


class SmtpSink(Sink):
    def __init__(self, cli: Cli, server: SmtpServer) -> None:
        self.server = server
        self.mails = server.mails = Watched[Any]()
        self.cli = cli.with_env(
            MMCAMPAIGN_MAIL__BACKEND="smtp",
            MMCAMPAIGN_MAIL__RATE_PER_SECOND="100000",
            MMCAMPAIGN_DELIVERY__SMTP__HOST=server.host,
            MMCAMPAIGN_DELIVERY__SMTP__PORT=str(server.port),
        )

    def message_ids(self) -> Iterator[str]:
        return (str(message_from_bytes(mail.content)["X-MMCampaign-Message"]) for mail in self.server.mails)


class SendgridSink(Sink):
    def __init__(self, cli: Cli, server: SendgridServer) -> None:
        self.server = server
        self.mails = server.mails = Watched[Any]()
        self.cli = cli.with_env(
            SENDGRID_API_KEY=KEY,
            MMCAMPAIGN_MAIL__BACKEND="sendgrid",
            MMCAMPAIGN_MAIL__RATE_PER_SECOND="100000",
            MMCAMPAIGN_DELIVERY__SENDGRID__HOST=server.url,
            MMCAMPAIGN_DELIVERY__SENDGRID__BATCH_SIZE="50",
        )

    def message_ids(self) -> Iterator[str]:
        return (mail.headers["X-MMCampaign-Message"] for mail in self.server.mails)


@contextmanager
def file_sink(cli: Cli) -> Iterator[FileSink]:
    yield FileSink(cli)


@contextmanager
def smtp_sink(cli: Cli) -> Iterator[SmtpSink]:
    with smtp_server() as server:
        yield SmtpSink(cli, server)


@contextmanager
def sendgrid_sink(cli: Cli) -> Iterator[SendgridSink]:
    with sendgrid_server() as server:
        yield SendgridSink(cli, server)


SINKS: dict[str, Callable[[Cli], AbstractContextManager[Sink]]] = {
    "file": file_sink,
    "smtp": smtp_sink,
    "sendgrid": sendgrid_sink,
}
