"""One run of the sender: batch after batch, until nothing is left or there is a reason to stop.

While a batch is on the wire the next one is claimed, where that leaves no more in doubt after a crash than
``[mail] claim_batch`` and one second's worth of the rate. It is begun only when the answers to the one before have been
judged, so that trouble stops the run as exactly as if one batch went after the other.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Event

from mmcampaign.app import App
from mmcampaign.delivery import Backend
from mmcampaign.handover import Answers, Hand
from mmcampaign.lifecycle import asks_for_less
from mmcampaign.model import MessageStatus
from mmcampaign.store import outbox
from mmcampaign.store.campaigns import Campaign
from mmcampaign.store.outbox import Record
from mmcampaign.watch import REACH_NOBODY, Turns, Watch

FAILURES_IN_A_ROW = 25
PUT_OFFS_IN_A_ROW = 10


@dataclass(kw_only=True)
class Run:
    """One run of the sender: what it did so far, and why it stopped if it did.

    ``for_some``: it is for a part of those that are pending. ``trouble`` is what it met and paused the campaign for;
    ``told`` is what a person or the clock told it.
    """

    campaign: int
    total: int
    for_some: bool = False
    done: int = 0
    failures_in_a_row: int = 0
    put_offs_in_a_row: int = 0
    last_error: str = ""
    trouble: str = ""
    told: str = ""
    interrupted: bool = False
    ended_first_wave: bool = False
    stop: Event = field(default_factory=Event)

    @property
    def left(self) -> int:
        """How many more may be handed over."""
        return 0 if self.trouble else self.total - self.done


def send_all(
    app: App, campaign: Campaign, backend: Backend, run: Run, *, wait: bool, on_progress: Callable[[Run], None]
) -> None:
    """Send up to ``run.total`` messages; ``run`` says what came of it. ``wait`` waits for the send window."""
    watch = Watch(app, campaign.id, run.stop, None if backend.name in REACH_NOBODY else app.settings.mail.window)
    with Hand(app, campaign, backend, watch, by_shape=not run.for_some) as hand:  # a first wave shows many shapes
        sender = _Sender(app, backend, run, watch, hand)
        while sender.goes_on(wait=wait):
            on_progress(run)
    run.interrupted = run.stop.is_set()
    if run.done < run.total:
        run.told = watch.decided or ("" if run.interrupted else watch.closed())


@dataclass(frozen=True, kw_only=True)
class Batches:
    """How a backend's messages are taken in hand: up to ``size`` at a time, ``ahead`` while others are on the wire."""

    size: int
    ahead: bool

    @property
    def in_hand(self) -> int:
        """How many messages a sender that is killed leaves in doubt at most."""
        return 2 * self.size if self.ahead else self.size


def batches(app: App, backend: Backend) -> Batches:
    """What ``claim_batch``, the rate and the backend allow.

    Two batches are in hand only where they are no more together than ``claim_batch`` and one second's worth of the
    rate: whoever is held back by the rate gains nothing by them.
    """
    mail = app.settings.mail
    second = math.inf if backend.name in REACH_NOBODY else max(1, int(mail.rate_per_second))
    size = int(min(backend.batch_size, mail.claim_batch, second))
    return Batches(size=size, ahead=2 * size <= min(mail.claim_batch, second))


class _Sender:
    """The steps of a run."""

    def __init__(self, app: App, backend: Backend, run: Run, watch: Watch, hand: Hand) -> None:
        self._app, self._run, self._watch, self._hand = app, run, watch, hand
        self._turns, self._batches = Turns(app, backend.name), batches(app, backend)

    def goes_on(self, *, wait: bool) -> bool:
        """One step further; False when nothing is left to do, or there is a reason to stop."""
        taken = self._hand.exchange(self._room(), self._turns)
        if self._hand.under_way:
            answers = self._hand.answers()
            _judge(answers, self._run)
            slower = _heed(answers.records, self._run, self._turns)
            if taken and (slower or not self._run.left or self._watch.reason()):
                self._hand.put_back()
                taken = None
        elif not taken:
            return self._run.left > 0 and self._wait(for_the_window=wait)
        if taken:
            self._hand.begin(taken)
        return True

    def _room(self) -> int:
        """How many messages may be claimed now."""
        if self._watch.reason() or (self._hand.under_way and not self._batches.ahead):
            return 0
        return max(0, min(self._batches.size, self._run.left - self._hand.under_way))

    def _wait(self, *, for_the_window: bool) -> bool:
        """With nothing in hand: wait for what there is to wait for; whether to go on."""
        if self._watch.reason():
            return for_the_window and self._watch.wait_for_opening()
        return self._turns.wait(self._watch) or self._wait_for_next_try()

    def _wait_for_next_try(self) -> bool:
        """Wait until a message that was put back may be tried again; False when nothing is left to try."""
        self._turns.lost()
        with self._app.store.read() as connection:
            due = outbox.next_try(connection, self._run.campaign)
        self._watch.look()
        return due is not None and self._watch.wait(max((due - self._app.clock()).total_seconds(), 0.05))


def _judge(answers: Answers, run: Run) -> None:
    """Count what was settled for good, and stop where going on is useless or many in a row came to nothing.

    In doubt is as bad as refused: a service that never answers would leave everybody in doubt. A stopped hand-over left
    messages alone because it was told to, which is no trouble.
    """
    if answers.accepted:
        run.done += answers.accepted
        run.failures_in_a_row = 0
    for record in answers.records:
        status = record.settled.status
        run.done += status is not MessageStatus.PENDING
        if status is not MessageStatus.PENDING:
            run.failures_in_a_row = 0 if status is MessageStatus.ACCEPTED else run.failures_in_a_row + 1
            run.last_error = record.settled.error or run.last_error
        if record.receipt and record.receipt.halt and not answers.stopped:
            run.trouble = record.receipt.error or "the backend cannot go on"
    if run.failures_in_a_row >= FAILURES_IN_A_ROW:
        run.trouble = f"{run.failures_in_a_row} messages in a row were not accepted, the last: {run.last_error}"


def _heed(records: Sequence[Record], run: Run, turns: Turns) -> bool:
    """Slow down when the provider asks for it; give up for now when it keeps asking and takes nothing."""
    asked = [record.receipt for record in records if record.receipt and asks_for_less(record.receipt)]
    if not asked:
        run.put_offs_in_a_row = 0
        return False
    turns.slow_down(max((receipt.retry_after or 0.0 for receipt in asked), default=0.0))
    run.put_offs_in_a_row = 0 if len(asked) < len(records) else run.put_offs_in_a_row + 1
    if run.put_offs_in_a_row >= PUT_OFFS_IN_A_ROW:
        run.trouble = f"the service asked {run.put_offs_in_a_row} times in a row for fewer messages: {asked[-1].error}"
    return True
