"""What all commands share: opening the app, printing results and errors, progress, options."""

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmcampaign.errors import ConfigError, InputError, MmcampaignError, RefusedError

if TYPE_CHECKING:
    from mmcampaign.app import App

PLAIN_PROGRESS_SECONDS = 10.0
NUMBERS_AS_NAMES = frozenset({"id", "campaign", "student_id"})  # typed again elsewhere: no thousands separators

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead.")]
Today = Annotated[
    str,
    typer.Option("--today", metavar="YYYY-MM-DD", help="Decide as of this day instead of today.", show_default=False),
]
Program = Annotated[str, typer.Argument(metavar="PROGRAM", help="A program's code in config.toml, such as engy.")]
Campaign = Annotated[
    int, typer.Argument(metavar="CAMPAIGN", help="The campaign's number, as dry-run and status show it.")
]


class Shell:
    """The global options of one call; ``closing`` has what is closed at its end."""

    def __init__(self, config: Path | None) -> None:
        self.config = config
        self.closing = ExitStack()

    def open(self, today: str = "", actor: str = "") -> "App":
        """The app for this call; its database is closed when the command ends."""
        from mmcampaign.app import open_app

        app = open_app(self.config, os.environ, cwd=Path.cwd(), today=a_day(today), actor=actor)
        self.closing.callback(app.store.close)
        return app


def shell_of(ctx: typer.Context) -> Shell:
    shell: Shell = ctx.obj
    return shell


def a_day(text: str) -> date | None:
    """An ISO day, or None for nothing; a usage error otherwise."""
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not a day; write it like 2027-01-31") from error


def say(text: str = "") -> None:
    """Talk and progress go to stderr, so that stdout holds results only."""
    typer.echo(text, err=True)


def short(path: Path) -> str:
    """A path as it is typed from here."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def print_json(document: object) -> None:
    typer.echo(json.dumps(document, ensure_ascii=False, indent=2, default=_plain))


def print_json_lists(lists: Mapping[str, Iterable[object]]) -> None:
    """One JSON document of named lists, an entry to a line, written as the entries come."""
    encode = json.JSONEncoder(ensure_ascii=False, default=_plain).encode
    for place, (name, entries) in enumerate(lists.items()):
        typer.echo(f"{',' if place else '{'}\n  {json.dumps(name)}: [", nl=False)
        for number, entry in enumerate(entries):
            sys.stdout.write(f"{',' if number else ''}\n    {encode(entry)}")
        typer.echo("\n  ]", nl=False)
    typer.echo("\n}")


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    if isinstance(value, Mapping):
        return dict(value)
    return value.isoformat() if isinstance(value, date) else str(value)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "") -> None:
    """A table: folded to the terminal's width there, whole lines of aligned columns in a pipe."""
    cells = [
        [
            str(value) if {column, row[0]} & NUMBERS_AS_NAMES else cell(value)
            for column, value in zip(columns, row, strict=True)
        ]
        for row in rows
    ]
    if sys.stdout.isatty():
        _rich_table(columns, cells, title)
        return
    if title:
        typer.echo(f"\n{title}")
    widths = [max(len(line[i]) for line in [list(columns), *cells]) for i in range(len(columns))]
    for line in [list(columns), *cells]:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _rich_table(columns: Sequence[str], cells: list[list[str]], title: str) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title or None, title_justify="left")
    for index, column in enumerate(columns):
        numeric = bool(cells) and all(row[index].replace(",", "").replace("-", "").isdigit() for row in cells)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in cells:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def cell(value: object) -> str:
    """A value as people read it, without anything that a terminal would obey."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M")
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "".join(c if c.isprintable() else " " for c in str(value))


@contextmanager
def progress(what: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """Show how far long work is: a bar with rate and time left on a terminal, else a plain line every ten seconds.

    The yielded function takes the number done so far.
    """
    if sys.stderr.isatty():
        with _bar(what, total) as update:
            yield update
    else:
        yield _plain_progress(what, total)


@contextmanager
def _bar(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:,.0f}/s" if task.speed else "")

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(what, total=total)
        yield lambda done: shown.update(task, completed=done)


def _plain_progress(what: str, total: int | None) -> Callable[[int], None]:
    started = last = time.monotonic()

    def update(done: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < PLAIN_PROGRESS_SECONDS:
            return
        last = now
        rate = done / (now - started)
        left = f", {(total - done) / rate:,.0f} s left" if total and rate else ""
        say(f"{what}: {done:,}{f' of {total:,}' if total else ''}, {rate:,.0f}/s{left}")

    return update


def report_error(error: Exception, *, debug: bool, as_json: bool) -> int:
    """Say what happened, what stayed unchanged and what to do next; the exit code."""
    if debug:
        traceback.print_exception(error)
    if not isinstance(error, MmcampaignError):
        error = _unexpected(error)
    details = _details(error)
    if as_json:
        _print_error(error, details)
    say(f"Error: {error.what}")
    for line in details:
        say(f"  - {line}")
    if error.unchanged:
        say(error.unchanged)
    if error.todo:
        say(f"Next: {error.todo}")
    return error.exit_code


def print_usage_error(ended: SystemExit) -> None:
    """The JSON document of a usage error, which Typer has told on stderr and turned into this end; else nothing."""
    error = ended.__context__
    message = getattr(error, "format_message", None)
    if message is None:
        return
    context = getattr(error, "ctx", None)
    todo = f"{context.command_path} --help" if context else "mmcampaign --help"
    _print_error(InputError(message(), unchanged="Nothing was done.", todo=todo), [])


def _print_error(error: MmcampaignError, details: list[str]) -> None:
    document = {"what": error.what, "details": details, "unchanged": error.unchanged, "todo": error.todo}
    print_json({"error": {**document, "exit_code": error.exit_code}})


def _details(error: MmcampaignError) -> list[str]:
    if isinstance(error, ConfigError):
        return list(error.problems)
    return list(error.facts) if isinstance(error, RefusedError) else []


def _unexpected(error: Exception) -> MmcampaignError:
    if isinstance(error, OSError) and error.strerror:
        where = f": {error.filename}" if error.filename else ""
        return MmcampaignError(f"{error.strerror}{where}.", todo="Mend that, then run the same command again.")
    return MmcampaignError(
        f"mmcampaign met something it was not made for ({type(error).__name__}).",
        unchanged="Whatever was half-done was rolled back.",
        todo="Run the same command with --debug and send the output to whoever maintains mmcampaign.",
    )
