"""Commands over edX files and what came of them: ingest, imports, report."""

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mmcampaign.cli.shell import Json, Program, print_json, print_table, progress, say, shell_of, short
from mmcampaign.errors import InputError
from mmcampaign.model import Change

if TYPE_CHECKING:
    from mmcampaign.ingest import FileResult, Stated

KINDS = "student_profile_info, grade_report or email_opt_in"
LISTED_WHOLE = 30  # of a larger folder only the files worth a look are listed


def add_to(app: typer.Typer) -> None:
    app.command(
        epilog="Examples: mmcampaign ingest ~/Downloads/edx · mmcampaign ingest january.csv --course engy1x "
        "--run 1T2019 --kind grade_report --exported 2019-02-01-0000"
    )(ingest)
    app.command(epilog="Examples: mmcampaign imports --rejected · mmcampaign imports --rejected --out to-mend")(imports)
    app.command(epilog="Example: mmcampaign report engy --format xlsx --out engy.xlsx")(report)


def ingest(
    ctx: typer.Context,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files or folders of edX downloads.")],
    program: Annotated[str | None, typer.Option("--program", help="Read the files of this program only.")] = None,
    insist: Annotated[
        bool, typer.Option("--insist", help="Take the grades of reports before April 2015, which hold no certificates.")
    ] = False,
    kind: Annotated[str, typer.Option("--kind", help=f"What a renamed file is: {KINDS}.")] = "",
    course: Annotated[str, typer.Option("--course", help="The course code of a renamed file.")] = "",
    run_name: Annotated[str, typer.Option("--run", help="The run of a renamed file, such as 1T2019.")] = "",
    exported: Annotated[
        str, typer.Option("--exported", metavar="YYYY-MM-DD-HHMM", help="When a renamed file was exported, in UTC.")
    ] = "",
    accept_loss: Annotated[
        bool,
        typer.Option("--accept-loss", help="Load exports that were held back for the many learners they lack."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Read edX student profiles, grade reports and e-mail opt-in lists into the database."""
    from mmcampaign.cli.changes import changes_of
    from mmcampaign.ingest import LossLimit
    from mmcampaign.ingest import ingest as run

    app = shell_of(ctx).open()
    if program:
        app.program(program)
    rows = 0
    done: list[FileResult] = []
    with _interruptible(done), progress("Reading rows") as update:

        def on_rows(count: int) -> None:
            nonlocal rows
            rows += count
            update(rows)

        result = run(
            app.store,
            tuple(app.settings.programs.values()),
            paths,
            only_program=program,
            insist=insist,
            stated=_stated(kind, course, run_name, exported),
            loss=LossLimit(percent=app.settings.ingest.largest_loss_percent, accepted=accept_loss, actor=app.actor),
            now=app.clock(),
            on_file=done.append,
            on_rows=on_rows,
        )
    files = [{key: value for key, value in file._asdict().items() if key != "path"} for file in result.files]
    changes = result.changes._asdict()
    by_course = changes_of(app, result)
    if as_json:
        print_json({"files": files, "changes": changes, "changes_by_course": by_course, "warnings": result.warnings})
    else:
        _print_files(files, changes, by_course)
        _print_changes(by_course)
        for warning in result.warnings:
            say(warning)
    if any(file["status"] == "refused" or file["rejected"] for file in files):
        raise typer.Exit(1)


@contextmanager
def _interruptible(done: "Sequence[FileResult]") -> Iterator[None]:
    """Ctrl-C says how far this ingest has come: the files that are ``done``, each as a whole."""
    try:
        yield
    except KeyboardInterrupt:
        are_done = {0: "No file is done yet", 1: "1 file is done"}.get(len(done), f"{len(done):,} files are done")
        say(f"Interrupted. {are_done}, and nothing is half-done. Go on with the same command.")
        raise typer.Exit(130) from None


def _stated(kind: str, course: str, run: str, exported: str) -> "Stated | None":
    """What was said of a renamed file, if anything."""
    from mmcampaign.ingest import Stated

    if not (kind or course or run or exported):
        return None
    return Stated(kind=kind, course=course, run=run, exported_at=_stamp(exported))


def _stamp(text: str) -> datetime | None:
    from mmcampaign.edx_csv import parse_stamp

    found = parse_stamp(text)
    if text and found is None:
        raise typer.BadParameter(f"{text!r} is no stamp; write it as in edX's file names, like 2019-12-04-0227")
    return found


def _print_files(files: list[dict[str, Any]], changes: dict[str, int], by_course: list[dict[str, Any]]) -> None:
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
    say(f"{len(files)} {'file' if len(files) == 1 else 'files'}: {counted}.")
    said = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in changes.items() if count)
    nothing = "only what the table shows" if any(row[change] for row in by_course for change in Change) else "nothing"
    say(f"Changed: {said or nothing}.")


def _print_changes(by_course: list[dict[str, Any]]) -> None:
    """By course run, what the newest exports changed against those before them."""
    from mmcampaign.cli.changes import print_changes

    if not by_course:
        return
    typer.echo()
    print_changes(by_course[:LISTED_WHOLE])
    if len(by_course) > LISTED_WHOLE:
        say(f"... and {len(by_course) - LISTED_WHOLE} more")
    say("Next: mmcampaign changes FILE, by the number in the first column, names the learners.")


def imports(
    ctx: typer.Context,
    rejected: Annotated[bool, typer.Option("--rejected", help="List refused rows with their reason.")] = False,
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write the refused rows to this file, as they stand.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Write the refused rows of each file there, to be mended."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what was read when, and what was refused.

    Refused rows can be mended: write them to a folder with --out, correct them in a text editor or a spreadsheet, and
    ingest that folder. Their learners are added to the export they come from; rows left as they are are refused again.
    """
    from mmcampaign.store.imports import list_imports, list_rejected

    app = shell_of(ctx).open()
    with app.store.read() as connection:
        read = list_imports(connection)
        refused = list_rejected(connection) if rejected or csv or out else []
    mending = _write_refused(app, out) if out else []
    if csv:
        from mmcampaign.pages.safe_csv import write_csv

        facts = ("file", "line", "reason", "raw")
        write_csv(csv, facts, ([row[fact] for fact in facts] for row in refused))
        say(f"{len(refused)} refused rows written to {csv}")
    if as_json:
        print_json({"imports": read, "rejected": refused, **({"files": mending} if out else {})})
    elif rejected or out:
        print_table(("file", "line", "reason"), [(r["file"], r["line"], r["reason"]) for r in refused])
    else:
        columns = ("id", "name", "status", "rows", "accepted", "rejected", "exported_at", "reason")
        print_table(columns, [[entry[column] for column in columns] for entry in read])


def _write_refused(app: Any, folder: Path) -> list[dict[str, Any]]:
    """Write the files to be mended, and say what is where."""
    from mmcampaign.mending import write_refused_rows

    files = write_refused_rows(app.store, folder)
    for file in files:
        rows = f"{file.rows:,} refused row{'' if file.rows == 1 else 's'} of {file.source}"
        say(f"{rows}: {short(file.path)}" if file.written else f"{rows}: left as it is, {short(file.path)}")
    if files:
        say(f"Next: mend them there, then: mmcampaign ingest {shlex.quote(short(folder))}")
    else:
        say("No file that counts has refused rows.")
    return [asdict(file) for file in files]


def report(
    ctx: typer.Context,
    program: Program,
    form: Annotated[
        Literal["table", "csv", "xlsx", "html", "json"],
        typer.Option("--format", help="How to write it; html is a page to read and print, with charts."),
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
    if form == "html" and out is None:
        out = Path(f"{program}-completion.html")
    report_formats.write(app, chosen, form, out)
    if out is not None:
        say(f"Written to {out}")
