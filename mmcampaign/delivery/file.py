"""The ``file`` backend: each message becomes ``<dir>/<campaign>/<message id>.eml``, all of a campaign also an mbox.

A file appears whole or not at all, so it is its own proof of what was taken.
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
from mmcampaign.model import Batch, Outcome, Outgoing, Receipt

log = logging.getLogger(__name__)

MBOX = "campaign.mbox"
# mboxrd: quoting is undone by taking one ">" away, whatever the line held before.
_FROM_LINE = re.compile(rb"^(>*From )", re.MULTILINE)


class FileBackend:
    """Writes the outbox folder. ``close`` renews the mbox of each campaign that was written to."""

    name = "file"
    batch_size = 100

    def __init__(self, options: FileOptions) -> None:
        self._dir = options.dir
        self._touched: set[Path] = set()

    def deliver(self, batch: Batch) -> list[Receipt]:
        """One file a message, on the disk before its receipt. The first trouble with the disk ends the batch."""
        receipts: list[Receipt] = []
        trouble = ""
        for message in batch.messages:
            if not trouble and not batch.may_go():
                trouble = "Stopped before it was written."
            try:
                receipts.append(_not_taken(message, trouble) if trouble else self._write(message))
            except OSError as error:
                trouble = _sentence(error)
                receipts.append(_not_taken(message, trouble))
        return receipts

    def proof(self, message_id: str) -> Outcome | None:
        """A file proves that the message was taken, no file that it was not. None: the outbox cannot be read."""
        try:
            found = [folder for folder in self._dir.iterdir() if (folder / f"{message_id}.eml").is_file()]
        except OSError:
            return None
        self._touched.update(found)  # whoever asks comes after a crash, which left the mbox without this message
        return Outcome.ACCEPTED if found else Outcome.NOT_TAKEN

    def close(self) -> None:
        """Write the mboxes. They are copies, so trouble is only logged: every message stands in its own file."""
        for folder in sorted(self._touched):
            try:
                _write_mbox(folder)
            except OSError as error:
                log.warning("%s was not written: %s", folder / MBOX, error.strerror)
        self._touched.clear()

    def _write(self, message: Outgoing) -> Receipt:
        folder = self._dir / str(message.campaign_id)
        path = folder / f"{message.message_id}.eml"
        place = f"{message.campaign_id}/{path.name}"
        if path.exists():
            if path.read_bytes() != message.eml:
                error = f"{place} in the outbox holds another version of this message already; it was left as it is."
                return Receipt(message_id=message.message_id, outcome=Outcome.FAILED, error=error)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            with _whole_file(path) as file:
                file.write(message.eml)
        self._touched.add(folder)
        return Receipt(message_id=message.message_id, outcome=Outcome.ACCEPTED, provider_message_id=place)


def _not_taken(message: Outgoing, error: str) -> Receipt:
    return Receipt(message_id=message.message_id, outcome=Outcome.NOT_TAKEN, error=error, halt=True)


def _sentence(error: OSError) -> str:
    return (
        f"The outbox cannot be written: {error.strerror}. Free space on its disk, or make the folder "
        "writable, or set [delivery.file] dir to another one."
    )


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


def _write_mbox(folder: Path) -> None:
    with _whole_file(folder / MBOX) as mbox:
        for path in sorted(folder.glob("*.eml")):
            written_at = datetime.fromtimestamp(path.stat().st_mtime, tz=UTC)
            mbox.write(b"From MAILER-DAEMON %s\n" % written_at.ctime().encode())
            mbox.write(_FROM_LINE.sub(rb">\1", path.read_bytes().replace(b"\r\n", b"\n").rstrip(b"\n")))
            mbox.write(b"\n\n")
