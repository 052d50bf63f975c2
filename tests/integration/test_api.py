"""``import mmcampaign``: the data of an installation as data frames, on both engines, and never a write."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from sqlalchemy import text
from sqlalchemy.exc import InternalError

import mmcampaign
from mmcampaign.api import Project
from mmcampaign.app import App, open_app
from mmcampaign.campaigns import approve
from mmcampaign.dry_run import dry_run
from mmcampaign.errors import ConfigError, InputError, MmcampaignError, UnavailableError
from mmcampaign.ingest import ingest
from mmcampaign.planning import PlanRequest
from mmcampaign.sending import SendRequest, send
from mmcampaign.store.reports import completion_rows
from tests.acceptance.runner import Cli
from tests.acceptance.worlds import configure, make_river, people, write_reports

LEARNERS = 12
TODAY = datetime.now(UTC).date()
LATER = datetime.now(UTC) + timedelta(days=3)


@pytest.fixture
def folder(database_url: str, tmp_path: Path) -> Path:
    """Somebody's folder after ``ingest``: eight to upgrade, four to go on, three left out, one who failed."""
    place = tmp_path / "place"
    make_river(place, people(LEARNERS))
    configure(place, url=json.dumps(database_url))
    app = opened_for_work(place)
    ingest(app.store, tuple(app.settings.programs.values()), [place / "downloads"], now=app.clock())
    app.store.close()
    return place


@pytest.fixture
def project(folder: Path) -> Iterator[Project]:
    with mmcampaign.open(folder) as opened:
        yield opened


def opened_for_work(folder: Path) -> App:
    return open_app(folder / "config.toml", {"MMCAMPAIGN_SECRET_KEY": "a secret"}, cwd=folder)


def send_to_everybody(folder: Path) -> None:
    app = opened_for_work(folder)
    planned = dry_run(app, PlanRequest(program="river")).campaign
    approve(app, planned.id, note="test")
    send(app, SendRequest(campaign=planned.id), confirm=lambda *_: None)
    app.store.close()


def records(frame: pd.DataFrame) -> list[dict[str, object]]:
    return [
        {str(key): None if value is pd.NA else value for key, value in row.items()} for row in frame.to_dict("records")
    ]


def advice(error: MmcampaignError) -> str:
    return "\n".join(error.__notes__)


# --- what is in the frames ------------------------------------------------------------------------------------------


def test_the_report_has_the_columns_types_and_rows_of_the_contract(project: Project) -> None:
    report = project.report("river")
    assert list(report.columns) == [
        *("student_id", "username", "email", "name", "river1x_enrollment_track", "river1x_passed"),
        *("river2x_enrollment_track", "river2x_passed", "no_certificate_eligible", "no_audited_passed", "country"),
    ]
    numbers = {"student_id", "no_certificate_eligible", "no_audited_passed"}
    assert {name: str(kind) for name, kind in report.dtypes.items()} == {
        name: "int64" if name in numbers else "string" for name in report.columns
    }
    expected = list(completion_rows(project._app.store, project.programs["river"]))
    assert [tuple(row.values()) for row in records(report)] == expected
    assert len(report) == LEARNERS + 4
    assert report["no_certificate_eligible"].sum() == LEARNERS / 3


@pytest.mark.parametrize("cohort", [None, "audit-upgrade", "continue"])
def test_cohorts_are_those_of_the_command(folder: Path, project: Project, cohort: str | None) -> None:
    told = Cli(folder=folder).json("cohort", "river", *([cohort] if cohort else []))
    chosen, excluded = project.cohort("river", cohort), project.excluded("river", cohort)
    by_name = sorted(chosen.columns)
    assert [sorted(row) for row in told["chosen"]] == [by_name] * len(chosen)
    assert records(chosen) == told["chosen"]
    assert records(excluded) == told["excluded"]
    assert len(chosen) == {None: 12, "audit-upgrade": 8, "continue": 4}[cohort]


def test_the_day_decides(folder: Path) -> None:
    send_to_everybody(folder)
    with mmcampaign.open(folder) as project:
        tomorrow = TODAY + timedelta(days=1)
        assert project.cohort("river", today=tomorrow).empty
        reasons = set(project.excluded("river", today=tomorrow.isoformat())["reason"])
        assert "already_mailed" in reasons
        assert len(project.excluded("river", today=datetime(2099, 1, 1, tzinfo=UTC))) == LEARNERS + 3


def test_one_learner_is_explained_rule_by_rule(project: Project) -> None:
    by_id, by_name = project.explain("river", 1001), project.explain("river", "learner1001")
    pd.testing.assert_frame_equal(by_id, by_name)
    assert list(by_id.columns) == ["trigger_course", "cohort", "chosen", "reason", "rule", "passed", "seen", "source"]
    first, second = by_id[by_id["trigger_course"] == "river1x"], by_id[by_id["trigger_course"] == "river2x"]
    assert first["chosen"].all()
    assert first["reason"].isna().all()
    assert set(second["reason"]) == {"no_trigger"}
    staff = project.explain("river", "kim_staff")
    assert staff.loc[staff["rule"] == "staff_account", "passed"].tolist() == [False]


def test_history_lists_every_send(folder: Path) -> None:
    with mmcampaign.open(folder) as project:
        before = project.history()
    send_to_everybody(folder)
    with mmcampaign.open(folder) as project:
        history = project.history("river")
        assert before.dtypes.to_dict() == history.dtypes.to_dict() | {"sent_at": before.dtypes["sent_at"]}
        assert before.empty
        assert set(history["status"]) == {"accepted"}
        assert len(history) == LEARNERS
        assert isinstance(history["sent_at"].dtype, pd.DatetimeTZDtype)
        assert str(history["sent_at"].dtype.tz) == "UTC"
        assert project.history(learner=1001)["student_id"].tolist() == [1001]
        assert len(project.history(campaign=1, since=TODAY - timedelta(days=1))) == LEARNERS
        assert project.history(campaign=2).empty
        assert project.history(since="2999-01-01").empty


def test_nothing_chosen_is_an_empty_frame_of_the_same_types(project: Project) -> None:
    full, empty = project.cohort("river"), project.cohort("river").iloc[:0]
    assert project.cohort("river", "continue").dtypes.to_dict() == full.dtypes.to_dict() == empty.dtypes.to_dict()
    nobody = project.excluded("river", "continue")
    assert list(nobody.columns) == ["student_id", "cohort", "trigger_course", "reason", "detail"]
    assert nobody.empty
    assert str(nobody["student_id"].dtype) == "int64"


def test_a_frame_made_in_pieces_is_the_same_frame(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = project.report("river")
    monkeypatch.setattr("mmcampaign.api._ROWS_AT_A_TIME", 5)
    pd.testing.assert_frame_equal(project.report("river"), whole)


# --- opening --------------------------------------------------------------------------------------------------------


def test_the_database_refuses_every_change(project: Project) -> None:
    with pytest.raises((UnavailableError, InternalError)), project._app.store.write() as connection:
        connection.execute(text("DELETE FROM learners"))
    assert len(project.report("river")) == LEARNERS + 4


def test_a_file_a_folder_and_a_folder_below_all_open_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder / "downloads")
    for path in (None, folder, str(folder / "config.toml"), folder / "downloads"):
        with mmcampaign.open(path) as project:
            assert list(project.programs) == ["river"]
            assert repr(project) == f"<mmcampaign.Project {folder / 'config.toml'}: river>"


def test_a_stale_schema_is_told_with_the_command(folder: Path) -> None:
    app = opened_for_work(folder)
    with app.store.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0000'"))
    app.store.close()
    with pytest.raises(UnavailableError, match="older schema") as caught:
        mmcampaign.open(folder)
    assert "mmcampaign db upgrade" in advice(caught.value)


def test_a_configuration_the_database_has_not_seen_is_told(folder: Path) -> None:
    configure(folder, passing_grade="0.95")
    with pytest.raises(UnavailableError, match="were changed") as caught:
        mmcampaign.open(folder)
    assert "mmcampaign doctor" in advice(caught.value)
    opened_for_work(folder).store.close()
    with mmcampaign.open(folder) as project:
        assert project.cohort("river", "audit-upgrade").empty


def test_nothing_is_created_where_nothing_is(tmp_path: Path) -> None:
    make_river(tmp_path / "new", [])
    files = sorted((tmp_path / "new").rglob("*"))
    with pytest.raises(InputError, match="There is no database") as caught:
        mmcampaign.open(tmp_path / "new")
    assert "mmcampaign ingest" in advice(caught.value)
    assert sorted((tmp_path / "new").rglob("*")) == files
    with pytest.raises(InputError, match="There is no"):
        mmcampaign.open(tmp_path / "missing")


def test_every_problem_of_a_configuration_is_told(tmp_path: Path) -> None:
    make_river(tmp_path / "new", [])
    configure(tmp_path / "new", passing_grade='"high"', backend='"pigeon"')
    with pytest.raises(ConfigError) as caught:
        mmcampaign.open(tmp_path / "new")
    assert "passing_grade" in advice(caught.value)
    assert "mail.backend" in advice(caught.value)


def test_what_was_mistyped_is_told(project: Project) -> None:
    with pytest.raises(InputError, match="There is no program 'rivver'") as caught:
        project.report("rivver")
    assert advice(caught.value) == "Next: Programs: river."
    with pytest.raises(InputError, match="There is no program"):
        project.history("rivver")
    with pytest.raises(InputError, match="Did you mean 'continue'"):
        project.cohort("river", "continu")
    with pytest.raises(InputError, match="is not a day"):
        project.cohort("river", today="31.12.2026")
    with pytest.raises(InputError, match="No learner"):
        project.explain("river", "nobody")


def test_a_day_may_be_a_date(project: Project) -> None:
    day = date(2026, 1, 31)
    pd.testing.assert_frame_equal(project.excluded("river", today=day), project.excluded("river", today=str(day)))


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = "{'pandas', 'sqlalchemy', 'jinja2', 'pydantic', 'mmcampaign.api'}"
    script = f"import sys, mmcampaign; print(sorted({heavy} & set(sys.modules)), 'open' in dir(mmcampaign))"
    told = subprocess.check_output([sys.executable, "-c", script], text=True)
    assert told == "[] True\n"


def test_a_name_the_package_does_not_have() -> None:
    with pytest.raises(AttributeError, match="no attribute 'opne'"):
        _ = mmcampaign.opne


# --- an earlier day -------------------------------------------------------------------------------------------------


def test_an_earlier_day_goes_by_the_exports_of_that_day(project: Project, folder: Path) -> None:
    """Everybody fails in a report of tomorrow; as of today they are chosen all the same, and nothing is written."""
    chosen = records(project.cohort("river"))
    write_reports(folder / "later", [replace(one, grade=0.1, track="audit") for one in people(LEARNERS)], stamp=LATER)
    app = opened_for_work(folder)
    ingest(app.store, tuple(app.settings.programs.values()), [folder / "later"], now=app.clock())
    app.store.close()
    assert project.cohort("river").empty
    assert records(project.cohort("river", as_of=TODAY)) == chosen
    assert len(project.excluded("river", as_of=TODAY.isoformat())) == 3
    assert project.explain("river", 1_001, as_of=TODAY)["chosen"].any()
    assert not project.explain("river", 1_001)["chosen"].any()
    with pytest.raises(InputError, match="No export of Rivers from that time"):
        project.cohort("river", as_of="2001-01-01")
