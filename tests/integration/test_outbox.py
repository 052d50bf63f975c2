"""The outbox on both engines: claims never overlap, every change is counted, doubt never becomes a second mail."""

from datetime import date, timedelta
from typing import Any

import pytest

from mmcampaign.model import CampaignState, MessageStatus, Outcome
from mmcampaign.store import outbox
from mmcampaign.store.campaigns import change_state
from mmcampaign.store.contents import contents
from mmcampaign.store.engine import Store
from mmcampaign.store.outbox import LEASE, Claimed
from tests.builders import NOW, TODAY
from tests.ledgers import add_message, assert_adds_up, claim, make, record, rows
from tests.worlds import suppress

M = MessageStatus


# --- claim and record -----------------------------------------------------------------------------------------------


def test_a_claim_is_written_before_the_hand_over(store: Store):
    campaign = make(store, 2)
    [first] = claim(store, campaign, size=1)
    row, other = rows(store, campaign)
    assert first == Claimed(
        id=row.id,
        message_id=row.message_id,
        learner_id=1,
        shape_digest="s1",
        attempts=1,
        claimed_at=NOW,
    )
    assert (row.status, row.claimed_by, row.provider, row.attempts) == (M.SENDING, "a", "memory", 1)
    assert (row.claimed_at, row.claimed_until) == (NOW, NOW + LEASE)
    assert (other.status, other.claimed_by) == (M.PENDING, None)
    assert assert_adds_up(store, campaign) == {"sending": 1, "pending": 1}


def test_what_is_in_a_message_is_read_in_the_order_asked_for(store: Store):
    """Also where a value holds signs that stand for something between values."""
    campaign = make(store, 0)
    names = ["Ana", 'Bo\x1f"E\\k', "", "Zoë 🎓"]
    with store.write() as connection:
        for learner, name in enumerate(names, start=1):
            add_message(connection, campaign, learner, subject=name, told=None if learner == 1 else f"told {learner}")
    ids = [message.id for message in claim(store, campaign)][::-1]
    with store.read() as connection:
        whole = contents(connection, ids)
        told = contents(connection, ids[:3], for_told=True)
        assert contents(connection, ids[:1]) == whole[:1]
        for some in (ids, ids[3:]):
            assert contents(connection, some, for_told=True) == contents(connection, some), "one needs more than told"
    assert [each.subject for each in whole] == names[::-1]
    assert [each.told for each in whole] == ["told 4", "told 3", "told 2", ""]
    assert [(each.email, each.told) for each in told] == [(each.email, each.told) for each in whole[:3]]
    assert {each.personal for each in told} == {""}, "only what is needed"


def test_claims_go_shape_by_shape_and_hold_no_more_than_asked(store: Store):
    campaign = make(store, 0)
    with store.write() as connection:
        for learner in range(1, 11):
            add_message(connection, campaign, learner, shape_digest=f"s{learner % 3}")
    seen: list[Claimed] = []
    while claimed := claim(store, campaign, size=4):
        assert len(claimed) == min(4, 10 - len(seen)), "full, although no shape has so many"
        seen += claimed
    assert sorted(message.id for message in seen) == [row.id for row in rows(store, campaign)]
    shapes = [message.shape_digest for message in seen]
    assert shapes == sorted(shapes)


def test_a_claim_of_any_shape_goes_by_learner(store: Store):
    """So a first wave holds many shapes."""
    campaign, other = make(store, 0), make(store, 3)
    with store.write() as connection:
        for learner in (5, 2, 9, 7, 3):
            add_message(connection, campaign, learner, shape_digest=f"s{learner % 3}")
    first = claim(store, campaign, size=2, after=0)
    second = claim(store, campaign, size=2, after=first[-1].learner_id)
    assert [message.learner_id for message in [*first, *second]] == [2, 3, 5, 7]
    assert len({message.shape_digest for message in second}) == 2
    assert claim(store, campaign, after=9) == []
    assert [message.learner_id for message in claim(store, campaign, after=0)] == [9]
    assert assert_adds_up(store, other) == {"pending": 3}


def test_a_claim_leaves_other_campaigns_alone(store: Store):
    one, other = make(store, 2), make(store, 2)
    assert len(claim(store, one)) == 2
    assert assert_adds_up(store, other) == {"pending": 2}


@pytest.mark.parametrize("status", [status for status in M if status is not M.PENDING])
def test_nothing_but_pending_is_claimed(store: Store, status: M):
    campaign = make(store, 1, status=status)
    assert claim(store, campaign) == []
    assert assert_adds_up(store, campaign) == {status.value: 1}


@pytest.mark.parametrize(("seconds", "claimed"), [(-1, True), (0, True), (1, False)], ids=["past", "now", "later"])
def test_a_message_put_back_waits_for_its_time(store: Store, seconds: int, claimed: bool):
    campaign = make(store, 1, not_before=NOW + timedelta(seconds=seconds))
    with store.read() as connection:
        assert outbox.next_try(connection, campaign) == NOW + timedelta(seconds=seconds)
    assert bool(claim(store, campaign)) is claimed


def test_nothing_waits_when_nothing_was_put_back(store: Store):
    campaign = make(store, 1)
    with store.read() as connection:
        assert outbox.next_try(connection, campaign) is None


@pytest.mark.parametrize(
    ("outcome", "status", "facts"),
    [
        (Outcome.ACCEPTED, M.ACCEPTED, {"sent_at": NOW, "error": None, "not_before": None}),
        (Outcome.FAILED, M.FAILED, {"sent_at": None, "error": "why", "not_before": None}),
        (Outcome.UNKNOWN, M.UNKNOWN, {"sent_at": None, "error": "why", "not_before": None}),
        (Outcome.NOT_TAKEN, M.PENDING, {"sent_at": None, "error": "why", "not_before": NOW + timedelta(seconds=2)}),
    ],
)
def test_what_came_of_it_is_recorded(store: Store, outcome: Outcome, status: M, facts: dict[str, Any]):
    campaign = make(store, 2)
    assert record(store, campaign, claim(store, campaign), outcome) == 2
    assert assert_adds_up(store, campaign) == {status.value: 2}
    for row in rows(store, campaign):
        assert row.status == status
        assert {name: getattr(row, name) for name in facts} == facts
        assert (row.provider_message_id, row.digest, row.attempts) == ("p1", "d1", 1)


def test_recording_nothing_changes_nothing(store: Store):
    campaign = make(store, 1)
    assert record(store, campaign, []) == 0
    assert assert_adds_up(store, campaign) == {"pending": 1}


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (Outcome.ACCEPTED, M.ACCEPTED),
        (Outcome.FAILED, M.FAILED),
        (Outcome.NOT_TAKEN, M.PENDING),
        (Outcome.UNKNOWN, M.UNKNOWN),
    ],
)
def test_a_late_word_settles_what_was_given_up(store: Store, outcome: Outcome, status: M):
    """Another process found the lease over and wrote unknown; then the answer comes after all."""
    campaign = make(store, 3)
    claimed = claim(store, campaign)
    give_up(store, campaign, [claimed[0].id], M.UNKNOWN)
    assert record(store, campaign, claimed, outcome) == (2 if outcome is Outcome.UNKNOWN else 3)
    assert [row.status for row in rows(store, campaign)] == [status] * 3
    assert_adds_up(store, campaign)


@pytest.mark.parametrize("decided", [M.ACCEPTED, M.FAILED, M.PENDING])
def test_a_late_word_changes_nothing_that_a_person_settled(store: Store, decided: M):
    campaign = make(store, 1)
    claimed = claim(store, campaign)
    give_up(store, campaign, [claimed[0].id], M.UNKNOWN)
    with store.write() as connection:
        outbox.move(connection, campaign, [claimed[0].id], origin=M.UNKNOWN, status=decided, error="settled by kim")
    assert record(store, campaign, claimed, Outcome.UNKNOWN) == 0
    [row] = rows(store, campaign)
    assert (row.status, row.error) == (decided, "settled by kim")
    assert_adds_up(store, campaign)


def test_a_late_word_is_about_its_own_claim_alone(store: Store):
    """Sent again by a person's word, and claimed by the same process: the answer to the first hand-over is not its."""
    campaign = make(store, 1)
    claimed = claim(store, campaign)
    give_up(store, campaign, [claimed[0].id], M.PENDING)
    [again] = claim(store, campaign, now=NOW + timedelta(minutes=20))
    assert record(store, campaign, claimed, Outcome.FAILED) == 0
    assert assert_adds_up(store, campaign) == {"sending": 1}
    assert record(store, campaign, [again]) == 1


def give_up(store: Store, campaign: int, ids: list[int], status: M) -> None:
    with store.write() as connection:
        assert outbox.move(connection, campaign, ids, origin=M.SENDING, status=status, error="left behind") == len(ids)


@pytest.mark.parametrize("state", [state for state in CampaignState if state is not CampaignState.SENDING])
def test_nothing_is_claimed_unless_the_campaign_is_being_sent(store: Store, state: CampaignState):
    campaign = make(store, 2)
    with store.write() as connection:
        change_state(connection, campaign, state)
    assert claim(store, campaign) == []
    assert assert_adds_up(store, campaign) == {"pending": 2}


def test_what_comes_back_to_a_cancelled_campaign_is_cancelled(store: Store):
    campaign = make(store, 3)
    claimed = claim(store, campaign, size=2)
    with store.write() as connection:
        outbox.cancel_pending(connection, campaign)
        change_state(connection, campaign, CampaignState.CANCELLED)
    assert record(store, campaign, claimed, Outcome.NOT_TAKEN) == 2
    assert assert_adds_up(store, campaign) == {"cancelled": 3}
    assert {row.error for row in rows(store, campaign)} == {outbox.CANCELLED_WITH}


def test_nobody_records_for_somebody_else(store: Store):
    campaign = make(store, 2)
    claimed = claim(store, campaign, by="a")
    assert record(store, campaign, claimed, by="b") == 0
    assert assert_adds_up(store, campaign) == {"sending": 2}


def test_a_second_record_of_the_same_messages_changes_nothing(store: Store):
    campaign = make(store, 2)
    claimed = claim(store, campaign)
    assert record(store, campaign, claimed, Outcome.ACCEPTED) == 2
    assert record(store, campaign, claimed, Outcome.FAILED) == 0
    assert assert_adds_up(store, campaign) == {"accepted": 2}


def test_a_new_claim_forgets_the_bytes_of_the_one_before(store: Store):
    """The digest belongs to the bytes of one hand-over: their Date is that of its claim."""
    campaign = make(store, 1)
    record(store, campaign, claim(store, campaign), Outcome.NOT_TAKEN)
    [again] = claim(store, campaign, now=NOW + timedelta(minutes=1))
    [row] = rows(store, campaign)
    assert again.attempts == 2
    assert (row.digest, row.provider_message_id, row.error, row.not_before) == (None, None, None, None)


# --- the late check -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("deadline", "status"),
    [
        pytest.param(TODAY - timedelta(days=1), M.CANCELLED, id="yesterday"),
        pytest.param(TODAY, M.PENDING, id="today"),
        pytest.param(None, M.PENDING, id="none"),
    ],
)
def test_the_deadline_is_checked_again(store: Store, deadline: date | None, status: M):
    campaign = make(store, 1, deadline=deadline)
    with store.write() as connection:
        assert outbox.drop_unmailable(connection, campaign, TODAY) == (status is M.CANCELLED)
    [row] = rows(store, campaign)
    assert (row.status, row.error) == (status, "the deadline has passed" if status is M.CANCELLED else None)
    assert_adds_up(store, campaign)


def test_a_claim_drops_whom_it_may_no_longer_take_and_looks_at_nobody_else(store: Store):
    campaign = make(store, 5)
    with store.write() as connection:
        for number in (1, 2, 3, 5):
            suppress(connection, f"learner{number}@mail.example")
    claimed = claim(store, campaign, size=2)
    assert [message.learner_id for message in claimed] == [4]
    found = [(row.status, row.attempts) for row in rows(store, campaign)]
    assert found == [(M.SUPPRESSED, 0)] * 3 + [(M.SENDING, 1), (M.PENDING, 0)]
    assert assert_adds_up(store, campaign) == {"suppressed": 3, "sending": 1, "pending": 1}


@pytest.mark.parametrize(("days", "claimed"), [(-1, 0), (0, 2), (1, 2)], ids=["yesterday", "today", "tomorrow"])
def test_a_claim_looks_at_the_deadline(store: Store, days: int, claimed: int):
    campaign = make(store, 2, deadline=TODAY + timedelta(days=days))
    assert len(claim(store, campaign)) == claimed
    assert assert_adds_up(store, campaign) == ({"sending": 2} if claimed else {"cancelled": 2})


def test_suppressions_are_checked_again_whatever_the_case_of_the_address(store: Store):
    campaign = make(store, 3)
    with store.write() as connection:
        suppress(connection, " Learner2@MAIL.example ")
        assert outbox.drop_unmailable(connection, campaign, TODAY) == 1
    assert [row.status for row in rows(store, campaign)] == [M.PENDING, M.SUPPRESSED, M.PENDING]
    assert assert_adds_up(store, campaign) == {"pending": 2, "suppressed": 1}


def test_the_late_check_touches_only_what_is_pending_in_this_campaign(store: Store):
    campaign, other = make(store, 1), make(store, 1, deadline=date(2020, 1, 1))
    claim(store, campaign)
    with store.write() as connection:
        suppress(connection, rows(store, campaign)[0].email)
        assert outbox.drop_unmailable(connection, campaign, TODAY) == 0
    assert assert_adds_up(store, campaign) == {"sending": 1}
    assert assert_adds_up(store, other) == {"pending": 1}


# --- orphans, cancelling, settling by hand --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alone", "minutes", "found"),
    [(True, 0, True), (False, 0, False), (False, 10, False), (False, 11, True)],
    ids=["nobody else sends", "lease fresh", "lease at its end", "lease over"],
)
def test_orphans(store: Store, alone: bool, minutes: int, found: bool):
    campaign = make(store, 2)
    [message] = claim(store, campaign, size=1)
    with store.read() as connection:
        left = outbox.orphans(connection, campaign, now=NOW + timedelta(minutes=minutes), alone=alone)
    assert left == ([(message.id, message.message_id, "memory")] if found else [])


@pytest.mark.parametrize("status", [M.UNKNOWN, M.ACCEPTED, M.PENDING])
def test_move_settles_what_is_still_where_it_was(store: Store, status: M):
    campaign = make(store, 3)
    claimed = claim(store, campaign, size=2)
    everything = [row.id for row in rows(store, campaign)]
    with store.write() as connection:
        assert outbox.move(connection, campaign, everything, origin=M.SENDING, status=status, error=None) == 2
        assert outbox.move(connection, campaign, everything, origin=M.SENDING, status=status, error=None) == 0
        assert outbox.move(connection, campaign, [], origin=M.SENDING, status=status, error=None) == 0
    first = rows(store, campaign)[0]
    assert first.status == status
    assert first.sent_at == (claimed[0].claimed_at if status is M.ACCEPTED else None)
    assert_adds_up(store, campaign)


def test_cancelling_takes_what_has_not_gone_out(store: Store):
    campaign = make(store, 0)
    with store.write() as connection:
        for learner, status in enumerate(M, start=1):
            add_message(connection, campaign, learner, status=status)
        assert outbox.cancel_pending(connection, campaign) == 1
    before = [status for status in M if status is not M.PENDING]
    assert [row.status for row in rows(store, campaign)][1:] == before
    assert assert_adds_up(store, campaign)["cancelled"] == 2


def test_unknown_ids(store: Store):
    campaign, other = make(store, 2, status=M.UNKNOWN), make(store, 1, status=M.UNKNOWN)
    first, second = rows(store, campaign)
    with store.read() as connection:
        assert sorted(outbox.unknown_ids(connection, campaign)) == [first.id, second.id]
        assert outbox.unknown_ids(connection, campaign, second.message_id) == [second.id]
        assert outbox.unknown_ids(connection, other, second.message_id) == []
