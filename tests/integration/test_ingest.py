"""Ingest case by case, on small files made for each. Case numbers are those of edx-exports."""

import csv
import io
import subprocess
import sys
import textwrap
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table, func, select, text

from mmcampaign.errors import InputError, UnavailableError
from mmcampaign.ingest import Changes, FileResult, IngestResult, ingest, sync_programs
from mmcampaign.model import Course, FileStatus, Program
from mmcampaign.store.engine import Store, open_store
from mmcampaign.store.learners import last_seen
from mmcampaign.store.tables import (
    completions,
    course_instancedetails,
    imports,
    learners,
    program_courses,
    rejected_rows,
)

NOW = datetime(2026, 9, 1, 12, tzinfo=UTC)
ONE = Course(code="one1x", prefix="Org_ONE1x", passing_grade=0.65)
TWO = Course(code="two1x", prefix="Org_TWO1x", passing_grade=0.7)
CAPSTONE = Course(code="capx", prefix="Org_CAPx", passing_grade=0.5, series=False)
PROGRAM = Program(code="prog", title="Program", template="prog", courses=(ONE, TWO, CAPSTONE))
OTHER = Program(
    code="other",
    title="Other",
    template="other",
    courses=(Course(code="oth1x", prefix="Org_OTH1x", passing_grade=0.5),),
)
GRADES = ["Student ID", "Email", "Username", "Grade", "Enrollment Track", "Verification Status"]
GRADES += ["Certificate Eligible", "Certificate Delivered", "Certificate Type", "Enrollment Status"]
PROFILE = ["id", "username", "name", "email", "enrollment_mode", "country"]
RETIRED = "retired__user_2e394b46"
GONE = "retired__user_620a1fc0@retired.invalid"


def graded(
    student_id: object,
    grade: object = 0.8,
    track: str = "audit",
    *,
    eligible: str = "N",
    delivered: str = "N",
    email: str | None = None,
    username: str | None = None,
    status: str = "enrolled",
) -> list[object]:
    address = f"l{student_id}@mail.example" if email is None else email
    name = username or f"learner{student_id}"
    return [student_id, address, name, grade, track, "N/A", eligible, delivered, "N/A", status]


def enrolled(
    student_id: int, mode: str = "audit", *, name: str = "A Name", email: str | None = None, username: str = ""
) -> list[object]:
    return [student_id, username or f"learner{student_id}", name, email or f"l{student_id}@mail.example", mode, "AU"]


class Folder:
    """A folder of downloads; each call writes one export and returns its path."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def grades(self, stamp: str, *rows: list[object], run: str = "1T2019", tail: str = "", prefix: str = "") -> Path:
        return self.write(f"{prefix or ONE.prefix}_{run}_grade_report_{stamp}{tail}.csv", GRADES, *rows)

    def profile(self, stamp: str, *rows: list[object], run: str = "1T2019", prefix: str = "") -> Path:
        return self.write(f"{prefix or ONE.prefix}_{run}_student_profile_info_{stamp}.csv", PROFILE, *rows)

    def write(self, name: str, *rows: list[Any]) -> Path:
        text = io.StringIO(newline="")
        csv.writer(text).writerows(rows)
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.getvalue().encode())
        return path


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "downloads")


def read(store: Store, *paths: Path, programs: tuple[Program, ...] = (PROGRAM, OTHER), **options: Any) -> IngestResult:
    return ingest(store, programs, paths, now=NOW, **options)


def only(result: IngestResult) -> FileResult:
    (file,) = result.files
    return file


def rows_of(store: Store, table: Table) -> list[Any]:
    with store.read() as connection:
        return list(connection.execute(select(table).order_by(*table.primary_key.columns)))


def statuses(store: Store) -> dict[int, str]:
    return {row.learner_id: row.status for row in rows_of(store, course_instancedetails)}


def learner(store: Store, student_id: int) -> Any:
    return next(row for row in rows_of(store, learners) if row.student_id == student_id)


def stamps(store: Store, student_id: int) -> tuple[datetime | None, ...]:
    """Of the exports behind user name and address, and behind the name."""
    query = select(last_seen(learners), last_seen(learners, "profile_seen_at"))
    with store.read() as connection:
        return tuple(connection.execute(query.where(learners.c.student_id == student_id)).one())


# Files


def test_e2_e45_the_newest_export_replaces_the_older_one_whole(store: Store, folder: Folder) -> None:
    old = folder.grades("2019-01-01-0000", graded(1, 0.9, "verified", delivered="Y"), graded(2, 0.9))
    new = folder.grades("2019-02-01-0000", graded(1, 0.2, "verified"), graded(3))
    first = read(store, old)
    assert (first.changes.newly_passed, first.changes.newly_certified) == (2, 1)
    second = read(store, new)
    assert statuses(store) == {1: "not_passed", 3: "audit_passed"}
    assert [row.learner_id for row in rows_of(store, completions)] == [1, 3]
    assert second.changes == Changes(new_learners=1, newly_passed=1, vanished=1)
    assert {row.name: row.status for row in rows_of(store, imports)} == {old.name: "superseded", new.name: "loaded"}


def test_e2_an_older_export_that_comes_later_is_superseded_at_once(store: Store, folder: Folder) -> None:
    read(store, folder.grades("2019-02-01-0000", graded(1, 0.2)))
    result = read(store, folder.grades("2019-01-01-0000", graded(1, 0.9), graded(2, 0.9)))
    assert only(result).status is FileStatus.SUPERSEDED
    assert (only(result).rows, only(result).accepted) == (2, 2)
    assert result.changes == Changes(new_learners=1)
    assert statuses(store) == {1: "not_passed"}


def test_e3_equal_bytes_are_read_once(store: Store, folder: Folder) -> None:
    first = folder.grades("2019-01-01-0000", graded(1))
    copy = folder.grades("2019-01-01-0000", graded(1), tail=" (1)")
    files = read(store, copy, first).files
    assert [(file.name, file.status) for file in files] == [(copy.name, "duplicate"), (first.name, "loaded")]
    assert first.name in files[0].reason


def test_e3_a_copy_with_other_content_is_read_with_a_warning(store: Store, folder: Folder) -> None:
    first = folder.grades("2019-01-01-0000", graded(1, 0.1))
    copy = folder.grades("2019-01-01-0000", graded(1, 0.9), tail=" (1)")
    for paths in ([first, copy], [copy, first]):
        files = [only(read(store, path)) for path in paths]
        assert statuses(store) == {1: "audit_passed"}
    assert files[1].status is FileStatus.DUPLICATE
    warned = [row.name for row in rows_of(store, imports) if "same minute" in row.warnings]
    assert warned == [copy.name]


def test_e3_equal_bytes_under_a_newer_stamp_are_a_newer_export(store: Store, folder: Folder) -> None:
    old, new = (folder.grades(stamp, graded(1)) for stamp in ("2019-01-01-0000", "2019-02-01-0000"))
    assert [file.status for file in read(store, old, new).files] == ["superseded", "loaded"]
    assert stamps(store, 1) == (datetime(2019, 2, 1, tzinfo=UTC), None)


def test_e5_e6_a_refused_file_is_logged_and_changes_nothing(store: Store, folder: Folder) -> None:
    path = folder.grades("2019-01-01-0000", graded(1))
    path.write_bytes(path.read_bytes()[:-3])
    file = only(read(store, path))
    assert file.status is FileStatus.REFUSED
    assert "cut off in its last row" in file.reason
    assert not rows_of(store, learners)
    assert [(row.status, row.reason) for row in rows_of(store, imports)] == [("refused", file.reason)]
    path.unlink()
    assert only(read(store, folder.grades("2019-01-01-0000", graded(1)))).status is FileStatus.LOADED


def test_e7_a_header_alone_is_a_run_without_learners(store: Store, folder: Folder) -> None:
    read(store, folder.grades("2019-01-01-0000", graded(1)))
    result = read(store, folder.grades("2019-02-01-0000"))
    assert (only(result).status, only(result).rows) == (FileStatus.LOADED, 0)
    assert only(result).warnings == ("The report lists no learner.",)
    assert result.changes.vanished == 1
    assert not rows_of(store, completions)


def test_e7_equal_headers_of_two_runs_are_two_files(store: Store, folder: Folder) -> None:
    paths = [folder.grades("2019-01-01-0000", run=run) for run in ("1T2018", "1T2019")]
    assert [file.status for file in read(store, *paths).files] == ["loaded", "loaded"]


def test_e10_an_unknown_course_is_refused_until_it_is_configured(store: Store, folder: Folder) -> None:
    path = folder.grades("2019-01-01-0000", graded(1), prefix=ONE.prefix)
    file = only(read(store, path, programs=(OTHER,)))
    assert (file.status, file.kind) == (FileStatus.REFUSED, "grade_report")
    assert "Configured prefixes: Org_OTH1x. Add the course" in file.reason
    assert only(read(store, path)).status is FileStatus.LOADED
    assert [row.status for row in rows_of(store, imports)] == ["loaded"]


def test_e21_a_learner_twice_in_a_file(store: Store, folder: Folder) -> None:
    file = only(read(store, folder.grades("2019-01-01-0000", graded(1), graded(2), graded(1))))
    assert (file.status, file.rows, file.accepted, file.rejected) == (FileStatus.REFUSED, 3, 0, 3)
    assert "(id 1)" in file.reason
    assert not rows_of(store, learners)


@pytest.mark.parametrize(
    ("bad", "total", "status"), [(5, 20, "loaded"), (6, 20, "refused"), (10, 1000, "loaded"), (11, 1000, "refused")]
)
def test_e22_a_few_bad_rows_are_set_aside_more_refuse_the_file(
    store: Store, folder: Folder, bad: int, total: int, status: str
) -> None:
    rows = [graded(number, "n/a" if number <= bad else 0.5) for number in range(1, total + 1)]
    file = only(read(store, folder.grades("2019-01-01-0000", *rows)))
    assert (file.status, file.rows) == (status, total)
    assert file.accepted + file.rejected == file.rows
    loaded = status == "loaded"
    assert file.rejected == (bad if loaded else total)
    assert len(rows_of(store, course_instancedetails)) == (total - bad if loaded else 0)
    rejected = rows_of(store, rejected_rows)
    assert [row.line for row in rejected] == list(range(2, bad + 2))
    assert {row.reason for row in rejected} == {"The grade is not a fraction such as 0.65."}
    assert rejected[0].raw.startswith("1,l1@mail.example,learner1,n/a,")


def test_e30_an_unknown_track_is_stored_and_reported(store: Store, folder: Folder) -> None:
    file = only(read(store, folder.grades("2019-01-01-0000", graded(1, 0.9, "golden", eligible="Y"))))
    assert file.warnings == ("Unknown enrollment track golden, of 1 learner: taken as not paid.",)
    assert statuses(store) == {1: "passed_not_eligible"}


@pytest.mark.parametrize(
    ("rows", "cut", "warned"),
    [(2, 0, "The grades of 2 learners are missing"), (0, 0, ""), (2, 3, "of how many learners is not known")],
    ids=["counted", "none", "cut off"],
)
def test_e32_the_list_of_missing_grades(store: Store, folder: Folder, rows: int, cut: int, warned: str) -> None:
    listed = [[number, f"learner{number}", "broken\r\ntree"] for number in range(rows)]
    path = folder.write(
        f"{ONE.prefix}_1T2019_grade_report_err_2019-01-01-0000.csv", ["Student ID", "Username", "Error"], *listed
    )
    path.write_bytes(path.read_bytes()[: -cut or None])
    file = only(read(store, path))
    assert (file.status, file.rows) == (FileStatus.IGNORED, 0)
    assert warned in " ".join(file.warnings)
    assert bool(file.warnings) is bool(warned)


# People


def test_e31_e32_a_learner_in_one_of_the_two_reports_only(store: Store, folder: Folder) -> None:
    read(
        store,
        folder.grades("2019-01-01-0100", graded(1, 0.9, status="unenrolled"), graded(2, 0.2)),
        folder.profile("2019-01-01-0000", enrolled(2), enrolled(3, "verified")),
    )
    assert statuses(store) == {1: "audit_passed", 2: "not_passed", 3: "grade_unknown"}
    assert learner(store, 1).name is None
    rows = {row.learner_id: row for row in rows_of(store, course_instancedetails)}
    assert (rows[3].enrollment_track, rows[3].profile_track, rows[3].grade) == ("verified", "verified", None)
    assert (rows[2].enrollment_track, rows[2].profile_track) == ("audit", "audit")
    assert rows[1].enrollment_status == "unenrolled"


def test_e32_who_leaves_the_grade_report_but_stays_enrolled_has_no_known_grade(store: Store, folder: Folder) -> None:
    read(store, folder.grades("2019-01-01-0100", graded(1, 0.9, "verified", delivered="Y"), graded(2)))
    read(store, folder.profile("2019-01-01-0000", enrolled(1, "audit"), enrolled(2)))
    result = read(store, folder.grades("2019-02-01-0100", graded(2)))
    assert statuses(store) == {1: "grade_unknown", 2: "audit_passed"}
    assert result.changes.vanished == 0
    row = rows_of(store, course_instancedetails)[0]
    assert (row.enrollment_track, row.certificate_delivered, row.import_id, row.audit_passed) == (
        "audit",
        None,
        None,
        False,
    )
    assert read(store, folder.profile("2019-03-01-0000", enrolled(2))).changes.vanished == 1
    assert statuses(store) == {2: "audit_passed"}


def test_e33_the_newest_stamp_wins_over_all_files(store: Store, folder: Folder) -> None:
    read(store, folder.grades("2019-06-01-0000", graded(1), prefix=TWO.prefix))
    read(store, folder.profile("2019-05-01-0000", enrolled(1, email="new@mail.example", name="New")))
    read(store, folder.profile("2019-04-01-0000", enrolled(1, email="old@mail.example", name="Old")))
    read(store, folder.grades("2019-03-01-0000", graded(1, email="older@mail.example")))
    row = learner(store, 1)
    assert (row.email, row.name, row.country) == ("l1@mail.example", "New", "AU")
    assert stamps(store, 1) == (datetime(2019, 6, 1, tzinfo=UTC), datetime(2019, 5, 1, tzinfo=UTC))


def test_e33_a_superseded_export_still_names_the_learner(store: Store, folder: Folder) -> None:
    read(store, folder.profile("2019-05-01-0000", enrolled(2)))
    read(store, folder.profile("2019-04-01-0000", enrolled(1, name="Only Here")))
    assert learner(store, 1).name == "Only Here"
    assert statuses(store) == {2: "grade_unknown"}


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)], ids=str)
def test_e41_a_pending_deletion_can_be_cancelled(store: Store, folder: Folder, order: tuple[int, ...]) -> None:
    paths = [
        folder.profile("2019-01-01-0000", enrolled(1)),
        folder.profile("2019-02-01-0000", enrolled(1, email=GONE)),
        folder.profile("2019-03-01-0000", enrolled(1)),
    ]
    for place in order:
        read(store, paths[place])
    assert (learner(store, 1).email, learner(store, 1).retired_at) == ("l1@mail.example", None)
    assert learner(store, 1).name == "A Name"


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 2, 0)], ids=str)
def test_e42_retirement_is_final(store: Store, folder: Folder, order: tuple[int, ...]) -> None:
    paths = [
        folder.profile("2019-01-01-0000", enrolled(1)),
        folder.grades("2019-02-01-0000", graded(1, username=RETIRED, email=GONE, status="unenrolled")),
        folder.profile("2019-03-01-0000", enrolled(1), prefix=TWO.prefix),
    ]
    for place in order:
        read(store, paths[place])
    row = learner(store, 1)
    assert (row.username, row.email, row.email_key) == (RETIRED, GONE, GONE)
    assert (row.name, row.country) == (None, None)
    assert row.retired_at == datetime(2019, 2, 1, tzinfo=UTC)


def test_e44_needs_a_profile_that_shows_others(store: Store, folder: Folder) -> None:
    grades = only(read(store, folder.grades("2019-01-01-0100", graded(1, 0.9, "verified"))))
    assert grades.warnings == ()
    profile = only(read(store, folder.profile("2019-01-01-0000", enrolled(1, "verified"), enrolled(2))))
    assert "lists verified learners only" in profile.warnings[0]
    assert [row.audit_hidden for row in rows_of(store, imports)] == [True, False]
    read(store, folder.grades("2019-02-01-0000", graded(1, 0.9, "verified"), graded(2)))
    assert not any(row.audit_hidden for row in rows_of(store, imports))


def test_e36_the_best_of_the_runs_counts(store: Store, folder: Folder) -> None:
    read(
        store,
        folder.grades("2019-01-01-0000", graded(1, 0.9, "verified", delivered="Y"), graded(2, 0.9), run="1T2018"),
        folder.grades("2019-01-01-0000", graded(1, 0.1), graded(2, 0.8, "verified", eligible="Y"), run="1T2019"),
    )
    best = {
        row.learner_id: (row.status, row.enrollment_track, row.course_instance) for row in rows_of(store, completions)
    }
    assert best == {1: ("certified", "verified", "Org_ONE1x_1T2018"), 2: ("eligible", "verified", "Org_ONE1x_1T2019")}


def test_upgrades_are_counted_once(store: Store, folder: Folder) -> None:
    read(
        store, folder.grades("2019-01-01-0000", graded(1)), folder.profile("2019-01-01-0000", enrolled(1), enrolled(2))
    )
    result = read(
        store,
        folder.grades("2019-02-01-0000", graded(1, 0.8, "verified", eligible="Y")),
        folder.profile("2019-02-01-0000", enrolled(1, "verified"), enrolled(2, "verified")),
    )
    assert result.changes == Changes(upgraded=2)


# Paths


def test_only_one_program(store: Store, folder: Folder) -> None:
    folder.grades("2019-01-01-0000", graded(1))
    folder.grades("2019-01-01-0000", graded(2), prefix="Org_OTH1x")
    files = read(store, folder.path, only_program="other").files
    assert [(file.program, file.status, file.reason) for file in files] == [
        ("prog", "ignored", "It belongs to the program prog."),
        ("other", "loaded", ""),
    ]
    assert [file.status for file in read(store, folder.path).files] == ["loaded", "duplicate"]


def test_an_unknown_program_is_said_so(store: Store, folder: Folder) -> None:
    folder.grades("2019-01-01-0000", graded(1))
    with pytest.raises(InputError, match="There is no program porg; configured are: prog, other"):
        read(store, folder.path, only_program="porg")


def test_folders_are_read_one_level_deep_without_hidden_files(store: Store, folder: Folder) -> None:
    path = folder.grades("2019-01-01-0000", graded(1))
    (folder.path / "sub").mkdir()
    path.rename(folder.path / "sub" / path.name)
    (folder.path / "._hidden.csv").write_text("x")
    (folder.path / "notes.txt").write_text("x")
    files = read(store, folder.path, folder.path / "notes.txt").files
    assert [(file.name, file.status) for file in files] == [("notes.txt", "ignored"), (path.name, "loaded")]
    assert [row.name for row in rows_of(store, imports)] == [path.name]


def test_a_report_under_another_name_is_refused(store: Store, folder: Folder) -> None:
    file = only(read(store, folder.write("january.csv", GRADES, graded(1))))
    assert (file.status, file.kind) == (FileStatus.REFUSED, "grade_report")
    assert "name edX gave it" in file.reason


def test_nothing_to_read(store: Store, folder: Folder, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file or folder"):
        read(store, tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no file in the folder"):
        read(store, tmp_path / "empty")


def test_a_file_that_cannot_be_read_is_refused(store: Store, folder: Folder) -> None:
    runs = [folder.grades("2019-01-01-0000", graded(1), run=run) for run in ("1T2018", "1T2019", "2T2019")]

    def take_away(_: int) -> None:
        runs[2].unlink(missing_ok=True)  # two at a time are read

    files = read(store, *runs, on_rows=take_away).files
    assert [file.status for file in files] == ["loaded", "loaded", "refused"]
    assert files[2].reason == "The file cannot be read: No such file or directory."


def test_rows_are_reported_as_they_are_read(store: Store, folder: Folder) -> None:
    seen: list[int] = []
    read(store, folder.grades("2019-01-01-0000", graded(1), graded("x")), on_rows=seen.append)
    assert sum(seen) == 2


# Programs


def test_the_view_of_each_program(store: Store, folder: Folder) -> None:
    read(store, folder.grades("2019-01-01-0000", graded(1, 0.9, "verified", delivered="Y"), prefix=CAPSTONE.prefix))
    read(store, folder.grades("2019-01-01-0000", graded(1, 0.9), graded(2, 0.1)))
    with store.read() as connection:
        rows = [tuple(row) for row in connection.execute(text("SELECT * FROM prog_coursecompletion"))]
        none = connection.execute(text("SELECT * FROM other_coursecompletion")).all()
    assert [row[4:] for row in rows] == [
        ("audit", "Y", "-", "-", "verified", "Y", 1, 1, None),
        ("audit", "N", "-", "-", "-", "-", 0, 0, None),
    ]
    assert not none


def test_a_changed_passing_grade_judges_anew(store: Store, folder: Folder) -> None:
    read(store, folder.grades("2019-01-01-0000", graded(1, 0.6), graded(2, 0.9, "verified", delivered="Y")))
    assert statuses(store) == {1: "not_passed", 2: "certified"}
    easier = replace(PROGRAM, courses=(ONE._replace(passing_grade=0.6), TWO, CAPSTONE))
    sync_programs(store, (easier, OTHER))
    assert statuses(store) == {1: "audit_passed", 2: "certified"}
    assert {row.learner_id: row.passed for row in rows_of(store, completions)} == {1: "Y", 2: "Y"}
    assert rows_of(store, course_instancedetails)[0].audit_passed


def test_a_course_that_is_taken_out_comes_back_with_its_rows(store: Store, folder: Folder) -> None:
    read(store, folder.grades("2019-01-01-0000", graded(1)))
    before = rows_of(store, completions)
    sync_programs(store, (OTHER,))
    assert not rows_of(store, completions)
    with store.read() as connection, pytest.raises(Exception, match="prog_coursecompletion"):
        connection.execute(text("SELECT * FROM prog_coursecompletion"))
    sync_programs(store, (PROGRAM, OTHER))
    assert rows_of(store, completions) == before
    assert [row.program for row in rows_of(store, imports)] == ["prog"]


def test_a_course_with_a_new_code_keeps_its_rows(store: Store, folder: Folder) -> None:
    read(store, folder.grades("2019-01-01-0000", graded(1)))
    sync_programs(store, (replace(PROGRAM, courses=(ONE._replace(code="first1x"), TWO, CAPSTONE)),))
    assert [row.course for row in rows_of(store, completions)] == ["first1x"]
    assert [row.course for row in rows_of(store, imports)] == ["first1x"]


def test_sync_programs_writes_nothing_when_nothing_changed(sqlite_url: str) -> None:
    store = open_store(sqlite_url)
    sync_programs(store, (PROGRAM,))
    with store.write() as lock:  # a second writer would wait for this one and fail
        lock.execute(select(func.count()).select_from(program_courses))
        sync_programs(store, (PROGRAM,))
    store.close()


# Trouble


def test_a_locked_database_is_said_so_and_the_same_command_goes_on(
    sqlite_url: str, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmcampaign.store.engine.LOCK_WAIT_SECONDS", 0.1)
    path = folder.grades("2019-01-01-0000", graded(1))
    store, other = open_store(sqlite_url), open_store(sqlite_url)
    sync_programs(store, (PROGRAM, OTHER))
    with other.write(), pytest.raises(UnavailableError, match="locked"):
        read(store, path)
    assert only(read(store, path)).status is FileStatus.LOADED
    store.close()
    other.close()


def test_no_room_for_the_scratch_file(
    sqlite_url: str, folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "file"))
    store = open_store(sqlite_url)
    with pytest.raises(UnavailableError, match="scratch file"):
        read(store, folder.grades("2019-01-01-0000", graded(1)))
    assert not rows_of(store, imports)
    store.close()


KILLED = """
    import os, sys
    from datetime import UTC, datetime
    from pathlib import Path
    from sqlalchemy import event
    from mmcampaign.ingest import ingest
    from mmcampaign.model import Course, Program
    from mmcampaign.store.engine import open_store

    url, path, last = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    store = open_store(url)
    seen = 0

    @event.listens_for(store.engine, "before_cursor_execute")
    def count(*_):
        global seen
        seen += 1
        if seen > last:
            os.kill(os.getpid(), 9)

    course = Course(code="one1x", prefix="Org_ONE1x", passing_grade=0.65)
    ingest(store, (Program(code="prog", title="P", template="p", courses=(course,)),), [path], now=datetime.now(UTC))
    print(seen)
"""


def test_killed_at_any_statement_old_or_new_but_never_a_mix(sqlite_url: str, folder: Folder, tmp_path: Path) -> None:
    program = Program(code="prog", title="P", template="p", courses=(ONE,))
    old = folder.grades("2019-01-01-0000", graded(1), graded(2, 0.1))
    new = folder.grades("2019-02-01-0000", graded(2, 0.9), graded(3), graded("x"))
    store = open_store(sqlite_url)
    read(store, old, programs=(program,))
    before = _contents(store)
    script = tmp_path / "killed.py"
    script.write_text(textwrap.dedent(KILLED))

    def run(last: int) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, script, sqlite_url, new, str(last)], capture_output=True, text=True, check=False
        )

    last = 0
    while (done := run(last)).returncode == -9 and _contents(store) == before:
        last += 3
    assert done.returncode in (0, -9), done.stderr
    assert last > 15
    assert statuses(store) == {2: "audit_passed", 3: "audit_passed"}, f"half of a file is in after {last} statements"
    assert [row.status for row in rows_of(store, imports)] == ["superseded", "loaded"]
    assert [row.raw[0] for row in rows_of(store, rejected_rows)] == ["x"]
    store.close()


def _contents(store: Store) -> list[list[Any]]:
    tables = (learners, course_instancedetails, completions, imports, rejected_rows)
    return [rows_of(store, table) for table in tables]
