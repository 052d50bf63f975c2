"""Doubles for tests of code that sends. They obey the same contract suite as the real backends."""

from collections.abc import Mapping

from mmcampaign.model import Batch, Outcome, Outgoing, Receipt


class MemoryBackend:
    """Keeps what it took in ``taken``, in order; a message handed over twice stands there twice.

    ``answers`` says by address what to answer instead of accepting; ``down``: the service cannot be reached.
    A message answered as unknown was taken: the case in which another try would be a second mail.
    """

    name = "memory"

    def __init__(
        self, *, answers: Mapping[str, Outcome] | None = None, down: bool = False, batch_size: int = 100
    ) -> None:
        self.batch_size = batch_size
        self.answers = dict(answers or {})
        self.down = down
        self.taken: list[Outgoing] = []
        self.batches: list[Batch] = []
        self.closed = 0

    def deliver(self, batch: Batch) -> list[Receipt]:
        self.batches.append(batch)
        return [self._answer(message) if batch.may_go() else _stopped(message) for message in batch.messages]

    def proof(self, message_id: str) -> Outcome | None:
        return None

    def close(self) -> None:
        self.closed += 1

    def _answer(self, message: Outgoing) -> Receipt:
        if self.down:
            error = "The memory backend is down."
            return Receipt(message_id=message.message_id, outcome=Outcome.NOT_TAKEN, error=error, halt=True)
        outcome = self.answers.get(message.to_email, Outcome.ACCEPTED)
        if outcome in {Outcome.ACCEPTED, Outcome.UNKNOWN}:
            self.taken.append(message)
        if outcome is Outcome.ACCEPTED:
            number = f"memory-{len(self.taken)}"
            return Receipt(message_id=message.message_id, outcome=outcome, provider_message_id=number)
        return Receipt(message_id=message.message_id, outcome=outcome, error=f"The memory backend answered {outcome}.")


def _stopped(message: Outgoing) -> Receipt:
    error = "Stopped before it was handed over."
    return Receipt(message_id=message.message_id, outcome=Outcome.NOT_TAKEN, error=error, halt=True)
