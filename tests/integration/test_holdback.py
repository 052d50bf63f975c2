"""A load that loses too many of a run's learners waits for a person (``[ingest] largest_loss_percent``)."""

import zipfile
from pathlib import Path

import pytest
from sqlalchemy import func, select

from mmcampaign.ingest import FileResult, LossLimit, ingest
from mmcampaign.store import audit
from mmcampaign.store.engine import Store
from mmcampaign.store.tables import course_instancedetails, enrollment_history
from tests.exports import NOW, PROGRAM, Folder, enrolled, graded
from tests.worlds import on_sqlite

JANUARY, FEBRUARY, MARCH = "2019-01-01-0000", "2019-02-01-0000", "2019-03-01-0000"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "downloads")


def read(store: Store, *paths: Path, limit: LossLimit | None = None) -> list[FileResult]:
    return list(ingest(store, (PROGRAM,), paths, loss=limit, now=NOW).files)


def grades(folder: Folder, stamp: str, number: int, *, first: int = 1) -> Path:
    return folder.grades(stamp, *(graded(each) for each in range(first, first + number)))


def listed(store: Store) -> int:
    with store.read() as connection:
        return int(connection.execute(select(func.count()).select_from(course_instancedetails)).scalar_one())


@on_sqlite
@pytest.mark.parametrize(
    ("before", "after", "percent", "loads"),
    [
        pytest.param(100, 80, 20, True, id="exactly the share"),
        pytest.param(100, 79, 20, False, id="one more than the share"),
        pytest.param(100, 150, 20, True, id="it grows"),
        pytest.param(10, 0, 0, True, id="ten learners are few"),
        pytest.param(11, 0, 20, False, id="eleven learners are not, and an empty report lacks all of them"),
        pytest.param(40, 29, 0, False, id="nothing may be lost"),
        pytest.param(40, 30, 0, True, id="nothing may be lost but the ordinary few"),
        pytest.param(40, 1, 100, True, id="everything may be lost"),
    ],
)
def test_the_share_of_missing_learners_decides(
    store: Store, folder: Folder, before: int, after: int, percent: float, loads: bool
) -> None:
    read(store, grades(folder, JANUARY, before))
    (file,) = read(store, grades(folder, FEBRUARY, after), limit=LossLimit(percent=percent))
    assert file.status == ("loaded" if loads else "refused")
    assert listed(store) == (after if loads else before)


def test_what_is_held_back_changes_nothing_and_says_how_to_go_on(store: Store, folder: Folder) -> None:
    read(store, grades(folder, JANUARY, 40))
    path = grades(folder, FEBRUARY, 20, first=31)
    (file,) = read(store, path)
    assert (file.status, file.rows, file.accepted, file.rejected) == ("refused", 20, 0, 20)
    assert file.reason.startswith("It lacks 30 of the 40 learners (75 %)")
    assert file.reason.endswith(f"mmcampaign ingest {path} --accept-loss")
    with store.read() as connection:
        assert connection.execute(select(enrollment_history)).all() == []
        assert list(audit.entries(connection)) == []
    assert listed(store) == 40


def test_an_accepted_loss_is_loaded_and_the_log_says_who_accepted_it(store: Store, folder: Folder) -> None:
    read(store, grades(folder, JANUARY, 40))
    path = grades(folder, FEBRUARY, 20)
    read(store, path)
    (file,) = read(store, path, limit=LossLimit(accepted=True, actor="kim"))
    assert (file.status, listed(store)) == ("loaded", 20)
    with store.read() as connection:
        (entry,) = audit.entries(connection)
        assert audit.first_broken(connection) is None
    assert (entry["actor"], entry["act"], entry["subject"]) == ("kim", "accept loss", f"file {path.name}")
    assert entry["facts"] == {
        "course_instance": "Org_ONE1x_1T2019",
        "kind": "grade_report",
        "missing": 20,
        "of": 40,
    }


@on_sqlite
def test_nothing_is_logged_where_there_is_no_loss_to_accept(store: Store, folder: Folder) -> None:
    limit = LossLimit(accepted=True, actor="kim")
    for path in (grades(folder, JANUARY, 40), grades(folder, FEBRUARY, 39)):
        read(store, path, limit=limit)
    with store.read() as connection:
        assert list(audit.entries(connection)) == []


@on_sqlite
def test_an_older_export_is_never_held_back(store: Store, folder: Folder) -> None:
    read(store, grades(folder, MARCH, 40))
    (file,) = read(store, grades(folder, JANUARY, 1))
    assert file.status == "superseded"


@on_sqlite
def test_the_export_that_counts_is_what_a_new_one_is_compared_with(store: Store, folder: Folder) -> None:
    """Not one that was superseded, however many there are: 40, then 100 of an older date, then 39."""
    read(store, grades(folder, FEBRUARY, 40), grades(folder, JANUARY, 100))
    (file,) = read(store, grades(folder, MARCH, 39))
    assert file.status == "loaded"


@on_sqlite
def test_each_kind_of_report_is_compared_with_its_own(store: Store, folder: Folder) -> None:
    """A profile lists those enrolled now, far fewer than have ever been graded."""
    read(store, grades(folder, JANUARY, 40))
    (first,) = read(store, folder.profile(JANUARY, *(enrolled(each) for each in range(1, 16))))
    (second,) = read(store, folder.profile(FEBRUARY, *(enrolled(each) for each in range(1, 4))))
    assert (first.status, second.status) == ("loaded", "refused")
    assert "It lacks 12 of the 15 learners" in second.reason


@on_sqlite
def test_for_a_file_out_of_an_archive_the_archive_is_typed(store: Store, folder: Folder) -> None:
    read(store, grades(folder, JANUARY, 40))
    small, archive = grades(folder, FEBRUARY, 2), folder.path / "feb.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.write(small, small.name)
    (file,) = read(store, archive)
    assert file.reason.endswith(f"mmcampaign ingest {archive} --accept-loss")
