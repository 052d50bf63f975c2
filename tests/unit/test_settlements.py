"""What came of a batch, by kind: as it is written down."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcampaign.lifecycle import costs_an_attempt, settle
from mmcampaign.model import Outcome, Receipt
from mmcampaign.store.outbox import Claimed, Record, settlements, taken_together
from tests.builders import NOW


def claimed(number: int) -> Claimed:
    return Claimed(id=number, message_id=f"m{number}", learner_id=number, shape_digest="s", attempts=1, claimed_at=NOW)


def receipt(number: int, **changes: Any) -> Receipt:
    facts = {"outcome": Outcome.ACCEPTED, "provider_message_id": "p1", **changes}
    return Receipt(message_id=f"m{number}", **facts)


def record_of(message: Claimed, answer: Receipt, digest: str = "") -> Record:
    return Record(
        id=message.id,
        claimed_at=message.claimed_at,
        settled=settle(answer, attempts=message.attempts, now=NOW),
        receipt=answer,
        digest=answer.digest or digest,
        tried=costs_an_attempt(answer),
    )


different = st.fixed_dictionaries(
    {},
    optional={
        "outcome": st.sampled_from(Outcome),
        "provider_message_id": st.sampled_from(["", "p1", "p2"]),
        "digest": st.sampled_from(["", "d" * 64]),
        "retry_after": st.sampled_from([None, 3.0]),
    },
)


@given(st.lists(different, min_size=1, max_size=4), st.sampled_from(["", "e" * 64]))
def test_what_one_answer_took_is_written_down_as_if_looked_at_one_by_one(answers: list[dict[str, Any]], digest: str):
    batch = [claimed(number) for number in range(len(answers))]
    receipts = {f"m{number}": receipt(number, **changes) for number, changes in enumerate(answers)}
    digests = {"m0": digest} if digest else {}
    together = taken_together(batch, receipts, digests)
    one_by_one = settlements([record_of(m, receipts[m.message_id], digests.get(m.message_id, "")) for m in batch])
    assert together is None or one_by_one == [together]


@pytest.mark.parametrize(
    ("changes", "digests"),
    [
        pytest.param({"outcome": Outcome.UNKNOWN}, {}, id="one is in doubt"),
        pytest.param({"outcome": Outcome.FAILED, "error": "no"}, {}, id="one was refused"),
        pytest.param({"provider_message_id": "p2"}, {}, id="of two requests"),
        pytest.param({"digest": "d" * 64}, {}, id="a digest of its own"),
        pytest.param({}, {"m1": "d" * 64}, id="a digest of its bytes"),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_a_batch_of_which_one_differs_was_not_taken_together(
    changes: dict[str, Any], digests: dict[str, str], first: bool
):
    same = [receipt(1), receipt(2), receipt(3)]
    assert taken_together([claimed(1), claimed(2), claimed(3)], {each.message_id: each for each in same}, {})
    one = 1 if first else 3
    receipts = {each.message_id: each for each in (*same, receipt(one, **changes))}
    assert taken_together([claimed(1), claimed(2), claimed(3)], receipts, digests) is None


def test_those_that_wait_for_different_times_are_of_different_kinds():
    later = Record(1, NOW, settle(receipt(1, outcome=Outcome.NOT_TAKEN), attempts=1, now=NOW), receipt(1))
    later_still = later._replace(
        id=2, settled=later.settled._replace(not_before=NOW + timedelta(hours=1)), receipt=receipt(2)
    )
    assert [each.ids for each in settlements([later, later_still, later._replace(id=3)])] == [[1, 3], [2]]
