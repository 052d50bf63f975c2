"""What the rules look at is read as it was written, on both engines, and nobody with a trigger is missed."""

import random
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from mmcampaign.addresses import address_problem
from mmcampaign.cohorts import decide
from mmcampaign.errors import InputError
from mmcampaign.model import CampaignState, Cohort, MessageStatus, PastMessage, Reason, Status
from mmcampaign.rules import Candidate
from mmcampaign.selection import explain_learner, missing_reports, policy_of
from mmcampaign.store import candidates as module
from mmcampaign.store.candidates import Lens, candidates_by_id, find_learner, read_candidates
from mmcampaign.store.engine import Store
from mmcampaign.store.tables import imports
from tests.builders import (
    EXPORTED,
    NOW,
    RUN,
    certified,
    make_candidate,
    make_coming,
    make_course,
    make_enrollment,
    make_learner,
    make_policy,
    make_program,
)
from tests.ledgers import add_campaign, add_message
from tests.worlds import fill, make_app, put

LENS = Lens(zone=ZoneInfo("Australia/Brisbane"), check_address=address_problem)
HIDDEN = frozenset({f"NX_RIVER1x_{RUN}"})


def read(store: Store, **lens: Any) -> dict[int, Candidate]:
    with store.read() as connection:
        found = list(read_candidates(connection, make_program(), replace(LENS, **lens)))
    assert [c.learner.student_id for c in found] == sorted(c.learner.student_id for c in found)
    return {candidate.learner.student_id: candidate for candidate in found}


def test_candidates_come_back_as_they_were_written(store: Store):
    written = [
        make_candidate(learner=make_learner(1)),
        make_candidate(
            certified(1), make_enrollment(2, grade=None, track=""), learner=make_learner(2, name="山田 太郎")
        ),
        make_candidate(make_enrollment(1), certified("rivercapx"), learner=make_learner(3, name="", country="")),
        make_candidate(learner=make_learner(4), suppression="bounced", consent="granted"),
        make_candidate(certified(1), learner=make_learner(5)),
        make_candidate(learner=make_learner(6, email="not an address"), address_problem=address_problem("x")),
    ]
    fill(store, written)
    assert read(store) == {candidate.learner.student_id: candidate for candidate in written}


def test_of_the_runs_only_those_that_rules_look_at_are_read(store: Store):
    """The current and the coming one; what came before is in the completions."""
    program = make_program(make_course(2, coming_run=make_coming()))
    seen = (make_enrollment(1, grade=0.9), make_enrollment(2, run="2T2027", grade=None))
    everything = make_candidate(certified(1, run="1T2020"), *seen)
    fill(store, [everything], program=program)
    with store.read() as connection:
        [found] = read_candidates(connection, program, LENS)
    assert found.enrollments == seen
    assert found.completions == everything.completions
    assert found.completions["river1x"].run == "1T2020"


@pytest.mark.parametrize(
    ("enrollment", "found"),
    [
        pytest.param(make_enrollment(1, grade=0.65), True, id="exactly at the passing grade"),
        pytest.param(make_enrollment(1, grade=0.6499), False, id="below the passing grade"),
        pytest.param(make_enrollment(1, grade=None), False, id="no grade"),
        pytest.param(certified(1, grade=0.1), True, id="certified below the passing grade"),
        pytest.param(certified(1, grade=None, status=Status.ELIGIBLE), True, id="eligible"),
        pytest.param(make_enrollment(1, run="1T2020"), False, id="an older run"),
        pytest.param(make_enrollment("rivercapx"), False, id="the capstone"),
        pytest.param(make_enrollment(1, track="verified"), True, id="paid and passed: left out with a reason"),
    ],
)
def test_sql_finds_exactly_those_with_a_trigger(store: Store, enrollment: Any, found: bool):
    candidate = make_candidate(enrollment)
    fill(store, [candidate])
    assert bool(read(store)) is found
    assert bool(decide(make_program(), candidate, make_policy())) is found


def test_sql_and_rules_agree_on_who_has_a_trigger(store: Store):
    """On learners drawn at random: nobody with a trigger is missed, nobody without one is read, all decided alike."""
    dice = random.Random(7)
    written = [_drawn(number, dice) for number in range(1, 121)]
    fill(store, written)
    found, program, policy = read(store), make_program(), make_policy()
    expected = {c.learner.student_id: decided for c in written if (decided := decide(program, c, policy))}
    assert {number: decide(program, candidate, policy) for number, candidate in found.items()} == expected
    assert len({decision.reason for decided in expected.values() for decision in decided}) >= 4
    assert 20 < len(expected) < 120


def _drawn(number: int, dice: random.Random) -> Candidate:
    taken = [
        make_enrollment(
            course,
            run=run,
            grade=dice.choice([None, 0.3, 0.649, 0.65, 0.9]),
            track=dice.choice(["audit", "honor", "verified", "platinum", ""]),
            **dice.choice([{}, {"status": Status.CERTIFIED}, {"status": Status.ELIGIBLE}]),
        )
        for course in dice.sample(("river1x", "river2x", "river3x", "rivercapx"), dice.randint(1, 3))
        for run in dice.sample([RUN, "1T2020"], dice.randint(1, 2))
    ]
    return make_candidate(*taken, learner=make_learner(number), hidden_runs=HIDDEN)


def test_audit_learners_whom_a_verified_only_report_hides_are_found(store: Store):
    hidden = make_candidate(make_enrollment(1, grade=None), learner=make_learner(1), hidden_runs=HIDDEN)
    paid = make_candidate(make_enrollment(1, grade=None, track="verified"), learner=make_learner(2), hidden_runs=HIDDEN)
    fill(store, [hidden, paid])
    assert read(store) == {1: hidden}


def test_a_newer_report_with_every_track_takes_the_hint_away(store: Store):
    hidden = make_candidate(make_enrollment(1, grade=None), hidden_runs=HIDDEN)
    fill(store, [hidden])
    with store.write() as connection:
        connection.execute(imports.update().values(status="superseded"))
    assert read(store) == {}


@pytest.mark.parametrize("current", [(), (1,)], ids=["no current run", "one current run"])
def test_only_courses_with_a_current_run_have_triggers(store: Store, current: tuple[int, ...]):
    program = make_program(*(make_course(n, current_run=RUN if n in current else "") for n in (1, 2, 3)))
    fill(store, [make_candidate(make_enrollment(n), learner=make_learner(n)) for n in (1, 2)], program=program)
    with store.read() as connection:
        found = [candidate.learner.student_id for candidate in read_candidates(connection, program, LENS)]
    assert found == list(current)


def test_many_learners_are_read_in_parts(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "CHUNK", 3)
    fill(store, [make_candidate(learner=make_learner(number)) for number in range(1, 9)])
    assert list(read(store)) == list(range(1, 9))


# --- people ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "retired"),
    [
        pytest.param({}, False, id="a live account"),
        pytest.param({"retired": True}, True, id="deleted (E42)"),
        pytest.param({"email": "retired__user_0a1b@retired.invalid"}, True, id="waiting for deletion (E41)"),
        pytest.param({"email": "Retired__User_0A1B@Retired.Invalid"}, True, id="whatever the case"),
        pytest.param({"email": "retired__user_x@mail.example"}, False, id="only the first half alike"),
    ],
)
def test_retired(store: Store, changes: dict[str, Any], retired: bool):
    fill(store, [make_candidate(learner=make_learner(1, **changes))])
    assert read(store)[1].learner.retired is retired


@pytest.mark.parametrize("newer", [1, 2])
def test_of_two_ids_with_one_address_the_newer_has_it(store: Store, newer: int):
    """edX case E34, whatever the case of the letters."""
    with store.write() as connection:
        for number, email in ((1, "Shared@mail.example"), (2, "shared@MAIL.example")):
            stamp = EXPORTED + timedelta(days=number == newer)
            put(connection, make_candidate(learner=make_learner(number, email=email)), make_program(), seen_at=stamp)
    older = 3 - newer
    assert {number: candidate.twin for number, candidate in read(store).items()} == {older: newer, newer: 0}


def test_of_two_ids_seen_at_the_same_time_the_higher_has_the_address(store: Store):
    fill(store, [make_candidate(learner=make_learner(number, email="shared@mail.example")) for number in (1, 2, 3)])
    twins = {number: candidate.twin for number, candidate in read(store).items()}
    assert twins == {1: 3, 2: 3, 3: 0}


def test_a_twin_outside_the_program_counts_and_a_deleted_one_does_not(store: Store):
    stranger = make_candidate(learner=make_learner(9, email="learner1@mail.example"), enrollments=(), completions={})
    gone = make_candidate(learner=make_learner(8, email="learner2@mail.example", retired=True), enrollments=())
    fill(store, [stranger, gone, *(make_candidate(learner=make_learner(number)) for number in (1, 2))])
    assert {number: read(store)[number].twin for number in (1, 2)} == {1: 9, 2: 0}


def test_nobody_without_an_address_is_a_twin(store: Store):
    fill(store, [make_candidate(learner=make_learner(number, email="")) for number in (1, 2)])
    assert [candidate.twin for candidate in read(store).values()] == [0, 0]


@pytest.mark.parametrize(
    ("key", "student_id"),
    [
        pytest.param("12", 12, id="by number"),
        pytest.param("ana_p", 7, id="by user name"),
        pytest.param("ANA@mail.Example", 7, id="by address, any case"),
        pytest.param("7", 7, id="a number before a user name of digits"),
        pytest.param("99", 30, id="a user name of digits that is nobody's number"),
        pytest.param("shared@mail.example", 30, id="a shared address: who was seen last"),
        pytest.param("nobody", None, id="nobody"),
        pytest.param("9" * 30, None, id="a number beyond any id"),
        pytest.param("", None, id="nothing"),
    ],
)
def test_find_learner(store: Store, key: str, student_id: int | None):
    with store.write() as connection:
        for learner, days in (
            (make_learner(7, username="ana_p", email="ana@mail.example"), 0),
            (make_learner(12, username="7", email="shared@mail.example"), 0),
            (make_learner(30, username="99", email="shared@mail.example"), 1),
        ):
            put(connection, make_candidate(learner=learner), make_program(), seen_at=EXPORTED + timedelta(days=days))
        found = find_learner(connection, key)
    assert (found.student_id if found else None) == student_id


def test_a_learner_without_any_trigger_can_be_asked_for(store: Store):
    candidate = make_candidate(make_enrollment(1, grade=0.1))
    fill(store, [candidate])
    with store.read() as connection:
        assert list(candidates_by_id(connection, make_program(), [7, 8], LENS)) == [candidate]


def test_explain_shows_every_course_of_the_series(store: Store, tmp_path: Path):
    fill(store, [make_candidate(certified(1), make_enrollment(2, track="verified", grade=0.9))])
    app = make_app(store, tmp_path)
    candidate, found = explain_learner(app, app.program("river"), "learner_7", policy_of(app))
    assert candidate.learner.student_id == 7
    assert [(course.code, decision.reason if decision else "no trigger") for course, decision, _ in found] == [
        ("river1x", None),
        ("river2x", Reason.PAID_TRACK),
        ("river3x", "no trigger"),
    ]
    assert all(checks for _, _, checks in found)
    with pytest.raises(InputError, match="No learner 'nobody'"):
        explain_learner(app, app.program("river"), "nobody", policy_of(app))


def test_current_runs_without_a_grade_report_are_named(store: Store, tmp_path: Path):
    fill(store, [make_candidate()])
    with store.read() as connection:
        missing = missing_reports(connection, make_program())
    assert [sentence.split(" was loaded")[0] for sentence in missing] == [
        f"No grade report of NX_RIVER{number}x_{RUN}" for number in (2, 3)
    ]


# --- history --------------------------------------------------------------------------------------------------------

M, C = MessageStatus, CampaignState


@pytest.mark.parametrize(
    ("status", "state", "counts"),
    [
        (M.ACCEPTED, C.FINISHED, True),
        (M.ACCEPTED, C.CANCELLED, True),
        (M.UNKNOWN, C.SENDING, True),
        (M.SENDING, C.SENDING, True),
        (M.PENDING, C.SENDING, True),
        (M.PENDING, C.PAUSED, True),
        (M.PENDING, C.APPROVED, False),
        (M.PENDING, C.PLANNED, False),
        (M.FAILED, C.FINISHED, False),
        (M.SUPPRESSED, C.FINISHED, False),
        (M.CANCELLED, C.CANCELLED, False),
    ],
)
def test_what_went_out_or_may_have_is_history(store: Store, status: MessageStatus, state: CampaignState, counts: bool):
    fill(store, [make_candidate()])
    with store.write() as connection:
        campaign = add_campaign(connection, state=state, started_at=NOW)
        add_message(connection, campaign, 7, status=status, sent_at=NOW if status is M.ACCEPTED else None)
    past = PastMessage(
        campaign=campaign,
        program="river",
        cohort=Cohort.AUDIT_UPGRADE,
        trigger_course="river1x",
        trigger_run=RUN,
        next_course="river2x",
        sent_on=date(2027, 6, 15),
    )
    assert read(store)[7].history == ((past,) if counts else ())
    assert read(store, ignore_campaign=campaign)[7].history == ()


def test_days_of_history_are_days_of_the_site(store: Store):
    """15:30 UTC is half past one at night in Brisbane."""
    fill(store, [make_candidate()])
    with store.write() as connection:
        campaign = add_campaign(connection, state=C.FINISHED)
        add_message(connection, campaign, 7, status=M.ACCEPTED, sent_at=datetime(2027, 6, 14, 15, 30, tzinfo=UTC))
    assert [past.sent_on for past in read(store)[7].history] == [date(2027, 6, 15)]
    assert [past.sent_on for past in read(store, zone=UTC)[7].history] == [date(2027, 6, 14)]


def test_a_message_to_the_mailbox_counts_for_whoever_has_it_now(store: Store):
    """The address moved from one account to another (edX case E34): the person behind it read that mail."""
    fill(store, [make_candidate(learner=make_learner(number, email="shared@mail.example")) for number in (1, 2, 3)])
    with store.write() as connection:
        campaign = add_campaign(connection, state=C.FINISHED)
        add_message(connection, campaign, 1, status=M.ACCEPTED, sent_at=NOW, email="Shared@mail.example")
    assert {number: len(candidate.history) for number, candidate in read(store).items()} == {1: 1, 2: 1, 3: 1}


def test_a_message_to_an_earlier_address_counts_for_the_person_alone(store: Store):
    fill(store, [make_candidate(learner=make_learner(number)) for number in (1, 2)])
    with store.write() as connection:
        campaign = add_campaign(connection, state=C.FINISHED)
        add_message(connection, campaign, 1, status=M.ACCEPTED, sent_at=NOW, email="old@mail.example")
    assert {number: len(candidate.history) for number, candidate in read(store).items()} == {1: 1, 2: 0}
