"""One SMTP connection and what it proves about each message.

What is proven depends on how far the conversation got, not on the exception: the standard library reports a lost
connection and a late reply alike (delivery.md 3.2). So the steps are taken one by one, and ``_PROVES`` says what a
failure at each of them means. Only what happens after the final dot can be in doubt.
"""

import re
import smtplib
from collections.abc import Callable
from contextlib import suppress
from enum import Enum

from mmcampaign.delivery import SmtpOptions, quote_reply
from mmcampaign.delivery.smtp_open import open_connection
from mmcampaign.model import Outcome, Outgoing, Receipt, Sender

# Servers end a connection after a number of messages of their own choice; most allow a hundred.
MESSAGES_PER_CONNECTION = 100

_QUEUE_ID = re.compile(r"(?:queued as|\bid=)\s*([^\s<>]+)", re.IGNORECASE)


class Step(Enum):
    """How far a message got. ``BODY`` ends when the final dot has left; ``END`` waits for the reply to it."""

    MAIL = "the sender address"
    RCPT = "the recipient"
    DATA = "the message"
    BODY = "the message text"
    END = "the whole message"


# RFC 5321 4.2.5: the server takes the message with its 250 to the final dot and not before; 4xx or 5xx there say no.
# A lasting refusal of our own address concerns everybody, so nobody is marked as failed for it.
_PROVES = {
    #           5xx                4xx                no proper reply, or the connection is lost
    Step.MAIL: (Outcome.NOT_TAKEN, Outcome.NOT_TAKEN, Outcome.NOT_TAKEN),
    Step.RCPT: (Outcome.FAILED, Outcome.NOT_TAKEN, Outcome.NOT_TAKEN),
    Step.DATA: (Outcome.FAILED, Outcome.NOT_TAKEN, Outcome.NOT_TAKEN),
    Step.BODY: (Outcome.FAILED, Outcome.NOT_TAKEN, Outcome.NOT_TAKEN),
    Step.END: (Outcome.FAILED, Outcome.NOT_TAKEN, Outcome.UNKNOWN),
}
_CODES = {
    552: Outcome.FAILED,  # too large, or the mailbox is full: about this message alone, at MAIL too (RFC 1870)
    530: Outcome.NOT_TAKEN,  # a login is wanted (RFC 4954)
}
_CLOSING = 421


class _StepFailedError(Exception):
    """A message stopped at ``step``; ``code`` 0 means that no proper reply came."""

    def __init__(self, step: Step, code: int = 0, reply: bytes = b"") -> None:
        super().__init__(step.name)
        self.step, self.code, self.reply = step, code, reply

    @property
    def stale(self) -> bool:
        """A kept connection turned out to have ended before this message was begun."""
        return self.step is Step.MAIL and self.code in {0, _CLOSING}

    def receipt(self, message: Outgoing) -> Receipt:
        """What the failure proves about the message. Refused for good and yet not failed: it concerns everybody."""
        kind = self.code // 100
        refused, later, silent = _PROVES[self.step]
        outcome = _CODES.get(self.code) or {5: refused, 4: later}.get(kind, silent)
        halt = kind == 5 and outcome is Outcome.NOT_TAKEN
        return Receipt(
            message_id=message.message_id, outcome=outcome, error=self._sentence(outcome, message), halt=halt
        )

    def _sentence(self, outcome: Outcome, message: Outgoing) -> str:
        if outcome is Outcome.UNKNOWN:
            return "The mail server got the whole message, but its answer never came. It may have been delivered."
        if self.code == 0:
            return f"The connection to the mail server was lost before it had {self.step.value}; it took nothing."
        verb = "refused" if self.code // 100 == 5 else "put off"
        return f"The mail server {verb} {self.step.value}: {self.code} {quote_reply(self.reply, message)}"


class Link:
    """One connection: opened when first needed, kept over batches, opened anew after trouble."""

    def __init__(self, options: SmtpOptions) -> None:
        self._options = options
        self._smtp: smtplib.SMTP | None = None
        self._handed_over = 0
        self.silences = 0  # in a row

    def send(self, message: Outgoing, sender: Sender) -> Receipt:
        """Hand over one message. CannotOpenError: there is no connection, the message was not touched."""
        kept = self._smtp is not None
        try:
            return self._converse(message, sender)
        except _StepFailedError as failure:
            if kept and failure.stale:
                return self.send(message, sender)  # once: the connection is gone now, the next one is new
            return failure.receipt(message)

    def close(self) -> None:
        """Say goodbye, without waiting long for the answer."""
        if self._smtp and self._smtp.sock:
            self._smtp.sock.settimeout(min(self._options.timeout, 5))
            with suppress(OSError):
                self._smtp.quit()
        self._drop()

    def _converse(self, message: Outgoing, sender: Sender) -> Receipt:
        smtp = self._opened()
        recipient = _envelope_address(message.to_email, utf8=smtp.has_extn("smtputf8"))
        if recipient is None:
            error = "The address has letters or signs that the mail server cannot take (it lacks SMTPUTF8)."
            return Receipt(message_id=message.message_id, outcome=Outcome.FAILED, error=error)
        body = _dotted(message.eml)
        self._step(Step.MAIL, lambda: smtp.mail(sender.email, _mail_options(smtp, recipient, len(message.eml))))
        self._step(Step.RCPT, lambda: smtp.rcpt(recipient))
        self._step(Step.DATA, lambda: smtp.docmd("DATA"), wanted=3)
        self._step(Step.BODY, lambda: _send_body(smtp, body))
        reply = self._step(Step.END, smtp.getreply)
        queued = _QUEUE_ID.search(quote_reply(reply, message))
        return Receipt(
            message_id=message.message_id,
            outcome=Outcome.ACCEPTED,
            provider_message_id=queued[1] if queued else "",
        )

    def _opened(self) -> smtplib.SMTP:
        if self._handed_over >= MESSAGES_PER_CONNECTION:
            self.close()
        if self._smtp is None:
            self._smtp, self._handed_over = open_connection(self._options), 0
        self._handed_over += 1
        return self._smtp

    def _step(self, step: Step, say: Callable[[], tuple[int, bytes]], *, wanted: int = 2) -> bytes:
        """Take one step and return the reply's text. ``wanted`` is the first digit of the reply that lets us go on."""
        cause: OSError | None = None
        try:
            code, reply = say()
        except OSError as error:  # smtplib's own exceptions are OSErrors too
            code, reply, cause = 0, b"", error
        if code // 100 == wanted:
            self.silences = 0
            return reply
        if code // 100 not in {4, 5}:
            self.silences += 1
            self._drop()
            raise _StepFailedError(step) from cause
        self.silences = 0
        self._reset(code)
        raise _StepFailedError(step, code, reply)

    def _reset(self, code: int) -> None:
        """Make the connection ready for the next message after a refusal, or give it up."""
        assert self._smtp
        try:
            ready = code != _CLOSING and self._smtp.rset()[0] // 100 == 2
        except OSError:
            ready = False
        if not ready:
            self._drop()

    def _drop(self) -> None:
        if self._smtp:
            self._smtp.close()
        self._smtp = None


def _envelope_address(address: str, *, utf8: bool) -> str | None:
    """The address as the envelope has it: the domain in ASCII (RFC 5891) unless the server takes UTF-8 (RFC 6531)."""
    local, _, domain = address.rpartition("@")
    if not re.fullmatch(r"[^\s<>\x00-\x1f\x7f]+@[^\s<>@\x00-\x1f\x7f]+", address):
        return None
    if not local.isascii():
        return address if utf8 else None
    try:
        return f"{local}@{domain.encode('idna').decode()}"
    except UnicodeError:
        return None


def _mail_options(smtp: smtplib.SMTP, recipient: str, size: int) -> list[str]:
    options = [f"SIZE={size}"] if smtp.has_extn("size") else []
    return options if recipient.isascii() else [*options, "SMTPUTF8", "BODY=8BITMIME"]


def _send_body(smtp: smtplib.SMTP, body: bytes) -> tuple[int, bytes]:
    """Send the text with its final dot. An exception proves that the dot did not leave this machine."""
    smtp.send(body)
    return 250, b""


def _dotted(eml: bytes) -> bytes:
    """The message as DATA takes it: leading dots doubled, the lone dot at its end (RFC 5321 4.5.2)."""
    ending = b"" if eml.endswith(b"\r\n") else b"\r\n"
    return re.sub(rb"(?m)^\.", b"..", eml) + ending + b".\r\n"
