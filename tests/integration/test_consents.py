"""The e-mail opt-in list of edX: into ``consents`` and out to the rules (edx-exports 16, cases E47 to E51)."""

import csv
import io
import itertools
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select

from mmcampaign.cohorts import decide
from mmcampaign.dry_run import dry_run
from mmcampaign.ingest import FileResult, ingest
from mmcampaign.model import FileStatus, Reason
from mmcampaign.planning import PlanRequest
from mmcampaign.store import suppressions
from mmcampaign.store.candidates import Lens, candidates_by_id
from mmcampaign.store.consents import choices_of, consent_data
from mmcampaign.store.engine import Store, open_store
from mmcampaign.store.tables import address_consents, consents, imports
from tests.builders import make_candidate, make_learner, make_policy, make_program
from tests.worlds import fill, make_app, with_policy

NOW = datetime(2027, 6, 15, tzinfo=UTC)
HEADER = ["user_id", "username", "email", "full_name", "course_id", "is_opted_in_for_email", "preference_set_datetime"]
COURSE = "course-v1:NX+RIVER1x+1T2027"
EARLY, LATE, LATER = "2019-01-01 10:00:00+00:00", "2021-06-30 23:59:59.500001+00:00", "2021-07-01 00:00:00"
DEFAULT = "2014-12-01 00:00:00+00:00"
NAME = "NX-email_opt_in-prod-analytics.csv"


def row(person: int, choice: str, at: str, **changes: Any) -> list[Any]:
    address = f"learner{person}@mail.example"
    facts = dict(zip(HEADER, [person, f"learner_{person}", address, "", COURSE, choice, at], strict=True))
    return list({**facts, **changes}.values())


def write(folder: Path, *rows: list[Any], name: str = NAME, by_id: bool = True) -> Path:
    skip = 0 if by_id else 2
    text = io.StringIO(newline="")
    csv.writer(text).writerows([one[skip:] for one in [HEADER, *rows]])
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_bytes(text.getvalue().encode())
    return path


def read(store: Store, *paths: Path, **options: Any) -> tuple[FileResult, ...]:
    return ingest(store, (make_program(),), paths, now=NOW, **options).files


def kept(store: Store) -> dict[int, tuple[str, datetime | None]]:
    with store.read() as connection:
        return {row.learner_id: (row.choice, row.chosen_at) for row in connection.execute(select(consents))}


def at(written: str) -> datetime:
    return datetime.fromisoformat(written[:26].removesuffix("+00:00")).replace(tzinfo=UTC)


def test_choices_are_read_and_counted(store: Store, tmp_path: Path) -> None:
    rows = [
        row(1, "True", EARLY),
        row(1, "True", EARLY),
        row(2, "False", LATE, full_name="Pine,\r\nAna"),
        row(3, "True", LATER),
    ]
    (file,) = read(store, write(tmp_path, *rows))
    assert (file.kind, file.status, file.rows, file.accepted) == ("email_opt_in", FileStatus.LOADED, 4, 4)
    assert kept(store) == {1: ("granted", at(EARLY)), 2: ("refused", at(LATE)), 3: ("granted", at(LATER))}


def test_e47_a_header_that_stands_again_in_the_file_is_no_row(store: Store, tmp_path: Path) -> None:
    (file,) = read(store, write(tmp_path, row(1, "True", EARLY), HEADER, row(2, "False", EARLY), HEADER))
    assert (file.rows, file.accepted, file.rejected) == (2, 2, 0)
    half = ["user_id", "", "", "", COURSE, "is_opted_in_for_email", EARLY]
    (file,) = read(store, write(tmp_path, row(1, "True", EARLY), half, name="X-email_opt_in-prod-analytics.csv"))
    assert (file.rows, file.rejected) == (2, 1)


@pytest.mark.parametrize("written", [DEFAULT, "2014-12-01 00:00:00", "2014-12-01 00:00:00.000000+00:00"])
def test_e48_yes_on_the_default_date_is_no_choice(store: Store, tmp_path: Path, written: str) -> None:
    read(store, write(tmp_path, row(1, "True", written), row(2, "False", written), row(3, "True", EARLY)))
    assert kept(store) == {1: ("unknown", None), 2: ("refused", at(DEFAULT)), 3: ("granted", at(EARLY))}


def test_the_newest_choice_wins_whatever_the_order_of_the_files(store: Store, tmp_path: Path) -> None:
    files = [
        write(tmp_path, row(1, "True", EARLY), row(2, "True", DEFAULT), row(3, "False", LATE), name=f"A{NAME}"),
        write(tmp_path, row(1, "False", LATE), row(2, "True", EARLY), row(3, "True", LATE), name=f"B{NAME}"),
        write(tmp_path, row(1, "True", LATER), row(2, "True", DEFAULT), row(3, "True", EARLY), name=f"C{NAME}"),
    ]
    wanted = {1: ("granted", at(LATER)), 2: ("granted", at(EARLY)), 3: ("refused", at(LATE))}
    for order in itertools.permutations(files):
        with store.write() as connection:
            connection.execute(consents.delete())
            connection.execute(imports.delete())
        for path in order:
            read(store, path)
        assert kept(store) == wanted
    assert [file.status for file in read(store, *files)] == [FileStatus.DUPLICATE] * 3
    assert kept(store) == wanted


@pytest.mark.parametrize("by_id", [True, False], ids=["by user id", "by address, before 2017"])
def test_e49_a_choice_waits_for_the_person(store: Store, tmp_path: Path, by_id: bool) -> None:
    (file,) = read(store, write(tmp_path, row(7, "False", EARLY, email="Learner7@Mail.example"), by_id=by_id))
    assert file.status is FileStatus.LOADED
    assert consent_of(store, 7) is None
    profile = tmp_path / "NX_RIVER1x_1T2027_student_profile_info_2027-06-01-0000.csv"
    profile.write_text(
        "id,username,name,email\n7,seven,Ana,learner7@mail.example\n8,eight,Bo,learner8@mail.example\n", "utf-8"
    )
    read(store, profile)
    assert consent_of(store, 7) == "refused"
    assert consent_of(store, 8) == ""


def consent_of(store: Store, student_id: int) -> str | None:
    lens = Lens(zone=ZoneInfo("UTC"), check_address=lambda _: "")
    with store.read() as connection:
        found = list(candidates_by_id(connection, make_program(), [student_id], lens))
    return found[0].consent if found else None


def test_a_list_by_address_and_one_by_id_are_one_record(store: Store, tmp_path: Path) -> None:
    read(
        store,
        write(tmp_path, row(1, "False", LATE), row(2, "True", EARLY), row(3, "True", DEFAULT), name=f"A{NAME}"),
        write(tmp_path, row(1, "True", EARLY), row(2, "False", LATE), row(3, "True", EARLY), by_id=False),
    )
    with store.read() as connection:
        assert connection.execute(select(address_consents.c.email_key)).scalars().all() != []
        found = choices_of(connection, {n: f"learner{n}@mail.example" for n in (1, 2, 3, 4)})
    assert found == {1: "refused", 2: "refused", 3: "granted"}


def test_e50_the_age_of_the_choices(store: Store, tmp_path: Path) -> None:
    with store.read() as connection:
        data = consent_data(connection)
    assert (data.lists, data.newest_choice, data.newest_report) == (0, None, None)
    fill(store, [make_candidate()])
    read(store, write(tmp_path, row(1, "True", EARLY), row(2, "True", DEFAULT)))
    with store.read() as connection:
        data = consent_data(connection)
    assert (data.lists, data.newest_choice) == (1, at(EARLY))
    assert data.newest_report == datetime(2027, 6, 1, 4, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (None, "No opt-in list has been ingested, so no choice is known."),
        ([row(1, "True", DEFAULT)], "The opt-in lists ingested hold no choice of anybody."),
        ([row(1, "True", EARLY)], "of 2019-01-01, older than the newest report (2027-06-01)"),
        ([row(1, "True", "2027-06-02 00:00:00")], "The newest choice on record is of 2027-06-02."),
    ],
    ids=["no list", "a list of defaults", "an old list", "a new list"],
)
def test_e50_the_dry_run_says_how_old_the_choices_are(
    sqlite_url: str, tmp_path: Path, rows: list[list[Any]] | None, said: str
) -> None:
    store = open_store(sqlite_url)
    fill(store, [make_candidate()])
    if rows:
        read(store, write(tmp_path / "lists", *rows))
    app = make_app(store, tmp_path)
    report = dry_run(app, PlanRequest(program="river", name="June")).files.report.read_text("utf-8")
    assert said in report
    off = with_policy(app, consent="off")
    assert said not in dry_run(off, PlanRequest(program="river", name="July")).files.report.read_text("utf-8")
    store.close()


def test_e51_our_own_unsubscribe_stands_whatever_a_later_list_says(store: Store, tmp_path: Path) -> None:
    fill(store, [make_candidate(learner=make_learner(7))])
    with store.write() as connection:
        suppressions.add(connection, "learner7@mail.example", reason="unsubscribed", by="x", note="", at=at(EARLY))
    read(store, write(tmp_path, row(7, "True", LATER)))
    lens = Lens(zone=ZoneInfo("UTC"), check_address=lambda _: "")
    with store.read() as connection:
        (candidate,) = candidates_by_id(connection, make_program(), [7], lens)
        assert [one["reason"] for one in suppressions.all_of(connection)] == ["unsubscribed"]
    assert (candidate.consent, candidate.suppression) == ("granted", "unsubscribed")
    (decision,) = decide(make_program(), candidate, make_policy(consent="required"))
    assert decision.reason is Reason.SUPPRESSED_UNSUBSCRIBED


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"user_id": "1.03E+07"}, "id is not a whole number"),
        ({"user_id": ""}, "id is not a whole number"),
        ({"is_opted_in_for_email": "yes"}, "neither True nor False"),
        ({"preference_set_datetime": "01/12/2014"}, "time of the choice is not one edX writes"),
        ({"preference_set_datetime": "2019-02-30 00:00:00"}, "no date and time"),
    ],
)
def test_a_row_that_is_not_in_order_is_set_aside(
    store: Store, tmp_path: Path, changes: dict[str, str], says: str
) -> None:
    (file,) = read(store, write(tmp_path, row(1, "True", EARLY), row(2, "False", EARLY, **changes)))
    assert (file.rows, file.accepted, file.rejected) == (2, 1, 1)
    with store.read() as connection:
        ((line, reason),) = connection.exec_driver_sql("SELECT line, reason FROM rejected_rows").all()
    assert line == 3
    assert says in reason
    assert kept(store) == {1: ("granted", at(EARLY))}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"user_id,email\r\n1,a@b.example\r\n", "not that of an e-mail opt-in list"),
        (b"", "empty"),
        (",".join(HEADER).encode() + b"\r\n1,a,b,c,d,True", "cut off"),
        (",".join(HEADER).encode() + b"\r\n1,a\r\n", "cells"),
        (",".join(HEADER).encode() + b"\r1,a,b,c,d,True,e\r\n", "first line is no CSV"),
        (",".join(HEADER).encode() + b"\r\x001,a,b,c,d,True,e\r\n", "first line is no CSV"),
    ],
)
def test_a_damaged_list_is_refused_whole(store: Store, tmp_path: Path, data: bytes, says: str) -> None:
    (tmp_path / NAME).write_bytes(data)
    (file,) = read(store, tmp_path / NAME)
    assert file.status is FileStatus.REFUSED
    assert says in file.reason
    assert kept(store) == {}


def test_a_long_list_is_reduced_on_the_way(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmcampaign.edx_csv.optin._KEEP", 10)
    monkeypatch.setattr("mmcampaign.edx_csv.optin.split_blocks.__kwdefaults__", {"size": 300})
    rows = [
        row(n % 7 + 1, "False" if n == 150 else "True", f"2020-01-01 00:{n // 60:02}:{n % 60:02}") for n in range(200)
    ]
    (file,) = read(store, write(tmp_path, *rows))
    assert file.rows == 200
    assert {choice for choice, _ in kept(store).values()} == {"granted"}
    assert kept(store)[200 % 7] == ("granted", at("2020-01-01 00:03:19"))
