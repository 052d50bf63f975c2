"""Read models of what was ingested."""

import json
from typing import Any

from sqlalchemy import Connection, select

from mmcampaign.store.tables import imports, rejected_rows


def list_imports(connection: Connection) -> list[dict[str, Any]]:
    """Every file read, oldest first, with the keys of ``imports --json``."""
    hidden = {"sha256", "audit_hidden", "course_instance"}
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
