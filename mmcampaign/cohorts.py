"""Who should hear from us, who should not, and why: one pure function over values (design 5).

A learner is *considered* for each course of the series whose current run gives a reason to write (a trigger).
Every trigger ends as a ``Decision``: chosen, or excluded with the first rule that speaks against it.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

from mmcampaign.model import Cohort, Course, Enrollment, Learner, Program, Reason
from mmcampaign.rules import (
    CERTIFICATE,
    LADDERS,
    UPGRADABLE_TRACKS,
    Candidate,
    Case,
    Check,
    Policy,
    certificates_earned,
)


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One trigger of one learner, decided. ``reason`` is None when chosen; ``detail`` is what was seen."""

    learner: Learner
    cohort: Cohort
    trigger: Course
    next_course: Course | None
    certificates_earned: int
    reason: Reason | None = None
    detail: str = ""
    other_triggers: tuple[str, ...] = ()

    @property
    def chosen(self) -> bool:
        return self.reason is None


def find_triggers(program: Program, candidate: Candidate) -> Iterator[tuple[Cohort, Course, Enrollment]]:
    """The courses of the series whose current run gives a reason to write, in configured order.

    A passing grade without a certificate makes a case for audit-upgrade whatever the track (a paid one is then
    excluded with its reason), and so does an audit enrollment whose grade a verified-only report hides (E44).
    """
    for course in program.series:
        enrollment = candidate.enrollment(course, course.current_run) if course.current_run else None
        if enrollment is None:
            continue
        certified = enrollment.status in CERTIFICATE
        free = enrollment.track in UPGRADABLE_TRACKS
        if (_passed(course, enrollment) and (free or not certified)) or _hidden(course, enrollment, candidate):
            yield Cohort.AUDIT_UPGRADE, course, enrollment
        if certified:
            yield Cohort.CONTINUE, course, enrollment


def trigger_checks(course: Course, candidate: Candidate) -> list[Check]:
    """Why a course of the series is, or is not, a reason to write to this learner."""
    source = "config.toml: current_run"
    if not course.current_run:
        return [Check(rule="current_run", passed=False, seen="no current run is configured", source=source)]
    run = course.instance(course.current_run)
    enrollment = candidate.enrollment(course, course.current_run)
    if enrollment is None:
        return [Check(rule="current_run", passed=False, seen=f"not enrolled in {run}", source="all files")]
    where = enrollment.source
    grade = "not known" if enrollment.grade is None else f"{enrollment.grade:g}"
    certified = enrollment.status in CERTIFICATE
    return [
        Check(rule="current_run", passed=True, seen=f"{run}, track {enrollment.track or 'not known'}", source=where),
        Check(
            rule="passing_grade",
            passed=_passed(course, enrollment),
            seen=f"grade {grade}, needs {course.passing_grade:g}",
            source=where,
        ),
        Check(rule="certificate", passed=certified, seen=enrollment.status.value, source=where),
    ]


def _passed(course: Course, enrollment: Enrollment) -> bool:
    return enrollment.grade is not None and enrollment.grade >= course.passing_grade


def _hidden(course: Course, enrollment: Enrollment, candidate: Candidate) -> bool:
    unseen = enrollment.grade is None and enrollment.track in UPGRADABLE_TRACKS
    return unseen and course.instance(enrollment.run) in candidate.hidden_runs


def next_course(program: Program, candidate: Candidate, trigger: Course) -> Course | None:
    """The first course of the series without a certificate, other than the trigger's; None when there is none left."""
    for course in program.series:
        if course.code != trigger.code and not candidate.has_certificate(course):
            return course
    return None


def decide(program: Program, candidate: Candidate, policy: Policy) -> list[Decision]:
    """Every trigger of one learner, decided; at most one decision is chosen.

    Of several that pass every rule the furthest course in the series wins, audit-upgrade before continue on a tie
    (design 5); the others become ``merged`` and are named in ``other_triggers`` of the winner.
    """
    decisions = [_judge(case) for case in _cases(program, candidate, policy)]
    passing = [decision for decision in decisions if decision.chosen]
    if not passing:
        return decisions
    winner = _furthest(program, passing)
    others = tuple(decision.trigger.code for decision in passing if decision is not winner)
    winning = replace(winner, other_triggers=others) if others else winner
    return [_hold_out(winning, policy) if d is winner else _merge_into(winner, d) for d in decisions]


def _furthest(program: Program, passing: list[Decision]) -> Decision:
    place = {course.code: number for number, course in enumerate(program.series)}
    return max(passing, key=lambda d: (place[d.trigger.code], d.cohort is Cohort.AUDIT_UPGRADE))


def _merge_into(winner: Decision, other: Decision) -> Decision:
    if not other.chosen:
        return other
    return replace(other, reason=Reason.MERGED, detail=f"one email per person: {winner.trigger.title} comes first")


def explain(program: Program, candidate: Candidate, policy: Policy) -> list[tuple[Decision, list[Check]]]:
    """``decide`` with every rule's answer beside each decision, not only the first that spoke against it."""
    ladders = [
        [*trigger_checks(case.trigger, candidate), *(rule.check(case) for rule in LADDERS[case.cohort])]
        for case in _cases(program, candidate, policy)
    ]
    return list(zip(decide(program, candidate, policy), ladders, strict=True))


def _cases(program: Program, candidate: Candidate, policy: Policy) -> Iterator[Case]:
    earned = certificates_earned(program, candidate)
    for cohort, trigger, enrollment in find_triggers(program, candidate):
        if cohort in policy.cohorts:
            yield Case(
                program=program,
                candidate=candidate,
                policy=policy,
                cohort=cohort,
                trigger=trigger,
                enrollment=enrollment,
                next_course=next_course(program, candidate, trigger),
                certificates_earned=earned,
            )


def _judge(case: Case) -> Decision:
    reason, detail = _first_against(case)
    return Decision(
        learner=case.candidate.learner,
        cohort=case.cohort,
        trigger=case.trigger,
        next_course=case.next_course,
        certificates_earned=case.certificates_earned,
        reason=reason,
        detail=detail,
    )


def _first_against(case: Case) -> tuple[Reason | None, str]:
    """The first rule that speaks against writing, with what it saw."""
    for rule in LADDERS[case.cohort]:
        passed, seen = rule.look(case)
        if not passed:
            return rule.code, seen
    return None, ""


def _hold_out(decision: Decision, policy: Policy) -> Decision:
    """Keep a fixed share of the chosen unmailed, by a hash that gives the same answer for the same plan."""
    if not policy.holdout_percent:
        return decision
    digest = hashlib.sha256(f"{policy.holdout_seed}:{decision.learner.student_id}".encode()).digest()
    if int.from_bytes(digest[:8]) / 2**64 * 100 >= policy.holdout_percent:
        return decision
    detail = f"in the {policy.holdout_percent:g} % kept unmailed to compare with"
    return replace(decision, reason=Reason.HELD_OUT, detail=detail)
