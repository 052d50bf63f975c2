"""Adapter for the files edX writes: names, headers, rows. Every reader of CSV lives here.

``names`` says what a file claims to be, ``opening`` whether it is CSV at all, ``header`` finds the columns, ``archive``
knows what is compressed. This much is told from here and needs no library, for most files of a folder were read before.
Of the others ``blocks`` cuts the bytes into whole records, ``rows`` checks and types the values, ``reading`` puts these
together; ``odd_forms`` knows the copies and old exports that are written another way, ``mended`` the files of mended
rows, ``optin`` the list of e-mail choices. Everything that cannot be read for certain is refused (InputError).
"""

from mmcampaign.edx_csv.archive import extract, unpacked
from mmcampaign.edx_csv.header import Layout, count_records, kind_of_header, read_layout, sniff_kind
from mmcampaign.edx_csv.names import (
    GRADE_ERRORS,
    GRADES,
    OPT_IN,
    PROFILE,
    READABLE,
    REPORTS,
    UNKNOWN,
    ExportName,
    is_archive,
    mended_name,
    parse_name,
    parse_stamp,
    term_and_year,
)

__all__ = [
    "GRADES",
    "GRADE_ERRORS",
    "OPT_IN",
    "PROFILE",
    "READABLE",
    "REPORTS",
    "UNKNOWN",
    "ExportName",
    "Layout",
    "count_records",
    "extract",
    "is_archive",
    "kind_of_header",
    "mended_name",
    "parse_name",
    "parse_stamp",
    "read_layout",
    "sniff_kind",
    "term_and_year",
    "unpacked",
]
