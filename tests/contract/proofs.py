"""What each answer or fault proves, one table for each backend: the lines of docs/delivery-proofs.md.

The contract tests try every line against a real server; ``test_proofs_page.py`` holds the page to these tables.
"""

from mmcampaign.model import Outcome, Receipt
from tests.servers.faulty_http import Answer
from tests.servers.sendgrid import errors
from tests.servers.ses import error
from tests.servers.smtp import CUT_SHORT, DROP, HANG, Step

ACCEPTED, FAILED, NOT_TAKEN, UNKNOWN = Outcome.ACCEPTED, Outcome.FAILED, Outcome.NOT_TAKEN, Outcome.UNKNOWN
GOES_ON, SLOWER, STOPS = "goes on", "goes on more slowly", "stops"

Proof = tuple[Outcome, str]


def proof_in(receipt: Receipt) -> Proof:
    """What a receipt says of its message, and what becomes of the run."""
    return receipt.outcome, STOPS if receipt.halt else SLOWER if receipt.slower else GOES_ON


# What happens -> at which step, the server's reply, the proof. A reply out of order is given twice where commands were
# grouped: what is then said again step by step gets the same answer. At END a message is the server's before ``DROP``,
# ``HANG``, ``CUT_SHORT`` and a reply without a number.
SMTP: dict[str, tuple[Step, str, Proof]] = {
    "421 instead of a greeting": ("CONNECT", "421 4.3.2 too busy", (NOT_TAKEN, SLOWER)),
    "450 instead of a greeting": ("CONNECT", "450 4.3.2 come back", (NOT_TAKEN, GOES_ON)),
    "554 instead of a greeting": ("CONNECT", "554 no SMTP service here", (NOT_TAKEN, STOPS)),
    "dropped instead of a greeting": ("CONNECT", DROP, (NOT_TAKEN, STOPS)),
    "no greeting in time": ("CONNECT", HANG, (NOT_TAKEN, STOPS)),
    "garbage instead of a greeting": ("CONNECT", "HTTP/1.1 200 OK", (NOT_TAKEN, STOPS)),
    "421 to MAIL": ("MAIL", "421 4.3.2 shutting down", (NOT_TAKEN, SLOWER)),
    "450 to MAIL": ("MAIL", "450 4.3.0 later", (NOT_TAKEN, GOES_ON)),
    "454 to MAIL, Amazon's word for too fast": ("MAIL", "454 Throttling failure: rate exceeded", (NOT_TAKEN, SLOWER)),
    "503 to MAIL": ("MAIL", "503 5.5.1 out of step", (NOT_TAKEN, STOPS)),
    "530 to MAIL: login wanted": ("MAIL", "530 5.7.0 authentication required", (NOT_TAKEN, STOPS)),
    "550 to MAIL": ("MAIL", "550 5.7.1 sender not allowed", (NOT_TAKEN, STOPS)),
    "552 to MAIL: larger than allowed": ("MAIL", "552 5.3.4 too large", (FAILED, GOES_ON)),
    "dropped at MAIL": ("MAIL", DROP, (NOT_TAKEN, GOES_ON)),
    "no answer to MAIL in time": ("MAIL", HANG, (NOT_TAKEN, GOES_ON)),
    "garbage to MAIL": ("MAIL", "what?", (NOT_TAKEN, GOES_ON)),
    "421 to RCPT": ("RCPT", "421 4.3.2 shutting down", (NOT_TAKEN, SLOWER)),
    "450 to RCPT": ("RCPT", "450 4.2.0 greylisted", (NOT_TAKEN, GOES_ON)),
    "550 to RCPT": ("RCPT", "550 5.1.1 user unknown", (FAILED, GOES_ON)),
    "503 to RCPT": ("RCPT", "503 5.5.1 need MAIL first", (NOT_TAKEN, STOPS)),
    "552 to RCPT: mailbox full": ("RCPT", "552 5.2.2 mailbox full", (FAILED, GOES_ON)),
    "dropped at RCPT": ("RCPT", DROP, (NOT_TAKEN, GOES_ON)),
    "no answer to RCPT in time": ("RCPT", HANG, (NOT_TAKEN, GOES_ON)),
    "garbage to RCPT": ("RCPT", "what?", (NOT_TAKEN, GOES_ON)),
    "421 to DATA": ("DATA", "421 4.3.2 shutting down", (NOT_TAKEN, SLOWER)),
    "451 to DATA": ("DATA", "451 4.3.0 later", (NOT_TAKEN, GOES_ON)),
    "554 to DATA": ("DATA", "554 5.5.1 no", (FAILED, GOES_ON)),
    "250 to DATA, which is no answer to it": ("DATA", "250 what?", (NOT_TAKEN, GOES_ON)),
    "dropped at DATA": ("DATA", DROP, (NOT_TAKEN, GOES_ON)),
    "no answer to DATA in time": ("DATA", HANG, (NOT_TAKEN, GOES_ON)),
    "421 after the final dot": ("END", "421 4.3.2 shutting down", (NOT_TAKEN, SLOWER)),
    "451 after the final dot": ("END", "451 4.7.1 later", (NOT_TAKEN, GOES_ON)),
    "550 after the final dot": ("END", "550 5.7.1 looks like spam", (FAILED, GOES_ON)),
    "dropped after the final dot": ("END", DROP, (UNKNOWN, GOES_ON)),
    "no answer after the final dot in time": ("END", HANG, (UNKNOWN, GOES_ON)),
    "garbage after the final dot": ("END", "fine, thanks", (UNKNOWN, GOES_ON)),
    "dropped within the answer after the final dot": ("END", CUT_SHORT, (UNKNOWN, GOES_ON)),
    "250 after the final dot": ("END", "", (ACCEPTED, GOES_ON)),
}
OUT_OF_ORDER = {"503 to MAIL", "503 to RCPT", "250 to DATA, which is no answer to it"}
# Lines that need a setting of their own; a test names each as it stands here.
SMTP_OTHER: dict[str, Proof] = {
    "connection refused": (NOT_TAKEN, STOPS),
    "no such host name": (NOT_TAKEN, STOPS),
    "no TLS, or none that begins": (NOT_TAKEN, STOPS),
    "certificate not valid for the host": (NOT_TAKEN, STOPS),
    "STARTTLS not offered": (NOT_TAKEN, STOPS),
    "login not offered": (NOT_TAKEN, STOPS),
    "login refused (535)": (NOT_TAKEN, STOPS),
    "dropped within the text, before the final dot left": (NOT_TAKEN, GOES_ON),
    "the text is not read, before the final dot left": (NOT_TAKEN, GOES_ON),
    "address that the server cannot take": (FAILED, GOES_ON),
    "421 or dropped while a kept connection was idle": (ACCEPTED, GOES_ON),
    "a group answered in another order": (ACCEPTED, GOES_ON),
}

# SendGrid's answer to a request -> the proof about everybody in it. A 400 or 413 that may be about one person alone
# is found out by halves first.
SENDGRID: dict[str, tuple[Answer, Proof]] = {
    "202": (Answer(headers={"X-Message-Id": "abc"}, taken=True), (ACCEPTED, GOES_ON)),
    "200 outside the sandbox": (Answer(status=200, taken=True), (UNKNOWN, STOPS)),
    "204": (Answer(status=204, taken=True), (UNKNOWN, STOPS)),
    "a redirect (302), which is not followed": (
        Answer(status=302, headers={"Location": "/welcome"}, taken=True),
        (UNKNOWN, STOPS),
    ),
    "400 about a person": (Answer(status=400, body=errors("bad", field="personalizations.0.to")), (FAILED, GOES_ON)),
    "400 without a reason": (Answer(status=400), (FAILED, GOES_ON)),
    "400 about the sender": (Answer(status=400, body=errors("not verified", field="from.email")), (NOT_TAKEN, STOPS)),
    "400 about the content": (Answer(status=400, body=errors("empty", field="content.0.value")), (NOT_TAKEN, STOPS)),
    "401": (Answer(status=401, body=errors("invalid grant")), (NOT_TAKEN, STOPS)),
    "403": (Answer(status=403, body=errors("blocked")), (NOT_TAKEN, STOPS)),
    "404": (Answer(status=404, body="<h1>nothing here</h1>"), (NOT_TAKEN, STOPS)),
    "405": (Answer(status=405), (NOT_TAKEN, STOPS)),
    "408": (Answer(status=408, taken=True), (UNKNOWN, GOES_ON)),
    "413": (Answer(status=413, body=errors("too large")), (FAILED, GOES_ON)),
    "415": (Answer(status=415), (NOT_TAKEN, STOPS)),
    "429 without Retry-After": (Answer(status=429, body=errors("too many requests")), (NOT_TAKEN, SLOWER)),
    "429 with Retry-After": (
        Answer(status=429, headers={"Retry-After": "1"}, body=errors("too many requests")),
        (NOT_TAKEN, SLOWER),
    ),
    "500": (Answer(status=500, body=errors("oops"), taken=True), (UNKNOWN, GOES_ON)),
    "502": (Answer(status=502, body="<h1>Bad gateway</h1>", taken=True), (UNKNOWN, GOES_ON)),
    "503 in SendGrid's own words": (Answer(status=503, body=errors("try later")), (NOT_TAKEN, GOES_ON)),
    "503 of somebody in between": (
        Answer(status=503, body="<h1>Try later</h1>", taken=True),
        (UNKNOWN, GOES_ON),
    ),
    "503 with odd JSON": (Answer(status=503, body="[1]", taken=True), (UNKNOWN, GOES_ON)),
    "504": (Answer(status=504, taken=True), (UNKNOWN, GOES_ON)),
    "no answer in time": (Answer(fault="hang", taken=True), (UNKNOWN, GOES_ON)),
    "202 lost on the way back: reset after the body": (
        Answer(fault="reset after the body", taken=True),
        (UNKNOWN, GOES_ON),
    ),
    "not HTTP": (Answer(fault="garbage", taken=True), (UNKNOWN, STOPS)),
}
SENDGRID_OTHER: dict[str, Proof] = {
    "connection refused": (NOT_TAKEN, STOPS),
    "no such host name": (NOT_TAKEN, STOPS),
    "no TLS, or none that begins": (NOT_TAKEN, STOPS),
    "certificate not valid for the host": (NOT_TAKEN, STOPS),
    "reset before the whole request had left": (NOT_TAKEN, GOES_ON),
    "200 within the sandbox": (ACCEPTED, GOES_ON),
}

# Amazon SES's answer -> the proof.
SES: dict[str, tuple[Answer, Proof]] = {
    "200 with a message id": (Answer(status=200, body='{"MessageId": "abc"}', taken=True), (ACCEPTED, GOES_ON)),
    "200 without a message id": (Answer(status=200, body="{}", taken=True), (UNKNOWN, STOPS)),
    "200 that is not JSON": (Answer(status=200, body="<h1>Welcome</h1>", taken=True), (UNKNOWN, STOPS)),
    "a redirect (302), which is not followed": (
        Answer(status=302, headers={"Location": "/welcome"}, taken=True),
        (UNKNOWN, STOPS),
    ),
    "MessageRejected": (error("MessageRejected", "Illegal address"), (FAILED, GOES_ON)),
    "MessageRejected: the sender is not verified": (
        error("MessageRejected", "Email address is not verified: business@uqx.example.org, news@nx.example"),
        (NOT_TAKEN, STOPS),
    ),
    "BadRequestException": (error("BadRequestException", "Invalid content"), (FAILED, GOES_ON)),
    "413": (error("RequestEntityTooLargeException", "Too large", 413), (FAILED, GOES_ON)),
    "MailFromDomainNotVerifiedException": (error("MailFromDomainNotVerifiedException", "MX"), (NOT_TAKEN, STOPS)),
    "NotFoundException: no such configuration set": (error("NotFoundException", "none", 404), (NOT_TAKEN, STOPS)),
    "AccountSuspendedException": (error("AccountSuspendedException", "suspended"), (NOT_TAKEN, STOPS)),
    "SendingPausedException": (error("SendingPausedException", "paused"), (NOT_TAKEN, STOPS)),
    "LimitExceededException": (error("LimitExceededException", "too many"), (NOT_TAKEN, STOPS)),
    "ThrottlingException: rate": (
        error("ThrottlingException", "Maximum sending rate exceeded"),
        (NOT_TAKEN, SLOWER),
    ),
    "ThrottlingException: daily quota": (
        error("ThrottlingException", "Daily message quota exceeded"),
        (NOT_TAKEN, STOPS),
    ),
    "429 without Retry-After": (error("TooManyRequestsException", "slow down", 429), (NOT_TAKEN, SLOWER)),
    "429 with Retry-After": (
        error("TooManyRequestsException", "slow down", 429, **{"Retry-After": "1"}),
        (NOT_TAKEN, SLOWER),
    ),
    "429 of somebody in between": (Answer(status=429), (NOT_TAKEN, SLOWER)),
    "401 UnrecognizedClientException": (error("UnrecognizedClientException", "no", 401), (NOT_TAKEN, STOPS)),
    "403 AccessDeniedException": (error("AccessDeniedException", "no", 403), (NOT_TAKEN, STOPS)),
    "403 of somebody in between": (Answer(status=403, body="<h1>No</h1>"), (NOT_TAKEN, STOPS)),
    "408": (Answer(status=408, taken=True), (UNKNOWN, GOES_ON)),
    "500": (error("InternalServiceErrorException", "oops", 500), (UNKNOWN, GOES_ON)),
    "502": (Answer(status=502, body="<h1>Bad gateway</h1>", taken=True), (UNKNOWN, GOES_ON)),
    "503 in Amazon's own words": (error("ServiceUnavailable", "later", 503), (NOT_TAKEN, GOES_ON)),
    "503 of somebody in between": (Answer(status=503, body="<h1>Later</h1>", taken=True), (UNKNOWN, GOES_ON)),
    "504": (Answer(status=504, taken=True), (UNKNOWN, GOES_ON)),
    "no answer in time": (Answer(fault="hang", taken=True), (UNKNOWN, GOES_ON)),
    "reset before the body": (Answer(fault="reset before the body"), (UNKNOWN, GOES_ON)),
    "200 lost on the way back: reset after the body": (
        Answer(fault="reset after the body", taken=True),
        (UNKNOWN, GOES_ON),
    ),
    "not HTTP": (Answer(fault="garbage", taken=True), (UNKNOWN, GOES_ON)),
}
SES_OTHER: dict[str, Proof] = {
    "connection refused": (NOT_TAKEN, STOPS),
    "no such host name": (NOT_TAKEN, STOPS),
    "no TLS, or none that begins": (NOT_TAKEN, STOPS),
    "certificate not valid for the host": (NOT_TAKEN, STOPS),
    "keys that vanished": (NOT_TAKEN, STOPS),
    "address beyond ASCII": (FAILED, GOES_ON),
}

FILE_OTHER: dict[str, Proof] = {
    "the whole file is on the disk": (ACCEPTED, GOES_ON),
    "the same file was there already": (ACCEPTED, GOES_ON),
    "another version was there already": (FAILED, GOES_ON),
    "the folder cannot be made or written": (NOT_TAKEN, STOPS),
    "the disk is full within a file": (NOT_TAKEN, STOPS),
}
