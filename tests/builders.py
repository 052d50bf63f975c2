"""Makes values for tests: only what a test is about is spelt out, the rest is an ordinary learner in June 2027.

The program ``river`` has three courses in its series and a capstone. The learner ``make_candidate()`` gives has passed
the first course on the audit track and so is chosen for ``audit-upgrade``.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any

from mmcampaign.completion import best_run, status_of_run
from mmcampaign.model import (
    Cohort,
    ComingRun,
    Completion,
    Course,
    Enrollment,
    Learner,
    PastMessage,
    Program,
    Status,
)
from mmcampaign.rules import Candidate, Policy

TODAY = date(2027, 6, 15)
NOW = datetime(2027, 6, 15, 3, 0, tzinfo=UTC)
EXPORTED = datetime(2027, 6, 1, 4, 30, tzinfo=UTC)
RUN = "1T2027"


def make_course(number: int = 1, **changes: Any) -> Course:
    """The course ``river<number>x`` with its current run."""
    titles = {1: "Rain", 2: "Snow", 3: "Floods"}
    facts: dict[str, Any] = {
        "code": f"river{number}x",
        "prefix": f"NX_RIVER{number}x",
        "title": titles.get(number, f"Course {number}"),
        "link": f"https://www.edx.example/course/river{number}x",
        "passing_grade": 0.65,
        "current_run": RUN,
    }
    return Course(**{**facts, **changes})


def make_capstone(**changes: Any) -> Course:
    facts: dict[str, Any] = {"code": "rivercapx", "prefix": "NX_RIVERCAPx", "title": "Capstone", "series": False}
    return make_course(**{**facts, **changes})


def make_coming(**changes: Any) -> ComingRun:
    return ComingRun(**{"run": "2T2027", **changes})


def make_program(*courses: Course, **changes: Any) -> Program:
    """River: the given courses in place of the usual ones with the same code."""
    usual = {course.code: course for course in (make_course(1), make_course(2), make_course(3), make_capstone())}
    chosen = usual | {course.code: course for course in courses}
    facts: dict[str, Any] = {"code": "river", "title": "Rivers", "template": "river", "courses": tuple(chosen.values())}
    return Program(**{**facts, **changes})


def make_learner(student_id: int = 7, **changes: Any) -> Learner:
    facts: dict[str, Any] = {
        "student_id": student_id,
        "username": f"learner_{student_id}",
        "email": f"learner{student_id}@mail.example",
        "name": "Ana Pine",
        "country": "AU",
    }
    return Learner(**{**facts, **changes})


def make_enrollment(course: int | str = 1, **changes: Any) -> Enrollment:
    """A learner enrolled on the audit track of the current run with 0.8; the status follows unless it is given."""
    facts: dict[str, Any] = {
        "course": f"river{course}x" if isinstance(course, int) else course,
        "run": RUN,
        "grade": 0.8,
        "track": "audit",
        "enrollment_status": "enrolled",
        "exported_at": EXPORTED,
        **changes,
    }
    instance = f"NX_{facts['course'].replace('river', 'RIVER').replace('cap', 'CAP')}_{facts['run']}"
    facts.setdefault("source", f"{instance}_grade_report_2027-06-01-0430.csv")
    facts.setdefault("status", status_of_run(grade=facts["grade"], track=facts["track"], passing_grade=0.65))
    return Enrollment(**facts)


def certified(course: int | str = 1, **changes: Any) -> Enrollment:
    """A learner who earned the certificate of the course in its current run."""
    return make_enrollment(course, **{"track": "verified", "status": Status.CERTIFIED, **changes})


def completions_of(enrollments: Iterable[Enrollment]) -> dict[str, Completion]:
    """Best status over runs, as the database keeps it."""
    by_course: dict[str, list[Enrollment]] = {}
    for enrollment in enrollments:
        by_course.setdefault(enrollment.course, []).append(enrollment)
    best = {course: best_run(runs) for course, runs in by_course.items()}
    return {
        course: Completion(course=course, status=run.status, track=run.track, run=run.run)
        for course, run in best.items()
    }


def make_candidate(*enrollments: Enrollment, learner: Learner | None = None, **changes: Any) -> Candidate:
    """The usual learner with these enrollments (default: the first course passed on the audit track)."""
    taken = enrollments or (make_enrollment(1),)
    facts: dict[str, Any] = {
        "learner": learner or make_learner(),
        "enrollments": taken,
        "completions": completions_of(taken),
    }
    return Candidate(**{**facts, **changes})


def make_policy(**changes: Any) -> Policy:
    return Policy(**{"today": TODAY, **changes})


def make_past(**changes: Any) -> PastMessage:
    """A message sent long ago about something else."""
    facts: dict[str, Any] = {
        "campaign": 1,
        "program": "lake",
        "cohort": Cohort.CONTINUE,
        "trigger_course": "lake1x",
        "trigger_run": RUN,
        "next_course": "",
        "sent_on": date(2026, 1, 1),
    }
    return PastMessage(**{**facts, **changes})


def leaves(value: Any, name: str = "") -> Mapping[str, Any]:
    """Every leaf of nested mappings and lists under its dotted name."""
    if isinstance(value, Mapping):
        pairs: Iterable[tuple[object, Any]] = value.items()
    elif isinstance(value, list | tuple):
        pairs = enumerate(value)
    else:
        return {name: value}
    return {
        path: leaf
        for key, inner in pairs
        for path, leaf in leaves(inner, f"{name}.{key}" if name else str(key)).items()
    }
