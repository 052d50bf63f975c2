"""Commands over what was sent: status, history, show, audit."""

import csv
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from mmcampaign.cli.shell import Json, a_day, cell, print_json, print_json_lists, print_table, say, shell_of

LEDGER = ("accepted", "failed", "unknown", "suppressed", "cancelled", "pending")
UNFINISHED = "unfinished"
# The next step of a campaign where it is more than that command and the campaign's number.
NEXT = {
    "": "",
    "resume": "mmcampaign resume {campaign}, then: mmcampaign send {campaign}",
    "resolve": "mmcampaign history --campaign {campaign}, then: mmcampaign resolve {campaign} --as (what you found)",
}
ON_SCREEN = ("message", "campaign", "student_id", "email", "status", "sent_at")


def add_to(app: typer.Typer) -> None:
    app.command(epilog="Example: mmcampaign status 3")(status)
    app.command(epilog="Example: mmcampaign history --learner ana@mail.example")(history)
    app.command(epilog="Example: mmcampaign show 5f3a9c0d1e2b4a68 --eml --out message.eml")(show)
    app.command(epilog="Example: mmcampaign audit --verify")(audit)


def status(
    ctx: typer.Context,
    campaign: Annotated[int | None, typer.Argument(metavar="[CAMPAIGN]", help="One campaign only.")] = None,
    as_json: Json = False,
) -> None:
    """The ledger of each campaign, adding up, and what it waits for."""
    from mmcampaign.history import campaign_list

    rows = [_ledger(row) for row in campaign_list(shell_of(ctx).open(), campaign)]
    if as_json:
        print_json({"campaigns": rows})
        return
    if campaign is not None:
        print_table(("", f"campaign {campaign}"), list(rows[0].items()))
        return
    if sys.stdout.isatty():
        for row in rows:
            _print_card(row)
    else:
        columns = ("campaign", "program", "name", "state", "chosen", *LEDGER)
        print_table(columns, [[row[column] for column in columns] for row in rows])
    if not rows:
        say("No campaign yet. Next: mmcampaign dry-run PROGRAM")


def _print_card(row: dict[str, Any]) -> None:
    """One campaign on a terminal, which is too narrow for a line of all its numbers."""
    told = [f"{cell(row[key])} {key}" for key in (*LEDGER, "sending") if row[key]]
    typer.echo(f"{row['campaign']:>4}  {cell(row['name'])} ({row['program']}): {row['state']}")
    typer.echo(f"      {cell(row['chosen'])} chosen = {' + '.join(told) or 'nobody'}")
    if row["reason"]:
        typer.echo(f"      {cell(row['reason'])}")
        typer.echo(f"      Next: {row['next']}")


def _ledger(row: Any) -> dict[str, Any]:
    from mmcampaign.lifecycle import standing

    waits = standing(row.state, row.ledger, pause_reason=row.pause_reason, paused_by=row.paused_by)
    return {
        "campaign": row.id,
        "program": row.program,
        "name": row.name,
        "state": UNFINISHED if row.unfinished else str(row.state),
        "considered": row.considered,
        "chosen": row.chosen,
        "excluded": row.excluded,
        **{key: row.ledger[key] for key in LEDGER},
        "sending": row.ledger["sending"],
        "reason": waits.reason,
        "next": NEXT.get(waits.command, "mmcampaign {command} {campaign}").format(
            command=waits.command, campaign=row.id
        ),
    }


def history(
    ctx: typer.Context,
    campaign: Annotated[int | None, typer.Option("--campaign", help="One campaign only.")] = None,
    learner: Annotated[str | None, typer.Option("--learner", help="One learner: id, user name or address.")] = None,
    program: Annotated[str | None, typer.Option("--program", help="One program only.")] = None,
    since: Annotated[str, typer.Option("--since", metavar="YYYY-MM-DD", help="Sent on this day or later.")] = "",
    form: Annotated[Literal["table", "csv", "json"], typer.Option("--format", help="How to write it.")] = "table",
    as_json: Json = False,
) -> None:
    """Every email ever planned or sent, with what became of it."""
    from mmcampaign.history import COLUMNS, HistoryFilter, sends

    app = shell_of(ctx).open()
    day = a_day(since)
    start = datetime(day.year, day.month, day.day, tzinfo=app.settings.site.zone) if day else None
    rows = sends(app, HistoryFilter(campaign=campaign, learner=learner, program=program, since=start))
    if as_json or form == "json":
        print_json_lists({"messages": rows})
    elif form == "csv":
        from mmcampaign.pages.safe_csv import safe_cell

        writer = csv.writer(sys.stdout)
        writer.writerow(COLUMNS)
        writer.writerows([safe_cell(value) for value in row.values()] for row in rows)
    else:
        print_table(ON_SCREEN, [[row[column] for column in ON_SCREEN] for row in rows])


def show(
    ctx: typer.Context,
    message: Annotated[str, typer.Argument(metavar="MESSAGE", help="A message's id, as history shows it.")],
    eml: Annotated[bool, typer.Option("--eml", help="The whole message, byte for byte.")] = False,
    html: Annotated[bool, typer.Option("--html", help="Its HTML part.")] = False,
    text: Annotated[bool, typer.Option("--text", help="Its text part.")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="Write to this file instead of the screen.")] = None,
    as_json: Json = False,
) -> None:
    """One past email exactly as it was sent; its digest is checked."""
    from mmcampaign.history import show as run

    shown = run(shell_of(ctx).open(), message)
    if as_json:
        parts = {"html": shown.html, "text": shown.text}
        print_json({**shown.facts, **parts, "reproduced": shown.reproduced})
        return
    content = shown.eml if eml else (shown.html if html else shown.text).encode()
    if out is not None:
        out.write_bytes(content)
        say(f"Written to {out}")
    elif eml or html or text:
        sys.stdout.buffer.write(content)
    else:
        print_table(("", f"message {message}"), list(shown.facts.items()))
        typer.echo(shown.text)
    said = {True: "exactly as it was handed over", None: "as it would be sent; no digest was logged for it"}
    say(f"Message {message}: {said[shown.reproduced]}.")


def audit(
    ctx: typer.Context,
    verify: Annotated[bool, typer.Option("--verify", help="Check that nothing was altered or taken out.")] = False,
    as_json: Json = False,
) -> None:
    """The append-only log of every act: who did what, when."""
    from mmcampaign.store.audit import entries, first_broken

    app = shell_of(ctx).open()
    with app.store.read() as connection:
        found = list(entries(connection))
        broken = first_broken(connection) if verify or as_json else None
    if as_json:
        print_json({"entries": found, "intact": broken is None})
    elif not verify:
        facts = [(e["at"], e["actor"], e["act"], e["subject"], _facts(e["facts"])) for e in found]
        print_table(("at (UTC)", "who", "did", "to", "facts"), facts)
    elif broken is None:
        typer.echo(f"{len(found):,} entries, chain intact.")
    if broken is not None:
        say(f"Entry {broken} does not follow from the one before it: the log was altered.")
        raise typer.Exit(1)


def _facts(facts: dict[str, Any]) -> str:
    return ", ".join(f"{key} {str(value)[:12]}" for key, value in facts.items() if value not in ("", None))
