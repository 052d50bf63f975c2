"""The command line: parses, calls a use case, prints. One file per noun, loaded when one of its commands is called.

Heavy imports happen inside commands.
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer

from mmcampaign import __version__
from mmcampaign.cli.shell import Shell, print_usage_error, report_error

# The files of this folder in the order of ``--help``, with the commands of each.
NOUNS = {
    "setup": ("demo", "db", "doctor"),
    "data": ("ingest", "imports", "report"),
    "changes": ("changes",),
    "cohort": ("cohort", "explain"),
    "templates": ("templates",),
    "check": ("check",),
    "preview": ("preview", "test-send"),
    "campaign": ("dry-run", "approve", "reject"),
    "sending": ("send", "pause", "resume", "cancel", "resolve"),
    "worker": ("worker",),
    "history": ("status", "history", "show", "audit"),
    "suppress": ("suppress",),
}


def command_line(words: Sequence[str] = ()) -> typer.Typer:
    """The commands; of a call with these words only the files that may be meant, all of them where help may be.

    So they are for a word that is no command: the one that was meant is looked for among all.
    """
    pairs = pairwise(["", *words])
    called = next((word for before, word in pairs if not word.startswith("-") and before != "--config"), "")
    is_known = any(called in commands for commands in NOUNS.values())
    wanted = [noun for noun, commands in NOUNS.items() if is_known and set(commands) & set(words)]
    made = typer.Typer(
        name="mmcampaign",
        help="Email campaigns for edX MicroMasters programs: from downloaded reports to an approved, sent, logged "
        "mailout.",
        epilog="The usual way: ingest, report, cohort, preview, dry-run, approve, send, history. "
        "Try it: mmcampaign demo",
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    made.callback()(_root)
    for noun in NOUNS if not wanted or {"-h", "--help"} & set(words) else wanted:
        import_module(f"{__name__}.{noun}").add_to(made)
    return made


def __getattr__(name: str) -> Any:
    if name == "app":  # all commands
        return command_line()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mmcampaign {__version__}")
        raise typer.Exit


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
    ctx.obj = Shell(config)
    ctx.call_on_close(ctx.obj.closing.close)


def main() -> None:
    """Run the command line; the one place where an error becomes an exit code."""
    as_json = "--json" in sys.argv
    try:
        command_line(sys.argv[1:])()
    except SystemExit as ended:
        # Typer's own end after a Ctrl-C that no command had a word for: it was only loading.
        if ended.__context__ is not None and isinstance(ended.__context__.__cause__, KeyboardInterrupt):
            sys.stderr.write("Interrupted.\n")
        elif as_json:
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
