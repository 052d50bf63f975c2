"""File names of edX exports: course, run, kind and stamp (edx-exports 2 and 9). Standard library only.

The prefix cannot be split by looking at it, since ``_`` is legal in organisation, course and run (E10): only configured
course prefixes count, and what follows up to the kind is the run, an opaque string.
"""

import re
from collections.abc import Collection
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import unquote

PROFILE = "student_profile_info"
GRADES = "grade_report"
GRADE_ERRORS = "grade_report_err"
OPT_IN = "email_opt_in"
UNKNOWN = "unknown"
REPORTS = frozenset({PROFILE, GRADES})
READABLE = REPORTS | {OPT_IN}
DIGITS = 8  # of a SHA-256, in the names of files of mended rows

# Longest first: `grade_report` also ends other kinds (E1).
_KINDS = (
    r"inactive_enrolled_students_info|proctored_exam_results_report|problem_grade_report_err|problem_grade_report"
    r"|student_state_from_[^/]+?|student_profile_info|course_survey_results|grade_report_err|may_enroll_info"
    r"|submission_files|cohort_results|anonymized_ids|grade_report|ORA_summary|ORA_data|issued_certificates"
)
_STAMP = r"\d{4}-\d{2}-\d{2}-\d{4}"
_EXPORT = re.compile(
    rf"(?P<front>.+?)_(?P<kind>{_KINDS})_(?P<stamp>{_STAMP})(?P<tail>.*?)(?P<type>(?i:\.csv|\.csv\.gz|\.zip))"
)
_OPT_IN_LIST = re.compile(r".+-email_opt_in-.+-analytics.*\.csv(\.gz)?", re.IGNORECASE)
_COPY_TAIL = re.compile(r"( \(\d+\)| - Copy( \(\d+\))?|-\d{1,2})")
_CLASH_TAIL = re.compile(r"_[A-Za-z0-9]{7}( \(\d+\))?")
_MENDED = re.compile(
    rf"(?P<stem>.+)\.mended-(?P<digest>[0-9a-f]{{{DIGITS}}})(?![0-9a-f]).*?(?P<type>\.csv(\.gz)?)", re.IGNORECASE
)
_MAYBE_REPORT = re.compile(rf"({PROFILE}|{GRADES})_{_STAMP}")


class ExportName(NamedTuple):
    """What a file's name says. ``ignored`` or ``refused`` is the reason for not reading it, if there is one.

    ``prefix`` is the configured course prefix that fits, ``exported_at`` the stamp: minutes, UTC. ``asks``: a person
    who knows what the file is can say so. ``mends`` is the beginning of the SHA-256 of the file whose refused rows
    these are, mended: whatever the rest of the name says, they belong to that file's export.
    """

    kind: str
    prefix: str = ""
    run: str = ""
    exported_at: datetime | None = None
    ignored: str = ""
    refused: str = ""
    asks: bool = False
    mends: str = ""


def parse_name(name: str, prefixes: Collection[str]) -> ExportName:
    """Read a file name against the configured course prefixes.

    A name that would have to be guessed at is refused: a report of a course not configured (E10), or one that a person
    renamed (edx-exports 2.4).
    """
    if mended := _MENDED.fullmatch(name):
        original = parse_name(mended["stem"] + mended["type"], prefixes)
        return original._replace(ignored="", refused="", asks=False, mends=mended["digest"].lower())
    found = _EXPORT.fullmatch(name)
    if found is None:
        return _other_name(name)
    kind = found["kind"]
    if kind == GRADES and found["tail"].startswith("_err"):
        kind = GRADE_ERRORS
    front = _unquoted(found["front"])
    prefix = max((one for one in prefixes if front.startswith(one + "_")), key=len, default="")
    ignored = _why_ignored(kind)
    refused = "" if ignored else _why_refused(found, prefix, prefixes)
    return ExportName(
        kind=kind,
        prefix=prefix,
        run=front.removeprefix(prefix + "_") if prefix else "",
        exported_at=parse_stamp(found["stamp"]),
        ignored=ignored,
        refused=refused,
        asks=bool(refused) and found["type"].lower() != ".zip",
    )


def _unquoted(front: str) -> str:
    """Names of 2014 hold the course key itself, quoted as in a URL: ``course-v1%3AOrg%2BCourse%2BRun``."""
    if "%" not in front:
        return front
    key = re.sub(r"[+/ ]", "_", unquote(front).removeprefix("course-v1:"))
    return re.sub(r"[^\w.-]", "", key)


def mended_name(name: str, sha256: str, number: int = 1) -> str:
    """The name for the refused rows of a file, which ``parse_name`` knows again.

    ``sha256`` is that of the export itself; ``number`` counts the files of its rows, for mended rows may be refused
    once more.
    """
    mended = _MENDED.fullmatch(name)
    stem = mended["stem"] if mended else re.sub(r"(?i)\.csv(\.gz)?$", "", name)
    return f"{stem}.mended-{sha256[:DIGITS]}{f'-{number}' if number > 1 else ''}.csv"


def is_archive(name: str) -> bool:
    """Whether a file is to be opened as a ZIP of downloads; edX's own archives of submissions are not."""
    found = _EXPORT.fullmatch(name)
    return name.lower().endswith(".zip") and (found is None or not _why_ignored(found["kind"]))


def _why_ignored(kind: str) -> str:
    if kind in REPORTS:
        return ""
    if kind == GRADE_ERRORS:
        return "The list of learners edX could not grade; it holds no grades."
    return f"A report of the kind {kind}, which is not needed."


def _why_refused(found: re.Match[str], prefix: str, prefixes: Collection[str]) -> str:
    tail = found["tail"]
    if found["type"].lower() == ".zip":
        return "This is an archive. Unpack it, then ingest the CSV files inside."
    if parse_stamp(found["stamp"]) is None:
        return f"The stamp {found['stamp']} is no date and time. Give the file back the name edX gave it."
    if tail and not _COPY_TAIL.fullmatch(tail) and not _CLASH_TAIL.fullmatch(tail):
        return f"The file was renamed: edX never writes “{tail}” after the stamp. Give it back the name edX gave it."
    if prefix:
        return ""
    known = ", ".join(sorted(prefixes)) or "none"
    return (
        f"No configured course fits “{found['front']}”. Configured prefixes: {known}. "
        "Add the course to its program in config.toml (prefix: what stands before the run), then ingest again."
    )


def _other_name(name: str) -> ExportName:
    if found := _MAYBE_REPORT.search(name):
        why = "The name is that of a report, but the file is no finished .csv. Unpack it, or download it again."
        return ExportName(kind=found[1], refused=why)
    if _OPT_IN_LIST.fullmatch(name):
        return ExportName(kind=OPT_IN)
    return ExportName(kind=UNKNOWN, ignored="Not a student profile or grade report of edX.")


def parse_stamp(written: str) -> datetime | None:
    """``2019-12-04-0227`` as edX writes it, in UTC; None when it is no date and time."""
    found = re.fullmatch(r"(\d{4})-(\d\d)-(\d\d)-(\d\d)(\d\d)", written)
    if found is None:
        return None
    year, month, day, hour, minute = map(int, found.groups())
    try:
        return datetime(year, month, day, hour, minute, tzinfo=UTC)
    except ValueError:
        return None


def term_and_year(run: str) -> tuple[str | None, int | None]:
    """Term and year where the run says so: ``1T2019`` or ``2025_T1``; else nothing, for there is no standard."""
    if found := re.fullmatch(r"(\dT)(\d{4})[a-z]?", run):
        return found[1], int(found[2])
    if found := re.fullmatch(r"(\d{4})_(T\d)[a-z]?", run):
        return found[2], int(found[1])
    return None, None
