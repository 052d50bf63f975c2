"""Which changes of status are allowed, and what a backend's answer makes of a message (design 7). Values only."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from mmcampaign.model import CampaignState, MessageStatus, Outcome, Receipt

MAX_ATTEMPTS = 5
SHORTEST_WAIT_SECONDS = 1.0
FIRST_WAIT_SECONDS = 2.0
LONGEST_WAIT_SECONDS = 300.0
LONGEST_ASKED_SECONDS = 3600.0  # a provider that wants more gets another try all the same

# From approved or paused straight to finished: everything open was suppressed, too late, or settled by hand.
ALLOWED: dict[CampaignState, frozenset[CampaignState]] = {
    CampaignState.PLANNED: frozenset({CampaignState.APPROVED, CampaignState.CANCELLED}),
    CampaignState.APPROVED: frozenset({CampaignState.SENDING, CampaignState.FINISHED, CampaignState.CANCELLED}),
    CampaignState.SENDING: frozenset({CampaignState.PAUSED, CampaignState.FINISHED, CampaignState.CANCELLED}),
    CampaignState.PAUSED: frozenset({CampaignState.SENDING, CampaignState.FINISHED, CampaignState.CANCELLED}),
    CampaignState.FINISHED: frozenset(),
    CampaignState.CANCELLED: frozenset(),
}


@dataclass(frozen=True, kw_only=True)
class Settled:
    """What becomes of a claimed message: its status, and when it may be tried again if it goes back to pending."""

    status: MessageStatus
    error: str = ""
    not_before: datetime | None = None


def settle(receipt: Receipt, *, attempts: int, now: datetime) -> Settled:
    """A backend's answer as a status. ``attempts`` counts this hand-over too.

    Only a proof that nothing was taken leads back to pending; after MAX_ATTEMPTS such answers the message has failed.
    A receipt that halts the run costs no attempt: the fault is not this message's.
    """
    if receipt.outcome is Outcome.ACCEPTED:
        return Settled(status=MessageStatus.ACCEPTED)
    if receipt.outcome is Outcome.FAILED:
        return Settled(status=MessageStatus.FAILED, error=receipt.error)
    if receipt.outcome is Outcome.UNKNOWN:
        return Settled(status=MessageStatus.UNKNOWN, error=receipt.error)
    if receipt.halt:
        return Settled(status=MessageStatus.PENDING, error=receipt.error)
    if attempts >= MAX_ATTEMPTS:
        return Settled(status=MessageStatus.FAILED, error=f"given up after {attempts} tries: {receipt.error}")
    backoff = min(FIRST_WAIT_SECONDS * 4 ** (attempts - 1), LONGEST_WAIT_SECONDS)
    asked = min(max(receipt.retry_after or 0, SHORTEST_WAIT_SECONDS), LONGEST_ASKED_SECONDS)
    wait = asked if receipt.retry_after else backoff
    return Settled(status=MessageStatus.PENDING, error=receipt.error, not_before=now + timedelta(seconds=wait))


def settled_by_hand(decision: str) -> MessageStatus:
    """What a person may make of an unknown message: ``accepted``, ``failed`` or ``retry`` (pending again)."""
    return MessageStatus.PENDING if decision == "retry" else MessageStatus(decision)
