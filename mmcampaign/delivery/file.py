"""The ``file`` backend: each message becomes ``<dir>/<campaign>/<message id>.eml``, all of a campaign also an mbox.

A file appears whole or not at all, so it is its own proof of what was taken. With its receipt the file and its name are
on the disk: not even a power cut takes it back.
"""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from mmcampaign.delivery import FileOptions
from mmcampaign.delivery.crew import Crew
from mmcampaign.delivery.file_batch import THREADS, FileBatch, put_names_on_disk
from mmcampaign.model import Batch, Outcome, Receipt

log = logging.getLogger(__name__)

MBOX = "campaign.mbox"
# mboxrd: quoting is undone by taking one ">" away, whatever the line held before.
_FROM_LINE = re.compile(rb"^(>*From )", re.MULTILINE)


class FileBackend:
    """Writes the outbox folder. ``close`` renews the mbox of each campaign that was written to."""

    name = "file"
    batch_size = 200  # files that are open at a time; many systems allow 256

    def __init__(self, options: FileOptions) -> None:
        self._dir = options.dir
        self._crew = Crew(THREADS, "file")
        self._touched: set[Path] = set()

    def deliver(self, batch: Batch) -> list[Receipt]:
        """One file a message, on the disk before its receipt. The first trouble with the disk ends the batch."""
        files = FileBatch(self._dir)
        try:
            for message in batch.messages:
                if not files.trouble and not batch.may_go():
                    files.trouble = "Stopped before it was written."
                if files.trouble:
                    break
                files.write(message)
            files.put_on_disk(self._crew)
            files.give_names()
        finally:
            files.clean_up()
            self._touched |= files.folders
        return [files.receipt(message.message_id) for message in batch.messages]

    def proof(self, message_id: str) -> Outcome | None:
        """A file proves that the message was taken, no file that it was not. None: the outbox cannot be read."""
        try:
            found = [folder for folder in self._dir.iterdir() if (folder / f"{message_id}.eml").is_file()]
            for folder in found:
                put_names_on_disk(folder)  # what was interrupted before this is proven from now on
        except OSError:
            return None
        self._touched.update(found)  # whoever asks comes after a crash, which left the mbox without this message
        return Outcome.ACCEPTED if found else Outcome.NOT_TAKEN

    def close(self) -> None:
        """Write the mboxes. They are copies, so trouble is only logged: every message stands in its own file."""
        self._crew.close()
        for folder in sorted(self._touched):
            try:
                _write_mbox(folder)
            except OSError as error:
                log.warning("%s was not written: %s", folder / MBOX, error.strerror)
        self._touched.clear()


def _write_mbox(folder: Path) -> None:
    """In order of the names, which alone are kept in memory: 70 bytes a message."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.name.endswith(".eml"))
    with _whole_file(folder / MBOX) as mbox:
        for name in names:
            with (folder / name).open("rb") as file:
                written_at = datetime.fromtimestamp(os.fstat(file.fileno()).st_mtime, tz=UTC)
                eml = file.read()
            mbox.write(b"From MAILER-DAEMON %s\n" % written_at.ctime().encode())
            mbox.write(_FROM_LINE.sub(rb">\1", eml.replace(b"\r\n", b"\n").rstrip(b"\n")))
            mbox.write(b"\n\n")


@contextmanager
def _whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file that gets its name only when it is complete and on the disk; nothing is left of a failed one."""
    draft = path.with_name(f".{path.name}.part")
    try:
        with draft.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
