"""Read models of what was ingested."""

import json
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, func, select

from mmcampaign.model import FileStatus
from mmcampaign.store.tables import imports, rejected_rows


@dataclass(frozen=True, kw_only=True)
class Mendable:
    """The refused rows of the file ``source``, to be mended.

    ``name`` and ``sha256`` are those of the export they belong to; ``number`` tells its files of mended rows apart.
    """

    source: str
    name: str
    sha256: str
    number: int
    header: str
    rows: tuple[str, ...]


def list_imports(connection: Connection) -> list[dict[str, Any]]:
    """Every file read, oldest first, with the keys of ``imports --json``."""
    hidden = {"sha256", "resaved", "audit_hidden", "course_instance", "header"}
    columns = [column for column in imports.c if column.name not in hidden]
    rows = connection.execute(select(*columns).order_by(imports.c.id))
    return [{**row._mapping, "warnings": json.loads(row.warnings)} for row in rows]


def list_rejected(connection: Connection) -> list[dict[str, Any]]:
    """Every refused row with its file, line and reason, in the order of reading."""
    query = (
        select(imports.c.name.label("file"), rejected_rows.c.line, rejected_rows.c.reason, rejected_rows.c.raw)
        .join(imports, imports.c.id == rejected_rows.c.import_id)
        .order_by(rejected_rows.c.id)
    )
    return [dict(row._mapping) for row in connection.execute(query)]


def list_mendable(connection: Connection) -> list[Mendable]:
    """The refused rows of files that count; of a superseded one a newer export has the rows anew."""
    export = imports.alias("export")
    earlier = imports.alias("earlier")
    nth = select(func.count()).where(earlier.c.supplements == imports.c.supplements, earlier.c.id <= imports.c.id)
    query = (
        select(
            imports.c.id,
            imports.c.name.label("source"),
            func.coalesce(export.c.name, imports.c.name).label("name"),
            func.coalesce(export.c.sha256, imports.c.sha256).label("sha256"),
            nth.scalar_subquery().label("nth"),
            imports.c.header,
            rejected_rows.c.raw,
        )
        .join(rejected_rows, rejected_rows.c.import_id == imports.c.id)
        .outerjoin(export, export.c.id == imports.c.supplements)
        .where(imports.c.status == FileStatus.LOADED.value, imports.c.header.is_not(None))
        .order_by(imports.c.id, rejected_rows.c.line, rejected_rows.c.id)
    )
    found = []
    for _, group in groupby(connection.execute(query), key=lambda row: row.id):
        rows = list(group)
        first = rows[0]
        found.append(
            Mendable(
                source=first.source,
                name=first.name,
                sha256=first.sha256,
                number=first.nth + 1,
                header=first.header,
                rows=tuple(row.raw for row in rows),
            )
        )
    return found
