"""Commands to look at emails before anybody gets them: preview, test-send."""

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmcampaign.cli.shell import Campaign, Json, Program, Today, print_json, print_table, say, shell_of, short
from mmcampaign.model import Cohort

if TYPE_CHECKING:
    from mmcampaign.pages.preview import EmailFiles


def add_to(app: typer.Typer) -> None:
    app.command(epilog="Example: mmcampaign preview engy --open")(preview)
    app.command(
        "test-send", epilog="Example: mmcampaign test-send 3 kim@uni.example    With one learner's: --learner 1234"
    )(test_send)


def preview(
    ctx: typer.Context,
    program: Program,
    learner: Annotated[str, typer.Option("--learner", help="One learner, by edX user id, user name or address.")] = "",
    cohort: Annotated[Cohort | None, typer.Option("--cohort", help="One cohort only.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The folder to write to.")] = None,
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
            "student_id": shape.emails[0].student_id,
            "shape": shape.number,
            "subject": shape.emails[0].subject,
            **_paths(files[0]),
            "learners": shape.learners,
            "others": [
                {"student_id": email.student_id, "why": list(email.why), **_paths(paths)}
                for email, paths in zip(shape.emails[1:], files[1:], strict=True)
            ],
        }
        for shape, files in zip(made.page.shapes, made.files.shapes, strict=True)
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


def _paths(files: "EmailFiles") -> dict[str, str]:
    return {"html": str(files.html), "text": str(files.text), "eml": str(files.eml)}


def test_send(
    ctx: typer.Context,
    campaign: Campaign,
    addresses: Annotated[
        list[str], typer.Argument(metavar="ADDRESS...", help="Addresses of staff, at most 20.", show_default=False)
    ],
    learner: Annotated[
        str, typer.Option("--learner", help="The email of one learner, by edX user id, user name or address.")
    ] = "",
    backend: Annotated[
        str, typer.Option("--backend", help="file, smtp or sendgrid, instead of the configured one.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Send samples to staff, marked TEST: one of each shape, or one learner's email. No learner is written to."""
    from dataclasses import asdict

    from mmcampaign.model import MessageStatus
    from mmcampaign.samples import SampleRequest, send_samples

    app = shell_of(ctx).open()
    request = SampleRequest(campaign=campaign, addresses=tuple(addresses), learner=learner, backend=backend)
    found, remark = send_samples(app, request)
    if as_json:
        print_json({"sent": [{key: value for key, value in asdict(each).items() if key != "halted"} for each in found]})
    else:
        columns = ("shape", "learners", "address", "status", "subject")
        print_table(columns, [[getattr(sample, column) for column in columns] for sample in found])
    if remark:
        say(remark)
    wrong = [sample for sample in found if sample.status is not MessageStatus.ACCEPTED]
    for error in dict.fromkeys(sample.error for sample in wrong):
        say(f"Not taken: {error}")
    if wrong:
        raise typer.Exit(1)
