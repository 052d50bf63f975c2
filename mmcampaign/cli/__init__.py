"""The command line: parses, calls a use case, prints. One file per noun; heavy imports happen inside commands."""

import gc
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from mmcampaign import __version__
from mmcampaign.cli import (
    campaign,
    changes,
    check,
    cohort,
    data,
    history,
    preview,
    sending,
    setup,
    suppress,
    templates,
    worker,
)
from mmcampaign.cli.shell import Shell, print_usage_error, report_error

app = typer.Typer(
    name="mmcampaign",
    help="Email campaigns for edX MicroMasters programs: from downloaded reports to an approved, sent, logged mailout.",
    epilog="The usual way: ingest, report, cohort, preview, dry-run, approve, send, history. Try it: mmcampaign demo",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mmcampaign {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    ctx: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", help="The config.toml to use (else $MMCAMPAIGN_CONFIG, else the nearest one upwards)."
        ),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    ctx.obj = Shell(config=config, debug=debug)


for noun in (setup, data, changes, cohort, templates, check, preview, campaign, sending, worker, history, suppress):
    noun.add_to(app)


def main() -> None:
    """Run the command line; the one place where an error becomes an exit code."""
    gc.set_threshold(50_000, 20, 20)  # measured: Python's own setting spends a fifth of the start-up looking for cycles
    as_json = "--json" in sys.argv
    try:
        app()
    except SystemExit as ended:
        if as_json:
            print_usage_error(ended)
        raise
    except Exception as error:
        sys.exit(report_error(error, debug="--debug" in sys.argv, as_json=as_json))
    finally:
        _flush()


def _flush() -> None:
    """A reader that left early (``| head``) is no trouble worth telling of."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
