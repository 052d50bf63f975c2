"""The sendgrid backend against a server with SendGrid's own schema: what each answer proves, and what is posted."""

import json
import logging
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmcampaign.delivery import SendgridOptions, sendgrid_body
from mmcampaign.delivery.sendgrid import SendgridBackend
from mmcampaign.delivery.sendgrid_body import requests_for
from mmcampaign.errors import ConfigError
from mmcampaign.model import Outcome, Receipt, Shape
from mmcampaign.shapes import Filler
from tests.contract.batches import SENDER, SHAPE, make_batch, make_message, make_shape, people
from tests.servers.sendgrid import KEY, Answer, SendgridServer, errors, sendgrid_server
from tests.servers.sendgrid_rules import violations

ACCEPTED, FAILED, NOT_TAKEN, UNKNOWN = Outcome.ACCEPTED, Outcome.FAILED, Outcome.NOT_TAKEN, Outcome.UNKNOWN


@pytest.fixture
def server() -> Iterator[SendgridServer]:
    with sendgrid_server() as running:
        yield running


def backend_for(server: SendgridServer, **options: Any) -> SendgridBackend:
    settings: dict[str, Any] = {"api_key": KEY, "host": server.url, "timeout": 5} | options
    return SendgridBackend(SendgridOptions(**settings))


def send_one(backend: SendgridBackend) -> Receipt:
    (receipt,) = backend.deliver(make_batch(make_message(1)))
    return receipt


SLOWLY = errors("too many requests")
CASES: dict[str, tuple[Answer, Outcome, bool]] = {
    # SendGrid's answer, what it proves, stop the run?
    "202": (Answer(headers={"X-Message-Id": "abc"}, taken=True), ACCEPTED, False),
    "200 outside the sandbox": (Answer(status=200, taken=True), UNKNOWN, True),
    "204": (Answer(status=204, taken=True), UNKNOWN, True),
    "redirect": (Answer(status=302, headers={"Location": "/welcome"}), UNKNOWN, True),
    "bad request": (Answer(status=400, body=errors("bad", field="personalizations.0.to")), FAILED, False),
    "bad request without a reason": (Answer(status=400), FAILED, False),
    "bad sender": (Answer(status=400, body=errors("not verified", field="from.email")), NOT_TAKEN, True),
    "bad content": (Answer(status=400, body=errors("empty", field="content.0.value")), NOT_TAKEN, True),
    "wrong key": (Answer(status=401, body=errors("invalid grant")), NOT_TAKEN, True),
    "forbidden": (Answer(status=403, body=errors("blocked")), NOT_TAKEN, True),
    "not found": (Answer(status=404, body="<h1>nothing here</h1>"), NOT_TAKEN, True),
    "wrong method": (Answer(status=405), NOT_TAKEN, True),
    "request time-out": (Answer(status=408, taken=True), UNKNOWN, False),
    "too large": (Answer(status=413, body=errors("too large")), FAILED, False),
    "wrong media type": (Answer(status=415), NOT_TAKEN, True),
    "slow down": (Answer(status=429, body=SLOWLY), NOT_TAKEN, False),
    "server error": (Answer(status=500, body=errors("oops"), taken=True), UNKNOWN, False),
    "bad gateway": (Answer(status=502, body="<h1>Bad gateway</h1>", taken=True), UNKNOWN, False),
    "unavailable, says SendGrid": (Answer(status=503, body=errors("try later")), NOT_TAKEN, False),
    "unavailable, says a proxy": (Answer(status=503, body="<h1>Try later</h1>", taken=True), UNKNOWN, False),
    "unavailable, odd JSON": (Answer(status=503, body="[1]", taken=True), UNKNOWN, False),
    "gateway time-out": (Answer(status=504, taken=True), UNKNOWN, False),
    "no answer in time": (Answer(fault="hang", taken=True), UNKNOWN, False),
    "reset after the body": (Answer(fault="reset after the body", taken=True), UNKNOWN, False),
    "not HTTP": (Answer(fault="garbage", taken=True), UNKNOWN, True),
}


@pytest.mark.parametrize(("answer", "outcome", "halt"), CASES.values(), ids=CASES)
def test_what_an_answer_proves(server: SendgridServer, answer: Answer, outcome: Outcome, halt: bool) -> None:
    server.script.append(answer)
    receipt = send_one(backend_for(server, timeout=0.5 if answer.fault == "hang" else 5))
    assert (receipt.outcome, receipt.halt) == (outcome, halt)
    assert len(server.requests) == 1, "posted once, whatever the answer"
    assert server.redirected == []
    assert bool(receipt.error) is (outcome is not ACCEPTED)
    if not answer.fault and outcome is not ACCEPTED:
        assert str(answer.status) in receipt.error


def test_the_receipt_carries_the_request_id(server: SendgridServer) -> None:
    receipts = backend_for(server).deliver(people(3))
    assert {receipt.provider_message_id for receipt in receipts} == {"loopback-1"}


def test_a_connection_lost_within_the_request_is_not_taken(server: SendgridServer) -> None:
    shape = make_shape(more="x" * 12_000_000)
    server.script.append(Answer(fault="reset before the body"))
    (receipt,) = backend_for(server).deliver(make_batch(make_message(1, shape=SHAPE), shape=shape))
    assert (receipt.outcome, receipt.halt, server.mails) == (NOT_TAKEN, False, [])


@pytest.mark.parametrize("host", ["https://127.0.0.1:{port}", "http://a..b"], ids=["no TLS there", "impossible host"])
def test_what_fails_before_the_request_stops_the_run(server: SendgridServer, host: str) -> None:
    port = server.url.rpartition(":")[2]
    receipt = send_one(backend_for(server, host=host.format(port=port)))
    assert (receipt.outcome, receipt.halt, server.requests) == (NOT_TAKEN, True, [])
    assert "cannot be reached" in receipt.error


def in_ten_seconds() -> str:
    return str(int(time.time()) + 10)


@pytest.mark.parametrize(
    ("headers", "low", "high"),
    [
        ({"Retry-After": "7"}, 7, 7),
        ({"Retry-After": "9" * 400}, 3600, 3600),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0, 0),
        ({"X-RateLimit-Reset": in_ten_seconds}, 5, 10),
        ({"X-RateLimit-Reset": "0"}, 0, 0),
        ({"X-RateLimit-Reset": "soon"}, None, None),
        ({"X-RateLimit-Reset": "nan"}, None, None),
        ({}, None, None),
    ],
    ids=[
        "seconds",
        "for ever",
        "a past date",
        "SendGrid's reset",
        "a past reset",
        "nonsense",
        "not a number",
        "nothing",
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_how_long_to_wait(
    server: SendgridServer, status: int, headers: dict[str, Any], low: float | None, high: float | None
) -> None:
    told = {name: value() if callable(value) else value for name, value in headers.items()}
    server.script.append(Answer(status=status, headers=told, body=SLOWLY))
    waited = send_one(backend_for(server)).retry_after
    assert waited is None if low is None or high is None else low <= (waited or 0) <= high


def test_several_bad_recipients_are_found_and_everybody_else_is_mailed_once(server: SendgridServer) -> None:
    batch = people(40)
    server.refused = {"learner1@example.com", "learner22@example.com", "learner40@example.com"}
    receipts = backend_for(server).deliver(batch)
    failed = {m.to_email for m, r in zip(batch.messages, receipts, strict=True) if r.outcome is FAILED}
    assert failed == server.refused
    assert sorted(mail.to_email for mail in server.mails) == sorted(
        message.to_email for message in batch.messages if message.to_email not in server.refused
    )
    assert len(server.requests) < 40


def test_a_request_that_is_too_large_is_halved(server: SendgridServer) -> None:
    server.script.append(Answer(status=413, body=errors("too large")))
    receipts = backend_for(server).deliver(people(5))
    assert {receipt.outcome for receipt in receipts} == {ACCEPTED}
    assert [len(request["personalizations"]) for request in server.requests] == [5, 2, 3]


def test_a_fault_of_the_sender_is_nobody_s_failure(server: SendgridServer) -> None:
    server.script.append(Answer(status=400, body=errors("The from address does not match", field="from")))
    receipts = backend_for(server).deliver(people(5))
    assert {(receipt.outcome, receipt.halt) for receipt in receipts} == {(NOT_TAKEN, True)}
    assert "does not match" in receipts[0].error
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [(Answer(status=500, taken=True), UNKNOWN), (Answer(status=429), NOT_TAKEN), (Answer(status=401), NOT_TAKEN)],
    ids=["in doubt", "slow down", "wrong key"],
)
def test_after_a_bad_sign_the_rest_of_the_batch_is_left_alone(
    server: SendgridServer, answer: Answer, outcome: Outcome
) -> None:
    server.script.extend([Answer(taken=True), answer])
    receipts = backend_for(server, batch_size=2).deliver(people(7))
    assert [receipt.outcome for receipt in receipts] == [ACCEPTED] * 2 + [outcome] * 2 + [NOT_TAKEN] * 3
    assert len(server.requests) == 2


def test_the_same_address_twice_takes_two_requests(server: SendgridServer) -> None:
    batch = make_batch(make_message(1, email="ada@example.com"), make_message(2, email="Ada@example.com"))
    receipts = backend_for(server).deliver(batch)
    assert [receipt.outcome for receipt in receipts] == [ACCEPTED, ACCEPTED]
    assert len(server.requests) == 2


@pytest.mark.parametrize(("size", "requests"), [(10, [10, 10, 5]), (25, [25]), (1000, [25])])
def test_a_request_holds_as_many_people_as_configured(server: SendgridServer, size: int, requests: list[int]) -> None:
    backend_for(server, batch_size=size).deliver(people(25))
    assert [len(request["personalizations"]) for request in server.requests] == requests


def test_a_request_holds_a_thousand_people_at_most() -> None:
    batch = people(1_001)
    assert [len(request.people) for request in requests_for(batch, 5_000)] == [1_000, 1]
    assert violations(requests_for(batch, 1_000)[0].body(SENDER, sandbox=False)) == []


def test_a_request_stays_below_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sendgrid_body, "MAX_REQUEST", 5_000)
    requests = requests_for(people(20), 500)
    assert sum(len(request.people) for request in requests) == 20
    assert 2 < len(requests) < 20
    assert all(len(json.dumps([dict(p.personalization) for p in request.people])) < 5_000 for request in requests)


def test_who_has_too_many_words_goes_alone_with_the_text_filled_in(server: SendgridServer) -> None:
    wordy = make_message(1, name="ñ" * 6_000)
    receipts = backend_for(server).deliver(make_batch(wordy, make_message(2)))
    assert {receipt.outcome for receipt in receipts} == {ACCEPTED}
    alone = next(mail for mail in server.mails if mail.to_email == wordy.to_email)
    assert "substitutions" not in server.requests[1]["personalizations"][0]
    assert alone.html == Filler(SHAPE).html(wordy.values)
    assert alone.text == Filler(SHAPE).text(wordy.values)


@settings(max_examples=200, deadline=None)
@given(names=st.lists(st.text(max_size=40).map(lambda name: f"{name}."), min_size=1, max_size=4))
def test_substitution_gives_exactly_what_our_own_merge_gives(names: list[str]) -> None:
    batch = make_batch(*(make_message(number, name="x") for number in range(len(names))))
    messages = [
        replace(message, to_name=name, values={**message.values, "learner.name": name})
        for message, name in zip(batch.messages, names, strict=True)
    ]
    (request,) = requests_for(replace(batch, messages=tuple(messages)), 500)
    body = request.body(SENDER, sandbox=False)
    assert violations(body) == []
    filler = Filler(SHAPE)
    for message, personalization in zip(messages, body["personalizations"], strict=True):
        text, html = (part["value"] for part in body["content"])
        for key, value in personalization["substitutions"].items():
            text, html = text.replace(key, value), html.replace(key, value)
        assert text == filler.text(message.values)
        assert html == filler.html(message.values)


def test_what_is_posted(server: SendgridServer) -> None:
    message = make_message(1, name="Lovelace, Ada; Countess")
    backend_for(server).deliver(make_batch(message))
    (body,) = server.requests
    (person,) = body["personalizations"]
    assert person["to"] == [{"email": "learner1@example.com", "name": "Lovelace Ada Countess"}]
    assert person["custom_args"] == {"mmc_message": message.message_id, "mmc_campaign": "7"}
    assert person["subject"] == message.subject
    assert body["from"] == {"email": SENDER.email, "name": "UQx Updates"}
    assert body["reply_to"] == {"email": "help@uqx.example.org"}
    assert [tracking["enable"] for tracking in body["tracking_settings"].values()] == [False, False, False]
    assert body["mail_settings"] == {"sandbox_mode": {"enable": False}}


def test_a_shape_without_personal_values_needs_no_substitutions(server: SendgridServer) -> None:
    plain = Shape(digest="0" * 64, subject="Hello", html="<p>Hello</p>", text="Hello")
    backend_for(server).deliver(make_batch(make_message(1), shape=plain))
    assert server.mails[0].html == "<p>Hello</p>"


def test_the_sandbox_accepts_and_sends_nothing(server: SendgridServer) -> None:
    receipt = send_one(backend_for(server, sandbox=True))
    assert (receipt.outcome, server.mails) == (ACCEPTED, [])
    assert server.requests[0]["mail_settings"]["sandbox_mode"] == {"enable": True}


def test_the_wrong_key_is_refused_by_the_server(server: SendgridServer) -> None:
    receipt = send_one(backend_for(server, api_key="SG.another"))
    assert (receipt.outcome, receipt.halt) == (NOT_TAKEN, True)
    assert "SENDGRID_API_KEY" in receipt.error
    assert "SG.another" not in receipt.error


def test_spaces_around_the_key_do_no_harm(server: SendgridServer) -> None:
    assert send_one(backend_for(server, api_key=f" {KEY}\n")).outcome is ACCEPTED


@pytest.mark.parametrize("key", ["", "  \n", "SG.a\nb", "SG.ü"], ids=["missing", "blank", "two lines", "beyond ASCII"])
def test_a_key_that_cannot_be_one_is_refused_at_once(key: str) -> None:
    options = SendgridOptions(api_key=key)
    with pytest.raises(ConfigError, match="SENDGRID_API_KEY") as caught:
        SendgridBackend(options)
    assert "SG." not in str(caught.value) + repr(options)


@pytest.mark.parametrize(
    "answers",
    [[], [Answer(status=400, body=errors("Ada Lovelace <learner1@example.com> is bad"))], [Answer(status=500)]],
    ids=["accepted", "refused", "in doubt"],
)
def test_no_log_record_holds_the_key_or_a_person(
    server: SendgridServer, caplog: pytest.LogCaptureFixture, answers: list[Answer]
) -> None:
    logging.getLogger("python_http_client").setLevel(logging.DEBUG)
    caplog.set_level(logging.DEBUG)
    server.script.extend(answers)
    receipt = send_one(backend_for(server))
    told = " ".join(record.getMessage() for record in caplog.records) + receipt.error
    assert not any(secret in told for secret in (KEY, "learner1@", "Ada", "Lovelace"))
