"""The short cuts of ``ingest`` change nothing but the time: the first load of a database, and known digests.

Case numbers are those of edx-exports.
"""

import csv
import gzip
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, inspect, select

from mmcampaign.errors import UnavailableError
from mmcampaign.ingest import Changes, FileResult, IngestResult, ingest
from mmcampaign.model import Course, FileStatus, Program
from mmcampaign.store import engine, first_learners, first_load, staging
from mmcampaign.store.changes import list_changes
from mmcampaign.store.engine import Store, is_healthy, open_store
from mmcampaign.store.first_load import begin_first_load
from mmcampaign.store.tables import completions, imports, learners, rejected_rows
from tests.edx_samples import NOW, facts

COURSES = tuple(Course(code=f"{n}1x", prefix=f"Org_{n}1x", passing_grade=0.65) for n in ("one", "two"))
PROGRAM = Program(code="prog", title="Program", template="prog", courses=COURSES)
GRADES = ["Student ID", "Email", "Username", "Grade", "Enrollment Track", "Verification Status"]
GRADES += ["Certificate Eligible", "Certificate Delivered", "Certificate Type", "Enrollment Status"]
PROFILE = ["id", "username", "name", "email", "enrollment_mode", "country"]
GONE = "retired__user_620a1fc0@retired.invalid"

Rows = list[list[Any]]


@contextmanager
def copy_of(database: Path, name: str) -> Iterator[Store]:
    path = database.with_name(name)
    for left in path.parent.glob(f"{name}*"):
        left.unlink()
    store = open_store(f"sqlite:///{shutil.copyfile(database, path)}")
    try:
        yield store
    finally:
        store.close()


@pytest.fixture(scope="module")
def world(_empty_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copyfile(_empty_sqlite, tmp_path_factory.mktemp("speed") / "empty.db"))


def write(folder: Path, kind: str, stamp: str, rows: Rows, *, run: str = "1T2019", course: Course = COURSES[0]) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{course.instance(run)}_{kind}_2019-0{stamp}-01-0000.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([GRADES if kind == "grade_report" else PROFILE, *rows])
    return path


def graded(student: int, email: str, username: str, grade: float, track: str, delivered: str) -> list[Any]:
    return [student, email, username, grade, track, "N/A", delivered, delivered, "N/A", "enrolled"]


def enrolled(student: int, email: str, username: str, name: str, track: str) -> list[Any]:
    return [student, username, name, email, track, "AU"]


students = st.integers(1, 5)
emails = st.sampled_from(["a@x.example", "B@x.example", "b@X.example", GONE, ""])
usernames = st.sampled_from(["ann", "Ann", "bob", "retired__user_2e394b46"])
tracks = st.sampled_from(["audit", "verified", "honor"])
reports = st.lists(
    st.builds(graded, students, emails, usernames, st.sampled_from([0.1, 0.65, 0.9]), tracks, st.sampled_from("YN")),
    unique_by=lambda row: row[0],
    max_size=4,
)
profiles = st.lists(
    st.builds(enrolled, students, emails, usernames, st.sampled_from(["", "Ann A", "Bob B"]), tracks),
    unique_by=lambda row: row[0],
    max_size=4,
)


@dataclass(frozen=True)
class Run:
    """The first reports of a run, either of which may be missing; stamps are months."""

    course: Course
    grades: Rows | None
    profile: Rows | None
    stamps: tuple[int, int]


months = st.tuples(st.integers(2, 4), st.integers(2, 4))
runs_of_courses = st.lists(
    st.builds(Run, st.sampled_from(COURSES), st.none() | reports, st.none() | profiles, months), min_size=1, max_size=4
)


# As of more learners than fit into memory, or than are resolved at once; as of reports that do not fit.
LIMITS: dict[str, list[tuple[Any, str, int]]] = {
    "as it is": [],
    "learners in the scratch folder": [(first_learners, "KEPT_BYTES", 0)],
    "one learner at a time": [(first_learners, "BATCH", 1)],
    "reports in scratch files": [(staging._ScratchFile, "keeps", 0)],
}


@settings(max_examples=16, suppress_health_check=list(HealthCheck))
@given(runs=runs_of_courses, older=reports, limit=st.sampled_from(sorted(LIMITS)))
def test_a_first_load_gives_what_one_file_after_the_other_gives(
    world: Path, runs: list[Run], older: Rows, limit: str
) -> None:
    check_first_load(world, runs, older, limit)


@pytest.mark.soak
@settings(max_examples=200, suppress_health_check=list(HealthCheck))
@given(runs=runs_of_courses, older=reports, limit=st.sampled_from(sorted(LIMITS)))
def test_a_first_load_gives_what_one_file_after_the_other_gives_for_long(
    world: Path, runs: list[Run], older: Rows, limit: str
) -> None:
    check_first_load(world, runs, older, limit)


def check_first_load(world: Path, runs: list[Run], older: Rows, limit: str) -> None:
    folder = world.parent / "downloads"
    shutil.rmtree(folder, ignore_errors=True)
    paths = [write(folder, "grade_report", "1", older, run="0T2019", course=runs[0].course)]
    for number, run in enumerate(runs):
        here = partial(write, folder, run=f"{number}T2019", course=run.course)
        if run.grades is not None:
            paths.append(here("grade_report", str(run.stamps[0]), run.grades))
        if run.profile is not None:
            paths.append(here("student_profile_info", str(run.stamps[1]), run.profile))
    with copy_of(world, "apart.db") as apart:
        with mock.patch.object(first_load, "begin_first_load", lambda *_: None):
            changes = sum((ingest(apart, [PROGRAM], [path], now=NOW).changes for path in paths), Changes())
        wanted = facts(apart)
    with copy_of(world, "together.db") as together, ExitStack() as stack:
        for owner, name, least in LIMITS[limit]:
            stack.enter_context(mock.patch.object(owner, name, least))
        result = ingest(together, [PROGRAM], paths, now=NOW)
        assert facts(together) == wanted
        assert result.changes.new_learners == changes.new_learners
        check_sums(together, result)


def check_sums(store: Store, result: IngestResult) -> None:
    """What is counted while loading is what the tables say; nothing points nowhere."""
    with store.read() as connection:
        passed = select(func.count()).where(completions.c.passed == "Y")
        certified = select(func.count()).where(completions.c.status == "certified")
        counts = [connection.execute(query).scalar_one() for query in (passed, certified)]
        listed = {(one.course, one.run, one.kind): one for one in list_changes(connection)}
        assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        indexes = {index["name"] for index in inspect(connection).get_indexes("learners")}
        assert indexes == {index.name for index in learners.indexes}
    if all(file.status == FileStatus.LOADED for file in result.files):
        assert [result.changes.newly_passed, result.changes.newly_certified] == counts
    assert all(one == listed[one.course, one.run, one.kind] for one in result.first_exports)


def two_reports(folder: Path) -> Path:
    write(folder, "grade_report", "3", [graded(n, f"{n}@x.example", f"u{n}", 0.9, "audit", "N") for n in range(1, 9)])
    write(folder, "student_profile_info", "2", [enrolled(n, f"{n}@x.example", f"u{n}", "N", "audit") for n in (2, 10)])
    return folder


def test_a_file_of_the_first_load_is_reported_when_all_of_it_is_in(sqlite_url: str, tmp_path: Path) -> None:
    folder = two_reports(tmp_path / "downloads")
    write(folder, "grade_report", "3", [graded(3, "c@x.example", "c", 0.9, "audit", "N")], course=COURSES[1])
    store, seen = open_store(sqlite_url), []

    def on_file(_: FileResult) -> None:
        with store.read() as connection:
            seen.append(connection.execute(select(func.count()).select_from(imports)).scalar_one())

    result = ingest(store, [PROGRAM], [folder], now=NOW, on_file=on_file)
    assert seen == [3, 3, 3]
    assert len(result.first_exports) == 3
    store.close()


def test_refused_ignored_and_older_files_follow_the_first_load(sqlite_url: str, tmp_path: Path) -> None:
    folder = two_reports(tmp_path / "downloads")
    older = write(folder, "grade_report", "1", [graded(1, "a@x.example", "ann", 0.1, "audit", "N")])
    cut = write(folder, "grade_report", "4", [graded(1, "a@x.example", "ann", 0.1, "audit", "N")], run="2T2019")
    cut.write_bytes(cut.read_bytes()[:-3])
    twice = write(
        folder, "student_profile_info", "4", [enrolled(1, "a@x.example", "ann", "A", "audit")] * 2, run="3T2019"
    )
    (folder / "notes.txt").write_text("nothing")
    with closing(open_store(sqlite_url)) as store:
        result = ingest(store, [PROGRAM], [folder], now=NOW)
        statuses = {file.name: str(file.status) for file in result.files}
        with store.read() as connection:
            logged = {row.name: row.status for row in connection.execute(select(imports))}
    assert statuses.pop("notes.txt") == "ignored"
    assert logged == statuses
    assert [statuses[path.name] for path in (older, cut, twice)] == ["superseded", "refused", "refused"]
    assert sorted(statuses.values()) == ["loaded", "loaded", "refused", "refused", "superseded"]
    assert [one.kind for one in result.first_exports] == ["student_profile_info"]  # of the other an older one was read


def test_a_file_that_was_refused_once_keeps_its_number_in_the_log(sqlite_url: str, tmp_path: Path) -> None:
    folder = two_reports(tmp_path / "downloads")
    with closing(open_store(sqlite_url)) as store:
        other = replace(PROGRAM, courses=COURSES[1:])
        assert {file.status for file in ingest(store, [other], [folder], now=NOW).files} == {FileStatus.REFUSED}
        assert {file.status for file in ingest(store, [PROGRAM], [folder], now=NOW).files} == {FileStatus.LOADED}
        with store.read() as connection:
            rows = connection.execute(select(imports.c.id, imports.c.status).order_by(imports.c.id)).all()
    assert [tuple(row) for row in rows] == [(1, "loaded"), (2, "loaded")]


def test_rejected_rows_of_a_first_load_are_logged_with_the_header(sqlite_url: str, tmp_path: Path) -> None:
    rows = [graded(n, f"{n}@x.example", f"u{n}", 0.9, "audit", "N") for n in range(1, 4)]
    rows[1][3] = "good"
    path = write(tmp_path / "downloads", "grade_report", "3", rows)
    with closing(open_store(sqlite_url)) as store:
        [file] = ingest(store, [PROGRAM], [path], now=NOW).files
        with store.read() as connection:
            [entry] = connection.execute(select(imports)).all()
            [rejected] = connection.execute(select(rejected_rows)).all()
    assert (file.rows, file.accepted, file.rejected) == (3, 2, 1)
    assert entry.header.startswith("Student ID,")
    assert (rejected.import_id, rejected.line) == (entry.id, 3)


def test_where_somebody_has_the_database_open_each_export_is_merged_by_itself(sqlite_url: str, tmp_path: Path) -> None:
    folder = two_reports(tmp_path / "downloads")
    with closing(open_store(sqlite_url)) as store, closing(sqlite3.connect(store.path or "")) as browser:
        assert browser.execute("SELECT count(*) FROM learners").fetchall() == [(0,)]
        result = ingest(store, [PROGRAM], [folder], now=NOW)
        assert [file.status for file in result.files] == [FileStatus.LOADED] * 2
        assert result.first_exports == ()
        assert browser.execute("SELECT count(*) FROM learners").fetchall() == [(9,)]


def test_meanwhile_the_database_is_nobody_elses(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "LOCK_WAIT_SECONDS", 0.1)
    with closing(open_store(sqlite_url)) as store:
        load = begin_first_load(store, tmp_path)
        assert load is not None
        with load:
            with pytest.raises(UnavailableError, match="being filled for the first time"), store.read():
                pass
            script = "from mmcampaign.store import engine; engine.LOCK_WAIT_SECONDS = 0.1; "
            script += f"engine.open_store({sqlite_url!r})"
            other = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
            assert "locked by another program" in other.stderr
        with store.read() as connection:
            assert connection.execute(select(learners)).all() == []


def test_a_disk_that_fills_up_leaves_nothing_and_says_so(sqlite_url: str, tmp_path: Path) -> None:
    rows = [graded(n, f"{n}@x.example", f"u{n}", 0.9, "audit", "N") for n in range(1, 20_001)]
    path = write(tmp_path / "downloads", "grade_report", "3", rows)
    limited = (*first_load._SETTINGS, "max_page_count = 120")
    with closing(open_store(sqlite_url)) as store:
        with mock.patch.object(first_load, "_SETTINGS", limited), pytest.raises(UnavailableError) as caught:
            ingest(store, [PROGRAM], [path], now=NOW)
        assert "No space left" in caught.value.what
        assert caught.value.unchanged == first_load.UNCHANGED
        assert not any(facts(store).values())
        assert [file.status for file in ingest(store, [PROGRAM], [path], now=NOW).files] == [FileStatus.LOADED]


def test_an_interruption_leaves_nothing(sqlite_url: str, tmp_path: Path) -> None:
    folder = two_reports(tmp_path / "downloads")

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with closing(open_store(sqlite_url)) as store:
        with pytest.raises(KeyboardInterrupt):
            ingest(store, [PROGRAM], [folder], now=NOW, on_rows=interrupt)
        assert not any(facts(store).values())
        assert [file.status for file in ingest(store, [PROGRAM], [folder], now=NOW).files] == [FileStatus.LOADED] * 2


KILLED = """
import os, sys
from pathlib import Path
from mmcampaign.ingest import ingest
from mmcampaign.store import bulk, engine, first_load
from tests.integration.test_ingest_speed import NOW, PROGRAM

url, folder, last = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
store = engine.open_store(url)
run = bulk.Bulk.run

def killing(self, statement, rows=None):
    if last in statement:
        os.kill(os.getpid(), 9)
    run(self, statement, rows)
    if last == "after " + statement:
        os.kill(os.getpid(), 9)

bulk.Bulk.run = killing
first_load._SETTINGS += ("cache_size = 10",)  # pages: what is added goes to the file early, with a journal beside it
ingest(store, [PROGRAM], [folder], now=NOW)
"""


@pytest.mark.parametrize(
    ("moment", "is_there"),
    [
        pytest.param("DROP INDEX", False, id="before the first statement"),
        pytest.param("INTO course_instancedetails", False, id="before the first rows"),
        pytest.param("CREATE INDEX", False, id="before the index"),
        pytest.param("COMMIT", False, id="before the end"),
        pytest.param("after COMMIT", True, id="after the end, without the write-ahead log"),
    ],
)
def test_a_killed_first_load_is_there_as_a_whole_or_not_at_all(
    world: Path, tmp_path: Path, moment: str, is_there: bool
) -> None:
    rows = [graded(n, f"{n}@x.example", f"u{n}", 0.9, "audit", "N") for n in range(1, 10_001)]
    folder = tmp_path / "downloads"
    write(folder, "grade_report", "3", rows)
    write(folder, "student_profile_info", "2", [enrolled(n, f"{n}@x.example", f"u{n}", "N", "audit") for n in (2, 10)])
    database = tmp_path / "killed.db"
    shutil.copyfile(world, database)
    script = [sys.executable, "-c", KILLED, f"sqlite:///{database}", str(folder), moment]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(script, check=False, cwd=root, env={"TMPDIR": str(tmp_path)}, stderr=subprocess.PIPE)
    assert done.returncode == -9, done.stderr
    if moment in ("CREATE INDEX", "COMMIT"):
        assert database.stat().st_size > world.stat().st_size + 1_000_000
        assert database.with_name("killed.db-journal").stat().st_size
    with closing(open_store(f"sqlite:///{database}")) as store:
        assert any(facts(store).values()) is is_there
        assert is_healthy(store) == ""
        files = ingest(store, [PROGRAM], [folder], now=NOW).files
        assert {str(file.status) for file in files} == {"duplicate" if is_there else "loaded"}
        check_sums(store, ingest(store, [PROGRAM], [folder], now=NOW))
        assert len(facts(store)["learners"]) == 10_000


def test_a_file_that_nobody_touched_is_not_read_again(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmcampaign.store.seen_files.SETTLED_NS", -1)
    path = write(tmp_path / "downloads", "grade_report", "3", [graded(1, "a@x.example", "ann", 0.1, "audit", "N")])
    store, read = open_store(sqlite_url), []
    from mmcampaign import ingest_file

    digest = ingest_file._digest

    def counted(file: Any) -> str:
        read.append(1)
        return digest(file)

    monkeypatch.setattr(ingest_file, "_digest", counted)

    def status() -> FileStatus:
        (file,) = ingest(store, [PROGRAM], [path], now=NOW).files
        return file.status

    assert [status(), status(), len(read)] == [FileStatus.LOADED, FileStatus.DUPLICATE, 1]
    before = path.stat()
    path.write_bytes(path.read_bytes().replace(b"0.1", b"0.9"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # the same size and time of change
    assert [status(), len(read)] == [FileStatus.LOADED, 2]
    store.close()


def test_a_compressed_file_that_nobody_touched_is_not_unpacked_again(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmcampaign.store.seen_files.SETTLED_NS", -1)
    plain = write(tmp_path, "grade_report", "3", [graded(1, "a@x.example", "ann", 0.1, "audit", "N")])
    packed = plain.with_name(f"{plain.name}.gz")
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    with closing(open_store(sqlite_url)) as store:
        (first,) = ingest(store, [PROGRAM], [packed], now=NOW).files
        monkeypatch.setattr("mmcampaign.ingest_file.unpacked", None)
        (again,) = ingest(store, [PROGRAM], [packed], now=NOW).files
    assert (first.status, again.status) == (FileStatus.LOADED, FileStatus.DUPLICATE)
    assert (again.rows, again.accepted, again.reason) == (1, 1, f"The same file was read on {NOW:%Y-%m-%d}.")


def test_files_seen_before_anything_was_read_are_told_beside_a_first_load(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmcampaign.store.seen_files.SETTLED_NS", -1)
    folder = tmp_path / "downloads"
    folder.mkdir()
    (folder / "Org_ONE_1T2019_grade_report_err_2019-03-01-0000.csv").write_text("Student ID,Error\n")
    (folder / "Org_ONE_1T2019_grade_report_2019-03-01-0000 of ours.csv").write_text("renamed")
    with closing(open_store(sqlite_url)) as store:
        alone = ingest(store, [PROGRAM], [folder], now=NOW).files
        result = ingest(store, [PROGRAM], [two_reports(folder)], now=NOW)
    assert sorted(file.status for file in alone) == ["ignored", "refused"]
    assert sorted(file.status for file in result.files) == ["ignored", "loaded", "loaded", "refused"]
    assert len(result.first_exports) == 2


@pytest.mark.parametrize("original_first", [True, False])
def test_e8_of_one_minute_the_original_counts_before_a_copy_that_a_spreadsheet_saved(
    store: Store, tmp_path: Path, original_first: bool
) -> None:
    rows = [graded(1, "a@x.example", "ann", 0.9, "audit", "N"), graded(2, "b@x.example", "bob", 0.5, "audit", "N")]
    original = write(tmp_path / "downloads", "grade_report", "3", rows)
    copy = original.with_name(f"{original.stem} (1).csv")
    copy.write_bytes(original.read_bytes().replace(b",", b";"))
    for path in (original, copy) if original_first else (copy, original):
        ingest(store, [PROGRAM], [path], now=NOW)
    with store.read() as connection:
        found = {row.name: (row.status, row.warnings) for row in connection.execute(select(imports))}
    assert (found[original.name][0], found[copy.name][0]) == ("loaded", "superseded")
    assert any("the original counts" in warnings for _, warnings in found.values())
