"""Invented learners for the branches of a template that nobody reaches today. Values only."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import product

from mmcampaign.cohorts import Decision
from mmcampaign.model import Cohort, ComingRun, Completion, Course, Learner, Program, Status
from mmcampaign.rules import Candidate

Invented = tuple[Program, Candidate, Decision]
_SAM = Learner(student_id=1, username="sam", email="sam.sample@mail.example", name="Sam Sample")


@dataclass(frozen=True)
class Facts:
    """What a template may ask about a learner. ``dated``: the days to upgrade or enroll are limited."""

    upgrade: bool
    following: bool
    dated: bool
    named: bool
    others: bool
    many: bool


def all_facts() -> Iterator[Facts]:
    """Sixteen of the 64 combinations, such that any three facts meet in every way.

    Four facts vary freely and two follow from them (a fractional factorial design of resolution IV).
    """
    for upgrade, following, dated, named in product((True, False), repeat=4):
        others, many = upgrade ^ following ^ dated, following ^ dated ^ named
        yield Facts(upgrade, following, dated, named, others, many)


def invented(program: Program, today: date) -> Iterator[Invented]:
    """A learner for each combination, with the program as it would have to be."""
    for facts in all_facts():
        yield _invent(program, facts, today + timedelta(days=30) if facts.dated else None)


def _invent(program: Program, facts: Facts, close: date | None) -> Invented:
    series = program.series
    following = facts.following and len(series) > 1
    earned = _earned(len(series), facts.upgrade, following, facts.many)
    place = earned if facts.upgrade else earned - 1
    trigger = series[place]._replace(upgrade_deadline=close)
    next_course = _closing(series[(place + 1) % len(series)], close) if following else None
    changed = {course.code: course for course in (trigger, next_course) if course}
    program = replace(program, courses=tuple(changed.get(course.code, course) for course in program.courses))
    learner = _SAM if facts.named else _SAM._replace(name="")
    decision = Decision(
        learner=learner,
        cohort=Cohort.AUDIT_UPGRADE if facts.upgrade else Cohort.CONTINUE,
        trigger=trigger,
        next_course=next_course,
        certificates_earned=earned,
        other_triggers=tuple(course.code for course in series if course.code != trigger.code)[: 2 * facts.others],
    )
    completions = {
        course.code: Completion(course=course.code, status=Status.CERTIFIED, track="verified", run=course.current_run)
        for course in program.series[:earned]
    }
    return program, Candidate(learner=learner, completions=completions), decision


def _earned(series: int, upgrade: bool, following: bool, many: bool) -> int:
    """Certificates of the series that make the other facts true; those of the courses before the trigger."""
    if not following:
        return series - 1 if upgrade else series
    if upgrade:
        return max(series - 2, 0) if many else 0
    return max(series - 1, 1) if many else 1


def _closing(course: Course, close: date | None) -> Course:
    coming = course.coming_run or ComingRun(run=course.current_run)
    return course._replace(coming_run=coming._replace(enrollment_closes=close))
