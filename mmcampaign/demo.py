"""Use case: the main job on invented data, in a folder of its own with its own configuration and database."""

import shutil
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from mmcampaign.app import App, open_app
from mmcampaign.campaigns import approve
from mmcampaign.demo_data import demo_config, write_exports
from mmcampaign.dry_run import dry_run
from mmcampaign.errors import InputError
from mmcampaign.ingest import ingest
from mmcampaign.planning import PlanRequest
from mmcampaign.reports import summary
from mmcampaign.resources import resource
from mmcampaign.sending import SendRequest, send

MARK = "# Written by `mmcampaign demo`: invented data, safe to delete.\n"


def run_demo(
    folder: Path, *, learners: int, seed: int, today: date | None, say: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Write exports for every shipped program, and bring one campaign of each from the files to the outbox; the last
    stays planned, for the user to approve and send.

    Raises InputError when ``folder`` holds anything that a demo did not write.
    """
    _prepare(folder, today)
    app = open_app(folder / "config.toml", {}, cwd=Path.cwd(), today=today, actor="demo")
    try:
        return _main_job(app, folder, learners, seed, say)
    finally:
        app.store.close()


def _main_job(app: App, folder: Path, learners: int, seed: int, say: Callable[[str], None]) -> dict[str, Any]:
    programs = tuple(app.settings.programs.values())
    clock = _Stopwatch(say)
    files = write_exports(folder / "downloads", programs, learners=learners, seed=seed, today=app.today)
    clock.tell(f"wrote {len(files)} invented edX exports of {learners:,} learners to {folder / 'downloads'}")
    read = ingest(app.store, programs, [folder / "downloads"], now=app.clock())
    rows = sum(file.accepted for file in read.files)
    clock.tell(f"ingested {rows:,} rows; {sum(file.status == 'refused' for file in read.files)} files were refused")
    campaigns = [_campaign(app, program.code, clock, sent=program != programs[-1]) for program in programs]
    waiting = campaigns[-1]["campaign"]
    say("")
    say("What to look at next:")
    say(f"  {folder / 'reports' / f'campaign-{waiting}' / 'report.html'}   the dry run that waits for your approval")
    say(f"  {folder / 'outbox'}   every email as a file that a mail program opens")
    there = "" if folder.resolve() == Path.cwd() else f"cd {folder}   and there: "
    say(f"  {there}mmcampaign status, mmcampaign approve {waiting}, mmcampaign send {waiting}")
    return {"dir": str(folder), "learners": learners, "campaigns": campaigns}


def _campaign(app: App, program: str, clock: "_Stopwatch", *, sent: bool) -> dict[str, Any]:
    """Plan a campaign; approve and send it too, unless it is the one left for the user to try."""
    people = summary(app.store, app.program(program)).learners
    planned = dry_run(app, PlanRequest(program=program))
    campaign = planned.campaign
    if sent and campaign.chosen:
        approve(app, campaign.id, note="demo")
        campaign, _ = send(app, SendRequest(campaign=campaign.id, backend="file"), confirm=lambda *_: None)
    clock.tell(
        f"campaign {campaign.id}, {program}: {people:,} learners, {campaign.considered:,} considered, "
        f"{campaign.excluded:,} left out, {campaign.chosen:,} chosen, {campaign.ledger['accepted']:,} sent to files"
    )
    return {
        "campaign": campaign.id,
        "program": program,
        "state": campaign.state,
        "considered": campaign.considered,
        "excluded": campaign.excluded,
        "accepted": campaign.ledger["accepted"],
        "report": str(planned.files.report),
    }


def _prepare(folder: Path, today: date | None) -> None:
    """A folder of the demo's own: new, empty, or written by an earlier demo (which is replaced)."""
    config = folder / "config.toml"
    if folder.exists() and any(folder.iterdir()):
        if not config.exists() or not config.read_text(encoding="utf-8").startswith(MARK):
            raise InputError(
                f"{folder} is not empty, and no demo wrote it.",
                unchanged="Nothing in it was touched.",
                todo="mmcampaign demo ANOTHER-FOLDER",
            )
        _clear(folder)
    folder.mkdir(parents=True, exist_ok=True)
    source = resource("config.toml").read_text(encoding="utf-8")
    day = today or datetime.now(UTC).date()
    config.write_text(MARK + demo_config(source, today=day), encoding="utf-8")


def _clear(folder: Path) -> None:
    """Take away what an earlier demo made; files that somebody added stay."""
    for name in ("downloads", "outbox", "reports", "previews"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for file in folder.glob("mmcampaign.db*"):
        file.unlink()


class _Stopwatch:
    """Tells each step with the seconds it took."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say, self._since = say, time.monotonic()

    def tell(self, what: str) -> None:
        now = time.monotonic()
        self._say(f"{now - self._since:5.1f} s  {what}")
        self._since = now
