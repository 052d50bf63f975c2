"""A folder of results that is complete or not there at all."""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmcampaign.errors import UnavailableError


@contextmanager
def whole_folder(folder: Path, *, last: str) -> Iterator[Path]:
    """Give a hidden sibling folder to write into; put it in place of ``folder`` when the block ends without an error.

    Where ``folder`` exists already its other files stay, and each new file replaces its predecessor in one step,
    ``last`` (the page that speaks of the others) after all the rest. An error leaves ``folder`` as it was.
    Raises UnavailableError when the disk does not take the files.
    """
    draft = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.part")
    try:
        draft.mkdir(parents=True)
        yield draft
        _put_in_place(draft, folder, last)
    except OSError as error:
        raise UnavailableError(
            f"{folder} cannot be written: {error.strerror or error}",
            unchanged="The files in this folder are what they were before.",
            todo="Free the disk, or name another folder with --out, and run the command again.",
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _put_in_place(draft: Path, folder: Path, last: str) -> None:
    if not folder.exists():
        draft.rename(folder)
        return
    for path in sorted(draft.iterdir(), key=lambda path: path.name == last):
        path.replace(folder / path.name)
