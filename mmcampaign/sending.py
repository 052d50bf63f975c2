"""Use case: send an approved campaign, or go on with one that was interrupted (design 7).

What comes before and after a run, which is in ``sending_run.py``. Whatever kills the process leaves claimed messages at
``sending``; the next run settles those first, by the backend's own record where it has one, else as ``unknown``.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event

from filelock import FileLock, Timeout

from mmcampaign.app import App
from mmcampaign.campaigns import finish_if_settled, get, log_act, refuse_drift
from mmcampaign.errors import RefusedError, UnavailableError
from mmcampaign.model import CampaignState
from mmcampaign.sending_run import Run, send_all
from mmcampaign.settling import count_ledger, settle_orphans
from mmcampaign.store import campaigns, outbox
from mmcampaign.store.campaigns import Campaign
from mmcampaign.watch import REACH_NOBODY, opening

__all__ = ["FIRST_WAVE", "Run", "SendRequest", "begin", "send", "share"]

FIRST_WAVE = "the first wave has gone out"


@dataclass(frozen=True, kw_only=True)
class SendRequest:
    """What to send. ``backend`` overrides the configured one.

    ``limit`` sends at most so many now; ``first`` does too, and then pauses the campaign until somebody resumes it.
    ``leave`` is how many of the pending ones are not for this run: unlike a limit it holds for a run begun again.
    ``resume`` goes on although a person paused the campaign; ``wait`` waits for the send window.
    """

    campaign: int
    backend: str = ""
    limit: int | None = None
    first: int | None = None
    leave: int = 0
    resume: bool = False
    wait: bool = False

    @property
    def for_some(self) -> bool:
        """Whether it is for a part of the pending ones."""
        return bool(self.leave) or self.limit is not None or self.first is not None

    def number_of(self, pending: int) -> int:
        """How many of the pending messages may go now."""
        limits = [most for most in (self.limit, self.first) if most is not None]
        return max(0, min([pending - self.leave, *limits]))


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
    Setting ``stop`` finishes what is in flight and returns. Raises RefusedError when the campaign is not approved, was
    paused by a person or has drifted, UnavailableError when another process is sending or the send window is closed.
    """
    backend = app.backend(request.backend)
    try:
        with _only_sender(app):
            settle_orphans(app, request.campaign, backend)
            campaign, number = begin(app, request, backend.name, confirm=confirm)
            run = Run(campaign=campaign.id, total=number, for_some=request.for_some, stop=stop or Event())
            if number:
                send_all(app, campaign, backend, run, wait=request.wait, on_progress=on_progress)
            return _finish(app, campaign, request, run), run
    finally:
        backend.close()


def begin(
    app: App, request: SendRequest, backend: str, *, confirm: Callable[[Campaign, int], None]
) -> tuple[Campaign, int]:
    """All that comes before the first message: every reason to refuse, the question, the start in the log.

    The campaign and how many messages may go now. Raises as ``send`` does.
    """
    campaign, pending = _check(app, request, backend)
    number = request.number_of(pending)
    if number:
        confirm(campaign, number)
        _start(app, campaign, request, backend, number)
    return campaign, number


def share(app: App, request: SendRequest, *, stop: Event) -> tuple[Campaign, Run]:
    """Do a part of what ``begin`` has begun, beside any number of others: send until nothing is left to claim.

    Needs no template and no secret key. A campaign that is not being sent any more is left alone.
    """
    backend = app.backend(request.backend)
    try:
        settle_orphans(app, request.campaign, backend)
        with app.store.read() as connection:
            campaign = get(connection, request.campaign)
        pending = campaign.ledger["pending"] if campaign.state is CampaignState.SENDING else 0
        run = Run(campaign=campaign.id, total=request.number_of(pending), for_some=request.for_some, stop=stop)
        if run.total:
            send_all(app, campaign, backend, run, wait=False, on_progress=lambda _: None)
        return _finish(app, campaign, request, run), run
    finally:
        backend.close()


# --- may it go? -----------------------------------------------------------------------------------------------------


@contextmanager
def _only_sender(app: App) -> Iterator[None]:
    """On SQLite one process sends; the lock is the operating system's, so a killed process lets go of it."""
    if app.store.path is None:
        yield
        return
    lock = FileLock(f"{app.store.path}-sender.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UnavailableError(
            f"Another mmcampaign is sending from this database right now{_at_work(app)}.",
            unchanged="This one did nothing. With an SQLite database one process sends at a time.",
            todo="mmcampaign status  (shows how far it is)",
        ) from error
    try:
        yield
    finally:
        lock.release()


def _at_work(app: App) -> str:
    """Which campaign the other process is at, as far as the database tells."""
    with app.store.read() as connection:
        busy = [row for row in campaigns.list_campaigns(connection) if row.state is CampaignState.SENDING and row.open]
    if not busy:
        return ""
    now = max(busy, key=lambda row: (row.ledger["sending"], row.id))
    return (
        f": campaign {now.id}, started by {now.sent_by}, {now.ledger['accepted']:,} of {now.chosen:,} accepted so far"
    )


def _check(app: App, request: SendRequest, backend: str) -> tuple[Campaign, int]:
    """The campaign and how many are pending, after every reason to refuse."""
    with app.store.write() as connection:
        campaign = get(connection, request.campaign)
        _require_sendable(campaign, request)
        if not campaign.settings["mail"]["links_signed"] and backend not in REACH_NOBODY:
            raise RefusedError(
                "The unsubscribe links of this campaign were made without a secret key, so they would not work.",
                unchanged="Nothing was sent.",
                todo=f"Set MMCAMPAIGN_SECRET_KEY, then: mmcampaign cancel {campaign.id}, and dry-run again.",
            )
        outbox.drop_unmailable(connection, campaign.id, app.today)
        pending = get(connection, campaign.id).ledger["pending"]
    if pending:
        _require_open(app, request, backend)
        with app.store.read() as connection:
            refuse_drift(app, connection, campaign)
    return campaign, pending


def _require_sendable(campaign: Campaign, request: SendRequest) -> None:
    if campaign.state is CampaignState.PLANNED:
        raise RefusedError(
            f"Campaign {campaign.id} is planned but not approved.",
            unchanged="Nothing was sent.",
            todo=f"Read its report, then: mmcampaign approve {campaign.id}",
        )
    if campaign.state is CampaignState.CANCELLED:
        raise RefusedError(f"Campaign {campaign.id} was cancelled.", unchanged="Nothing was sent.")
    if campaign.state is CampaignState.PAUSED and campaign.paused_by and not request.resume:
        raise RefusedError(
            f"Campaign {campaign.id} was paused by {campaign.paused_by}: {campaign.pause_reason}.",
            unchanged="Nothing was sent.",
            todo=f"mmcampaign resume {campaign.id}, then: mmcampaign send {campaign.id}",
        )


def _require_open(app: App, request: SendRequest, backend: str) -> None:
    """Raise UnavailableError outside the send window, unless the run shall wait for it."""
    mail = app.settings.mail
    opens = None if backend in REACH_NOBODY else opening(app, mail.window)
    if opens and not request.wait:
        raise UnavailableError(
            f"Mail goes out {mail.send_window} ({app.settings.site.timezone}) only; "
            f"the send window opens on {opens:%A, %d %B at %H:%M}.",
            unchanged="Nothing was sent.",
            todo=f"mmcampaign send {request.campaign} --wait  (waits until then)",
        )


def _start(app: App, campaign: Campaign, request: SendRequest, backend: str, number: int) -> None:
    with app.store.write() as connection:
        current = get(connection, campaign.id, hold=True)
        _require_sendable(current, request)
        campaigns.change_state(
            connection,
            campaign.id,
            CampaignState.SENDING,
            started_at=current.started_at or app.clock(),
            sent_by=app.actor,
            backend=backend,
        )
        log_act(app, connection, "sending", campaign.id, {"recipients": number, "backend": backend})


# --- the end ----------------------------------------------------------------------------------------------------------


def _finish(app: App, campaign: Campaign, request: SendRequest, run: Run) -> Campaign:
    """Check that the ledger adds up; close the campaign when nothing is open any more, pause it where that is due."""
    with app.store.write() as connection:
        outbox.drop_unmailable(connection, campaign.id, app.today)
        current = get(connection, campaign.id)
        counted = count_ledger(connection, current)
        stopped = run.trouble or run.told
        facts = {**counted, **({"stopped": stopped} if stopped else {})}
        if finish_if_settled(app, connection, current, facts):
            return get(connection, campaign.id)
        pause = _pause(app, request, run) if current.ledger["pending"] else {}
        if pause and current.state is CampaignState.SENDING:
            run.ended_first_wave = not run.trouble
            campaigns.change_state(connection, campaign.id, CampaignState.PAUSED, **pause)
            log_act(app, connection, "paused", campaign.id, {**facts, "stopped": pause["pause_reason"]})
        elif run.total:
            log_act(app, connection, "stopped part-way", campaign.id, facts)
        return get(connection, campaign.id)


def _pause(app: App, request: SendRequest, run: Run) -> dict[str, str | None]:
    """Why the campaign is to be paused after this run, and by whom; nothing when it is not."""
    if run.trouble:
        return {"pause_reason": run.trouble, "paused_by": None}
    if request.first is not None and 0 < run.total <= run.done:
        return {"pause_reason": FIRST_WAVE, "paused_by": app.actor}
    return {}
