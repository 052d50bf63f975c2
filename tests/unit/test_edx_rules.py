"""Edge cases of edx-exports that end in a decision about a person: what a row means, and who hears from us."""

import pytest

from mmcampaign.cohorts import decide
from mmcampaign.completion import status_of_run
from mmcampaign.model import Cohort, Reason, Status
from tests.builders import certified, make_candidate, make_enrollment, make_learner, make_policy, make_program


def reasons(*enrollments, **changes) -> dict[str, Reason | None]:
    candidate = make_candidate(*enrollments, **changes.pop("candidate", {}))
    found = decide(make_program(), candidate, make_policy(**changes))
    return {decision.cohort: decision.reason for decision in found}


def test_e35_an_unenrolled_learner_with_a_certificate_has_completed():
    assert (
        status_of_run(grade=0.9, track="verified", eligible="Y", delivered="Y", passing_grade=0.65) == Status.CERTIFIED
    )
    assert reasons(certified(1, enrollment_status="unenrolled"))[Cohort.CONTINUE] is None


@pytest.mark.parametrize("delivered", ["N", "Y"])
def test_e37_an_audit_passer_with_eligible_y_is_not_certified_unless_delivered(delivered: str):
    status = status_of_run(grade=0.7, track="audit", eligible="Y", delivered=delivered, passing_grade=0.65)
    assert status == (Status.CERTIFIED if delivered == "Y" else Status.AUDIT_PASSED)


def test_e38_allow_listed_below_the_passing_grade_is_eligible():
    assert status_of_run(grade=0.1, track="verified", eligible="Y", passing_grade=0.65) == Status.ELIGIBLE


@pytest.mark.parametrize("track", ["verified", "credit", "no-id-professional"])
def test_e39_e40_paid_passers_without_a_certificate_are_not_invited_to_upgrade(track: str):
    status = status_of_run(grade=0.9, track=track, eligible="N", passing_grade=0.65)
    assert status == Status.PASSED_NOT_ELIGIBLE
    assert reasons(make_enrollment(1, track=track, status=status)) == {Cohort.AUDIT_UPGRADE: Reason.PAID_TRACK}


@pytest.mark.parametrize("staff", ["learner_7", "learner7@mail.example", "@mail.example"])
def test_e43_course_team_and_test_accounts_are_left_out(staff: str):
    found = reasons(make_enrollment(1), staff=frozenset({staff}), candidate={"learner": make_learner(7)})
    assert found == {Cohort.AUDIT_UPGRADE: Reason.STAFF_ACCOUNT}


def test_e46_who_has_not_passed_yet_is_written_to_about_nothing():
    assert reasons(make_enrollment(1, grade=0.3)) == {}
