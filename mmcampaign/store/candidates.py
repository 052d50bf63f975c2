"""Reads what the rules look at: learners of a program who may have a trigger, with everything known about them.

SQL narrows a million learners to those whose current run gives a reason to write; ``cohorts.py`` decides on values.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, false, func, or_, select

from mmcampaign.model import (
    CampaignState,
    Cohort,
    Completion,
    Enrollment,
    Learner,
    MessageStatus,
    PastMessage,
    Program,
    Status,
)
from mmcampaign.rules import CERTIFICATE, UPGRADABLE_TRACKS, Candidate
from mmcampaign.store.consents import choices_of
from mmcampaign.store.tables import (
    campaigns,
    completions,
    course_instancedetails,
    imports,
    learners,
    messages,
    suppressions,
)

CHUNK = 2_000  # learners read at a time; keeps memory flat and the bound parameters few

Facts = Mapping[int, list[Any]]


@dataclass(frozen=True, kw_only=True)
class Lens:
    """How to read: ``zone`` turns times into days, ``check_address`` names what is wrong with an address (or nothing),
    ``ignore_campaign`` leaves that campaign's own messages out of the history."""

    zone: tzinfo
    check_address: Callable[[str], str]
    ignore_campaign: int = 0


def read_candidates(connection: Connection, program: Program, lens: Lens) -> Iterator[Candidate]:
    """Every learner of the program who may have a trigger, by student id; flat in memory."""
    hidden = _hidden_runs(connection, program)
    ids = [row[0] for row in connection.execute(_may_have_trigger(program, hidden))]
    for start in range(0, len(ids), CHUNK):
        yield from candidates_by_id(connection, program, ids[start : start + CHUNK], lens, hidden)


def _may_have_trigger(program: Program, hidden: frozenset[str]) -> Any:
    table = course_instancedetails.c
    conditions: list[ColumnElement[bool]] = [false()]
    for course in program.series:
        if not course.current_run:
            continue
        run = course.instance(course.current_run)
        reasons = [table.grade >= course.passing_grade, table.status.in_(sorted(CERTIFICATE))]
        if run in hidden:
            reasons.append(and_(table.grade.is_(None), table.enrollment_track.in_(sorted(UPGRADABLE_TRACKS))))
        conditions.append(and_(table.course_instance == run, or_(*reasons)))
    return select(table.learner_id).where(or_(*conditions)).distinct().order_by(table.learner_id)


def candidates_by_id(
    connection: Connection, program: Program, ids: list[int], lens: Lens, hidden: frozenset[str] | None = None
) -> Iterator[Candidate]:
    """The named learners, whether they have a trigger or not, by student id."""
    if hidden is None:
        hidden = _hidden_runs(connection, program)
    people = connection.execute(select(learners).where(learners.c.student_id.in_(ids)).order_by("student_id")).all()
    keys: dict[str, list[int]] = defaultdict(list)
    for row in people:
        if row.email_key:
            keys[row.email_key].append(row.student_id)
    enrolled, completed = _enrollments(connection, program, ids), _completions(connection, program, ids)
    history = _history(connection, ids, keys, lens)
    twins = _twins(connection, ids)
    suppressed = _pairs(connection, suppressions.c.email_key, suppressions.c.reason, list(keys))
    consented = choices_of(connection, {row.student_id: row.email_key for row in people})
    for row in people:
        yield Candidate(
            learner=learner_from_row(row),
            address_problem=lens.check_address(row.email) if row.email else "",
            twin=twins.get(row.student_id, 0),
            enrollments=tuple(enrolled[row.student_id]),
            completions={completion.course: completion for completion in completed[row.student_id]},
            history=tuple(history[row.student_id]),
            suppression=suppressed.get(row.email_key, ""),
            consent=consented.get(row.student_id, ""),
            hidden_runs=hidden,
        )


def learner_from_row(row: Row[Any]) -> Learner:
    """A row of ``learners``; a pending deletion shows in the address alone (edX case E41)."""
    dead_address = row.email_key.startswith("retired__user_") and row.email_key.endswith("@retired.invalid")
    return Learner(
        student_id=row.student_id,
        username=row.username,
        email=row.email,
        name=row.name or "",
        country=row.country or "",
        retired=row.retired_at is not None or dead_address,
    )


def find_learner(connection: Connection, key: str) -> Learner | None:
    """By edX user id, user name or address, in this order; the one seen last where an address stands twice (E34)."""
    wanted = [learners.c.username == key, learners.c.email_key == key.casefold()]
    if key.isdecimal() and len(key) < 19:
        wanted.insert(0, learners.c.student_id == int(key))
    for condition in wanted:
        found = connection.execute(select(learners).where(condition).order_by(learners.c.seen_at.desc())).first()
        if found is not None:
            return learner_from_row(found)
    return None


def _hidden_runs(connection: Connection, program: Program) -> frozenset[str]:
    found = select(imports.c.course_instance).where(
        imports.c.program == program.code, imports.c.audit_hidden.is_(True), imports.c.status == "loaded"
    )
    return frozenset(connection.execute(found).scalars())


def _enrollments(connection: Connection, program: Program, ids: list[int]) -> Facts:
    table = course_instancedetails
    source = func.coalesce(table.c.import_id, table.c.profile_import_id)
    query = (
        select(table, imports.c.name.label("source"), imports.c.exported_at)
        .join(imports, imports.c.id == source, isouter=True)
        .where(table.c.learner_id.in_(ids), table.c.course.in_([course.code for course in program.courses]))
        .order_by(table.c.learner_id, table.c.course_instance)
    )
    found = defaultdict(list)
    for row in connection.execute(query):
        found[row.learner_id].append(
            Enrollment(
                course=row.course,
                run=row.run,
                grade=row.grade,
                track=row.enrollment_track or "",
                enrollment_status=row.enrollment_status or "",
                status=Status(row.status),
                exported_at=row.exported_at,
                source=row.source or "",
            )
        )
    return found


def _completions(connection: Connection, program: Program, ids: list[int]) -> Facts:
    prefixes = {course.code: course.prefix for course in program.courses}
    query = select(completions).where(completions.c.learner_id.in_(ids), completions.c.course.in_(list(prefixes)))
    found = defaultdict(list)
    for row in connection.execute(query):
        found[row.learner_id].append(
            Completion(
                course=row.course,
                status=Status(row.status),
                track=row.enrollment_track or "",
                run=row.course_instance.removeprefix(prefixes[row.course] + "_"),
            )
        )
    return found


def _history(connection: Connection, ids: list[int], keys: Mapping[str, list[int]], lens: Lens) -> Facts:
    """What went out, or may have, to these people or to their mailboxes; a campaign that is being sent counts whole."""
    gone = messages.c.status.in_([MessageStatus.ACCEPTED, MessageStatus.UNKNOWN, MessageStatus.SENDING])
    on_its_way = and_(
        messages.c.status == MessageStatus.PENDING,
        campaigns.c.state.in_([CampaignState.SENDING, CampaignState.PAUSED]),
    )
    query = (
        select(messages, campaigns.c.program, campaigns.c.started_at, campaigns.c.planned_at)
        .join(campaigns, campaigns.c.id == messages.c.campaign_id)
        .where(
            or_(messages.c.learner_id.in_(ids), messages.c.email_key.in_(list(keys))),
            or_(gone, on_its_way),
            campaigns.c.id != lens.ignore_campaign,
        )
    )
    found = defaultdict(list)
    for row in connection.execute(query):
        past = _past_message(row, lens.zone)
        for student_id in {row.learner_id, *keys.get(row.email_key, ())}:
            found[student_id].append(past)
    return found


def _past_message(row: Row[Any], zone: tzinfo) -> PastMessage:
    sent: datetime = row.sent_at or row.claimed_at or row.started_at or row.planned_at
    return PastMessage(
        campaign=row.campaign_id,
        program=row.program,
        cohort=Cohort(row.cohort),
        trigger_course=row.trigger_course,
        trigger_run=row.trigger_run,
        next_course=row.next_course,
        sent_on=sent.astimezone(zone).date(),
    )


def _twins(connection: Connection, ids: list[int]) -> dict[int, int]:
    """Who shares an address with somebody seen in a newer file (edX case E34); on equal stamps the higher id has it."""
    other = learners.alias("other")
    newer = or_(
        other.c.seen_at > learners.c.seen_at,
        and_(other.c.seen_at == learners.c.seen_at, other.c.student_id > learners.c.student_id),
    )
    query = (
        select(learners.c.student_id, func.max(other.c.student_id))
        .join(other, and_(other.c.email_key == learners.c.email_key, other.c.student_id != learners.c.student_id))
        .where(learners.c.student_id.in_(ids), learners.c.email_key != "", other.c.retired_at.is_(None), newer)
        .group_by(learners.c.student_id)
    )
    return {row[0]: row[1] for row in connection.execute(query)}


def _pairs(connection: Connection, key: Any, value: Any, wanted: Iterable[Any]) -> dict[Any, str]:
    return {row[0]: row[1] for row in connection.execute(select(key, value).where(key.in_(list(wanted))))}
