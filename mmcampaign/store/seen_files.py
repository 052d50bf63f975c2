"""Which files were read, so that one that has not been touched since need not be read again to know its digest.

As make and git do, size, times of change and number of the file on its disk stand for its bytes. The time of the last
change of state (``ctime``) is not set back by copying or by ordinary programs, so that changed bytes show. Windows and
some network drives do not keep it; there size and time of modification alone decide.
"""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, select

from mmcampaign.store.dialect import insert_into
from mmcampaign.store.tables import seen_files

SETTLED_NS = 2_000_000_000  # a file changed this shortly ago may be changed again without another time to show it


class SeenFile(NamedTuple):
    """A file as it was when its SHA-256 was computed."""

    size: int
    modified_ns: int
    changed_ns: int
    inode: str
    sha256: str


def as_seen(found: os.stat_result, sha256: str) -> SeenFile:
    return SeenFile(
        size=found.st_size,
        modified_ns=found.st_mtime_ns,
        changed_ns=found.st_ctime_ns,
        inode=str(found.st_ino),
        sha256=sha256,
    )


def is_settled(found: os.stat_result) -> bool:
    """Whether a later change of the file would show."""
    return time.time_ns() - max(found.st_mtime_ns, found.st_ctime_ns) > SETTLED_NS


def read_seen(connection: Connection) -> dict[str, SeenFile]:
    """By path."""
    rows = connection.execute(select(seen_files)).mappings()
    return {row["path"]: SeenFile(**{key: value for key, value in row.items() if key != "path"}) for row in rows}


def remember(connection: Connection, files: Mapping[Path, SeenFile]) -> None:
    """Keep these, in place of what was known of the same paths."""
    rows = [{"path": str(path), **seen._asdict()} for path, seen in files.items()]
    insert = insert_into(connection, seen_files)
    values = {column.name: insert.excluded[column.name] for column in seen_files.columns if column.name != "path"}
    connection.execute(insert.on_conflict_do_update(index_elements=["path"], set_=values), rows)
