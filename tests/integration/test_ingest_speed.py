"""The short cuts of ``ingest`` change nothing but the time: pairs written at once, indexes last, known digests.

Case numbers are those of edx-exports.
"""

import csv
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from mmcampaign.ingest import Changes, FileResult, ingest
from mmcampaign.ingest_file import Found, Reading
from mmcampaign.ingest_unit import read_unit
from mmcampaign.model import Course, FileStatus, Program
from mmcampaign.store import staging
from mmcampaign.store.engine import Store, open_store
from mmcampaign.store.lookup import lacks_lookup
from mmcampaign.store.tables import imports
from tests.edx_samples import NOW, facts

COURSE = Course(code="one1x", prefix="Org_ONE1x", passing_grade=0.65)
PROGRAM = Program(code="prog", title="Program", template="prog", courses=(COURSE,))
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


def write(folder: Path, kind: str, stamp: str, rows: Rows, *, run: str = "1T2019", tail: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{COURSE.prefix}_{run}_{kind}_2019-0{stamp}-01-0000{tail}.csv"
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


runs_of_both = st.lists(st.tuples(reports, profiles, st.permutations("234").map("".join)), min_size=1, max_size=2)


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(runs=runs_of_both, base=profiles)
def test_pairs_give_what_one_file_after_the_other_gives(world: Path, runs: list[Any], base: Rows) -> None:
    check_pairs(world, runs, base)


@pytest.mark.soak
@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(runs=runs_of_both, base=profiles)
def test_pairs_give_what_one_file_after_the_other_gives_for_long(world: Path, runs: list[Any], base: Rows) -> None:
    check_pairs(world, runs, base)


def check_pairs(world: Path, runs: list[Any], base: Rows) -> None:
    folder = world.parent / "downloads"
    shutil.rmtree(folder, ignore_errors=True)
    paths = []
    for number, (grades, profile, stamps) in enumerate(runs):
        paths.append(write(folder, "grade_report", stamps[0], grades, run=f"{number}T2019"))
        paths.append(write(folder, "student_profile_info", stamps[1], profile, run=f"{number}T2019"))
    earlier = write(folder, "student_profile_info", "1", base, run="9T2018")
    with (
        copy_of(world, "together.db") as together,
        copy_of(world, "spilt.db") as spilt,
        copy_of(world, "apart.db") as apart,
    ):
        for store in (together, spilt, apart):
            ingest(store, [PROGRAM], [earlier], now=NOW)
        changes = ingest(together, [PROGRAM], paths, now=NOW).changes
        with mock.patch.object(staging._ScratchFile, "keeps", 0):  # as of reports that do not fit into memory
            assert ingest(spilt, [PROGRAM], paths, now=NOW).changes == changes
        assert facts(spilt) == facts(together)
        one_by_one = sum((ingest(apart, [PROGRAM], [path], now=NOW).changes for path in paths), Changes())
        assert facts(together) == facts(apart)
        assert changes == one_by_one


def test_the_first_reports_of_a_run_are_written_together(sqlite_url: str, tmp_path: Path) -> None:
    folder = tmp_path / "downloads"
    write(folder, "grade_report", "3", [graded(1, "a@x.example", "ann", 0.9, "audit", "N")])
    write(folder, "student_profile_info", "2", [enrolled(1, "a@x.example", "ann", "Ann", "audit")])
    store, seen = open_store(sqlite_url), []

    def on_file(_: FileResult) -> None:
        with store.read() as connection:
            seen.append(len(connection.execute(select(imports)).all()))
            assert lacks_lookup(connection), "built once, at the end"

    ingest(store, [PROGRAM], [folder], now=NOW, on_file=on_file)
    assert seen == [2, 2]
    with store.read() as connection:
        assert not lacks_lookup(connection)
    store.close()


def test_a_pair_that_another_ingest_has_brought_in_meanwhile_counts_once(sqlite_url: str, tmp_path: Path) -> None:
    folder, store = tmp_path / "downloads", open_store(sqlite_url)
    paths = [
        write(folder, "grade_report", "3", [graded(1, "a@x.example", "ann", 0.9, "audit", "N")]),
        write(folder, "student_profile_info", "2", [enrolled(1, "a@x.example", "ann", "Ann", "audit")]),
    ]
    reading = Reading(
        store=store, programs=(PROGRAM,), only_program=None, now=NOW, on_rows=lambda _: None, scratch=tmp_path
    )
    ready = read_unit(reading, [Found(path=path, shown=path) for path in paths])
    assert ready.pair is not None
    ingest(store, [PROGRAM], paths, now=NOW)
    assert [entry.status for entry, _ in ready.write()] == [FileStatus.DUPLICATE] * 2
    store.close()


KILLED = """
import os, sys
from pathlib import Path
from sqlalchemy import event
from mmcampaign.ingest import ingest
from mmcampaign.store.engine import open_store
from tests.integration.test_ingest_speed import NOW, PROGRAM

url, folder, last = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
store = open_store(url)
seen = 0

@event.listens_for(store.engine, "before_cursor_execute")
def count(*_):
    global seen
    seen += 1
    if seen > last:
        os.kill(os.getpid(), 9)

ingest(store, [PROGRAM], [folder], now=NOW)
"""


def test_a_killed_first_load_has_both_reports_of_a_run_or_none(world: Path, tmp_path: Path) -> None:
    folder, database = tmp_path / "downloads", world.with_name("killed.db")
    write(folder, "grade_report", "3", [graded(n, f"{n}@x.example", f"u{n}", 0.9, "audit", "N") for n in range(1, 9)])
    write(folder, "student_profile_info", "2", [enrolled(n, f"{n}@x.example", f"u{n}", "N", "audit") for n in (2, 10)])
    with copy_of(world, "undisturbed.db") as store:
        ingest(store, [PROGRAM], [folder], now=NOW)
        whole = facts(store)
    found, last = [], 0
    while last < 600:
        for left in database.parent.glob("killed.db*"):
            left.unlink()
        shutil.copyfile(world, database)
        script = [sys.executable, "-c", KILLED, f"sqlite:///{database}", str(folder), str(last)]
        root = Path(__file__).resolve().parents[2]
        done = subprocess.run(script, check=False, cwd=root, env={"TMPDIR": str(tmp_path)}, stderr=subprocess.PIPE)
        assert done.returncode in (0, -9), done.stderr
        store = open_store(f"sqlite:///{database}")
        with store.read() as connection:
            assert not lacks_lookup(connection), "opening builds what the load did not come to"
        state = facts(store)
        found.append(state == whole)
        assert found[-1] or not any(state.values()), "a part of a pair"
        store.close()
        if done.returncode == 0:
            break
        last += 29
    assert found[0] is False
    assert found[-1] is True


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
