"""Files whose name does not tell ask for it; addresses on two accounts and refused rows are said (E10, E18, E34)."""

import csv
import json
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from mmcampaign.cli import app
from mmcampaign.errors import InputError
from mmcampaign.ingest import FileResult, Stated, ingest
from mmcampaign.model import FileStatus
from mmcampaign.store.engine import Store
from mmcampaign.store.tables import course_instancedetails, imports, learners
from tests.builders import make_program
from tests.worlds import CONFIG

NOW = datetime(2027, 6, 15, tzinfo=UTC)
HEADER = "Student ID,Email,Username,Grade,Enrollment Track,Verification Status,Certificate Eligible,"
HEADER += "Certificate Delivered,Certificate Type,Enrollment Status\r\n"
ROW = "{0},l{0}@mail.example,learner{0},0.7,audit,N/A,N,N,N/A,enrolled\r\n"
REPORT = (HEADER + "".join(ROW.format(number) for number in range(1, 4))).encode()
OLD = b"id,email,username,grade\r\n1,a@b.example,ana,0.7\r\n2,b@b.example,bo,0.2\r\n"
STAMP = datetime(2027, 6, 1, 0, 30, tzinfo=UTC)
RIGHT = "NX_RIVER1x_1T2027_grade_report_2027-06-01-0030.csv"


def read(store: Store, path: Path, data: bytes = REPORT, **options: Any) -> FileResult:
    path.write_bytes(data)
    (file,) = ingest(store, (make_program(),), [path], now=NOW, **options).files
    return file


def typed(reason: str) -> list[str]:
    """The command of a refusal, as a shell would take it apart."""
    return shlex.split(reason[reason.index("mmcampaign ingest") :])[2:]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("my january.csv", ["CODE", "RUN", "grade_report", "YYYY-MM-DD-HHMM"]),
        (RIGHT.replace(".csv", "_final.csv"), ["river1x", "1T2027", "grade_report", "2027-06-01-0030"]),
        (RIGHT.replace("RIVER1x", "LAKE"), ["CODE", "RUN", "grade_report", "2027-06-01-0030"]),
    ],
)
def test_e10_a_doubtful_name_asks_with_what_to_type(store: Store, tmp_path: Path, name: str, wanted: list[str]) -> None:
    file = read(store, tmp_path / name)
    assert file.status is FileStatus.REFUSED
    words = typed(file.reason)
    assert words[0] == str(tmp_path / name)
    course, run, kind, exported = wanted
    assert words[1:] == ["--course", course, "--run", run, "--kind", kind, "--exported", exported]


@pytest.mark.parametrize("name", ["january.csv", RIGHT.replace(".csv", "_final.csv"), RIGHT.replace("RIVER1x", "LAKE")])
def test_e10_a_stated_file_is_read_as_that(store: Store, tmp_path: Path, name: str) -> None:
    stated = Stated(kind="grade_report", course="river2x", run="2T2027", exported_at=STAMP)
    file = read(store, tmp_path / name, stated=stated)
    assert (file.status, file.course, file.run, file.exported_at) == (FileStatus.LOADED, "river2x", "2T2027", STAMP)
    with store.read() as connection:
        rows = connection.execute(select(course_instancedetails.c.course_instance)).scalars().all()
        names = connection.execute(select(imports.c.name)).scalars().all()
    assert rows == ["NX_RIVER2x_2T2027"] * 3
    assert names == [name]


def test_e10_the_stamp_of_the_name_counts_unless_another_is_stated(store: Store, tmp_path: Path) -> None:
    stated = Stated(kind="grade_report", course="river1x", run="1T2027")
    file = read(store, tmp_path / RIGHT.replace(".csv", "_final.csv"), stated=stated)
    assert (file.status, file.exported_at) == (FileStatus.LOADED, STAMP)
    file = read(store, tmp_path / "january.csv", stated=stated)
    assert file.status is FileStatus.REFUSED
    assert typed(file.reason)[1:] == [
        *["--course", "river1x", "--run", "1T2027", "--kind", "grade_report"],
        *["--exported", "YYYY-MM-DD-HHMM"],
    ]


def test_e10_what_is_stated_does_not_make_a_file_what_it_is_not(store: Store, tmp_path: Path) -> None:
    stated = Stated(kind="student_profile_info", course="river1x", run="1T2027", exported_at=STAMP)
    file = read(store, tmp_path / "january.csv", stated=stated)
    assert file.status is FileStatus.REFUSED
    assert "is that of a grade_report" in file.reason


@pytest.mark.parametrize(
    ("stated", "says"),
    [
        (Stated(kind="grades", course="river1x", run="1T2027"), "no kind grades"),
        (Stated(kind="grade_report", course="lake", run="1T2027"), "no course 'lake'; configured are: river1x"),
        (Stated(kind="grade_report", course="river1x", run=""), "'' is no run"),
        (Stated(kind="grade_report", course="river1x", run="../x"), "is no run"),
    ],
)
def test_e10_what_is_stated_must_fit_together(store: Store, tmp_path: Path, stated: Stated, says: str) -> None:
    with pytest.raises(InputError, match=says.replace("'", ".")) as caught:
        read(store, tmp_path / "january.csv", stated=stated)
    assert caught.value.unchanged


def test_e10_one_file_at_a_time(store: Store, tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_bytes(REPORT)
    with pytest.raises(InputError, match="one file at a time"):
        ingest(store, (make_program(),), [tmp_path], now=NOW, stated=Stated(kind="grade_report"))


def test_e10_a_renamed_opt_in_list_needs_its_kind_alone(store: Store, tmp_path: Path) -> None:
    header = b"user_id,email,course_id,is_opted_in_for_email,preference_set_datetime\r\n"
    data = header + b"7,a@b.example,c,True,2020-01-01 00:00:00\r\n"
    file = read(store, tmp_path / "choices.csv", data)
    assert (file.status, file.kind) == (FileStatus.REFUSED, "email_opt_in")
    assert typed(file.reason)[1:] == ["--kind", "email_opt_in"]
    assert read(store, tmp_path / "choices.csv", data, stated=Stated(kind="email_opt_in")).accepted == 1


def test_e18_grades_alone_for_who_insists(store: Store, tmp_path: Path) -> None:
    name = "NX_RIVER1x_1T2014_grade_report_2014-10-01-0000.csv"
    refused = read(store, tmp_path / name, OLD)
    assert refused.status is FileStatus.REFUSED
    assert "--insist" in refused.reason
    file = read(store, tmp_path / name, OLD, insist=True)
    assert (file.status, file.rows) == (FileStatus.LOADED, 2)
    assert "Grades alone were read" in file.warnings[0]
    with store.read() as connection:
        rows = connection.execute(select(course_instancedetails).order_by("learner_id")).all()
    assert [(row.grade, row.enrollment_track, row.status) for row in rows] == [
        (0.7, None, "passed_not_eligible"),
        (0.2, None, "not_passed"),
    ]


def test_e34_an_address_on_two_accounts_is_said(store: Store, tmp_path: Path) -> None:
    path = tmp_path / RIGHT
    path.write_bytes(REPORT)
    result = ingest(store, (make_program(),), [path], now=NOW)
    assert result.warnings == ()
    later = tmp_path / RIGHT.replace("-06-01-", "-06-02-")
    later.write_bytes(REPORT.replace(b"l2@", b"L1@"))
    result = ingest(store, (make_program(),), [later], now=NOW)
    assert result.warnings == (
        "1 account has the address of another: an address is written to once, as the account whose file is newest.",
    )
    assert (result.changes.new_learners, result.changes.renamed) == (0, 1)
    again = tmp_path / RIGHT.replace("-06-01-", "-06-03-")
    again.write_bytes(later.read_bytes())
    result = ingest(store, (make_program(),), [again], now=NOW)
    assert (result.files[0].status, result.changes.renamed, result.warnings) == (FileStatus.LOADED, 0, ())
    third = tmp_path / RIGHT.replace("-06-01-", "-06-04-")
    third.write_bytes(later.read_bytes().replace(b"l3@", b"l1@"))
    (said,) = ingest(store, (make_program(),), [third], now=NOW).warnings
    assert said.startswith("2 accounts have the address of another:"), "three accounts, one of which is written to"
    with store.read() as connection:
        assert len(connection.execute(select(learners)).all()) == 3


def run(folder: Path, *words: str) -> Any:
    return CliRunner().invoke(app, ["--config", str(folder / "config.toml"), *words])


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    text = CONFIG.replace("[mail]", f'[database]\nurl = "sqlite:///{tmp_path / "c.db"}"\n[mail]')
    (tmp_path / "config.toml").write_text(text, "utf-8")
    return tmp_path


def test_e10_the_command_of_a_refusal_works_when_it_is_filled_in(installed: Path) -> None:
    (installed / "january.csv").write_bytes(REPORT)
    refused = run(installed, "ingest", str(installed / "january.csv"), "--json")
    assert refused.exit_code == 1
    words = typed(json.loads(refused.stdout)["files"][0]["reason"])
    known = {"CODE": "river1x", "RUN": "1T2027", "YYYY-MM-DD-HHMM": "2027-06-01-0030"}
    done = run(installed, "ingest", *(known.get(word, word) for word in words), "--json")
    assert done.exit_code == 0
    (file,) = json.loads(done.stdout)["files"]
    assert (file["status"], file["course"], file["accepted"]) == ("loaded", "river1x", 3)
    assert run(installed, "ingest", "x.csv", "--exported", "yesterday").exit_code == 2


def test_refused_rows_are_written_as_they_stand(installed: Path) -> None:
    bad = REPORT.replace(b"2,l2@mail.example,learner2,0.7", b"2,l2@mail.example,=learner2,0.x")
    (installed / RIGHT).write_bytes(bad)
    assert run(installed, "ingest", str(installed / RIGHT)).exit_code == 1
    assert run(installed, "imports", "--rejected", "--csv", str(installed / "bad.csv")).exit_code == 0
    with (installed / "bad.csv").open(encoding="utf-8-sig", newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["file"], row["line"]) == (RIGHT, "3")
    assert row["reason"] == "The grade is not a fraction such as 0.65."
    assert row["raw"] == "2,l2@mail.example,=learner2,0.x,audit,N/A,N,N,N/A,enrolled"
