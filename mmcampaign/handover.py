"""One sender's hands: claim messages (commit), hand them over, record what came of it (commit).

Whatever is raised in between, what the backend cannot prove is recorded as unknown. Nothing is begun that the claim
does not cover any more: a process that was stopped for longer than its lease finds its messages given up.
"""

import hashlib
import os
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection

from mmcampaign.app import App
from mmcampaign.context import token_values
from mmcampaign.delivery import Backend
from mmcampaign.errors import UnavailableError
from mmcampaign.frozen import sender_of
from mmcampaign.lifecycle import costs_an_attempt, settle
from mmcampaign.mime import Composer, ascii_address
from mmcampaign.model import Batch, Outcome, Outgoing, Receipt, Sender, Shape
from mmcampaign.pace import steady
from mmcampaign.store import campaigns, outbox
from mmcampaign.store.campaigns import Campaign
from mmcampaign.store.outbox import Claimed, Record
from mmcampaign.watch import Watch

# Of the lease; the rest is for the answer to the last message begun.
COVERS = 0.75
RECORD_SECONDS, TRY_AGAIN_SECONDS = 60.0, 0.5  # for the record of mail that has gone out, when the database is away
MOST_SHAPES = 100  # kept ready at a time


class Hand:
    """Claims, hands over and records the messages of one campaign for this process."""

    def __init__(self, app: App, campaign: Campaign, backend: Backend, watch: Watch) -> None:
        self._app, self._campaign, self._backend, self._watch = app, campaign.id, backend, watch
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        self._sender = sender_of(campaign.settings)
        self._shapes: dict[str, tuple[Shape, Composer]] = {}  # the latest; emails of one person alone have one each
        self._covered_until = 0.0

    def may_go(self) -> bool:
        """Whether a claimed message may still be begun."""
        return steady() < self._covered_until and not self._watch.reason()

    def claim(self, size: int) -> list[Claimed]:
        """Take the next messages of one shape; whoever may no longer be mailed is dropped from them."""
        self._covered_until = steady() + COVERS * outbox.LEASE.total_seconds()
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
        """Hand over and record, whatever happens meanwhile."""
        shape, composer = self._shapes[claimed[0].shape_digest]
        outgoing, receipts = self._compose(claimed, composer)
        receipts |= {m.message_id: _receipt(m.message_id, Outcome.UNKNOWN, "no answer was kept") for m in outgoing}
        digests = {m.message_id: hashlib.sha256(m.eml).hexdigest() for m in outgoing}
        batch = Batch(shape=shape, sender=self._sender, messages=tuple(outgoing), may_go=self.may_go)
        try:
            receipts |= {answer.message_id: answer for answer in self._hand_over(batch)}
        except BaseException:
            receipts |= {m.message_id: self._without_answer(m.message_id) for m in outgoing}
            raise
        finally:
            records = self._record(claimed, receipts, digests)
        return records

    def _compose(self, claimed: Sequence[Claimed], composer: Composer) -> tuple[list[Outgoing], dict[str, Receipt]]:
        """The messages as bytes; for those that cannot be written, the receipt that says so."""
        outgoing: list[Outgoing] = []
        failed: dict[str, Receipt] = {}
        for message in claimed:
            try:
                outgoing.append(outgoing_message(message, self._campaign, self._sender, composer))
            except ValueError as error:
                failed[message.message_id] = _receipt(message.message_id, Outcome.FAILED, str(error))
        return outgoing, failed

    def _hand_over(self, batch: Batch) -> Iterable[Receipt]:
        if batch.messages and self.may_go():
            return self._backend.deliver(batch)
        return [_receipt(m.message_id, Outcome.NOT_TAKEN, "", halt=True) for m in batch.messages]

    def _without_answer(self, message_id: str) -> Receipt:
        outcome = self._backend.proof(message_id) or Outcome.UNKNOWN
        return _receipt(message_id, outcome, "no answer was kept", halt=True)

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
                    claimed_at=message.claimed_at,
                    settled=settle(receipt, attempts=message.attempts, now=now),
                    receipt=receipt,
                    digest=digests.get(message.message_id),
                    attempts=message.attempts - (not costs_an_attempt(receipt)),
                )
            )
        self._write_down(records, now)
        return records

    def _write_down(self, records: Sequence[Record], now: datetime) -> None:
        """A server that is away for a moment does not lose what is known; what was written already may be again."""
        patience = steady() + RECORD_SECONDS
        while True:
            try:
                with self._app.store.write(patient=True) as connection:
                    outbox.record(connection, self._campaign, records, by=self._name, now=now)
            except UnavailableError:
                if self._app.store.dialect == "sqlite" or steady() > patience:
                    raise
                time.sleep(TRY_AGAIN_SECONDS)
            else:
                return

    def _load_shape(self, connection: Connection, digest: str) -> None:
        if digest not in self._shapes:
            if len(self._shapes) >= MOST_SHAPES:
                del self._shapes[next(iter(self._shapes))]
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


def _receipt(message_id: str, outcome: Outcome, error: str, *, halt: bool = False) -> Receipt:
    return Receipt(message_id=message_id, outcome=outcome, error=error, halt=halt)
