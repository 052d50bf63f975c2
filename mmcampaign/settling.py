"""Before and after a run of the sender: what a killed process left behind, and the ledger counted in the database."""

from sqlalchemy import Connection

from mmcampaign.app import App
from mmcampaign.campaigns import get, log_act
from mmcampaign.delivery import Backend
from mmcampaign.errors import UnavailableError
from mmcampaign.model import MessageStatus, Outcome
from mmcampaign.store import outbox
from mmcampaign.store.campaigns import Campaign


def settle_orphans(app: App, campaign: int, backend: Backend) -> None:
    """Messages a killed process left at ``sending``: proven accepted, proven not taken, or unknown.

    On SQLite nobody else sends while this process does, so all of them; on PostgreSQL those whose lease ran out.
    """
    with app.store.write() as connection:
        get(connection, campaign, hold=True)
        alone = app.store.path is not None
        left = outbox.orphans(connection, campaign, now=app.clock(), alone=alone)
        verdicts: dict[MessageStatus, list[int]] = {}
        for row, message_id, provider in left:
            proof = backend.proof(message_id) if provider == backend.name else None
            verdicts.setdefault(_verdict(proof, alone=alone), []).append(row)
        for status, rows in verdicts.items():
            error = "the sending process ended before the answer" if status is MessageStatus.UNKNOWN else None
            outbox.move(connection, campaign, rows, origin=MessageStatus.SENDING, status=status, error=error)
        if left:
            facts = {status.value: len(rows) for status, rows in verdicts.items()}
            log_act(app, connection, "settled after an interruption", campaign, facts)
            outbox.drop_unmailable(connection, campaign, app.today)


def _verdict(proof: Outcome | None, *, alone: bool) -> MessageStatus:
    """Where several machines send, a record that is missing here may stand on another: it proves nothing."""
    if proof is Outcome.ACCEPTED:
        return MessageStatus.ACCEPTED
    return MessageStatus.PENDING if proof is Outcome.NOT_TAKEN and alone else MessageStatus.UNKNOWN


def count_ledger(connection: Connection, campaign: Campaign) -> dict[str, int]:
    """How many messages stand at each status, counted in the database now. The caller holds the campaign.

    Raises UnavailableError that names every status of which the campaign's own count differs.
    """
    counted = outbox.count_by_status(connection, campaign.id)
    wrong = [
        f"{status}: {found:,} emails, {campaign.ledger[status]:,} counted"
        for status, found in counted.items()
        if found != campaign.ledger[status]
    ]
    if sum(counted.values()) != campaign.chosen:
        wrong.append(f"chosen: {sum(counted.values()):,} emails, {campaign.chosen:,} counted")
    if wrong:
        raise UnavailableError(
            f"The ledger of campaign {campaign.id} does not add up ({'; '.join(wrong)}).",
            unchanged="Nobody is written to again.",
            todo="mmcampaign doctor",
        )
    return counted
