"""Which changes of status are allowed, and what a backend's answer makes of a message."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcampaign.lifecycle import (
    ALLOWED,
    LONGEST_WAIT_SECONDS,
    MAX_ATTEMPTS,
    Settled,
    Standing,
    asks_for_less,
    costs_an_attempt,
    settle,
    settled_by_hand,
    standing,
)
from mmcampaign.model import CampaignState, MessageStatus, Outcome, Receipt

NOW = datetime(2027, 6, 15, tzinfo=UTC)
S = CampaignState


def receipt(outcome: Outcome, **changes: Any) -> Receipt:
    return Receipt(**{"message_id": "00", "outcome": outcome, "error": "451 later", **changes})


def test_campaigns_go_the_way_of_the_design():
    steps = {(before, after) for before, then in ALLOWED.items() for after in then}
    assert steps == {
        (S.PLANNED, S.APPROVED),
        (S.PLANNED, S.CANCELLED),
        (S.APPROVED, S.SENDING),
        (S.APPROVED, S.FINISHED),  # everybody was suppressed or too late in the meantime
        (S.APPROVED, S.CANCELLED),
        (S.SENDING, S.PAUSED),
        (S.SENDING, S.FINISHED),
        (S.SENDING, S.CANCELLED),
        (S.PAUSED, S.SENDING),
        (S.PAUSED, S.FINISHED),  # its last open messages were settled
        (S.PAUSED, S.CANCELLED),
    }


def test_every_state_is_reached_and_only_the_ends_are_final():
    assert set(ALLOWED) == set(S)
    assert {S.PLANNED}.union(*ALLOWED.values()) == set(S)
    assert {state for state, then in ALLOWED.items() if not then} == {S.FINISHED, S.CANCELLED}


@pytest.mark.parametrize(
    ("answer", "attempts", "expected"),
    [
        pytest.param(receipt(Outcome.ACCEPTED), 1, Settled(status=MessageStatus.ACCEPTED), id="accepted"),
        pytest.param(
            receipt(Outcome.FAILED), 1, Settled(status=MessageStatus.FAILED, error="451 later"), id="refused for good"
        ),
        pytest.param(
            receipt(Outcome.UNKNOWN), 1, Settled(status=MessageStatus.UNKNOWN, error="451 later"), id="in doubt"
        ),
        pytest.param(
            receipt(Outcome.UNKNOWN, halt=True),
            1,
            Settled(status=MessageStatus.UNKNOWN, error="451 later"),
            id="in doubt, and the end: never tried again",
        ),
        pytest.param(
            receipt(Outcome.NOT_TAKEN),
            1,
            Settled(status=MessageStatus.PENDING, error="451 later", not_before=NOW + timedelta(seconds=2)),
            id="not taken: again in two seconds",
        ),
        pytest.param(
            receipt(Outcome.NOT_TAKEN),
            4,
            Settled(status=MessageStatus.PENDING, error="451 later", not_before=NOW + timedelta(seconds=128)),
            id="not taken for the fourth time: the wait has grown",
        ),
        pytest.param(
            receipt(Outcome.NOT_TAKEN, retry_after=90.0),
            1,
            Settled(status=MessageStatus.PENDING, error="451 later", not_before=NOW + timedelta(seconds=90)),
            id="not taken: the provider names the wait",
        ),
        pytest.param(
            receipt(Outcome.NOT_TAKEN),
            MAX_ATTEMPTS,
            Settled(status=MessageStatus.FAILED, error="given up after 5 tries: 451 later"),
            id="not taken too often",
        ),
        pytest.param(
            receipt(Outcome.NOT_TAKEN, slower=True),
            MAX_ATTEMPTS,
            Settled(status=MessageStatus.PENDING, error="451 later", not_before=NOW + timedelta(seconds=300)),
            id="not taken because we are too fast: not this message's fault",
        ),
        pytest.param(
            receipt(Outcome.NOT_TAKEN, halt=True),
            MAX_ATTEMPTS,
            Settled(status=MessageStatus.PENDING, error="451 later"),
            id="not taken because the service is down: not this message's fault",
        ),
    ],
)
def test_settle(answer: Receipt, attempts: int, expected: Settled):
    assert settle(answer, attempts=attempts, now=NOW) == expected


outcomes = st.builds(
    receipt,
    st.sampled_from(Outcome),
    halt=st.booleans(),
    slower=st.booleans(),
    retry_after=st.none() | st.floats(0, 3600),
)


@given(outcomes, st.integers(1, 10))
def test_only_a_proof_that_nothing_was_taken_leads_back_to_pending(answer: Receipt, attempts: int):
    settled = settle(answer, attempts=attempts, now=NOW)
    assert settled.status is not MessageStatus.SENDING
    if settled.status is MessageStatus.PENDING:
        assert answer.outcome is Outcome.NOT_TAKEN
        assert answer.halt or answer.slower or attempts < MAX_ATTEMPTS
    if settled.not_before is not None:
        assert settled.status is MessageStatus.PENDING
        assert NOW < settled.not_before <= NOW + timedelta(seconds=max(LONGEST_WAIT_SECONDS, 3600))


@pytest.mark.parametrize(
    ("decision", "status"),
    [
        ("accepted", MessageStatus.ACCEPTED),
        ("failed", MessageStatus.FAILED),
        ("retry", MessageStatus.PENDING),
    ],
)
def test_settled_by_hand(decision: str, status: MessageStatus):
    assert settled_by_hand(decision) is status


@pytest.mark.parametrize(
    ("answer", "attempt", "less"),
    [
        pytest.param(receipt(Outcome.ACCEPTED), True, False, id="accepted"),
        pytest.param(receipt(Outcome.UNKNOWN, halt=True), True, False, id="in doubt"),
        pytest.param(receipt(Outcome.NOT_TAKEN), True, False, id="put off"),
        pytest.param(receipt(Outcome.NOT_TAKEN, retry_after=9.0), True, True, id="put off until a time"),
        pytest.param(receipt(Outcome.NOT_TAKEN, slower=True), False, True, id="too fast"),
        pytest.param(receipt(Outcome.NOT_TAKEN, halt=True), False, False, id="the service is down"),
    ],
)
def test_whose_fault_it_is(answer: Receipt, attempt: bool, less: bool):
    assert (costs_an_attempt(answer), asks_for_less(answer)) == (attempt, less)


@pytest.mark.parametrize(
    ("state", "counts", "pause", "expected"),
    [
        pytest.param(S.PLANNED, {"pending": 9}, (), Standing(reason="waits for approval", command="approve"), id="new"),
        pytest.param(
            S.APPROVED, {"pending": 9}, (), Standing(reason="approved, not sent yet", command="send"), id="approved"
        ),
        pytest.param(
            S.SENDING,
            {"pending": 1200, "sending": 20},
            (),
            Standing(reason="being sent, or interrupted: 1,200 to go, 20 in flight", command="send"),
            id="under way",
        ),
        pytest.param(
            S.PAUSED,
            {"pending": 3},
            ("connection refused", None),
            Standing(reason="paused: connection refused", command="send"),
            id="paused for trouble: the next send goes on",
        ),
        pytest.param(
            S.PAUSED,
            {"pending": 3, "unknown": 1},
            ("wrong link", "kim"),
            Standing(reason="paused by kim: wrong link; 1 may or may not have gone out", command="resume"),
            id="paused by a person, and somebody in doubt",
        ),
        pytest.param(
            S.SENDING,
            {"unknown": 2},
            (),
            Standing(reason="2 may or may not have gone out", command="resolve"),
            id="nothing to go, but in doubt",
        ),
        pytest.param(
            S.CANCELLED,
            {"unknown": 2, "cancelled": 7},
            (),
            Standing(reason="2 may or may not have gone out", command="resolve"),
            id="cancelled, but in doubt",
        ),
        pytest.param(S.CANCELLED, {"cancelled": 7}, (), Standing(), id="cancelled"),
        pytest.param(S.FINISHED, {"accepted": 9}, (), Standing(), id="finished"),
    ],
)
def test_what_a_campaign_waits_for(
    state: CampaignState, counts: dict[str, int], pause: tuple[str, str | None] | tuple[()], expected: Standing
):
    reason, by = pause or (None, None)
    ledger = {**{status.value: 0 for status in MessageStatus}, **counts}
    assert standing(state, ledger, pause_reason=reason, paused_by=by) == expected
