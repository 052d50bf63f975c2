"""Each backend with the place its messages arrive at, so that one suite can look at both ends."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.policy import default
from email.utils import parseaddr
from functools import cached_property
from pathlib import Path

from mmcampaign.delivery import Backend, FileOptions, SendgridOptions, SesOptions, SmtpOptions, make_backend
from mmcampaign.model import Outcome, Outgoing
from mmcampaign.testing import MemoryBackend
from tests.servers.sendgrid import KEY, sendgrid_server
from tests.servers.ses import REGION, ses_server
from tests.servers.smtp import smtp_server
from tests.servers.unused import unused_port


@dataclass(frozen=True, kw_only=True)
class Received:
    """A message as a person would get it."""

    to_email: str
    to_name: str
    subject: str
    text: str
    html: str
    headers: Mapping[str, str]


def read_eml(eml: bytes) -> Received:
    """A message read by the standard library."""
    message = message_from_bytes(eml, policy=default)
    assert isinstance(message, EmailMessage)
    assert not message.defects
    text, html = (
        part.get_payload(decode=True).decode().replace("\r\n", "\n")  # type: ignore[union-attr]  # a leaf part has bytes
        for part in message.iter_parts()
    )
    # The parts of a name that takes several encoded-words: Python 3.11's own address parser puts spaces between them.
    name, address = parseaddr(message_from_bytes(eml)["To"])
    return Received(
        to_email=address,
        to_name=str(make_header(decode_header(name))),
        subject=message["Subject"],
        text=text,
        html=html,
        headers={name: str(value) for name, value in message.items()},
    )


class Rig(ABC):
    """``backend`` works; ``down`` is one of the same kind whose service is not there."""

    backend: Backend
    down: Backend

    @abstractmethod
    def received(self) -> list[Received]:
        """What arrived."""

    @abstractmethod
    def refuse(self, message: Outgoing) -> None:
        """Make the service refuse this message for good."""


class MemoryRig(Rig):
    def __init__(self, stack: ExitStack, tmp_path: Path) -> None:
        self.backend: MemoryBackend = MemoryBackend()
        self.down = MemoryBackend(down=True)

    def received(self) -> list[Received]:
        return [read_eml(message.eml) for message in self.backend.taken]

    def refuse(self, message: Outgoing) -> None:
        self.backend.answers[message.to_email] = Outcome.FAILED


class FileRig(Rig):
    def __init__(self, stack: ExitStack, tmp_path: Path) -> None:
        self._outbox = tmp_path / "outbox"
        (tmp_path / "occupied").write_text("a file, not a folder")
        self.backend = make_backend("file", FileOptions(dir=self._outbox))
        self.down = make_backend("file", FileOptions(dir=tmp_path / "occupied"))

    def received(self) -> list[Received]:
        found = (path.read_bytes() for path in sorted(self._outbox.glob("*/*.eml")))
        return [read_eml(eml) for eml in found if eml != b"another"]

    def refuse(self, message: Outgoing) -> None:
        path = self._outbox / str(message.campaign_id) / f"{message.message_id}.eml"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"another")


class SmtpRig(Rig):
    def __init__(self, stack: ExitStack, tmp_path: Path) -> None:
        self.server = stack.enter_context(smtp_server())
        self.backend = make_backend("smtp", SmtpOptions(host=self.server.host, port=self.server.port))
        self.down = make_backend("smtp", SmtpOptions(host="127.0.0.1", port=unused_port()))

    def received(self) -> list[Received]:
        return [read_eml(mail.content) for mail in self.server.mails]

    def refuse(self, message: Outgoing) -> None:
        self.server.refused[message.to_email] = f"550 5.1.1 <{message.to_email}>: User unknown"


class SendgridRig(Rig):
    def __init__(self, stack: ExitStack, tmp_path: Path) -> None:
        self.server = stack.enter_context(sendgrid_server())
        self.backend = make_backend("sendgrid", SendgridOptions(api_key=KEY, host=self.server.url))
        gone = f"http://127.0.0.1:{unused_port()}"
        self.down = make_backend("sendgrid", SendgridOptions(api_key=KEY, host=gone))

    def received(self) -> list[Received]:
        return [
            Received(
                to_email=mail.to_email,
                to_name=mail.to_name,
                subject=mail.subject,
                text=mail.text,
                html=mail.html,
                headers=mail.headers,
            )
            for mail in self.server.mails
        ]

    def refuse(self, message: Outgoing) -> None:
        self.server.refused.add(message.to_email)


class SesRig(Rig):
    def __init__(self, stack: ExitStack, tmp_path: Path) -> None:
        self.server = stack.enter_context(ses_server())
        self.backend = make_backend("ses", SesOptions(region=REGION, endpoint_url=self.server.url))

    @cached_property
    def down(self) -> Backend:  # type: ignore[override]  # only when asked for: boto3 takes its time to make a client
        return make_backend("ses", SesOptions(region=REGION, endpoint_url=f"http://127.0.0.1:{unused_port()}"))

    def received(self) -> list[Received]:
        return [read_eml(mail.content) for mail in self.server.mails]

    def refuse(self, message: Outgoing) -> None:
        self.server.refused.add(message.to_email)


RIGS: dict[str, type[MemoryRig | FileRig | SmtpRig | SendgridRig | SesRig]] = {
    "memory": MemoryRig,
    "file": FileRig,
    "smtp": SmtpRig,
    "sendgrid": SendgridRig,
    "ses": SesRig,
}
