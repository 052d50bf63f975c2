"""Commands that make a campaign and bring it out: preview, dry-run, approve, reject, send, cancel, resolve."""

import signal
import sys
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mmcampaign.cli.shell import Campaign, Json, Program, Today, print_json, print_table, progress, say, shell_of, short
from mmcampaign.errors import RefusedError
from mmcampaign.model import Cohort

if TYPE_CHECKING:
    from mmcampaign.sending import Run
    from mmcampaign.store.campaigns import Campaign as CampaignRow

OneCohort = Annotated[Cohort | None, typer.Option("--cohort", help="One cohort only.")]
By = Annotated[str, typer.Option("--by", metavar="NAME", help="Who decides, if not the user logged in here.")]
Note = Annotated[str, typer.Option("--note", help="A remark for the log.")]
Out = Annotated[Path | None, typer.Option("--out", help="The folder to write to.")]
LEDGER = ("accepted", "failed", "unknown", "suppressed", "pending", "cancelled")


def add_to(app: typer.Typer) -> None:
    app.command(epilog="Example: mmcampaign preview engy --open")(preview)
    app.command("dry-run", epilog="Example: mmcampaign dry-run engy --cohort audit-upgrade --name 'May upgrade'")(
        dry_run
    )
    app.command(epilog="Example: mmcampaign approve 3 --note 'read with Kim'")(approve)
    app.command(epilog="Example: mmcampaign reject 3 --note 'wrong deadline'")(reject)
    app.command(epilog="Example: mmcampaign send 3    In a script: mmcampaign send 3 --yes --expect 412")(send)
    app.command(epilog="Example: mmcampaign cancel 3")(cancel)
    app.command(epilog="Example: mmcampaign resolve 3 --as failed")(resolve)


def preview(
    ctx: typer.Context,
    program: Program,
    learner: Annotated[str, typer.Option("--learner", help="One learner, by edX user id, user name or address.")] = "",
    cohort: OneCohort = None,
    out: Out = None,
    show: Annotated[bool, typer.Option("--open", help="Open the index page in the browser.")] = False,
    today: Today = "",
    as_json: Json = False,
) -> None:
    """Write merged emails as files to look at: one per shape, or for one learner."""
    from mmcampaign.previews import preview as run
    from mmcampaign.selection import BOTH

    app = shell_of(ctx).open(today)
    made = run(app, program, learner=learner, cohorts=frozenset({cohort}) if cohort else BOTH, out=out)
    emails = [
        {
            "student_id": email.student_id,
            "shape": email.shape,
            "subject": email.subject,
            "html": str(files.html),
            "text": str(files.text),
            "eml": str(files.eml),
            "learners": email.learners,
        }
        for email, files in zip(made.emails, made.files.emails, strict=True)
    ]
    if as_json:
        print_json({"emails": emails})
    else:
        columns = ("shape", "learners", "subject")
        print_table(columns, [[email[column] for column in columns] for email in emails])
        typer.echo(short(made.files.index))
    if made.remark:
        say(made.remark)
    if show:
        webbrowser.open(made.files.index.resolve().as_uri())


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
        f"{result.shapes} shapes of email."
    )
    typer.echo(f"Campaign {campaign.id} is planned. Nothing was sent. Its report: {short(result.files.report)}")
    if campaign.chosen:
        say(f"Next: read the report, then: mmcampaign approve {campaign.id}")


def approve(ctx: typer.Context, campaign: Campaign, by: By = "", note: Note = "", as_json: Json = False) -> None:
    """Approve exactly what the dry run planned."""
    from mmcampaign.campaigns import approve as run

    done = run(shell_of(ctx).open(), campaign, by=by, note=note)
    _print_state(done, as_json, f"Campaign {campaign} is approved by {done.approved_by}.")
    say(f"Next: mmcampaign send {campaign}")


def reject(ctx: typer.Context, campaign: Campaign, by: By = "", note: Note = "", as_json: Json = False) -> None:
    """Send a planned campaign back; its learners are free for the next plan."""
    from mmcampaign.campaigns import reject as run

    _print_state(run(shell_of(ctx).open(), campaign, by=by, note=note), as_json, f"Campaign {campaign} is rejected.")


def cancel(ctx: typer.Context, campaign: Campaign, as_json: Json = False) -> None:
    """Cancel whatever of a campaign has not gone out."""
    from mmcampaign.campaigns import cancel as run

    done = run(shell_of(ctx).open(), campaign)
    said = f"Campaign {campaign} is cancelled; {done.ledger['accepted']:,} had gone out before."
    _print_state(done, as_json, said)


def _print_state(campaign: "CampaignRow", as_json: bool, said: str) -> None:
    if as_json:
        print_json({"campaign": campaign.id, "state": campaign.state, "approved_by": campaign.approved_by})
    else:
        typer.echo(said)


def send(
    ctx: typer.Context,
    campaign: Campaign,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask; needs --expect.")] = False,
    expect: Annotated[int | None, typer.Option("--expect", min=0, help="The number of emails you expect.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Send at most so many now.")] = None,
    backend: Annotated[
        str, typer.Option("--backend", help="file, smtp or sendgrid, instead of the configured one.")
    ] = "",
    today: Today = "",
    as_json: Json = False,
) -> None:
    """Send an approved campaign, or go on with an interrupted one. Nobody gets it twice."""
    from mmcampaign.sending import SendRequest
    from mmcampaign.sending import send as run

    app = shell_of(ctx).open(today)
    request = SendRequest(campaign=campaign, backend=backend, limit=limit)
    stop = Event()
    with ExitStack() as while_sending:
        shown: list[Callable[[int], None]] = []

        def confirm(row: "CampaignRow", number: int) -> None:
            _confirm(row, number, backend or app.settings.mail.backend, yes, expect)
            while_sending.enter_context(_interrupt_asks(stop))
            shown.append(while_sending.enter_context(progress("Sending", number)))

        done, result = run(app, request, confirm=confirm, on_progress=lambda run: shown[0](run.done), stop=stop)
    if as_json:
        print_json({"campaign": done.id, "state": done.state, **{key: done.ledger[key] for key in LEDGER}})
    else:
        typer.echo(f"Campaign {done.id} is {'unfinished' if done.unfinished else done.state}.")
        print_table(("status", "emails"), [(key, done.ledger[key]) for key in LEDGER])
    _say_what_is_left(done, result)


@contextmanager
def _interrupt_asks(stop: Event) -> Iterator[None]:
    """Ctrl-C once finishes what is in flight; twice stops now."""

    def ask(_signal: int, _frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        say("Stopping after what is in flight. Press Ctrl-C again to stop at once.")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _confirm(campaign: "CampaignRow", number: int, backend: str, yes: bool, expect: int | None) -> None:
    """Have the number of emails typed, or compare it with --expect; RefusedError otherwise."""
    again = f"mmcampaign send {campaign.id} --yes --expect {number}"
    if expect is not None and expect != number:
        raise RefusedError(
            f"{number:,} emails would be sent, but --expect says {expect:,}.",
            unchanged="Nothing was sent.",
            todo=f"mmcampaign status {campaign.id}",
        )
    if yes and expect is not None:
        return
    if yes or not sys.stdin.isatty():
        raise RefusedError(
            f"Sending {number:,} emails needs to be confirmed, and there is no terminal to ask on."
            if not yes
            else "--yes needs --expect: the number of emails you expect.",
            unchanged="Nothing was sent.",
            todo=again,
        )
    gone = campaign.ledger["accepted"]
    say(f"Campaign {campaign.id}, {campaign.name}: {number:,} emails through the {backend} backend.")
    if gone:
        say(f"{gone:,} were sent before and are not written to again.")
    try:
        typed = typer.prompt(
            "Type the number of emails to send them, anything else to stop", err=True, default="", show_default=False
        )
    except typer.Abort:  # Ctrl-C or Ctrl-D
        typed = ""
        say()
    if typed.replace(",", "").strip() != str(number):
        raise RefusedError("Not confirmed.", unchanged="Nothing was sent.", todo=f"mmcampaign send {campaign.id}")


def _say_what_is_left(campaign: "CampaignRow", run: "Run") -> None:
    """Tell how to go on, and leave with the exit code of contract 3."""
    left = campaign.ledger["pending"]
    if campaign.ledger["unknown"]:
        say(f"{campaign.ledger['unknown']:,} emails may or may not have gone out; they are never sent again unasked.")
        say(f"Next: mmcampaign history --campaign {campaign.id}, then mmcampaign resolve {campaign.id} --as accepted")
    if run.trouble:
        say(f"Stopped: {run.trouble}")
    if left:
        say(f"{left:,} emails are still to go. Go on with: mmcampaign send {campaign.id}")
    if run.interrupted:
        raise typer.Exit(130)
    if run.trouble:
        raise typer.Exit(4)
    if campaign.ledger["failed"] or campaign.ledger["unknown"]:
        raise typer.Exit(1)


def resolve(
    ctx: typer.Context,
    campaign: Campaign,
    decision: Annotated[
        Literal["accepted", "failed", "retry"],
        typer.Option("--as", help="accepted: they went out; failed: they did not; retry: send them again."),
    ],
    message: Annotated[str | None, typer.Option("--message", help="This message only (its id from history).")] = None,
    as_json: Json = False,
) -> None:
    """Settle messages whose fate is unknown, by hand."""
    from mmcampaign.campaigns import resolve as run

    settled: Any = run(shell_of(ctx).open(), campaign, decision, message)
    if as_json:
        print_json({"resolved": settled})
    else:
        typer.echo(f"{settled:,} messages of campaign {campaign} are settled as {decision}.")
