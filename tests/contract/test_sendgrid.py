"""The sendgrid backend against a server with SendGrid's own schema: what each answer proves, and what is posted."""

import json
import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st

from mmcampaign.delivery import SendgridOptions, sendgrid_body
from mmcampaign.delivery.sendgrid import SendgridBackend
from mmcampaign.delivery.sendgrid_body import requests_for, told_beforehand
from mmcampaign.errors import ConfigError
from mmcampaign.model import Outcome, Receipt, Shape
from mmcampaign.shapes import Filler
from tests.contract.batches import SENDER, SHAPE, make_batch, make_message, make_shape, people
from tests.contract.proofs import ACCEPTED, FAILED, NOT_TAKEN, SENDGRID, SENDGRID_OTHER, UNKNOWN, Proof, proof_in
from tests.servers.faulty_http import Answer
from tests.servers.sendgrid import KEY, SendgridServer, errors, sendgrid_server
from tests.servers.sendgrid_rules import violations
from tests.servers.tls import tls_front
from tests.servers.unused import unused_port


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


@pytest.mark.parametrize(("answer", "proof"), SENDGRID.values(), ids=SENDGRID)
def test_what_an_answer_proves(server: SendgridServer, answer: Answer, proof: Proof) -> None:
    server.script.append(answer)
    receipt = send_one(backend_for(server, timeout=0.5 if answer.fault == "hang" else 5))
    assert proof_in(receipt) == proof
    assert len(server.requests) == 1, "posted once, whatever the answer"
    assert len(server.mails) == answer.taken
    assert not answer.taken or proof[0] in {ACCEPTED, UNKNOWN}
    assert server.redirected == []
    assert bool(receipt.error) is (proof[0] is not ACCEPTED)
    if not answer.fault and proof[0] is not ACCEPTED:
        assert str(answer.status) in receipt.error


def test_the_receipt_carries_the_request_id(server: SendgridServer) -> None:
    receipts = backend_for(server).deliver(people(3))
    assert {receipt.provider_message_id for receipt in receipts} == {"loopback-1"}


def test_a_connection_lost_within_the_request_is_not_taken(server: SendgridServer) -> None:
    shape = make_shape(more="x" * 12_000_000)
    server.script.append(Answer(fault="reset before the body"))
    (receipt,) = backend_for(server).deliver(make_batch(make_message(1)._replace(shape=shape)))
    assert (proof_in(receipt), server.mails) == (SENDGRID_OTHER["reset before the whole request had left"], [])


@pytest.mark.parametrize(
    ("line", "host"),
    [
        ("no TLS, or none that begins", "https://127.0.0.1:{port}"),
        ("no such host name", "http://a..b"),
        ("connection refused", "http://127.0.0.1:{unused}"),
    ],
)
def test_what_fails_before_the_request_stops_the_run(server: SendgridServer, line: str, host: str) -> None:
    named = host.format(port=server.url.rpartition(":")[2], unused=unused_port())
    receipt = send_one(backend_for(server, host=named))
    assert (proof_in(receipt), server.requests) == (SENDGRID_OTHER[line], [])
    assert "cannot be reached" in receipt.error


def test_a_certificate_that_does_not_hold_stops_the_run(server: SendgridServer) -> None:
    with tls_front(trustme.CA()) as url:
        receipt = send_one(backend_for(server, host=url))
    assert (proof_in(receipt), server.requests) == (SENDGRID_OTHER["certificate not valid for the host"], [])


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
    server.script.append(Answer(status=status, headers=told, body=errors("too many requests")))
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


def test_each_shape_takes_a_request_of_its_own(server: SendgridServer) -> None:
    """And the receipts stand in the order of the messages."""
    other = make_shape(more="(the other)")
    mixed = [make_message(number, shape=other if number % 2 else SHAPE) for number in range(1, 6)]
    receipts = backend_for(server).deliver(make_batch(*mixed))
    assert [receipt.message_id for receipt in receipts] == [message.message_id for message in mixed]
    assert [len(request["personalizations"]) for request in server.requests] == [3, 2]
    html = {mail.to_email: mail.html for mail in server.mails}
    assert html == {message.to_email: Filler(message.shape).html(message.values) for message in mixed}


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
    assert violations(json.loads(requests_for(batch, 1_000)[0].body(SENDER, sandbox=False))) == []


def test_a_request_stays_below_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sendgrid_body, "MAX_REQUEST", 5_000)
    requests = requests_for(people(20), 500)
    assert sum(len(request.people) for request in requests) == 20
    assert 2 < len(requests) < 20
    people_of = [
        json.dumps(json.loads(request.body(SENDER, sandbox=False))["personalizations"]) for request in requests
    ]
    assert all(len(people) < 5_000 for people in people_of)


def test_who_has_too_many_words_goes_alone_with_the_text_filled_in(server: SendgridServer) -> None:
    wordy = make_message(1, name="ñ" * 6_000)
    receipts = backend_for(server).deliver(make_batch(wordy, make_message(2)))
    assert {receipt.outcome for receipt in receipts} == {ACCEPTED}
    alone = next(mail for mail in server.mails if mail.to_email == wordy.to_email)
    assert "substitutions" not in server.requests[1]["personalizations"][0]
    assert alone.html == Filler(SHAPE).html(wordy.values)
    assert alone.text == Filler(SHAPE).text(wordy.values)


@given(st.text(max_size=40), st.text(max_size=40))
def test_what_lies_ready_is_plain_ascii_whatever_was_merged(name: str, subject: str) -> None:
    """So the texts of many people may be joined by a control character (``dialect.columns_of``)."""
    message = make_message(1, name=f"{name}\x1f.")._replace(subject=f"\x1f{subject}")
    ((told, _),) = told_beforehand([message], SENDER).values()
    assert told.isascii()
    assert told.isprintable()


@settings(max_examples=200)
@given(names=st.lists(st.text(max_size=40).map(lambda name: f"{name}."), min_size=1, max_size=4))
def test_substitution_gives_exactly_what_our_own_merge_gives(names: list[str]) -> None:
    batch = make_batch(*(make_message(number, name="x") for number in range(len(names))))
    messages = [
        message._replace(to_name=name, values={**message.values, "learner.name": name})
        for message, name in zip(batch.messages, names, strict=True)
    ]
    (request,) = requests_for(batch._replace(messages=tuple(messages)), 500)
    body = json.loads(request.body(SENDER, sandbox=False))
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
    backend_for(server).deliver(make_batch(make_message(1, shape=plain)))
    assert server.mails[0].html == "<p>Hello</p>"


def test_the_sandbox_accepts_and_sends_nothing(server: SendgridServer) -> None:
    receipt = send_one(backend_for(server, sandbox=True))
    assert (proof_in(receipt), server.mails) == (SENDGRID_OTHER["200 within the sandbox"], [])
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
