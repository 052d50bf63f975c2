"""What a grade report row says about a learner in a course (edx-exports 7.3). Standard library only.

``store/completion.py`` holds the same ladder in SQL; a test keeps the two equal for every combination.
"""

from collections.abc import Iterable

from mmcampaign.model import Enrollment, Status

# Enrollment tracks (edx-exports 7.1). A track in neither set is unknown: stored, reported, never taken as paid (E30).
FREE_TRACKS = frozenset({"audit", "honor", "unpaid-executive-education", "unpaid-bootcamp"})
PAID_TRACKS = frozenset(
    {
        "verified",
        "professional",
        "no-id-professional",
        "credit",
        "masters",
        "executive-education",
        "paid-executive-education",
        "paid-bootcamp",
    }
)

# Best first; the order of ``Status`` is the ladder.
RANK = {status: place for place, status in enumerate(Status)}
PASSED = frozenset({Status.CERTIFIED, Status.ELIGIBLE, Status.AUDIT_PASSED, Status.PASSED_NOT_ELIGIBLE})


def status_of_run(
    *, grade: float | None, track: str, eligible: str = "", delivered: str = "", passing_grade: float
) -> Status:
    """The standing in one course run; the first rung that holds counts.

    ``grade`` and ``passing_grade`` are fractions, at the passing grade is passed (E24); None means that no grade report
    names the learner (E32). ``eligible`` and ``delivered`` are edX's ``Y`` or ``N``. That ``eligible`` was ``Y`` for
    audit passers before mid-2018 (E37) and ``N`` for embargoed or credit-track ones (E39, E40) needs no date: only a
    certificate, or ``Y`` on a paid track, stands above the grade.
    """
    if delivered == "Y":
        return Status.CERTIFIED
    if eligible == "Y" and track in PAID_TRACKS:
        return Status.ELIGIBLE
    if grade is None:
        return Status.GRADE_UNKNOWN
    if grade < passing_grade:
        return Status.NOT_PASSED
    return Status.AUDIT_PASSED if track in FREE_TRACKS else Status.PASSED_NOT_ELIGIBLE


def is_audit_passed(*, grade: float | None, track: str, passing_grade: float) -> bool:
    """Whether a free track and a passing grade meet, whatever certificate there is."""
    return grade is not None and grade >= passing_grade and track in FREE_TRACKS


def best_run(enrollments: Iterable[Enrollment]) -> Enrollment:
    """The run of one course that counts: the best status (E36).

    Between equals a paid track comes first, then the higher grade, then the run whose name sorts last; the latter only
    makes the answer independent of the order of the files. Raises ValueError when there is no run.
    """
    return max(enrollments, key=_worth)


def _worth(enrollment: Enrollment) -> tuple[int, bool, float, str]:
    grade = -1.0 if enrollment.grade is None else enrollment.grade
    return -RANK[enrollment.status], enrollment.track in PAID_TRACKS, grade, enrollment.run


def passed_mark(status: Status) -> str:
    """``Y``, ``N``, or ``-`` where no grade is known, as the completion report prints it."""
    if status is Status.GRADE_UNKNOWN:
        return "-"
    return "Y" if status in PASSED else "N"
