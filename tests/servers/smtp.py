"""An SMTP server on the loopback interface (aiosmtpd) that can be told to refuse, drop or stay silent at each step."""

import asyncio
import ssl
import threading
import warnings
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

Step = Literal["CONNECT", "MAIL", "RCPT", "DATA", "BODY", "END"]
DROP, HANG = "drop", "hang"  # instead of a reply
CUT_SHORT = "cut short"  # the connection ends within the reply


@dataclass(frozen=True, kw_only=True)
class SmtpMail:
    """A message that the server took, with its envelope."""

    sender: str
    recipients: tuple[str, ...]
    options: tuple[str, ...]
    content: bytes


@dataclass
class SmtpServer:
    """``script`` holds the next replies of a step ("" lets one pass); ``refused`` replies at RCPT by address.

    At END a message is taken before ``DROP``, ``HANG``, ``CUT_SHORT`` or a reply without a number: the case in which
    another try would be a second mail.
    """

    script: defaultdict[Step, deque[str]] = field(default_factory=lambda: defaultdict(deque))
    refused: dict[str, str] = field(default_factory=dict)
    mails: list[SmtpMail] = field(default_factory=list)
    texts_for_nobody: list[bytes] = field(default_factory=list)
    sessions: int = 0
    logins: list[str] = field(default_factory=list)
    pipelining: bool = True
    wants_text_for_nobody: bool = False  # 354 to DATA although every recipient was refused (RFC 2920 3.1)
    on_first_mail: Callable[[], None] = lambda: None  # called in the server's thread
    host: str = "127.0.0.1"
    port: int = 0

    def scripted(self, step: Step) -> str:
        return self.script[step].popleft() if self.script[step] else ""


class _Session(SMTP):
    """aiosmtpd's conversation, with the scripted replies at the places that have no hook."""

    def __init__(self, server: SmtpServer, **options: Any) -> None:
        self._told = server
        self._greeted = False
        super().__init__(_Handler(server), hostname="loopback", **options)

    async def push(self, status: Any) -> Any:
        if not self._greeted:
            self._greeted = True
            self._told.sessions += 1
            status = await self.obey("CONNECT") or status
        return await super().push(status)

    async def smtp_DATA(self, arg: str) -> None:
        if reply := await self.obey("DATA"):
            await self.push(reply)
        elif self._told.script["BODY"]:
            await self.push("354 Go on")
            await self.obey("BODY")
        elif self._told.wants_text_for_nobody and self.envelope and not self.envelope.rcpt_tos:
            await self.push("354 Go on")
            self._told.texts_for_nobody.append(await self._reader.readuntil(b".\r\n"))
            self._set_post_data_state()
            await self.push("554 5.5.1 No valid recipients")
        else:
            await super().smtp_DATA(arg)

    async def obey(self, step: Step) -> str:
        """The scripted reply, if any; does not come back from what ends the connection or hangs."""
        reply = self._told.scripted(step)
        if reply == DROP:
            assert isinstance(self.transport, asyncio.Transport)
            self.transport.abort()
        if reply == CUT_SHORT:
            assert isinstance(self.transport, asyncio.Transport)
            self.transport.write(b"250 2.0.0 O")
            self.transport.close()
        if reply in {DROP, HANG, CUT_SHORT}:
            await asyncio.Event().wait()
        return reply


class _Handler:
    def __init__(self, server: SmtpServer) -> None:
        self._told = server

    async def handle_EHLO(
        self, smtp: _Session, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        return [*responses[:-1], "250-PIPELINING", responses[-1]] if self._told.pipelining else responses

    async def handle_MAIL(
        self, smtp: _Session, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if reply := await smtp.obey("MAIL"):
            return reply
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(
        self, smtp: _Session, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if reply := await smtp.obey("RCPT") or self._told.refused.get(address, ""):
            return reply
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, smtp: _Session, session: Session, envelope: Envelope) -> str:
        planned = self._told.script["END"][0] if self._told.script["END"] else ""
        if not planned[:1].isdigit():
            assert isinstance(envelope.content, bytes)
            self._told.mails.append(
                SmtpMail(
                    sender=envelope.mail_from or "",
                    recipients=tuple(envelope.rcpt_tos),
                    options=tuple(envelope.mail_options),
                    content=envelope.content,
                )
            )
            if len(self._told.mails) == 1:
                self._told.on_first_mail()
        return await smtp.obey("END") or f"250 2.0.0 OK: queued as Q{len(self._told.mails)}"


class _Listener:
    """Runs the event loop of a server in a thread of its own, and ends it with every connection closed."""

    def __init__(self, server: SmtpServer, *, tls: ssl.SSLContext | None, options: dict[str, Any]) -> None:
        self._server, self._tls, self._options = server, tls, options
        self._sessions: list[_Session] = []
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(10)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    def _session(self) -> _Session:
        session = _Session(self._server, loop=self._loop, **self._options)
        self._sessions.append(session)
        return session

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        listener = await self._loop.create_server(
            self._session, self._server.host, self._server.port, ssl=self._tls, reuse_address=True
        )
        self._server.port = listener.sockets[0].getsockname()[1]
        self._ready.set()
        await self._end.wait()
        listener.close()
        for session in self._sessions:
            if isinstance(session.transport, asyncio.Transport):
                session.transport.abort()
        await listener.wait_closed()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)


@contextmanager
def smtp_server(
    *,
    tls: ssl.SSLContext | None = None,
    starttls: ssl.SSLContext | None = None,
    login: tuple[str, str] | None = None,
    utf8: bool = False,
    size_limit: int = 33_554_432,
    pipelining: bool = True,
    port: int = 0,
) -> Iterator[SmtpServer]:
    """A running server: plain, with TLS from the start, or with STARTTLS required; ``login`` is then asked for."""
    server = SmtpServer(port=port, pipelining=pipelining)
    options: dict[str, Any] = {"enable_SMTPUTF8": utf8, "data_size_limit": size_limit}
    if starttls:
        options |= {"tls_context": starttls, "require_starttls": True}
    if login:
        options |= {"authenticator": _authenticator(server, login), "auth_required": True, "auth_require_tls": False}
    listener = _Listener(server, tls=tls, options=options)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Requiring AUTH while not requiring TLS")
        listener.start()
        try:
            yield server
        finally:
            listener.stop()


def _authenticator(server: SmtpServer, login: tuple[str, str]) -> Any:
    def check(smtp: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        server.logins.append(data.login.decode())
        good = (data.login.decode(), data.password.decode()) == login
        return AuthResult(success=good, handled=False)

    return check
