"""Each reason to leave a learner out: when it holds, when it just does not, and what it names as seen and source."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from mmcampaign.cohorts import decide, explain
from mmcampaign.completion import PAID_TRACKS
from mmcampaign.model import Cohort, Program, Reason, Status
from mmcampaign.rules import RULES, Candidate, certificates_earned
from tests.builders import (
    RUN,
    TODAY,
    certified,
    make_candidate,
    make_capstone,
    make_coming,
    make_course,
    make_enrollment,
    make_learner,
    make_past,
    make_policy,
    make_program,
)

UPGRADE, CONTINUE = Cohort.AUDIT_UPGRADE, Cohort.CONTINUE
HIDDEN = frozenset({f"NX_RIVER1x_{RUN}"})
YESTERDAY, TOMORROW = TODAY - timedelta(days=1), TODAY + timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Example:
    """One learner, and the reason the trigger of course 1 ends with (None: chosen)."""

    what: str
    reason: Reason | None
    candidate: Candidate = field(default_factory=make_candidate)
    program: Program = field(default_factory=make_program)
    policy: dict[str, Any] = field(default_factory=dict)
    cohort: Cohort = UPGRADE


def person(what: str, reason: Reason | None, **learner: Any) -> Example:
    return Example(what=what, reason=reason, candidate=make_candidate(learner=make_learner(**learner)))


def staff(what: str, reason: Reason | None, entry: str, **learner: Any) -> Example:
    candidate = make_candidate(learner=make_learner(**learner))
    return Example(what=what, reason=reason, candidate=candidate, policy={"staff": (entry,)})


def taking(what: str, reason: Reason | None, **enrollment: Any) -> Example:
    return Example(what=what, reason=reason, candidate=make_candidate(make_enrollment(1, **enrollment)))


def going_on(what: str, reason: Reason | None, *also: Any, coming: dict[str, Any] | None = None) -> Example:
    """Course 1 is certified, course 2 comes next in the run ``2T2027``."""
    program = make_program(make_course(2, coming_run=make_coming(**(coming or {}))))
    candidate = make_candidate(certified(1), *also)
    return Example(what=what, reason=reason, candidate=candidate, program=program, cohort=CONTINUE)


def knowing(what: str, reason: Reason | None, *, policy: dict[str, Any] | None = None, **facts: Any) -> Example:
    return Example(what=what, reason=reason, candidate=make_candidate(**facts), policy=policy or {})


def wrote(what: str, reason: Reason | None, *, days: int | None = None, cooldown: int = 14, **past: Any) -> Example:
    """An earlier message: about this trigger a year ago, unless said otherwise."""
    same = {"program": "river", "cohort": UPGRADE, "trigger_course": "river1x", "next_course": "river2x"}
    sent_on = TODAY - timedelta(days=365 if days is None else days)
    history = (make_past(**{**same, "sent_on": sent_on, **past}),)
    return knowing(what, reason, history=history, policy={"cooldown_days": cooldown})


ALL_SERIES = tuple(certified(number) for number in (1, 2, 3))
EXAMPLES = [
    Example(what="an ordinary audit passer", reason=None),
    Example(what="a certificate earned", reason=None, candidate=make_candidate(certified(1)), cohort=CONTINUE),
    person("account deleted or being deleted", Reason.ACCOUNT_RETIRED, retired=True),
    person("no address", Reason.NO_ADDRESS, email=""),
    person("an address of blanks", Reason.NO_ADDRESS, email="  "),
    knowing("an address nobody can write to", Reason.INVALID_ADDRESS, address_problem="not an address"),
    staff("staff by user name", Reason.STAFF_ACCOUNT, "Kim_Staff", username="kim_staff"),
    staff("staff by address, other case", Reason.STAFF_ACCOUNT, "kim@UQ.example", email="KIM@uq.example"),
    staff("staff by domain", Reason.STAFF_ACCOUNT, "@UQ.example", email="kim@uq.EXAMPLE"),
    staff("a sub-domain is another domain", None, "@uq.example", email="kim@student.uq.example"),
    staff("a domain that only ends alike", None, "@uq.example", email="kim@notuq.example"),
    staff("part of a user name", None, "kim", username="kimberly"),
    knowing("the same address on a newer account (E34)", Reason.DUPLICATE_ADDRESS, twin=8),
    taking("left the course", Reason.UNENROLLED, enrollment_status="unenrolled"),
    taking("the report does not say who left (E17)", None, enrollment_status=""),
    Example(
        what="left the course with the certificate (E35)",
        reason=None,
        candidate=make_candidate(certified(1, enrollment_status="unenrolled")),
        cohort=CONTINUE,
    ),
    Example(
        what="every certificate of the series earned",
        reason=Reason.PROGRAM_COMPLETE,
        candidate=make_candidate(*ALL_SERIES),
        cohort=CONTINUE,
    ),
    Example(
        what="the capstone does not make up for a course",
        reason=None,
        candidate=make_candidate(certified(1), certified(2, run="1T2026"), certified("rivercapx")),
        cohort=CONTINUE,
    ),
    Example(
        what="certified in an earlier run (E36)",
        reason=Reason.ALREADY_CERTIFIED,
        candidate=make_candidate(make_enrollment(1), certified(1, run="1T2025")),
    ),
    Example(
        what="eligible in an earlier run",
        reason=Reason.ALREADY_CERTIFIED,
        candidate=make_candidate(make_enrollment(1), certified(1, run="1T2025", status=Status.ELIGIBLE)),
    ),
    *(
        taking(f"passed on the paid track {track} (E39, E40)", Reason.PAID_TRACK, track=track)
        for track in sorted(PAID_TRACKS)
    ),
    taking("passed on a track nobody knows (E30)", Reason.PAID_TRACK, track="platinum"),
    taking("passed on no track", Reason.PAID_TRACK, track=""),
    taking("passed on the old honor track", None, track="honor"),
    Example(
        what="the deadline was yesterday",
        reason=Reason.UPGRADE_CLOSED,
        program=make_program(make_course(1, upgrade_deadline=YESTERDAY)),
    ),
    Example(what="the deadline is today", reason=None, program=make_program(make_course(1, upgrade_deadline=TODAY))),
    Example(
        what="the deadline of the upgrade does not matter to go on",
        reason=None,
        program=make_program(make_course(1, upgrade_deadline=YESTERDAY)),
        candidate=make_candidate(certified(1)),
        cohort=CONTINUE,
    ),
    going_on("the next run closed yesterday", Reason.NEXT_RUN_CLOSED, coming={"enrollment_closes": YESTERDAY}),
    going_on("the next run closes today", None, coming={"enrollment_closes": TODAY}),
    going_on("the next run has no closing day", None),
    going_on(
        "enrolled in the next run on the paid track",
        Reason.ALREADY_ENROLLED_NEXT,
        make_enrollment(2, run="2T2027", track="verified", grade=None),
    ),
    going_on("enrolled in the next run for free", None, make_enrollment(2, run="2T2027", grade=None)),
    going_on("enrolled in another run of the next course", None, make_enrollment(2, track="verified", grade=None)),
    going_on(
        "left the next run again",
        None,
        make_enrollment(2, run="2T2027", track="verified", grade=None, enrollment_status="unenrolled"),
    ),
    Example(
        what="the report hides audit learners (E44)",
        reason=Reason.REPORT_INCOMPLETE,
        candidate=make_candidate(make_enrollment(1, grade=None), hidden_runs=HIDDEN),
    ),
    Example(
        what="a verified learner stands in a verified-only report",
        reason=None,
        candidate=make_candidate(certified(1), hidden_runs=HIDDEN),
        cohort=CONTINUE,
    ),
    knowing("said no on the opt-in list", Reason.CONSENT_REFUSED, consent="refused"),
    knowing(
        "a no, whatever the policy asks", Reason.CONSENT_REFUSED, consent="refused", policy={"consent": "required"}
    ),
    knowing("a no, but the list is not considered", None, consent="refused", policy={"consent": "off"}),
    knowing("no choice on record, yes required", Reason.CONSENT_MISSING, policy={"consent": "required"}),
    knowing(
        "the default that looks like a yes (E48), yes required",
        Reason.CONSENT_MISSING,
        consent="unknown",
        policy={"consent": "required"},
    ),
    knowing("said yes, yes required", None, consent="granted", policy={"consent": "required"}),
    knowing("no choice on record, no yes required", None),
    knowing("unsubscribed", Reason.SUPPRESSED_UNSUBSCRIBED, suppression="unsubscribed"),
    knowing("mail bounced", Reason.SUPPRESSED_BOUNCED, suppression="bounced"),
    knowing("complained of spam", Reason.SUPPRESSED_COMPLAINED, suppression="complained"),
    knowing("on our own list", Reason.SUPPRESSED_MANUAL, suppression="manual"),
    wrote("the same message a year ago", Reason.ALREADY_MAILED),
    wrote("the same trigger, another next course", None, next_course="river3x"),
    wrote("the same course, another run", None, trigger_run="1T2026"),
    wrote("the same course, the other cohort", None, cohort=CONTINUE),
    wrote("the same words in another program", None, program="lake"),
    wrote("another message today", Reason.RECENTLY_MAILED, days=0, program="lake"),
    wrote("another message one day inside the cool-down", Reason.RECENTLY_MAILED, days=13, program="lake"),
    wrote("another message exactly the cool-down ago", None, days=14, program="lake"),
    wrote("another message today without a cool-down", None, days=0, cooldown=0, program="lake"),
    wrote("a message from tomorrow, seen from an earlier --today", Reason.RECENTLY_MAILED, days=-1, program="lake"),
]


def decided(example: Example) -> Any:
    found = decide(example.program, example.candidate, make_policy(**example.policy))
    return next(d for d in found if d.cohort is example.cohort and d.trigger.code == "river1x")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.what)
def test_first_reason_that_holds_counts(example: Example):
    decision = decided(example)
    assert decision.reason == example.reason
    assert decision.chosen is (example.reason is None)
    assert bool(decision.detail) is (example.reason is not None)


def test_every_reason_of_a_rule_has_an_example():
    covered = {example.reason for example in EXAMPLES} - {None}
    assert covered == set(Reason) - {Reason.MERGED, Reason.HELD_OUT}


def test_rules_stand_in_the_order_of_the_reasons():
    assert [rule.code for rule in RULES] == [r for r in Reason if r not in (Reason.MERGED, Reason.HELD_OUT)]


@pytest.mark.parametrize(
    ("changes", "first", "second"),
    [
        ({"retired": True, "email": ""}, Reason.ACCOUNT_RETIRED, Reason.NO_ADDRESS),
        ({"email": "kim@uq.example", "retired": True}, Reason.ACCOUNT_RETIRED, Reason.STAFF_ACCOUNT),
    ],
    ids=["retired before no address", "retired before staff"],
)
def test_of_several_reasons_the_first_counts_and_all_are_shown(changes: Any, first: Reason, second: Reason):
    candidate = make_candidate(learner=make_learner(**changes))
    [(decision, checks)] = explain(make_program(), candidate, make_policy(staff=("@uq.example",)))
    assert decision.reason is first
    assert {check.rule for check in checks if not check.passed} >= {first, second}


def test_details_name_what_was_seen():
    said = {example.what: decided(example).detail for example in EXAMPLES}
    assert said["staff by domain"] == "matches @UQ.example"
    assert said["the same address on a newer account (E34)"].startswith("edX user 8 ")
    assert said["certified in an earlier run (E36)"] == "certificate earned in run 1T2025"
    assert said["the deadline was yesterday"] == "last day 2027-06-14"
    assert said["every certificate of the series earned"] == "3 of 3 certificates earned"
    assert said["enrolled in the next run on the paid track"] == "enrolled in NX_RIVER2x_2T2027 on track verified"
    assert said["another message one day inside the cool-down"] == "campaign 1 wrote on 2027-06-02"


def test_details_hold_nothing_personal():
    """They go into the database's exclusions and onto pages; the learner's own columns stand beside them."""
    for example in EXAMPLES:
        learner = example.candidate.learner
        for _, checks in explain(example.program, example.candidate, make_policy(**example.policy)):
            shown = " ".join(check.seen + check.source for check in checks)
            assert not learner.email.strip() or learner.email not in shown
            assert learner.name not in shown


def test_a_rule_names_the_file_it_was_read_from():
    coming = make_enrollment(2, run="2T2027", track="verified", grade=None)
    example = going_on("", Reason.ALREADY_ENROLLED_NEXT, coming)
    [(_, checks)] = explain(example.program, example.candidate, make_policy())
    sources = {check.rule: check.source for check in checks}
    assert sources[Reason.ALREADY_ENROLLED_NEXT] == coming.source
    assert sources["certificate"] == certified(1).source
    [(_, checks)] = explain(make_program(), make_candidate(), make_policy())
    assert {c.source for c in checks if c.rule in (Reason.UNENROLLED, Reason.PAID_TRACK)} == {make_enrollment(1).source}


def test_certificates_earned_leaves_the_capstone_out():
    capstone = make_enrollment(make_capstone().code, track="verified", status=Status.CERTIFIED)
    assert certificates_earned(make_program(), make_candidate(certified(1), capstone)) == 1
