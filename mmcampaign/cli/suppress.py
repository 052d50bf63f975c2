"""Commands over addresses not to be mailed: suppress add, remove, list."""

from typing import Annotated

import typer

from mmcampaign.cli.shell import Json, print_json, print_table, shell_of
from mmcampaign.errors import InputError

Address = Annotated[str, typer.Argument(metavar="ADDRESS", help="An email address.")]
group = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Addresses that are never mailed.")


def add_to(app: typer.Typer) -> None:
    app.add_typer(group, name="suppress")


@group.command(epilog="Example: mmcampaign suppress add ana@mail.example --note 'asked by phone'")
def add(
    ctx: typer.Context,
    address: Address,
    note: Annotated[str, typer.Option("--note", help="Why, for the log.")] = "",
    as_json: Json = False,
) -> None:
    """Never mail this address again; a running campaign stops for it before its next batch."""
    from mmcampaign.addresses import address_problem
    from mmcampaign.store import audit, suppressions

    if address_problem(address):
        raise InputError(f"{address!r} is {address_problem(address)}.", unchanged="The list is as it was.")
    app = shell_of(ctx).open()
    with app.store.write() as connection:
        new = suppressions.add(connection, address, reason="manual", by=app.actor, note=note, at=app.clock())
        if new:
            audit.record(connection, at=app.clock(), actor=app.actor, act="suppressed", subject="an address")
        found = suppressions.all_of(connection)
    _print(found, as_json, "The address is on the list." if new else "The address was on the list already.")


@group.command(epilog="Example: mmcampaign suppress remove ana@mail.example")
def remove(ctx: typer.Context, address: Address, as_json: Json = False) -> None:
    """Take an address off the list."""
    from mmcampaign.store import audit, suppressions

    app = shell_of(ctx).open()
    with app.store.write() as connection:
        if not suppressions.remove(connection, address):
            raise InputError("The address is not on the list.", todo="mmcampaign suppress list")
        audit.record(connection, at=app.clock(), actor=app.actor, act="unsuppressed", subject="an address")
        found = suppressions.all_of(connection)
    _print(found, as_json, "The address is off the list.")


@group.command("list", epilog="Example: mmcampaign suppress list --json")
def show(ctx: typer.Context, as_json: Json = False) -> None:
    """Every address on the list, with who put it there and why."""
    from mmcampaign.store import suppressions

    app = shell_of(ctx).open()
    with app.store.read() as connection:
        found = suppressions.all_of(connection)
    if as_json:
        print_json({"suppressions": found})
    else:
        columns = ("email", "reason", "since", "added_by", "note")
        print_table(columns, [[row[column] for column in columns] for row in found])


def _print(found: list[dict[str, object]], as_json: bool, said: str) -> None:
    if as_json:
        print_json({"suppressions": found})
    else:
        typer.echo(said)
