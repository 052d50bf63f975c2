"""The receiving side of each backend, and servers that act at the very moment they have taken a message."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email import message_from_bytes
from pathlib import Path
from typing import Any, TypeVar

from tests.acceptance.runner import Cli
from tests.servers.sendgrid import KEY, SendgridServer, sendgrid_server
from tests.servers.smtp import SmtpServer, smtp_server

Mail = TypeVar("Mail")


class Watched(list[Mail]):
    """What a server took. ``at(k, act)`` calls ``act`` in the server's thread when the k-th has just been taken:
    whoever sent it is still waiting for the answer."""

    def __init__(self) -> None:
        self._acts: dict[int, Callable[[], object]] = {}

    def at(self, count: int, act: Callable[[], object]) -> None:
        self._acts[count] = act

    def append(self, mail: Mail) -> None:
        super().append(mail)
        if act := self._acts.pop(len(self), None):
            act()


class Sink(ABC):
    """Where messages arrive. ``counts`` is how often each message id did."""

    cli: Cli
    mails: Watched[Any]

    @abstractmethod
    def message_ids(self) -> Iterator[str]:
        """The opaque id of everything that arrived, repeated ones too."""

    def counts(self) -> Counter[str]:
        return Counter(self.message_ids())


class FileSink(Sink):
    """The outbox folder."""

    def __init__(self, cli: Cli) -> None:
        self.cli = cli
        self.folder = cli.folder / "outbox"

    def files(self) -> list[Path]:
        return sorted(self.folder.glob("*/*.eml"))

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
