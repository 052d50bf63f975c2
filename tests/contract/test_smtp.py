"""The smtp backend against a real server: what each failure proves, how connections are kept, encryption and login."""

import signal
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
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
from tests.servers.smtp import DROP, HANG, SmtpServer, Step, smtp_server
from tests.servers.unused import unused_port

ACCEPTED, FAILED, NOT_TAKEN, UNKNOWN = Outcome.ACCEPTED, Outcome.FAILED, Outcome.NOT_TAKEN, Outcome.UNKNOWN


@contextmanager
def backend_for(server: SmtpServer, **options: Any) -> Iterator[SmtpBackend]:
    """A backend with one connection and little patience, unless told otherwise."""
    settings: dict[str, Any] = {"host": server.host, "port": server.port, "connections": 1, "timeout": 5} | options
    with closing(SmtpBackend(SmtpOptions(**settings))) as backend:
        yield backend


def send_one(backend: SmtpBackend, message: Outgoing | None = None) -> Receipt:
    (receipt,) = backend.deliver(make_batch(message or make_message(1)))
    return receipt


CASES: dict[str, tuple[Step, str, Outcome, bool, int]] = {
    # what happens: at which step, the reply, what it proves, stop the run?, mails that the server has
    "greeted with: too busy": ("CONNECT", "421 4.3.2 too busy", NOT_TAKEN, False, 0),
    "greeted with: no service": ("CONNECT", "554 no SMTP service here", NOT_TAKEN, True, 0),
    "dropped when greeting": ("CONNECT", DROP, NOT_TAKEN, True, 0),
    "no greeting": ("CONNECT", HANG, NOT_TAKEN, True, 0),
    "sender put off": ("MAIL", "451 4.3.0 later", NOT_TAKEN, False, 0),
    "sender refused": ("MAIL", "550 5.7.1 sender not allowed", NOT_TAKEN, True, 0),
    "login wanted": ("MAIL", "530 5.7.0 authentication required", NOT_TAKEN, True, 0),
    "message larger than allowed": ("MAIL", "552 5.3.4 too large", FAILED, False, 0),
    "closing at MAIL": ("MAIL", "421 4.3.2 shutting down", NOT_TAKEN, False, 0),
    "dropped at MAIL": ("MAIL", DROP, NOT_TAKEN, False, 0),
    "silent at MAIL": ("MAIL", HANG, NOT_TAKEN, False, 0),
    "recipient put off": ("RCPT", "450 4.2.0 greylisted", NOT_TAKEN, False, 0),
    "recipient refused": ("RCPT", "550 5.1.1 user unknown", FAILED, False, 0),
    "closing at RCPT": ("RCPT", "421 4.3.2 shutting down", NOT_TAKEN, False, 0),
    "dropped at RCPT": ("RCPT", DROP, NOT_TAKEN, False, 0),
    "silent at RCPT": ("RCPT", HANG, NOT_TAKEN, False, 0),
    "data put off": ("DATA", "451 4.3.0 later", NOT_TAKEN, False, 0),
    "data refused": ("DATA", "554 5.5.1 no", FAILED, False, 0),
    "data answered oddly": ("DATA", "250 what?", NOT_TAKEN, False, 0),
    "dropped at DATA": ("DATA", DROP, NOT_TAKEN, False, 0),
    "put off after the dot": ("END", "451 4.7.1 later", NOT_TAKEN, False, 0),
    "closing after the dot": ("END", "421 4.3.2 shutting down", NOT_TAKEN, False, 0),
    "refused after the dot": ("END", "554 5.7.1 looks like spam", FAILED, False, 0),
    "dropped after the dot": ("END", DROP, UNKNOWN, False, 1),
    "silent after the dot": ("END", HANG, UNKNOWN, False, 1),
    "nonsense after the dot": ("END", "fine, thanks", UNKNOWN, False, 1),
}


@pytest.mark.parametrize(("step", "reply", "outcome", "halt", "mails"), CASES.values(), ids=CASES)
def test_what_a_failure_proves(step: Step, reply: str, outcome: Outcome, halt: bool, mails: int) -> None:
    with smtp_server() as server, backend_for(server, timeout=0.4 if reply == HANG else 5) as backend:
        server.script[step].append(reply)
        receipt = send_one(backend)
        assert (receipt.outcome, receipt.halt, len(server.mails)) == (outcome, halt, mails)
        assert receipt.error.startswith("The ")
        if reply[0].isdigit() and outcome is not NOT_TAKEN:
            assert reply[:3] in receipt.error
        assert send_one(backend, make_message(2)).outcome is ACCEPTED
        assert [mail.recipients for mail in server.mails[mails:]] == [("learner2@example.com",)]


def test_lost_within_the_text_is_not_taken() -> None:
    message = make_message(1)
    large = replace(message, eml=message.eml + b"x" * 70 + b"\r\n" + b"more text in a line\r\n" * 1_000_000)
    with smtp_server() as server, backend_for(server) as backend:
        server.script["BODY"].append(DROP)
        receipt = send_one(backend, large)
        assert receipt.outcome is NOT_TAKEN
        assert send_one(backend).outcome is ACCEPTED


def test_a_message_arrives_byte_for_byte_with_its_envelope() -> None:
    message = make_message(1)
    with smtp_server() as server, backend_for(server) as backend:
        receipt = send_one(backend, message)
    (mail,) = server.mails
    assert (mail.sender, mail.recipients) == (SENDER.email, ("learner1@example.com",))
    assert mail.content == message.eml
    assert mail.options == (f"SIZE={len(message.eml)}",)
    assert receipt.provider_message_id == "Q1"


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(lines=st.lists(st.text("ab. \t", max_size=6), min_size=1))
def test_dots_survive(shared_server: tuple[SmtpServer, SmtpBackend], lines: list[str]) -> None:
    server, backend = shared_server
    eml = ("Subject: dots\r\n\r\n" + "\r\n".join(lines) + "\r\n").encode()
    assert send_one(backend, replace(make_message(1), eml=eml)).outcome is ACCEPTED
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


@pytest.mark.parametrize("reply", [DROP, "421 4.4.2 idle for too long"], ids=["dropped", "closed with a word"])
def test_a_connection_that_ended_while_idle_is_replaced_unseen(reply: str) -> None:
    with smtp_server() as server, backend_for(server) as backend:
        assert send_one(backend).outcome is ACCEPTED
        server.script["MAIL"].append(reply)
        assert send_one(backend, make_message(2)).outcome is ACCEPTED
    assert (server.sessions, len(server.mails)) == (2, 2)


def test_a_refused_extra_connection_leaves_nobody_out() -> None:
    with smtp_server() as server, backend_for(server, connections=3) as backend:
        server.script["CONNECT"].extend(["421 too many connections", "554 too many connections"])
        receipts = backend.deliver(people(12))
    assert {receipt.outcome for receipt in receipts} == {ACCEPTED}
    assert len({mail.recipients for mail in server.mails}) == len(server.mails) == 12


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
        receipt = send_one(backend, replace(make_message(1), to_email=address))
    assert receipt.outcome is outcome
    assert [mail.recipients for mail in server.mails] == ([(envelope,)] if envelope else [])
    assert address not in receipt.error
    if not envelope.isascii():
        assert "SMTPUTF8" in server.mails[0].options


def test_the_server_size_limit_fails_that_message_alone() -> None:
    message = make_message(1)
    with smtp_server(size_limit=len(message.eml) + 10) as server, backend_for(server) as backend:
        large = replace(make_message(2), eml=message.eml + b"more\r\n" * 10)
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
    assert (receipt.outcome, receipt.halt, server.mails) == (NOT_TAKEN, True, [])
    assert "certificate" in receipt.error


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"security": "starttls"}, "security"),
        ({"security": "tls"}, "TLS"),
        ({"username": "mailer", "password": "secret"}, "username"),
        ({"host": "a..b"}, "name"),
    ],
    ids=["no STARTTLS", "no TLS", "no login", "impossible host"],
)
def test_a_server_without_what_is_asked_for_stops_the_run(options: dict[str, Any], words: str) -> None:
    with smtp_server() as server, backend_for(server, **options | {"port": server.port}) as backend:
        receipt = send_one(backend)
    assert (receipt.outcome, receipt.halt, server.mails) == (NOT_TAKEN, True, [])
    assert words in receipt.error


def test_a_refused_login_stops_the_run_without_naming_the_password() -> None:
    with (
        smtp_server(login=("mailer", "secret")) as server,
        backend_for(server, username="mailer", password="hunter2") as backend,
    ):
        receipts = backend.deliver(people(3))
    assert {(receipt.outcome, receipt.halt) for receipt in receipts} == {(NOT_TAKEN, True)}
    assert "535" in receipts[0].error
    assert "MMCAMPAIGN_SMTP_PASSWORD" in receipts[0].error
    assert "hunter2" not in receipts[0].error


def test_nobody_listens() -> None:
    with closing(SmtpBackend(SmtpOptions(host="127.0.0.1", port=unused_port()))) as backend:
        receipt = send_one(backend)
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
