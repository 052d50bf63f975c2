"""A folder for what an ingest unpacks and stages: rows of learners, which must not outlive the process.

A process that is killed cannot clean up, so the next one does: a folder whose lock nobody holds has lost its owner.
"""

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from mmcampaign.errors import UnavailableError

if TYPE_CHECKING:  # an ingest of files that were read before needs no folder, and so no lock
    from filelock import FileLock

PREFIX = "mmcampaign-ingest-"
_LOCK = ".lock"  # beside the folder, so that it is held before there is one


class Scratch:
    """A folder that only this user can read; it is made when it is asked for first."""

    def __init__(self) -> None:
        self._path = Path(tempfile.gettempdir(), f"{PREFIX}{uuid.uuid4().hex}")
        self._lock: FileLock | None = None
        self._one_at_a_time = Lock()

    @property
    def folder(self) -> Path:
        """Raises UnavailableError when the system's folder for temporary files cannot be written."""
        try:
            with self._one_at_a_time:
                if self._lock is None:
                    self._make()
        except OSError as error:
            self.close()
            raise UnavailableError(
                f"The scratch file in {tempfile.gettempdir()} cannot be written: {error}.",
                unchanged="Nothing of the file that needed it was ingested.",
                todo="Free some space there, or set TMPDIR to another folder, then run the same command again.",
            ) from error
        return self._path

    def _make(self) -> None:
        """The lock is held before the folder is there, and is known before it is held: Ctrl-C may come any time."""
        from filelock import FileLock  # noqa: PLC0415  see above

        self._lock = FileLock(_lock_of(self._path))
        self._lock.acquire()
        self._path.mkdir(mode=0o700)

    def close(self) -> None:
        if self._lock is not None:
            _remove(self._path)
            self._lock.release()
            self._lock = None


@contextmanager
def scratch_folder() -> Iterator[Scratch]:
    """What is in the folder is gone at the end, or when the next one begins after a crash."""
    _remove_abandoned()
    with closing(Scratch()) as scratch:
        yield scratch


def _remove_abandoned() -> None:
    """What is removed is locked until it is gone. Other users' locks cannot be opened."""
    for found in Path(tempfile.gettempdir()).glob(f"{PREFIX}*{_LOCK}"):
        from filelock import FileLock, Timeout  # noqa: PLC0415  see above

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
