"""An HTTP service on the loopback interface that can be told to misbehave: the next answers stand in a script."""

import os
import socket
import struct
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

Fault = Literal["", "hang", "reset before the body", "reset after the body", "garbage"]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One scripted answer. ``taken``: the people in the request get their mail although the answer may not say so."""

    status: int = 202
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    taken: bool = False
    fault: Fault = ""


class FaultyHttp(ABC):
    """``script`` holds the next answers; None, or nothing left, lets a request be judged on its merits."""

    def __init__(self) -> None:
        self.script: deque[Answer | None] = deque()
        self.redirected: list[str] = []  # paths asked for by GET
        self.asked = 0  # requests that came, whole or not
        self.stopping = threading.Event()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"service": self}))
        self._http.daemon_threads = False
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    @abstractmethod
    def judge(self, path: str, headers: Message, raw: bytes) -> Answer:
        """The answer to a request, on its merits."""

    @abstractmethod
    def take(self, path: str, headers: Message, raw: bytes) -> None:
        """The people in the request get their mail."""

    def heard(self, raw: bytes) -> None:  # noqa: B027  not every service keeps what it hears
        """A whole request came."""

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.stopping.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


class _Handler(BaseHTTPRequestHandler):
    service: FaultyHttp

    def do_GET(self) -> None:
        """Where a followed redirect ends: a page that says yes to everything."""
        self.service.redirected.append(self.path)
        self._answer(Answer(status=200))

    def do_POST(self) -> None:
        self.service.asked += 1
        answer = self.service.script.popleft() if self.service.script else None
        if answer and answer.fault == "reset before the body":
            return self._reset()
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        self.service.heard(raw)
        answer = answer or self.service.judge(self.path, self.headers, raw)
        if answer.taken:
            self.service.take(self.path, self.headers, raw)
        if answer.fault == "hang":
            self.service.stopping.wait(30)
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
        with suppress(ConnectionError):  # the client has lost patience
            self.end_headers()
            self.wfile.write(content)

    def _reset(self) -> None:
        """End the connection with RST instead of FIN."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        pass
