"""What each export changed, against a model that compares the states themselves."""

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings

from mmcampaign.completion import FREE_TRACKS, PAID_TRACKS, PASSED, status_of_run
from mmcampaign.errors import InputError
from mmcampaign.ingest import ingest
from mmcampaign.model import Change, Status
from mmcampaign.store.changes import LearnerChange, find_export, learners_changed, list_changes
from mmcampaign.store.engine import Store
from tests.exports import (
    GRADE_REPORT,
    NOW,
    ONE,
    PROFILE_REPORT,
    PROGRAM,
    Export,
    Folder,
    Values,
    exports,
    graded,
    states,
    wipe,
)
from tests.worlds import on_sqlite

JANUARY, FEBRUARY, MARCH = "2019-01-01-0000", "2019-02-01-0000", "2019-03-01-0000"


def standing(kind: str, values: Values | None) -> tuple[float | None, str, Status]:
    """Grade, track and status of a model's row."""
    if values is None or kind == PROFILE_REPORT:
        return None, values[0] if values else "", Status.GRADE_UNKNOWN
    grade, track, delivered = values
    return grade, track, status_of_run(grade=grade, track=track, delivered=delivered, passing_grade=ONE.passing_grade)


def changed(kind: str, old: Values | None, new: Values | None) -> Iterator[Change]:
    (grade, track, status), (new_grade, new_track, new_status) = standing(kind, old), standing(kind, new)
    stayed = old is not None and new is not None
    if new_status in PASSED and status not in PASSED:
        yield Change.PASSED
    if new_status is Status.CERTIFIED and status is not Status.CERTIFIED:
        yield Change.CERTIFIED
    if old is None and new is not None:
        yield Change.NEWLY_ENROLLED
    if old is not None and new is None:
        yield Change.VANISHED
    if stayed and track in FREE_TRACKS and new_track in PAID_TRACKS:
        yield Change.UPGRADED
    lost = (status in PASSED and new_status not in PASSED) or (
        status is Status.CERTIFIED and new_status is not Status.CERTIFIED
    )
    if stayed and (lost or (grade is not None and new_grade is not None and new_grade < grade)):
        yield Change.LOWERED


def by_learner(kind: str, old: Mapping[int, Values], new: Mapping[int, Values]) -> dict[int, set[Change]]:
    found = {who: set(changed(kind, old.get(who), new.get(who))) for who in old.keys() | new.keys()}
    return {who: changes for who, changes in found.items() if changes}


@settings(max_examples=5, suppress_health_check=list(HealthCheck))
@given(files=exports())
def test_every_export_is_compared_with_the_one_before_it(store: Store, files: list[Export]) -> None:
    wipe(store)
    with TemporaryDirectory() as place:
        for file in files:
            ingest(store, (PROGRAM,), [file.write(Folder(Path(place)))], now=NOW)
    with store.read() as connection:
        found = {(one.kind, one.exported_at): one for one in list_changes(connection)}
        files_read = {key: find_export(connection, str(one.file_number)) for key, one in found.items()}
        learners = {key: list(learners_changed(connection, file)) for key, file in files_read.items()}
    expected: dict[tuple[str, datetime], dict[int, set[Change]]] = {}
    for kind in (GRADE_REPORT, PROFILE_REPORT):
        before: Mapping[int, Values] = {}
        for stamp, export in sorted(states(files, kind).items()):
            expected[kind, stamp] = by_learner(kind, before, export.rows)
            before = export.rows
    named = {key: {one.student_id: set(map(Change, one.changes)) for one in each} for key, each in learners.items()}
    assert named == expected
    for key, changes in expected.items():
        counted = Counter(itertools.chain.from_iterable(changes.values()))
        assert found[key].counts == {change: counted[change] for change in Change}


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "downloads")


@pytest.fixture
def regraded(store: Store, folder: Folder) -> Store:
    """February gives learner 1 a certificate on a paid track; March takes it back and lists nobody else."""
    for stamp, rows in (
        (JANUARY, [graded(1, 0.2), graded(2, 0.2)]),
        (FEBRUARY, [graded(1, 0.9, "verified", delivered="Y"), graded(2, 0.2)]),
        (MARCH, [graded(1, 0.9, "verified")]),
    ):
        ingest(store, (PROGRAM,), [folder.grades(stamp, *rows)], now=NOW)
    return store


def test_a_learner_is_shown_before_and_after(regraded: Store) -> None:
    with regraded.read() as connection:
        (learner,) = learners_changed(connection, find_export(connection, "2"))
        lowered, gone = learners_changed(connection, find_export(connection, "3"))
    assert learner == LearnerChange(
        student_id=1,
        username="learner1",
        changes=("passed", "upgraded", "certified"),
        grade_before=0.2,
        grade_after=0.9,
        track_before="audit",
        track_after="verified",
        status_before="not_passed",
        status_after="certified",
    )
    assert (lowered.changes, lowered.status_before, lowered.status_after) == (
        ("lowered",),
        "certified",
        "passed_not_eligible",
    )
    assert (gone.changes, gone.grade_before, gone.grade_after, gone.status_after) == (("vanished",), 0.2, None, None)


def test_a_first_export_is_all_new_and_says_so(regraded: Store) -> None:
    with regraded.read() as connection:
        first, second, _ = list_changes(connection)
    assert (first.since, first.newly_enrolled, second.since) == (None, 2, first.exported_at)


@on_sqlite
@pytest.mark.parametrize(
    ("key", "why"),
    [
        pytest.param("99", "No file 99 was read", id="no such number"),
        pytest.param("other.csv", "No file other.csv was read", id="no such name"),
        pytest.param("4", "is refused and has changed no enrollment", id="a refused file"),
        pytest.param("9" * 30, "No file 999", id="a number beyond all numbers"),
    ],
)
def test_a_file_that_changed_nothing_is_named_with_its_reason(
    regraded: Store, folder: Folder, key: str, why: str
) -> None:
    path = folder.grades("2019-04-01-0000", *(graded(f"x{each}") for each in range(20)))
    ingest(regraded, (PROGRAM,), [path], now=NOW)
    with regraded.read() as connection, pytest.raises(InputError, match=why):
        find_export(connection, key)


def test_a_file_is_found_by_its_name_as_well(regraded: Store) -> None:
    with regraded.read() as connection:
        name = find_export(connection, "2").name
        assert find_export(connection, f"downloads/{name}").id == 2
