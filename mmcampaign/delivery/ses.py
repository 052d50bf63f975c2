"""The ``ses`` backend: Amazon SES, API version 2, one request a message with the same bytes that SMTP would carry.

``_CODES`` says what each of SES's error names proves. SES knows no idempotency key, so boto3's own retries are off:
by default it would post a message three times when an answer is late (delivery.md 0).
"""

import logging
import ssl
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import boto3
from botocore import exceptions as errors
from botocore.config import Config
from botocore.parsers import ResponseParserError

from mmcampaign.delivery import SesOptions, most_in_one_batch, quote_reply
from mmcampaign.delivery.crew import Crew, Run
from mmcampaign.delivery.retry_after import retry_after
from mmcampaign.errors import ConfigError
from mmcampaign.model import Batch, Outcome, Outgoing, Receipt, Sender

# Answers that leave a message in doubt, in a row, after which the rest of the batch is left alone.
DOUBTS = 3


@dataclass(frozen=True, kw_only=True)
class _Meaning:
    """What an answer proves about the message. ``slower``: it is about our speed."""

    outcome: Outcome
    sentence: str
    halt: bool = False
    slower: bool = False


_REFUSED = _Meaning(outcome=Outcome.FAILED, sentence="Amazon SES refused the message")
_SLOWLY = _Meaning(outcome=Outcome.NOT_TAKEN, sentence="Amazon SES asks to send more slowly", slower=True)
_QUOTA = _Meaning(outcome=Outcome.NOT_TAKEN, sentence="The account may send no more mail today", halt=True)
_KEYS = _Meaning(
    outcome=Outcome.NOT_TAKEN, sentence="Amazon SES refused the AWS keys; check them and their permissions", halt=True
)
_ACCOUNT = _Meaning(outcome=Outcome.NOT_TAKEN, sentence="Amazon SES does not let this account send", halt=True)
_SENDER = _Meaning(
    outcome=Outcome.NOT_TAKEN, sentence="Amazon SES has not verified the sender; verify [mail] from there", halt=True
)
_SETUP = _Meaning(
    outcome=Outcome.NOT_TAKEN,
    sentence="Amazon SES does not know what the settings name; check [delivery.ses] region and configuration_set",
    halt=True,
)
_BUSY = _Meaning(outcome=Outcome.NOT_TAKEN, sentence="Amazon SES is not available at the moment")

# SES's own names of errors (API reference of SendEmail, and Common Errors). With any of them the message was not taken.
_CODES = {
    "TooManyRequestsException": _SLOWLY,
    "ThrottlingException": _SLOWLY,
    "Throttling": _SLOWLY,
    "LimitExceededException": _QUOTA,
    "MessageRejected": _REFUSED,
    "BadRequestException": _REFUSED,
    "ValidationException": _REFUSED,
    "RequestEntityTooLargeException": _REFUSED,
    "AccountSuspendedException": _ACCOUNT,
    "SendingPausedException": _ACCOUNT,
    "MailFromDomainNotVerifiedException": _SENDER,
    "NotFoundException": _SETUP,
    "AccessDeniedException": _KEYS,
    "UnrecognizedClientException": _KEYS,
    "InvalidClientTokenId": _KEYS,
    "SignatureDoesNotMatch": _KEYS,
    "InvalidSignatureException": _KEYS,
    "IncompleteSignature": _KEYS,
    "MissingAuthenticationTokenException": _KEYS,
    "ExpiredTokenException": _KEYS,
    "RequestExpired": _KEYS,
    "OptInRequired": _KEYS,
    "NotAuthorized": _KEYS,
    "ServiceUnavailable": _BUSY,
    "ServiceUnavailableException": _BUSY,
}
# What boto3 raises when there is no answer from SES, the nearest kind first.
_NO_KEYS = _Meaning(outcome=Outcome.NOT_TAKEN, sentence="The AWS keys cannot be had", halt=True)
_UNREACHABLE = _Meaning(outcome=Outcome.NOT_TAKEN, sentence="Amazon SES cannot be reached", halt=True)
_NO_TLS = replace(_UNREACHABLE, sentence="Amazon SES shows no valid certificate; check [delivery.ses] endpoint_url")
_NO_ANSWER = _Meaning(
    outcome=Outcome.UNKNOWN,
    sentence="The connection to Amazon SES broke, or no answer came. It may have taken the message",
)
_DOUBT = _Meaning(outcome=Outcome.UNKNOWN, sentence="The answer leaves open whether Amazon SES took the message")
_NOT_SES = replace(_DOUBT, sentence="This was not Amazon SES's answer; check [delivery.ses] endpoint_url", halt=True)
_ELSEWHERE = replace(_UNREACHABLE, sentence="This is not Amazon SES; check [delivery.ses] endpoint_url")
_RAISED: tuple[tuple[type[Exception], _Meaning], ...] = (
    (errors.NoCredentialsError, _NO_KEYS),
    (errors.PartialCredentialsError, _NO_KEYS),
    (errors.CredentialRetrievalError, _NO_KEYS),
    (errors.TokenRetrievalError, _NO_KEYS),
    (errors.ParamValidationError, replace(_REFUSED, sentence="The message cannot be put to Amazon SES")),
    (errors.EndpointConnectionError, _UNREACHABLE),
    (errors.ConnectTimeoutError, _UNREACHABLE),
    (errors.ProxyConnectionError, _UNREACHABLE),
    (errors.EndpointResolutionError, _UNREACHABLE),
    (ResponseParserError, _NOT_SES),
    (Exception, _NO_ANSWER),  # a late answer, a reset before or after the body: they look alike here
)


class SesBackend:
    """Hands messages to Amazon SES, up to ``connections`` at a time."""

    name = "ses"

    def __init__(self, options: SesOptions) -> None:
        """ConfigError when there are no AWS keys or the region or endpoint cannot be one."""
        self.batch_size = most_in_one_batch(options)
        self._options = options
        self._client = _client(options)
        self._crew = Crew(options.connections, "ses")

    def deliver(self, batch: Batch) -> list[Receipt]:
        """Hand over; Ctrl-C lets what is in flight finish and leaves the rest untouched."""
        return self._crew.deliver(batch, partial(self._crew.together, self._work))

    def proof(self, message_id: str) -> Outcome | None:
        """SES cannot be asked for a message by our id; its events will tell."""
        return None

    def close(self) -> None:
        """End the connections and threads."""
        self._client.close()
        self._crew.close()

    def _work(self, run: Run) -> None:
        doubts = 0
        while message := run.next():
            receipt = self._send(message, run.batch.sender)
            run.settle(receipt)
            doubts = doubts + 1 if receipt.outcome is Outcome.UNKNOWN else 0
            if receipt.outcome is Outcome.NOT_TAKEN or doubts >= DOUBTS:
                run.leave_the_rest(
                    f"Not handed over, because of messages before it. {receipt.error}", slower=receipt.slower
                )

    def _send(self, message: Outgoing, sender: Sender) -> Receipt:
        if not message.to_email.isascii():
            meaning = replace(_REFUSED, sentence="The address has letters that Amazon SES cannot take")
            return _receipt(message, meaning)
        try:
            answer = self._client.send_email(**self._request(message, sender))
        except errors.ClientError as error:
            return _refused(message, sender, error.response)
        except Exception as error:  # noqa: BLE001  whatever is raised, the table says what it proves
            return _receipt(message, _raised(error), type(error).__name__)
        if not answer.get("MessageId"):
            return _receipt(message, _NOT_SES)
        return Receipt(
            message_id=message.message_id, outcome=Outcome.ACCEPTED, provider_message_id=str(answer["MessageId"])
        )

    def _request(self, message: Outgoing, sender: Sender) -> dict[str, Any]:
        """Tags are kept and shown by AWS: opaque ids only. They come back with each event."""
        tags = {"mmc_message": message.message_id, "mmc_campaign": str(message.campaign_id)}
        named = self._options.configuration_set
        return {
            "FromEmailAddress": sender.email,
            "Destination": {"ToAddresses": [message.to_email]},
            "Content": {"Raw": {"Data": message.eml}},
            "EmailTags": [{"Name": name, "Value": value} for name, value in tags.items()],
            **({"ConfigurationSetName": named} if named else {}),
        }


def _client(options: SesOptions) -> Any:
    """boto3's client, without hidden retries and with time-outs."""
    # At DEBUG it logs whole messages and addresses.
    logging.getLogger("botocore").setLevel(logging.WARNING)
    config = Config(
        retries={"total_max_attempts": 1, "mode": "standard"},
        connect_timeout=min(options.timeout, 10),
        read_timeout=options.timeout,
        max_pool_connections=options.connections,
    )
    try:
        session = boto3.session.Session()
        if session.get_credentials() is None:
            raise ConfigError(
                "There are no AWS keys, and the ses backend needs them.",
                todo="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE.",
            )
        return session.client(
            "sesv2", region_name=options.region, endpoint_url=options.endpoint_url or None, config=config
        )
    except (errors.BotoCoreError, ValueError) as error:
        raise ConfigError(
            f"Amazon SES cannot be used as it is set up: {type(error).__name__}.",
            todo="Check [delivery.ses] region and endpoint_url, and the AWS profile.",
        ) from error


def _refused(message: Outgoing, sender: Sender, response: dict[str, Any]) -> Receipt:
    """An answer with an HTTP status of 300 or more."""
    error, about = response.get("Error", {}), response.get("ResponseMetadata", {})
    code, words = str(error.get("Code", "")), str(error.get("Message", ""))
    status, headers = int(about.get("HTTPStatusCode", 0)), about.get("HTTPHeaders", {})
    meaning = _meaning(code, status, words, sender)
    # boto3 gives the names of headers in small letters.
    wait = (
        retry_after({"Retry-After": headers.get("retry-after", "")}) if meaning.outcome is Outcome.NOT_TAKEN else None
    )
    said = ": ".join(filter(None, [str(status or ""), code if code != str(status) else "", words]))
    return _receipt(message, meaning, said)._replace(retry_after=wait)


def _meaning(code: str, status: int, words: str, sender: Sender) -> _Meaning:
    known = _CODES.get(code)
    if known is _SLOWLY and "daily" in words.lower():
        return _QUOTA
    if known is _REFUSED and sender.email.lower() in words.lower():  # names the identity that is not verified
        return _SENDER
    if known:
        return known
    if status == 429:
        return _SLOWLY
    if status < 400:
        return _NOT_SES  # a redirect; boto3 does not follow it
    return _ELSEWHERE if status < 500 and status != 408 else _DOUBT


def _raised(error: Exception) -> _Meaning:
    if isinstance(error, errors.SSLError):
        return _NO_TLS if _in_handshake(error) else _NO_ANSWER
    return next(meaning for kind, meaning in _RAISED if isinstance(error, kind))


def _in_handshake(error: BaseException | None) -> bool:
    """Whether encryption failed for a reason that shows before anything is sent."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError) or getattr(error, "reason", "") == "WRONG_VERSION_NUMBER":
            return True
        error = error.__cause__ or error.__context__
    return False


def _receipt(message: Outgoing, meaning: _Meaning, said: str = "") -> Receipt:
    words = quote_reply(said, message)
    return Receipt(
        message_id=message.message_id,
        outcome=meaning.outcome,
        error=f"{meaning.sentence} ({words})." if words else f"{meaning.sentence}.",
        halt=meaning.halt,
        slower=meaning.slower,
    )
