"""A batch of messages on its way into files: all are written, then all are put on the disk, then all get their names.

One file at a time would wait for the disk twice for each message; so the disk takes what it is given at once.
"""

import errno
import os
from collections.abc import Sequence
from concurrent.futures import wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mmcampaign.delivery.crew import Crew
from mmcampaign.model import Outcome, Outgoing, Receipt

# What several threads wait for goes to the disk together: eight of them are done in a tenth of the time of one.
THREADS = 8
# What a file system says that has no names to be put on the disk, a network share for one.
NO_SYNC_OF_NAMES = {errno.EINVAL, errno.ENOTSUP}


@dataclass(kw_only=True)
class _Draft:
    """A message in a file that does not have its name yet; ``place`` is what the receipt calls it."""

    message_id: str
    place: str
    path: Path
    file: BinaryIO
    whole: bool = False
    on_disk: bool = False


class FileBatch:
    """``trouble`` is what happened first; those that were not named by then were not taken."""

    def __init__(self, outbox: Path) -> None:
        self.trouble = ""
        self.folders: set[Path] = set()
        self._outbox = outbox
        self._receipts: dict[str, Receipt] = {}
        self._drafts: list[_Draft] = []

    def write(self, message: Outgoing) -> None:
        """A draft of it; if a file of its name is there, that settles the message. It stays as it is."""
        folder, place = self._outbox / str(message.campaign_id), f"{message.campaign_id}/{message.message_id}.eml"
        path = folder / f"{message.message_id}.eml"
        try:
            if folder not in self.folders:
                _make_folder(folder)
                self.folders.add(folder)
            if path.exists():
                self._compare(message, place, path)
            else:
                file = _draft_of(path).open("wb")
                draft = _Draft(message_id=message.message_id, place=place, path=path, file=file)
                self._drafts.append(draft)
                _write(draft, message.eml)
        except OSError as error:
            self._stop(error)

    def put_on_disk(self, crew: Crew) -> None:
        """What stands in the drafts."""
        whole = [draft for draft in self._drafts if draft.whole]
        parts = [whole[first::THREADS] for first in range(min(THREADS, len(whole)))]
        tasks = [crew.submit(self._put_on_disk, part) for part in parts]
        wait(tasks)
        for task in tasks:
            task.result()

    def _put_on_disk(self, drafts: Sequence[_Draft]) -> None:
        for draft in drafts:
            try:
                os.fsync(draft.file.fileno())
                draft.on_disk = True
            except OSError as error:
                self._stop(error)

    def give_names(self) -> None:
        """Whole drafts become messages. They have receipts when their names are on the disk."""
        named: list[_Draft] = []
        try:
            for draft in self._drafts:
                if draft.on_disk:
                    give_name(draft.path)
                    named.append(draft)
        except OSError as error:
            self._stop(error)
        try:
            for folder in self.folders:
                put_names_on_disk(folder)
        except OSError as error:
            self._stop(error)
            named = [draft for draft in named if not _taken_back(draft.path)]
        self._receipts |= {draft.message_id: _accepted(draft.message_id, draft.place) for draft in named}

    def clean_up(self) -> None:
        """Nothing is left of what got no name."""
        for draft in self._drafts:
            with suppress(OSError):
                draft.file.close()
            with suppress(OSError):
                _draft_of(draft.path).unlink()

    def receipt(self, message_id: str) -> Receipt:
        """What came of a message."""
        return self._receipts.get(message_id) or Receipt(
            message_id=message_id, outcome=Outcome.NOT_TAKEN, error=self.trouble, halt=True
        )

    def _compare(self, message: Outgoing, place: str, path: Path) -> None:
        if path.read_bytes() == message.eml:
            self._receipts[message.message_id] = _accepted(message.message_id, place)
            return
        error = f"{place} in the outbox holds another version of this message already; it was left as it is."
        self._receipts[message.message_id] = Receipt(message_id=message.message_id, outcome=Outcome.FAILED, error=error)

    def _stop(self, error: OSError) -> None:
        self.trouble = self.trouble or (
            f"The outbox cannot be written: {error.strerror}. Free space on its disk, or make the folder "
            "writable, or set [delivery.file] dir to another one."
        )


def _accepted(message_id: str, place: str) -> Receipt:
    return Receipt(message_id=message_id, outcome=Outcome.ACCEPTED, provider_message_id=place)


def _draft_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


def _write(draft: _Draft, eml: bytes) -> None:
    draft.file.write(eml)
    draft.file.flush()
    if hasattr(os, "posix_fadvise"):  # Linux begins to write what is said to be needed no more: less to wait for
        os.posix_fadvise(draft.file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    draft.whole = True


def give_name(path: Path) -> None:
    """The draft becomes the file."""
    _draft_of(path).replace(path)


def _taken_back(path: Path) -> bool:
    """Whether a name that the disk may not keep is gone again. One that stays is a file, and so a proof."""
    with suppress(OSError):
        path.unlink()
    return not path.exists()


def put_names_on_disk(folder: Path) -> None:
    """New names in a folder outlive a power cut only when the folder itself was put on the disk.

    Windows, which has no O_DIRECTORY, opens no folder and keeps its names by a log of its own.
    """
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_SYNC_OF_NAMES:
            raise
    finally:
        os.close(descriptor)


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        put_names_on_disk(folder.parent)
