"""A folder for what an ingest unpacks and stages: rows of learners, which must not outlive the process.

A process that is killed cannot clean up, so the next one does: a folder whose lock nobody holds has lost its owner.
"""

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from mmcampaign.errors import UnavailableError

PREFIX = "mmcampaign-ingest-"
_LOCK = ".lock"  # beside the folder, so that it is held before there is one


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
        _remove(folder)
        lock.release()


def _locked_folder() -> tuple[Path, FileLock]:
    """A new folder and its lock, which was held before the folder was there."""
    folder = Path(tempfile.gettempdir(), f"{PREFIX}{uuid.uuid4().hex}")
    lock = FileLock(_lock_of(folder))
    lock.acquire()
    folder.mkdir(mode=0o700)
    return folder, lock


def _remove_abandoned() -> None:
    """What is removed is locked until it is gone. Other users' locks cannot be opened."""
    for found in Path(tempfile.gettempdir()).glob(f"{PREFIX}*{_LOCK}"):
        lock = FileLock(found)
        with suppress(OSError, Timeout):
            lock.acquire(blocking=False)
            _remove(found.with_suffix(""))
            lock.release()


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):  # Windows does not remove a file that is open: the next ingest does
        _lock_of(folder).unlink()


def _lock_of(folder: Path) -> Path:
    return folder.with_name(folder.name + _LOCK)
