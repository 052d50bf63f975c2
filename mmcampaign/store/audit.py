"""The append-only record of every act of a person or of the program; each row holds the digest of the one before.

Facts never hold addresses or names: campaigns, counts, file names and reasons only.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, select, text

from mmcampaign.store.tables import audit_log


def record(
    connection: Connection, *, at: datetime, actor: str, act: str, subject: str, facts: Mapping[str, Any] | None = None
) -> None:
    """Append one act, in the caller's transaction: the act and its record commit together."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("LOCK TABLE audit_log IN EXCLUSIVE MODE"))
    last = select(audit_log.c.digest).order_by(audit_log.c.id.desc()).limit(1)
    entry: dict[str, Any] = {
        "at": at,
        "actor": actor,
        "act": act,
        "subject": subject,
        "facts": json.dumps(facts or {}, ensure_ascii=False, sort_keys=True),
        "previous": connection.execute(last).scalar() or "",
    }
    connection.execute(audit_log.insert(), {**entry, "digest": _digest(entry)})


def entries(connection: Connection) -> Iterator[dict[str, Any]]:
    """Every act, oldest first, as the JSON keys of ``audit --json``."""
    for row in connection.execute(select(audit_log).order_by(audit_log.c.id)):
        entry = {**row._mapping, "facts": json.loads(row.facts)}
        yield {key: entry[key] for key in ("id", "at", "actor", "act", "subject", "facts", "digest")}


def first_broken(connection: Connection) -> int | None:
    """The id of the first row that does not follow from the one before it, or None when the chain is intact."""
    previous = ""
    for row in connection.execute(select(audit_log).order_by(audit_log.c.id)):
        if row.previous != previous or row.digest != _digest(dict(row._mapping)):
            return int(row.id)
        previous = row.digest
    return None


def _digest(entry: Mapping[str, Any]) -> str:
    at = entry["at"].astimezone(UTC).isoformat(timespec="microseconds")
    parts = [entry["previous"], at, *(entry[key] for key in ("actor", "act", "subject", "facts"))]
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()
