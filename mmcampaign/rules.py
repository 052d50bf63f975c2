"""The rules that keep a learner out of a campaign, and the values they look at (design 5).

``RULES`` is the whole list in the order in which reasons count. A rule looks at one thing and answers whether it
passed and what was seen; nothing here reads a database or a clock.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property

from mmcampaign.completion import PAID_TRACKS
from mmcampaign.model import Cohort, Completion, Course, Enrollment, Learner, PastMessage, Program, Reason, Status

CERTIFICATE = frozenset({Status.CERTIFIED, Status.ELIGIBLE})
UPGRADABLE_TRACKS = frozenset({"audit", "honor"})


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What holds for everybody. ``today`` decides deadlines and cool-down; ``cohorts`` are those looked for."""

    today: date
    cohorts: frozenset[Cohort] = frozenset(Cohort)
    staff: tuple[str, ...] = ()
    cooldown_days: int = 14
    consent: str = "not-refused"
    holdout_percent: float = 0
    holdout_seed: str = ""

    @cached_property
    def staff_keys(self) -> tuple[tuple[str, str], ...]:
        """Each entry of ``staff`` with the form in which it is compared."""
        return tuple((entry, entry.casefold()) for entry in self.staff)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """Everything the rules look at for one learner in one program.

    ``enrollments`` are those in the current and the coming run of each course; older runs are in ``completions`` only.
    ``twin`` is the student id that has the same address and was seen in a newer file (edX case E34), 0 for none.
    ``hidden_runs`` are course runs whose grade report leaves audit learners out (edX case E44).
    ``suppression`` is the reason this address may not be mailed, empty for none; ``consent`` is granted, refused,
    unknown, or empty when no opt-in list mentions the learner.
    """

    learner: Learner
    address_problem: str = ""
    twin: int = 0
    enrollments: tuple[Enrollment, ...] = ()
    completions: Mapping[str, Completion]
    history: tuple[PastMessage, ...] = ()
    suppression: str = ""
    consent: str = ""
    hidden_runs: frozenset[str] = frozenset()

    def enrollment(self, course: Course, run: str) -> Enrollment | None:
        for enrollment in self.enrollments:
            if enrollment.course == course.code and enrollment.run == run:
                return enrollment
        return None

    @cached_property
    def certificates(self) -> frozenset[str]:
        """The codes of the program's courses with a certificate, earned in whatever run."""
        return frozenset(code for code, completion in self.completions.items() if completion.status in CERTIFICATE)

    def has_certificate(self, course: Course) -> bool:
        return course.code in self.certificates


@dataclass(frozen=True, kw_only=True)
class Check:
    """One rule applied to one trigger: what was seen, and where that was read.

    ``rule`` is a ``Reason``, or one of the words of ``trigger_checks``.
    """

    rule: str
    passed: bool
    seen: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Case:
    """What a rule sees: the trigger and everything around it."""

    program: Program
    candidate: Candidate
    policy: Policy
    cohort: Cohort
    trigger: Course
    enrollment: Enrollment
    next_course: Course | None
    certificates_earned: int

    @property
    def coming_enrollment(self) -> Enrollment | None:
        """The learner in the run of the next course that mail invites to."""
        coming = self.next_course.coming_run if self.next_course else None
        return self.candidate.enrollment(self.next_course, coming.run) if self.next_course and coming else None


def certificates_earned(program: Program, candidate: Candidate) -> int:
    return sum(candidate.has_certificate(course) for course in program.series)


# --- the rules ------------------------------------------------------------------------------------------------------
# Each looks at one thing and answers (nothing against writing, what was seen).

Seen = tuple[bool, str]


def _account_retired(case: Case) -> Seen:
    retired = case.candidate.learner.retired
    return not retired, "deleted or waiting for deletion" if retired else "a live account"


def _no_address(case: Case) -> Seen:
    present = bool(case.candidate.learner.email.strip())
    return present, "an address" if present else "no address in any file"


def _invalid_address(case: Case) -> Seen:
    return not case.candidate.address_problem, case.candidate.address_problem or "well-formed"


def _staff_account(case: Case) -> Seen:
    learner = case.candidate.learner
    email, username = learner.email.casefold(), learner.username.casefold()
    for entry, wanted in case.policy.staff_keys:
        matches = email.endswith(wanted) if wanted.startswith("@") else wanted in (email, username)
        if matches:
            return False, f"matches {entry}"
    return True, "not among the staff"


def _duplicate_address(case: Case) -> Seen:
    twin = case.candidate.twin
    return not twin, f"edX user {twin} has the same address in a newer file" if twin else "the address is this one's"


def _unenrolled(case: Case) -> Seen:
    status = case.enrollment.enrollment_status
    return status != "unenrolled", status or "the report does not say"


def _program_complete(case: Case) -> Seen:
    earned, total = case.certificates_earned, len(case.program.series)
    return earned < total, f"{earned} of {total} certificates earned"


def _already_certified(case: Case) -> Seen:
    if not case.candidate.has_certificate(case.trigger):
        return True, "no certificate of this course yet"
    return False, f"certificate earned in run {case.candidate.completions[case.trigger.code].run}"


def _paid_track(case: Case) -> Seen:
    track = case.enrollment.track
    if track in UPGRADABLE_TRACKS:
        return True, f"track {track}"
    return False, f"track {track or 'not known'}: " + ("already paid" if track in PAID_TRACKS else "not audit or honor")


def _upgrade_closed(case: Case) -> Seen:
    deadline = case.trigger.upgrade_deadline
    if deadline is None:
        return True, "no deadline is configured"
    return case.policy.today <= deadline, f"last day {deadline}"


def _next_run_closed(case: Case) -> Seen:
    coming = case.next_course.coming_run if case.next_course else None
    if coming is None or coming.enrollment_closes is None:
        return True, "no closing day is configured"
    return case.policy.today <= coming.enrollment_closes, f"enrollment closes {coming.enrollment_closes}"


def _already_enrolled_next(case: Case) -> Seen:
    if case.next_course is None or case.next_course.coming_run is None:
        return True, "no coming run is configured"
    name = case.next_course.instance(case.next_course.coming_run.run)
    coming = case.coming_enrollment
    if coming is None or coming.enrollment_status == "unenrolled":
        return True, f"not enrolled in {name}"
    return coming.track not in PAID_TRACKS, f"enrolled in {name} on track {coming.track or 'not known'}"


def _report_incomplete(case: Case) -> Seen:
    run = case.trigger.instance(case.enrollment.run)
    hidden = run in case.candidate.hidden_runs
    return not hidden, "the report holds verified learners only" if hidden else "the report holds every track"


def _consent_refused(case: Case) -> Seen:
    refused = case.policy.consent != "off" and case.candidate.consent == "refused"
    return not refused, case.candidate.consent or "no choice on record"


def _consent_missing(case: Case) -> Seen:
    missing = case.policy.consent == "required" and case.candidate.consent not in ("granted", "refused")
    return not missing, case.candidate.consent or "no choice on record"


def _suppressed(reason: str) -> Callable[[Case], Seen]:
    def look(case: Case) -> Seen:
        matches = case.candidate.suppression == reason
        return not matches, f"the address is suppressed: {reason}" if matches else "not on the list"

    return look


def _already_mailed(case: Case) -> Seen:
    following = case.next_course.code if case.next_course else ""
    wanted = (case.program.code, case.cohort, case.trigger.code, case.enrollment.run, following)
    for past in case.candidate.history:
        if (past.program, past.cohort, past.trigger_course, past.trigger_run, past.next_course) == wanted:
            return False, f"campaign {past.campaign} wrote the same on {past.sent_on}"
    return True, "not written before"


def _recently_mailed(case: Case) -> Seen:
    if not case.candidate.history:
        return True, "never written to"
    latest = max(case.candidate.history, key=lambda past: past.sent_on)
    quiet_since = case.policy.today - timedelta(days=case.policy.cooldown_days)
    return latest.sent_on <= quiet_since, f"campaign {latest.campaign} wrote on {latest.sent_on}"


@dataclass(frozen=True)
class Rule:
    """A reason to leave a learner out, where it applies, and what to name as the source of what was seen.

    The sources ``report`` and ``coming report`` stand for the file that the enrollment was read from.
    """

    code: Reason
    look: Callable[[Case], Seen]
    source: str
    cohorts: frozenset[Cohort] = frozenset(Cohort)

    def check(self, case: Case) -> Check:
        passed, seen = self.look(case)
        read = {"report": case.enrollment, "coming report": case.coming_enrollment}.get(self.source)
        return Check(rule=self.code, passed=passed, seen=seen, source=read.source if read else self.source)


_UPGRADE = frozenset({Cohort.AUDIT_UPGRADE})
_CONTINUE = frozenset({Cohort.CONTINUE})

RULES: tuple[Rule, ...] = (
    Rule(Reason.ACCOUNT_RETIRED, _account_retired, "newest file with this learner"),
    Rule(Reason.NO_ADDRESS, _no_address, "newest file with this learner"),
    Rule(Reason.INVALID_ADDRESS, _invalid_address, "newest file with this learner"),
    Rule(Reason.STAFF_ACCOUNT, _staff_account, "config.toml: site.staff"),
    Rule(Reason.DUPLICATE_ADDRESS, _duplicate_address, "all files"),
    Rule(Reason.UNENROLLED, _unenrolled, "report", _UPGRADE),
    Rule(Reason.PROGRAM_COMPLETE, _program_complete, "completions"),
    Rule(Reason.ALREADY_CERTIFIED, _already_certified, "completions", _UPGRADE),
    Rule(Reason.PAID_TRACK, _paid_track, "report", _UPGRADE),
    Rule(Reason.UPGRADE_CLOSED, _upgrade_closed, "config.toml: upgrade_deadline", _UPGRADE),
    Rule(Reason.NEXT_RUN_CLOSED, _next_run_closed, "config.toml: coming_run", _CONTINUE),
    Rule(Reason.ALREADY_ENROLLED_NEXT, _already_enrolled_next, "coming report", _CONTINUE),
    Rule(Reason.REPORT_INCOMPLETE, _report_incomplete, "report", _UPGRADE),
    Rule(Reason.CONSENT_REFUSED, _consent_refused, "edX opt-in list"),
    Rule(Reason.CONSENT_MISSING, _consent_missing, "edX opt-in list"),
    Rule(Reason.SUPPRESSED_UNSUBSCRIBED, _suppressed("unsubscribed"), "suppressions"),
    Rule(Reason.SUPPRESSED_BOUNCED, _suppressed("bounced"), "suppressions"),
    Rule(Reason.SUPPRESSED_COMPLAINED, _suppressed("complained"), "suppressions"),
    Rule(Reason.SUPPRESSED_MANUAL, _suppressed("manual"), "suppressions"),
    Rule(Reason.ALREADY_MAILED, _already_mailed, "send history"),
    Rule(Reason.RECENTLY_MAILED, _recently_mailed, "send history"),
)

# The rules that apply to each cohort, in order.
LADDERS: Mapping[Cohort, tuple[Rule, ...]] = {
    cohort: tuple(rule for rule in RULES if cohort in rule.cohorts) for cohort in Cohort
}
