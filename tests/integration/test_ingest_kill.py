"""Promise 5: an ingest that is killed leaves every file old or new, never a mix, and the next ingest completes it."""

import csv
import random
import shutil
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from mmcampaign.ingest import FileResult, IngestResult, LossLimit, ingest
from mmcampaign.model import Course, FileStatus, Program
from mmcampaign.store.completion import rebuild_course
from mmcampaign.store.engine import Store, open_store
from mmcampaign.store.tables import (
    completions,
    course_instancedetails,
    imports,
    learners,
    program_courses,
    rejected_rows,
)

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime(2026, 9, 1, 12, tzinfo=UTC)
COURSES = tuple(Course(code=f"c{n}x", prefix=f"Org_C{n}x", passing_grade=0.65) for n in (1, 2))
RUNS = ((COURSES[0], "1T2018"), (COURSES[0], "1T2019"), (COURSES[1], "1T2019"))
PROGRAM = Program(code="prog", title="Program", template="prog", courses=COURSES)
TABLES = (learners, course_instancedetails, completions, imports, rejected_rows, program_courses)
GRADES = ["Student ID", "Email", "Username", "Grade", "Enrollment Track", "Verification Status"]
GRADES += ["Certificate Eligible", "Certificate Delivered", "Certificate Type", "Enrollment Status"]
PROFILE = ["id", "username", "name", "email", "enrollment_mode", "country"]

State = tuple[list[Any], ...]


def write_downloads(folder: Path, stamp: str, seed: int) -> Path:
    """Both reports of each run; of 1,500 learners a different two thirds each time, with other results."""
    folder.mkdir()
    rng = random.Random(seed)
    for course, run in RUNS:
        chosen = sorted(rng.sample(range(1, 1_501), 1_000))
        graded = [_graded(rng, student) for student in chosen]
        enrolled = [
            [n, f"u{n}", f"Name {n}", f"l{n}@s{seed}.example", rng.choice(["audit", "verified"]), "AU"] for n in chosen
        ]
        for kind, header, rows in (("grade_report", GRADES, graded), ("student_profile_info", PROFILE, enrolled)):
            with (folder / f"{course.instance(run)}_{kind}_{stamp}.csv").open(
                "w", newline="", encoding="utf-8"
            ) as file:
                csv.writer(file).writerows([header, *rows])
    return folder


def _graded(rng: random.Random, student: int) -> list[object]:
    track, certified = rng.choice(["audit", "verified"]), rng.choice("YN")
    start = [student, f"l{student}@old.example", f"u{student}", rng.choice([0.1, 0.65, 0.9]), track, "N/A"]
    return [*start, certified, certified, "N/A", "enrolled"]


def state_of(store: Store) -> State:
    """Every row of the tables that an ingest writes."""
    with store.read() as connection:
        return tuple(
            [tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key.columns))]
            for table in TABLES
        )


def read(store: Store, folder: Path, **options: Any) -> IngestResult:
    return ingest(store, [PROGRAM], [folder], now=NOW, loss=LossLimit(percent=100), **options)


def child() -> None:
    """The process that is killed: it says when it begins, and each file that is done."""
    url, folder = sys.argv[1:]
    store = open_store(url)
    print("begins", flush=True)
    read(store, Path(folder), on_file=lambda file: print(file.name, flush=True))


@dataclass(frozen=True, kw_only=True)
class Undisturbed:
    """An ingest of ``new`` into ``database``, which holds older exports: its states before, and after each file."""

    database: Path
    new: Path
    states: tuple[State, ...]
    seconds: float  # the longest a file took


@pytest.fixture(scope="module")
def undisturbed(_empty_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    folder = tmp_path_factory.mktemp("kill")
    database, copy = folder / "old.db", folder / "copy.db"
    shutil.copyfile(_empty_sqlite, database)
    new = write_downloads(folder / "new", "2019-03-01-0000", 2)
    with closing(open_store(f"sqlite:///{database}")) as store:
        read(store, write_downloads(folder / "old", "2019-02-01-0000", 1))
    shutil.copyfile(database, copy)
    with closing(open_store(f"sqlite:///{copy}")) as store:
        states, longest, started = [state_of(store)], 0.0, time.perf_counter()

        def on_file(_file: FileResult) -> None:
            nonlocal longest, started
            longest = max(longest, time.perf_counter() - started)
            states.append(state_of(store))
            started = time.perf_counter()

        read(store, new, on_file=on_file)
    return Undisturbed(database=database, new=new, states=tuple(states), seconds=longest)


def test_every_file_changes_the_tables(undisturbed: Undisturbed) -> None:
    assert len(undisturbed.states) == 1 + 2 * len(RUNS)
    assert all(undisturbed.states.count(state) == 1 for state in undisturbed.states)


def test_completions_are_those_derived_from_nothing(undisturbed: Undisturbed, tmp_path: Path) -> None:
    with closing(open_store(f"sqlite:///{shutil.copyfile(undisturbed.database, tmp_path / 'x.db')}")) as store:
        read(store, undisturbed.new)
        with store.write() as connection:
            for course in COURSES:
                rebuild_course(connection, course.code)
        assert state_of(store) == undisturbed.states[-1]


@pytest.mark.parametrize("seed", [*range(12), *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(12, 62))])
def test_a_killed_ingest_leaves_each_file_old_or_new(undisturbed: Undisturbed, tmp_path: Path, seed: int) -> None:
    url = f"sqlite:///{shutil.copyfile(undisturbed.database, tmp_path / 'mmcampaign.db')}"
    done = _kill_somewhere(undisturbed, url, tmp_path, random.Random(seed))
    with closing(open_store(url)) as store:
        left = state_of(store)
        number = next((place for place, state in enumerate(undisturbed.states) if state == left), -1)
        assert number >= 0, "a mix"
        assert number >= done, "a file that was reported is gone"
        result = read(store, undisturbed.new)
        assert [file.status for file in result.files].count(FileStatus.DUPLICATE) == number
        assert state_of(store) == undisturbed.states[-1]


def _kill_somewhere(undisturbed: Undisturbed, url: str, scratch: Path, rng: random.Random) -> int:
    """kill -9 within the time of one file after some others; returns how many were reported by then."""
    whole = len(undisturbed.states) - 2
    script = "from tests.integration.test_ingest_kill import child; child()"
    with subprocess.Popen(
        [sys.executable, "-c", script, url, str(undisturbed.new)],
        cwd=ROOT,
        env={"TMPDIR": str(scratch)},
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        done = rng.randint(0, whole)
        for _ in range(1 + done):
            assert process.stdout.readline(), "it ended by itself"
        try:
            process.wait(timeout=rng.uniform(0, undisturbed.seconds))
        except subprocess.TimeoutExpired:
            process.kill()
        return done + len(process.stdout.readlines())
