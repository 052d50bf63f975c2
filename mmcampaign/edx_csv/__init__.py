"""Adapter for the files edX's instructor dashboard writes: names, headers, rows. pandas lives here and nowhere else.

``names`` says what a file claims to be, ``blocks`` cuts its bytes into whole records, ``header`` finds the columns,
``rows`` checks and types the values. Everything that cannot be read for certain is refused (InputError).
"""

from mmcampaign.edx_csv.header import Layout, count_records, kind_of_header, read_layout, sniff_kind
from mmcampaign.edx_csv.names import (
    GRADE_ERRORS,
    GRADES,
    OPT_IN,
    PROFILE,
    REPORTS,
    UNKNOWN,
    ExportName,
    parse_name,
    term_and_year,
)
from mmcampaign.edx_csv.rows import ROWS, Chunk, RejectedRow, read_rows

__all__ = [
    "GRADES",
    "GRADE_ERRORS",
    "OPT_IN",
    "PROFILE",
    "REPORTS",
    "ROWS",
    "UNKNOWN",
    "Chunk",
    "ExportName",
    "Layout",
    "RejectedRow",
    "count_records",
    "kind_of_header",
    "parse_name",
    "read_layout",
    "read_rows",
    "sniff_kind",
    "term_and_year",
]
