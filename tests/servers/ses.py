"""Amazon SES on the loopback interface: moto's real server, with a scripted front that can misbehave before it."""

import http.client
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from functools import cache
from typing import Any
from unittest.mock import patch

import boto3
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.server import ThreadedMotoServer
from moto.ses.models import ses_backends

from tests.servers.faulty_http import Answer, FaultyHttp

REGION = "us-west-2"
SENDER_DOMAINS = ("uqx.example.org", "nx.example")
# What AWS's tools read, and nothing of the machine's own.
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "loopback",
    "AWS_SECRET_ACCESS_KEY": "loopback",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}


@dataclass(frozen=True, kw_only=True)
class SesMail:
    """A message that moto took, with its envelope."""

    sender: str
    recipient: str
    content: bytes


def error(code: str, message: str, status: int = 400, **headers: str) -> Answer:
    """An error as SES gives it."""
    return Answer(status=status, headers={"x-amzn-ErrorType": code, **headers}, body=json.dumps({"message": message}))


class SesServer(FaultyHttp):
    """``refused`` addresses are rejected; everything else goes on to moto. ``requests`` are the bodies posted."""

    def __init__(self, moto: str) -> None:
        super().__init__()
        self._moto = moto
        self.refused: set[str] = set()
        self.requests: list[dict[str, Any]] = []

    @property
    def mails(self) -> list[SesMail]:
        kept = ses_backends[DEFAULT_ACCOUNT_ID][REGION].sent_messages
        # moto adds what it finds in the To header; the recipient of the request stands first.
        return [
            SesMail(sender=mail.source, recipient=mail.destinations[0], content=mail.raw_data.encode()) for mail in kept
        ]

    def reset(self) -> None:
        """As if nothing had come yet; the senders' domains are verified."""
        backend = ses_backends[DEFAULT_ACCOUNT_ID][REGION]
        backend.reset()
        for domain in SENDER_DOMAINS:
            backend.verify_email_identity(domain)
        self.script.clear()
        self.refused.clear()
        self.requests.clear()
        self.asked = 0

    def heard(self, raw: bytes) -> None:
        self.requests.append(json.loads(raw))

    def judge(self, path: str, headers: Message, raw: bytes) -> Answer:
        if self.refused.intersection(json.loads(raw)["Destination"]["ToAddresses"]):
            return error("MessageRejected", "Illegal address")
        connection = http.client.HTTPConnection(self._moto, timeout=10)
        try:
            connection.request("POST", path, raw, dict(headers.items()))
            response = connection.getresponse()
            given = {name: value for name, value in response.getheaders() if name.lower().startswith("x-")}
            return Answer(status=response.status, headers=given, body=response.read().decode())
        finally:
            connection.close()

    def take(self, path: str, headers: Message, raw: bytes) -> None:
        assert self.judge(path, headers, raw).status == 200


@contextmanager
def ses_server() -> Iterator[SesServer]:
    """A running server with nothing in it; AWS's variables are set for it."""
    server = SesServer(_moto())
    server.reset()
    server.start()
    try:
        with patch.dict(os.environ, ENVIRONMENT):
            yield server
    finally:
        server.stop()


@cache
def _moto() -> str:
    """Where moto listens; one for all tests of the process, in a thread that ends with it.

    With its first request it compiles its routes, which Python 3.11 cannot do in several threads at once
    (``SystemError: AST constructor recursion depth mismatch``): so that one is ours.
    """
    moto = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    moto.start()
    place = "{}:{}".format(*moto.get_host_and_port())
    with patch.dict(os.environ, ENVIRONMENT):
        boto3.client("sesv2", region_name=REGION, endpoint_url=f"http://{place}").list_email_identities()
    return place
