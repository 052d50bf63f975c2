"""A SendGrid on the loopback interface: it checks requests as SendGrid does and can be told to misbehave."""

import json
import os
import socket
import struct
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from tests.servers.sendgrid_rules import violations

KEY = "SG.loopback.key"
MAX_REQUEST = 30_000_000

Fault = Literal["", "hang", "reset before the body", "reset after the body", "garbage"]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One scripted answer. ``taken``: the people in the request get their mail although the answer may not say so."""

    status: int = 202
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    taken: bool = False
    fault: Fault = ""


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


class SendgridServer:
    """``script`` holds the next answers; when it is empty, requests are judged on their merits.

    ``refused`` addresses make a request a bad one. ``requests`` are the bodies posted, ``mails`` what was accepted.
    """

    def __init__(self) -> None:
        self.script: deque[Answer] = deque()
        self.refused: set[str] = set()
        self.requests: list[dict[str, Any]] = []
        self.redirected: list[str] = []  # paths asked for by GET
        self.mails: list[SendgridMail] = []
        self.stopping = threading.Event()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"sendgrid": self}))
        self._http.daemon_threads = False
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.stopping.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def judge(self, authorization: str | None, raw: bytes) -> Answer:
        """SendGrid's answer to a request, on its merits."""
        if authorization != f"Bearer {KEY}":
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

    def take(self, body: Mapping[str, Any]) -> None:
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


class _Handler(BaseHTTPRequestHandler):
    sendgrid: SendgridServer

    def do_GET(self) -> None:
        """Where a followed redirect ends: a page that says yes to everything."""
        self.sendgrid.redirected.append(self.path)
        self._answer(Answer(status=200))

    def do_POST(self) -> None:
        answer = self.sendgrid.script.popleft() if self.sendgrid.script else None
        if answer and answer.fault == "reset before the body":
            return self._reset()
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        body = json.loads(raw)
        self.sendgrid.requests.append(body)
        answer = answer or self.sendgrid.judge(self.headers["Authorization"], raw)
        if answer.taken:
            self.sendgrid.take(body)
        if answer.fault == "hang":
            self.sendgrid.stopping.wait(30)
        elif answer.fault == "reset after the body":
            self._reset()
        elif answer.fault == "garbage":
            self.wfile.write(b"ICY maybe\r\n\r\n")
        else:
            self._answer(answer)
        return None

    def _answer(self, answer: Answer) -> None:
        content = answer.body.encode()
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _reset(self) -> None:
        """End the connection with RST instead of FIN."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def sendgrid_server() -> Iterator[SendgridServer]:
    """A running server; its key is ``KEY``."""
    server = SendgridServer()
    server.start()
    try:
        yield server
    finally:
        server.stop()
