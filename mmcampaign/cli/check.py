"""The command that checks a program's emails before anything is planned."""

import shutil
import sys
import textwrap
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmcampaign.cli.shell import Json, Program, Today, print_json, say, shell_of
from mmcampaign.findings import Finding, Severity, as_dict, count

if TYPE_CHECKING:
    from mmcampaign.checking import Checked

BLOCKED = 3  # contract 3: refused for safety
WORDS = {Severity.BLOCK: "to mend before approval", Severity.WARN: "warnings", Severity.NOTE: "notes"}


def add_to(app: typer.Typer) -> None:
    app.command(epilog="Example: mmcampaign check engy --accept http-link --reason 'only site they have'")(check)


def check(
    ctx: typer.Context,
    program: Program,
    links: Annotated[bool, typer.Option("--links", help="Also ask the servers behind the links (online).")] = False,
    accept: Annotated[
        str, typer.Option("--accept", metavar="CODE", help="Let the warnings of this code stand; needs --reason.")
    ] = "",
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why they may stand; kept in the log.")] = "",
    by: Annotated[str, typer.Option("--by", metavar="NAME", help="Who decides, if not the user logged in here.")] = "",
    today: Today = "",
    as_json: Json = False,
) -> None:
    """Check every form the emails can take, in HTML and text. Exit code 3 if something blocks approval."""
    from mmcampaign import checking

    app = shell_of(ctx).open(today)
    if accept or reason:
        checked = checking.accept(app, program, accept, reason=reason, by=by)
        say(f"Accepted: {accept}, as long as the template stays as it is.")
    else:
        checked = checking.check_program(app, program, ask_links=links)
    if as_json:
        print_json(_document(checked))
    else:
        _print(checked)
    if checked.blocked:
        raise typer.Exit(BLOCKED)


def _document(checked: "Checked") -> dict[str, Any]:
    return {
        "program": checked.program.code,
        "shapes": len(checked.emails),
        "learners": sum(email.learners for email in checked.emails),
        "counts": count(checked.findings),
        "findings": [as_dict(finding) for finding in checked.findings],
        "not_checked": list(checked.not_checked),
    }


def _print(checked: "Checked") -> None:
    """A list and no table: what a finding says is a sentence, and has the whole width."""
    for severity, words in WORDS.items():
        found = [finding for finding in checked.findings if finding.severity is severity]
        if found:
            typer.echo(f"{words.capitalize()}\n")
        for finding in found:
            _print_finding(finding)
    counts = count(checked.findings)
    learners = sum(email.learners for email in checked.emails)
    typer.echo(
        f"{counts['block']:,} to mend, {counts['warn']:,} warnings ({counts['accepted']:,} accepted), "
        f"{counts['note']:,} notes."
    )
    typer.echo(f"{len(checked.emails):,} shapes checked; {learners:,} learners would get one of them today.")
    for aside in checked.not_checked:
        say(_folded(f"Not checked: {aside}", indent=""))
    _say_what_next(checked, counts)


def _print_finding(finding: Finding) -> None:
    people = f"{finding.learners:,} learners" if finding.learners else "no learner today"
    typer.echo(f"  {finding.place or finding.part}  {finding.code}  ({people})")
    lines = [finding.message, f"What to do: {finding.mend}."]
    lines += [f"Accepted: {finding.accepted}"] if finding.accepted else []
    for line in lines:
        typer.echo(_folded(line))
    typer.echo()


def _folded(text: str, indent: str = "    ") -> str:
    """Indented; folded to the terminal, whole in a pipe."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    return textwrap.fill(
        text, width, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _say_what_next(checked: "Checked", counts: dict[str, int]) -> None:
    code = checked.program.code
    if counts["block"]:
        say(f"Next: mend the template, then: mmcampaign check {code}")
    elif counts["warn"] > counts["accepted"]:
        say("Next: mend the warnings, or let one stand: --accept CODE --reason TEXT")
        say(f"Then: mmcampaign dry-run {code}")
    else:
        say(f"Next: mmcampaign dry-run {code}")
