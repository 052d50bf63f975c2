"""One sender's hands: claim messages (commit), hand them over, record what came of it (commit).

The wire has a thread of its own, so the ledger is kept while a batch is under way: one transaction records the batch
before and claims the next. All else is done by the wire's thread, batch after batch: it writes the messages
(``outgoing.Desk``), hands them over and makes ready what is to be recorded. Whatever is raised meanwhile, what the
backend cannot prove is recorded as unknown, and what was not begun goes back.

Nothing is begun that the claim does not cover any more: a process that was stopped for longer than its lease finds its
messages given up.
"""

import os
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType, TracebackType
from typing import Self

from sqlalchemy import Connection

from mmcampaign.app import App
from mmcampaign.delivery import Backend
from mmcampaign.errors import UnavailableError
from mmcampaign.lifecycle import costs_an_attempt, settle
from mmcampaign.model import Batch, Outcome, Receipt
from mmcampaign.outgoing import Desk, Written
from mmcampaign.pace import steady
from mmcampaign.store import outbox
from mmcampaign.store.campaigns import Campaign
from mmcampaign.store.outbox import Claimed, Record, Settlement
from mmcampaign.watch import Turns, Watch

# Of the lease; the rest is for the answer to the last message begun.
COVERS = 0.75
RECORD_SECONDS, TRY_AGAIN_SECONDS = 60.0, 0.5  # for the record of mail that has gone out, when the database is away
LOCK_SECONDS = 0.0002  # for which a thread keeps Python's lock while another waits; without us 0.005 (decision 17)


@dataclass(frozen=True, kw_only=True)
class Taken:
    """Claimed messages; ``may_go`` is that of their batch."""

    claimed: Sequence[Claimed]
    may_go: Callable[[], bool]


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What came of a batch. ``settlements`` are how it is written down.

    ``records`` are there unless all was ``accepted``: there is nothing to look into then. ``raised``: by the backend.
    ``stopped``: it was told to leave the rest alone.
    """

    accepted: int = 0
    records: Sequence[Record] = ()
    settlements: Sequence[Settlement] = ()
    raised: BaseException | None = None
    stopped: bool = False


NOTHING = Written(failed={}, digests={})


class Hand:
    """Claims, hands over and records the messages of one campaign for this process.

    For ``with``: at the end nothing is left in hand, whatever was raised.
    """

    def __init__(self, app: App, campaign: Campaign, backend: Backend, watch: Watch, *, by_shape: bool) -> None:
        """``by_shape``: take messages of one shape after another, not in the order of planning, which mixes them."""
        self._app, self._campaign, self._backend, self._watch = app, campaign.id, backend, watch
        self._by_shape = by_shape
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        self._desk = Desk(app.store, campaign, backend.name)
        self._wire = ThreadPoolExecutor(1, thread_name_prefix="wire")
        self._under_way: tuple[Taken, Future[Answers]] | None = None
        self._claimed: Sequence[Claimed] = ()  # and not begun
        self._answered: list[Settlement] = []  # and not recorded
        self._after = 0  # the learner of the last message that was claimed
        self._giving_up = False

    def __enter__(self) -> Self:
        self._usual_lock_seconds = sys.getswitchinterval()
        sys.setswitchinterval(LOCK_SECONDS)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Nothing more is begun, what is on the wire is waited for, and everything is recorded."""
        sys.setswitchinterval(self._usual_lock_seconds)
        self._giving_up = True
        while not self._is_quiet():
            pass
        self.put_back()
        self._write_down(patient=not isinstance(error, UnavailableError))

    def _is_quiet(self) -> bool:
        """Wait until the wire is done; mail cannot be called back, and its answer matters. False: Ctrl-C came.

        One may have come within ``begin``, too: a batch that the wire never got was not begun.
        """
        with suppress(KeyboardInterrupt):
            self._wire.shutdown()
            if self._under_way and not self._under_way[1].done():
                self._claimed, self._under_way = self._under_way[0].claimed, None
            self._collect()
            return True
        return False

    @property
    def under_way(self) -> int:
        """How many messages are on the wire."""
        return len(self._under_way[0].claimed) if self._under_way else 0

    def may_go(self, covered_until: float) -> bool:
        """Whether a message of a claim that covers it until then may still be begun."""
        return steady() < covered_until and not self._giving_up and not self._watch.reason()

    def exchange(self, size: int, turns: Turns) -> Taken | None:
        """One transaction: what came back is recorded, and up to ``size`` messages are claimed if it is our turn."""
        if not size:
            self._write_down()
            return None
        covered_until = steady() + COVERS * outbox.LEASE.total_seconds()
        try:
            with self._app.store.write(patient=bool(self._answered)) as connection:
                if not self._answered:
                    outbox.hold(connection, self._campaign)  # before the line of time, as everybody does: no deadlock
                self._record(connection)
                self._claimed = self._claim(connection, turns.take(connection, size))
                turns.used(len(self._claimed))
        except UnavailableError:
            turns.lost()
            self.put_back()
            if self._app.store.dialect == "sqlite" or not self._answered:
                raise
            self._write_down()
            return self.exchange(size, turns)
        self._answered = []
        return Taken(claimed=self._claimed, may_go=partial(self.may_go, covered_until)) if self._claimed else None

    def begin(self, taken: Taken) -> None:
        """Hand over what was claimed last; nothing may be under way."""
        answer = Future[Answers]()
        self._under_way = taken, answer
        self._claimed = ()
        self._wire.submit(self._hand_over, taken, answer)

    def put_back(self) -> None:
        """What was claimed and not begun becomes pending again and loses no try, once that is recorded."""
        self._answered += outbox.settlements(self._records(self._claimed, _not_begun(self._claimed)))
        self._after = min([self._after, *(each.learner_id - 1 for each in self._claimed)])
        self._claimed = ()

    def answers(self) -> Answers:
        """Wait for what is on the wire. What came of it is recorded with the next exchange."""
        answers = self._collect()
        if answers.raised:
            raise answers.raised
        return answers

    # --- the ledger ---

    def _claim(self, connection: Connection, size: int) -> Sequence[Claimed]:
        """The next messages, shape by shape or in the order of planning."""
        app = self._app
        claimer = outbox.Claimer(by=self._name, provider=self._backend.name, now=app.clock(), today=app.today)
        for after in [None] if self._by_shape else [self._after, 0] if self._after else [0]:
            claimed = outbox.claim(connection, self._campaign, claimer, size=size, after=after) if size else []
            if claimed:
                self._after = claimed[-1].learner_id
                return claimed
        return ()

    def _record(self, connection: Connection) -> None:
        outbox.record(connection, self._campaign, self._answered, by=self._name, now=self._app.clock())

    def _write_down(self, *, patient: bool = True) -> None:
        """A server that is away for a moment does not lose what is known; what was written already may be again."""
        until = steady() + RECORD_SECONDS
        while self._answered:
            try:
                with self._app.store.write(patient=patient) as connection:
                    self._record(connection)
            except UnavailableError:
                if self._app.store.dialect == "sqlite" or steady() > until:
                    raise
                time.sleep(TRY_AGAIN_SECONDS)
            else:
                self._answered = []

    # --- the wire ---

    def _hand_over(self, taken: Taken, answer: Future[Answers]) -> None:
        try:
            answer.set_result(self._handed_over(taken))
        except BaseException as error:  # noqa: BLE001  raised again where the answer is waited for
            answer.set_exception(error)

    def _handed_over(self, taken: Taken) -> Answers:
        """Hand a batch over, and make ready what is to be recorded."""
        written, receipts = NOTHING, dict[str, Receipt]()
        begun, raised = False, None
        try:
            written = self._desk.written(taken.claimed)
            batch = Batch(sender=self._desk.sender, messages=tuple(written.messages), may_go=taken.may_go)
            begun = bool(batch.messages) and batch.may_go()
            receipts = {receipt.message_id: receipt for receipt in (self._backend.deliver(batch) if begun else ())}
        except BaseException as error:  # noqa: BLE001  as above
            raised = error
        return self._answers(taken, written, receipts if begun else _not_begun(taken.claimed), raised)

    def _collect(self) -> Answers:
        """What came of the batch on the wire, once it is known. It is recorded with the next exchange."""
        if not self._under_way:
            return Answers()
        taken, future = self._under_way
        wait([future])
        error = future.exception()
        answers = self._answers(taken, NOTHING, {}, error) if error else future.result()
        self._answered += answers.settlements
        self._under_way = None
        return answers

    def _answers(
        self, taken: Taken, written: Written, receipts: dict[str, Receipt], raised: BaseException | None
    ) -> Answers:
        receipts |= written.failed
        without = [each.message_id for each in taken.claimed if each.message_id not in receipts]
        receipts |= {message_id: self._without_answer(message_id, raised=bool(raised)) for message_id in without}
        all_taken = outbox.taken_together(taken.claimed, receipts, written.digests)
        if all_taken and not raised:
            return Answers(accepted=len(all_taken.ids), settlements=[all_taken])
        records = self._records(taken.claimed, receipts, written.digests)
        settlements = outbox.settlements(records)
        return Answers(records=records, settlements=settlements, raised=raised, stopped=not taken.may_go())

    def _without_answer(self, message_id: str, *, raised: bool) -> Receipt:
        outcome = (self._backend.proof(message_id) if raised else None) or Outcome.UNKNOWN
        return _receipt(message_id, outcome, "no answer was kept", halt=raised)

    def _records(
        self,
        claimed: Sequence[Claimed],
        receipts: Mapping[str, Receipt],
        digests: Mapping[str, str] = MappingProxyType({}),
    ) -> list[Record]:
        now = self._app.clock()
        answers = [receipts[each.message_id] for each in claimed]
        return [
            Record(
                each.id,
                each.claimed_at,
                settle(answer, attempts=each.attempts, now=now),
                answer,
                answer.digest or digests.get(answer.message_id, ""),
                costs_an_attempt(answer),
            )
            for each, answer in zip(claimed, answers, strict=True)
        ]


def _not_begun(messages: Sequence[Claimed]) -> dict[str, Receipt]:
    return {each.message_id: _receipt(each.message_id, Outcome.NOT_TAKEN, "", halt=True) for each in messages}


def _receipt(message_id: str, outcome: Outcome, error: str, *, halt: bool = False) -> Receipt:
    return Receipt(message_id=message_id, outcome=outcome, error=error, halt=halt)
