"""Every era of the two reports by its header, and what is read of it (edx-exports 4). No database."""

import io
from datetime import UTC, datetime
from typing import Any

import pytest

from mmcampaign.edx_csv import GRADES, OPT_IN, PROFILE, sniff_kind
from mmcampaign.edx_csv.reading import open_odd, open_plain
from mmcampaign.errors import InputError

BLOCK = "Enrollment Track,Verification Status,Certificate Eligible,Certificate Delivered,Certificate Type"
VALUES = "audit,N/A,N,N,N/A"
OLD, NEW = "id,email,username,grade", "Student ID,Email,Username,Grade"
WHO = "7,a@b.example,ana"

# Era: (stamp, header, the row after id, address and user name, enrollment status)
GRADE_ERAS = {
    "G2": ("2015-06-01", f"{OLD},HW 01,HW Avg,{BLOCK}", f"0.7,0.0,0.5,{VALUES}", "enrolled"),
    "G2 teams": ("2016-06-01", f"{OLD},HW 01,Cohort Name,Team Name,{BLOCK}", f"0.7,0.0,,,{VALUES}", "enrolled"),
    "G3": ("2017-01-01", f"{NEW},Homework 1: A,Homework (Avg),{BLOCK}", f"0.7,Not Attempted,None,{VALUES}", "enrolled"),
    "G4": ("2017-05-20", f"{NEW},{BLOCK}", f"0.7,{VALUES}", None),
    "G5": ("2017-09-01", f"{NEW},Quiz,{BLOCK},Enrollment Status", f"0.7,0.7,{VALUES},unenrolled", "unenrolled"),
    "G6": ("2019-01-01", f"\ufeff{NEW},{BLOCK},Enrollment Status", f"0.7,{VALUES},enrolled", "enrolled"),
    "G7": (
        "2026-01-01",
        f"{NEW},Quiz,Experiment Group (Video),Team Name,{BLOCK},Enrollment Status",
        f"0.7,0.8500000000000001,,,{VALUES},enrolled",
        "enrolled",
    ),
}
WITHOUT_TRACKS = {
    "G0": ("2014-10-01", f"{OLD},HW 01,HW Avg", "0.7,0.0,0.5"),
    "G1": ("2015-02-01", f"{OLD},HW 01,Cohort Name,Group Configuration Group (Video)", "0.7,0.0,,A"),
    "G1 later": ("2015-03-01", f"{OLD},HW 01,Experiment Group (Video)", "0.7,0.0,A"),
}

BASE = "id,username,name,email,language,location,year_of_birth,gender,level_of_education,mailing_address,goals"
ADDRESS = '7,ana,Ana Pine,a@b.example,,,1990,f,m,"Two\r\nlines",None'
# Era: (what follows in the header, what follows in the row, the track that is read, the country)
PROFILE_ERAS = {
    "P0, P1": ("", "", None, None),
    "P1 teams": (",cohort,team", ",[unassigned],[unavailable]", None, None),
    "P2": (",city,country", ",None,NA", None, "NA"),
    "P3": (",enrollment_mode,verification_status,city,country", ",honor,N/A,None,NA", "honor", "NA"),
    "P4": (
        ",enrollment_mode,verification_status,last_login,date_joined,city,country",
        ",audit,N/A,None,x,,SE",
        "audit",
        "SE",
    ),
    "P5": (
        ",enrollment_mode,verification_status,last_login,date_joined,external_user_key,cohort,city,country",
        ",audit,N/A,None,x,,,,SE",
        "audit",
        "SE",
    ),
    "P6": (
        ",enrollment_mode,last_login,date_joined,external_user_key,city,country",
        ",audit,None,x,,,SE",
        "audit",
        "SE",
    ),
    "P8a": (
        ",enrollment_mode,last_login,date_joined,external_user_key,enrollment_date,own_field,city,country",
        ",audit,None,x,,y,z,,SE",
        "audit",
        "SE",
    ),
    "P8b": (
        ",enrollment_mode,last_login,date_joined,external_user_key,lti_13_uuid,city,country",
        ",audit,None,x,,,,SE",
        "audit",
        "SE",
    ),
}


def read(text: str, kind: str, day: str, *, insist: bool = False) -> tuple[dict[str, Any], tuple[str, ...]]:
    report = open_plain(io.BytesIO(text.encode()), kind, stamp(day), insist=insist)
    (row,) = [row for chunk in report.chunks for row in chunk.rows.to_pylist()]
    return row, report.warnings


def stamp(day: str) -> datetime:
    return datetime.fromisoformat(day).replace(tzinfo=UTC)


@pytest.mark.parametrize(("day", "header", "row", "status"), GRADE_ERAS.values(), ids=GRADE_ERAS)
def test_e16_e17_e19_grade_reports_of_every_era(day: str, header: str, row: str, status: str | None) -> None:
    found, warnings = read(f"{header}\r\n{WHO},{row}\r\n", GRADES, day)
    assert (found["student_id"], found["email"], found["username"]) == (7, "a@b.example", "ana")
    assert (found["grade"], found["enrollment_track"], found["certificate_delivered"]) == (0.7, "audit", "N")
    assert found["enrollment_status"] == status
    assert warnings == ()


@pytest.mark.parametrize(("day", "header", "row"), WITHOUT_TRACKS.values(), ids=WITHOUT_TRACKS)
def test_e18_reports_without_tracks_need_somebody_who_insists(day: str, header: str, row: str) -> None:
    text = f"{header}\r\n{WHO},{row}\r\n"
    with pytest.raises(InputError, match="who completed is not known") as caught:
        read(text, GRADES, day)
    assert "--insist" in caught.value.todo
    found, warnings = read(text, GRADES, day, insist=True)
    assert (found["grade"], found["enrollment_track"], found["certificate_delivered"]) == (0.7, None, None)
    assert found["enrollment_status"] == "enrolled"
    assert "Grades alone were read" in warnings[0]


def test_e18_a_report_that_has_lost_one_column_is_no_old_report() -> None:
    text = f"{NEW},{BLOCK.replace(',Certificate Type', '')}\r\n{WHO},0.7,audit,N/A,N,N\r\n"
    with pytest.raises(InputError, match="no column for certificate type"):
        read(text, GRADES, "2015-01-01", insist=True)


@pytest.mark.parametrize("without", ["", "year_of_birth,"], ids=["with birth year", "P7"])
@pytest.mark.parametrize(("header", "row", "track", "country"), PROFILE_ERAS.values(), ids=PROFILE_ERAS)
def test_e16_profiles_of_every_era(header: str, row: str, track: str | None, country: str | None, without: str) -> None:
    person = ADDRESS.replace("1990,", "") if without else ADDRESS
    found, _ = read(f"{BASE.replace(without, '')}{header}\r\n{person}{row}\r\n", PROFILE, "2020-01-01")
    assert (found["student_id"], found["username"], found["name"]) == (7, "ana", "Ana Pine")
    assert (found["profile_track"], found["country"]) == (track, country)


def test_e16_profiles_of_p0_have_every_field_quoted() -> None:
    quoted = "\r\n".join(
        ",".join(f'"{cell}"' for cell in line.split(",")) for line in (BASE, "7,ana,Ana,a@b.example,,,,,,,")
    )
    assert read(f"{quoted}\r\n", PROFILE, "2014-06-01")[0]["name"] == "Ana"


def odd(text: str, kind: str = GRADES, day: str = "2019-01-01") -> list[dict[str, Any]] | None:
    report = open_odd(io.BytesIO(text.encode()), kind, stamp(day))
    return None if report is None else [row for chunk in report.chunks for row in chunk.rows.to_pylist()]


FORK = f"Student ID,Email,Username,Last Name,First Name,Grade Percent,{BLOCK}"


@pytest.mark.parametrize(
    ("header", "grade", "read_as"),
    [
        (FORK, "65", 0.65),
        (FORK, "65.5", 0.655),
        (FORK, "100", 1.0),
        (FORK.replace("Grade Percent", "grade percent"), "65", None),
        (FORK.replace("Grade Percent", "Grade (Percent)"), "65", None),
        (FORK.replace("Last Name", "Grade"), "65", None),
    ],
)
def test_grade_percent_only_when_the_header_is_exactly_that(header: str, grade: str, read_as: float | None) -> None:
    rows = odd(f"{header}\r\n{WHO},Pine,Ana,{grade},{VALUES}\r\n")
    assert ([row["grade"] for row in rows] if rows else None) == ([read_as] if read_as else None)


@pytest.mark.parametrize("start", ["\r\n", "\n", "\ufeff\r\n"])
def test_e7_an_empty_first_line_is_no_report_without_learners(start: str) -> None:
    text = f"{start}{NEW},{BLOCK}\r\n{WHO},0.7,{VALUES}\r\n"
    with pytest.raises(InputError, match="first line is empty"):
        open_plain(io.BytesIO(text.encode()), GRADES, stamp("2019-01-01"))
    assert odd(text) is None


def test_an_ordinary_report_is_in_no_odd_form() -> None:
    assert odd(f"{NEW},{BLOCK}\r\n{WHO},0.7,{VALUES}\r\n") is None


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (f"{NEW},{BLOCK}\r\n", GRADES),
        (f"{NEW},{BLOCK}\r\n".replace(",", ";"), GRADES),
        (f"{BASE}\r\n".replace(",", "\t"), PROFILE),
        ("email,full_name,course_id,is_opted_in_for_email,preference_set_datetime\r\n", OPT_IN),
        ("Grade,Name\r\n", "unknown"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_e10_the_kind_of_a_renamed_file_is_seen_in_its_first_line(text: str, kind: str, encoding: str) -> None:
    assert sniff_kind(io.BytesIO(text.encode(encoding))) == kind
