"""The demo's exports: edX's format of today, people who do not exist, every rare story, the same bytes each time."""

import csv
import re
from collections import Counter
from datetime import date
from pathlib import Path

import pytest

from mmcampaign.config import load_settings
from mmcampaign.demo_data import demo_config, write_exports
from mmcampaign.model import ComingRun, Program
from mmcampaign.resources import resource

TODAY = date(2026, 11, 22)
SAMPLES = Path(__file__).parents[1] / "data" / "edx-samples" / "downloads"
Table = list[dict[str, str]]


def demo_programs(folder: Path, today: date = TODAY) -> tuple[Program, ...]:
    path = folder / "config.toml"
    path.write_text(demo_config(resource("config.toml").read_text(encoding="utf-8"), today=today), encoding="utf-8")
    return tuple(load_settings(path, {}).programs.values())


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Program, ...]:
    return demo_programs(tmp_path_factory.mktemp("config"))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, programs: tuple[Program, ...]) -> list[Path]:
    return write_exports(tmp_path_factory.mktemp("exports"), programs, learners=4000, seed=1, today=TODAY)


def read(path: Path) -> Table:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, strict=True))


def of_kind(files: list[Path], kind: str) -> list[Path]:
    """Without the superseded export and the browser's duplicate."""
    return [path for path in files if re.search(rf"\dT20\d\d_{kind}_2026-11-21-\d{{4}}\.csv$", path.name)]


@pytest.fixture(scope="module")
def grades(files: list[Path]) -> dict[str, Table]:
    return {path.name.split("_grade_report")[0]: read(path) for path in of_kind(files, "grade_report")}


@pytest.fixture(scope="module")
def profiles(files: list[Path]) -> dict[str, Table]:
    return {path.name.split("_student")[0]: read(path) for path in of_kind(files, "student_profile_info")}


def test_every_run_up_to_the_coming_one_has_both_reports(
    programs: tuple[Program, ...], grades: dict[str, Table], profiles: dict[str, Table]
) -> None:
    wanted = {
        course.instance(run)
        for program in programs
        for course in program.courses
        for run in (*course.runs, *([course.coming_run.run] if course.coming_run else []))
    }
    assert set(grades) == set(profiles) == wanted
    assert len(wanted) == 4 * (4 * 4 + 3)


def test_the_columns_are_those_of_real_exports(files: list[Path]) -> None:
    def header(path: Path) -> list[str]:
        return next(csv.reader(path.read_text(encoding="utf-8").splitlines()))

    profile = header(next(SAMPLES.glob("*2025_T1_student_profile_info*")))
    profile.remove("team")
    grade = header(next(SAMPLES.glob("*2025_T1_grade_report_2026-08-17-1402.csv")))
    assert {tuple(header(path)) for path in of_kind(files, "student_profile_info")} == {tuple(profile)}
    for path in of_kind(files, "grade_report"):
        assert header(path)[:4] == grade[:4]
        assert header(path)[-6:] == grade[-6:]
        assert len(header(path)) == 4 + 20 + 6


def test_bytes_are_those_of_edx(files: list[Path]) -> None:
    for path in files:
        content = path.read_bytes()
        assert content.endswith(b"\r\n"), path.name
        assert not content.startswith(b"\xef\xbb\xbf"), path.name
        assert b"\r\n" in content
        assert not re.search(rb"[^\r]\n", content), path.name


def test_rows_are_whole_and_in_edx_order(grades: dict[str, Table], profiles: dict[str, Table]) -> None:
    for rows in (*grades.values(), *profiles.values()):
        assert all(None not in row and None not in row.values() for row in rows)
    for rows in grades.values():
        ids = [int(row["Student ID"]) for row in rows]
        assert ids == sorted(set(ids))
    for rows in profiles.values():
        assert [row["username"] for row in rows] == sorted({row["username"] for row in rows})


def test_profile_lists_those_enrolled_now_and_one_whose_grading_failed(
    files: list[Path], grades: dict[str, Table], profiles: dict[str, Table]
) -> None:
    unknown: list[str] = []
    for run, rows in grades.items():
        enrolled = {row["Student ID"] for row in rows if row["Enrollment Status"] == "enrolled"}
        listed = {row["id"] for row in profiles[run]}
        assert enrolled <= listed
        unknown += listed - enrolled
    assert len(unknown) == 1
    (errors,) = [path for path in files if "_grade_report_err_" in path.name]
    assert [row["Student ID"] for row in read(errors)] == unknown


def test_everybody_is_invented(grades: dict[str, Table], profiles: dict[str, Table]) -> None:
    emails = [row["Email"] for rows in grades.values() for row in rows]
    emails += [row["email"] for rows in profiles.values() for row in rows]
    assert all(re.fullmatch(r"[^@\s]+@([a-z]+\.)*(example|invalid)", email, re.IGNORECASE) for email in emails)


def test_names_come_in_many_scripts(profiles: dict[str, Table]) -> None:
    text = "".join(row["name"] for rows in profiles.values() for row in rows)
    for script, letters in {
        "Latin with accents": "[À-ž]",
        "Vietnamese": "[Ạ-ỹ]",
        "Cyrillic": "[А-я]",
        "Arabic": "[ء-ي]",
        "Han": "[一-鿿]",
        "Hangul": "[가-힣]",
        "Devanagari": "[ऀ-ॿ]",
    }.items():
        assert re.search(letters, text), script
    assert "'" in text


def test_certificates_follow_the_rule_of_today(programs: tuple[Program, ...], grades: dict[str, Table]) -> None:
    marks = {course.prefix: course.passing_grade for program in programs for course in program.courses}
    for run, rows in grades.items():
        for row in rows:
            paid = row["Enrollment Track"] in {"verified", "masters", "professional"}
            passed = float(row["Grade"]) >= marks[run.rpartition("_")[0]]
            assert (row["Verification Status"] == "N/A") is not paid
            if row["Enrollment Track"] in {"audit", "honor"}:
                assert row["Certificate Eligible"] == "N"
            if paid and passed:
                assert row["Certificate Eligible"] == "Y"
            if row["Certificate Delivered"] == "Y":
                assert row["Certificate Eligible"] == "Y"
            assert (row["Certificate Type"] == "N/A") is (row["Certificate Delivered"] == "N")


def test_shares_are_like_real_ones(programs: tuple[Program, ...], grades: dict[str, Table]) -> None:
    rows = [row for table in grades.values() for row in table]
    learners = {row["Student ID"] for row in rows}
    assert 1.2 < len(rows) / len(learners) < 1.45
    tracks = Counter(row["Enrollment Track"] for row in rows)
    assert 0.82 < tracks["audit"] / len(rows) < 0.91
    assert 0.07 < tracks["verified"] / len(rows) < 0.15
    for track, low, high in (("audit", 0.02, 0.07), ("verified", 0.4, 0.65)):
        own = [row for row in rows if row["Enrollment Track"] == track]
        assert low < sum(float(row["Grade"]) >= 0.65 for row in own) / len(own) < high
    for program in programs:
        sizes = [sum(len(grades[course.instance(run)]) for run in course.runs) for course in program.courses]
        assert sizes == sorted(sizes, reverse=True)


def test_cells_have_the_forms_that_readers_trip_over(grades: dict[str, Table], profiles: dict[str, Table]) -> None:
    cells = {cell for rows in grades.values() for row in rows for cell in row.values()}
    assert "Not Attempted" in cells
    assert any(re.fullmatch(r"0\.\d{16,}", cell) for cell in cells)
    people = [row for rows in profiles.values() for row in rows]
    assert any("\r\n" in row["mailing_address"] for row in people)
    assert {"None"} < {row["goals"] for row in people}
    assert any(row["country"] == "NA" and row["username"] == "null" for row in people)
    assert any(re.fullmatch(r"0\d{4}", row["username"]) for row in people)
    assert {bool(re.search(r"\.\d{6}\+00:00", row["date_joined"])) for row in people} >= {True}


def test_every_program_has_the_rare_stories(
    programs: tuple[Program, ...], grades: dict[str, Table], profiles: dict[str, Table]
) -> None:
    for program in programs:
        instances = [course.instance(course.current_run) for course in program.courses]
        people = [row for instance in instances for row in profiles[instance]]
        rows = [row for instance in instances for row in grades[instance]]
        assert any(row["name"].startswith("=") for row in people)
        assert any(row["name"] == "" for row in people)
        assert any(row["email"].endswith("@staff.uqx.example") for row in people)
        assert any(
            row["email"].startswith("retired__user_") and not row["username"].startswith("retired") for row in people
        )
        assert any(row["Username"].startswith("retired__user_") for row in rows)
        assert any(
            row["Enrollment Track"] == "credit" and row["Certificate Eligible"] == "N" and float(row["Grade"]) >= 0.65
            for row in rows
        )
        owners: dict[str, set[str]] = {}
        for row in people:
            owners.setdefault(row["email"].casefold(), set()).add(row["id"])
        assert max(map(len, owners.values())) == 2


def test_somebody_is_in_the_coming_run_already(programs: tuple[Program, ...], grades: dict[str, Table]) -> None:
    for program in programs:
        coming = [course.instance(course.coming_run.run) for course in program.courses if course.coming_run]
        assert any(grades[instance] for instance in coming)
        assert all(row["Grade"] == "0.0" for instance in coming for row in grades[instance])


def test_the_folder_has_the_odd_files_of_real_ones(files: list[Path]) -> None:
    names = [path.name for path in files]
    assert len(names) == len(set(names)) == 76 * 2 + 4
    (copy,) = [path for path in files if path.name.endswith(" (1).csv")]
    original = copy.with_name(copy.name.replace(" (1)", ""))
    assert copy.read_bytes() == original.read_bytes()
    (older,) = [path for path in files if "_2026-10-31-" in path.name]
    assert older.name.split("_2026")[0] == original.name.split("_2026")[0]
    assert older.read_bytes() != original.read_bytes()
    for kind, first in (
        ("problem_grade_report", "Student ID,Email"),
        ("grade_report_err", "Student ID,Username,Error"),
    ):
        (path,) = [path for path in files if f"T2026_{kind}_" in path.name]
        assert path.read_text(encoding="utf-8").startswith(first)


def test_no_file_is_stamped_after_today(files: list[Path]) -> None:
    assert all(re.search(r"_(20\d\d-\d\d-\d\d)-", path.name)[1] < TODAY.isoformat() for path in files)  # type: ignore[index]  # no match fails too


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path, programs: tuple[Program, ...]) -> None:
    def content(folder: str, seed: int) -> dict[str, bytes]:
        written = write_exports(tmp_path / folder, programs, learners=300, seed=seed, today=TODAY)
        return {path.name: path.read_bytes() for path in written}

    first = content("first", 7)
    assert content("second", 7) == first
    assert content("third", 8) != first


@pytest.mark.parametrize("seed", range(2, 8))
def test_nobody_stands_in_a_file_twice(tmp_path: Path, programs: tuple[Program, ...], seed: int) -> None:
    for path in of_kind(write_exports(tmp_path, programs, learners=1500, seed=seed, today=TODAY), "grade_report"):
        ids = [row["Student ID"] for row in read(path)]
        assert len(ids) == len(set(ids)), path.name


@pytest.mark.parametrize("learners", [0, 1, 30])
def test_small_demos_are_whole_too(tmp_path: Path, programs: tuple[Program, ...], learners: int) -> None:
    heard: list[tuple[int, int]] = []
    files = write_exports(
        tmp_path,
        programs,
        learners=learners,
        seed=1,
        today=TODAY,
        progress=lambda done, total: heard.append((done, total)),
    )
    assert all(path.read_bytes().endswith(b"\r\n") for path in files)
    assert heard == [(number, 76) for number in range(1, 77)]


def test_the_shipped_programs_work_without_lists_of_runs(tmp_path: Path) -> None:
    programs = tuple(load_settings(resource("config.toml"), {}).programs.values())
    files = write_exports(tmp_path, programs, learners=400, seed=1, today=TODAY)
    assert "UQx_LGDM3x_1T2018" in {path.name.split("_student")[0] for path in files}


@pytest.mark.parametrize(
    ("today", "runs", "coming"),
    [
        pytest.param(date(2026, 11, 22), ("1T2026", "2T2026", "3T2026"), "1T2027", id="last term"),
        pytest.param(date(2027, 1, 1), ("2T2026", "3T2026", "1T2027"), "2T2027", id="first day of a year"),
        pytest.param(date(2027, 8, 31), ("3T2026", "1T2027", "2T2027"), "3T2027", id="last day of a term"),
    ],
)
def test_the_demo_runs_around_today(tmp_path: Path, today: date, runs: tuple[str, ...], coming: str) -> None:
    programs = demo_programs(tmp_path, today)
    first = programs[0].courses[0]
    assert (first.runs, first.current_run) == (runs, runs[-1])
    assert isinstance(first.coming_run, ComingRun)
    assert first.coming_run.run == coming
    for program in programs:
        deadlines = [course.upgrade_deadline for course in program.series]
        assert sum(day is None for day in deadlines) == 1
        assert sum(day is not None and day < today for day in deadlines) == 1
        assert sum(day is not None and day > today for day in deadlines) == 2
    closed = [
        course
        for program in programs
        for course in program.series
        if course.coming_run and course.coming_run.enrollment_closes and course.coming_run.enrollment_closes < today
    ]
    assert len(closed) == 1


def test_the_demo_keeps_the_rest_of_the_shipped_file() -> None:
    source = resource("config.toml").read_text(encoding="utf-8")
    made = demo_config(source, today=TODAY)
    assert [line for line in made.splitlines() if line.startswith(("code", "prefix", "passing", "from", "#"))] == [
        line for line in source.splitlines() if line.startswith(("code", "prefix", "passing", "from", "#"))
    ]
    assert '"@staff.uqx.example"' in made
