"""Bytes to an SMTP server and replies from it, over a session that the standard library opened.

smtplib spends 0.8 ms of CPU on a message; here it is one ``send`` and one reply line for each command. Nothing raises
for a lost connection: what was sent and what was heard is the answer, and the caller knows what it proves.
"""

import smtplib
import socket
import ssl
from contextlib import suppress
from typing import BinaryIO

LONGEST_LINE = 4_096  # bytes; RFC 5321 4.5.3.1.5 asks for 512
MOST_LINES = 100  # of one reply


class Wire:
    """``extensions`` are the EHLO keywords in small letters; ``pipelines``: commands may come in groups (RFC 2920)."""

    def __init__(self, session: smtplib.SMTP) -> None:
        assert session.sock
        self._session = session
        self._socket: socket.socket | ssl.SSLSocket = session.sock
        # The small write behind a large one would otherwise wait for the acknowledgement of the large one.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._lines: BinaryIO = session.file or self._socket.makefile("rb")
        self.extensions = frozenset(session.esmtp_features)
        self.pipelines = "pipelining" in self.extensions

    def send(self, data: bytes, seconds: float) -> int:
        """How many of the bytes left this machine; fewer than all when the connection is lost or stuck."""
        sent, left = 0, memoryview(data)
        with suppress(OSError):
            self._socket.settimeout(seconds)
            while sent < len(data):
                sent += self._socket.send(left[sent:])
        return sent

    def hear(self, seconds: float) -> tuple[int, bytes]:
        """The next reply as code and text (RFC 5321 4.2); code 0 when none came or what came is not a reply.

        A line without its line break is none: the rest of it could have said something else.
        """
        text: list[bytes] = []
        with suppress(OSError):
            self._socket.settimeout(seconds)
            while len(text) < MOST_LINES:
                line = self._lines.readline(LONGEST_LINE)
                code, mark = line[:3], line[3:4]
                if not (line.endswith(b"\n") and code.isdigit() and mark in b" -\r\n"):
                    break
                text.append(line[4:].strip())
                if mark != b"-":
                    return int(code), b"\n".join(text)
        return 0, b""

    def goodbye(self, seconds: float) -> None:
        """QUIT, without waiting long for the answer."""
        if self.send(b"QUIT\r\n", seconds):
            self.hear(seconds)
        self.close()

    def close(self) -> None:
        """Let go of the connection."""
        self._session.close()
