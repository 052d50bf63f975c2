"""Use case: refused rows go out as files that a person mends and ingests again."""

from dataclasses import dataclass
from pathlib import Path

from mmcampaign.edx_csv import mended_name
from mmcampaign.edx_csv.mended import mended_csv
from mmcampaign.errors import UnavailableError
from mmcampaign.store.engine import Store
from mmcampaign.store.imports import Mendable, list_mendable


@dataclass(frozen=True, kw_only=True)
class MendingFile:
    """Where the refused rows of a file went. ``written`` is false for one that was there already, mended perhaps."""

    source: str
    path: Path
    rows: int
    written: bool


def write_refused_rows(store: Store, folder: Path) -> list[MendingFile]:
    """Write the refused rows of every file that counts, under its own header line and exactly as they stood.

    A file that is there already stays as it is. Raises UnavailableError when the folder cannot be written to.
    """
    with store.read() as connection:
        files = list_mendable(connection)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return [_write(folder, file) for file in files]
    except OSError as error:
        raise UnavailableError(
            f"{folder} cannot be written to: {error.strerror}.",
            unchanged="The database is unchanged.",
            todo="Name another folder: mmcampaign imports --rejected --out DIR",
        ) from error


def _write(folder: Path, file: Mendable) -> MendingFile:
    path = folder / mended_name(file.name, file.sha256, file.number)
    written = not path.exists()
    if written:
        path.write_bytes(mended_csv(file.header, file.rows))
    return MendingFile(source=file.source, path=path, rows=len(file.rows), written=written)
