"""A SendGrid on the loopback interface: it checks requests as SendGrid does and can be told to misbehave."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from typing import Any

from tests.servers.faulty_http import Answer, FaultyHttp
from tests.servers.sendgrid_rules import violations

KEY = "SG.loopback.key"
MAX_REQUEST = 30_000_000


def errors(*messages: str, field: str | None = None) -> str:
    """SendGrid's error body."""
    return json.dumps({"errors": [{"message": message, "field": field, "help": None} for message in messages]})


@dataclass(frozen=True, kw_only=True)
class SendgridMail:
    """What one person receives: substitutions applied as documented, by plain replacement."""

    to_email: str
    to_name: str
    subject: str
    text: str
    html: str
    headers: Mapping[str, str]
    custom_args: Mapping[str, str]


class SendgridServer(FaultyHttp):
    """``refused`` addresses make a request bad. ``requests`` are the bodies posted, ``mails`` what was accepted."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: set[str] = set()
        self.requests: list[dict[str, Any]] = []
        self.mails: list[SendgridMail] = []

    def heard(self, raw: bytes) -> None:
        self.requests.append(json.loads(raw))

    def judge(self, path: str, headers: Message, raw: bytes) -> Answer:
        """SendGrid's answer to a request, on its merits."""
        if headers["Authorization"] != f"Bearer {KEY}":
            return Answer(status=401, body=errors("The provided authorization grant is invalid, expired, or revoked"))
        if len(raw) > MAX_REQUEST:
            return Answer(status=413, body=errors("The message is larger than 30 MB."))
        body = json.loads(raw)
        for place, person in enumerate(body["personalizations"]):
            if person["to"][0]["email"] in self.refused:
                message = f"Does not contain a valid address: {person['to'][0]['email']}"
                return Answer(status=400, body=errors(message, field=f"personalizations.{place}.to.0.email"))
        if faults := violations(body):
            return Answer(status=400, body=json.dumps({"errors": faults}))
        if body.get("mail_settings", {}).get("sandbox_mode", {}).get("enable"):
            return Answer(status=200)
        return Answer(headers={"X-Message-Id": f"loopback-{len(self.requests)}"}, taken=True)

    def take(self, path: str, headers: Message, raw: bytes) -> None:
        body = json.loads(raw)
        for person in body["personalizations"]:
            words = person.get("substitutions", {})
            text, html = (_replaced(part["value"], words) for part in body["content"])
            self.mails.append(
                SendgridMail(
                    to_email=person["to"][0]["email"],
                    to_name=person["to"][0].get("name", ""),
                    subject=_replaced(person["subject"], words),
                    text=text,
                    html=html,
                    headers=person.get("headers", {}),
                    custom_args=person.get("custom_args", {}),
                )
            )


def _replaced(text: str, substitutions: Mapping[str, str]) -> str:
    for key, value in substitutions.items():
        text = text.replace(key, value)
    return text


@contextmanager
def sendgrid_server() -> Iterator[SendgridServer]:
    """A running server; its key is ``KEY``."""
    server = SendgridServer()
    server.start()
    try:
        yield server
    finally:
        server.stop()
