"""Use case: send an approved campaign, or go on with one that was interrupted (design 7).

Claim (commit) → hand over → record (commit), batch by batch. Whatever kills the process leaves claimed messages at
``sending``; the next run settles those first, by the backend's own record where it has one, else as ``unknown``.
"""

import hashlib
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event

from filelock import FileLock, Timeout
from sqlalchemy import Connection

from mmcampaign.app import App
from mmcampaign.campaigns import finish_if_settled, get, log_act, refuse_drift
from mmcampaign.context import token_values
from mmcampaign.delivery import Backend
from mmcampaign.errors import RefusedError, UnavailableError
from mmcampaign.frozen import sender_of
from mmcampaign.lifecycle import settle
from mmcampaign.mime import Composer, ascii_address
from mmcampaign.model import Batch, CampaignState, MessageStatus, Outcome, Outgoing, Receipt, Sender, Shape
from mmcampaign.pace import Pace
from mmcampaign.store import campaigns, outbox
from mmcampaign.store.campaigns import Campaign
from mmcampaign.store.engine import Store
from mmcampaign.store.outbox import Claimed, Record

FAILURES_IN_A_ROW = 25
LONGEST_BREAK_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class SendRequest:
    """What to send. ``limit`` sends at most so many now; ``backend`` overrides the configured one."""

    campaign: int
    backend: str = ""
    limit: int | None = None


@dataclass(kw_only=True)
class Run:
    """One run of the sender: what it did so far, and why it stopped if it did."""

    campaign: int
    total: int
    done: int = 0
    failures_in_a_row: int = 0
    last_error: str = ""
    trouble: str = ""
    interrupted: bool = False
    stop: Event = field(default_factory=Event)


def send(
    app: App,
    request: SendRequest,
    *,
    confirm: Callable[[Campaign, int], None],
    on_progress: Callable[[Run], None] = lambda _: None,
    stop: Event | None = None,
) -> tuple[Campaign, Run]:
    """Send what is pending; safe to call again whatever happened before.

    ``confirm`` gets the campaign and the number about to be mailed and raises RefusedError unless that is wanted.
    Setting ``stop`` finishes what is in flight and returns. Raises RefusedError when the campaign is not approved or
    has drifted, UnavailableError when another process is sending.
    """
    backend = app.backend(request.backend)
    try:
        with _only_sender(app.store):
            _settle_orphans(app, request.campaign, backend)
            campaign, pending = _check(app, request, backend)
            number = pending if request.limit is None else min(request.limit, pending)
            run = Run(campaign=campaign.id, total=number, stop=stop or Event())
            if number:
                confirm(campaign, number)
                _start(app, campaign, backend, number)
                _send_all(app, campaign, backend, run, on_progress)
            return _finish(app, campaign, run), run
    finally:
        backend.close()


@contextmanager
def _only_sender(store: Store) -> Iterator[None]:
    """On SQLite one process sends; the lock is the operating system's, so a killed process lets go of it."""
    if store.path is None:
        yield
        return
    lock = FileLock(f"{store.path}-sender.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UnavailableError(
            "Another mmcampaign is sending from this database right now.",
            unchanged="This one did nothing.",
            todo="mmcampaign status  (shows how far it is)",
        ) from error
    try:
        yield
    finally:
        lock.release()


def _settle_orphans(app: App, campaign: int, backend: Backend) -> None:
    """Messages a killed process left behind: proven accepted, proven not taken, or unknown."""
    with app.store.write() as connection:
        alone = app.store.path is not None
        left = outbox.orphans(connection, campaign, now=app.clock(), alone=alone)
        verdicts: dict[MessageStatus, list[int]] = {}
        for row, message_id, provider in left:
            proof = backend.proof(message_id) if provider == backend.name else None
            verdicts.setdefault(_verdict(proof), []).append(row)
        for status, rows in verdicts.items():
            error = "the sending process ended before the answer" if status is MessageStatus.UNKNOWN else None
            outbox.move(connection, campaign, rows, origin=MessageStatus.SENDING, status=status, error=error)
        if left:
            facts = {status.value: len(rows) for status, rows in verdicts.items()}
            log_act(app, connection, "settled after an interruption", campaign, facts)
            outbox.drop_unmailable(connection, campaign, app.today)


def _verdict(proof: Outcome | None) -> MessageStatus:
    if proof is Outcome.ACCEPTED:
        return MessageStatus.ACCEPTED
    return MessageStatus.PENDING if proof is Outcome.NOT_TAKEN else MessageStatus.UNKNOWN


def _check(app: App, request: SendRequest, backend: Backend) -> tuple[Campaign, int]:
    """The campaign and how many are pending, after every reason to refuse."""
    with app.store.write() as connection:
        campaign = get(connection, request.campaign)
        _require_sendable(campaign)
        if not campaign.settings["mail"]["links_signed"] and backend.name not in ("file", "memory"):
            raise RefusedError(
                "The unsubscribe links of this campaign were made without a secret key, so they would not work.",
                unchanged="Nothing was sent.",
                todo=f"Set MMCAMPAIGN_SECRET_KEY, then: mmcampaign cancel {campaign.id}, and dry-run again.",
            )
        outbox.drop_unmailable(connection, campaign.id, app.today)
        pending = get(connection, campaign.id).ledger["pending"]
        if pending:
            refuse_drift(app, connection, campaign)
    return campaign, pending


def _require_sendable(campaign: Campaign) -> None:
    if campaign.state is CampaignState.PLANNED:
        raise RefusedError(
            f"Campaign {campaign.id} is planned but not approved.",
            unchanged="Nothing was sent.",
            todo=f"Read its report, then: mmcampaign approve {campaign.id}",
        )
    if campaign.state is CampaignState.CANCELLED:
        raise RefusedError(f"Campaign {campaign.id} was cancelled.", unchanged="Nothing was sent.")


def _start(app: App, campaign: Campaign, backend: Backend, number: int) -> None:
    with app.store.write() as connection:
        current = get(connection, campaign.id)
        _require_sendable(current)
        campaigns.change_state(
            connection,
            campaign.id,
            CampaignState.SENDING,
            started_at=current.started_at or app.clock(),
            sent_by=app.actor,
            backend=backend.name,
        )
        log_act(app, connection, "sending", campaign.id, {"recipients": number, "backend": backend.name})


def _send_all(app: App, campaign: Campaign, backend: Backend, run: Run, on_progress: Callable[[Run], None]) -> None:
    hand = _Hand(app, campaign, backend)
    pace = Pace(0 if backend.name in ("file", "memory") else app.settings.mail.rate_per_second)
    while run.done < run.total and not run.stop.is_set():
        size = min(backend.batch_size, run.total - run.done, pace.most_at_once)
        claimed = hand.claim(size)
        if not claimed:
            if not _wait_for_next_try(app, campaign.id, run):
                break
            continue
        records = hand.deliver(claimed)
        _judge(records, run)
        on_progress(run)
        if run.trouble:
            break
        pace.after(len(records), run.stop)
    run.interrupted = run.stop.is_set()


def _judge(records: Sequence[Record], run: Run) -> None:
    """Count what was settled for good, and stop where going on is useless or many in a row came to nothing.

    In doubt is as bad as refused: a service that never answers would leave everybody in doubt.
    """
    for record in records:
        status = record.settled.status
        run.done += status is not MessageStatus.PENDING
        if status is not MessageStatus.PENDING:
            run.failures_in_a_row = 0 if status is MessageStatus.ACCEPTED else run.failures_in_a_row + 1
            run.last_error = record.settled.error or run.last_error
        if record.receipt and record.receipt.halt:
            run.trouble = record.receipt.error or "the backend cannot go on"
    if run.failures_in_a_row >= FAILURES_IN_A_ROW:
        run.trouble = f"{run.failures_in_a_row} messages in a row were not accepted, the last: {run.last_error}"


def _wait_for_next_try(app: App, campaign: int, run: Run) -> bool:
    """Wait until a message that was put back may be tried again; False when nothing is left to try."""
    with app.store.read() as connection:
        due = outbox.next_try(connection, campaign)
    if due is None:
        return False
    seconds = (due - app.clock()).total_seconds()
    run.stop.wait(min(max(seconds, 0.05), LONGEST_BREAK_SECONDS))
    return not run.stop.is_set()


class _Hand:
    """Claims, hands over and records the messages of one campaign for this process."""

    def __init__(self, app: App, campaign: Campaign, backend: Backend) -> None:
        self._app, self._campaign, self._backend = app, campaign.id, backend
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        self._sender = sender_of(campaign.settings)
        self._shapes: dict[str, tuple[Shape, Composer]] = {}

    def claim(self, size: int) -> list[Claimed]:
        """Take the next messages of one shape; whoever may no longer be mailed is dropped from them."""
        with self._app.store.write() as connection:
            while claimed := self._claim(connection, size):
                ids = [message.id for message in claimed]
                if outbox.drop_unmailable(connection, self._campaign, self._app.today, claimed=ids):
                    mailable = outbox.still_claimed(connection, ids)
                    claimed = [message for message in claimed if message.id in mailable]
                if claimed:
                    self._load_shape(connection, claimed[0].shape_digest)
                    return claimed
        return []

    def _claim(self, connection: Connection, size: int) -> list[Claimed]:
        return outbox.claim(
            connection,
            self._campaign,
            size=size,
            by=self._name,
            provider=self._backend.name,
            now=self._app.clock(),
        )

    def deliver(self, claimed: Sequence[Claimed]) -> list[Record]:
        """Hand over and record; whatever is raised meanwhile, what the backend cannot prove is recorded as unknown."""
        shape, composer = self._shapes[claimed[0].shape_digest]
        outgoing: list[Outgoing] = []
        receipts: dict[str, Receipt] = {}
        for message in claimed:
            try:
                outgoing.append(outgoing_message(message, self._campaign, self._sender, composer))
            except ValueError as error:
                receipts[message.message_id] = _receipt(message.message_id, Outcome.FAILED, str(error))
        receipts |= {m.message_id: _receipt(m.message_id, Outcome.UNKNOWN, "no answer was kept") for m in outgoing}
        digests = {m.message_id: hashlib.sha256(m.eml).hexdigest() for m in outgoing}
        try:
            if outgoing:
                answers = self._backend.deliver(Batch(shape=shape, sender=self._sender, messages=tuple(outgoing)))
                receipts |= {answer.message_id: answer for answer in answers}
        except BaseException:
            receipts |= {m.message_id: self._without_answer(m.message_id) for m in outgoing}
            raise
        finally:
            records = self._record(claimed, receipts, digests)
        return records

    def _without_answer(self, message_id: str) -> Receipt:
        outcome = self._backend.proof(message_id) or Outcome.UNKNOWN
        return Receipt(message_id=message_id, outcome=outcome, error="no answer was kept", halt=True)

    def _record(
        self, claimed: Sequence[Claimed], receipts: Mapping[str, Receipt], digests: Mapping[str, str]
    ) -> list[Record]:
        now = self._app.clock()
        records = []
        for message in claimed:
            receipt = receipts[message.message_id]
            records.append(
                Record(
                    id=message.id,
                    settled=settle(receipt, attempts=message.attempts, now=now),
                    receipt=receipt,
                    digest=digests.get(message.message_id),
                    attempts=message.attempts - (receipt.halt and receipt.outcome is Outcome.NOT_TAKEN),
                )
            )
        with self._app.store.write(patient=True) as connection:
            outbox.record(connection, self._campaign, records, by=self._name, now=now)
        return records

    def _load_shape(self, connection: Connection, digest: str) -> None:
        if digest not in self._shapes:
            shape = campaigns.get_shape(connection, digest)
            self._shapes[digest] = (shape, Composer(shape, self._sender))


def outgoing_message(message: Claimed, campaign: int, sender: Sender, composer: Composer) -> Outgoing:
    """The claimed message with its bytes; the same claim always gives the same bytes."""
    values = token_values(message.personal, message.unsubscribe_url)
    eml = composer.compose(
        message_id=message.message_id,
        to_name=message.personal["name"],
        to_email=message.email,
        subject=message.subject,
        values=values,
        unsubscribe_url=message.unsubscribe_url,
        dated_at=message.claimed_at,
        domain=sender.email.rpartition("@")[2],
    )
    return Outgoing(
        message_id=message.message_id,
        campaign_id=campaign,
        to_name=message.personal["name"],
        to_email=ascii_address(message.email),
        subject=message.subject,
        unsubscribe_url=message.unsubscribe_url,
        values=values,
        eml=eml,
    )


def _receipt(message_id: str, outcome: Outcome, error: str) -> Receipt:
    return Receipt(message_id=message_id, outcome=outcome, error=error)


def _finish(app: App, campaign: Campaign, run: Run) -> Campaign:
    """Close the campaign when nothing is open any more, pause it in trouble, and check that the ledger adds up."""
    with app.store.write() as connection:
        outbox.drop_unmailable(connection, campaign.id, app.today)
        outbox.lock(connection, campaign.id)
        current = get(connection, campaign.id)
        counted = outbox.count_by_status(connection, campaign.id)
        if counted != dict(current.ledger) or sum(counted.values()) != current.chosen:
            raise UnavailableError(
                f"The ledger of campaign {campaign.id} does not add up.",
                unchanged="Nobody is written to again.",
                todo="mmcampaign doctor",
            )
        facts = {**counted, **({"stopped": run.trouble} if run.trouble else {})}
        if finish_if_settled(app, connection, current, facts):
            return get(connection, campaign.id)
        if run.trouble and current.state is CampaignState.SENDING:
            campaigns.change_state(connection, campaign.id, CampaignState.PAUSED)
            log_act(app, connection, "paused", campaign.id, facts)
        elif run.total:
            log_act(app, connection, "stopped part-way", campaign.id, facts)
        return get(connection, campaign.id)
