"""Use case: have a campaign sent by the workers, and follow what they do until it is over (PostgreSQL only).

Asks and refuses what ``sending.send`` does; the question is answered here, the mail goes out there. Who stops following
stops nothing else.
"""

from collections.abc import Callable
from threading import Event

from mmcampaign.app import App
from mmcampaign.campaigns import get
from mmcampaign.errors import UnavailableError
from mmcampaign.model import CampaignState
from mmcampaign.pace import steady
from mmcampaign.sending import FIRST_WAVE, Run, SendRequest, begin
from mmcampaign.store import campaigns, outbox, queue
from mmcampaign.store.campaigns import Campaign
from mmcampaign.store.queue import Job, Standing
from mmcampaign.watch import REACH_NOBODY, decision, opening

LOOK_SECONDS = 0.5
SHARES = 16  # workers that a campaign can keep busy; one that is started later finds a share waiting


def send_by_workers(
    app: App,
    request: SendRequest,
    *,
    confirm: Callable[[Campaign, int], None],
    on_progress: Callable[[Run], None] = lambda _: None,
    stop: Event | None = None,
) -> tuple[Campaign, Run]:
    """Have what is pending sent by the workers and follow it to the end, or until ``stop`` is set.

    A campaign that they are sending already is only followed, and nothing is asked again. Raises as ``send`` does, and
    UnavailableError when no worker is alive, before anything was done or while it follows.
    """
    before = _standing(app, request.campaign)
    if not before.workers:
        raise _nobody(app, request.campaign, "No worker is running, so nobody would send this.")
    with app.store.read() as connection:
        campaign = get(connection, request.campaign)
    if not (before.live and campaign.state is CampaignState.SENDING):
        campaign = _enqueue(app, request, confirm)
    leave = max(0, campaign.ledger["pending"] - request.number_of(campaign.ledger["pending"]))
    run = Run(campaign=campaign.id, total=campaign.ledger["pending"] - leave, stop=stop or Event())
    if campaign.state is not CampaignState.FINISHED:
        _follow(app, run, leave, on_progress)
    with app.store.read() as connection:
        campaign = get(connection, request.campaign)
    _conclude(app, campaign, run)
    return campaign, run


def _enqueue(app: App, request: SendRequest, confirm: Callable[[Campaign, int], None]) -> Campaign:
    backend = request.backend or app.settings.mail.backend
    _, number = begin(app, request, backend, confirm=confirm)
    with app.store.write() as connection:
        campaign = get(connection, request.campaign)
        leave = campaign.ledger["pending"] - number
        job = Job(campaign=campaign.id, backend=backend, first=request.first, leave=leave, wait=request.wait)
        # A part of a campaign is one worker's: several would each send as many. None: to settle what is left open.
        one = leave or request.first is not None or not number
        if campaign.state is not CampaignState.FINISHED:
            queue.enqueue(connection, [job] * (1 if one else SHARES))
    return campaign


def _follow(app: App, run: Run, leave: int, on_progress: Callable[[Run], None]) -> None:
    """Watch the ledger until no share is left to be done. Raises UnavailableError when the workers are gone."""
    patience = app.settings.worker.takeover_seconds
    seen_alive = steady()
    while not run.stop.wait(LOOK_SECONDS):
        with app.store.read() as connection:
            campaign = get(connection, run.campaign)
        there = _standing(app, run.campaign)
        open_now = campaign.ledger["pending"] + campaign.ledger["sending"] - leave
        run.done = max(run.done, run.total - max(0, open_now))
        on_progress(run)
        if not there.live and (not there.later or campaign.state is not CampaignState.SENDING):
            return
        if there.workers:
            seen_alive = steady()
        elif steady() - seen_alive > patience:
            raise _nobody(app, run.campaign, f"No worker is running any more; {run.done:,} of {run.total:,} are done.")
    run.interrupted = True


def _conclude(app: App, campaign: Campaign, run: Run) -> None:
    """What a run in this process would know of itself, read from the campaign."""
    run.ended_first_wave = campaign.state is CampaignState.PAUSED and campaign.pause_reason == FIRST_WAVE
    if run.interrupted or run.ended_first_wave:
        return
    with app.store.read() as connection:
        run.told = decision(*campaigns.state_of(connection, campaign.id))
    if not run.told and campaign.state is CampaignState.SENDING and run.done < run.total:
        window = None if campaign.backend in REACH_NOBODY else app.settings.mail.window
        opens = opening(app, window)
        held = campaign.ledger["sending"]
        if opens:
            run.told = f"The send window is closed; it opens on {opens:%A, %d %B at %H:%M}."
        elif held:
            run.told = f"{held:,} emails are in the hands of a worker that is gone; {_settled(app, campaign)}"


def _settled(app: App, campaign: Campaign) -> str:
    with app.store.read() as connection:
        until = outbox.last_claim_until(connection, campaign.id)
    if until is None:
        return "they are settled now."
    return f"whichever of them left no answer is unknown from {until.astimezone(app.settings.site.zone):%H:%M} on."


def _standing(app: App, campaign: int) -> Standing:
    with app.store.read() as connection:
        return queue.standing(connection, campaign, takeover_seconds=app.settings.worker.takeover_seconds)


def _nobody(app: App, campaign: int, what: str) -> UnavailableError:
    with app.store.read() as connection:
        begun = get(connection, campaign).state is CampaignState.SENDING
    return UnavailableError(
        what,
        unchanged="What is left stays in the queue for the next worker." if begun else "Nothing was sent.",
        todo=f"start mmcampaign worker, or send from here: mmcampaign send {campaign} --local",
    )
