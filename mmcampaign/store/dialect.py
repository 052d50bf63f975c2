"""What SQLite and PostgreSQL say the same way, but SQLAlchemy only in each one's own dialect."""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, Connection, Table, any_, column, func, literal, select


def insert_into(connection: Connection, table: Table) -> Any:
    """An INSERT that can say ON CONFLICT, in the connection's dialect."""
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql  # noqa: PLC0415  the dialect not in use costs a tenth of a second

        return postgresql.insert(table)
    from sqlalchemy.dialects import sqlite  # noqa: PLC0415  as above

    return sqlite.insert(table)


def one_of(
    connection: Connection, wanted: ColumnElement[Any], keys: Sequence[int] | Sequence[str]
) -> ColumnElement[bool]:
    """``wanted IN (keys)`` with one bound parameter, however many keys: the statement is compiled and planned once."""
    if connection.dialect.name == "postgresql":
        return wanted == any_(literal(list(keys), ARRAY(wanted.type)))
    listed = func.json_each(json.dumps(list(keys), ensure_ascii=False)).table_valued(column("value", wanted.type))
    return wanted.in_(select(listed.c.value))
