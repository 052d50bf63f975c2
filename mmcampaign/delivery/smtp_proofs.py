"""What each failure of an SMTP conversation proves about the message it was about: one table.

What is proven depends on how far the conversation got, not on the exception: a lost connection and a late reply look
alike (delivery.md 3.2). Only what happens after the final dot can be in doubt.
"""

from enum import Enum

from mmcampaign.delivery import quote_reply
from mmcampaign.model import Outcome, Outgoing, Receipt


class Step(Enum):
    """How far a message got. ``BODY`` ends when the final dot has left; ``END`` waits for the reply to it."""

    MAIL = "the sender address"
    RCPT = "the recipient"
    DATA = "the message"
    BODY = "the message text"
    END = "the whole message"


# RFC 5321 4.2.5: the server takes the message with its 250 to the final dot and not before; 4xx or 5xx there say no.
# A lasting refusal of our own address concerns everybody, so nobody is marked as failed for it.
PROVES = {
    #           5xx                4xx                no proper reply, or the connection is lost
    Step.MAIL: (Outcome.NOT_TAKEN, Outcome.NOT_TAKEN, Outcome.NOT_TAKEN),
    Step.RCPT: (Outcome.FAILED, Outcome.NOT_TAKEN, Outcome.NOT_TAKEN),
    Step.DATA: (Outcome.FAILED, Outcome.NOT_TAKEN, Outcome.NOT_TAKEN),
    Step.BODY: (Outcome.FAILED, Outcome.NOT_TAKEN, Outcome.NOT_TAKEN),
    Step.END: (Outcome.FAILED, Outcome.NOT_TAKEN, Outcome.UNKNOWN),
}
# At any step, whatever the table says.
CODES = {
    552: Outcome.FAILED,  # too large, or the mailbox is full: about this message alone, at MAIL too (RFC 1870)
    530: Outcome.NOT_TAKEN,  # a login is wanted (RFC 4954)
    503: Outcome.NOT_TAKEN,  # the conversation is out of step: not this message's fault
}
CLOSING = 421  # RFC 5321 3.8: the server ends the connection after it
TOO_FAST = {CLOSING, 454}  # 454: Amazon SES, whose quota is used up (its page on sending quotas)
OUT_OF_STEP = 503  # the server and we differ about where the conversation stands
# What may travel together, so that a reply can look like the answer to another line of the group.
GROUPED = {Step.MAIL, Step.RCPT, Step.DATA}


def is_proper(code: int, step: Step) -> bool:
    """Whether a reply with that code can be the answer to the step."""
    return code // 100 in ((3, 4, 5) if step is Step.DATA else (2, 4, 5))


class StepFailedError(Exception):
    """A message stopped at ``step``; ``code`` 0 means that no proper reply came."""

    def __init__(self, step: Step, code: int = 0, reply: bytes = b"") -> None:
        super().__init__(step.name)
        self.out_of_order = step in GROUPED and (code == OUT_OF_STEP or code // 100 in {2, 3})
        self.step, self.code, self.reply = step, code if is_proper(code, step) else 0, reply

    @property
    def stale(self) -> bool:
        """On a kept connection: it was no good any more before this message was begun."""
        return self.step is Step.MAIL and self.code in {0, CLOSING, OUT_OF_STEP}

    def receipt(self, message: Outgoing) -> Receipt:
        """What the failure proves about the message. Refused for good and yet not failed: it concerns everybody."""
        kind = self.code // 100
        refused, later, silent = PROVES[self.step]
        outcome = CODES.get(self.code) or {5: refused, 4: later}.get(kind, silent)
        halt = kind == 5 and outcome is Outcome.NOT_TAKEN
        return Receipt(
            message_id=message.message_id,
            outcome=outcome,
            error=self._sentence(outcome, message),
            halt=halt,
            slower=outcome is Outcome.NOT_TAKEN and self.code in TOO_FAST,
        )

    def _sentence(self, outcome: Outcome, message: Outgoing) -> str:
        if outcome is Outcome.UNKNOWN:
            return "The mail server got the whole message, but its answer never came. It may have been delivered."
        if self.code == 0:
            return f"The connection to the mail server was lost before it had {self.step.value}; it took nothing."
        verb = "refused" if self.code // 100 == 5 else "put off"
        return f"The mail server {verb} {self.step.value}: {self.code} {quote_reply(self.reply, message)}"


class UnfitAddressError(StepFailedError):
    """The recipient cannot be named to this server; it was not even tried."""

    def __init__(self) -> None:
        super().__init__(Step.RCPT, 553)  # the code of RFC 5321 4.2.2 for an address that is not allowed

    def _sentence(self, outcome: Outcome, message: Outgoing) -> str:
        return "The address has letters or signs that the mail server cannot take (it lacks SMTPUTF8)."
