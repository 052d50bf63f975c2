"""Who is chosen, for what, and the laws that hold for every learner: one message, and a reason for every trigger."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcampaign.cohorts import Decision, decide, explain, next_course, trigger_checks
from mmcampaign.model import Cohort, Enrollment, Reason, Status
from mmcampaign.rules import RULES, Candidate, Policy
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


def summary(decisions: list[Decision]) -> list[tuple[str, Cohort, Reason | None]]:
    return [(decision.trigger.code, decision.cohort, decision.reason) for decision in decisions]


@pytest.mark.parametrize(
    ("enrollments", "triggers"),
    [
        pytest.param([make_enrollment(1, grade=0.65)], [("river1x", UPGRADE)], id="exactly at the passing grade (E24)"),
        pytest.param([make_enrollment(1, grade=0.6499)], [], id="just below the passing grade"),
        pytest.param([make_enrollment(1, grade=1.02)], [("river1x", UPGRADE)], id="above 1 with extra credit (E23)"),
        pytest.param([make_enrollment(1, grade=None)], [], id="grade not known (E32)"),
        pytest.param([make_enrollment(1, run="1T2026")], [], id="passed in an older run"),
        pytest.param([make_enrollment("rivercapx")], [], id="the capstone is never a trigger"),
        pytest.param([certified("rivercapx")], [], id="a certified capstone is no trigger either"),
        pytest.param([make_enrollment("lake1x")], [], id="a course of another program"),
        pytest.param([certified(1)], [("river1x", CONTINUE)], id="certified"),
        pytest.param([certified(1, status=Status.ELIGIBLE)], [("river1x", CONTINUE)], id="eligible"),
        pytest.param([certified(1, grade=0.2)], [("river1x", CONTINUE)], id="certified below the cut-off (E38)"),
        pytest.param(
            [certified(1, track="audit")],
            [("river1x", UPGRADE), ("river1x", CONTINUE)],
            id="an old certificate on the audit track",
        ),
        pytest.param([make_enrollment(1, track="credit")], [("river1x", UPGRADE)], id="paid and passed (E40)"),
        pytest.param(
            [make_enrollment(2), certified(1)],
            [("river1x", CONTINUE), ("river2x", UPGRADE)],
            id="two courses, in the order of the program",
        ),
    ],
)
def test_triggers(enrollments: list[Enrollment], triggers: list[tuple[str, Cohort]]):
    found = decide(make_program(), make_candidate(*enrollments), make_policy())
    assert [(decision.trigger.code, decision.cohort) for decision in found] == triggers


def test_a_course_without_a_current_run_is_no_trigger():
    program = make_program(make_course(1, current_run=""))
    assert decide(program, make_candidate(make_enrollment(1), certified(1, run="")), make_policy()) == []
    assert [check.seen for check in trigger_checks(program.series[0], make_candidate())] == [
        "no current run is configured"
    ]


@pytest.mark.parametrize(
    ("enrollment", "considered"),
    [
        pytest.param(make_enrollment(1, grade=None), True, id="audit learner without a grade"),
        pytest.param(make_enrollment(1, grade=None, track="verified"), False, id="verified learner without a grade"),
        pytest.param(make_enrollment(1, grade=0.3), False, id="audit learner with a failing grade"),
    ],
)
def test_a_verified_only_report_makes_a_case_of_the_audit_learners_it_hides(enrollment: Enrollment, considered: bool):
    """edX case E44: they are named as left out, not passed over in silence."""
    found = decide(make_program(), make_candidate(enrollment, hidden_runs=HIDDEN), make_policy())
    assert summary(found) == ([("river1x", UPGRADE, Reason.REPORT_INCOMPLETE)] if considered else [])


def test_an_audit_learner_visible_in_a_verified_only_report_is_left_out_too():
    found = decide(make_program(), make_candidate(make_enrollment(1), hidden_runs=HIDDEN), make_policy())
    assert summary(found) == [("river1x", UPGRADE, Reason.REPORT_INCOMPLETE)]


def test_without_a_verified_only_report_a_missing_grade_is_no_trigger():
    assert decide(make_program(), make_candidate(make_enrollment(1, grade=None)), make_policy()) == []


@pytest.mark.parametrize(
    ("enrollments", "following"),
    [
        pytest.param([certified(1)], "river2x", id="the second after the first"),
        pytest.param([certified(1), certified(3)], "river2x", id="the second was skipped"),
        pytest.param([certified(1), certified(2)], "river3x", id="the last one left"),
        pytest.param([certified(1), certified(2), certified(3)], None, id="nothing left"),
        pytest.param([certified(2), certified(3), make_enrollment(1)], None, id="only the trigger itself is left"),
        pytest.param([certified(1), certified(2, run="1T2020")], "river3x", id="a certificate of any run counts"),
        pytest.param([certified(1), make_enrollment(2, grade=0.9)], "river2x", id="passed on audit is not earned"),
        pytest.param([certified(1), certified(2, status=Status.ELIGIBLE)], "river3x", id="eligible is earned"),
    ],
)
def test_next_course(enrollments: list[Enrollment], following: str | None):
    program = make_program()
    found = next_course(program, make_candidate(*enrollments), program.series[0])
    assert (found.code if found else None) == following


def test_next_course_may_come_before_the_trigger():
    [decision] = decide(make_program(), make_candidate(certified(2)), make_policy())
    assert decision.next_course == make_course(1)


def test_audit_upgrade_with_only_the_trigger_left_is_chosen_without_a_next_course():
    candidate = make_candidate(make_enrollment(1), certified(2, run="1T2026"), certified(3, run="1T2026"))
    [decision] = decide(make_program(), candidate, make_policy())
    assert decision.chosen
    assert decision.next_course is None
    assert decision.certificates_earned == 2


def test_of_several_triggers_the_furthest_course_wins_and_names_the_others():
    candidate = make_candidate(certified(1), make_enrollment(2), make_enrollment(3))
    found = decide(make_program(), candidate, make_policy())
    assert summary(found) == [
        ("river1x", CONTINUE, Reason.MERGED),
        ("river2x", UPGRADE, Reason.MERGED),
        ("river3x", UPGRADE, None),
    ]
    assert found[-1].other_triggers == ("river1x", "river2x")
    assert found[0].detail == "one email per person: Floods comes first"
    assert found[0].other_triggers == ()


def test_a_trigger_left_out_for_another_reason_keeps_it_and_is_not_merged():
    program = make_program(make_course(3, upgrade_deadline=TODAY - timedelta(days=1)))
    found = decide(program, make_candidate(certified(1), make_enrollment(2), make_enrollment(3)), make_policy())
    assert summary(found) == [
        ("river1x", CONTINUE, Reason.MERGED),
        ("river2x", UPGRADE, None),
        ("river3x", UPGRADE, Reason.UPGRADE_CLOSED),
    ]
    assert found[1].other_triggers == ("river1x",)


def test_on_a_tie_audit_upgrade_comes_before_continue():
    """One course gives both only when completions lag behind; the rule holds all the same (design 5)."""
    candidate = make_candidate(certified(1, track="audit"), completions={})
    found = decide(make_program(), candidate, make_policy())
    assert summary(found) == [("river1x", UPGRADE, None), ("river1x", CONTINUE, Reason.MERGED)]


@pytest.mark.parametrize("wanted", list(Cohort))
def test_a_cohort_that_is_not_asked_for_is_not_considered(wanted: Cohort):
    candidate = make_candidate(certified(1), make_enrollment(2))
    [decision] = decide(make_program(), candidate, make_policy(cohorts=frozenset({wanted})))
    assert decision.cohort is wanted
    assert decision.chosen
    assert decision.other_triggers == ()


# --- hold-out -------------------------------------------------------------------------------------------------------


def held_out(percent: float, seed: str = "campaign 1") -> set[int]:
    policy = make_policy(holdout_percent=percent, holdout_seed=seed)
    people = [make_candidate(learner=make_learner(number)) for number in range(1, 2001)]
    found = [decide(make_program(), candidate, policy)[0] for candidate in people]
    assert {decision.reason for decision in found} <= {None, Reason.HELD_OUT}
    return {decision.learner.student_id for decision in found if decision.reason is Reason.HELD_OUT}


def test_hold_out_keeps_about_the_asked_share_and_always_the_same_people():
    kept = held_out(10)
    assert 160 <= len(kept) <= 240  # 200 expected, three standard deviations are 40
    assert held_out(10) == kept
    assert held_out(20) > kept
    assert held_out(10, seed="campaign 2") != kept


def test_hold_out_of_none_and_of_all():
    assert held_out(0) == set()
    assert len(held_out(100)) == 2000


def test_the_held_out_keep_their_other_triggers_and_say_why():
    candidate = make_candidate(certified(1), make_enrollment(2))
    found = decide(make_program(), candidate, make_policy(holdout_percent=100, holdout_seed="campaign 1"))
    assert [decision.reason for decision in found] == [Reason.MERGED, Reason.HELD_OUT]
    assert found[1].other_triggers == ("river1x",)
    assert found[1].detail == "in the 100 % kept unmailed to compare with"


# --- laws -----------------------------------------------------------------------------------------------------------

TRACKS = ("audit", "honor", "verified", "credit", "platinum", "")
enrollments = st.builds(
    lambda course, run, grade, track, status, word: make_enrollment(
        course, run=run, grade=grade, track=track, enrollment_status=word, **({"status": status} if status else {})
    ),
    st.integers(1, 3),
    st.sampled_from([RUN, "2T2027", "1T2026"]),
    st.sampled_from([None, 0.2, 0.64, 0.65, 0.9]),
    st.sampled_from(TRACKS),
    st.sampled_from([None, Status.CERTIFIED, Status.ELIGIBLE]),
    st.sampled_from(["enrolled", "unenrolled", ""]),
)
capstones = st.builds(certified, st.just(make_capstone().code))
histories = st.lists(
    st.builds(
        make_past,
        program=st.sampled_from(["river", "lake"]),
        cohort=st.sampled_from(Cohort),
        trigger_course=st.sampled_from(["river1x", "river2x", "river3x"]),
        next_course=st.sampled_from(["", "river1x", "river2x", "river3x"]),
        sent_on=st.sampled_from([TODAY - timedelta(days=days) for days in (1, 14, 90)]),
    ),
    max_size=2,
)
rare = st.sampled_from([False] * 6 + [True])


@st.composite
def candidates(draw: st.DrawFn) -> Candidate:
    taken = draw(st.lists(enrollments | capstones, min_size=1, max_size=5, unique_by=lambda e: (e.course, e.run)))
    learner = make_learner(
        draw(st.integers(1, 500)), retired=draw(rare), email="" if draw(rare) else "ana@mail.example"
    )
    return make_candidate(
        *taken,
        learner=learner,
        twin=9 * draw(rare),
        address_problem="odd" if draw(rare) else "",
        consent=draw(st.sampled_from(["", "", "granted", "refused", "unknown"])),
        suppression=draw(st.sampled_from(["", "", "", "unsubscribed", "bounced", "complained", "manual"])),
        hidden_runs=HIDDEN if draw(rare) else frozenset(),
        history=tuple(draw(histories)),
    )


policies = st.builds(
    make_policy,
    cohorts=st.sampled_from([frozenset(Cohort), frozenset({UPGRADE}), frozenset({CONTINUE})]),
    consent=st.sampled_from(["required", "not-refused", "off"]),
    holdout_percent=st.sampled_from([0, 0, 50]),
    holdout_seed=st.just("campaign 1"),
    staff=st.sampled_from([(), ("@mail.example",)]),
)
courses: Any = st.builds(
    make_course,
    st.integers(1, 3),
    upgrade_deadline=st.sampled_from([None, TODAY, TODAY - timedelta(days=1)]),
    coming_run=st.sampled_from([None, make_coming(), make_coming(enrollment_closes=TODAY - timedelta(days=1))]),
)
programs = st.builds(lambda some: make_program(*some), st.lists(courses, max_size=3))


@given(programs, candidates(), policies)
def test_at_most_one_message_and_every_other_trigger_has_a_reason(program: Any, candidate: Candidate, policy: Policy):
    found = decide(program, candidate, policy)
    chosen = [decision for decision in found if decision.chosen]
    assert len(chosen) <= 1
    assert all(decision.detail for decision in found if not decision.chosen)
    merged = [decision.trigger.code for decision in found if decision.reason is Reason.MERGED]
    winner = chosen or [decision for decision in found if decision.reason is Reason.HELD_OUT]
    assert [list(decision.other_triggers) for decision in winner] == ([merged] if winner else [])
    assert bool(winner) or not merged


@given(programs, candidates(), policies)
def test_the_first_rule_that_fails_is_the_reason(program: Any, candidate: Candidate, policy: Policy):
    order = list(Reason)
    for decision, checks in explain(program, candidate, policy):
        against = [Reason(c.rule) for c in checks if c.rule in set(Reason) and not c.passed]
        assert against == sorted(against, key=order.index)
        if decision.reason in (None, Reason.MERGED, Reason.HELD_OUT):
            assert not against
        else:
            assert decision.reason is against[0]
            assert decision.detail == next(c.seen for c in checks if c.rule == decision.reason)


@given(programs, candidates(), policies)
def test_explain_shows_every_rule_of_the_cohort_with_what_was_seen(program: Any, candidate: Candidate, policy: Policy):
    for decision, checks in explain(program, candidate, policy):
        assert [c.rule for c in checks if c.rule in set(Reason)] == [
            rule.code for rule in RULES if decision.cohort in rule.cohorts
        ]
        assert all(check.seen and check.source for check in checks)
        assert checks[0].rule == "current_run"
        assert checks[0].passed


@given(programs, candidates(), policies)
def test_next_course_is_a_course_of_the_series_still_to_be_earned(program: Any, candidate: Candidate, policy: Policy):
    for decision in decide(program, candidate, policy):
        following = decision.next_course
        if following is not None:
            assert following in program.series
            assert following != decision.trigger
            assert not candidate.has_certificate(following)


def test_explain_of_a_course_says_why_there_is_no_trigger():
    course = make_course(1)
    assert [(c.rule, c.passed) for c in trigger_checks(course, make_candidate(make_enrollment(2)))] == [
        ("current_run", False)
    ]
    failing = make_candidate(make_enrollment(1, grade=0.5, track=""))
    assert [(c.rule, c.passed, c.seen) for c in trigger_checks(course, failing)] == [
        ("current_run", True, f"NX_RIVER1x_{RUN}, track not known"),
        ("passing_grade", False, "grade 0.5, needs 0.65"),
        ("certificate", False, "not_passed"),
    ]
    unknown = make_candidate(make_enrollment(1, grade=None))
    assert trigger_checks(course, unknown)[1].seen == "grade not known, needs 0.65"
