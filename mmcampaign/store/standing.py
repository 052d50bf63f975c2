"""Which learners an export lists, and with what values: the part of ``course_instancedetails`` that came from it.

A row there joins two exports of a run, the grade report and the student profile; each has its own columns.
"""

from typing import Any

from sqlalchemy import ColumnElement, Select, Table, select

from mmcampaign.store.tables import course_instancedetails

GRADE_REPORT, STUDENT_PROFILE = "grade_report", "student_profile_info"  # the kinds, as edX's file names say them

# The columns each kind brings, by the same names in the staged rows, in the details and in the history.
VALUES = {
    GRADE_REPORT: (
        "grade",
        "enrollment_track",
        "verification_status",
        "certificate_eligible",
        "certificate_delivered",
        "certificate_type",
        "enrollment_status",
    ),
    STUDENT_PROFILE: ("profile_track",),
}


def is_listed(kind: str, details: Table = course_instancedetails) -> ColumnElement[bool]:
    """Whether a row of the details came from an export of that kind (too)."""
    source = details.c.import_id if kind == GRADE_REPORT else details.c.profile_import_id
    return source.is_not(None)


def standing_rows(kind: str, course_instance: str) -> Select[Any]:
    """``learner_id`` and values of everybody whom the run's newest export of that kind lists."""
    details = course_instancedetails.c
    columns = (details[name] for name in VALUES[kind])
    here = details.course_instance == course_instance
    return select(details.learner_id, *columns).where(here, is_listed(kind))
