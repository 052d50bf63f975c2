"""Commands over what imports have changed: changes, and the table at the end of an ingest."""

import csv
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mmcampaign.cli.shell import Json, print_json, print_json_lists, print_table, say, shell_of
from mmcampaign.model import Change

if TYPE_CHECKING:
    from mmcampaign.app import App
    from mmcampaign.ingest import IngestResult
    from mmcampaign.store.changes import ExportChanges

SHOWN_ON_SCREEN = 30
WHICH = ("file_number", "course", "run", "kind", "exported_at", "since")
OF_LEARNER = (
    *("student_id", "username", "changes", "grade_before", "grade_after", "track_before", "track_after"),
    *("status_before", "status_after"),
)


def add_to(app: typer.Typer) -> None:
    app.command(epilog="Examples: mmcampaign changes · mmcampaign changes 12 --change passed --format csv")(changes)


def changes(
    ctx: typer.Context,
    file: Annotated[
        str, typer.Argument(metavar="[FILE]", help="One export, by its number in imports or its name: every learner.")
    ] = "",
    course: Annotated[str, typer.Option("--course", help="The exports of this course only.")] = "",
    change: Annotated[
        list[Change] | None, typer.Option("--change", help="What has changed so only; may be given several times.")
    ] = None,
    form: Annotated[Literal["table", "csv", "json"], typer.Option("--format", help="How to write it.")] = "table",
    as_json: Json = False,
) -> None:
    """Show what each export changed against the one before it, or whom one of them changed.

    lowered needs a look: a grade that fell, a pass or a certificate that was lost.
    """
    app, form = shell_of(ctx).open(), "json" if as_json else form
    if file:
        _of_learners(app, file, change or (), form)
        return
    rows = [one._asdict() for one in _exports(app) if course in ("", one.course)]
    rows = [row for row in rows if not change or any(row[name] for name in change)]
    if form == "json":
        print_json({"exports": rows})
    elif form == "csv":
        _write_csv([row.values() for row in rows], list(rows[0]) if rows else WHICH)
    else:
        print_changes(rows)
        if rows:
            say("Next: mmcampaign changes FILE, by the number in the first column, names the learners.")
        else:
            say("No export has changed anything of that kind." if change or course else "No export was read yet.")


def _exports(app: "App", wanted: Sequence[tuple[str, str, str]] | None = None) -> "list[ExportChanges]":
    from mmcampaign.store.changes import list_changes

    with app.store.read() as connection:
        return list_changes(connection, wanted)


def changes_of(app: "App", result: "IngestResult") -> list[dict[str, Any]]:
    """What the files of an ingest that count now have changed, each against the export before it."""
    known = {(one.course, one.run, one.kind): one for one in result.first_exports}
    loaded = {
        (f.course or "", f.run or "", f.kind): f.exported_at for f in result.files if f.status == "loaded" and f.course
    }
    wanted = [key for key in loaded if key not in known]
    found = [*known.values(), *(_exports(app, wanted) if wanted else ())]
    found = [one for one in found if one.exported_at == loaded[one.course, one.run, one.kind]]
    return [one._asdict() for one in sorted(found, key=lambda one: one.file_number)]


def print_changes(rows: Sequence[dict[str, Any]]) -> None:
    """A line for each export: which, since when, and how many learners changed in each way."""
    columns = ("file", "course", "run", "of", "exported", "since", *(change.replace("_", " ") for change in Change))
    print_table(columns, [_line(row) for row in rows])


def _line(row: dict[str, Any]) -> list[object]:
    kind = "grades" if row["kind"] == "grade_report" else "profile"
    since = f"{row['since']:%Y-%m-%d}" if row["since"] else "first"
    which = [str(row["file_number"]), row["course"], row["run"], kind, f"{row['exported_at']:%Y-%m-%d}", since]
    return [*which, *(row[change] for change in Change)]


def _of_learners(app: "App", key: str, wanted: Sequence[str], form: str) -> None:
    from mmcampaign.store.changes import find_export, learners_changed

    with app.store.read() as connection:
        export = find_export(connection, key)
        found = (one._asdict() for one in learners_changed(connection, export))
        rows = (row for row in found if not wanted or set(wanted) & set(row["changes"]))
        if form == "json":
            print_json_lists({"learners": rows})
        elif form == "csv":
            _write_csv(([_joined(row[name]) for name in OF_LEARNER] for row in rows), OF_LEARNER)
        else:
            _print_learners(export, rows)


def _print_learners(export: Any, rows: Iterator[dict[str, Any]]) -> None:
    shown, number = [], 0
    for row in rows:
        number += 1
        if number <= SHOWN_ON_SCREEN:
            shown.append(row)
    columns = ("student_id", "username", "changes", "grade", "track")
    print_table(columns, [(r["student_id"], r["username"], _joined(r["changes"]), *_steps(r)) for r in shown])
    if number > len(shown):
        say(f"... and {number - len(shown):,} more (--format csv lists all)")
    say(f"{number:,} learners changed by {export.name}.")


def _steps(row: dict[str, Any]) -> list[str]:
    return [_step(row[f"{name}_before"], row[f"{name}_after"]) for name in ("grade", "track")]


def _step(before: object, after: object) -> str:
    """``0.2 → 0.8``, or what there is where nothing differs."""
    before, after = ("-" if value is None else str(value) for value in (before, after))
    return after if before == after else f"{before} → {after}"


def _joined(value: object) -> object:
    return ", ".join(value) if isinstance(value, tuple | list) else value


def _write_csv(rows: Iterable[Iterable[object]], columns: Iterable[str]) -> None:
    from mmcampaign.pages.safe_csv import safe_cell

    writer = csv.writer(sys.stdout)
    writer.writerow(columns)
    writer.writerows([safe_cell(cell) for cell in row] for row in rows)
