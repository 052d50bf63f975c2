"""Laws of the outbox: whatever happens the ledger adds up and nothing goes twice, also with two at once."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Barrier, Event, Thread
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, select

from mmcampaign.lifecycle import ALLOWED
from mmcampaign.model import CampaignState, MessageStatus, Outcome
from mmcampaign.store import outbox
from mmcampaign.store.campaigns import change_state
from mmcampaign.store.engine import Store
from mmcampaign.store.outbox import Claimed
from mmcampaign.store.tables import messages
from tests.builders import NOW, TODAY
from tests.ledgers import add_message, assert_adds_up, claim, claimer, make, record, record_of, rows
from tests.worlds import suppress

S = CampaignState
M = MessageStatus


@dataclass
class Walk:
    """A campaign with two workers; ``may_go`` are the messages that nothing speaks against handing over."""

    store: Store
    campaign: int
    now: datetime = NOW
    state: CampaignState = CampaignState.SENDING
    held: dict[str, list[Claimed]] = field(default_factory=lambda: {"a": [], "b": []})
    may_go: set[int] = field(default_factory=set)

    def claim(self, worker: str, size: int) -> None:
        if self.held[worker]:
            return
        claimed = claim(self.store, self.campaign, size=size, by=worker, now=self.now)
        assert len(claimed) <= (size if self.state is CampaignState.SENDING else 0)
        shapes = [message.shape_digest for message in claimed]
        assert shapes == sorted(shapes)
        assert {message.id for message in claimed} <= self.may_go
        self.may_go -= {message.id for message in claimed}
        self.held[worker] = claimed

    def record(self, worker: str, outcomes: list[Outcome]) -> None:
        claimed, self.held[worker] = self.held[worker], []
        records = [record_of(message, outcomes[n % len(outcomes)], self.now) for n, message in enumerate(claimed)]
        with self.store.write() as connection:
            ours = self._waiting_for_word(connection, worker)
            outbox.record(connection, self.campaign, outbox.settlements(records), by=worker, now=self.now)
        if self.state is not CampaignState.CANCELLED:
            proven = {r.id for r in records if (r.id, r.claimed_at) in ours and r.settled.status is M.PENDING}
            self.may_go |= proven

    def settle_orphans(self, status: M) -> None:
        with self.store.write() as connection:
            left = [row for row, _, _ in outbox.orphans(connection, self.campaign, now=self.now, alone=False)]
            outbox.move(connection, self.campaign, left, origin=M.SENDING, status=status, error=None)
            outbox.drop_unmailable(connection, self.campaign, TODAY)
        if status is M.PENDING:
            self.may_go |= set(left)

    def resolve(self, status: M) -> None:
        with self.store.write() as connection:
            doubtful = outbox.unknown_ids(connection, self.campaign)
            outbox.move(connection, self.campaign, doubtful, origin=M.UNKNOWN, status=status, error=None)
        if status is M.PENDING:
            self.may_go |= set(doubtful)

    def suppress(self, learner: int) -> None:
        with self.store.write() as connection:
            suppress(connection, f"walker{learner}of{self.campaign}@mail.example")
            outbox.drop_unmailable(connection, self.campaign, TODAY)

    def wait(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)

    def turn(self, state: CampaignState) -> None:
        """Paused, resumed or cancelled by somebody, as far as that is allowed."""
        if state not in ALLOWED[self.state]:
            return
        with self.store.write() as connection:
            if state is CampaignState.CANCELLED:
                outbox.cancel_pending(connection, self.campaign)
            change_state(connection, self.campaign, state)
        self.state = state

    def _waiting_for_word(self, connection: Connection, worker: str) -> set[tuple[int, datetime]]:
        """What this worker has claimed and nobody has settled for good."""
        query = select(messages.c.id, messages.c.claimed_at).where(
            messages.c.campaign_id == self.campaign,
            messages.c.claimed_by == worker,
            messages.c.status.in_([M.SENDING, M.UNKNOWN]),
        )
        return {(row.id, row.claimed_at) for row in connection.execute(query)}


workers = st.sampled_from(["a", "b"])
outcomes = st.lists(st.sampled_from(Outcome), min_size=1, max_size=4)
steps = st.one_of(
    st.tuples(st.just("claim"), workers, st.integers(1, 4)),
    st.tuples(st.just("claim"), workers, st.integers(1, 4)),
    st.tuples(st.just("record"), workers, outcomes),
    st.tuples(st.just("record"), workers, outcomes),
    st.tuples(st.just("settle_orphans"), st.sampled_from([M.UNKNOWN, M.ACCEPTED, M.PENDING])),
    st.tuples(st.just("resolve"), st.sampled_from([M.ACCEPTED, M.FAILED, M.PENDING])),
    st.tuples(st.just("suppress"), st.integers(1, 8)),
    st.tuples(st.just("wait"), st.integers(1, 11)),
    st.tuples(st.just("turn"), st.sampled_from([S.PAUSED, S.PAUSED, S.SENDING, S.SENDING, S.CANCELLED])),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(steps, max_size=14))
def test_whatever_happens_the_ledger_adds_up_and_nothing_goes_twice(store: Store, steps: list[tuple[Any, ...]]):
    """A message is claimed again only after a proof, or a person's word, that it was not taken, and none while the
    campaign is paused or cancelled.

    Each example is a campaign of its own in one database.
    """
    campaign = make(store, 0)
    with store.write() as connection:
        for learner in range(1, 9):
            email = f"walker{learner}of{campaign}@mail.example"
            add_message(connection, campaign, learner, shape_digest=f"s{learner % 2}", email=email)
    walk = Walk(store=store, campaign=campaign, may_go={row.id for row in rows(store, campaign)})
    for name, *arguments in steps:
        getattr(walk, name)(*arguments)
        assert_adds_up(store, campaign)


@pytest.mark.parametrize("size", [1, 7])
def test_two_senders_share_without_overlap(store: Store, size: int):
    campaign = make(store, 30)
    taken: dict[str, list[int]] = {"a": [], "b": []}
    start = Barrier(2)

    def work(name: str) -> None:
        start.wait()
        while claimed := claim(store, campaign, size=size, by=name):
            taken[name] += [message.id for message in claimed]
            record(store, campaign, claimed, by=name)

    threads = [Thread(target=work, args=(name,)) for name in taken]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken["a"] + taken["b"]) == [row.id for row in rows(store, campaign)]
    assert assert_adds_up(store, campaign) == {"accepted": 30}


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_claim_that_is_not_committed_yet_is_skipped(store: Store):
    """Nobody waits for another sender's rows, and nobody takes them."""
    campaign = make(store, 4)
    with store.write() as one, store.write() as other:
        lock = select(messages.c.id).where(messages.c.campaign_id == campaign).order_by("id").limit(3)
        held = one.execute(lock.with_for_update()).scalars().all()
        claimed = outbox.claim(other, campaign, claimer("b"), size=10)
    assert {message.id for message in claimed} == {row.id for row in rows(store, campaign)} - set(held)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_senders_cleaners_and_people_never_lock_each_other_out(store: Store):
    """Everything that changes a ledger, at once: no deadlock, and it adds up."""
    campaign = make(store, 120)
    over = Event()
    trouble: list[BaseException] = []

    def send(name: str) -> None:
        while not over.is_set():
            claimed = claim(store, campaign, size=5, by=name)
            record(store, campaign, claimed, Outcome.UNKNOWN, by=name)

    def clean(_: str) -> None:
        for learner in range(1, 31):
            with store.write() as connection:
                suppress(connection, f"learner{learner}@mail.example")
                outbox.drop_unmailable(connection, campaign, TODAY)
                held = [row for row, _, _ in outbox.orphans(connection, campaign, now=NOW, alone=True)]
                outbox.move(connection, campaign, held, origin=M.SENDING, status=M.UNKNOWN, error=None)
        over.set()

    def steer(_: str) -> None:
        while not over.is_set():
            for state in (S.PAUSED, S.SENDING):
                with store.write() as connection:
                    outbox.move(
                        connection,
                        campaign,
                        outbox.unknown_ids(connection, campaign),
                        origin=M.UNKNOWN,
                        status=M.PENDING,
                        error=None,
                    )
                    change_state(connection, campaign, state)

    def guarded(work: Callable[[str], None], name: str) -> None:
        try:
            work(name)
        except BaseException as error:
            trouble.append(error)
            over.set()

    work = ((send, "a"), (send, "b"), (clean, ""), (steer, ""))
    threads = [Thread(target=guarded, args=each) for each in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert trouble == []
    assert sum(assert_adds_up(store, campaign).values()) == 120
