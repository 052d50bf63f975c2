"""Reading edX's files: names, bytes, headers, rows. Case numbers are those of edx-exports."""

import csv
import io
import re
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcampaign.edx_csv import (
    GRADES,
    OPT_IN,
    PROFILE,
    count_records,
    is_archive,
    kind_of_header,
    parse_name,
    read_layout,
    sniff_kind,
    term_and_year,
)
from mmcampaign.edx_csv.blocks import split_blocks
from mmcampaign.edx_csv.rows import Chunk, read_rows
from mmcampaign.errors import InputError

PREFIXES = ("NordlandX_RIVER1x", "NordlandX_RIVER1x_1", "NordlandX_RIVER.2x", "Nordland_X_LAKE")
STAMP = datetime(2019, 12, 4, 2, 27, tzinfo=UTC)
BLOCK = ["Enrollment Track", "Verification Status", "Certificate Eligible", "Certificate Delivered", "Certificate Type"]
GRADE_HEADER = ["Student ID", "Email", "Username", "Grade", "Homework (Avg)", *BLOCK, "Enrollment Status"]
PROFILE_HEADER = ["id", "username", "name", "email", "goals", "enrollment_mode", "country"]


def grade_row(student_id: object = 7, **values: object) -> list[object]:
    row = {
        "Student ID": student_id,
        "Email": f"l{student_id}@mail.example",
        "Username": f"learner{student_id}",
        "Grade": "0.65",
        "Homework (Avg)": "0.5",
        **dict(zip(BLOCK, ["audit", "N/A", "N", "N", "N/A"], strict=True)),
        "Enrollment Status": "enrolled",
    }
    assert values.keys() <= row.keys()
    return list({**row, **values}.values())


def as_csv(header: list[str], *rows: list[Any], end: str = "\r\n") -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=end).writerows([header, *rows])
    return text.getvalue().encode()


def read(data: bytes, kind: str = GRADES, exported_at: datetime = STAMP) -> tuple[list[dict[str, Any]], list[Chunk]]:
    file = io.BytesIO(data)
    layout = read_layout(file, kind, exported_at)
    assert layout is not None
    chunks = list(read_rows(file, layout, exported_at))
    return [row for chunk in chunks for row in chunk.rows.to_pylist()], chunks


def refusal(data: bytes, kind: str = GRADES, exported_at: datetime = STAMP) -> str:
    with pytest.raises(InputError) as caught:
        read(data, kind, exported_at)
    return f"{caught.value.what} {caught.value.todo}"


# Names


@pytest.mark.parametrize(
    ("name", "kind", "prefix", "run"),
    [
        ("NordlandX_RIVER1x_2T2019_grade_report_2019-12-04-0227.csv", GRADES, "NordlandX_RIVER1x", "2T2019"),
        ("NordlandX_RIVER.2x_2025_T1_grade_report_2019-12-04-0227.csv", GRADES, "NordlandX_RIVER.2x", "2025_T1"),
        ("NordlandX_RIVER1x_1_1T2015_grade_report_2019-12-04-0227.csv", GRADES, "NordlandX_RIVER1x_1", "1T2015"),
        ("Nordland_X_LAKE_R2_ccx_5_student_profile_info_2019-12-04-0227.csv", PROFILE, "Nordland_X_LAKE", "R2_ccx_5"),
        ("NordlandX_RIVER1x_2T2019_grade_report_2019-12-04-0227 (1).csv", GRADES, "NordlandX_RIVER1x", "2T2019"),
        ("NordlandX_RIVER1x_2T2019_grade_report_2019-12-04-0227 - Copy.csv", GRADES, "NordlandX_RIVER1x", "2T2019"),
        ("NordlandX_RIVER1x_2T2019_grade_report_2019-12-04-0227-1.csv", GRADES, "NordlandX_RIVER1x", "2T2019"),
        ("NordlandX_RIVER1x_2T2019_grade_report_2019-12-04-0227_aB3dE5f.csv", GRADES, "NordlandX_RIVER1x", "2T2019"),
        ("NordlandX_RIVER1x_2T2019_grade_report_2019-12-04-0227.CSV", GRADES, "NordlandX_RIVER1x", "2T2019"),
        ("NordlandX_RIVER1x_2T2019_grade_report_2019-12-04-0227.csv.gz", GRADES, "NordlandX_RIVER1x", "2T2019"),
        (
            "course-v1%3ANordlandX%2BRIVER1x%2B2T2019_grade_report_2019-12-04-0227.csv",
            GRADES,
            "NordlandX_RIVER1x",
            "2T2019",
        ),
        (
            "NordlandX%2FRIVER.2x%2F2025_T1_student_profile_info_2019-12-04-0227.csv",
            PROFILE,
            "NordlandX_RIVER.2x",
            "2025_T1",
        ),
    ],
)
def test_e10_names_are_read_by_configured_prefix(name: str, kind: str, prefix: str, run: str) -> None:
    found = parse_name(name, PREFIXES)
    assert (found.kind, found.prefix, found.run, found.exported_at) == (kind, prefix, run, STAMP)
    assert not found.ignored
    assert not found.refused


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (
            "NordlandX_OCEAN_2T2019_grade_report_2019-12-04-0227.csv",
            "OCEAN_2T2019”. Configured prefixes: Nord",
        ),
        ("NordlandX_RIVER1xx_2T2019_grade_report_2019-12-04-0227.csv", "No configured course fits"),
        ("NordlandX_RIVER1x_2T2019_grade_report_2019-12-04-0227_sanitized.csv", "renamed"),
        ("NordlandX_RIVER1x_2T2019_grade_report_2019-12-04-0227 final.csv", "renamed"),
        ("NordlandX_RIVER1x_2T2019_grade_report_2019-13-04-0227.csv", "no date and time"),
        ("NordlandX_RIVER1x_2T2019_student_profile_info_2019-12-04-0227.zip", "Unpack it"),
        ("NordlandX_RIVER1x_2T2019_grade_report_2019-12-04-0227.csv.crdownload", "download it again"),
    ],
)
def test_e10_doubtful_names_are_refused(name: str, says: str) -> None:
    found = parse_name(name, PREFIXES)
    assert says in found.refused
    assert found.kind in (GRADES, PROFILE)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("NordlandX_RIVER1x_2T2019_problem_grade_report_2019-12-04-0231.csv", "problem_grade_report"),
        ("NordlandX_RIVER1x_2T2019_problem_grade_report_err_2019-12-04-0231.csv", "problem_grade_report_err"),
        ("NordlandX_RIVER1x_2T2019_grade_report_err_2019-12-04-0231.csv", "grade_report_err"),
        ("NordlandX_RIVER1x_2T2014_grade_report_2014-12-04-0231_err.csv", "grade_report_err"),
        ("NordlandX_RIVER1x_2T2019_ORA_data_2019-12-04-0231.csv", "ORA_data"),
        ("NordlandX_RIVER1x_2T2019_submission_files_2019-12-04-0231.zip", "submission_files"),
        ("NordlandX_RIVER1x_2T2019_student_state_from_block-v1_x_2019-12-04-0231.csv", "student_state_from_block-v1_x"),
        ("NordlandX_OCEAN_2T2019_may_enroll_info_2019-12-04-0231.csv", "may_enroll_info"),
        ("notes.txt", "unknown"),
        ("contacts.csv", "unknown"),
    ],
)
def test_e1_look_alikes_are_ignored(name: str, kind: str) -> None:
    found = parse_name(name, PREFIXES)
    assert found.kind == kind
    assert found.ignored
    assert not found.refused


@pytest.mark.parametrize(
    "name",
    ["NordlandX-email_opt_in-prod-analytics.csv", "NordlandX-email_opt_in-edge-analytics (1).csv.gz"],
)
def test_an_opt_in_list_belongs_to_no_run(name: str) -> None:
    found = parse_name(name, PREFIXES)
    assert (found.kind, found.prefix, found.run, found.exported_at) == (OPT_IN, "", "", None)
    assert not (found.ignored or found.refused)


@pytest.mark.parametrize(
    ("name", "opened"),
    [
        ("edX downloads.zip", True),
        ("NordlandX_RIVER1x_2T2019_grade_report_2019-12-04-0227.ZIP", True),
        ("NordlandX_RIVER1x_2T2019_submission_files_2019-12-04-0231.zip", False),
        ("NordlandX_RIVER1x_2T2019_grade_report_2019-12-04-0227.csv", False),
    ],
)
def test_archives_of_downloads(name: str, opened: bool) -> None:
    assert is_archive(name) is opened


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        ("1T2019", ("1T", 2019)),
        ("2T2019a", ("2T", 2019)),
        ("2025_T1", ("T1", 2025)),
        ("R2", (None, None)),
        ("2019_Q1", (None, None)),
        ("1T20199", (None, None)),
    ],
)
def test_term_and_year_only_where_the_run_says_so(run: str, expected: tuple[str | None, int | None]) -> None:
    assert term_and_year(run) == expected


# Bytes


@pytest.mark.parametrize(
    ("data", "says"),
    [
        pytest.param(b"", "empty", id="empty file"),
        pytest.param(b"<?xml version='1.0'?>\n<Error/>", "error page", id="XML"),
        pytest.param(b"\xef\xbb\xbf\n <!DOCTYPE html>", "error page", id="HTML"),
        pytest.param(b"\x1f\x8b\x08\x00", "gzip", id="gzip"),
        pytest.param(b"PK\x03\x04....", "ZIP", id="ZIP"),
        pytest.param(b"%PDF-1.7", "PDF", id="PDF"),
        pytest.param("Student ID".encode("utf-16"), "UTF-16", id="UTF-16"),
        pytest.param(as_csv(GRADE_HEADER, grade_row(Username="a\0b")), "zero bytes", id="zero bytes"),
    ],
)
def test_e5_what_is_no_csv_is_refused(data: bytes, says: str) -> None:
    reason = refusal(data)
    assert says in reason
    assert "Download the report again" in reason


@given(cut=st.integers(min_value=1))
def test_e6_a_file_cut_off_anywhere_in_a_row_is_refused(cut: int) -> None:
    rows = [grade_row(n, Username='quoted, "twice"\r\nname') for n in range(1, 4)]
    data = as_csv(GRADE_HEADER, *rows)
    header = len(as_csv(GRADE_HEADER))
    ends = {header + sum(len(as_csv(GRADE_HEADER, row)) - header for row in rows[:number]) for number in range(4)}
    kept = cut % len(data)
    if kept in ends:
        return  # whole rows only: no reader can see that some are missing
    assert "cut off" in refusal(data[:kept]) or kept == 0


def test_e4_a_byte_order_mark_is_no_part_of_the_header() -> None:
    rows, _ = read(b"\xef\xbb\xbf" + as_csv(GRADE_HEADER, grade_row(7)))
    assert rows[0]["student_id"] == 7


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_e9_line_ends(end: str) -> None:
    rows, _ = read(as_csv(GRADE_HEADER, grade_row(7, Username="lone\r, quoted"), grade_row(8), end=end))
    assert [row["username"] for row in rows] == ["lone\r, quoted", "learner8"]


def test_e9_a_line_break_outside_quotes_that_readers_disagree_on_is_refused() -> None:
    data = as_csv(GRADE_HEADER, grade_row(7, Username="xx")).replace(b"xx", b"x\rx")
    assert "stray quote or line break" in refusal(data)


def test_e8_a_spreadsheet_copy_is_refused() -> None:
    data = as_csv(GRADE_HEADER, grade_row()).replace(b",", b";")
    assert "semicolons" in refusal(data)
    latin = as_csv(PROFILE_HEADER, [7, "u", "Bjö", "a@b.example", "", "audit", "SE"]).decode().encode("cp1252")
    assert "Line 2 is not UTF-8" in refusal(latin, PROFILE)


@pytest.mark.parametrize("change", [1, -1], ids=["E12 a cell long", "E11 a cell short"])
def test_e11_e12_ragged_rows_are_refused_with_their_line(change: int) -> None:
    row = grade_row(8)
    ragged = [*row, ""] if change > 0 else row[:-1]
    reason = refusal(as_csv(GRADE_HEADER, grade_row(7, Username="two\r\nlines"), ragged))
    assert f"Line 4 has {len(row) + change} cells where the header has {len(row)}" in reason


def test_e13_short_profile_rows_are_refused() -> None:
    assert "cells" in refusal(as_csv(PROFILE_HEADER, [7, "u", "n", "a@b.example", "", "audit"]), PROFILE)


@pytest.mark.parametrize("empty", [b"\r\n", b"\n"])
@pytest.mark.parametrize("username", ["plain", 'with, a "quote"'])
@pytest.mark.parametrize("place", [0, 1, 2], ids=["first", "between", "last"])
def test_an_empty_line_is_refused_with_its_number(empty: bytes, username: str, place: int) -> None:
    rows = as_csv(GRADE_HEADER, grade_row(7, Username=username), grade_row(8)).splitlines(keepends=True)
    rows.insert(place + 1, empty)
    assert f"Line {place + 2} has 1 cells" in refusal(b"".join(rows))


@pytest.mark.parametrize("size", [1, 300, 1 << 20])
def test_a_quote_that_is_never_closed_is_refused_with_its_line(size: int) -> None:
    rows = [grade_row(number, Username="two\r\nlines") for number in range(1, 6)]
    data = as_csv(GRADE_HEADER, *rows, grade_row(6)).replace(b"learner6", b'"learner6')
    with patch.dict(split_blocks.__kwdefaults__, size=size):
        assert "cut off in its last row, which starts in line 12" in refusal(data)


@pytest.mark.parametrize("size", [1, 300, 1 << 20])
def test_bytes_that_are_no_utf8_are_refused_with_their_line(size: int) -> None:
    rows = [grade_row(number, Username="zwölf\r\nlines") for number in range(1, 6)]
    data = as_csv(GRADE_HEADER, *rows, grade_row(6, Username="xx")).replace(b"xx", b"\xe9\x88")
    with patch.dict(split_blocks.__kwdefaults__, size=size):
        assert "Line 12 is not UTF-8" in refusal(data)


def test_a_record_without_end_is_refused_before_it_fills_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("blocks", "opening"):
        monkeypatch.setattr(f"mmcampaign.edx_csv.{module}.LONGEST_RECORD", 1_000)
    data = as_csv(GRADE_HEADER, grade_row(1), grade_row(2, Username="line\r\n" * 2_000))
    file = io.BytesIO(data)
    layout = read_layout(file, GRADES, STAMP)
    assert layout is not None
    with patch.dict(split_blocks.__kwdefaults__, size=100), pytest.raises(InputError, match="never closed"):
        list(read_rows(file, layout, STAMP))
    assert file.tell() < 5_000


cells = st.text(st.sampled_from('ab,"\n\r \tÅ鈴'), max_size=8)


@given(rows=st.lists(st.tuples(cells, cells), min_size=1, max_size=20), size=st.integers(1, 200))
def test_e20_blocks_hold_whole_records_with_their_lines(rows: list[tuple[str, str]], size: int) -> None:
    """Against Python's own reader: the same records, and each starts on the line it is said to."""
    written = [(f"id{number}", *row) for number, row in enumerate(rows)]
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(written)
    data = text.getvalue().encode()
    found, lines = [], []
    for block in split_blocks(io.BytesIO(data), cells=3, first_line=1, size=size):
        for record in range(block.records):
            start, end = block.span(record)
            found.append(tuple(next(csv.reader(io.StringIO(block.data[start:end].decode(), newline="")))))
            lines.append(block.line(record))
    assert found == written
    starts = [data.count(b"\n", 0, data.index(f"id{number},".encode())) + 1 for number in range(len(written))]
    assert lines == starts


@given(text=st.text(st.sampled_from('12ab,,,,"\r\n\nÅ\ufeff'), max_size=60), size=st.integers(1, 40))
def test_whatever_is_not_refused_is_read_as_by_pythons_own_reader(text: str, size: int) -> None:
    """Over any bytes, cut into blocks anywhere: the same records and the same cells, or none at all."""
    header = "id,username,name,email\r\n"
    with patch.dict(split_blocks.__kwdefaults__, size=size):
        try:
            found, chunks = read((header + text).encode(), PROFILE)
        except InputError:
            return
    expected = list(csv.reader(io.StringIO(text, newline="")))
    assert len(found) + sum(len(chunk.rejected) for chunk in chunks) == len(expected)
    sound = [row for row in expected if row and re.fullmatch("[1-9][0-9]{0,17}", row[0])]
    assert [[str(row["student_id"]), row["username"], row["name"] or "", row["email"]] for row in found] == sound


@given(rows=st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=12), size=st.integers(1, 200))
def test_what_edx_writes_is_read_in_full(rows: list[tuple[str, str, str]], size: int) -> None:
    written = [[str(number), *row] for number, row in enumerate(rows, start=1)]
    with patch.dict(split_blocks.__kwdefaults__, size=size):
        found, _ = read(as_csv(["id", "username", "name", "email"], *written), PROFILE)
    assert [[str(row["student_id"]), row["username"], row["name"] or "", row["email"]] for row in found] == written


# Headers


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        (GRADE_HEADER, GRADES),
        (["id", "email", "username", "grade", *BLOCK], GRADES),
        ([" STUDENT ID ", "EMAIL", "Username", "Grade"], GRADES),
        (PROFILE_HEADER, PROFILE),
        (["Student ID", "Email", "Username", "Grade", "Quiz (Earned)", "Quiz (Possible)"], "problem_grade_report"),
        (["Student ID", "Username", "Error"], "unknown"),
        (["User ID", "User Name", "Email"], "unknown"),
        ([], "unknown"),
    ],
)
def test_e16_kind_by_header(header: list[str], kind: str) -> None:
    assert kind_of_header(header) == kind


def test_e1_name_and_header_must_agree() -> None:
    profile = as_csv(PROFILE_HEADER, [7, "u", "n", "a@b.example", "", "audit", "SE"])
    assert "the first line is that of a student_profile_info" in refusal(profile, GRADES)
    assert "not that of an edX report" in refusal(b"a,b\r\n1,2\r\n", GRADES)


def test_e7_header_only_and_mark_only() -> None:
    assert read(as_csv(GRADE_HEADER)) == ([], [])
    assert read_layout(io.BytesIO(b"\xef\xbb\xbf"), GRADES, STAMP) is None


def test_e15_a_repeated_header_counts_first_on_the_left_and_last_on_the_right() -> None:
    header = [*GRADE_HEADER[:4], "Grade", "Email", "Enrollment Track", *GRADE_HEADER[5:]]
    row = [*grade_row()[:4], "0.1", "0.2", "0.3", *grade_row()[5:]]
    found = read(as_csv(header, row))[0][0]
    assert (found["grade"], found["email"], found["enrollment_track"]) == (0.65, "l7@mail.example", "audit")


@pytest.mark.parametrize(
    ("stamp", "status", "warned"),
    [
        (datetime(2017, 4, 30, 23, 59, tzinfo=UTC), "enrolled", False),
        (datetime(2017, 5, 1, tzinfo=UTC), None, False),
        (datetime(2017, 6, 1, tzinfo=UTC), None, True),
    ],
    ids=["before May 2017 everybody is enrolled", "in May nobody knows", "later it is missing"],
)
def test_e17_missing_enrollment_status(stamp: datetime, status: str | None, warned: bool) -> None:
    data = as_csv(GRADE_HEADER[:-1], grade_row()[:-1])
    assert read(data, exported_at=stamp)[0][0]["enrollment_status"] == status
    layout = read_layout(io.BytesIO(data), GRADES, stamp)
    assert layout is not None
    assert bool(layout.warnings) is warned


def test_e18_no_certificate_columns() -> None:
    report = as_csv(["id", "email", "username", "grade", "HW 01"], [1, "", "", 1, 1])
    assert "who completed is not known" in refusal(report)


def test_sniff_kind_of_a_file_whose_name_says_nothing() -> None:
    assert sniff_kind(io.BytesIO(as_csv(GRADE_HEADER))) == GRADES
    assert sniff_kind(io.BytesIO(b"\xff\xfe")) == "unknown"


def test_grade_errors_are_counted_as_records() -> None:
    data = as_csv(["Student ID", "Username", "Error"], [1, "a", "line\r\nbreak"], [2, "b", "x"])
    assert count_records(io.BytesIO(data)) == 2


# Rows


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("Student ID", "1.03E+07", "id is not a whole number"),
        ("Student ID", "", "id is not a whole number"),
        ("Student ID", "-5", "id is not a whole number"),
        ("Student ID", "٣", "id is not a whole number"),
        ("Student ID", "0", "id is not a whole number"),
        ("Student ID", "007", "id is not a whole number"),
        ("Student ID", "0x1F", "id is not a whole number"),
        ("Student ID", " 8", "id is not a whole number"),
        ("Student ID", "8\n", "id is not a whole number"),
        ("Student ID", "1" * 19, "id is not a whole number"),
        ("Grade", "None", "not a fraction"),
        ("Grade", "65%", "not a fraction"),
        ("Grade", "65", "not a fraction"),
        ("Grade", "0,65", "not a fraction"),
        ("Grade", "nan", "not a fraction"),
        ("Grade", "0.65\n", "not a fraction"),
        ("Enrollment Track", "", "not a code"),
        ("Enrollment Track", "N/A", "not a code"),
        ("Verification Status", "verified", "verification status"),
        ("Certificate Eligible", "Yes", "neither Y nor N"),
        ("Certificate Delivered", "", "neither Y nor N"),
        ("Enrollment Status", "", "neither enrolled nor unenrolled"),
    ],
)
def test_e14_e22_bad_cells_go_to_the_rejects(column: str, value: str, says: str) -> None:
    bad = grade_row(8, **{column: value})
    rows, chunks = read(as_csv(GRADE_HEADER, grade_row(7, Username="two\r\nlines"), bad, grade_row(9)))
    assert [row["student_id"] for row in rows] == [7, 9]
    (rejected,) = [row for chunk in chunks for row in chunk.rejected]
    assert rejected.line == 4
    assert says in rejected.reason
    assert next(csv.reader([rejected.raw])) == [str(cell) for cell in bad]


def test_e22_the_first_problem_of_a_row_is_named() -> None:
    _, chunks = read(as_csv(GRADE_HEADER, grade_row("x", Grade="y", **{"Certificate Eligible": "z"})))
    assert chunks[0].rejected[0].reason == "The learner's id is not a whole number."


def test_e23_e24_grades_are_read_exactly() -> None:
    written = [f"{hundredths / 100}" for hundredths in range(1000)]
    rows, _ = read(as_csv(GRADE_HEADER, *(grade_row(place + 1, Grade=grade) for place, grade in enumerate(written))))
    assert [row["grade"] for row in rows] == [float(grade) for grade in written]


def test_e25_long_floats() -> None:
    for written in ("0.666666666667", "0.6666666666666666", "0.8500000000000001"):
        assert read(as_csv(GRADE_HEADER, grade_row(Grade=written)))[0][0]["grade"] == float(written)


@pytest.mark.parametrize("word", ["None", "null", "nan", "NA", "N/A", "TRUE", "1e5", "00123", "2019-01-02", "=1+1"])
def test_e26_e27_e29_words_stay_words(word: str) -> None:
    row: list[Any] = [7, word, word, "a@b.example", "x", "audit", word]
    found = read(as_csv(PROFILE_HEADER, row), PROFILE)[0][0]
    assert (found["username"], found["name"], found["country"]) == (word, word, word)


@pytest.mark.parametrize("word", ["", "None"])
def test_e26_null_rule_for_optional_columns(word: str) -> None:
    row: list[Any] = [7, "u", "", "a@b.example", "x", word, ""]
    found = read(as_csv(PROFILE_HEADER, row), PROFILE)[0][0]
    assert (found["profile_track"], found["name"], found["country"]) == (None, None, None)


def test_e28_addresses_are_kept_and_compared_case_folded() -> None:
    found = read(as_csv(GRADE_HEADER, grade_row(Email="D.O'Connor+edX@Straße.example")))[0][0]
    assert found["email"] == "D.O'Connor+edX@Straße.example"
    assert found["email_key"] == "d.o'connor+edx@strasse.example"


def test_e28_addresses_of_all_scripts_are_case_folded_beside_rejected_rows() -> None:
    emails = ["A@B.example", "ÅSA@B.example", "x@Y.example"]
    bad = grade_row("none", Email="ÉVA@B.example")
    rows, _ = read(as_csv(GRADE_HEADER, *(grade_row(place, Email=email) for place, email in enumerate(emails, 1)), bad))
    assert [row["email_key"] for row in rows] == [email.casefold() for email in emails]
    assert read(as_csv(GRADE_HEADER, grade_row(1), bad))[0][0]["email_key"] == "l1@mail.example"


def test_e30_unknown_tracks_are_kept_and_counted() -> None:
    rows, chunks = read(as_csv(GRADE_HEADER, grade_row(7), grade_row(8, **{"Enrollment Track": "golden"})))
    assert rows[1]["enrollment_track"] == "golden"
    assert chunks[0].tracks == {"audit": 1, "golden": 1}
