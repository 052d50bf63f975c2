"""Commands that make a campaign and decide about it: dry-run, approve, reject."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmcampaign.cli.shell import Campaign, Json, Program, Today, print_json, print_table, progress, say, shell_of, short
from mmcampaign.findings import count, findings_in
from mmcampaign.model import Cohort

if TYPE_CHECKING:
    from mmcampaign.store.campaigns import Campaign as CampaignRow

OneCohort = Annotated[Cohort | None, typer.Option("--cohort", help="One cohort only.")]
By = Annotated[str, typer.Option("--by", metavar="NAME", help="Who decides, if not the user logged in here.")]
Note = Annotated[str, typer.Option("--note", help="A remark for the log.")]
Out = Annotated[Path | None, typer.Option("--out", help="The folder to write to.")]


def add_to(app: typer.Typer) -> None:
    app.command("dry-run", epilog="Example: mmcampaign dry-run engy --cohort audit-upgrade --name 'May upgrade'")(
        dry_run
    )
    app.command(epilog="Example: mmcampaign approve 3 --note 'read with Kim'")(approve)
    app.command(epilog="Example: mmcampaign reject 3 --note 'wrong deadline'")(reject)


def dry_run(
    ctx: typer.Context,
    program: Program,
    cohort: OneCohort = None,
    name: Annotated[str, typer.Option("--name", help="What to call the campaign.")] = "",
    holdout: Annotated[
        float | None, typer.Option("--holdout", min=0, max=100, help="Percent to leave unmailed, to compare with.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Plan the first so many recipients only.")] = None,
    out: Out = None,
    today: Today = "",
    as_json: Json = False,
) -> None:
    """Plan a campaign, freeze it, and write the report to approve. Nothing is sent."""
    from mmcampaign.dry_run import as_json as document
    from mmcampaign.dry_run import dry_run as run
    from mmcampaign.planning import PlanRequest
    from mmcampaign.selection import BOTH

    app = shell_of(ctx).open(today)
    request = PlanRequest(
        program=program,
        cohorts=frozenset({cohort}) if cohort else BOTH,
        name=name,
        holdout_percent=holdout,
        limit=limit,
    )
    with progress("Planning recipients") as update:
        result = run(app, request, out=out, on_progress=update)
    for warning in result.warnings:
        say(f"Warning: {warning}")
    if as_json:
        print_json(document(result))
        return
    campaign = result.campaign
    reasons = sorted(result.excluded.items(), key=lambda item: item[1], reverse=True)
    print_table(("left out because", "learners"), reasons)
    typer.echo(
        f"{campaign.considered:,} considered = {campaign.chosen:,} recipients + {campaign.excluded:,} left out; "
        f"{'1 shape' if result.shapes == 1 else f'{result.shapes:,} shapes'} of email."
    )
    typer.echo(f"Campaign {campaign.id} is planned. Nothing was sent. Its report: {short(result.files.report)}")
    found = count(findings_in(campaign.settings))
    if found["block"]:
        blocking = "1 finding blocks" if found["block"] == 1 else f"{found['block']:,} findings block"
        say(f"{blocking} its approval; see the report.")
        say(f"Next: mmcampaign check {program}, mend the template, then: mmcampaign cancel {campaign.id}")
        return
    say_what_is_open(found["warn"] - found["accepted"])
    if campaign.chosen:
        say(f"Next: read the report, then: mmcampaign approve {campaign.id}")


def approve(ctx: typer.Context, campaign: Campaign, by: By = "", note: Note = "", as_json: Json = False) -> None:
    """Approve exactly what the dry run planned."""
    from mmcampaign.campaigns import approve as run

    done = run(shell_of(ctx).open(), campaign, by=by, note=note)
    _print_state(done, as_json, f"Campaign {campaign} is approved by {done.approved_by}.")
    say_what_is_open(sum(finding.open for finding in findings_in(done.settings)))
    say(f"Next: mmcampaign send {campaign}")


def say_what_is_open(warnings: int) -> None:
    """How many warnings nobody has accepted; nothing if there are none."""
    if warnings:
        are = "1 warning about its emails is" if warnings == 1 else f"{warnings:,} warnings about its emails are"
        say(f"{are} open; see its report.")


def reject(ctx: typer.Context, campaign: Campaign, by: By = "", note: Note = "", as_json: Json = False) -> None:
    """Send a planned campaign back; its learners are free for the next plan."""
    from mmcampaign.campaigns import reject as run

    _print_state(run(shell_of(ctx).open(), campaign, by=by, note=note), as_json, f"Campaign {campaign} is rejected.")


def _print_state(campaign: "CampaignRow", as_json: bool, said: str) -> None:
    if as_json:
        print_json({"campaign": campaign.id, "state": campaign.state, "approved_by": campaign.approved_by})
    else:
        typer.echo(said)
