"""Use case: who is in a program's cohorts today, who is out, and why. Nothing is written."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from mmcampaign.addresses import address_problem
from mmcampaign.app import App
from mmcampaign.cohorts import Decision, decide, explain, trigger_checks
from mmcampaign.errors import InputError
from mmcampaign.model import Cohort, Course, Program
from mmcampaign.rules import Candidate, Check, Policy
from mmcampaign.store.campaigns import data_sources
from mmcampaign.store.candidates import Lens, candidates_by_id, find_learner, read_candidates

if TYPE_CHECKING:
    from mmcampaign.store.as_of import AsOf

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


@contextmanager
def looking_at(app: App, program: Program, as_of: date | None) -> Iterator[tuple[Connection, "AsOf | None"]]:
    """A connection that sees the program as it stands, or stood at the end of a day in the site's time zone.

    Raises InputError when no export of the program is as old as that.
    """
    if as_of is None:
        with app.store.read() as connection:
            yield connection, None
        return
    from mmcampaign.store.as_of import state_as_of  # noqa: PLC0415  it completes courses anew, with what ingest needs

    end = datetime.combine(as_of + timedelta(days=1), time(), app.settings.site.zone)
    with state_as_of(app.store, program, end) as found:
        yield found


def explain_learner(
    app: App, program: Program, key: str, policy: Policy, *, as_of: date | None = None
) -> tuple[Candidate, list[tuple[Course, Decision | None, list[Check]]]]:
    """One learner: for each course of the series the decision (None: no trigger) and every rule's answer."""
    with looking_at(app, program, as_of) as (connection, _):
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
