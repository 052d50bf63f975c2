"""Use case: who is in a program's cohorts today, who is out, and why. Nothing is written."""

from collections.abc import Iterator
from datetime import date

from sqlalchemy import Connection

from mmcampaign.addresses import address_problem
from mmcampaign.app import App
from mmcampaign.cohorts import Decision, decide, explain, trigger_checks
from mmcampaign.errors import InputError
from mmcampaign.model import Cohort, Course, Program
from mmcampaign.rules import Candidate, Check, Policy
from mmcampaign.store.campaigns import data_sources
from mmcampaign.store.candidates import Lens, candidates_by_id, find_learner, read_candidates

BOTH = frozenset(Cohort)


def policy_of(app: App, cohorts: frozenset[Cohort] = BOTH, *, today: date | None = None) -> Policy:
    """The configured policy as the rules see it, without a hold-out."""
    configured = app.settings.policy
    return Policy(
        today=today or app.today,
        cohorts=cohorts,
        staff=app.settings.site.staff,
        cooldown_days=configured.cooldown_days,
        consent=configured.consent,
    )


def select(
    app: App, connection: Connection, program: Program, policy: Policy, *, ignore_campaign: int = 0
) -> Iterator[tuple[Candidate, list[Decision]]]:
    """Every learner with a trigger, by student id, with each trigger decided."""
    for candidate in read_candidates(connection, program, _lens(app, ignore_campaign)):
        decisions = decide(program, candidate, policy)
        if decisions:
            yield candidate, decisions


def explain_learner(
    app: App, program: Program, key: str, policy: Policy
) -> tuple[Candidate, list[tuple[Course, Decision | None, list[Check]]]]:
    """One learner: for each course of the series the decision (None: no trigger) and every rule's answer."""
    with app.store.read() as connection:
        learner = find_learner(connection, key)
        if learner is None:
            raise InputError(
                f"No learner {key!r} in the database.",
                todo="Give an edX user id, a user name or an address as it stands in the reports.",
            )
        candidate = next(candidates_by_id(connection, program, [learner.student_id], _lens(app)))
    judged = explain(program, candidate, policy)
    found: list[tuple[Course, Decision | None, list[Check]]] = []
    for course in program.series:
        here = [(course, decision, checks) for decision, checks in judged if decision.trigger == course]
        found += here or [(course, None, trigger_checks(course, candidate))]
    return candidate, found


def missing_reports(connection: Connection, program: Program) -> list[str]:
    """Sentences naming each current run of the series whose reports were never loaded."""
    loaded = {(row.course, row.run, row.kind) for row in data_sources(connection, [c.code for c in program.series])}
    found = []
    for course in program.series:
        if course.current_run and (course.code, course.current_run, "grade_report") not in loaded:
            run = course.instance(course.current_run)
            found.append(f"No grade report of {run} was loaded: nobody is written to because of {course.title}.")
    return found


def _lens(app: App, ignore_campaign: int = 0) -> Lens:
    return Lens(zone=app.settings.site.zone, check_address=address_problem, ignore_campaign=ignore_campaign)
