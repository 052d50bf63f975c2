"""Damaged sample files: never a traceback, never a silent loss.

Either every data row is accounted for, accepted or rejected, or the file is refused and the tables are as they were.
"""

import csv
import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, or_, select

from mmcampaign.ingest import FileResult, ingest
from mmcampaign.model import FileStatus
from mmcampaign.store.engine import open_store
from mmcampaign.store.tables import completions, consents, course_instancedetails, imports, learners
from tests.edx_samples import DOWNLOADS, NOW, RIVER, SAMPLES

OPT_IN = "NordlandX-email_opt_in-prod-analytics.csv"
HEADER = "user_id,username,email,full_name,course_id,is_opted_in_for_email,preference_set_datetime\r\n"
CHOICE = "{n},l{n},l{n}@mail.example,,course-v1:X+Y+Z,{choice},2020-01-0{n} 00:00:00+00:00\r\n"
LIST = HEADER + "".join(CHOICE.format(n=n, choice=n % 2 == 0) for n in range(1, 9))
SOURCES = {path.name: path.read_bytes() for path in (*(SAMPLES / "variants").iterdir(), *DOWNLOADS.iterdir())}
SOURCES = {name: data for name, data in SOURCES.items() if "_grade_report_2" in name or "_profile_" in name}
SOURCES[OPT_IN] = LIST.encode()
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252", "cp1251", "mac_roman", "utf-7"]
PLACES = st.integers(0, 1 << 20)


@pytest.fixture(scope="module")
def world(_empty_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a database of the whole sample folder, to be copied for each example."""
    folder = tmp_path_factory.mktemp("fuzz")
    shutil.copyfile(_empty_sqlite, folder / "base.db")
    store = open_store(f"sqlite:///{folder / 'base.db'}")
    ingest(store, (RIVER,), [DOWNLOADS], now=NOW)
    store.close()
    yield folder
    shutil.rmtree(folder)


def table_of(data: bytes) -> list[list[str]]:
    text = data.decode("utf-8-sig", "replace")
    delimiter = ";" if text.split("\n")[0].count(";") > 3 else ","
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))


def as_csv(rows: list[list[str]], delimiter: str = ",", end: str = "\r\n") -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, lineterminator=end).writerows(rows)
    return text.getvalue().encode("utf-8", "replace")


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, bytes]:
    name = draw(st.sampled_from(sorted(SOURCES)))
    data = SOURCES[name]
    for damage in draw(st.lists(st.sampled_from([flipped, cut, rearranged, recoded]), min_size=1, max_size=3)):
        data = damage(draw, data) or b""
    return name, data


def flipped(draw: st.DrawFn, data: bytes) -> bytes:
    out = bytearray(data)
    for place, byte in draw(st.lists(st.tuples(PLACES, st.integers(0, 255)), min_size=1, max_size=5)):
        if out:
            out[place % len(out)] = byte
    return bytes(out)


def cut(draw: st.DrawFn, data: bytes) -> bytes:
    """Bytes taken out or doubled, anywhere."""
    start, length = draw(PLACES) % (len(data) + 1), draw(st.sampled_from([0, 1, 2, 30, 500]))
    return data[:start] + data[start : start + length] * draw(st.sampled_from([0, 2])) + data[start + length :]


def rearranged(draw: st.DrawFn, data: bytes) -> bytes:
    """Rows left out, doubled, cut short; columns shuffled; cells swapped; another delimiter or line end."""
    try:
        rows = table_of(data)
    except csv.Error:
        return data
    if not rows or not rows[0]:
        return data
    change = draw(st.sampled_from(["drop", "double", "short", "long", "columns", "swap", "cell", "none"]))
    row = draw(PLACES) % len(rows)
    if change == "drop":
        del rows[row]
    elif change == "double":
        rows.append(rows[row])
    elif change in ("short", "long"):
        which = draw(st.sampled_from([rows[row : row + 1], rows[1:]]))
        for cells in which:
            cells[:] = cells[:-1] if change == "short" else [*cells, ""]
    elif change == "columns":
        order = draw(st.permutations(range(len(rows[0]))))
        rows = [[one[place] for place in order if place < len(one)] for one in rows]
    elif rows[row]:
        one, other = draw(PLACES) % len(rows[row]), draw(PLACES) % len(rows[row])
        rows[row][one], rows[row][other] = rows[row][other], rows[row][one]
        if change == "cell":
            rows[row][one] = draw(
                st.sampled_from(["", "None", "0,65", "65%", "1e5", "a;b", '"', "\r", "\n", "\0", "Å"])
            )
    return as_csv(rows, draw(st.sampled_from(",,,;\t|")), draw(st.sampled_from(["\r\n", "\n", "\r"])))


def recoded(draw: st.DrawFn, data: bytes) -> bytes:
    return data.decode("utf-8", "replace").encode(draw(st.sampled_from(ENCODINGS)), "replace")


def contents(url: str) -> list[list[Any]]:
    store = open_store(url)
    with store.read() as connection:
        found = [
            list(connection.execute(select(table).order_by(*table.primary_key.columns)))
            for table in (learners, course_instancedetails, completions, consents)
        ]
    store.close()
    return found


def data_rows(data: bytes) -> int | None:
    """How many rows a person would count, header lines of the opt-in list aside; None where that cannot be said."""
    for encoding in ("utf-16",) if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig", "cp1252"):
        try:
            text = data.decode(encoding)
        except UnicodeError:
            continue
        head = text.split("\n")[0]
        delimiter = max(",;\t", key=head.count)
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
        return sum(row != rows[0] for row in rows[1:]) if "user_id" in head else len(rows) - 1
    return None


def check(world: Path, name: str, data: bytes) -> None:
    database, folder = world / "copy.db", world / "in"
    for old in world.glob("copy.db*"):
        old.unlink()
    shutil.copyfile(world / "base.db", database)
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(data)
    url = f"sqlite:///{database}"
    before = contents(url)
    store = open_store(url)
    (file,) = ingest(store, (RIVER,), [folder / name], now=NOW).files
    assert file.accepted + file.rejected == file.rows
    if file.status in (FileStatus.LOADED, FileStatus.SUPERSEDED):
        assert file.rows == data_rows(data)
        if file.status is FileStatus.LOADED and file.kind != "email_opt_in":
            assert stored(store, file) == file.accepted
    store.close()
    if file.status in (FileStatus.REFUSED, FileStatus.DUPLICATE, FileStatus.IGNORED):
        assert file.reason
        assert contents(url) == before


def stored(store: Any, file: FileResult) -> int:
    details = course_instancedetails.c
    of_file = select(imports.c.id).where(imports.c.name == file.name, imports.c.status == "loaded")
    mine = or_(details.import_id.in_(of_file), details.profile_import_id.in_(of_file))
    with store.read() as connection:
        return int(
            connection.execute(select(func.count()).select_from(course_instancedetails).where(mine)).scalar_one()
        )


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(file=damaged())
def test_damaged_files_lose_nothing_silently(world: Path, file: tuple[str, bytes]) -> None:
    check(world, *file)


@pytest.mark.soak
@settings(max_examples=5_000, suppress_health_check=list(HealthCheck))
@given(file=damaged())
def test_damaged_files_lose_nothing_silently_for_long(world: Path, file: tuple[str, bytes]) -> None:
    check(world, *file)
