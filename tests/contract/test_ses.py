"""The ses backend against moto's server: what each answer proves, and what is posted."""

import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from typing import Any

import pytest
import trustme

from mmcampaign.delivery import SesOptions
from mmcampaign.delivery.ses import SesBackend
from mmcampaign.errors import ConfigError
from mmcampaign.model import Receipt
from tests.contract.batches import SENDER, make_batch, make_message, people
from tests.contract.proofs import ACCEPTED, NOT_TAKEN, SES, SES_OTHER, UNKNOWN, Proof, proof_in
from tests.servers.faulty_http import Answer
from tests.servers.ses import REGION, SesServer, error, ses_server
from tests.servers.tls import tls_front
from tests.servers.unused import unused_port


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[SesServer, SesBackend]]:
    """One server and one backend with a single connection: boto3 takes half a second to make a client."""
    with ses_server() as server, backend_for(server) as backend:
        yield server, backend


@pytest.fixture
def server(running: tuple[SesServer, SesBackend]) -> SesServer:
    running[0].reset()
    return running[0]


@pytest.fixture
def backend(running: tuple[SesServer, SesBackend], server: SesServer) -> SesBackend:
    return running[1]


@contextmanager
def backend_for(server: SesServer, **options: Any) -> Iterator[SesBackend]:
    settings: dict[str, Any] = {"region": REGION, "endpoint_url": server.url, "connections": 1, "timeout": 10} | options
    with closing(SesBackend(SesOptions(**settings))) as backend:
        yield backend


def send_one(backend: SesBackend) -> Receipt:
    (receipt,) = backend.deliver(make_batch(make_message(1)))
    return receipt


@pytest.mark.parametrize(("answer", "proof"), SES.values(), ids=SES)
def test_what_an_answer_proves(server: SesServer, backend: SesBackend, answer: Answer, proof: Proof) -> None:
    server.script.append(answer)
    patient = nullcontext(backend)  # a busy machine must not look like a service that hangs
    with backend_for(server, timeout=1) if answer.fault == "hang" else patient as asking:
        receipt = send_one(asking)
    assert proof_in(receipt) == proof
    assert server.asked == 1, "posted once, whatever the answer"
    assert len(server.mails) == answer.taken
    assert not answer.taken or proof[0] in {ACCEPTED, UNKNOWN}
    assert server.redirected == []
    assert bool(receipt.error) is (proof[0] is not ACCEPTED)
    assert "learner1@" not in receipt.error


@pytest.mark.parametrize(
    ("line", "url"),
    [
        ("no TLS, or none that begins", "https://127.0.0.1:{port}"),
        ("no such host name", "http://nowhere.invalid"),
        ("connection refused", "http://127.0.0.1:{unused}"),
    ],
)
def test_what_fails_before_the_request_stops_the_run(server: SesServer, line: str, url: str) -> None:
    named = url.format(port=server.url.rpartition(":")[2], unused=unused_port())
    with backend_for(server, endpoint_url=named) as backend:
        assert (proof_in(send_one(backend)), server.requests) == (SES_OTHER[line], [])


def test_a_certificate_that_does_not_hold_stops_the_run(server: SesServer) -> None:
    with tls_front(trustme.CA()) as url, backend_for(server, endpoint_url=url) as backend:
        assert proof_in(send_one(backend)) == SES_OTHER["certificate not valid for the host"]


def test_keys_that_vanished_stop_the_run(server: SesServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with backend_for(server) as backend:
        monkeypatch.setattr(backend._client._request_signer, "_credentials", None)
        (receipt,) = backend.deliver(people(1))
    assert (proof_in(receipt), server.asked) == (SES_OTHER["keys that vanished"], 0)


def test_without_keys_the_settings_are_refused_at_once(server: SesServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(ConfigError, match="no AWS keys") as caught, backend_for(server):
        pass
    assert "AWS_ACCESS_KEY_ID" in caught.value.todo


def test_a_region_that_none_can_be_is_refused_at_once(server: SesServer) -> None:
    with (
        pytest.raises(ConfigError, match="Amazon SES cannot be used"),
        backend_for(server, region="us west", endpoint_url=""),
    ):
        pass


def test_an_address_that_ses_cannot_take_is_not_posted(server: SesServer, backend: SesBackend) -> None:
    (receipt,) = backend.deliver(make_batch(make_message(1)._replace(to_email="josé@example.com")))
    assert (proof_in(receipt), server.asked) == (SES_OTHER["address beyond ASCII"], 0)


def test_what_is_posted(server: SesServer) -> None:
    message = make_message(1)
    with backend_for(server, configuration_set="events") as backend:
        backend.deliver(make_batch(message))
    (mail,), (request,) = server.mails, server.requests
    assert (mail.sender, mail.recipient, mail.content) == (SENDER.email, "learner1@example.com", message.eml)
    assert request["ConfigurationSetName"] == "events"
    assert {tag["Name"]: tag["Value"] for tag in request["EmailTags"]} == {
        "mmc_message": message.message_id,
        "mmc_campaign": "7",
    }


def test_several_requests_at_a_time_send_each_message_once(server: SesServer) -> None:
    with backend_for(server, connections=4) as backend:
        receipts = backend.deliver(people(40))
    assert {receipt.outcome for receipt in receipts} == {ACCEPTED}
    assert sorted(mail.recipient for mail in server.mails) == sorted(m.to_email for m in people(40).messages)
    assert len({receipt.provider_message_id for receipt in receipts}) == 40


def test_after_throttling_the_rest_of_the_batch_is_left_alone(server: SesServer, backend: SesBackend) -> None:
    server.script.extend([None, error("TooManyRequestsException", "slow down", 429, **{"Retry-After": "7"})])
    receipts = backend.deliver(people(9))
    assert [receipt.outcome for receipt in receipts] == [ACCEPTED] + [NOT_TAKEN] * 8
    assert all(receipt.slower and not receipt.halt for receipt in receipts[1:])
    assert (receipts[1].retry_after, server.asked) == (7, 2)


def test_a_service_that_leaves_all_in_doubt_is_not_asked_for_everybody(server: SesServer, backend: SesBackend) -> None:
    server.script.extend([Answer(status=500)] * 20)
    receipts = backend.deliver(people(9))
    assert [receipt.outcome for receipt in receipts] == [UNKNOWN] * 3 + [NOT_TAKEN] * 6


def test_an_unverified_sender_is_nobody_s_failure(server: SesServer, backend: SesBackend) -> None:
    batch = people(3)
    stranger = batch._replace(sender=SENDER._replace(email="somebody@elsewhere.example"))
    receipts = backend.deliver(stranger)
    assert {(receipt.outcome, receipt.halt) for receipt in receipts} == {(NOT_TAKEN, True)}
    assert "verif" in receipts[0].error, receipts[0].error


def test_no_log_record_holds_a_key_or_a_person(server: SesServer, caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("botocore").setLevel(logging.DEBUG)
    caplog.set_level(logging.DEBUG)
    server.script.extend([None, error("MessageRejected", "Ada Lovelace <learner1@example.com> is bad")])
    with backend_for(server) as backend:  # a new one: it keeps the library quiet
        told = send_one(backend).error + send_one(backend).error
    told += " ".join(record.getMessage() for record in caplog.records)
    assert not any(private in told for private in ("learner1@", "Ada", "Lovelace", "loopback"))
