"""The command that works in the background: worker."""

import os
import signal
import threading
from datetime import datetime

import typer

from mmcampaign.cli.shell import say, shell_of


def add_to(app: typer.Typer) -> None:
    app.command(epilog="Example: mmcampaign worker    Stop it with Ctrl-C or SIGTERM.")(worker)


def worker(ctx: typer.Context) -> None:
    """Send what is put into the queue by send (PostgreSQL only), beside any number of other workers."""
    from mmcampaign.worker import work

    app, stop = shell_of(ctx).open(), threading.Event()
    asked: list[int] = []

    def ask(number: int, _frame: object) -> None:
        if asked:
            os._exit(130)  # what is in flight stays in doubt, as after any kill
        asked.append(number)
        stop.set()
        _tell("stopping after what is in flight; once more to stop at once")

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask)
    work(app, stop=stop, tell=_tell)
    _tell("stopped")
    if signal.SIGINT in asked:
        raise typer.Exit(130)


def _tell(line: str) -> None:
    say(f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S} {line}")
