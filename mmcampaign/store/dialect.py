"""What SQLite and PostgreSQL say the same way, but SQLAlchemy only in each one's own dialect."""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ARRAY,
    JSON,
    Column,
    ColumnElement,
    Connection,
    Select,
    Subquery,
    Table,
    Text,
    any_,
    bindparam,
    cast,
    column,
    func,
    literal,
    select,
)


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
    return one_of_bound(connection.dialect.name, wanted, "keys", keys_for(connection, keys))


def one_of_bound(dialect: str, wanted: ColumnElement[Any], name: str, value: Any = None) -> ColumnElement[bool]:
    """The same with the keys given when it is executed, as ``name``: what ``keys_for`` makes of them."""
    unique = value is not None
    if dialect == "postgresql":
        return wanted == any_(bindparam(name, value, type_=ARRAY(wanted.type), unique=unique, required=not unique))
    listed = func.json_each(bindparam(name, value, type_=Text, unique=unique, required=not unique))
    return wanted.in_(select(listed.table_valued(column("value", wanted.type)).c.value))


def keys_for(connection: Connection, keys: Sequence[int] | Sequence[str]) -> Any:
    """Keys as the one parameter that a statement of this dialect takes."""
    return list(keys) if connection.dialect.name == "postgresql" else json.dumps(list(keys), ensure_ascii=False)


_BETWEEN = "\x1f"  # ASCII's own separator of units


def columns_of(
    connection: Connection, query: Select[Any], parameters: Mapping[str, Any], *, last_is_plain: bool = False
) -> list[Sequence[Any]]:
    """What a query of whole numbers and texts finds, column by column; no columns if it finds nothing.

    SQLite gives one row at a time, and Python's sqlite3 lets another thread in before each: where one is busy, that is
    a wait for each row. So there each column comes as one text, as JSON. ``last_is_plain``: the last of several is one
    of long texts, without control characters and nulls, and is not quoted: that would take longer than all the rest.
    """
    if connection.dialect.name != "sqlite":
        return list(zip(*connection.execute(query, parameters), strict=True))
    *texts, last = connection.execute(_at_once(query, last_is_plain=last_is_plain), parameters).one()
    columns = list(map(json.loads, texts))
    return [*columns, last.split(_BETWEEN) if last_is_plain else json.loads(last)] if columns[0] else []


@lru_cache(maxsize=32)
def _at_once(query: Select[Any], *, last_is_plain: bool) -> Select[Any]:
    *columns, last = query.subquery("found").c
    as_json = func.json_group_array
    return select(*map(as_json, columns), func.group_concat(last, _BETWEEN) if last_is_plain else as_json(last))


def given_values(dialect: str, name: str, key: Column[int]) -> Subquery:
    """A text (``value``) for each of many rows, given by the row's key when the statement is executed.

    As ``name``: what ``values_for`` makes of them. A flat object is read twice as fast as an array for each row.
    """
    given = bindparam(name, type_=Text, required=True)
    listed = func.json_each_text(cast(given, JSON)) if dialect == "postgresql" else func.json_each(given)
    each = listed.table_valued(column("key", Text), column("value", Text))
    return select(cast(each.c.key, key.type).label(key.name), each.c.value).subquery("given")


def values_for(values: Mapping[int, str]) -> str:
    """Texts by key as the one parameter that a statement takes."""
    return json.dumps(values, ensure_ascii=False)


def new_ids(connection: Connection, table: Table, count: int) -> range | list[int]:
    """Row ids for so many new rows of a table; nobody else gets them. Call it in the transaction that uses them."""
    if connection.dialect.name == "postgresql":
        sequence = func.pg_get_serial_sequence(table.name, "id")
        numbers = func.generate_series(1, count).table_valued("number")
        return list(connection.execute(select(func.nextval(sequence)).select_from(numbers)).scalars())
    last = connection.execute(select(func.coalesce(func.max(table.c.id), 0))).scalar_one()
    return range(last + 1, last + 1 + count)


def is_empty(connection: Connection, table: Table) -> bool:
    return connection.execute(select(literal(1)).select_from(table).limit(1)).first() is None
