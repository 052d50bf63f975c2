"""Addresses not to be mailed."""

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, select

from mmcampaign.store.dialect import insert_into
from mmcampaign.store.tables import suppressions


def add(connection: Connection, email: str, *, reason: str, by: str, note: str, at: datetime) -> bool:
    """Put an address on the list; False when it was there already (it stays as it was)."""
    key = email.strip().casefold()
    row = {"email_key": key, "email": email.strip(), "reason": reason, "since": at, "added_by": by, "note": note}
    add_once = insert_into(connection, suppressions).on_conflict_do_nothing(index_elements=["email_key"])
    return bool(connection.execute(add_once, row).rowcount)


def remove(connection: Connection, email: str) -> bool:
    """Take an address off the list; False when it was not on it."""
    key = email.strip().casefold()
    return bool(connection.execute(delete(suppressions).where(suppressions.c.email_key == key)).rowcount)


def all_of(connection: Connection) -> list[dict[str, Any]]:
    """Every suppression, newest first."""
    columns = [suppressions.c[name] for name in ("email", "reason", "since", "added_by", "note")]
    rows = connection.execute(select(*columns).order_by(suppressions.c.since.desc(), suppressions.c.email_key))
    return [dict(row._mapping) for row in rows]
