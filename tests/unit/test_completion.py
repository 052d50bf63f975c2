"""The status ladder of edx-exports 7.3, rung by rung, and the best over runs."""

from itertools import permutations, product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Double, Text, create_engine, literal, select

from mmcampaign.completion import (
    FREE_TRACKS,
    PAID_TRACKS,
    PASSED,
    best_run,
    is_audit_passed,
    passed_mark,
    status_of_run,
)
from mmcampaign.model import Enrollment, Status
from mmcampaign.store.completion import audit_passed_in_sql, status_in_sql

CASES = {
    "certificate delivered": (0.9, "verified", "Y", "Y", Status.CERTIFIED),
    "E35 certificate counts whatever the grade": (0.58, "verified", "Y", "Y", Status.CERTIFIED),
    "old honor certificate": (0.9, "honor", "Y", "Y", Status.CERTIFIED),
    "delivered without eligible, embargo after issue": (0.9, "verified", "N", "Y", Status.CERTIFIED),
    "eligible, certificate not out yet": (0.83, "verified", "Y", "N", Status.ELIGIBLE),
    "E38 allow-listed below the cut-off": (0.5, "verified", "Y", "N", Status.ELIGIBLE),
    "E37 audit passer marked eligible before mid-2018": (0.72, "audit", "Y", "N", Status.AUDIT_PASSED),
    "audit passer since": (0.72, "audit", "N", "N", Status.AUDIT_PASSED),
    "honor passer": (0.72, "honor", "N", "N", Status.AUDIT_PASSED),
    "E24 exactly at the cut-off": (0.65, "audit", "N", "N", Status.AUDIT_PASSED),
    "just below the cut-off": (0.64, "audit", "N", "N", Status.NOT_PASSED),
    "E23 above one": (1.02, "audit", "N", "N", Status.AUDIT_PASSED),
    "E39 verified passer under embargo": (0.9, "verified", "N", "N", Status.PASSED_NOT_ELIGIBLE),
    "E40 credit passer without certificate": (0.9, "credit", "N", "N", Status.PASSED_NOT_ELIGIBLE),
    "E40 paid without check": (0.9, "no-id-professional", "N", "N", Status.PASSED_NOT_ELIGIBLE),
    "E30 unknown track is not paid": (0.9, "golden", "Y", "N", Status.PASSED_NOT_ELIGIBLE),
    "not passed": (0.2, "verified", "N", "N", Status.NOT_PASSED),
    "E32 profile only": (None, "audit", "", "", Status.GRADE_UNKNOWN),
}


@pytest.mark.parametrize(("grade", "track", "eligible", "delivered", "expected"), CASES.values(), ids=CASES)
def test_status_of_run(grade: float | None, track: str, eligible: str, delivered: str, expected: Status) -> None:
    found = status_of_run(grade=grade, track=track, eligible=eligible, delivered=delivered, passing_grade=0.65)
    assert found is expected


def test_e24_decimals_compare_as_numbers() -> None:
    for written in ("0.7", "0.70", "0.700"):
        assert is_audit_passed(grade=float(written), track="audit", passing_grade=0.7)
    assert not is_audit_passed(grade=0.69, track="audit", passing_grade=0.7)
    assert not is_audit_passed(grade=0.9, track="verified", passing_grade=0.7)
    assert not is_audit_passed(grade=None, track="audit", passing_grade=0.7)


def test_the_sql_ladder_is_the_same_ladder() -> None:
    engine = create_engine("sqlite://")
    grades = [None, 0.0, 0.64, 0.65, 0.66, 1.02]
    tracks = ["", "golden", *sorted(FREE_TRACKS | PAID_TRACKS)]
    with engine.connect() as connection:
        for grade, track, eligible, delivered in product(grades, tracks, ("Y", "N", ""), ("Y", "N", "")):
            sql: dict[str, Any] = {"grade": literal(grade, Double()), "track": literal(track, Text())}
            cut = literal(0.65)
            status = status_in_sql(**sql, eligible=literal(eligible), delivered=literal(delivered), passing_grade=cut)
            row = connection.execute(select(status, audit_passed_in_sql(**sql, passing_grade=cut))).one()
            ours: dict[str, Any] = {"grade": grade, "track": track, "passing_grade": 0.65}
            assert row[0] == status_of_run(**ours, eligible=eligible, delivered=delivered)
            assert bool(row[1]) is is_audit_passed(**ours)
    engine.dispose()


def run_of(run: str, status: Status, *, track: str = "audit", grade: float | None = None) -> Enrollment:
    return Enrollment(course="c1x", run=run, grade=grade, track=track, status=status)


@pytest.mark.parametrize(
    ("runs", "best"),
    [
        pytest.param([run_of("1", Status.CERTIFIED), run_of("2", Status.NOT_PASSED)], "1", id="E36 not the latest run"),
        pytest.param([run_of("1", Status.AUDIT_PASSED), run_of("2", Status.ELIGIBLE)], "2", id="E36 verified later"),
        pytest.param(
            [run_of("1", Status.NOT_PASSED, track="verified"), run_of("2", Status.NOT_PASSED)], "1", id="paid first"
        ),
        pytest.param(
            [run_of("1", Status.NOT_PASSED, grade=0.6), run_of("2", Status.NOT_PASSED, grade=0.1)], "1", id="grade next"
        ),
        pytest.param([run_of("1", Status.GRADE_UNKNOWN), run_of("2", Status.GRADE_UNKNOWN)], "2", id="else the last"),
        pytest.param([run_of("1T", Status.GRADE_UNKNOWN), run_of("1Ta", Status.GRADE_UNKNOWN)], "1Ta", id="longer"),
    ],
)
def test_e36_best_run(runs: list[Enrollment], best: str) -> None:
    for order in permutations(runs):
        assert best_run(order).run == best


@given(st.lists(st.tuples(st.sampled_from(Status), st.sampled_from(["audit", "verified"])), min_size=1, max_size=6))
def test_e36_no_run_is_better_than_the_best(runs: list[tuple[Status, str]]) -> None:
    enrollments = [run_of(str(number), status, track=track) for number, (status, track) in enumerate(runs)]
    ladder = list(Status)
    assert ladder.index(best_run(enrollments).status) == min(ladder.index(status) for status, _ in runs)


def test_e36_no_run_has_no_best() -> None:
    with pytest.raises(ValueError, match="empty"):
        best_run([])


def test_passed_mark() -> None:
    assert {status: passed_mark(status) for status in Status} == {
        Status.CERTIFIED: "Y",
        Status.ELIGIBLE: "Y",
        Status.AUDIT_PASSED: "Y",
        Status.PASSED_NOT_ELIGIBLE: "Y",
        Status.NOT_PASSED: "N",
        Status.GRADE_UNKNOWN: "-",
    }
    assert {status for status in Status if passed_mark(status) == "Y"} == PASSED


def test_e30_track_sets_do_not_overlap() -> None:
    assert not FREE_TRACKS & PAID_TRACKS
