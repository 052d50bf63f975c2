"""Use case: edX's downloads become learners, enrollments and completions (edx-exports, design 4).

For each file, in this order: what does the name say, has it been read, what does the header say, are the rows in order;
only then one transaction merges the rows, logs the file and rebuilds the completions it touches. A file that is not
certain is refused with its reason, and nothing of it enters the tables. The outcome does not depend on the order of the
files, and a file read again changes nothing.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from mmcampaign.completion import FREE_TRACKS, PAID_TRACKS
from mmcampaign.edx_csv import (
    GRADE_ERRORS,
    GRADES,
    REPORTS,
    ROWS,
    UNKNOWN,
    ExportName,
    RejectedRow,
    count_records,
    parse_name,
    read_layout,
    read_rows,
    sniff_kind,
    term_and_year,
)
from mmcampaign.errors import InputError
from mmcampaign.model import Course, FileStatus, Program
from mmcampaign.store.engine import Store
from mmcampaign.store.exports import Changes, ImportEntry, find_export, log_file, merge_export
from mmcampaign.store.programs import sync_programs
from mmcampaign.store.staging import open_staging

__all__ = ["Changes", "FileResult", "IngestResult", "ingest", "sync_programs"]

# More bad rows than this, and the file is not what it seems (edX case E22); the details of no more are kept.
BAD_ROWS, BAD_SHARE, BAD_ROWS_KEPT = 5, 0.01, 10_000
SHOWN_OF_REFUSED = 100


@dataclass(frozen=True, kw_only=True)
class FileResult:
    """What became of one file; the fields are the keys of the ``--json`` document, plus ``path``.

    ``accepted + rejected == rows``, the data rows of the file; all are 0 for a file whose rows were not counted.
    """

    path: Path
    name: str
    kind: str
    program: str | None = None
    course: str | None = None
    run: str | None = None
    exported_at: datetime | None = None
    status: FileStatus
    rows: int = 0
    accepted: int = 0
    rejected: int = 0
    reason: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class IngestResult:
    """All files in the order they were given, and what they changed."""

    files: tuple[FileResult, ...]
    changes: Changes
