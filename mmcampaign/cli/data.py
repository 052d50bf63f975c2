"""Commands over edX files and what came of them: ingest, imports, report."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from mmcampaign.cli.shell import Json, Program, print_json, print_table, progress, say, shell_of
from mmcampaign.errors import InputError

LISTED_WHOLE = 30  # of a larger folder only the files worth a look are listed


def add_to(app: typer.Typer) -> None:
    app.command(epilog="Example: mmcampaign ingest ~/Downloads/edx")(ingest)
    app.command(epilog="Example: mmcampaign imports --rejected")(imports)
    app.command(epilog="Example: mmcampaign report engy --format xlsx --out engy.xlsx")(report)


def ingest(
    ctx: typer.Context,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files or folders of edX downloads.")],
    program: Annotated[str | None, typer.Option("--program", help="Read the files of this program only.")] = None,
    as_json: Json = False,
) -> None:
    """Read edX student profiles and grade reports into the database."""
    from mmcampaign.ingest import ingest as run

    app = shell_of(ctx).open()
    if program:
        app.program(program)
    rows = 0
    with progress("Reading rows") as update:

        def on_rows(count: int) -> None:
            nonlocal rows
            rows += count
            update(rows)

        result = run(
            app.store,
            tuple(app.settings.programs.values()),
            paths,
            only_program=program,
            now=app.clock(),
            on_rows=on_rows,
        )
    files = [{key: value for key, value in asdict(file).items() if key != "path"} for file in result.files]
    changes = asdict(result.changes)
    if as_json:
        print_json({"files": files, "changes": changes})
    else:
        _print_files(files, changes)
    if any(file["status"] == "refused" or file["rejected"] for file in files):
        raise typer.Exit(1)


def _print_files(files: list[dict[str, Any]], changes: dict[str, int]) -> None:
    columns = ("file", "status", "rows", "rejected")
    worth_a_look = [f for f in files if f["status"] in ("refused", "superseded") or f["rejected"] or f["warnings"]]
    listed = files if len(files) <= LISTED_WHOLE else worth_a_look
    print_table(columns, [(f["name"], f["status"], f["rows"], f["rejected"]) for f in listed])
    if len(listed) < len(files):
        say(f"... and {len(files) - len(listed)} more with nothing to remark (mmcampaign imports lists all)")
    for file in files:
        for warning in file["warnings"]:
            say(f"{file['name']}: {warning}")
        if file["reason"] and file["status"] in ("refused", "loaded"):
            say(f"{file['name']}: {file['reason']}")
    statuses = [file["status"] for file in files]
    counted = ", ".join(f"{statuses.count(status)} {status}" for status in dict.fromkeys(statuses))
    say(f"{len(files)} files: {counted}.")
    said = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in changes.items() if count)
    say(f"Changed: {said or 'nothing'}.")


def imports(
    ctx: typer.Context,
    rejected: Annotated[bool, typer.Option("--rejected", help="List refused rows with their reason.")] = False,
    as_json: Json = False,
) -> None:
    """Show what was read when, and what was refused."""
    from mmcampaign.store.imports import list_imports, list_rejected

    app = shell_of(ctx).open()
    with app.store.read() as connection:
        read = list_imports(connection)
        refused = list_rejected(connection) if rejected else []
    if as_json:
        print_json({"imports": read, "rejected": refused})
    elif rejected:
        print_table(("file", "line", "reason"), [(r["file"], r["line"], r["reason"]) for r in refused])
    else:
        columns = ("id", "name", "status", "rows", "accepted", "rejected", "exported_at", "reason")
        print_table(columns, [[entry[column] for column in columns] for entry in read])


def report(
    ctx: typer.Context,
    program: Program,
    form: Annotated[
        Literal["table", "csv", "xlsx", "json"], typer.Option("--format", help="How to write it.")
    ] = "table",
    out: Annotated[Path | None, typer.Option("--out", help="Write to this file instead of the screen.")] = None,
) -> None:
    """The MicroMasters completion report: every learner, every course, best status over all runs."""
    from mmcampaign.cli import report_formats

    app = shell_of(ctx).open()
    chosen = app.program(program)
    if form == "xlsx" and out is None:
        raise InputError(
            "An XLSX report needs a file.", todo=f"mmcampaign report {program} --format xlsx --out {program}.xlsx"
        )
    report_formats.write(app, chosen, form, out)
    if out is not None:
        say(f"Written to {out}")
