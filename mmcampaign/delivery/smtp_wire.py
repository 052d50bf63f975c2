"""Bytes to an SMTP server and replies from it, over a session that the standard library opened.

smtplib spends 0.8 ms of CPU on a message; here it is one ``send`` and one ``recv`` for each turn of the conversation.
Nothing raises for a lost connection: what was sent and what was heard is the answer, and the caller knows what it
proves.
"""

import smtplib
import socket
import ssl
from contextlib import suppress
from time import monotonic

from mmcampaign.delivery.smtp_drive import READ, WRITE, Conversation, Pause

LONGEST_LINE = 4_096  # bytes; RFC 5321 4.5.3.1.5 asks for 512
MOST_LINES = 100  # of one reply
PIECE = 16_384  # bytes; all of a TLS record (RFC 8446 5.1), so that none stays behind unseen by the selector


class Wire:
    """``extensions`` are the EHLO keywords in small letters; ``pipelines``: commands may come in groups (RFC 2920)."""

    def __init__(self, session: smtplib.SMTP) -> None:
        assert session.sock
        self._session = session
        self._socket: socket.socket | ssl.SSLSocket = session.sock
        # The small write behind a large one would otherwise wait for the acknowledgement of the large one.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)
        self._heard = _read_ahead(session)
        self.extensions = frozenset(session.esmtp_features)
        self.pipelines = "pipelining" in self.extensions

    @property
    def has_more(self) -> bool:
        """Whether the server said more than was listened to."""
        return bool(self._heard)

    def send(self, data: bytes, seconds: float) -> Conversation[int]:
        """How many of the bytes left this machine; fewer than all when the connection is lost or stuck.

        ``seconds`` hold for each piece. A TLS record that left in part counts as not sent: nobody can read it.
        """
        sent, left = 0, memoryview(data)
        with suppress(OSError):
            while sent < len(data):
                try:
                    sent += self._socket.send(left[sent:])
                except (BlockingIOError, ssl.SSLWantWriteError):
                    yield Pause(self._socket, WRITE, monotonic() + seconds)
                except ssl.SSLWantReadError:
                    yield Pause(self._socket, READ, monotonic() + seconds)
        return sent

    def hear(self, seconds: float) -> Conversation[tuple[int, bytes]]:
        """The next reply as code and text (RFC 5321 4.2); code 0 when none came or what came is not a reply.

        A line without its line break is none: the rest of it could have said something else.
        """
        deadline = monotonic() + seconds
        text: list[bytes] = []
        while len(text) < MOST_LINES:
            while not (end := self._heard.find(b"\n") + 1):
                piece = b"" if len(self._heard) > LONGEST_LINE else (yield from self._piece(deadline))
                if not piece:
                    return 0, b""
                self._heard += piece
            line, self._heard = self._heard[:end], self._heard[end:]
            code, mark = line[:3], line[3:4]
            if not (code.isdigit() and mark in b" -\r\n"):
                break
            text.append(line[4:].strip())
            if mark != b"-":
                return int(code), b"\n".join(text)
        return 0, b""

    def _piece(self, deadline: float) -> Conversation[bytes]:
        """What comes next; nothing when the connection ends, or at the deadline."""
        event = READ
        with suppress(OSError):
            while True:
                yield Pause(self._socket, event, deadline)
                try:
                    return self._socket.recv(PIECE)
                except (BlockingIOError, ssl.SSLWantReadError):
                    event = READ
                except ssl.SSLWantWriteError:
                    event = WRITE
        return b""

    def goodbye(self, seconds: float) -> Conversation[None]:
        """QUIT, without waiting long for the answer."""
        if (yield from self.send(b"QUIT\r\n", seconds)):
            yield from self.hear(seconds)
        self.close()

    def close(self) -> None:
        """Let go of the connection."""
        self._session.close()


def _read_ahead(session: smtplib.SMTP) -> bytes:
    """What smtplib's reader took from the socket behind the reply it waited for."""
    with suppress(OSError):  # there is nothing to read at the moment, or never again
        return session.file.peek() if session.file else b""
    return b""
