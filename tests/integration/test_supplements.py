"""Refused rows go out, are mended and come in again: added to their export, and gone with it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from mmcampaign.ingest import FileResult, Stated, ingest
from mmcampaign.mending import write_refused_rows
from mmcampaign.store.engine import Store, open_store
from mmcampaign.store.import_log import READ
from mmcampaign.store.learners import last_seen
from mmcampaign.store.tables import (
    completions,
    course_instancedetails,
    enrollment_history,
    imports,
    learners,
    rejected_rows,
)
from tests.exports import GRADES, NOW, PROGRAM, Folder, enrolled, graded, wipe
from tests.worlds import on_sqlite

MARCH, APRIL = "2019-03-01-0000", "2019-04-01-0000"
BAD = (graded("x2", 0.9), graded(3, "very good"))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "downloads")


def read(store: Store, *paths: Path) -> list[FileResult]:
    result = ingest(store, (PROGRAM,), paths, now=NOW)
    assert all(file.accepted + file.rejected == file.rows for file in result.files)
    return list(result.files)


def write_out(store: Store, folder: Folder) -> list[Path]:
    return [file.path for file in write_refused_rows(store, folder.path / "to mend")]


def mend(path: Path, *changes: tuple[str, str]) -> Path:
    text = path.read_text("utf-8-sig")
    for wrong, right in changes:
        assert wrong in text
        text = text.replace(wrong, right)
    path.write_text(text, "utf-8", newline="")
    return path


def mended(store: Store, folder: Folder, *changes: tuple[str, str]) -> Path:
    """The one file that is written out, with these changes."""
    (path,) = write_out(store, folder)
    return mend(path, *changes)


def enrollments(store: Store) -> dict[int, str]:
    with store.read() as connection:
        rows = connection.execute(select(course_instancedetails))
        return {row.learner_id: row.status for row in rows}


def reasons(store: Store) -> list[tuple[int, str]]:
    """Line and reason of what was refused in files of mended rows."""
    query = select(rejected_rows.c.line, rejected_rows.c.reason).join(imports).where(imports.c.supplements.is_not(None))
    with store.read() as connection:
        return [tuple(row) for row in connection.execute(query.order_by(rejected_rows.c.id))]


def test_refused_rows_are_written_out_as_they_stood_and_come_in_mended(store: Store, folder: Folder) -> None:
    original = folder.grades(MARCH, graded(1), *BAD)
    read(store, original)
    (path,) = write_out(store, folder)
    lines = original.read_bytes().split(b"\r\n")
    assert path.read_bytes() == b"\xef\xbb\xbf" + b"\r\n".join([lines[0], *lines[2:]])
    (file,) = read(store, mend(path, ("x2", "2"), ("very good", "0.3")))
    assert (file.status, file.kind, file.course, file.run) == ("loaded", "grade_report", "one1x", "1T2019")
    assert (file.rows, file.accepted, file.rejected) == (2, 2, 0)
    assert enrollments(store) == {1: "audit_passed", 2: "audit_passed", 3: "not_passed"}
    with store.read() as connection:
        assert list(connection.execute(select(completions.c.learner_id)).scalars()) == [1, 2, 3]
        assert not connection.execute(select(enrollment_history)).all()


@on_sqlite
def test_the_same_mended_file_again_changes_nothing(store: Store, folder: Folder) -> None:
    read(store, folder.grades(MARCH, graded(1), *BAD))
    path = mended(store, folder, ("x2", "2"))
    assert [file.status for file in read(store, path)] == ["loaded"]
    assert [file.status for file in read(store, path)] == ["duplicate"]


@on_sqlite
def test_rows_still_bad_are_refused_again_and_can_be_mended_again(store: Store, folder: Folder) -> None:
    read(store, folder.grades(MARCH, graded(1), *BAD))
    first = mended(store, folder, ("x2", "2"))
    (file,) = read(store, first)
    assert (file.accepted, file.rejected) == (1, 1)
    assert reasons(store) == [(3, "The grade is not a fraction such as 0.65.")]
    paths = write_out(store, folder)
    assert len(paths) == 2 and paths[0] == first
    assert first.read_text("utf-8").count("\n") == 3, "what a person is mending is never written over"
    (file,) = read(store, mend(paths[1], ("very good", "0.7")))
    assert (file.accepted, file.rejected) == (1, 0)
    assert enrollments(store) == {1: "audit_passed", 2: "audit_passed", 3: "audit_passed"}
    assert [file.rejected for file in read(store, *write_out(store, folder))] == [1, 0]


@on_sqlite
def test_e22_mended_rows_that_are_all_bad_are_no_refused_file(store: Store, folder: Folder) -> None:
    rows = [graded(number) for number in range(1, 800)]
    read(store, folder.grades(MARCH, *rows, *(graded(f"x{number}") for number in range(7))))
    (file,) = read(store, *write_out(store, folder))
    assert (file.status, file.rows, file.rejected) == ("loaded", 7, 7)


def test_a_learner_who_stands_in_the_export_is_refused_as_a_row(store: Store, folder: Folder) -> None:
    read(store, folder.grades(MARCH, graded(1, 0.2), *BAD, graded("x4")))
    (file,) = read(store, mended(store, folder, ("x2", "1"), ("very good", "0.9"), ("x4", "3")))
    assert (file.accepted, file.rejected) == (1, 2)
    assert reasons(store) == [
        (2, "The learner stands in the export already."),
        (4, "A row further up in this file is of the same learner."),
    ]
    assert enrollments(store) == {1: "not_passed", 3: "audit_passed"}


@on_sqlite
def test_a_row_added_before_stands_in_the_export(store: Store, folder: Folder) -> None:
    read(store, folder.grades(MARCH, graded(1), *BAD))
    path = mended(store, folder, ("x2", "2"), ("very good", "0.9"))
    read(store, path)
    (file,) = read(store, mend(path, ("0.9", "0.8")))
    assert (file.status, file.accepted, file.rejected) == ("loaded", 0, 2)


def test_a_newer_export_replaces_the_added_rows_with_their_export(store: Store, folder: Folder) -> None:
    read(store, folder.grades(MARCH, graded(1), *BAD))
    read(store, mended(store, folder, ("x2", "2"), ("very good", "0.9")))
    read(store, folder.grades(APRIL, graded(1), graded(3)))
    assert enrollments(store) == {1: "audit_passed", 3: "audit_passed"}
    with store.read() as connection:
        counting = connection.execute(select(imports.c.name).where(imports.c.status == "loaded")).scalars().all()
        gone = connection.execute(select(enrollment_history)).all()
    assert len(counting) == 1
    assert {(row.learner_id, row.present, row.grade) for row in gone} == {(2, True, 0.9), (3, True, 0.9)}
    assert write_out(store, folder) == [], "the newer export has these rows anew"


def contents(store: Store) -> list[Any]:
    """All that ingest makes but row numbers and times."""
    drop = {"import_id", "profile_import_id", "id", "supplements", "ingested_at"}
    found: list[Any] = []
    with store.read() as connection:
        for table in (learners, course_instancedetails, completions, enrollment_history, imports):
            columns: list[Any] = [column for column in table.columns if column.name not in drop]
            if table is learners:
                columns = [last_seen(learners, c.name) if c.name.endswith("seen_at") else c for c in columns]
            where = [table.c.status.in_(READ)] if table is imports else []
            found.append(sorted(map(repr, connection.execute(select(*columns).where(*where)))))
    return found


def three_files(store: Store, folder: Folder) -> tuple[Path, Path, Path]:
    """An export, its mended rows, and a newer export that lists one of the mended learners and not the other."""
    old, new = folder.grades(MARCH, graded(1), *BAD), folder.grades(APRIL, graded(1), graded(3), graded(5))
    read(store, old)
    return old, mended(store, folder, ("x2", "2"), ("very good", "0.9")), new


@pytest.mark.parametrize(
    "order",
    [
        pytest.param(lambda old, extra, new: [[old], [new], [extra]], id="the newer export came in between"),
        pytest.param(lambda old, extra, new: [[new], [old], [extra]], id="the newer export came first"),
        pytest.param(lambda old, extra, new: [[new, extra, old]], id="all at once, named the other way round"),
    ],
)
def test_the_order_of_reading_is_nothing(store: Store, folder: Folder, order: Callable[..., list[list[Path]]]) -> None:
    old, extra, new = three_files(store, folder)
    for path in (extra, new):
        read(store, path)
    expected = contents(store)
    wipe(store)
    for paths in order(old, extra, new):
        read(store, *paths)
    # Who is superseded says so in other words when it is so from the start.
    assert contents(store)[:4] == expected[:4]


def test_mended_rows_of_a_superseded_export_bring_learners_and_history_only(store: Store, folder: Folder) -> None:
    _, extra, new = three_files(store, folder)
    read(store, new)
    (file,) = read(store, extra)
    assert (file.status, file.accepted) == ("superseded", 2)
    assert sorted(enrollments(store)) == [1, 3, 5]
    with store.read() as connection:
        assert set(connection.execute(select(learners.c.student_id)).scalars()) == {1, 2, 3, 5}


@on_sqlite
def test_mended_rows_without_their_export_are_refused_and_say_so(store: Store, folder: Folder) -> None:
    _, extra, _ = three_files(store, folder)
    wipe(store)
    (file,) = read(store, extra)
    assert file.status == "refused"
    assert file.reason.endswith("was not read yet. Ingest that one first.")


@on_sqlite
def test_a_file_that_was_named_by_a_person_is_known_by_its_digest_alone(store: Store, folder: Folder) -> None:
    path = folder.write("march.csv", GRADES, graded(1), *BAD)
    stated = Stated(kind="grade_report", course="one1x", run="1T2019", exported_at=NOW)
    ingest(store, (PROGRAM,), [path], stated=stated, now=NOW)
    extra = mended(store, folder, ("x2", "2"))
    assert extra.name.startswith("march.mended-")
    copy = extra.rename(extra.with_name(extra.name.replace(".csv", " (1).csv")))
    (file,) = read(store, copy)
    assert (file.status, file.course, file.run, file.accepted) == ("loaded", "one1x", "1T2019", 1)


@on_sqlite
def test_e8_rows_of_a_spreadsheet_copy_are_mended_in_its_own_form(store: Store, folder: Folder) -> None:
    path = folder.grades(MARCH, graded(1, "0,2"), graded(2, "0,9"), graded(3, "good", username="Zoë"))
    path.write_bytes(
        path.read_text("utf-8")
        .replace('"', "")
        .replace("0,", "0#")
        .replace(",", ";")
        .replace("0#", "0,")
        .encode("cp1252")
    )
    assert [file.rejected for file in read(store, path)] == [1]
    (file,) = read(store, mended(store, folder, ("good", "1")))
    assert (file.status, file.accepted) == ("loaded", 1)
    with store.read() as connection:
        assert connection.execute(select(learners.c.username).where(learners.c.student_id == 3)).scalar() == "Zoë"


@on_sqlite
def test_rows_of_a_profile_are_mended_beside_the_grade_report(store: Store, folder: Folder) -> None:
    bad = enrolled(2)
    bad[4] = "not a code"
    read(store, folder.profile(MARCH, enrolled(1), bad), folder.grades(MARCH, graded(2, 0.9)))
    read(store, mended(store, folder, ("not a code", "verified")))
    with store.read() as connection:
        row = connection.execute(select(course_instancedetails).where(course_instancedetails.c.learner_id == 2)).one()
    assert (row.profile_track, row.enrollment_track, row.grade) == ("verified", "audit", 0.9)


@on_sqlite
def test_e47_the_opt_in_list_is_mended_as_a_list_of_its_own(store: Store, folder: Folder) -> None:
    header = ["user_id", "username", "email", "full_name", "course_id", "is_opted_in_for_email"]
    header.append("preference_set_datetime")
    rows = [[number, "u", "a@mail.example", "", "c", "Maybe", "2020-01-01 00:00:00+00:00"] for number in (1, 2)]
    read(store, folder.write("X-email_opt_in-prod-analytics.csv", header, *rows))
    (file,) = read(store, mended(store, folder, ("Maybe", "False")))
    assert (file.kind, file.status, file.accepted) == ("email_opt_in", "loaded", 2)


def test_no_refused_rows_no_files(sqlite_url: str, folder: Folder) -> None:
    store = open_store(sqlite_url)
    read(store, folder.grades(MARCH, graded(1)))
    assert write_out(store, folder) == []
    store.close()
