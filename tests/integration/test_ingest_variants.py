"""The single deviant files of the samples, and odd forms made from good ones: read for certain or refused.

Case numbers are those of edx-exports.
"""

import csv
import gzip
import io
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from mmcampaign.context import first_name
from mmcampaign.ingest import FileResult, ingest
from mmcampaign.model import FileStatus
from mmcampaign.store.engine import Store
from mmcampaign.store.tables import course_instancedetails, imports, learners
from tests.edx_samples import DOWNLOADS, NOW, RIVER, SAMPLES, dump, facts

VARIANTS = SAMPLES / "variants"
GRADES_2019 = "NordlandX_RIVER1x_2T2019_grade_report_2019-12-04-0227.csv"
PROFILE_2019 = "NordlandX_RIVER1x_2T2019_student_profile_info_2019-12-04-0219.csv"
GRADES_2017 = "NordlandX_RIVER.2x_3T2016_grade_report_2017-03-15-2204.csv"
GRADES_2026 = "NordlandX_RIVER.2x_2025_T1_grade_report_2026-08-17-1402.csv"
LINE_FEEDS = "NordlandX_RIVER.2x_2025_T1_grade_report_2026-08-18-0700.csv"
VERIFIED_ONLY = "NordlandX_RIVER.2x_2025_T1_grade_report_2026-08-20-0911.csv"
SHORT_ROWS = "NordlandX_RIVER1x_2T2019_grade_report_2019-12-05-0100.csv"
LONG_ROWS = "NordlandX_RIVER.2x_3T2016_grade_report_2017-05-05-0800.csv"
EXPECTED = {
    "NordlandX_RIVER.2x_2025_T1_grade_report_2026-08-19-1200.csv": ("refused", "error page", ""),
    "NordlandX_RIVER.2x_2025_T1_grade_report_2026-08-17-1500.csv": ("refused", "cut off", ""),
    GRADES_2019: ("superseded", "", "A spreadsheet has saved this file (semicolons)"),
    PROFILE_2019: ("superseded", "", "A spreadsheet has saved this file (semicolons, code page 1252)"),
    LINE_FEEDS: ("loaded", "", ""),
    SHORT_ROWS: ("loaded", "", "Every row is 1 cell shorter than the header"),
    LONG_ROWS: ("loaded", "", "Every row is 1 cell longer than the header"),
    VERIFIED_ONLY: ("loaded", "", "lists verified learners only"),
}
# The export that a variant is a form of.
SIBLINGS = {
    GRADES_2019: GRADES_2019,
    PROFILE_2019: PROFILE_2019,
    LINE_FEEDS: GRADES_2026,
    SHORT_ROWS: GRADES_2019,
    LONG_ROWS: GRADES_2017,
}


@pytest.fixture
def sampled(store: Store) -> Store:
    ingest(store, (RIVER,), [DOWNLOADS], now=NOW)
    return store


def read(store: Store, *paths: Path, **options: Any) -> tuple[FileResult, ...]:
    return ingest(store, (RIVER,), paths, now=NOW, **options).files


def judged(store: Store) -> dict[str, Any]:
    """What the database says of people in courses, whichever file said it, and who they are."""
    with store.read() as connection:
        hidden = {"import_id", "profile_import_id", "enrollment_status"}
        columns = [column for column in course_instancedetails.c if column.name not in hidden]
        rows = connection.execute(select(*columns).order_by("course_instance", "learner_id"))
        people = select(learners.c.student_id, learners.c.username, learners.c.email).order_by("student_id")
        return {
            "details": [tuple(row) for row in rows],
            "completions": facts(store)["completions"],
            "people": [tuple(row) for row in connection.execute(people)],
        }


def names(store: Store) -> dict[int, str]:
    with store.read() as connection:
        return {row.student_id: row.name or "" for row in connection.execute(select(learners))}


def put(folder: Path, name: str, data: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("name", EXPECTED)
def test_variants_are_never_ingested_silently_wrong(sampled: Store, name: str) -> None:
    before = dump(sampled)
    (file,) = read(sampled, VARIANTS / name)
    status, reason, warning = EXPECTED[name]
    assert file.status == status
    assert reason in file.reason
    assert warning in " ".join(file.warnings)
    assert file.accepted + file.rejected == file.rows
    if status == "refused":
        after = dump(sampled)
        assert len(after.pop("imports")) == len(before.pop("imports")) + 1
        assert after == before


def test_every_variant_is_listed() -> None:
    assert {path.name for path in VARIANTS.iterdir()} == EXPECTED.keys()


@pytest.mark.parametrize(("name", "sibling"), SIBLINGS.items())
def test_e8_e9_e11_e12_a_variant_after_its_sibling_says_the_same(sampled: Store, name: str, sibling: str) -> None:
    before, called = judged(sampled), names(sampled)
    (file,) = read(sampled, VARIANTS / name)
    assert file.status in (FileStatus.LOADED, FileStatus.SUPERSEDED)
    assert file.rejected == 0
    assert judged(sampled) == before
    assert names(sampled) == called


@pytest.mark.parametrize(("name", "sibling"), SIBLINGS.items())
def test_e8_e9_e11_e12_a_variant_instead_of_its_sibling_says_the_same(
    store: Store, tmp_path: Path, name: str, sibling: str
) -> None:
    others = [path for path in DOWNLOADS.iterdir() if not path.name.startswith(sibling.removesuffix(".csv"))]
    read(store, *others, DOWNLOADS / sibling)
    wanted = judged(store)
    with store.write() as connection:
        for table in reversed(imports.metadata.sorted_tables):
            connection.execute(table.delete())
    files = read(store, *others, VARIANTS / name)
    assert files[-1].status is FileStatus.LOADED
    assert judged(store) == wanted


def test_e8_a_damaged_name_is_no_greeting(store: Store) -> None:
    read(store, VARIANTS / PROFILE_2019)
    called = names(store)
    assert called[8903377] == "Nguy?n Th? Châu"
    assert first_name(called[8903377]) == ""
    assert called[22815009] == 'Deirdre "Dee" O\'Connor, PhD'


def test_e12_the_surplus_cell_does_not_hide_that_the_status_is_unknown(store: Store) -> None:
    read(store, VARIANTS / LONG_ROWS)
    with store.read() as connection:
        found = connection.execute(select(course_instancedetails.c.enrollment_status)).scalars().all()
    assert found == [None] * 5


def spreadsheet(data: bytes, delimiter: str = ";", encoding: str = "cp1252", comma: bool = True) -> bytes:
    """A report as a spreadsheet in a country with decimal commas saves it."""
    rows = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    for row in rows[1:]:
        row[3] = row[3].replace(".", ",") if comma else row[3]
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter).writerows(rows)
    return text.getvalue().encode(encoding)


GOOD = (DOWNLOADS / GRADES_2026).read_bytes()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        pytest.param(spreadsheet(GOOD), "(semicolons)", id="semicolons"),
        pytest.param(spreadsheet(GOOD, "\t", "utf-16"), "(tabs, UTF-16)", id="Unicode text"),
        pytest.param(spreadsheet(GOOD, "\t", "utf-8-sig"), "(tabs)", id="tabs"),
        pytest.param(spreadsheet(GOOD, ";", "utf-8", comma=False), "(semicolons)", id="decimal points"),
        pytest.param(
            spreadsheet(GOOD.replace(b"Video length", "Vidéo".encode()), ",", "cp1252", comma=False),
            "(code page 1252)",
            id="commas in code page 1252",
        ),
    ],
)
def test_e8_copies_saved_by_a_spreadsheet(store: Store, tmp_path: Path, data: bytes, says: str) -> None:
    read(store, DOWNLOADS / GRADES_2026)
    wanted = judged(store)
    with store.write() as connection:
        for table in reversed(imports.metadata.sorted_tables):
            connection.execute(table.delete())
    (file,) = read(store, put(tmp_path / "in", GRADES_2026, data))
    assert (file.status, file.rows, file.rejected) == (FileStatus.LOADED, 9, 0)
    assert says in file.warnings[0]
    assert judged(store) == wanted


PERCENT = [f"{n}%" for n in (0, 70, 83, 69, 95, 90, 0, 86, 102)]


def with_grades(values: list[str], delimiter: str = ";") -> bytes:
    rows = list(csv.reader(io.StringIO(GOOD.decode(), newline="")))
    for row, value in zip(rows[1:], values, strict=True):
        row[3] = value
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter).writerows(rows)
    return text.getvalue().encode()


@pytest.mark.parametrize("delimiter", [";", ","])
def test_e8_grades_written_as_percent(store: Store, tmp_path: Path, delimiter: str) -> None:
    (file,) = read(store, put(tmp_path / "in", GRADES_2026, with_grades(PERCENT, delimiter)))
    assert file.status is FileStatus.LOADED
    assert "grades as 65%" in file.warnings[0]
    with store.read() as connection:
        grades = connection.execute(select(course_instancedetails.c.grade).order_by("learner_id")).scalars().all()
    assert grades == [0, 0.7, 0.83, 0.69, 0.95, 0.9, 0, 0.86, 1.02]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        pytest.param(spreadsheet(GOOD.replace(b"60214095", b"6.02E+07")), "line 9 is no whole number", id="ids"),
        pytest.param(spreadsheet(GOOD.replace(b"60214095", b"60 214 095")), "no whole number", id="grouped ids"),
        pytest.param(with_grades(["0", "1", "1", "1", "1", "1", "0", "1", "1"]), "rounded", id="rounded grades"),
        pytest.param(with_grades(["0", "7", "8", "7", "9", "9", "0", "8", "9"]), "line 3 cannot be", id="out of ten"),
        pytest.param(with_grades([x.rstrip("%") for x in PERCENT]), "7 of 9 rows are not in order", id="out of 100"),
        pytest.param(with_grades(["Jan 65"] * 9), "9 of 9 rows are not in order", id="dates"),
        pytest.param(GOOD.replace(b"Ebb", b"\xc3\xa9b\xe9", 1), "not UTF-8", id="damage in UTF-8"),
        pytest.param(b"\xef\xbb\xbf" + GOOD.replace(b"Ebb", b"\xe9bb", 1), "not UTF-8", id="damage behind a mark"),
        pytest.param(GOOD.replace(b"Ebb", b"\x81bb", 1), "not UTF-8", id="in no code page"),
        pytest.param(spreadsheet(GOOD)[:-4], "semicolons", id="cut off"),
        pytest.param(spreadsheet(GOOD).replace(b"enrolled\r\n", b"enrolled;\r\n", 1), "semicolons", id="ragged"),
    ],
)
def test_e8_damaged_copies_are_refused(store: Store, tmp_path: Path, data: bytes, says: str) -> None:
    (file,) = read(store, put(tmp_path / "in", GRADES_2026, data))
    assert file.status is FileStatus.REFUSED
    assert says in file.reason
    assert not names(store)


def ragged(name: str, change: Any) -> bytes:
    head, *rows = (VARIANTS / name).read_bytes().decode("utf-8-sig").splitlines(keepends=True)
    return "".join([head, *(change(number, row) for number, row in enumerate(rows))]).encode()


SHORT = (VARIANTS / SHORT_ROWS).read_bytes()
LONG = (VARIANTS / LONG_ROWS).read_bytes()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        pytest.param(
            SHORT_ROWS, ragged(SHORT_ROWS, lambda n, row: row.replace(",0.5,", ",0.5,,", n == 2)), id="one row"
        ),
        pytest.param(SHORT_ROWS, SHORT.replace(b"(Avg)", b"(Sum)"), id="no average to be missing"),
        pytest.param(LONG_ROWS.replace("2017-05-05", "2017-05-12"), LONG, id="after the fault was mended"),
        pytest.param(LONG_ROWS, LONG.replace(b"Project,", b"Team Name,", 1), id="teams on"),
        pytest.param(
            SHORT_ROWS, ragged(SHORT_ROWS, lambda _, row: ",".join(row.split(",")[:-1]) + "\r\n"), id="last cell gone"
        ),
    ],
)
def test_e11_e12_e14_rows_shifted_otherwise_are_refused(store: Store, tmp_path: Path, name: str, data: bytes) -> None:
    (file,) = read(store, put(tmp_path / "in", name, data))
    assert file.status is FileStatus.REFUSED
    assert not names(store)


def test_e14_a_row_of_a_shifted_file_that_fails_goes_to_the_error_list(store: Store, tmp_path: Path) -> None:
    data = SHORT.replace(b"audit,N/A,N,N", b"audit,N/A,N,maybe", 1).replace(b"chau@mail.example", b"chau", 1)
    (file,) = read(store, put(tmp_path / "in", SHORT_ROWS, data))
    assert (file.status, file.rows, file.accepted, file.rejected) == (FileStatus.LOADED, 8, 6, 2)
    assert 8903377 not in names(store)
    with store.read() as connection:
        said = connection.exec_driver_sql("SELECT line, reason, raw FROM rejected_rows ORDER BY line").all()
    assert [row[0] for row in said] == [2, 3]
    assert said[0].reason == "Certificate Delivered is neither Y nor N."
    assert said[1].reason == "The row is shifted: its second cell is no address."
    assert said[1].raw.startswith("8903377,chau,c-nguyen,0.65,")


def test_e13_a_short_profile_is_refused_whatever_the_shift(store: Store, tmp_path: Path) -> None:
    rows = (DOWNLOADS / PROFILE_2019).read_bytes().decode("utf-8-sig").splitlines(keepends=True)
    data = (rows[0].replace("city", "site_field,city") + "".join(rows[1:])).encode()
    (file,) = read(store, put(tmp_path / "in", PROFILE_2019, data))
    assert file.status is FileStatus.REFUSED
    assert "cells where the header has" in file.reason


@pytest.mark.parametrize("tail", [".csv", ".csv.gz"], ids=["raw copy named CSV (E5)", "named gz"])
def test_e5_a_compressed_copy_is_the_same_file(sampled: Store, tmp_path: Path, tail: str) -> None:
    before = dump(sampled)
    name = GRADES_2026.removesuffix(".csv") + tail
    (file,) = read(sampled, put(tmp_path / "in", name, gzip.compress(GOOD)))
    assert file.status is FileStatus.DUPLICATE
    assert dump(sampled).keys() == before.keys()
    assert judged(sampled)["details"]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        pytest.param(gzip.compress(GOOD)[:-9], "damaged or cut off", id="cut off"),
        pytest.param(b"\x1f\x8b" + b"x" * 50, "damaged or cut off", id="no gzip"),
        pytest.param(gzip.compress(bytes(80 << 20)), "unpacks to more", id="bomb"),
    ],
)
def test_e5_damaged_compressed_copies(store: Store, tmp_path: Path, data: bytes, says: str) -> None:
    (file,) = read(store, put(tmp_path / "in", GRADES_2026 + ".gz", data))
    assert file.status is FileStatus.REFUSED
    assert says in file.reason


def zipped(path: Path, **files: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def test_a_zip_of_the_folder_is_the_folder(sampled: Store, store: Store, tmp_path: Path) -> None:
    wanted = facts(sampled)
    with store.write() as connection:
        for table in reversed(imports.metadata.sorted_tables):
            connection.execute(table.delete())
    archive = Path(shutil.make_archive(str(tmp_path / "edX downloads"), "zip", DOWNLOADS.parent, "downloads"))
    files = read(store, archive)
    assert facts(store) == wanted
    assert sorted(file.name for file in files) == sorted(path.name for path in DOWNLOADS.iterdir())


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("../evil.csv", "outside"),
        ("/etc/evil.csv", "outside"),
        ("a\\..\\..\\evil.csv", "outside"),
        ("C:\\e.csv", "outside"),
    ],
)
def test_a_zip_that_leaves_its_folder_is_refused(store: Store, tmp_path: Path, name: str, says: str) -> None:
    archive = zipped(tmp_path / "d.zip", **{name: b"x", GRADES_2026: GOOD})
    (file,) = read(store, archive)
    assert (file.status, file.kind) == (FileStatus.REFUSED, "archive")
    assert says in file.reason
    assert not names(store)
    assert [path.name for path in tmp_path.rglob("*evil*")] == []


def test_archives_that_cannot_be_opened(store: Store, tmp_path: Path) -> None:
    put(tmp_path / "in", "bomb.zip", zipped(tmp_path / "b.zip", **{"a.csv": bytes(80 << 20)}).read_bytes())
    put(tmp_path / "in", "cut.zip", zipped(tmp_path / "c.zip", **{GRADES_2026: GOOD}).read_bytes()[:-30])
    put(tmp_path / "in", "photos.zip", zipped(tmp_path / "p.zip", **{"a.jpg": b"x"}).read_bytes())
    files = {file.name: file for file in read(store, tmp_path / "in")}
    assert {name: file.status for name, file in files.items()} == {
        "bomb.zip": "refused",
        "cut.zip": "refused",
        "photos.zip": "ignored",
    }
    assert "unpacks to more" in files["bomb.zip"].reason
    assert "damaged" in files["cut.zip"].reason


def test_one_bad_file_of_an_archive_does_not_keep_the_others_out(store: Store, tmp_path: Path) -> None:
    archive = zipped(
        tmp_path / "d.zip", **{f"x/{GRADES_2026}": GOOD, f"y/{LINE_FEEDS}": GOOD[:-5], "__MACOSX/._a.csv": b""}
    )
    files = read(store, archive)
    assert [(file.name, file.status) for file in files] == [(GRADES_2026, "loaded"), (LINE_FEEDS, "refused")]


def test_e44_a_verified_only_report_is_flagged(sampled: Store) -> None:
    (file,) = read(sampled, VARIANTS / VERIFIED_ONLY)
    assert any("lists verified learners only" in warning for warning in file.warnings)
    with sampled.read() as connection:
        flagged = connection.execute(select(imports.c.name).where(imports.c.audit_hidden)).scalars().all()
        rows = select(course_instancedetails).where(
            course_instancedetails.c.course_instance == "NordlandX_RIVER.2x_2025_T1"
        )
        status = {row.learner_id: row.status for row in connection.execute(rows)}
    assert flagged == [VERIFIED_ONLY]
    assert status[8711203] == "grade_unknown"
    assert status[9012845] == "eligible"
