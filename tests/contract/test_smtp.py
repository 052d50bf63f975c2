"""The smtp backend against a real server: what each failure proves, how connections are kept, encryption and login."""

import signal
import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from time import monotonic as steady
from typing import Any

import pytest
import trustme
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmcampaign.delivery import SmtpOptions
from mmcampaign.delivery.smtp import SmtpBackend
from mmcampaign.errors import ConfigError
from mmcampaign.model import Outcome, Outgoing, Receipt
from tests.contract.batches import SENDER, make_batch, make_message, people
from tests.contract.proofs import (
    ACCEPTED,
    FAILED,
    GOES_ON,
    NOT_TAKEN,
    OUT_OF_ORDER,
    SMTP,
    SMTP_OTHER,
    UNKNOWN,
    Proof,
    proof_in,
)
from tests.servers.smtp import CUT_SHORT, DROP, HANG, SmtpServer, Step, smtp_server
from tests.servers.unused import unused_port


@contextmanager
def backend_for(server: SmtpServer, **options: Any) -> Iterator[SmtpBackend]:
    """A backend with one connection and little patience, unless told otherwise."""
    patience = options.get("timeout", 5)
    settings: dict[str, Any] = {"host": server.host, "port": server.port, "connections": 1, "timeout": patience}
    settings |= {"final_timeout": patience} | options
    with closing(SmtpBackend(SmtpOptions(**settings))) as backend:
        yield backend


def send_one(backend: SmtpBackend, message: Outgoing | None = None) -> Receipt:
    (receipt,) = backend.deliver(make_batch(message or make_message(1)))
    return receipt


@pytest.mark.parametrize("pipelining", [False, True], ids=["step by step", "pipelined"])
@pytest.mark.parametrize(("step", "reply", "proof"), SMTP.values(), ids=SMTP)
def test_what_an_answer_proves(step: Step, reply: str, proof: Proof, pipelining: bool) -> None:
    again = pipelining and reply in {SMTP[line][1] for line in OUT_OF_ORDER}
    patience = 1 if reply == HANG else 5
    with smtp_server(pipelining=pipelining) as server, backend_for(server, timeout=patience) as backend:
        server.script[step].extend([reply] * (1 + again))
        receipt = send_one(backend)
        assert proof_in(receipt) == proof
        mails = len(server.mails)
        assert mails == (proof[0] in {ACCEPTED, UNKNOWN})
        assert receipt.error.startswith("The ") is (proof[0] is not ACCEPTED)
        if reply[:3].isdigit() and proof[0] is FAILED:
            assert reply[:3] in receipt.error
        assert send_one(backend, make_message(2)).outcome is ACCEPTED
        assert [mail.recipients for mail in server.mails[mails:]] == [("learner2@example.com",)]


@pytest.mark.parametrize("pipelining", [False, True], ids=["step by step", "pipelined"])
@pytest.mark.parametrize(
    ("reply", "line"),
    [
        (DROP, "dropped within the text, before the final dot left"),
        (HANG, "the text is not read, before the final dot left"),
    ],
)
def test_lost_within_the_text_is_not_taken(reply: str, line: str, pipelining: bool) -> None:
    message = make_message(1)
    large = message._replace(eml=message.eml + b"x" * 70 + b"\r\n" + b"more text in a line\r\n" * 1_000_000)
    patience = 1 if reply == HANG else 5
    with smtp_server(pipelining=pipelining) as server, backend_for(server, timeout=patience) as backend:
        server.script["BODY"].append(reply)
        receipts = backend.deliver(make_batch(large, make_message(2)))
    assert [proof_in(receipt) for receipt in receipts] == [SMTP_OTHER[line], (ACCEPTED, GOES_ON)]
    assert [mail.recipients for mail in server.mails] == [("learner2@example.com",)]


@pytest.mark.parametrize("pipelining", [False, True], ids=["step by step", "pipelined"])
def test_what_is_said_before_the_text_is_no_answer_to_it(pipelining: bool) -> None:
    with smtp_server(pipelining=pipelining) as server, backend_for(server) as backend:
        server.script["DATA"].append("354 Go on\r\n250 2.0.0 OK: queued as Q1")
        receipts = backend.deliver(people(2))
    assert [proof_in(receipt) for receipt in receipts] == [(NOT_TAKEN, GOES_ON), (ACCEPTED, GOES_ON)]
    assert [mail.recipients for mail in server.mails] == [("learner2@example.com",)]


def test_a_server_that_wants_the_text_of_a_refused_recipient_gets_an_empty_one() -> None:
    with smtp_server() as server, backend_for(server) as backend:
        server.wants_text_for_nobody = True
        server.refused["learner2@example.com"] = "550 5.1.1 no such user"
        outcomes = [receipt.outcome for receipt in backend.deliver(people(4))]
    assert outcomes == [ACCEPTED, FAILED, ACCEPTED, ACCEPTED]
    assert (server.texts_for_nobody, server.sessions) == ([b".\r\n"], 1)


def test_a_server_that_answers_a_group_in_another_order_is_asked_step_by_step() -> None:
    with smtp_server() as server, backend_for(server) as backend:
        server.script["RCPT"].append("354 Go on")  # the answer to DATA comes first
        receipts = backend.deliver(people(4))
    assert {proof_in(receipt) for receipt in receipts} == {SMTP_OTHER["a group answered in another order"]}
    assert sorted(mail.recipients for mail in server.mails) == sorted((m.to_email,) for m in people(4).messages)


STEPS: tuple[Step, ...] = ("CONNECT", "MAIL", "RCPT", "DATA", "END")
REPLIES = [
    "",
    "",
    "421 closing",
    "450 later",
    "550 no",
    "552 too large",
    "503 out of step",
    "354 go on",
    "what?",
    CUT_SHORT,
    DROP,
]


@settings(max_examples=60)
@given(
    script=st.lists(st.tuples(st.sampled_from(STEPS), st.lists(st.sampled_from(REPLIES), min_size=1, max_size=12))),
    pipelining=st.booleans(),
    connections=st.integers(1, 3),
)
def test_whatever_the_server_does_a_receipt_is_the_truth(
    script: list[tuple[Step, list[str]]], pipelining: bool, connections: int
) -> None:
    batch = people(12)
    with smtp_server(pipelining=pipelining) as server, backend_for(server, connections=connections) as backend:
        for step, replies in script:
            server.script[step].extend(replies)
        receipts = backend.deliver(batch)
    arrived = Counter(mail.recipients for mail in server.mails)
    for message, receipt in zip(batch.messages, receipts, strict=True):
        possible = {ACCEPTED: {1}, FAILED: {0}, NOT_TAKEN: {0}, UNKNOWN: {0, 1}}[receipt.outcome]
        assert arrived[(message.to_email,)] in possible, receipt


def test_a_message_arrives_byte_for_byte_with_its_envelope() -> None:
    message = make_message(1)
    with smtp_server() as server, backend_for(server) as backend:
        receipt = send_one(backend, message)
    (mail,) = server.mails
    assert (mail.sender, mail.recipients) == (SENDER.email, ("learner1@example.com",))
    assert mail.content == message.eml
    assert mail.options == (f"SIZE={len(message.eml)}",)
    assert receipt.provider_message_id == "Q1"


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(st.text("ab. \t", max_size=6), min_size=1))
def test_dots_survive(shared_server: tuple[SmtpServer, SmtpBackend], lines: list[str]) -> None:
    server, backend = shared_server
    eml = ("Subject: dots\r\n\r\n" + "\r\n".join(lines) + "\r\n").encode()
    assert send_one(backend, make_message(1)._replace(eml=eml)).outcome is ACCEPTED
    assert server.mails[-1].content == eml


@pytest.fixture
def shared_server() -> Iterator[tuple[SmtpServer, SmtpBackend]]:
    with smtp_server() as server, backend_for(server) as backend:
        yield server, backend


def test_a_connection_is_kept_and_renewed_every_hundred_messages() -> None:
    with smtp_server() as server, backend_for(server) as backend:
        for _ in range(5):
            backend.deliver(people(50))
    assert (server.sessions, len(server.mails)) == (3, 250)


def test_a_refused_recipient_costs_no_new_connection() -> None:
    with smtp_server() as server, backend_for(server) as backend:
        server.refused["learner2@example.com"] = "550 5.1.1 no such user"
        outcomes = [receipt.outcome for receipt in backend.deliver(people(4))]
    assert outcomes == [ACCEPTED, FAILED, ACCEPTED, ACCEPTED]
    assert server.sessions == 1


@pytest.mark.parametrize(
    "reply",
    [DROP, "421 4.4.2 idle for too long", "503 5.5.1 nested MAIL"],
    ids=["dropped", "closed with a word", "another state"],
)
def test_a_connection_that_ended_while_idle_is_replaced_unseen(reply: str) -> None:
    with smtp_server() as server, backend_for(server) as backend:
        assert send_one(backend).outcome is ACCEPTED
        server.script["MAIL"].append(reply)
        expected = SMTP_OTHER["421 or dropped while a kept connection was idle"]
        assert proof_in(send_one(backend, make_message(2))) == expected
    assert (server.sessions, len(server.mails)) == (2, 2)


def test_a_refused_extra_connection_leaves_nobody_out() -> None:
    with smtp_server() as server, backend_for(server, connections=3) as backend:
        server.script["CONNECT"].extend(["421 too many connections", "554 too many connections"])
        receipts = backend.deliver(people(12))
    assert {receipt.outcome for receipt in receipts} == {ACCEPTED}
    assert len({mail.recipients for mail in server.mails}) == len(server.mails) == 12


@pytest.mark.parametrize(
    ("step", "reply", "outcome"),
    [("END", DROP, UNKNOWN), ("RCPT", HANG, NOT_TAKEN), ("RCPT", CUT_SHORT, NOT_TAKEN)],
    ids=["dropped after the dot", "silent", "dropped within a reply"],
)
def test_trouble_on_one_connection_is_its_own(step: Step, reply: str, outcome: Outcome) -> None:
    with smtp_server() as server, backend_for(server, connections=3, timeout=1) as backend:
        server.script[step].extend(["", "", "", reply])
        receipts = backend.deliver(people(40))
    assert Counter(receipt.outcome for receipt in receipts) == {ACCEPTED: 39, outcome: 1}
    assert len({mail.recipients for mail in server.mails}) == len(server.mails) == 39 + (outcome is UNKNOWN)


def test_a_connection_that_cannot_be_opened_does_not_hold_up_the_others() -> None:
    with smtp_server() as server, backend_for(server, connections=2, timeout=2) as backend:
        server.script["CONNECT"].extend(["", HANG])
        began = steady()
        batch = people(20)._replace(may_go=lambda: steady() < began + 1.8)  # before the silent one is given up
        receipts = backend.deliver(batch)
    assert Counter(receipt.outcome for receipt in receipts) == {ACCEPTED: 19, NOT_TAKEN: 1}


def test_several_connections_send_each_message_once() -> None:
    with smtp_server() as server, backend_for(server, connections=4) as backend:
        receipts = backend.deliver(people(60))
    assert {receipt.outcome for receipt in receipts} == {ACCEPTED}
    assert sorted(mail.recipients for mail in server.mails) == sorted((m.to_email,) for m in people(60).messages)
    assert 1 <= server.sessions <= 4


def test_a_server_that_never_answers_is_not_asked_for_everybody() -> None:
    with smtp_server() as server, backend_for(server, timeout=0.2) as backend:
        server.script["MAIL"].extend([HANG] * 20)
        receipts = backend.deliver(people(20))
    assert {(receipt.outcome, receipt.halt) for receipt in receipts} == {(NOT_TAKEN, False)}
    assert server.sessions == 3


def test_a_refused_sender_stops_before_the_next_message() -> None:
    with smtp_server() as server, backend_for(server) as backend:
        server.script["MAIL"].append("553 5.7.1 sender not allowed")
        receipts = backend.deliver(people(5))
    assert {(receipt.outcome, receipt.halt) for receipt in receipts} == {(NOT_TAKEN, True)}
    assert server.mails == []


def test_ctrl_c_finishes_what_is_in_flight_and_leaves_the_rest() -> None:
    main = threading.main_thread().ident
    assert main is not None
    batch = people(200)
    with smtp_server() as server, backend_for(server) as backend:
        server.on_first_mail = lambda: signal.pthread_kill(main, signal.SIGINT)
        receipts = backend.deliver(batch)
    assert all(receipt.halt for receipt in receipts)
    assert (receipts[0].outcome, receipts[-1].outcome) == (ACCEPTED, NOT_TAKEN)
    assert "Ctrl-C" in receipts[-1].error
    assert sum(receipt.outcome is ACCEPTED for receipt in receipts) == len(server.mails)


def test_ctrl_c_while_the_connections_are_set_to_work() -> None:
    main = threading.main_thread().ident
    assert main is not None
    signals = iter([True])

    def interrupt_once() -> bool:
        if next(signals, False):
            signal.pthread_kill(main, signal.SIGINT)
        return True

    with smtp_server() as server, backend_for(server, connections=3) as backend:
        receipts = backend.deliver(people(60)._replace(may_go=interrupt_once))
    assert all(receipt.halt for receipt in receipts)
    assert {receipt.outcome for receipt in receipts} <= {ACCEPTED, NOT_TAKEN}
    assert sum(receipt.outcome is ACCEPTED for receipt in receipts) == len(server.mails)


ADDRESSES: dict[str, tuple[str, bool, Outcome, str]] = {
    # address, does the server offer SMTPUTF8?, outcome, address in the envelope
    "letters beyond ASCII, not offered": ("josé@example.com", False, FAILED, ""),
    "letters beyond ASCII, offered": ("josé@example.com", True, ACCEPTED, "josé@example.com"),
    "such a domain is written in ASCII": ("ada@bücher.example", False, ACCEPTED, "ada@xn--bcher-kva.example"),
    "plus tag and apostrophe": ("o'brien+edx@example.com", False, ACCEPTED, "o'brien+edx@example.com"),
    "line break": ("ada@example.com>\r\nRCPT TO:<eve@example.com", True, FAILED, ""),
    "space": ("ada lovelace@example.com", True, FAILED, ""),
    "no domain": ("ada", True, FAILED, ""),
    "empty label": ("ada@a..b", False, FAILED, ""),
}


@pytest.mark.parametrize(("address", "utf8", "outcome", "envelope"), ADDRESSES.values(), ids=ADDRESSES)
def test_addresses(address: str, utf8: bool, outcome: Outcome, envelope: str) -> None:
    with smtp_server(utf8=utf8) as server, backend_for(server) as backend:
        receipt = send_one(backend, make_message(1)._replace(to_email=address))
    expected = SMTP_OTHER["address that the server cannot take"] if outcome is FAILED else (ACCEPTED, GOES_ON)
    assert proof_in(receipt) == expected
    assert [mail.recipients for mail in server.mails] == ([(envelope,)] if envelope else [])
    assert address not in receipt.error
    if not envelope.isascii():
        assert "SMTPUTF8" in server.mails[0].options


def test_the_server_size_limit_fails_that_message_alone() -> None:
    message = make_message(1)
    with smtp_server(size_limit=len(message.eml) + 10) as server, backend_for(server) as backend:
        large = make_message(2)._replace(eml=message.eml + b"more\r\n" * 10)
        outcomes = [receipt.outcome for receipt in backend.deliver(make_batch(large, message))]
    assert outcomes == [FAILED, ACCEPTED]


def test_a_reply_is_quoted_without_the_person() -> None:
    message = make_message(1, name="Ada Lovelace", email="ada.l@example.com")
    with smtp_server() as server, backend_for(server) as backend:
        reply = "550 5.1.1 <ada.l@example.com>: Ada Lovelace (ada.l) left, try eve@example.org"
        server.refused["ada.l@example.com"] = reply
        error = send_one(backend, message).error
    assert error.startswith("The mail server refused the recipient: 550 5.1.1 ")
    assert not any(private in error for private in ("ada.l", "Ada Lovelace", "eve@"))


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def certificate(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's certificate for 127.0.0.1 from an authority that this test trusts."""
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    return server_side(authority, "127.0.0.1")


def server_side(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_encrypted_with_login(certificate: ssl.SSLContext, security: str) -> None:
    with (
        smtp_server(**{security: certificate}, login=("mailer", "secret")) as server,  # type: ignore[arg-type]  # one of tls, starttls
        backend_for(server, security=security, username="mailer", password="secret") as backend,
    ):
        receipts = backend.deliver(people(3))
    assert {receipt.outcome for receipt in receipts} == {ACCEPTED}
    assert server.logins == ["mailer"]


def test_a_large_message_arrives_whole_through_encryption(certificate: ssl.SSLContext) -> None:
    small = make_message(1)
    large = small._replace(eml=small.eml + b".more text in a line\r\n" * 100_000)
    with smtp_server(tls=certificate) as server, backend_for(server, security="tls", timeout=20) as backend:
        receipts = backend.deliver(make_batch(large, make_message(2)))
    assert {receipt.outcome for receipt in receipts} == {ACCEPTED}
    assert server.mails[0].content == large.eml


@pytest.mark.parametrize("reply", [DROP, HANG])
def test_lost_within_an_encrypted_text_is_not_taken(certificate: ssl.SSLContext, reply: str) -> None:
    message = make_message(1)
    large = message._replace(eml=message.eml + b"more text in a line\r\n" * 1_000_000)
    with smtp_server(tls=certificate) as server, backend_for(server, security="tls", timeout=1) as backend:
        server.script["BODY"].append(reply)
        receipts = backend.deliver(make_batch(large, make_message(2)))
    assert [receipt.outcome for receipt in receipts] == [NOT_TAKEN, ACCEPTED]


@pytest.mark.parametrize("security", ["starttls", "tls"])
@pytest.mark.parametrize("flaw", ["another name", "unknown authority"])
def test_a_certificate_that_does_not_hold_stops_the_run(
    authority: trustme.CA, certificate: ssl.SSLContext, security: str, flaw: str
) -> None:
    issuer, name = (authority, "mail.example.org") if flaw == "another name" else (trustme.CA(), "127.0.0.1")
    with (
        smtp_server(**{security: server_side(issuer, name)}) as server,  # type: ignore[arg-type]  # one of tls, starttls
        backend_for(server, security=security) as backend,
    ):
        receipt = send_one(backend)
    assert (proof_in(receipt), server.mails) == (SMTP_OTHER["certificate not valid for the host"], [])
    assert "certificate" in receipt.error


@pytest.mark.parametrize(
    ("line", "options", "words"),
    [
        ("STARTTLS not offered", {"security": "starttls"}, "security"),
        ("no TLS, or none that begins", {"security": "tls"}, "TLS"),
        ("login not offered", {"username": "mailer", "password": "secret"}, "username"),
        ("no such host name", {"host": "a..b"}, "name"),
    ],
)
def test_a_server_without_what_is_asked_for_stops_the_run(line: str, options: dict[str, Any], words: str) -> None:
    with smtp_server() as server, backend_for(server, **options | {"port": server.port}) as backend:
        receipt = send_one(backend)
    assert (proof_in(receipt), server.mails) == (SMTP_OTHER[line], [])
    assert words in receipt.error


def test_a_refused_login_stops_the_run_without_naming_the_password() -> None:
    with (
        smtp_server(login=("mailer", "secret")) as server,
        backend_for(server, username="mailer", password="hunter2") as backend,
    ):
        receipts = backend.deliver(people(3))
    assert {proof_in(receipt) for receipt in receipts} == {SMTP_OTHER["login refused (535)"]}
    assert "535" in receipts[0].error
    assert "MMCAMPAIGN_SMTP_PASSWORD" in receipts[0].error
    assert "hunter2" not in receipts[0].error


def test_nobody_listens() -> None:
    with closing(SmtpBackend(SmtpOptions(host="127.0.0.1", port=unused_port()))) as backend:
        receipt = send_one(backend)
    assert proof_in(receipt) == SMTP_OTHER["connection refused"]
    assert "refuses connections" in receipt.error


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (SmtpOptions(host="127.0.0.1", username="mailer"), "no password"),
        (SmtpOptions(host="127.0.0.1", username="mailer", password="pässword"), "ASCII"),
        (SmtpOptions(host="smtp.example.org", username="mailer", password="secret"), "unencrypted"),
    ],
    ids=["no password", "password beyond ASCII", "password in the clear"],
)
def test_settings_that_cannot_work_are_refused_at_once(options: SmtpOptions, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        SmtpBackend(options)
    assert "secret" not in repr(options)
    assert "pässword" not in str(caught.value)
