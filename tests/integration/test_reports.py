"""The completion report: rows from the program's view, safe in spreadsheets, exact in JSON, summed up per course."""

import csv
import io
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import load_workbook
from sqlalchemy import insert

from mmcampaign.errors import InputError
from mmcampaign.model import Course, Program
from mmcampaign.reports import summary, summary_lines, write_csv, write_json, write_xlsx
from mmcampaign.store.engine import Store
from mmcampaign.store.programs import sync_programs
from mmcampaign.store.reports import completion_rows, report_columns
from mmcampaign.store.tables import completions, course_instancedetails, imports, learners

SEEN = datetime(2026, 8, 17, 14, 2, tzinfo=UTC)
RIVER = Program(
    code="river",
    title="Rivers",
    template="river",
    courses=(
        Course(code="river1x", prefix="NX_RIVER1x", title="Rain", passing_grade=0.65),
        Course(code="river2x", prefix="NX_RIVER.2x", title="Snow", passing_grade=0.7),
        Course(code="rivercapx", prefix="NX_RIVERCAPx", title="Capstone", passing_grade=0.5, series=False),
    ),
)
LAKE = Program(
    code="lake",
    title="Lakes",
    template="lake",
    courses=(Course(code="lake1x", prefix="NX_LAKE1x", title="Ponds", passing_grade=0.5),),
)
PEOPLE = [
    (7, "ann_p", "ann@mail.example", "Ann Pine", "AU"),
    (12, "null", "ndapewa@mail.example", "=1+1 Ndapewa", "NA"),
    (30, "gone", "d.o'connor+edx@post.example", None, None),
    (41, "hana_s", "hana@mail.example", "鈴木 花", "JP"),
]
STANDINGS = [
    (7, "river1x", "certified", "verified", "Y"),
    (7, "rivercapx", "eligible", "verified", "Y"),
    (12, "river1x", "audit_passed", "audit", "Y"),
    (12, "river2x", "not_passed", "audit", "N"),
    (30, "river1x", "grade_unknown", None, "-"),
    (41, "river1x", "passed_not_eligible", "credit", "Y"),
    (41, "lake1x", "certified", "verified", "Y"),
]
COLUMNS = (
    "student_id",
    "username",
    "email",
    "name",
    "river1x_enrollment_track",
    "river1x_passed",
    "river2x_enrollment_track",
    "river2x_passed",
    "rivercapx_enrollment_track",
    "rivercapx_passed",
    "no_certificate_eligible",
    "no_audited_passed",
    "country",
)


@pytest.fixture
def filled(store: Store) -> Store:
    """Four learners in two programs, and the exports that say so."""
    sync_programs(store, (RIVER, LAKE))
    with store.write() as connection:
        connection.execute(
            insert(learners),
            [
                {
                    "student_id": number,
                    "username": username,
                    "email": email,
                    "email_key": email.casefold(),
                    "name": name,
                    "country": country,
                    "seen_at": SEEN,
                }
                for number, username, email, name, country in PEOPLE
            ],
        )
        connection.execute(
            insert(completions),
            [
                {
                    "course": course,
                    "learner_id": learner,
                    "status": status,
                    "enrollment_track": track,
                    "passed": passed,
                    "course_instance": f"{course}_1",
                }
                for learner, course, status, track, passed in STANDINGS
            ],
        )
        connection.execute(insert(imports), [*_exports()])
    return store


def _exports() -> list[dict[str, Any]]:
    return [
        {
            "sha256": str(number),
            "name": f"{number}.csv",
            "kind": kind,
            "program": "river",
            "course": course,
            "run": run,
            "course_instance": f"{course}_{run}",
            "exported_at": exported_at,
            "status": status,
            "rows": 1,
            "accepted": 1,
            "rejected": 0,
            "reason": "",
            "warnings": "[]",
            "audit_hidden": False,
            "ingested_at": SEEN,
        }
        for number, (course, run, kind, status, exported_at) in enumerate(
            [
                ("river1x", "2025_T1", "grade_report", "loaded", SEEN),
                ("river1x", "2025_T1", "grade_report", "superseded", SEEN.replace(month=7)),
                ("river1x", "2025_T1", "student_profile_info", "loaded", SEEN.replace(hour=13)),
                ("river2x", "3T2016", "grade_report", "refused", SEEN.replace(year=2027)),
                ("lake1x", "1T2016", "grade_report", "loaded", SEEN.replace(year=2028)),
            ]
        )
    ]


def test_columns_are_those_of_the_contract() -> None:
    assert report_columns(RIVER) == COLUMNS


def test_rows_come_by_certificates_then_id(filled: Store) -> None:
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in completion_rows(filled, RIVER)]
    assert [row["student_id"] for row in rows] == [7, 12, 30, 41]
    assert [row["no_certificate_eligible"] for row in rows] == [2, 0, 0, 0]
    assert [row["no_audited_passed"] for row in rows] == [0, 1, 0, 0]
    assert rows[0]["river2x_enrollment_track"] == rows[0]["river2x_passed"] == "-"
    assert rows[1]["river2x_passed"] == "N"
    assert rows[2]["river1x_passed"] == "-"


def test_a_limit_gives_the_first_rows(filled: Store) -> None:
    assert [row[0] for row in completion_rows(filled, RIVER, limit=2)] == [7, 12]


def test_an_unfinished_reader_leaves_the_database_free(filled: Store) -> None:
    rows = completion_rows(filled, RIVER)
    assert next(rows)[0] == 7
    rows.close()
    with filled.write() as connection:
        connection.execute(completions.delete())
    assert list(completion_rows(filled, RIVER)) == []


def test_csv_is_exact_but_for_formulas(filled: Store) -> None:
    stream = io.StringIO(newline="")
    assert write_csv(stream, report_columns(RIVER), completion_rows(filled, RIVER)) == 4
    rows = list(csv.DictReader(io.StringIO(stream.getvalue(), newline="")))
    assert tuple(rows[0]) == COLUMNS
    assert [row["name"] for row in rows] == ["Ann Pine", "'=1+1 Ndapewa", "", "鈴木 花"]
    assert rows[2]["email"] == "d.o'connor+edx@post.example"
    assert rows[0]["river2x_passed"] == "-"
    assert rows[1]["country"] == "NA"


def test_json_keeps_every_value_as_it_is(filled: Store) -> None:
    stream = io.StringIO()
    assert write_json(stream, report_columns(RIVER), completion_rows(filled, RIVER)) == 4
    rows = json.loads(stream.getvalue())
    assert [row["name"] for row in rows] == ["Ann Pine", "=1+1 Ndapewa", None, "鈴木 花"]
    assert (rows[0]["student_id"], rows[0]["no_certificate_eligible"]) == (7, 2)
    assert tuple(rows[3]) == COLUMNS


def test_no_rows_are_still_a_document() -> None:
    stream = io.StringIO()
    assert write_json(stream, COLUMNS, iter([])) == 0
    assert json.loads(stream.getvalue()) == []


def test_the_workbook_holds_rows_and_summary(filled: Store, tmp_path: Path) -> None:
    path = tmp_path / "river.xlsx"
    written = write_xlsx(path, report_columns(RIVER), completion_rows(filled, RIVER), summary(filled, RIVER))
    assert written == 4
    book = load_workbook(path)
    assert book.sheetnames == ["Summary", "Completion"]
    sheet = book["Completion"]
    assert tuple(cell.value for cell in sheet[1]) == COLUMNS
    assert [sheet.cell(line, 1).value for line in range(2, 6)] == [7, 12, 30, 41]
    formula = sheet.cell(3, 4)
    assert (formula.value, formula.data_type) == ("=1+1 Ndapewa", "s")
    assert sheet.cell(4, 4).value is None
    assert sheet.freeze_panes == "E2"
    assert sheet.auto_filter.ref == "A1:M5"
    assert sheet.column_dimensions["C"].width > 30
    lines = [[cell.value for cell in line] for line in book["Summary"].iter_rows()]
    assert ["river1x", "Rain", 4, 1, 2, 3, 1, 0] in [line[:8] for line in lines]
    assert list(tmp_path.glob("*.part")) == list(tmp_path.glob(".*")) == []


def test_a_workbook_that_fails_leaves_the_old_one(filled: Store, tmp_path: Path) -> None:
    path = tmp_path / "river.xlsx"
    path.write_bytes(b"old")

    def broken() -> Any:
        yield (1,) * len(COLUMNS)
        raise InputError("the disk is gone")

    with pytest.raises(InputError, match="the disk is gone"):
        write_xlsx(path, COLUMNS, broken(), summary(filled, RIVER))
    assert path.read_bytes() == b"old"
    assert [
        file.name
        for file in tmp_path.iterdir()
        if file.name != "mmcampaign.db" and not file.name.startswith("mmcampaign.db-")
    ] == ["river.xlsx"]


def test_a_workbook_in_no_folder_is_told(filled: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        write_xlsx(tmp_path / "none" / "river.xlsx", COLUMNS, iter([]), summary(filled, RIVER))


def test_the_summary_counts_learners_by_their_best_status(filled: Store) -> None:
    numbers = summary(filled, RIVER)
    assert numbers.learners == 4
    assert numbers.by_certificates == {0: 3, 2: 1}
    first, second, capstone = numbers.courses
    assert dict(first.tracks) == {"verified": 1, "audit": 1, "": 1, "credit": 1}
    assert (first.enrolled, first.free, first.paid, first.passed) == (4, 1, 2, 3)
    assert (first.certified, first.eligible, first.certificates) == (1, 0, 1)
    assert (second.enrolled, second.free, second.passed) == (1, 1, 0)
    assert (capstone.eligible, capstone.certificates) == (1, 1)


def test_the_summary_tells_how_new_the_data_is(filled: Store) -> None:
    numbers = summary(filled, RIVER)
    assert [(export.run, export.kind, export.exported_at) for export in numbers.exports] == [
        ("2025_T1", "grade_report", SEEN),
        ("2025_T1", "student_profile_info", SEEN.replace(hour=13)),
    ]
    assert numbers.newest_export_at == SEEN


def test_the_summary_counts_runs_in_the_configured_order(filled: Store) -> None:
    found = [("b", "certified"), ("b", "not_passed"), ("a", "audit_passed"), ("z", "grade_unknown"), ("z", "eligible")]
    with filled.write() as connection:
        connection.execute(
            insert(course_instancedetails),
            [
                {"course_instance": f"NX_RIVER1x_{run}", "learner_id": 7 + number, "course": "river1x"}
                | {"run": run, "status": status}
                for number, (run, status) in enumerate(found)
            ],
        )
    ordered = replace(RIVER, courses=(RIVER.courses[0]._replace(runs=("b", "never", "a")), *RIVER.courses[1:]))
    runs = [(run.run, run.enrolled, run.passed, run.certificates) for run in summary(filled, ordered).courses[0].runs]
    assert runs == [("b", 2, 1, 1), ("a", 1, 1, 0), ("z", 2, 1, 1)]


def test_the_summary_counts_steps_and_certificates_together(filled: Store) -> None:
    standings = {
        (found.certificates, found.series_passed, found.others_passed): found.learners
        for found in summary(filled, RIVER).standings
    }
    assert standings == {(0, 0, 0): 1, (0, 1, 0): 2, (2, 1, 1): 1}


@pytest.mark.parametrize(
    ("runs", "order", "by_terms", "unknown"),
    [
        pytest.param(("a", "b", "c"), ("a", "b", "c"), {0: 1, 2: 2}, 1, id="in order"),
        pytest.param(("c", "b", "a", "x"), ("c", "b", "a", "x"), {0: 1, 2: 2, 3: 1}, 0, id="every run listed"),
        pytest.param((), (), {}, 4, id="no order"),
    ],
)
def test_the_pace_is_counted_in_terms(
    store: Store, runs: tuple[str, ...], order: tuple[str, ...], by_terms: dict[int, int], unknown: int
) -> None:
    program = replace(RIVER, courses=tuple(course._replace(runs=runs) for course in RIVER.courses))
    sync_programs(store, (program,))
    earned = {1: "ac", 2: "ca", 3: "bb", 4: "cx", 5: "a"}  # the runs of the two certificates; 5 has but one
    rows = [
        (learner, course, "certified" if learner % 2 else "eligible", course.instance(run))
        for learner, where in earned.items()
        for course, run in zip(program.courses, where, strict=False)
    ]
    rows += [
        (1, program.courses[2], "certified", "NX_RIVERCAPx_x"),
        (5, program.courses[1], "audit_passed", "NX_RIVER.2x_a"),
    ]
    with store.write() as connection:
        connection.execute(
            insert(completions),
            [
                {"course": course.code, "learner_id": learner, "status": status, "passed": "Y", "course_instance": run}
                for learner, course, status, run in rows
            ],
        )
    pace = summary(store, program).pace
    assert (pace.order, dict(pace.by_terms), pace.unknown) == (order, by_terms, unknown)


def test_a_program_without_data_is_all_noughts(store: Store) -> None:
    sync_programs(store, (RIVER,))
    numbers = summary(store, RIVER)
    assert (numbers.learners, numbers.by_certificates, numbers.exports) == (0, {}, ())
    assert [course.enrolled for course in numbers.courses] == [0, 0, 0]
    assert numbers.newest_export_at is None
    assert (("newest export", "", "none"), False) in list(summary_lines(numbers))


@given(st.lists(st.tuples(st.integers(), st.text(), st.none() | st.text()), max_size=20))
def test_json_gives_back_any_row(rows: list[tuple[int, str, str | None]]) -> None:
    stream = io.StringIO()
    write_json(stream, ("a", "b", "c"), rows)
    assert [tuple(row.values()) for row in json.loads(stream.getvalue())] == rows
