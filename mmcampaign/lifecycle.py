"""Which changes of status are allowed, and what a backend's answer makes of a message (design 7). Values only."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

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


class Settled(NamedTuple):
    """What becomes of a claimed message: its status, and when it may be tried again if it goes back to pending."""

    status: MessageStatus
    error: str = ""
    not_before: datetime | None = None


TAKEN = Settled(status=MessageStatus.ACCEPTED)


def settle(receipt: Receipt, *, attempts: int, now: datetime) -> Settled:
    """A backend's answer as a status. ``attempts`` counts this hand-over too.

    Only a proof that nothing was taken leads back to pending; after MAX_ATTEMPTS such answers the message has failed.
    """
    if receipt.outcome is Outcome.ACCEPTED:
        return TAKEN
    if receipt.outcome is Outcome.FAILED:
        return Settled(status=MessageStatus.FAILED, error=receipt.error)
    if receipt.outcome is Outcome.UNKNOWN:
        return Settled(status=MessageStatus.UNKNOWN, error=receipt.error)
    if receipt.halt:
        return Settled(status=MessageStatus.PENDING, error=receipt.error)
    if attempts >= MAX_ATTEMPTS and costs_an_attempt(receipt):
        return Settled(status=MessageStatus.FAILED, error=f"given up after {attempts} tries: {receipt.error}")
    backoff = min(FIRST_WAIT_SECONDS * 4 ** (attempts - 1), LONGEST_WAIT_SECONDS)
    asked = min(max(receipt.retry_after or 0, SHORTEST_WAIT_SECONDS), LONGEST_ASKED_SECONDS)
    wait = asked if receipt.retry_after else backoff
    return Settled(status=MessageStatus.PENDING, error=receipt.error, not_before=now + timedelta(seconds=wait))


def costs_an_attempt(receipt: Receipt) -> bool:
    """Whether a hand-over counts as a try of this message. A run that halts or goes too fast is not its fault."""
    return receipt.outcome is not Outcome.NOT_TAKEN or not (receipt.halt or receipt.slower)


def asks_for_less(receipt: Receipt) -> bool:
    """Whether the provider wants fewer messages a second: it says so, or it names a time to wait."""
    return receipt.outcome is Outcome.NOT_TAKEN and (receipt.slower or receipt.retry_after is not None)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Why a campaign is not done, in words, and the command that brings it on; both empty when it is done."""

    reason: str = ""
    command: str = ""


FIRST_STEPS = {
    CampaignState.PLANNED: Standing(reason="waits for approval", command="approve"),
    CampaignState.APPROVED: Standing(reason="approved, not sent yet", command="send"),
}


def standing(
    state: CampaignState, ledger: Mapping[str, int], *, pause_reason: str | None = None, paused_by: str | None = None
) -> Standing:
    """What a campaign waits for. A pause by a person is ended by ``resume``, one for trouble by the next ``send``."""
    to_go, in_flight, unknown = (ledger[status] for status in ("pending", "sending", "unknown"))
    doubt = f"{unknown:,} may or may not have gone out" if unknown else ""
    if state in FIRST_STEPS:
        return FIRST_STEPS[state]
    if to_go or in_flight:
        why = f"paused{f' by {paused_by}' if paused_by else ''}: {pause_reason}" if pause_reason else ""
        why = why or f"being sent, or interrupted: {to_go:,} to go{f', {in_flight:,} in flight' if in_flight else ''}"
        return Standing(reason="; ".join(filter(None, [why, doubt])), command="resume" if paused_by else "send")
    return Standing(reason=doubt, command="resolve") if doubt else Standing()


def settled_by_hand(decision: str) -> MessageStatus:
    """What a person may make of an unknown message: ``accepted``, ``failed`` or ``retry`` (pending again)."""
    return MessageStatus.PENDING if decision == "retry" else MessageStatus(decision)
