"""Prints the completion report: a summary on the screen, whole rows in files."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

import typer

from mmcampaign.app import App
from mmcampaign.cli.shell import print_table, say
from mmcampaign.errors import InputError
from mmcampaign.model import Program
from mmcampaign.reports import (
    ProgramSummary,
    completion_rows,
    report_columns,
    summary,
    write_csv,
    write_html,
    write_json,
    write_xlsx,
)

FIRST_ROWS = 10


def write(app: App, program: Program, form: str, out: Path | None) -> None:
    """Write the report in one of the formats of contract 3 to ``out``, or to stdout."""
    if form == "xlsx":
        assert out is not None
        numbers = summary(app.store, program)
        write_xlsx(out, report_columns(program), completion_rows(app.store, program), numbers)
    elif form == "html":
        zone, numbers = app.settings.site.timezone, summary(app.store, program)
        with _destination(out) as stream:
            write_html(stream, numbers, today=app.today, timezone=zone, made_at=app.clock())
    elif form == "table":
        _print_summary(app, program, summary(app.store, program))
    else:
        writer = write_csv if form == "csv" else write_json
        with _destination(out) as stream:
            writer(stream, report_columns(program), completion_rows(app.store, program))


@contextmanager
def _destination(out: Path | None) -> Iterator[TextIO]:
    """A file that appears whole or not at all, or stdout. Raises InputError when it cannot be written."""
    if out is None:
        yield sys.stdout
        return
    part = out.with_name(f".{out.name}.part")
    try:
        with part.open("w", encoding="utf-8", newline="") as stream:
            yield stream
        part.replace(out)
    except OSError as error:
        todo = "Close it where it is open, or name another with --out."
        raise InputError(f"{out} cannot be written: {error.strerror or error}.", todo=todo) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _print_summary(app: App, program: Program, numbers: ProgramSummary) -> None:
    columns = ("course", "enrolled", "free", "paid", "passed", "certified", "eligible")
    rows = [(c.course.code, c.enrolled, c.free, c.paid, c.passed, c.certified, c.eligible) for c in numbers.courses]
    print_table(columns, rows, title=f"{program.title}: {numbers.learners:,} learners")
    earned = [(str(count), learners) for count, learners in sorted(numbers.by_certificates.items(), reverse=True)]
    print_table(("certificates", "learners"), earned)
    first = list(completion_rows(app.store, program, limit=FIRST_ROWS))
    names = ("student_id", "name", "no_certificate_eligible", "no_audited_passed")
    places = [report_columns(program).index(name) for name in names]
    shown = [(str(row[places[0]]), *(row[place] for place in places[1:])) for row in first]
    print_table(("student_id", "name", "certificates", "audited"), shown, title="Furthest learners")
    if numbers.newest_export_at:
        typer.echo(f"Newest export: {numbers.newest_export_at:%Y-%m-%d %H:%M} UTC")
    else:
        say("No report of this program was loaded yet. Next: mmcampaign ingest FOLDER")
    say(f"A page with charts, to read and print: mmcampaign report {program.code} --format html")
    say(f"All rows and columns: mmcampaign report {program.code} --format xlsx --out {program.code}.xlsx")
