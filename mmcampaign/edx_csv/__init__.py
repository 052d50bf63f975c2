"""Adapter for the files edX's instructor dashboard writes: names, headers, rows. every reader of CSV lives here.

``names`` says what a file claims to be, ``blocks`` cuts its bytes into whole records, ``header`` finds the columns,
``rows`` checks and types the values, ``reading`` puts these together. ``odd_forms`` knows the copies and old exports
that are written another way, ``archive`` what is compressed, ``optin`` the list of e-mail choices. Everything that
cannot be read for certain is refused (InputError).
"""

from mmcampaign.edx_csv.archive import extract, unpacked
from mmcampaign.edx_csv.header import Layout, count_records, kind_of_header, read_layout, sniff_kind
from mmcampaign.edx_csv.mended import MendedRows, header_text, mended_csv, read_mended
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
from mmcampaign.edx_csv.reading import Report, open_odd, open_plain
from mmcampaign.edx_csv.rows import ROWS, Chunk, RejectedRow, read_rows

__all__ = [
    "GRADES",
    "GRADE_ERRORS",
    "OPT_IN",
    "PROFILE",
    "READABLE",
    "REPORTS",
    "ROWS",
    "UNKNOWN",
    "Chunk",
    "ExportName",
    "Layout",
    "MendedRows",
    "RejectedRow",
    "Report",
    "count_records",
    "extract",
    "header_text",
    "is_archive",
    "kind_of_header",
    "mended_csv",
    "mended_name",
    "open_odd",
    "open_plain",
    "parse_name",
    "parse_stamp",
    "read_layout",
    "read_mended",
    "read_rows",
    "sniff_kind",
    "term_and_year",
    "unpacked",
]
