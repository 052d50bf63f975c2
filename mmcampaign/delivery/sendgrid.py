"""The ``sendgrid`` backend: one request for up to 1,000 people of one shape, their words as substitutions.

``sendgrid_body.py`` builds the requests; here they are posted, and ``_ANSWERS`` says what each answer proves.
SendGrid knows no idempotency key, so nothing in doubt is ever posted again (delivery.md 0).
"""

import http.client
import json
import logging
import urllib.request
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any
from urllib.error import URLError

from python_http_client import Client
from python_http_client.client import Response
from python_http_client.exceptions import HTTPError
from sendgrid import SendGridAPIClient

from mmcampaign.columns import rows_of
from mmcampaign.delivery import SendgridOptions, quote_reply_about
from mmcampaign.delivery.retry_after import retry_after
from mmcampaign.delivery.sendgrid_body import Request, requests_for
from mmcampaign.errors import ConfigError
from mmcampaign.model import Batch, Outcome, Receipt


@dataclass(frozen=True, kw_only=True)
class _Meaning:
    """What an answer proves about everybody in the request.

    ``split``: it may be about one of them, so try halves. ``slower``: it is about our speed.
    """

    outcome: Outcome
    sentence: str = ""
    halt: bool = False
    split: bool = False
    slower: bool = False


_WRONG_PLACE = _Meaning(
    outcome=Outcome.NOT_TAKEN, sentence="This is not SendGrid's API; check [delivery.sendgrid] host", halt=True
)
# By HTTP status. A 4xx refuses the whole request (SendGrid's Errors page), so nobody in it was taken.
_ANSWERS = {
    202: _Meaning(outcome=Outcome.ACCEPTED),
    400: _Meaning(outcome=Outcome.FAILED, sentence="SendGrid refused the message", split=True),
    401: _Meaning(outcome=Outcome.NOT_TAKEN, sentence="SendGrid refused the key; check SENDGRID_API_KEY", halt=True),
    403: _Meaning(
        outcome=Outcome.NOT_TAKEN,
        sentence="SendGrid does not let this account or sender address send; check both at SendGrid",
        halt=True,
    ),
    404: _WRONG_PLACE,
    405: _WRONG_PLACE,
    406: _WRONG_PLACE,
    413: _Meaning(outcome=Outcome.FAILED, sentence="The message is too large for SendGrid", split=True),
    415: _WRONG_PLACE,
    429: _Meaning(outcome=Outcome.NOT_TAKEN, sentence="SendGrid asks to send more slowly", slower=True),
}
_SANDBOX_OK = _Meaning(outcome=Outcome.ACCEPTED)
# Only with SendGrid's own error body; a proxy's 503 may come after the request went through.
_BUSY = _Meaning(outcome=Outcome.NOT_TAKEN, sentence="SendGrid is not available at the moment")
_COMMON_FAULT = _Meaning(
    outcome=Outcome.NOT_TAKEN, sentence="SendGrid refused what all messages share; nobody was mailed", halt=True
)
# 500, 502, 504 and their like: SendGrid may have taken the request before it failed.
_DOUBT = _Meaning(outcome=Outcome.UNKNOWN, sentence="SendGrid's answer leaves open whether it took the message")
_NOT_SENDGRID = replace(_DOUBT, sentence="This was not SendGrid's answer; check [delivery.sendgrid] host", halt=True)
_NO_ANSWER = replace(_DOUBT, sentence="SendGrid got the request, but no answer came. It may have taken the message")
_UNREACHABLE = _Meaning(outcome=Outcome.NOT_TAKEN, sentence="SendGrid cannot be reached", halt=True)
_CUT_SHORT = _Meaning(outcome=Outcome.NOT_TAKEN, sentence="The connection to SendGrid broke before it had the request")
_STOPPED = _Meaning(outcome=Outcome.NOT_TAKEN, sentence="Stopped before it was handed over", halt=True)

# What an error's field begins with when it is about the sender, the account or the template, not about one person.
_COMMON_FIELDS = {"from", "reply_to", "content", "mail_settings", "tracking_settings"}


@dataclass(frozen=True, kw_only=True)
class _Answer:
    """SendGrid's answer to one request. ``code`` 0: none came, for the reason in ``words``."""

    meaning: _Meaning
    code: int = 0
    words: str = ""
    provider_message_id: str = ""
    retry_after: float | None = None

    def receipts(self, request: Request, *, tried: bool = True) -> list[Receipt]:
        """One for each message. ``tried`` is False for a request that was not posted any more."""
        meaning = self.meaning
        outcome = meaning.outcome if tried else Outcome.NOT_TAKEN
        error = "" if outcome is Outcome.ACCEPTED else self._sentence(request, tried=tried)
        same = outcome, self.provider_message_id, error, meaning.halt, meaning.slower, self.retry_after
        ids = [message.message_id for message in request.messages]
        digests = request.digests() if tried else [""] * len(ids)
        return rows_of(Receipt, ids, *([value] * len(ids) for value in same), digests)

    def _sentence(self, request: Request, *, tried: bool) -> str:
        """Why nobody in the request was mailed, or may not have been, without anybody's name and address."""
        people = ((to.get("name", ""), to["email"]) for person in request.people for to in json.loads(person)["to"])
        said = ": ".join(filter(None, [str(self.code or ""), self.words and quote_reply_about(self.words, people)]))
        sentence = f"{self.meaning.sentence} ({said})." if said else f"{self.meaning.sentence}."
        return sentence if tried else f"Not handed over, because of the messages before it. {sentence}"


class SendgridBackend:
    """Hands messages to SendGrid's v3 mail/send."""

    name = "sendgrid"

    def __init__(self, options: SendgridOptions) -> None:
        """ConfigError when the key is missing or cannot be one."""
        key = options.api_key.strip()
        if not key:
            raise ConfigError(
                "SENDGRID_API_KEY is not set, and the sendgrid backend needs it.",
                todo="Set the environment variable SENDGRID_API_KEY.",
            )
        if not (key.isascii() and key.isprintable()):
            raise ConfigError("SENDGRID_API_KEY holds letters that no key has.", todo="Copy it from SendGrid again.")
        self.batch_size = options.batch_size
        self._options = options
        self._endpoint = _endpoint(replace(options, api_key=key))

    def deliver(self, batch: Batch) -> list[Receipt]:
        """Post as many requests as the batch needs. After an answer that bodes ill, the rest is left alone."""
        receipts: list[Receipt] = []
        waiting = deque(requests_for(batch, self.batch_size))
        while waiting:
            request = waiting.popleft()
            answer = self._post(batch, request) if batch.may_go() else _Answer(meaning=_STOPPED)
            if answer.meaning.split and len(request.people) > 1:
                waiting.extendleft(reversed(request.halves()))
                continue
            receipts += answer.receipts(request)
            if answer.meaning.outcome in {Outcome.NOT_TAKEN, Outcome.UNKNOWN}:
                receipts += chain.from_iterable(answer.receipts(left, tried=False) for left in waiting)
                break
        by_message = {receipt.message_id: receipt for receipt in receipts}
        return [by_message[message.message_id] for message in batch.messages]

    def proof(self, message_id: str) -> Outcome | None:
        """SendGrid cannot be asked for a message by our id; its events will tell."""
        return None

    def close(self) -> None:
        """Nothing is kept open: the client makes a connection for each request."""

    def _post(self, batch: Batch, request: Request) -> _Answer:
        try:
            response = self._endpoint.post_json(request.body(batch.sender, sandbox=self._options.sandbox))
        except HTTPError as error:
            return self._read(error.status_code, error.headers, error.body)
        except URLError as error:  # urllib wraps what went wrong until the last byte was written, and only that
            broken = isinstance(error.reason, ConnectionResetError | BrokenPipeError)
            return _Answer(meaning=_CUT_SHORT if broken else _UNREACHABLE, words=_reason(error.reason))
        except UnicodeError:
            return _Answer(meaning=_UNREACHABLE, words="no host can have the name in [delivery.sendgrid] host")
        except http.client.BadStatusLine as error:
            silent = isinstance(error, http.client.RemoteDisconnected)
            return _Answer(meaning=_NO_ANSWER if silent else _NOT_SENDGRID)
        except (OSError, http.client.HTTPException) as error:
            return _Answer(meaning=_NO_ANSWER, words=_reason(error))
        return self._read(response.status_code, response.headers, response.body)

    def _read(self, code: int, headers: Mapping[str, str], body: bytes) -> _Answer:
        errors = _errors(body)
        return _Answer(
            meaning=self._meaning(code, errors),
            code=code,
            words="; ".join(str(error.get("message", "")) for error in errors),
            provider_message_id=headers.get("X-Message-Id", ""),
            retry_after=retry_after(headers) if code in {429, 503} else None,
        )

    def _meaning(self, code: int, errors: list[dict[str, Any]]) -> _Meaning:
        if code == 200 and self._options.sandbox:
            return _SANDBOX_OK
        if code == 503 and errors:
            return _BUSY
        fields = {str(error.get("field")).split(".")[0] for error in errors}
        if code == 400 and _COMMON_FIELDS.intersection(fields):
            return _COMMON_FAULT
        return _ANSWERS.get(code) or (_NOT_SENDGRID if code < 400 else _DOUBT)


class _Endpoint(Client):  # type: ignore[misc]  # the client is untyped
    """The official client without redirects: it would follow a 302 with the key, and take its 200 for success."""

    def post_json(self, body: bytes) -> Response:
        """What the client's own ``post`` does, with a body that is JSON already."""
        headers = {**self.request_headers, "Content-Type": "application/json"}
        request = urllib.request.Request(self._build_url(None), body, headers, method="POST")  # noqa: S310  its own URL
        return Response(self._make_request(None, request))

    def _make_request(self, opener: object, request: urllib.request.Request, timeout: float | None = None) -> Any:
        return super()._make_request(self._opener, request, timeout)

    @cached_property
    def _opener(self) -> urllib.request.OpenerDirector:
        """Made once: each one reads the system's certificates."""
        return urllib.request.build_opener(_NoRedirects)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def _endpoint(options: SendgridOptions) -> Any:
    """``POST /v3/mail/send`` through the official client, set up as delivery.md 0 and 1.3 ask."""
    # At DEBUG the client logs the key and every address.
    logging.getLogger("python_http_client.client").setLevel(logging.WARNING)
    official = SendGridAPIClient(options.api_key, host=options.host)
    return _Endpoint(
        host=official.host,
        request_headers=official.client.request_headers,
        version=3,
        url_path=["mail", "send"],
        timeout=options.timeout,
    )


def _errors(body: bytes) -> list[dict[str, Any]]:
    """``errors`` of SendGrid's error body, or nothing when it is not one."""
    try:
        document = json.loads(body)
    except ValueError:
        return []
    errors = document.get("errors") if isinstance(document, dict) else None
    return [error for error in errors if isinstance(error, dict)] if isinstance(errors, list) else []


def _reason(error: object) -> str:
    return (error.strerror or type(error).__name__) if isinstance(error, OSError) else type(error).__name__
