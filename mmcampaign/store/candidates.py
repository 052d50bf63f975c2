"""Reads what the rules look at: learners of a program who may have a trigger, with everything known about them.

SQL narrows a million learners to those whose current run gives a reason to write; ``cohorts.py`` decides on values.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any

from sqlalchemy import ColumnElement, CompoundSelect, Connection, Row, and_, false, func, or_, select, union

from mmcampaign.model import (
    CampaignState,
    Cohort,
    Completion,
    Course,
    Enrollment,
    FileStatus,
    Learner,
    MessageStatus,
    PastMessage,
    Program,
    Status,
)
from mmcampaign.rules import CERTIFICATE, UPGRADABLE_TRACKS, Candidate
from mmcampaign.store.consents import choices_of
from mmcampaign.store.dialect import one_of
from mmcampaign.store.learners import last_seen
from mmcampaign.store.tables import (
    campaigns,
    completions,
    course_instancedetails,
    imports,
    learners,
    messages,
    suppressions,
)

CHUNK = 2_000  # learners read at a time; keeps memory flat


@dataclass(frozen=True, kw_only=True)
class Lens:
    """How to read: ``zone`` turns times into days, ``check_address`` names what is wrong with an address (or nothing),
    ``ignore_campaign`` leaves that campaign's own messages out of the history."""

    zone: tzinfo
    check_address: Callable[[str], str]
    ignore_campaign: int = 0


def read_candidates(connection: Connection, program: Program, lens: Lens) -> Iterator[Candidate]:
    """Every learner of the program who may have a trigger, by student id; holds their ids and one chunk in memory."""
    reader = _Reader(connection, program, lens)
    ids = list(connection.execute(_may_have_trigger(program, reader.hidden)).scalars())
    for start in range(0, len(ids), CHUNK):
        yield from reader.read(ids[start : start + CHUNK])


def candidates_by_id(connection: Connection, program: Program, ids: Sequence[int], lens: Lens) -> Iterator[Candidate]:
    """The named learners, whether they have a trigger or not, by student id."""
    return _Reader(connection, program, lens).read(ids)


def _may_have_trigger(program: Program, hidden: frozenset[str]) -> CompoundSelect[Any]:
    """The ids, each once and in order: a pass over the current runs, which the primary key holds in this order."""
    table = course_instancedetails.c
    runs = []
    for course in program.series:
        if not course.current_run:
            continue
        run = course.instance(course.current_run)
        reasons = [table.grade >= course.passing_grade, table.status.in_(sorted(CERTIFICATE))]
        if run in hidden:
            reasons.append(and_(table.grade.is_(None), table.enrollment_track.in_(sorted(UPGRADABLE_TRACKS))))
        runs.append(select(table.learner_id).where(table.course_instance == run, or_(*reasons)))
    return union(*(runs or [select(table.learner_id).where(false())])).order_by("learner_id")


class _Reader:
    """Reads candidates of one program in chunks, after a look at what all of them share: files and campaigns.

    Rows are found by primary key: of ``course_instancedetails`` those in the runs that rules look at, the current and
    the coming run of each course.
    """

    def __init__(self, connection: Connection, program: Program, lens: Lens) -> None:
        self._connection, self._lens = connection, lens
        self._prefixes = {course.code: course.prefix for course in program.courses}
        self._runs = {course.instance(run): (course.code, run) for course in program.courses for run in _runs(course)}
        of_file = (
            imports.c[name] for name in ("id", "name", "exported_at", "course_instance", "audit_hidden", "status")
        )
        files = connection.execute(select(*of_file).where(imports.c.course_instance.in_(list(self._runs)))).all()
        self._files = {file.id: file for file in files}
        columns = (campaigns.c[name] for name in ("id", "program", "state", "started_at", "planned_at"))
        self._campaigns = {row.id: row for row in connection.execute(select(*columns))}
        self.hidden = frozenset(f.course_instance for f in files if f.audit_hidden and f.status == FileStatus.LOADED)

    def read(self, ids: Sequence[int]) -> Iterator[Candidate]:
        """These learners, by student id."""
        people = self._people(ids)
        addresses: dict[str, list[int]] = defaultdict(list)
        for row in people:
            if row.email_key:
                addresses[row.email_key].append(row.student_id)
        enrolled, completed = self._enrollments(ids), self._completions(ids)
        history = self._history(ids, addresses)
        twins = self._twins([row.student_id for row in people if row.accounts > 1 and row.email_key])
        consented = choices_of(self._connection, {row.student_id: row.email_key for row in people})
        for row in people:
            student_id = row.student_id
            yield Candidate(
                learner=learner_from_row(row),
                address_problem=self._lens.check_address(row.email) if row.email else "",
                twin=twins.get(student_id, 0),
                enrollments=tuple(enrolled.get(student_id, ())),
                completions=completed.get(student_id, {}),
                history=tuple(history.get(student_id, ())),
                suppression=row.reason or "",
                consent=consented.get(student_id, ""),
                hidden_runs=self.hidden,
            )

    def _people(self, ids: Sequence[int]) -> Sequence[Any]:
        """With the suppression of each address, and how many accounts have it."""
        same = learners.alias("same")
        accounts = select(func.count()).where(same.c.email_key == learners.c.email_key).scalar_subquery()
        names = ("student_id", "username", "email", "email_key", "name", "country", "retired_at")
        query = (
            select(*(learners.c[name] for name in names), suppressions.c.reason, accounts.label("accounts"))
            .join_from(learners, suppressions, suppressions.c.email_key == learners.c.email_key, isouter=True)
            .where(self._among(learners.c.student_id, ids))
            .order_by(learners.c.student_id)
        )
        return self._connection.execute(query).all()

    def _enrollments(self, ids: Sequence[int]) -> dict[int, list[Enrollment]]:
        table = course_instancedetails.c
        source = func.coalesce(table.import_id, table.profile_import_id)
        columns = (table.grade, table.enrollment_track, table.enrollment_status, table.status, source)
        query = (
            select(table.learner_id, table.course_instance, *columns)
            .where(table.course_instance.in_(list(self._runs)), self._among(table.learner_id, ids))
            .order_by(table.course_instance, table.learner_id)
        )
        found: dict[int, list[Enrollment]] = defaultdict(list)
        rows = self._connection.execute(query).all()
        for student_id, instance, grade, track, enrollment_status, status, import_id in rows:
            course, run = self._runs[instance]
            file = self._files.get(import_id)
            found[student_id].append(
                Enrollment(
                    course=course,
                    run=run,
                    grade=grade,
                    track=track or "",
                    enrollment_status=enrollment_status or "",
                    status=Status(status),
                    exported_at=file.exported_at if file else None,
                    source=file.name if file else "",
                )
            )
        return found

    def _completions(self, ids: Sequence[int]) -> dict[int, dict[str, Completion]]:
        table = completions.c
        columns = (table.learner_id, table.course, table.status, table.enrollment_track, table.course_instance)
        query = select(*columns).where(table.course.in_(list(self._prefixes)), self._among(table.learner_id, ids))
        found: dict[int, dict[str, Completion]] = defaultdict(dict)
        for student_id, course, status, track, instance in self._connection.execute(query).all():
            run = instance.removeprefix(self._prefixes[course] + "_")
            found[student_id][course] = Completion(course=course, status=Status(status), track=track or "", run=run)
        return found

    def _history(self, ids: Sequence[int], addresses: Mapping[str, list[int]]) -> dict[int, list[PastMessage]]:
        """What went out, or may have, to these people or to their mailboxes; a campaign being sent counts whole."""
        if not self._campaigns:
            return {}
        under_way = [id for id, campaign in self._campaigns.items() if campaign.state in _BEING_SENT]
        query = select(*(messages.c[name] for name in _OF_MESSAGE)).where(
            or_(self._among(messages.c.learner_id, ids), self._among(messages.c.email_key, list(addresses))),
            or_(
                messages.c.status.in_(_GONE),
                and_(messages.c.status == MessageStatus.PENDING, messages.c.campaign_id.in_(under_way)),
            ),
            messages.c.campaign_id != self._lens.ignore_campaign,
        )
        found = defaultdict(list)
        for row in self._connection.execute(query).all():
            past = _past_message(row, self._campaigns[row.campaign_id], self._lens.zone)
            for student_id in {row.learner_id, *addresses.get(row.email_key, ())}:
                found[student_id].append(past)
        return found

    def _twins(self, ids: Sequence[int]) -> dict[int, int]:
        """Who of these shares an address with somebody seen in a newer file (edX case E34); on equal stamps the higher
        id has it."""
        if not ids:
            return {}
        other = learners.alias("other")
        seen, other_seen = last_seen(learners), last_seen(other)
        newer = or_(other_seen > seen, and_(other_seen == seen, other.c.student_id > learners.c.student_id))
        query = (
            select(learners.c.student_id, func.max(other.c.student_id))
            .join(other, and_(other.c.email_key == learners.c.email_key, other.c.student_id != learners.c.student_id))
            .where(self._among(learners.c.student_id, ids), other.c.retired_at.is_(None), newer)
            .group_by(learners.c.student_id)
        )
        return {row[0]: row[1] for row in self._connection.execute(query)}

    def _among(self, column: ColumnElement[Any], keys: Sequence[Any]) -> ColumnElement[bool]:
        return one_of(self._connection, column, keys)


_OF_MESSAGE = (
    *("learner_id", "email_key", "campaign_id", "cohort", "trigger_course", "trigger_run", "next_course"),
    *("sent_at", "claimed_at"),
)
_GONE = (MessageStatus.ACCEPTED, MessageStatus.UNKNOWN, MessageStatus.SENDING)
_BEING_SENT = (CampaignState.SENDING, CampaignState.PAUSED)


def _runs(course: Course) -> Iterator[str]:
    if course.current_run:
        yield course.current_run
    if course.coming_run:
        yield course.coming_run.run


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
        found = connection.execute(select(learners).where(condition).order_by(last_seen(learners).desc())).first()
        if found is not None:
            return learner_from_row(found)
    return None


def _past_message(row: Row[Any], campaign: Row[Any], zone: tzinfo) -> PastMessage:
    sent: datetime = row.sent_at or row.claimed_at or campaign.started_at or campaign.planned_at
    return PastMessage(
        campaign=row.campaign_id,
        program=campaign.program,
        cohort=Cohort(row.cohort),
        trigger_course=row.trigger_course,
        trigger_run=row.trigger_run,
        next_course=row.next_course,
        sent_on=sent.astimezone(zone).date(),
    )
