"""Commands that bring an approved campaign out and settle it: send, pause, resume, cancel, resolve."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from threading import Event
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mmcampaign.cli.shell import Campaign, Json, Today, print_json, print_table, progress, say, shell_of
from mmcampaign.errors import RefusedError

if TYPE_CHECKING:
    from mmcampaign.app import App
    from mmcampaign.sending import Run, SendRequest
    from mmcampaign.store.campaigns import Campaign as CampaignRow

LEDGER = ("accepted", "failed", "unknown", "suppressed", "pending", "cancelled")


def add_to(app: typer.Typer) -> None:
    app.command(epilog="Example: mmcampaign send 3    In a script: mmcampaign send 3 --yes --expect 412")(send)
    app.command(epilog="Example: mmcampaign pause 3 --note 'wrong link in the first mails'")(pause)
    app.command(epilog="Example: mmcampaign resume 3")(resume)
    app.command(epilog="Example: mmcampaign cancel 3")(cancel)
    app.command(epilog="Example: mmcampaign resolve 3 --as failed")(resolve)


# --- send -----------------------------------------------------------------------------------------------------------


def send(
    ctx: typer.Context,
    campaign: Campaign,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask; needs --expect.")] = False,
    expect: Annotated[int | None, typer.Option("--expect", min=0, help="The number of emails you expect.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Send at most so many now.")] = None,
    first: Annotated[
        int | None, typer.Option("--first", min=1, help="Send so many, then pause and wait for a yes.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the send window.")] = False,
    backend: Annotated[
        str, typer.Option("--backend", help="file, smtp or sendgrid, instead of the configured one.")
    ] = "",
    local: Annotated[
        bool, typer.Option("--local", help="Send from here, not by the workers (PostgreSQL; else always so).")
    ] = False,
    today: Today = "",
    as_json: Json = False,
) -> None:
    """Send an approved campaign, or go on with an interrupted one. Nobody gets it twice."""
    from mmcampaign.sending import SendRequest

    if first is not None and limit is not None:
        raise typer.BadParameter("give --first or --limit, not both")
    app = shell_of(ctx).open(today)
    ask = _Ask(backend=backend or app.settings.mail.backend, yes=yes, expect=expect)
    here = local or app.store.dialect != "postgresql"
    request = SendRequest(
        campaign=campaign, backend=backend, limit=limit, first=first, resume=ask.on_terminal, wait=wait
    )
    done, result = _run(app, request, ask, here=here)
    if first is not None and ask.on_terminal and result.ended_first_wave and ask.for_the_rest(done):
        done, result = _run(app, replace(request, first=None), ask, here=here)
    if as_json:
        counts = {key: done.ledger[key] for key in LEDGER}
        print_json({"campaign": done.id, "state": done.state, **counts, "stopped": result.trouble or result.told})
    else:
        typer.echo(f"Campaign {done.id} is {'unfinished' if done.unfinished else done.state}.")
        print_table(("status", "emails"), [(key, done.ledger[key]) for key in LEDGER])
    if result.interrupted and not here:
        say(f"The workers go on. See: mmcampaign status {campaign}. Stop them: mmcampaign pause {campaign}")
        raise typer.Exit(130)
    _say_what_is_left(done, result)


def _run(app: "App", request: "SendRequest", ask: "_Ask", *, here: bool) -> "tuple[CampaignRow, Run]":
    """One run of the sender, or of the workers, with its question before and its progress on the screen."""
    if here:
        from mmcampaign.sending import send as run
    else:
        from mmcampaign.following import send_by_workers as run

    stop = Event()
    talk = "Stopping after what is in flight. Press Ctrl-C again to stop at once." if here else ""
    with ExitStack() as while_sending:
        shown: list[Callable[[int], None]] = []

        def confirm(row: "CampaignRow", number: int) -> None:
            ask.confirm(row, number)
            begin(number)

        def begin(number: int) -> None:
            while_sending.enter_context(_interrupt_asks(stop, talk))
            shown.append(while_sending.enter_context(progress("Sending", number)))

        def show(run: "Run") -> None:
            if not shown:  # the workers are at it already, so nothing was asked
                begin(run.total)
            shown[0](run.done)

        return run(app, request, confirm=confirm, on_progress=show, stop=stop)


@contextmanager
def _interrupt_asks(stop: Event, talk: str) -> Iterator[None]:
    """Ctrl-C once finishes what is in flight; twice stops now."""

    def ask(_signal: int, _frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        if talk:
            say(talk)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(kw_only=True)
class _Ask:
    """Has the number of emails typed, or compares it with --expect. ``agreed`` is a number typed beforehand."""

    backend: str
    yes: bool
    expect: int | None
    agreed: int | None = None

    @property
    def on_terminal(self) -> bool:
        return not self.yes and sys.stdin.isatty()

    def confirm(self, campaign: "CampaignRow", number: int) -> None:
        """RefusedError unless this number of emails is wanted."""
        expected = self.expect if self.agreed is None else self.agreed
        if expected is not None and expected != number:
            raise RefusedError(
                f"{number:,} emails would be sent, but {'--expect says' if self.agreed is None else 'you typed'} "
                f"{expected:,}.",
                unchanged="Nothing was sent.",
                todo=f"mmcampaign status {campaign.id}",
            )
        if expected is not None and (self.yes or self.agreed is not None):
            return
        if not self.on_terminal:
            raise RefusedError(
                f"Sending {number:,} emails needs to be confirmed, and there is no terminal to ask on."
                if not self.yes
                else "--yes needs --expect: the number of emails you expect.",
                unchanged="Nothing was sent.",
                todo=f"mmcampaign send {campaign.id} --yes --expect {number}",
            )
        self._introduce(campaign, number)
        if _typed("to send them, anything else to stop") != str(number):
            raise RefusedError("Not confirmed.", unchanged="Nothing was sent.", todo=f"mmcampaign send {campaign.id}")

    def _introduce(self, campaign: "CampaignRow", number: int) -> None:
        say(f"Campaign {campaign.id}, {campaign.name}: {number:,} emails through the {self.backend} backend.")
        if campaign.pause_reason:
            say(f"It is paused{f' by {campaign.paused_by}' if campaign.paused_by else ''}: {campaign.pause_reason}.")
        if gone := campaign.ledger["accepted"]:
            say(f"{gone:,} were sent before and are not written to again.")

    def for_the_rest(self, campaign: "CampaignRow") -> bool:
        """After the first wave: whether the rest shall go. Nothing is held while the question stands."""
        ledger = campaign.ledger
        counts = ", ".join(f"{ledger[key]:,} {key}" for key in ("accepted", "failed", "unknown") if ledger[key])
        say(f"The first wave has gone out: {counts}. Look at what arrived; {ledger['pending']:,} emails are left.")
        if _typed("to send the rest, anything else to leave it paused") == str(ledger["pending"]):
            self.agreed = ledger["pending"]
        return self.agreed is not None


def _typed(what: str) -> str:
    """The number that the person at the terminal types; empty for Ctrl-C or Ctrl-D."""
    try:
        typed = typer.prompt(f"Type the number of emails {what}", err=True, default="", show_default=False)
    except typer.Abort:
        typed = ""
        say()
    return str(typed).replace(",", "").strip()


def _say_what_is_left(campaign: "CampaignRow", run: "Run") -> None:
    """Tell how to go on, and leave with the exit code of contract 3."""
    left, unknown = campaign.ledger["pending"], campaign.ledger["unknown"]
    if unknown:
        say(f"{unknown:,} emails may or may not have gone out; they are never sent again unasked.")
        say(f"Next: mmcampaign history --campaign {campaign.id}, then mmcampaign resolve {campaign.id} --as accepted")
    if stopped := run.trouble or run.told:
        say(f"Stopped: {stopped}")
    elif run.ended_first_wave:
        say(f"The campaign is paused: {campaign.pause_reason}.")
    if left:
        resume = f"mmcampaign resume {campaign.id}, then: " if campaign.paused_by else ""
        to_go = "1 email is" if left == 1 else f"{left:,} emails are"
        say(f"{to_go} still to go. Go on with: {resume}mmcampaign send {campaign.id}")
    if run.interrupted:
        raise typer.Exit(130)
    if stopped:
        raise typer.Exit(4)
    if campaign.ledger["failed"] or unknown:
        raise typer.Exit(1)


# --- pause, resume, cancel, resolve ---------------------------------------------------------------------------------


def pause(
    ctx: typer.Context,
    campaign: Campaign,
    note: Annotated[str, typer.Option("--note", help="Why; shown to whoever wants to go on.")] = "",
    as_json: Json = False,
) -> None:
    """Hold a campaign that is being sent, wherever it runs. What is in flight is finished."""
    from mmcampaign.campaigns import pause as run

    done = run(shell_of(ctx).open(), campaign, note=note)
    _print_state(done, as_json, f"Campaign {campaign} is paused by {done.paused_by}: {done.pause_reason}.")
    if done.ledger["sending"]:
        say(f"{done.ledger['sending']:,} were in flight at that moment; mmcampaign status {campaign} tells their fate.")
    say(f"Next: mmcampaign resume {campaign}, or mmcampaign cancel {campaign}")


def resume(ctx: typer.Context, campaign: Campaign, as_json: Json = False) -> None:
    """Let a paused campaign be sent again; send then goes on with it."""
    from mmcampaign.campaigns import resume as run

    done = run(shell_of(ctx).open(), campaign)
    _print_state(done, as_json, f"Campaign {campaign} may be sent again.")
    say(f"Next: mmcampaign send {campaign}")


def cancel(ctx: typer.Context, campaign: Campaign, as_json: Json = False) -> None:
    """Cancel whatever of a campaign has not gone out."""
    from mmcampaign.campaigns import cancel as run

    done = run(shell_of(ctx).open(), campaign)
    ledger = done.ledger
    in_flight = f", {ledger['sending']:,} are in flight" if ledger["sending"] else ""
    said = f"Campaign {campaign} is cancelled; {ledger['accepted']:,} had gone out before{in_flight}."
    _print_state(done, as_json, said)


def _print_state(campaign: "CampaignRow", as_json: bool, said: str) -> None:
    if as_json:
        print_json({"campaign": campaign.id, "state": campaign.state, "reason": campaign.pause_reason})
    else:
        typer.echo(said)


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
