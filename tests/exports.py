"""Small exports made for a test: rows, and the files they stand in, named as edX names them."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from sqlalchemy import delete

from mmcampaign.model import Course, Program
from mmcampaign.store.engine import Store
from mmcampaign.store.tables import metadata

NOW = datetime(2026, 9, 1, 12, tzinfo=UTC)
ONE = Course(code="one1x", prefix="Org_ONE1x", passing_grade=0.65)
TWO = Course(code="two1x", prefix="Org_TWO1x", passing_grade=0.7)
CAPSTONE = Course(code="capx", prefix="Org_CAPx", passing_grade=0.5, series=False)
PROGRAM = Program(code="prog", title="Program", template="prog", courses=(ONE, TWO, CAPSTONE))
GRADES = ["Student ID", "Email", "Username", "Grade", "Enrollment Track", "Verification Status"]
GRADES += ["Certificate Eligible", "Certificate Delivered", "Certificate Type", "Enrollment Status"]
GRADE_REPORT, PROFILE_REPORT = "grade_report", "student_profile_info"
PROFILE = ["id", "username", "name", "email", "enrollment_mode", "country"]


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

    def profile(self, stamp: str, *rows: list[object], run: str = "1T2019", tail: str = "", prefix: str = "") -> Path:
        return self.write(f"{prefix or ONE.prefix}_{run}_student_profile_info_{stamp}{tail}.csv", PROFILE, *rows)

    def write(self, name: str, *rows: list[Any]) -> Path:
        text = io.StringIO(newline="")
        csv.writer(text).writerows(rows)
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.getvalue().encode())
        return path


# --- the exports of one run, for laws that hold in any order of reading ----------------------------------------------

Values = tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class Export:
    """An export of one run: learner -> (grade, track, certificate delivered), of a profile the track alone."""

    kind: str
    month: int
    tail: str = ""
    rows: Mapping[int, Values] = field(default_factory=dict)

    @property
    def stamp(self) -> datetime:
        return datetime(2019, self.month, 1, tzinfo=UTC)

    def write(self, folder: Folder) -> Path:
        stamp = f"{self.stamp:%Y-%m-%d-%H%M}"
        if self.kind == PROFILE_REPORT:
            return folder.profile(stamp, *(enrolled(who, *values) for who, values in self.rows.items()), tail=self.tail)
        rows = [graded(who, grade, track, delivered=given) for who, (grade, track, given) in self.rows.items()]
        return folder.grades(stamp, *rows, tail=self.tail)


def exports() -> st.SearchStrategy[list[Export]]:
    """Some exports of one run, of both kinds, a few of them in the same minute."""
    grades = st.tuples(st.sampled_from([0.2, 0.8]), st.sampled_from(["audit", "verified"]), st.sampled_from("YN"))
    modes = st.tuples(st.sampled_from(["audit", "verified"]))

    def of_kind(kind: str, values: st.SearchStrategy[Values]) -> st.SearchStrategy[Export]:
        rows = st.dictionaries(st.integers(1, 3), values)
        tails = st.sampled_from(["", " (1)"])
        return st.builds(Export, kind=st.just(kind), month=st.integers(1, 4), tail=tails, rows=rows)

    one = of_kind(GRADE_REPORT, grades) | of_kind(PROFILE_REPORT, modes)
    return st.lists(one, min_size=1, max_size=5, unique_by=lambda export: (export.kind, export.month, export.tail))


def states(files: list[Export], kind: str) -> dict[datetime, Export]:
    """The exports that count, by stamp: of two in one minute the one whose name sorts last."""
    return {one.stamp: one for one in sorted(files, key=lambda one: (one.month, one.tail)) if one.kind == kind}


def wipe(store: Store) -> None:
    with store.write() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(delete(table))
