"""Between SQLAlchemy's tables and what ``bulk.py`` takes: statements as SQL text, values as Arrow rows."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

import pyarrow as pa
from sqlalchemy import Column, Executable, Insert, Table, literal_column
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import ExecutableDDLElement

from mmcampaign.arrow_values import array
from mmcampaign.store.column_types import UnixTime, UtcDateTime

_DIALECT = sqlite.dialect()


def as_sql(statement: Executable | ExecutableDDLElement) -> str:
    """The statement for SQLite, its values within it."""
    return str(statement.compile(dialect=_DIALECT, compile_kwargs={"literal_binds": True}))  # type: ignore[union-attr]


def places(names: Sequence[str]) -> dict[str, Any]:
    """Expressions for the columns of the rows that a statement is run for."""
    return {name: literal_column(f"?{number}") for number, name in enumerate(names, start=1)}


def into(table: Table, values: Mapping[str, Any], *, replace: bool = False) -> str:
    """INSERT of expressions by column; ``replace``: in place of the row with the same key."""
    insert: Insert = table.insert().inline().values(dict(values))
    return as_sql(insert.prefix_with("OR REPLACE") if replace else insert)


@cache
def insert_rows(table: Table, columns: tuple[str, ...], *, replace: bool = False) -> str:
    """INSERT of rows that have these columns, in this order."""
    return into(table, places(columns), replace=replace)


def as_rows(table: Table, values: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Values by column of ``table``, as SQLite keeps them; all rows name the same columns."""
    return pa.table({name: _stored(table.c[name], [row[name] for row in values]) for name in values[0]})


def _stored(column: Column[Any], values: list[Any]) -> pa.Array:
    process = column.type.dialect_impl(_DIALECT).bind_processor(_DIALECT)
    stored = [value if process is None or value is None else process(value) for value in values]
    return array(stored, pa.int64() if any(isinstance(value, int) for value in stored) else pa.string())


def stored_stamps(stamps: Sequence[datetime], kind: UtcDateTime | UnixTime) -> pa.Array:
    """Times as SQLite keeps them in a column of this kind."""
    return _stored(Column("stamp", kind), list(stamps))
