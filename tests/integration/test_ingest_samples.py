"""The invented sample folder, ingested whole: every file and every learner as ``expected.json`` has them."""

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text

from mmcampaign.ingest import FileResult, ingest
from mmcampaign.model import FileStatus
from mmcampaign.store.candidates import learner_from_row
from mmcampaign.store.engine import Store, open_store
from mmcampaign.store.tables import completions, learners
from tests.edx_samples import DOWNLOADS, EXPECTED, NOW, RIVER, dump, facts

ROLES = {
    "use": FileStatus.LOADED,
    "superseded": FileStatus.SUPERSEDED,
    "duplicate": FileStatus.DUPLICATE,
    "ignore": FileStatus.IGNORED,
}


@pytest.fixture
def sampled(store: Store) -> Store:
    ingest(store, (RIVER,), [DOWNLOADS], now=NOW)
    return store


def test_files_are_taken_as_expected(store: Store) -> None:
    heard: list[FileResult] = []
    result = ingest(store, (RIVER,), [DOWNLOADS], now=NOW, on_file=heard.append)
    assert sorted(heard, key=lambda file: file.path) == list(result.files)
    found = {file.name: file for file in result.files}
    assert found.keys() == {file["file"] for file in EXPECTED["files"]}
    for expected in EXPECTED["files"]:
        file = found[expected["file"]]
        assert file.exported_at is not None
        assert file.status is ROLES[expected["role"]], file.name
        assert (file.kind, file.course, file.run) == (expected["kind"], expected["course"], expected["run"])
        assert f"{file.exported_at:%Y-%m-%d-%H%M}" == expected["stamp"]
        assert file.program == "river"
        assert file.accepted + file.rejected == file.rows
        assert file.rejected == 0


def test_learners_are_as_expected(sampled: Store) -> None:
    with sampled.read() as connection:
        found = {row.student_id: row for row in connection.execute(select(learners))}
        statuses: dict[int, dict[str, str]] = {student_id: {} for student_id in found}
        for row in connection.execute(select(completions)):
            statuses[row.learner_id][row.course] = row.status
        complete = {
            row.student_id for row in connection.execute(text("SELECT * FROM river_coursecompletion")) if row[-3] == 2
        }
    assert {str(student_id) for student_id in found} == EXPECTED["learners"].keys()
    for key, expected in EXPECTED["learners"].items():
        row, learner = found[int(key)], learner_from_row(found[int(key)])
        assert (row.username, row.name, row.email) == (expected["username"], expected["name"], expected["email"])
        assert statuses[int(key)] == expected["courses"], key
        assert (int(key) in complete) is expected["program_complete"]
        assert (row.retired_at is not None) is (expected["account"] == "retired")
        assert learner.retired is (expected["account"] in {"retired", "deletion_pending"})
        staff = row.username == "kim_staff"
        assert (not learner.retired and not staff) is expected["mailable"]


def test_the_report_view_has_the_columns_of_the_contract(sampled: Store) -> None:
    with sampled.read() as connection:
        report = connection.execute(text("SELECT * FROM river_coursecompletion"))
        columns = list(report.keys())
        rows = [tuple(row) for row in report]
    assert columns == [
        "student_id",
        "username",
        "email",
        "name",
        "RIVER1x_enrollment_track",
        "RIVER1x_passed",
        "RIVER.2x_enrollment_track",
        "RIVER.2x_passed",
        "no_certificate_eligible",
        "no_audited_passed",
        "country",
    ]
    assert [row[0] for row in rows] == [row[0] for row in sorted(rows, key=lambda row: (-row[-3], row[0]))]
    by_id = {row[0]: row[4:] for row in rows}
    assert len(rows) == len(EXPECTED["learners"])
    assert by_id[6894410] == ("verified", "Y", "verified", "Y", 2, 0, "NG")
    assert by_id[8711203] == ("audit", "Y", "audit", "Y", 0, 2, "SE")
    assert by_id[24011877] == ("verified", "-", "-", "-", 0, 0, "EG")
    assert by_id[24117730] == ("audit", "N", "audit", "N", 0, 0, "NA")


def test_a_second_ingest_changes_nothing_at_all(sampled: Store) -> None:
    before = dump(sampled)
    again = ingest(sampled, (RIVER,), [DOWNLOADS], now=datetime(2027, 1, 1, tzinfo=UTC))
    assert dump(sampled) == before
    assert {file.status for file in again.files} == {FileStatus.DUPLICATE, FileStatus.IGNORED}
    assert again.changes == type(again.changes)()


def test_e32_missing_grades_are_counted(store: Store) -> None:
    result = ingest(store, (RIVER,), [DOWNLOADS], now=NOW)
    (errors,) = [file for file in result.files if file.kind == "grade_report_err"]
    assert "The grades of 1 learner are missing" in errors.warnings[0]


@pytest.fixture(scope="module")
def expected_facts(_empty_sqlite: Path) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        return ingest_in_order(_empty_sqlite, Path(folder), [[DOWNLOADS]])


def ingest_in_order(empty: Path, folder: Path, calls: list[list[Path]]) -> dict[str, Any]:
    database = folder / "order.db"
    database.write_bytes(empty.read_bytes())
    store = open_store(f"sqlite:///{database}")
    for paths in calls:
        ingest(store, (RIVER,), paths, now=NOW)
    found = facts(store)
    store.close()
    return found


FILES = [DOWNLOADS / file["file"] for file in EXPECTED["files"] if file["role"] != "ignore"]


@settings(max_examples=15, suppress_health_check=list(HealthCheck))
@given(files=st.permutations(FILES), at_once=st.integers(1, 4))
def test_e33_e42_the_order_of_the_files_does_not_matter(
    files: list[Path], at_once: int, expected_facts: dict[str, Any], _empty_sqlite: Path
) -> None:
    calls = [files[start : start + at_once] for start in range(0, len(files), at_once)]
    with tempfile.TemporaryDirectory() as folder:
        assert ingest_in_order(_empty_sqlite, Path(folder), calls) == expected_facts
