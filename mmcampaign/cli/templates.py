"""Commands over template folders: templates new, list."""

from typing import Annotated

import typer

from mmcampaign.cli.shell import Json, print_json, print_table, say, shell_of, short

group = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The folders that emails are written in.")


def add_to(app: typer.Typer) -> None:
    app.add_typer(group, name="templates")


@group.command(epilog="Example: mmcampaign templates new datascience")
def new(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Letters, digits, - and _.")],
    as_json: Json = False,
) -> None:
    """Start a template: a folder with a subject, an HTML and a text part to put your words into."""
    from mmcampaign.template_folders import new_template

    app = shell_of(ctx).open()
    folder = new_template(app.settings, name)
    if as_json:
        print_json({"name": name, "folder": str(folder)})
    else:
        typer.echo(short(folder))
    say(f"Next: write your words into its three files, and set the template of a program in {app.settings.path.name}:")
    say(f'    [programs.CODE]\n    template = "{name}"')
    say("Then look at it with real learners: mmcampaign preview CODE --open")


@group.command("list", epilog="Example: mmcampaign templates list")
def show(ctx: typer.Context, as_json: Json = False) -> None:
    """Every template, who uses it, and where it stands."""
    from mmcampaign.template_folders import list_templates

    found = list_templates(shell_of(ctx).open().settings)
    if as_json:
        rows = [
            {"name": each.name, "programs": each.programs, "folder": str(each.folder), "shipped": each.shipped}
            for each in found
        ]
        print_json({"templates": rows})
    else:
        table = [
            (
                each.name,
                ", ".join(each.programs) or "none",
                "comes with mmcampaign" if each.shipped else short(each.folder),
            )
            for each in found
        ]
        print_table(("name", "programs", "folder"), table)
