"""The first bytes of a file: whether it is CSV at all, and its header record. Standard library only."""

from typing import BinaryIO

from mmcampaign.errors import InputError

LONGEST_RECORD = 64 << 20
BOM = b"\xef\xbb\xbf"
AGAIN = "Download the report again from edX."

_FOREIGN = (
    (b"\x1f\x8b", "The file is a compressed copy (gzip), not CSV."),
    (b"PK\x03\x04", "The file is a ZIP archive, or a workbook, not CSV."),
    (b"%PDF", "The file is a PDF, not CSV."),
    (b"\xff\xfe", "The file is UTF-16, as spreadsheets save it, not edX's CSV."),
    (b"\xfe\xff", "The file is UTF-16, as spreadsheets save it, not edX's CSV."),
)


def open_report(file: BinaryIO) -> bytes:
    """Read the header record, without BOM and line end; the file then stands at its first data record.

    Empty when there is nothing but a BOM (E7). Raises InputError for what is no CSV at all (E5).
    """
    head = file.read(1024)
    if not head:
        raise InputError("The file is empty.", todo=AGAIN)
    for magic, what in _FOREIGN:
        if head.startswith(magic):
            raise InputError(what, todo=AGAIN)
    if head.removeprefix(BOM).lstrip().startswith(b"<"):
        raise InputError("The file is an error page, not CSV: the download link had run out.", todo=AGAIN)
    file.seek(len(BOM) if head.startswith(BOM) else 0)
    return _header_record(file)


def _header_record(file: BinaryIO) -> bytes:
    header = read_record(file)
    if header and not header.endswith(b"\n"):
        raise InputError("The file is cut off in its header.", todo=AGAIN)
    return header.rstrip(b"\r\n")


def read_record(file: BinaryIO, *, quoted: bool = False) -> bytes:
    """Lines until one ends outside quotes; ``quoted``: a quote is open already. Of endless ones only a part."""
    lines, size = [], 0
    while size <= LONGEST_RECORD and (line := file.readline(LONGEST_RECORD)):
        lines.append(line)
        size += len(line)
        quoted ^= line.count(b'"') % 2 == 1
        if not quoted:
            break
    return b"".join(lines)
