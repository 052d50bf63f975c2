"""Downloads that come compressed: single files (gzip, as edX's storage keeps them) and a ZIP of a folder.

Nothing is written outside the folder given, and nothing unpacks to more than LIMIT bytes or RATIO times its own size.
"""

import gzip
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, BinaryIO, cast

from mmcampaign.edx_csv.opening import AGAIN
from mmcampaign.errors import InputError

LIMIT = 8 << 30
RATIO = 200  # reports shrink to a tenth or so; 64 MB are let through whatever the ratio
ALWAYS = 64 << 20
MEMBERS = 10_000
_GZIP = b"\x1f\x8b"
_PIECE = 1 << 20
_TOO_BIG = "It unpacks to more than any download folder holds."


@contextmanager
def unpacked(file: BinaryIO) -> Iterator[BinaryIO]:
    """The file itself, or what is in it when it is compressed by gzip. Raises InputError for a damaged copy."""
    head = file.read(2)
    file.seek(0)
    if head != _GZIP:
        yield file
        return
    with tempfile.TemporaryFile(prefix="mmcampaign-") as plain:
        packed = file.seek(0, 2)
        file.seek(0)
        try:
            with gzip.open(file) as source:
                _copy(cast(IO[bytes], source), plain, max(ALWAYS, min(LIMIT, packed * RATIO)))
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise InputError("The compressed copy (gzip) is damaged or cut off.", todo=AGAIN) from error
        plain.seek(0)
        yield cast(BinaryIO, plain)


def _copy(source: IO[bytes], target: IO[bytes], most: int) -> None:
    while piece := source.read(_PIECE):
        most -= len(piece)
        if most < 0:
            raise InputError(_TOO_BIG, todo="Unpack it yourself and look at what it holds.")
        target.write(piece)


def extract(archive: Path, folder: Path) -> list[Path]:
    """Unpack the CSV files of a ZIP into ``folder``, each under its own name; others are left where they are.

    Raises InputError for an archive that is damaged, encrypted or too big, or names files outside its folder.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [member for member in opened.infolist() if not member.is_dir()]
            _require_harmless(members)
            chosen = [member for member in members if _is_wanted(member.filename)]
            return [_extract(opened, member, folder / str(number)) for number, member in enumerate(chosen)]
    # What zipfile raises for a damaged archive, an unknown or encrypted packing, a name in no known encoding.
    except (zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError, UnicodeError) as error:
        raise InputError("The ZIP archive is damaged or cut off.", todo=AGAIN) from error


def _require_harmless(members: list[zipfile.ZipInfo]) -> None:
    size = sum(member.file_size for member in members)
    packed = sum(member.compress_size for member in members)
    if len(members) > MEMBERS or size > max(ALWAYS, min(LIMIT, packed * RATIO)):
        raise InputError(_TOO_BIG, todo="Unpack it yourself and look at what it holds.")
    for member in members:
        windows = PureWindowsPath(member.filename)
        if ".." in windows.parts or windows.is_absolute() or windows.drive or member.filename.startswith(("/", "\\")):
            raise InputError("The archive names a file outside its own folder: nothing of it was unpacked.", todo=AGAIN)
        if member.flag_bits & 1:
            raise InputError("The archive is protected by a password.", todo="Unpack it, then ingest the folder.")


def _is_wanted(name: str) -> bool:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    hidden = any(part.startswith((".", "__MACOSX")) for part in parts)
    return not hidden and name.lower().endswith((".csv", ".csv.gz"))


def _extract(opened: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> Path:
    """A folder for each, since two may have one name."""
    folder.mkdir()
    path = folder / PureWindowsPath(member.filename).name
    with opened.open(member) as source, path.open("wb") as target:
        shutil.copyfileobj(source, target)
    return path
