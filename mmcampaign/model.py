"""The nouns of the program: frozen values and closed sets. Standard library only.

What is made for every learner or message, and what every command loads, is a named tuple: a frozen dataclass takes
three times as long to make a value, and four times as long to be defined.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple


class FileStatus(StrEnum):
    """What became of a file given to ``ingest``."""

    LOADED = "loaded"
    SUPERSEDED = "superseded"
    DUPLICATE = "duplicate"
    IGNORED = "ignored"
    REFUSED = "refused"


class Status(StrEnum):
    """A learner's standing in a course, best first (edx-exports 7.3)."""

    CERTIFIED = "certified"
    ELIGIBLE = "eligible"
    AUDIT_PASSED = "audit_passed"
    PASSED_NOT_ELIGIBLE = "passed_not_eligible"
    NOT_PASSED = "not_passed"
    GRADE_UNKNOWN = "grade_unknown"


class Change(StrEnum):
    """What an export changed for a learner against the export before it.

    ``lowered`` is for eyes: a grade that fell, a pass or a certificate that was lost (edX case E45).
    """

    NEWLY_ENROLLED = "newly_enrolled"
    PASSED = "passed"
    UPGRADED = "upgraded"
    CERTIFIED = "certified"
    VANISHED = "vanished"
    LOWERED = "lowered"


class Cohort(StrEnum):
    """The two groups of learners who hear from us."""

    AUDIT_UPGRADE = "audit-upgrade"
    CONTINUE = "continue"


class Reason(StrEnum):
    """Why a learner considered was left out; the order is the order in which they count."""

    ACCOUNT_RETIRED = "account_retired"
    NO_ADDRESS = "no_address"
    INVALID_ADDRESS = "invalid_address"
    STAFF_ACCOUNT = "staff_account"
    DUPLICATE_ADDRESS = "duplicate_address"
    UNENROLLED = "unenrolled"
    PROGRAM_COMPLETE = "program_complete"
    ALREADY_CERTIFIED = "already_certified"
    PAID_TRACK = "paid_track"
    UPGRADE_CLOSED = "upgrade_closed"
    NEXT_RUN_CLOSED = "next_run_closed"
    ALREADY_ENROLLED_NEXT = "already_enrolled_next"
    REPORT_INCOMPLETE = "report_incomplete"
    CONSENT_REFUSED = "consent_refused"
    CONSENT_MISSING = "consent_missing"
    SUPPRESSED_UNSUBSCRIBED = "suppressed_unsubscribed"
    SUPPRESSED_BOUNCED = "suppressed_bounced"
    SUPPRESSED_COMPLAINED = "suppressed_complained"
    SUPPRESSED_MANUAL = "suppressed_manual"
    ALREADY_MAILED = "already_mailed"
    RECENTLY_MAILED = "recently_mailed"
    MERGED = "merged"
    HELD_OUT = "held_out"


class CampaignState(StrEnum):
    """``planned → approved → sending ⇄ paused → finished``, or ``cancelled``."""

    PLANNED = "planned"
    APPROVED = "approved"
    SENDING = "sending"
    PAUSED = "paused"
    FINISHED = "finished"
    CANCELLED = "cancelled"


class MessageStatus(StrEnum):
    """Ours; the provider's later word is ``delivery_status``."""

    PENDING = "pending"
    SENDING = "sending"
    ACCEPTED = "accepted"
    FAILED = "failed"
    UNKNOWN = "unknown"
    SUPPRESSED = "suppressed"
    CANCELLED = "cancelled"


class Learner(NamedTuple):
    """A person with an edX account. ``retired`` covers a pending deletion too (edX case E41)."""

    student_id: int
    username: str
    email: str
    name: str = ""
    country: str = ""
    retired: bool = False


class ComingRun(NamedTuple):
    """The run of a course that mail invites to."""

    run: str
    link: str = ""
    title: str = ""
    enrollment_closes: date | None = None


class Course(NamedTuple):
    """A course of a program. ``passing_grade`` is a fraction; at or above it passes (edX case E24)."""

    code: str
    prefix: str
    passing_grade: float
    title: str = ""
    link: str = ""
    series: bool = True
    runs: tuple[str, ...] = ()
    current_run: str = ""
    coming_run: ComingRun | None = None
    upgrade_deadline: date | None = None

    def instance(self, run: str) -> str:
        """The course run's full name, as edX's file names begin: ``UQx_ENGY1x_1T2019``."""
        return f"{self.prefix}_{run}"

    @property
    def invitation_link(self) -> str:
        return (self.coming_run.link if self.coming_run else "") or self.link


@dataclass(frozen=True, kw_only=True)
class Program:
    """A MicroMasters program: its courses in order, the capstone outside the series."""

    code: str
    title: str
    template: str
    subject: str = ""
    courses: tuple[Course, ...]

    @cached_property
    def series(self) -> tuple[Course, ...]:
        return tuple(course for course in self.courses if course.series)

    def course(self, code: str) -> Course:
        return next(course for course in self.courses if course.code == code)


class Enrollment(NamedTuple):
    """A learner in a course run, as the newest exports of that run have it."""

    course: str
    run: str
    grade: float | None
    track: str
    status: Status
    enrollment_status: str = ""
    exported_at: datetime | None = None
    source: str = ""  # the file it was read from


class Completion(NamedTuple):
    """A learner in a course: best status over runs (edx-exports 7.3, case E36)."""

    course: str
    status: Status
    track: str
    run: str


class PastMessage(NamedTuple):
    """One earlier message to a learner that went out, or may have."""

    campaign: int
    program: str
    cohort: Cohort
    trigger_course: str
    trigger_run: str
    next_course: str
    sent_on: date


class Outcome(StrEnum):
    """A backend's answer for one message."""

    ACCEPTED = "accepted"
    FAILED = "failed"  # refused for good, proven not taken
    NOT_TAKEN = "not_taken"  # proven not taken; another try may succeed
    UNKNOWN = "unknown"  # may or may not have been taken


class Receipt(NamedTuple):
    """What a backend knows of one message after a hand-over.

    ``halt`` says that going on is useless (login refused, disk full): the run stops and tells why.
    ``slower``: the provider asks for fewer messages a second (HTTP 429, SMTP 421); it is nothing about this message.
    ``retry_after`` is in seconds. ``digest`` is the SHA-256 of what was handed over, where that is not the message's
    ``eml``.
    """

    message_id: str
    outcome: Outcome
    provider_message_id: str = ""
    error: str = ""
    halt: bool = False
    slower: bool = False
    retry_after: float | None = None
    digest: str = ""


class Sender(NamedTuple):
    """Who the mail comes from, and the facts every message carries."""

    name: str
    email: str
    reply_to: str = ""


class Shape(NamedTuple):
    """One form an email can take: everything its messages share. Personal values stand as tokens (``shapes.py``).

    ``html`` has its CSS inlined already; ``digest`` is the SHA-256 of the three parts.
    """

    digest: str
    subject: str
    html: str
    text: str


class Outgoing(NamedTuple):
    """One message ready to be handed over. ``eml`` is the whole RFC 5322 message with CRLF line ends, or empty for a
    provider that writes it itself.

    ``values`` are the plain personal values that fill the tokens of its ``shape``, by field name. ``told`` is what such
    a provider is told of this person, if that was made when the campaign was planned; then nothing else but the
    address need be there.
    """

    message_id: str
    campaign_id: int
    to_name: str
    to_email: str
    subject: str
    unsubscribe_url: str
    values: Mapping[str, str]
    shape: Shape
    eml: bytes = b""
    told: str = ""


class Batch(NamedTuple):
    """Messages handed over together, of any shapes.

    A backend asks ``may_go`` right before it begins with a message. False is final: somebody paused the campaign, or
    the claim is about to run out. Whatever was not begun is then answered with NOT_TAKEN and ``halt``.
    """

    sender: Sender
    messages: tuple[Outgoing, ...]
    may_go: Callable[[], bool] = lambda: True
