"""A database for looking only: nothing is created, upgraded or written, whatever is asked of it."""

import sqlite3
from typing import Any

from sqlalchemy import event

from mmcampaign.errors import InputError
from mmcampaign.store.engine import Store, connect, require_current


def open_read_only(url: str) -> Store:
    """Open a database that exists with the schema of this version; the database itself refuses every change.

    Raises InputError when there is no such SQLite file, UnavailableError with the command that helps when the schema
    is another one.
    """
    store = connect(url)
    if store.path is not None and (not store.path.exists() or store.path.stat().st_size == 0):
        raise InputError(f"There is no database {store.path} yet.", todo="mmcampaign ingest FOLDER")
    event.listen(store.engine, "connect", _forbid_writes)
    try:
        require_current(store)
    except BaseException:
        store.close()
        raise
    return store


def _forbid_writes(connection: Any, _record: Any) -> None:
    """For the life of the connection: SQLite's ``query_only``, read-only transactions on PostgreSQL."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA query_only = ON")
    else:
        connection.read_only = True
