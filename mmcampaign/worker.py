"""Use case: work beside others on PostgreSQL: do the shares of campaigns that ``send`` has put into the queue.

Any number of workers, on any number of machines. A worker needs the database and the secrets of the backend, nothing
else: what is sent was frozen with the campaign. It acts in the name of whoever sent it.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from threading import Event

from mmcampaign.app import App
from mmcampaign.campaigns import get, log_act
from mmcampaign.errors import ConfigError, MmcampaignError, UnavailableError
from mmcampaign.model import CampaignState
from mmcampaign.sending import Run, SendRequest, share
from mmcampaign.store import campaigns, outbox
from mmcampaign.store.campaigns import Campaign
from mmcampaign.store.job_runner import AgainError, run_jobs
from mmcampaign.store.queue import Job
from mmcampaign.watch import REACH_NOBODY, opening

TRY_AGAIN = timedelta(seconds=5)


def work(app: App, *, stop: Event, tell: Callable[[str], None]) -> None:
    """Work until ``stop`` is set; what is in flight then is finished, the rest is left to the others.

    ``tell`` gets a line about each share, without anybody's name or address. Raises ConfigError on SQLite.
    """
    if app.store.dialect != "postgresql":
        raise ConfigError(
            "Workers need PostgreSQL; this database is SQLite, where one process sends.",
            unchanged="Nothing was done.",
            todo="mmcampaign send CAMPAIGN  (does the work itself), or set database.url to a PostgreSQL",
        )
    run_jobs(
        app.store,
        lambda job: do_share(app, job, stop=stop, tell=tell),
        takeover_seconds=app.settings.worker.takeover_seconds,
        stop=stop,
        tell=tell,
    )


def do_share(app: App, job: Job, *, stop: Event, tell: Callable[[str], None]) -> datetime | None:
    """Do one share. The time it returns is when claims of others run out that nobody may answer for any more.

    Raises AgainError when the share is not through: the worker stops, the send window closed, the database was away.
    Whatever else goes wrong pauses the campaign and says why.
    """
    request = SendRequest(campaign=job.campaign, backend=job.backend, first=job.first, leave=job.leave)
    try:
        done, run = share(_in_the_name_of_the_sender(app, job.campaign), request, stop=stop)
    except UnavailableError as error:
        tell(f"campaign {job.campaign}: {error.what} Trying again.")
        raise AgainError(app.clock() + TRY_AGAIN) from error
    except Exception as error:  # noqa: BLE001  whatever it is, the campaign says so
        _pause(app, job.campaign, error, tell)
        return None
    if run.total:
        tell(f"campaign {job.campaign}: {run.done:,} of {run.total:,} done by this worker{_why(run)}")
    if done.state is not CampaignState.SENDING:
        return None
    if done.ledger["pending"] > job.leave:
        _go_on(app, job, run)
    return _claims_end(app, done)


def _in_the_name_of_the_sender(app: App, campaign: int) -> App:
    with app.store.read() as connection:
        return replace(app, actor=get(connection, campaign).sent_by or app.actor)


def _go_on(app: App, job: Job, run: Run) -> None:
    """Put the share back when there is more to do than now could be done."""
    if run.interrupted:
        raise AgainError
    window = None if job.backend in REACH_NOBODY else app.settings.mail.window
    opens = opening(app, window)
    if opens and job.wait:
        raise AgainError(opens)


def _claims_end(app: App, campaign: Campaign) -> datetime | None:
    """When the claims that others hold have run out, so that what a dead worker held can be settled."""
    if not campaign.ledger["sending"]:
        return None
    with app.store.read() as connection:
        until = outbox.last_claim_until(connection, campaign.id)
    return until and until + timedelta(seconds=1)


def _why(run: Run) -> str:
    """In our own words: what a server answered may name an address."""
    if run.trouble:
        return f"; paused, see mmcampaign status {run.campaign}"
    return "; left to the others" if run.interrupted else "; stopped meanwhile" if run.told else ""


def _pause(app: App, campaign: int, error: Exception, tell: Callable[[str], None]) -> None:
    """A share that cannot be done would be tried for ever: a person has to look."""
    what = error.what if isinstance(error, MmcampaignError) else f"unexpected {type(error).__name__}"
    tell(f"campaign {campaign}: paused, for this worker cannot send it: {what}")
    reason = f"a worker could not send: {what}"
    with suppress(MmcampaignError), app.store.write() as connection:
        if get(connection, campaign, hold=True).state is CampaignState.SENDING:
            campaigns.change_state(connection, campaign, CampaignState.PAUSED, pause_reason=reason, paused_by=None)
            log_act(app, connection, "paused", campaign, {"stopped": reason})
