"""Files of mended rows: their names, and which of their rows are refused."""

import io
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from mmcampaign.edx_csv import mended_name, parse_name
from mmcampaign.edx_csv.mended import STANDS, TWICE, header_text, mended_csv, read_mended
from mmcampaign.edx_csv.rows import Chunk, RejectedRow

NAME = "Org_ONE1x_1T2019_grade_report_2019-03-01-0000"
DIGEST = "0a1b2c3d" + "e" * 56
STAMP = datetime(2019, 3, 1, tzinfo=UTC)
HEADER = "Student ID,Email,Username,Grade,Enrollment Track,Verification Status,Certificate Eligible,"
HEADER += "Certificate Delivered,Certificate Type"


@pytest.mark.parametrize(
    ("name", "number", "expected"),
    [
        pytest.param(f"{NAME}.csv", 1, f"{NAME}.mended-0a1b2c3d.csv", id="as edX names it"),
        pytest.param(f"{NAME} (1).csv", 1, f"{NAME} (1).mended-0a1b2c3d.csv", id="a browser's copy"),
        pytest.param(f"{NAME}.csv.gz", 1, f"{NAME}.mended-0a1b2c3d.csv", id="compressed"),
        pytest.param(f"{NAME}.csv", 2, f"{NAME}.mended-0a1b2c3d-2.csv", id="the second file of its rows"),
        pytest.param(f"{NAME}.mended-0a1b2c3d.csv", 3, f"{NAME}.mended-0a1b2c3d-3.csv", id="mended once already"),
        pytest.param("january.CSV", 1, "january.mended-0a1b2c3d.csv", id="named by a person"),
    ],
)
def test_a_mended_file_is_named_after_its_export_and_known_again(name: str, number: int, expected: str) -> None:
    assert mended_name(name, DIGEST, number) == expected
    assert parse_name(expected, ["Org_ONE1x"]).mends == "0a1b2c3d"


@pytest.mark.parametrize(
    ("tail", "mends"),
    [
        pytest.param(".mended-0a1b2c3d.csv", "0a1b2c3d", id="as written"),
        pytest.param(".mended-0A1B2C3D-2 (1).CSV", "0a1b2c3d", id="a copy, in capitals"),
        pytest.param(".mended-0a1b2c3d - Kim.csv", "0a1b2c3d", id="somebody put a name behind it"),
        pytest.param(".mended-0a1b2c3d.csv.gz", "0a1b2c3d", id="compressed"),
        pytest.param(".mended-0a1b2c.csv", "", id="too few digits"),
        pytest.param(".mended-0a1b2c3d4.csv", "", id="too many digits"),
        pytest.param(".mended-0a1b2c3d.xlsx", "", id="a workbook"),
    ],
)
def test_only_the_digest_has_to_stay_in_the_name(tail: str, mends: str) -> None:
    found = parse_name(NAME + tail, ["Org_ONE1x"])
    assert found.mends == mends
    assert bool(found.refused or found.ignored) is not bool(mends)


def test_the_name_still_says_what_the_export_is() -> None:
    found = parse_name(f"{NAME}.mended-0a1b2c3d.csv", ["Org_ONE1x"])
    assert (found.kind, found.prefix, found.run, found.exported_at) == ("grade_report", "Org_ONE1x", "1T2019", STAMP)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        pytest.param(b"id,name\r\n1,Ana\r\n", "id,name", id="plain"),
        pytest.param("\ufeffid,name\r\n".encode(), "id,name", id="byte order mark"),
        pytest.param(b'id,"two\r\nlines"\r\n1,2\r\n', 'id,"two\r\nlines"', id="a line break in a name"),
        pytest.param("id;größe\r\n".encode("cp1252"), "id;größe", id="code page 1252"),
        pytest.param("id\tgröße\r\n".encode("utf-16"), "id\tgröße", id="UTF-16"),
        pytest.param(b"", "", id="nothing"),
    ],
)
def test_the_header_line_is_kept_as_it_stands(written: bytes, expected: str) -> None:
    assert header_text(io.BytesIO(written)) == expected


def test_what_is_written_out_is_read_as_a_report() -> None:
    file = io.BytesIO(mended_csv(HEADER, ["1,a@mail.example,a,0.5,audit,N/A,N,N,N/A"]))
    assert dict(read_mended(file, "grade_report", STAMP).rows) == {
        1: [RejectedRow(line=2, reason="", raw="1,a@mail.example,a,0.5,audit,N/A,N,N,N/A")]
    }
    assert file.tell() == 0


def row(learner: object) -> str:
    return f"{learner},a@mail.example,a,0.5,audit,N/A,N,N,N/A"


@pytest.mark.parametrize(
    ("learners", "bad", "standing", "kept", "refused"),
    [
        pytest.param([1, 2], (), set(), [1, 2], [], id="all are new"),
        pytest.param([1, 2], (), {2}, [1], [(3, STANDS)], id="one stands in the export"),
        pytest.param([1, 2, 1, 1], (), set(), [1, 2], [(4, TWICE), (5, TWICE)], id="one stands in it three times"),
        pytest.param([1, 2, 1], (2,), set(), [2, 1], [(2, "bad")], id="the first row of one is bad, the second counts"),
        pytest.param([1, 1, 1], (3,), {1}, [], [(2, STANDS), (3, "bad"), (4, STANDS)], id="bad, and in the export"),
    ],
)
def test_each_row_is_kept_or_refused_with_its_line(
    learners: list[int], bad: tuple[int, ...], standing: set[int], kept: list[int], refused: list[tuple[int, str]]
) -> None:
    mended = read_mended(io.BytesIO(mended_csv(HEADER, [row(each) for each in learners])), "grade_report", STAMP)
    sound = [learner for line, learner in enumerate(learners, start=2) if line not in bad]
    chunk = Chunk(
        rows=pa.table({"student_id": pa.array(sound, pa.int64())}),
        rejected=tuple(RejectedRow(line=line, reason="bad", raw=row(learners[line - 2])) for line in bad),
        tracks={},
    )
    (sifted,) = mended.sift(iter([chunk]), standing)
    assert sifted.rows["student_id"].to_pylist() == kept
    assert [(each.line, each.reason) for each in sifted.rejected] == refused
    assert all(each.raw == row(learners[each.line - 2]) for each in sifted.rejected)
