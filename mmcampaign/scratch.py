"""A folder for what an ingest unpacks and stages: rows of learners, which must not outlive the process.

A process that is killed cannot clean up, so the next one does: a folder whose lock nobody holds has lost its owner.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from mmcampaign.errors import UnavailableError

PREFIX = "mmcampaign-ingest-"
_LOCK = "lock"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A new folder that only this user can read; it is gone at the end, or when the next one is opened after a crash.

    Raises UnavailableError when the system's folder for temporary files cannot be written.
    """
    _remove_abandoned()
    try:
        folder, lock = _locked_folder()
    except OSError as error:
        raise UnavailableError(
            f"The scratch file in {tempfile.gettempdir()} cannot be written: {error}.",
            unchanged="Nothing was ingested.",
            todo="Free some space there, or set TMPDIR to another folder, then run the same command again.",
        ) from error
    try:
        yield folder
    finally:
        lock.release()
        shutil.rmtree(folder, ignore_errors=True)


def _locked_folder() -> tuple[Path, FileLock]:
    """A new folder and its lock, held. Another ingest may take it for abandoned until then: so a new one is made."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        lock = FileLock(folder / _LOCK)
        with suppress(FileNotFoundError):
            lock.acquire()
            if (folder / _LOCK).exists():
                return folder, lock
        lock.release()


def _remove_abandoned() -> None:
    """Removed while its lock is held, so that nobody begins to use it. Other users' folders cannot be opened."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        lock = FileLock(folder / _LOCK)
        with suppress(OSError, Timeout):
            if (folder / _LOCK).exists():  # one that is just being made has none yet and is left alone
                lock.acquire(blocking=False)
                shutil.rmtree(folder, ignore_errors=True)
                lock.release()
