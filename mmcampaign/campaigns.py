"""Use case: approve, reject, pause, resume or cancel a campaign, and find out whether it drifted since planned."""

from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any

from sqlalchemy import Connection

from mmcampaign import __version__
from mmcampaign.app import App
from mmcampaign.errors import InputError, RefusedError
from mmcampaign.findings import Severity, findings_in, without_findings
from mmcampaign.frozen import changes
from mmcampaign.lifecycle import ALLOWED, settled_by_hand
from mmcampaign.model import CampaignState, MessageStatus, Program
from mmcampaign.planning import frozen_row, recipients, settings_now
from mmcampaign.store import audit, campaigns, outbox
from mmcampaign.store.campaigns import Campaign
from mmcampaign.store.inputs import approved_inputs, inputs_digest

NAMED_IN_DRIFT = 5
FINISHED = CampaignState.FINISHED


def get(connection: Connection, campaign: int, *, hold: bool = False) -> Campaign:
    """The campaign; InputError when there is none with this number.

    Whoever goes on to change it says ``hold``: then nobody else does until the end of the transaction.
    """
    found = campaigns.get_campaign(connection, campaign, hold=hold)
    if found is None:
        raise InputError(f"There is no campaign {campaign}.", todo="mmcampaign status  (lists all campaigns)")
    return found


# --- approval -------------------------------------------------------------------------------------------------------


def approve(app: App, campaign: int, *, by: str = "", note: str = "") -> Campaign:
    """Approve what was planned, unless it has blocking findings, something drifted, or a second person is needed."""
    approver = by or app.actor
    with app.store.write() as connection:
        planned = get(connection, campaign, hold=True)
        _require(planned, CampaignState.APPROVED)
        if planned.chosen == 0:
            raise RefusedError(
                f"Campaign {campaign} has no recipients, so there is nothing to approve.",
                todo="The report says why each learner was left out.",
            )
        _refuse_blocked(planned)
        if app.settings.policy.approval == "second-person" and approver == planned.planned_by:
            raise RefusedError(
                f"Campaign {campaign} was planned by {planned.planned_by}; somebody else must approve it.",
                unchanged="It is still only planned.",
                todo="This is policy.approval in config.toml.",
            )
        read = _inputs(app, connection, campaign)  # before selecting, so that a change meanwhile shows later
        refuse_drift(app, connection, planned)
        columns = {"approved_at": app.clock(), "approved_by": approver, "note": note or None, "inputs": read or None}
        campaigns.change_state(connection, campaign, CampaignState.APPROVED, **columns)
        log_act(
            app, connection, "approved", campaign, {"fingerprint": planned.fingerprint, "by": approver, "note": note}
        )
        return get(connection, campaign)


def _refuse_blocked(planned: Campaign) -> None:
    """A finding that blocks cannot be accepted, only mended."""
    blocking = [each for each in findings_in(planned.settings) if each.severity is Severity.BLOCK]
    if blocking:
        number = f"{len(blocking)} findings block" if len(blocking) > 1 else "A finding blocks"
        raise RefusedError(
            f"{number} the approval of campaign {planned.id}.",
            facts=tuple(f"{each.place or each.part}: {each.message}" for each in blocking),
            unchanged="It is still only planned.",
            todo=f"mend the template, then: mmcampaign cancel {planned.id}, and mmcampaign dry-run {planned.program}",
        )


def reject(app: App, campaign: int, *, by: str = "", note: str = "") -> Campaign:
    """Send a planned campaign back: it is cancelled, and its learners are free for the next plan."""
    return _end(app, campaign, "rejected", {"by": by or app.actor, "note": note})


def cancel(app: App, campaign: int) -> Campaign:
    """Cancel whatever has not gone out. What was accepted, failed or is unknown stays as it is."""
    return _end(app, campaign, "cancelled", {})


def _end(app: App, campaign: int, act: str, facts: Mapping[str, Any]) -> Campaign:
    with app.store.write() as connection:
        found = get(connection, campaign, hold=True)
        if act == "rejected" and found.state is not CampaignState.PLANNED:
            raise RefusedError(f"Campaign {campaign} is {found.state}; only a planned one can be rejected.")
        _require(found, CampaignState.CANCELLED)
        dropped = outbox.cancel_pending(connection, campaign)
        campaigns.change_state(connection, campaign, CampaignState.CANCELLED, finished_at=app.clock())
        log_act(app, connection, act, campaign, {**facts, "cancelled": dropped})
        return get(connection, campaign)


def pause(app: App, campaign: int, *, note: str = "") -> Campaign:
    """Stop the sending of a campaign, wherever it runs, until somebody resumes it. What is in flight is finished.

    A pause that the sender made for trouble becomes this person's. Raises RefusedError unless it is being sent.
    """
    with app.store.write() as connection:
        found = get(connection, campaign, hold=True)
        if found.state is not CampaignState.PAUSED:
            _require(found, CampaignState.PAUSED)
        elif found.paused_by:
            return found
        reason = note or found.pause_reason or "no reason given"
        campaigns.change_state(connection, campaign, CampaignState.PAUSED, pause_reason=reason, paused_by=app.actor)
        log_act(app, connection, "paused", campaign, {"by": app.actor, "note": note})
        return get(connection, campaign)


def resume(app: App, campaign: int) -> Campaign:
    """Let a paused campaign be sent again; ``send`` goes on with it. One that is being sent stays as it is."""
    with app.store.write() as connection:
        found = get(connection, campaign, hold=True)
        if found.state is CampaignState.SENDING:
            return found
        if found.state is not CampaignState.PAUSED:
            raise RefusedError(
                f"Campaign {campaign} is {found.state}; only a paused one can be resumed.",
                unchanged="Nothing was changed.",
                todo=f"mmcampaign status {campaign}",
            )
        campaigns.change_state(connection, campaign, CampaignState.SENDING)
        log_act(app, connection, "resumed", campaign, {"was paused because": found.pause_reason})
        return get(connection, campaign)


def _require(campaign: Campaign, wanted: CampaignState) -> None:
    if wanted not in ALLOWED[campaign.state]:
        raise RefusedError(
            f"Campaign {campaign.id} is {campaign.state}, so it cannot become {wanted}.",
            unchanged="Nothing was changed.",
            todo=f"mmcampaign status {campaign.id}",
        )


def resolve(app: App, campaign: int, decision: str, message_id: str | None = None) -> int:
    """Settle unknown messages by hand: ``accepted``, ``failed`` or ``retry``; returns how many there were.

    Raises RefusedError for ``retry`` in a cancelled campaign, which sends nothing any more.
    """
    with app.store.write() as connection:
        if get(connection, campaign, hold=True).state is CampaignState.CANCELLED and decision == "retry":
            raise RefusedError(
                f"Campaign {campaign} is cancelled, so nothing of it is sent again.",
                unchanged="Nothing was changed.",
                todo=f"mmcampaign resolve {campaign} --as failed",
            )
        rows = outbox.unknown_ids(connection, campaign, message_id)
        if message_id is not None and not rows:
            raise InputError(
                f"Campaign {campaign} has no unknown message {message_id!r}.",
                unchanged="Nothing was changed.",
                todo=f"mmcampaign history --campaign {campaign}",
            )
        status = settled_by_hand(decision)
        error = None if decision == "accepted" else f"settled by {app.actor} as {decision}"
        moved = outbox.move(connection, campaign, rows, origin=MessageStatus.UNKNOWN, status=status, error=error)
        if moved:
            log_act(app, connection, f"resolved as {decision}", campaign, {"messages": moved})
            finish_if_settled(app, connection, get(connection, campaign), {})
        return moved


def finish_if_settled(app: App, connection: Connection, campaign: Campaign, facts: Mapping[str, Any]) -> bool:
    """Close a campaign that was approved and of which nothing is open any more; whether it was closed."""
    if campaign.open or FINISHED not in ALLOWED[campaign.state]:
        return False
    campaigns.change_state(connection, campaign.id, FINISHED, finished_at=app.clock())
    log_act(app, connection, "finished", campaign.id, facts)
    return True


def log_act(app: App, connection: Connection, act: str, campaign: int, facts: Mapping[str, Any]) -> None:
    """Write an act upon a campaign into the audit log, in the act's own transaction."""
    subject = f"campaign {campaign}"
    audit.record(connection, at=app.clock(), actor=app.actor, act=act, subject=subject, facts=facts)


# --- drift ----------------------------------------------------------------------------------------------------------


def refuse_drift(app: App, connection: Connection, campaign: Campaign) -> None:
    """Raise RefusedError when templates, settings or data no longer give what was planned, saying what changed.

    Of a campaign that has started only those still to be written to are compared. The selection is run again unless
    nothing that it reads was changed since the approval (decision 16).
    """
    program = app.program(campaign.program)
    files = app.merger().files(program.template, subject=program.subject)
    now = settings_now(app, program, files, campaign.settings["selection"])
    facts = changes(without_findings(campaign.settings), now)
    if not facts and not _as_approved(app, connection, campaign.id):
        facts = _recipient_changes(app, connection, campaign, program)
    if facts:
        raise RefusedError(
            f"Campaign {campaign.id} is no longer what was planned.",
            facts=tuple(facts),
            unchanged="Nothing was sent.",
            todo=f"mmcampaign cancel {campaign.id}, then mmcampaign dry-run {campaign.program}",
        )


def _as_approved(app: App, connection: Connection, campaign: int) -> bool:
    """Whether selecting again would give what it gave at the approval, without doing so. False: it has to be done."""
    read = approved_inputs(connection, campaign)
    return read != "" and read == _inputs(app, connection, campaign)


def _inputs(app: App, connection: Connection, campaign: int) -> str:
    """One digest of all that selection reads beside the frozen settings; empty when it cannot be told.

    That is the data, the program and the library that judges addresses, and the time zone, which makes days of times.
    """
    data = inputs_digest(connection, campaign)
    return data and f"{data} {__version__} {version('email-validator')} {app.settings.site.timezone}"


def _recipient_changes(app: App, connection: Connection, campaign: Campaign, program: Program) -> list[str]:
    """Sentences on who is new, gone or changed. A limit is of no account: who comes after the last one planned is not
    new, and somebody new before them does not push them out."""
    pending_only = campaign.started_at is not None
    selection = campaign.settings["selection"]
    unlimited = {**campaign.settings, "selection": {**selection, "limit": None}}
    planned = (frozen_row(row) for row in campaigns.planned_recipients(connection, campaign.id, pending_only))
    now = (chosen.frozen_fields() for chosen in recipients(app, connection, program, unlimited))
    added: list[int] = []
    gone: list[int] = []
    changed: list[int] = []
    last = 0
    for student_id, before, after in _side_by_side(planned, now):
        last = last if before is None else student_id
        if before is None:
            added.append(student_id)
        elif after is None:
            gone.append(student_id)
        elif before != after:
            changed.append(student_id)
    if selection["limit"] is not None:
        added = [student_id for student_id in added if student_id < last]
    found = ["" if pending_only else _people(added, "learners who would be chosen now but were not planned")]
    found += [_people(gone, "learners who were planned but would not be chosen now")]
    found += [_people(changed, "learners whose data is not what was planned with")]
    return [sentence for sentence in found if sentence]


Fields = tuple[Any, ...]


def _side_by_side(
    planned: Iterator[Fields], now: Iterator[Fields]
) -> Iterator[tuple[int, Fields | None, Fields | None]]:
    """Two lists sorted by student id (the first field), paired without holding either in memory."""
    left, right = next(planned, None), next(now, None)
    while left is not None or right is not None:
        if right is None or (left is not None and left[0] < right[0]):
            assert left is not None
            yield left[0], left, None
            left = next(planned, None)
        elif left is None or right[0] < left[0]:
            yield right[0], None, right
            right = next(now, None)
        else:
            yield left[0], left, right
            left, right = next(planned, None), next(now, None)


def _people(ids: list[int], what: str) -> str:
    if not ids:
        return ""
    named = ", ".join(str(student_id) for student_id in ids[:NAMED_IN_DRIFT])
    more = ", ..." if len(ids) > NAMED_IN_DRIFT else ""
    return f"{what}: {len(ids):,} (edX {'user' if len(ids) == 1 else 'users'} {named}{more})"
