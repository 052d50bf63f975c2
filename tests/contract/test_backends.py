"""What every backend promises, tried on each against the place its messages arrive at."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from mmcampaign.model import Outcome
from mmcampaign.shapes import Filler
from tests.contract.batches import SHAPE, make_batch, make_message, people
from tests.contract.rigs import RIGS, Rig


@pytest.fixture(params=RIGS)
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    with ExitStack() as stack:
        built = RIGS[request.param](stack, tmp_path)
        stack.enter_context(closing(built.backend))
        yield built


def test_one_receipt_for_each_message_in_order(rig: Rig) -> None:
    batch = people(9)
    receipts = rig.backend.deliver(batch)
    assert [receipt.message_id for receipt in receipts] == [message.message_id for message in batch.messages]
    assert {(receipt.outcome, receipt.error) for receipt in receipts} == {(Outcome.ACCEPTED, "")}
    assert all(receipt.provider_message_id for receipt in receipts)
    assert sorted(mail.to_email for mail in rig.received()) == [
        f"learner{number}@example.com" for number in range(1, 10)
    ]


@pytest.mark.parametrize(
    "name",
    ["Ada Lovelace", "José Ñandú", "李小龍", "Анна-Мария", "O'Brien & <Söhne>", "x", 'Quo"ted', "Very " * 30 + "Long"],
    ids=["plain", "accents", "Chinese", "Cyrillic", "markup", "one letter", "a quote", "long"],
)
def test_names_and_both_parts_arrive_unbroken(rig: Rig, name: str) -> None:
    message = make_message(1, name=name)
    rig.backend.deliver(make_batch(message))
    (mail,) = rig.received()
    filler = Filler(SHAPE)
    assert (mail.to_name, mail.to_email) == (name.strip(), "learner1@example.com")
    assert mail.subject == f"Well done, {name}".strip()
    assert mail.text.rstrip("\n") == filler.text(message.values).rstrip("\n")
    assert mail.html.rstrip("\n") == filler.html(message.values).rstrip("\n")


def test_the_headers_of_every_email_arrive_unbroken(rig: Rig) -> None:
    message = make_message(1)
    rig.backend.deliver(make_batch(message))
    (mail,) = rig.received()
    assert mail.headers["List-Unsubscribe"] == f"<{message.unsubscribe_url}>"
    assert mail.headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert mail.headers["X-MMCampaign-Message"] == message.message_id
    assert mail.headers["Message-ID"] == f"<{message.message_id}@uqx.example.org>"
    assert mail.headers["Auto-Submitted"] == "auto-generated"


def test_one_refused_recipient_does_not_touch_the_others(rig: Rig) -> None:
    batch = people(7)
    refused = batch.messages[3]
    rig.refuse(refused)
    receipts = rig.backend.deliver(batch)
    assert [receipt.outcome for receipt in receipts] == [
        Outcome.FAILED if message is refused else Outcome.ACCEPTED for message in batch.messages
    ]
    assert receipts[3].error
    assert refused.to_email not in receipts[3].error
    assert not any(receipt.halt for receipt in receipts)
    assert sorted(mail.to_email for mail in rig.received()) == [
        message.to_email for message in batch.messages if message is not refused
    ]


def test_a_service_that_is_down_takes_nothing_and_stops_the_run(rig: Rig) -> None:
    batch = people(5)
    with closing(rig.down) as down:
        receipts = down.deliver(batch)
    assert [receipt.message_id for receipt in receipts] == [message.message_id for message in batch.messages]
    assert {receipt.outcome for receipt in receipts} == {Outcome.NOT_TAKEN}
    assert all(receipt.halt and receipt.error for receipt in receipts)
    assert rig.received() == []


def test_it_works_again_after_being_closed(rig: Rig) -> None:
    first, second = make_message(1), make_message(2)
    assert rig.backend.deliver(make_batch(first))[0].outcome is Outcome.ACCEPTED
    rig.backend.close()
    rig.backend.close()
    assert rig.backend.deliver(make_batch(second))[0].outcome is Outcome.ACCEPTED
    assert len(rig.received()) == 2


def test_proof_never_claims_more_than_the_record_shows(rig: Rig) -> None:
    message, other = make_message(1), make_message(2)
    rig.backend.deliver(make_batch(message))
    assert rig.backend.proof(message.message_id) in {Outcome.ACCEPTED, None}
    assert rig.backend.proof(other.message_id) in {Outcome.NOT_TAKEN, None}


def test_it_has_a_name_and_a_batch_size(rig: Rig) -> None:
    assert rig.backend.name in RIGS
    assert 1 <= rig.backend.batch_size <= 1_000


def test_nobody_to_mail_is_no_trouble(rig: Rig) -> None:
    assert rig.backend.deliver(make_batch()) == []
    assert rig.received() == []


def test_when_told_to_stop_nothing_more_is_begun(rig: Rig) -> None:
    batch = people(40)
    receipts = rig.backend.deliver(batch._replace(may_go=lambda: False))
    assert {(receipt.outcome, receipt.halt) for receipt in receipts} == {(Outcome.NOT_TAKEN, True)}
    assert rig.received() == []
