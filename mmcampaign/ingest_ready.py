"""A file of an ingest before it is read, and after: what is shared by those who look at it and those who read its rows.

A file is read without writing anything, so that the next one can be read while this one is written (``Ready``).
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mmcampaign.edx_csv import ExportName
from mmcampaign.model import FileStatus
from mmcampaign.store.engine import Store
from mmcampaign.store.import_log import Changes, ImportEntry, log_import

if TYPE_CHECKING:  # whose modules load Arrow; they are loaded when there are rows to read
    from mmcampaign.store.exports import Export


class Found(NamedTuple):
    """A file to look at. ``shown`` is how people know it: for a file out of an archive, archive and name.

    ``name`` is what its name says, or a person has said in its place. ``again``: by its name a file that comes before
    is the same export.
    """

    path: Path
    shown: Path
    name: ExportName
    again: bool = False


Outcome = tuple[ImportEntry, Changes]


class Ready(NamedTuple):
    """A file that was read; nothing in the database has changed yet. ``write`` does it, and says what came of it.

    ``export`` has the staged rows of a report; they are gone once it is written or discarded.
    """

    write: Callable[[], Outcome]
    export: "Export | None" = None

    def discard(self) -> None:
        if self.export is not None:
            self.export.staging.close()


def unwritten(entry: ImportEntry) -> Ready:
    """Of a file that leaves nothing in the log, or about which the log says it already."""
    return Ready(write=lambda: (entry, Changes()))


def logged(store: Store, entry: ImportEntry) -> Ready:
    """Of a file of which no rows are taken."""
    return Ready(write=partial(log, store, entry))


def log(store: Store, entry: ImportEntry) -> Outcome:
    """The log keeps what was recognised, not every stray file of a folder."""
    if entry.status is not FileStatus.IGNORED or entry.course is not None:
        with store.write() as connection:
            log_import(connection, entry)
    return entry, Changes()


def refused(entry: ImportEntry, why: str) -> ImportEntry:
    return entry._replace(status=FileStatus.REFUSED, reason=why, accepted=0)
