"""One SMTP connection that hands over message after message, in as few round trips as is safe.

A server that offers PIPELINING (RFC 2920) gets MAIL, RCPT and DATA in one write. Nothing is sent behind the final dot:
the next reply that comes is then the answer to it, even from a server that answers a group in another order (Postfix's
smtp-sink with delays does). A group that was answered so proves nothing and harms nothing, for no text has left yet; it
is said again step by step.
"""

import re
import smtplib
from collections.abc import Callable
from concurrent.futures import Future
from functools import lru_cache
from typing import Protocol

from mmcampaign.delivery import SmtpOptions
from mmcampaign.delivery.smtp_drive import Conversation, done_elsewhere
from mmcampaign.delivery.smtp_open import CannotOpenError
from mmcampaign.delivery.smtp_proofs import CLOSING, Step, StepFailedError, UnfitAddressError, is_proper
from mmcampaign.delivery.smtp_wire import Wire
from mmcampaign.model import Outcome, Outgoing, Receipt, Sender

# Servers end a connection after a number of messages of their own choice; most allow a hundred.
MESSAGES_PER_CONNECTION = 100
# A connection that got no proper answer for so many messages in a row leaves the rest of the batch alone.
SILENCES = 3

_LOCAL = re.compile(r"[^\s<>\x00-\x1f\x7f]+@[^\s<>@\x00-\x1f\x7f]+")
_LEADING_DOT = re.compile(rb"\n\.")  # finds it in a third of the time that ``bytes.replace`` takes
_QUEUE_ID = re.compile(rb"(?:queued as|\bid=)\s*([^\s<>]+)", re.IGNORECASE)

# The envelope: each line with its step and the first digit of the reply that lets us go on. DATA comes last, as
# RFC 2920 3.1 asks of a group of commands.
Envelope = tuple[tuple[Step, int, bytes], ...]


class Queue(Protocol):
    """Where a connection gets its messages from, and where it tells what came of them."""

    def next(self) -> Outgoing | None:
        """The next message, which is now this connection's alone."""

    def put_back(self, message: Outgoing) -> None:
        """A message of which nothing was handed over waits again."""

    def settle(self, receipt: Receipt) -> None:
        """What came of a message."""


class Link:
    """One connection: opened when first needed, kept over batches, opened anew after trouble.

    ``open_session`` begins to open one in another thread: an address that does not answer must not hold up the others.
    """

    def __init__(self, options: SmtpOptions, open_session: Callable[[], Future[smtplib.SMTP]]) -> None:
        self._options, self._open_session = options, open_session
        self._wire: Wire | None = None
        self._handed_over = 0
        self._step_by_step = False  # this server does not keep the order of a group

    def work(self, queue: Queue, sender: Sender) -> Conversation[bool]:
        """Hand over until the queue is empty. False: this connection got no proper answers and leaves the rest alone.

        CannotOpenError: there is no connection. The message it was for is in the queue again.
        """
        silences = 0
        while silences < SILENCES and (message := queue.next()):
            try:
                receipt = yield from self.send(message, sender)
                silences = 0
            except StepFailedError as failure:
                receipt = failure.receipt(message)
                silences = 0 if failure.code else silences + 1
            except CannotOpenError:
                queue.put_back(message)
                raise
            queue.settle(receipt)
        return silences < SILENCES

    def send(self, message: Outgoing, sender: Sender) -> Conversation[Receipt]:
        """Hand over one message. StepFailedError: where it stopped. CannotOpenError: it was not touched."""
        eml = message.eml  # asked for once: it may be composed only now
        try:
            wire = yield from self._go_ahead(message, len(eml), sender)
            return (yield from self._finish(wire, message, _dotted(eml)))
        except (StepFailedError, CannotOpenError):
            raise
        except BaseException:
            self._drop()  # nobody knows where the conversation stands
            raise

    def _go_ahead(self, message: Outgoing, size: int, sender: Sender) -> Conversation[Wire]:
        """The connection that waits for the text of this message, of which nothing has left yet."""
        while True:
            kept, wire = self._wire is not None, (yield from self._opened())
            grouped = wire.pipelines and not self._step_by_step
            try:
                yield from self._begin(wire, _envelope(message, size, sender, wire), grouped=grouped)
            except StepFailedError as failure:
                if not ((grouped and failure.out_of_order) or (kept and failure.stale)):
                    raise
                self._step_by_step = self._step_by_step or failure.out_of_order
                self._drop()  # once: the next connection is a new one
            else:
                return wire

    def close(self) -> Conversation[None]:
        """Say goodbye."""
        if self._wire:
            yield from self._wire.goodbye(min(self._options.timeout, 5))
        self._drop()

    def _opened(self) -> Conversation[Wire]:
        if self._handed_over >= MESSAGES_PER_CONNECTION:
            yield from self.close()
        if self._wire is None:
            session = yield from done_elsewhere(self._open_session())
            self._wire, self._handed_over = Wire(session), 0
        self._handed_over += 1
        return self._wire

    def _begin(self, wire: Wire, envelope: Envelope, *, grouped: bool) -> Conversation[None]:
        """The envelope, up to the 354 after which the text may follow."""
        for group in (envelope,) if grouped else ((each,) for each in envelope):
            yield from wire.send(b"".join(line for _, _, line in group), self._options.timeout)
            yield from self._hear_group(wire, group)
        if wire.has_more:
            self._drop()
            raise StepFailedError(Step.DATA)  # what is said before the text cannot be the answer to it

    def _hear_group(self, wire: Wire, group: Envelope) -> Conversation[None]:
        """Every reply is read (RFC 2920 3.1); the first bad one is what happened."""
        failure, go_ahead = None, False
        for step, wanted, _ in group:
            code, reply = yield from self._hear(wire, step)
            go_ahead = code // 100 == wanted
            failure = failure or (None if go_ahead else StepFailedError(step, code, reply))
            if self._wire is None:
                break
        if failure:
            if self._wire:
                yield from self._clear(wire, failure, begun=go_ahead)
            raise failure

    def _clear(self, wire: Wire, failure: StepFailedError, *, begun: bool) -> Conversation[None]:
        """Make the connection ready for the next message after a refusal, or give it up.

        ``begun``: the server wants the text although it refused the recipient. RFC 2920 3.1: it gets an empty one,
        which is for nobody.
        """
        if begun and failure.step is not Step.RCPT:
            self._drop()
            return
        yield from wire.send(b".\r\n" if begun else b"RSET\r\n", self._options.timeout)
        code, _ = yield from self._hear(wire, failure.step)
        if code // 100 != 2 and not begun:
            self._drop()

    def _finish(self, wire: Wire, message: Outgoing, text: bytes) -> Conversation[Receipt]:
        """The text with its final dot, and the server's answer to it."""
        if (yield from wire.send(text, self._options.timeout)) < len(text):
            self._drop()
            raise StepFailedError(Step.BODY)  # the dot did not leave this machine
        code, reply = yield from self._hear(wire, Step.END)
        if code // 100 != 2:
            raise StepFailedError(Step.END, code, reply)
        queued = _QUEUE_ID.search(reply)
        return Receipt(
            message_id=message.message_id,
            outcome=Outcome.ACCEPTED,
            provider_message_id=queued[1].decode("ascii", "replace")[:100] if queued else "",
        )

    def _hear(self, wire: Wire, step: Step) -> Conversation[tuple[int, bytes]]:
        """The next reply. After one that does not belong here or says farewell, the connection is given up."""
        code, reply = yield from wire.hear(self._options.final_timeout if step is Step.END else self._options.timeout)
        if code == CLOSING or not is_proper(code, step):
            self._drop()
        return code, reply

    def _drop(self) -> None:
        if self._wire:
            self._wire.close()
        self._wire = None


def _envelope(message: Outgoing, size: int, sender: Sender, wire: Wire) -> Envelope:
    """MAIL with the message's size (RFC 1870), one RCPT, DATA."""
    recipient = _address(message.to_email, utf8="smtputf8" in wire.extensions)
    options = f" SIZE={size}" if "size" in wire.extensions else ""
    options += "" if recipient.isascii() else " SMTPUTF8 BODY=8BITMIME"
    return (
        (Step.MAIL, 2, f"MAIL FROM:<{sender.email}>{options}\r\n".encode()),
        (Step.RCPT, 2, f"RCPT TO:<{recipient}>\r\n".encode()),
        (Step.DATA, 3, b"DATA\r\n"),
    )


def _address(address: str, *, utf8: bool) -> str:
    """The address as the envelope has it: the domain in ASCII (RFC 5891) unless the server takes UTF-8 (RFC 6531)."""
    local, _, domain = address.rpartition("@")
    if not _LOCAL.fullmatch(address) or not (utf8 or local.isascii()):
        raise UnfitAddressError
    if not local.isascii():
        return address
    return f"{local}@{_domain(domain)}"


@lru_cache(maxsize=1_000)
def _domain(domain: str) -> str:
    try:
        return domain.encode("idna").decode()
    except UnicodeError as error:
        raise UnfitAddressError from error


def _dotted(eml: bytes) -> bytes:
    """The message as DATA takes it: leading dots doubled, the lone dot at its end (RFC 5321 4.5.2)."""
    first = b"." if eml.startswith(b".") else b""
    ending = b".\r\n" if eml.endswith(b"\r\n") else b"\r\n.\r\n"
    return b"".join((first, _LEADING_DOT.sub(b"\n..", eml), ending))
