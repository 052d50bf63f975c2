"""The notebook for analysts runs from its first cell to its last on the demo, and its figures are those of the CSV."""

import csv
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from openpyxl import load_workbook

from tests.acceptance.runner import Cli

NOTEBOOK = Path(__file__).parents[2] / "docs" / "report-notebook.ipynb"


def code_cells() -> list[str]:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def test_the_notebook_is_kept_without_output() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert all(cell["outputs"] == [] for cell in cells if cell["cell_type"] == "code")


def test_every_cell_runs_and_tells_what_the_csv_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Cli(folder=tmp_path)("demo", "here", "--learners", 400)
    demo = tmp_path / "here"
    rows = list(csv.DictReader(io.StringIO(Cli(folder=demo)("report", "lgdm", "--format", "csv").out)))
    monkeypatch.chdir(demo)
    names: dict[str, Any] = {}
    for number, cell in enumerate(code_cells(), start=1):
        exec(compile(cell, f"{NOTEBOOK.name}, cell {number}", "exec"), names)
    assert len(names["report"]) == len(rows) > 50
    for course in names["courses"]:
        marks = Counter(row[f"{course}_passed"] for row in rows)
        tracks = Counter(row[f"{course}_enrollment_track"] for row in rows)
        assert names["completion"].loc[course, "passed"] == marks["Y"]
        assert names["completion"].loc[course, "enrolled"] == len(rows) - tracks.pop("-", 0)
        assert {track: count for track, count in names["tracks"][course].items() if count} == dict(tracks)
    assert names["certificates"].to_dict() == Counter(int(row["no_certificate_eligible"]) for row in rows)
    assert (
        names["furthest"]["student_id"].tolist() == [int(row["student_id"]) for row in rows][: len(names["furthest"])]
    )
    told = Cli(folder=demo).json("cohort", "lgdm")
    assert len(names["upgrade"]) + len(names["onward"]) == len(told["chosen"]) > 0
    assert names["left_out"].sum() == len(told["excluded"])
    exported = list(csv.DictReader(io.StringIO((demo / "lgdm.csv").read_text(encoding="utf-8"))))
    assert [row["student_id"] for row in exported] == [row["student_id"] for row in rows]
    assert load_workbook(demo / "lgdm.xlsx", read_only=True).sheetnames == ["Courses", "Learners"]
