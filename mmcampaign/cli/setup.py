"""Commands around the work: demo, db, doctor."""

import os
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from mmcampaign.cli.shell import Json, Today, a_day, print_json, print_table, say, shell_of

database = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The database's schema.")


def add_to(app: typer.Typer) -> None:
    app.command(epilog="Example: mmcampaign demo ~/mmcampaign-demo --learners 5000")(demo)
    app.add_typer(database, name="db")
    app.command(epilog="Example: mmcampaign doctor")(doctor)


def demo(
    directory: Annotated[Path, typer.Argument(metavar="[DIR]", help="A new folder for the demo.")] = Path("demo"),
    learners: Annotated[int, typer.Option("--learners", min=20, help="How many learners to invent.")] = 5_000,
    seed: Annotated[int, typer.Option("--seed", help="The same seed invents the same learners.")] = 1,
    today: Today = "",
    as_json: Json = False,
) -> None:
    """Invent edX exports for the four programs in a folder of their own, and run the main job on them."""
    from mmcampaign.demo import run_demo

    result = run_demo(directory, learners=learners, seed=seed, today=a_day(today), say=say)
    if as_json:
        print_json(result)


@database.command(epilog="Example: mmcampaign db upgrade")
def upgrade(ctx: typer.Context) -> None:
    """Bring an existing database to the schema of this version."""
    from mmcampaign.config import find_config, load_settings
    from mmcampaign.store.engine import connect, current_revision, is_current
    from mmcampaign.store.engine import upgrade as run

    settings = load_settings(find_config(shell_of(ctx).config, os.environ, Path.cwd()), os.environ)
    with closing(connect(settings.database.url)) as store:
        before, nothing = current_revision(store), is_current(store)
        after = run(store)
    was = "the queue of the workers is new" if before == after else f"was {before or 'empty'}"
    typer.echo(f"The schema is at {after}" + ("; nothing to do." if nothing else f" ({was})."))


@database.command(epilog="Example: mmcampaign db check")
def check(ctx: typer.Context) -> None:
    """Say whether the schema is the one this version needs."""
    from mmcampaign.config import find_config, load_settings
    from mmcampaign.store.engine import connect, require_current

    settings = load_settings(find_config(shell_of(ctx).config, os.environ, Path.cwd()), os.environ)
    with closing(connect(settings.database.url)) as store:
        require_current(store)
    typer.echo("The schema is current.")


def doctor(ctx: typer.Context, as_json: Json = False) -> None:
    """Is everything in order: configuration, database, templates, keys, ledger?"""
    from mmcampaign.doctor import examine

    shell = shell_of(ctx)
    found = examine(shell.config, os.environ, Path.cwd())
    if as_json:
        print_json({"checks": found})
    else:
        marks = {"ok": "ok", "warn": "!", "bad": "NO"}
        print_table(("", "what", "finding"), [(marks[c["state"]], c["what"], c["finding"]) for c in found])
    if any(check["state"] == "bad" for check in found):
        raise typer.Exit(1)
