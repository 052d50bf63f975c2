"""Planning: all or nothing, figures that add up, one fingerprint for the same data, and drift told by name."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, func, select

from mmcampaign.campaigns import approve
from mmcampaign.dry_run import dry_run
from mmcampaign.errors import InputError, TemplateError
from mmcampaign.history import campaign_list
from mmcampaign.model import CampaignState, Cohort, Reason
from mmcampaign.planning import PlanRequest, plan
from mmcampaign.store.campaigns import Campaign, count_exclusions, count_triggers, shape_counts
from mmcampaign.store.engine import Store, open_store
from mmcampaign.store.tables import (
    audit_log,
    campaigns,
    exclusions,
    merge_contexts,
    merge_values,
    messages,
    shapes,
    template_versions,
    whole_messages,
)
from tests.builders import (
    TODAY,
    certified,
    make_candidate,
    make_coming,
    make_course,
    make_learner,
    make_program,
)
from tests.worlds import (
    TestApp,
    fill,
    make_app,
    on_sqlite,
    people,
    with_policy,
    write_template,
)

RIVER = PlanRequest(program="river", name="June")


def quietly(_connection: Connection, _campaign: Campaign) -> None:
    """A report nobody reads."""


def planned(app: TestApp, **request: Any) -> Campaign:
    return plan(app, replace(RIVER, **request), quietly)


def messages_of(store: Store, campaign: int) -> list[Any]:
    with store.read() as connection:
        found = whole_messages.where(messages.c.campaign_id == campaign).order_by("learner_id")
        return list(connection.execute(found))


# --- what is planned ------------------------------------------------------------------------------------------------


def test_the_figures_add_up(app: TestApp):
    campaign = planned(app)
    assert campaign.state is CampaignState.PLANNED
    assert (campaign.considered, campaign.chosen, campaign.excluded) == (7, 4, 3)
    assert {status: n for status, n in campaign.ledger.items() if n} == {"pending": 4}
    assert (campaign.planned_by, campaign.planned_on, campaign.planned_at) == ("kim", TODAY, app.clock())
    with app.store.read() as connection:
        assert count_exclusions(connection, campaign.id) == {
            Reason.STAFF_ACCOUNT: 1,
            Reason.SUPPRESSED_UNSUBSCRIBED: 1,
            Reason.MERGED: 1,
        }
        triggers = count_triggers(connection, campaign.id)
        assert triggers == {
            ("audit-upgrade", "river1x"): (3, 2),
            ("audit-upgrade", "river2x"): (1, 0),
            ("continue", "river1x"): (0, 1),
        }
        assert sum(people for _, people, _ in shape_counts(connection, campaign.id)) == 4
    assert campaign_list(app) == [campaign]


def test_a_message_holds_everything_it_is_made_from(app: TestApp):
    campaign = planned(app)
    row = messages_of(app.store, campaign.id)[3]
    assert (row.learner_id, row.email, row.email_key) == (4, "learner4@mail.example", "learner4@mail.example")
    assert (row.cohort, row.trigger_course, row.trigger_run) == ("audit-upgrade", "river2x", "1T2027")
    assert (row.next_course, row.certificates_earned, row.status, row.attempts) == ("river3x", 1, "pending", 0)
    assert row.subject == "One step left: Snow"
    assert json.loads(row.personal)["first_name"] == "Ana"
    assert row.unsubscribe_url.startswith("https://mail.nx.example/u/")
    assert len(row.message_id) == 16
    with app.store.read() as connection:
        context = json.loads(
            connection.execute(
                select(merge_contexts.c.context).where(merge_contexts.c.digest == row.context_digest)
            ).scalar_one()
        )
        assert context["other_triggers"] == [{"code": "river1x", "title": "Rain"}]
        assert context["campaign"] == {"id": campaign.id, "name": "June"}
        kept = {row.path for row in connection.execute(select(template_versions))}
    assert kept == {"river/subject.txt", "river/body.html", "river/body.txt"}


def test_nothing_personal_stands_in_what_is_shared(app: TestApp):
    planned(app)
    with app.store.read() as connection:
        shared = [*connection.execute(select(shapes)), *connection.execute(select(merge_contexts))]
        log = list(connection.execute(select(audit_log)))
        left_out = [row.detail for row in connection.execute(select(exclusions))]
    text = " ".join(str(value) for row in (*shared, *log) for value in row) + " ".join(left_out)
    for private in ("Ana", "learner1", "mail.example"):
        assert private not in text.replace("mail.nx.example", "")


def test_learners_alike_share_shape_and_context(app: TestApp):
    campaign = planned(app)
    rows = messages_of(app.store, campaign.id)[:3]
    assert len({row.shape_digest for row in rows}) == len({row.context_digest for row in rows}) == 1
    assert len({row.message_id for row in rows}) == len({row.unsubscribe_url for row in rows}) == 3


def test_messages_of_one_shape_stand_together(app: TestApp):
    """They are claimed together, and so fewer pages are written on their way out."""
    planned(app)
    with app.store.read() as connection:
        shapes = list(connection.execute(select(messages.c.shape_digest).order_by(messages.c.id)).scalars())
    assert len(set(shapes)) > 1
    assert shapes == sorted(shapes)


def test_the_deadline_is_kept_with_each_message(store: Store, tmp_path: Path):
    program = make_program(
        make_course(1, upgrade_deadline=TODAY + timedelta(days=5)),
        make_course(2, coming_run=make_coming(enrollment_closes=TODAY + timedelta(days=9))),
    )
    fill(
        store,
        [
            make_candidate(learner=make_learner(1)),
            make_candidate(certified(1), learner=make_learner(2)),
            make_candidate(certified(2), learner=make_learner(3)),
        ],
    )
    campaign = planned(make_app(store, tmp_path, program))
    assert [row.deadline for row in messages_of(store, campaign.id)] == [
        TODAY + timedelta(days=5),
        TODAY + timedelta(days=9),
        None,
    ]


@on_sqlite
@pytest.mark.parametrize(
    ("request_", "learners"),
    [
        pytest.param({"cohorts": frozenset({Cohort.CONTINUE})}, [4], id="one cohort"),
        pytest.param({"cohorts": frozenset({Cohort.AUDIT_UPGRADE})}, [1, 2, 3, 4], id="the other"),
        pytest.param({"limit": 2}, [1, 2], id="the first two"),
        pytest.param({"limit": 100}, [1, 2, 3, 4], id="a limit nobody reaches"),
        pytest.param({"holdout_percent": 100}, [], id="everybody held out"),
    ],
)
def test_requests(app: TestApp, request_: dict[str, Any], learners: list[int]):
    campaign = planned(app, **request_)
    assert [row.learner_id for row in messages_of(app.store, campaign.id)] == learners
    assert campaign.considered == campaign.chosen + campaign.excluded


@on_sqlite
def test_a_hold_out_is_frozen_with_its_people(app: TestApp):
    fill(app.store, people(200))
    careful = with_policy(app, holdout_percent=20)
    campaign = planned(careful)
    with app.store.read() as connection:
        held_out = count_exclusions(connection, campaign.id)[Reason.HELD_OUT]
    assert 20 <= held_out <= 60  # 40 expected
    everybody = planned(careful, holdout_percent=0)
    assert everybody.chosen == campaign.chosen + held_out
    assert approve(app, campaign.id).state is CampaignState.APPROVED


@on_sqlite
def test_progress_is_told(app: TestApp):
    told: list[int] = []
    fill(app.store, people(250))
    plan(app, RIVER, quietly, told.append)
    assert told == [100, 200]


@on_sqlite
def test_a_campaign_without_a_name_gets_one(app: TestApp):
    assert planned(app, name="").name == "Rivers, 15 Jun 2027"


# --- all or nothing -------------------------------------------------------------------------------------------------


def _counts(store: Store) -> dict[str, int]:
    tables = (campaigns, messages, exclusions, shapes, merge_contexts, template_versions, audit_log)
    with store.read() as connection:
        return {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one() for table in tables
        }


def test_a_report_that_fails_leaves_nothing(app: TestApp, tmp_path: Path):
    def fail(connection: Connection, campaign: Campaign) -> None:
        assert connection.execute(select(func.count()).select_from(messages)).scalar_one() == campaign.chosen
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        plan(app, RIVER, fail)
    assert set(_counts(app.store).values()) == {0}


def test_a_report_folder_that_cannot_be_written_leaves_nothing(app: TestApp, tmp_path: Path):
    (tmp_path / "taken").write_text("a file where the folder should be")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(Exception, match=r"taken"):
        dry_run(app, RIVER, out=tmp_path / "taken" / "report")
    assert sorted(tmp_path.iterdir()) == before
    assert set(_counts(app.store).values()) == {0}


@on_sqlite
def test_a_template_that_fails_for_one_learner_leaves_nothing(app: TestApp, tmp_path: Path):
    write_template(
        tmp_path, "river/body.txt", "{{ trigger.title }}{% if trigger.code == 'river2x' %}{{ nope }}{% endif %}"
    )
    with pytest.raises(TemplateError, match="nope"):
        planned(app)
    assert set(_counts(app.store).values()) == {0}


def test_without_any_report_nothing_is_planned(store: Store, tmp_path: Path):
    with pytest.raises(InputError, match="No report of any course of Rivers") as raised:
        planned(make_app(store, tmp_path))
    assert "ingest" in raised.value.todo
    assert set(_counts(store).values()) == {0}


@on_sqlite
def test_an_unknown_program_names_the_known(app: TestApp):
    with pytest.raises(InputError, match="rivre") as raised:
        planned(app, program="rivre")
    assert "river" in str(raised.value) + raised.value.todo


def test_the_report_is_written_beside_the_plan(app: TestApp, tmp_path: Path):
    result = dry_run(app, RIVER)
    assert result.files.report == tmp_path / "reports" / f"campaign-{result.campaign.id}" / "report.html"
    assert f"Dry run of campaign {result.campaign.id}" in result.files.report.read_text("utf-8")
    assert len(result.files.recipients_csv.read_text("utf-8-sig").splitlines()) == 1 + 4
    assert len(result.files.excluded_csv.read_text("utf-8-sig").splitlines()) == 1 + 3
    assert result.excluded == {Reason.STAFF_ACCOUNT: 1, Reason.SUPPRESSED_UNSUBSCRIBED: 1, Reason.MERGED: 1}


# --- fingerprint ----------------------------------------------------------------------------------------------------


@on_sqlite
def test_the_same_data_in_a_fresh_database_gives_the_same_fingerprint(
    app: TestApp, _empty_sqlite: Path, tmp_path: Path
):
    first = planned(app)
    other = tmp_path / "other.db"
    other.write_bytes(_empty_sqlite.read_bytes())
    store = open_store(f"sqlite:///{other}")
    with app.store.read() as source, store.write() as target:
        for table in messages.metadata.sorted_tables:
            if table in (campaigns, messages, merge_values, exclusions, audit_log):
                continue
            rows = [dict(row._mapping) for row in source.execute(select(table))]
            if rows:
                target.execute(table.insert(), rows)
    second = planned(replace(app, store=store))
    store.close()
    assert second.id == first.id
    assert second.fingerprint == first.fingerprint


def test_another_campaign_has_another_fingerprint(app: TestApp):
    one, other = planned(app), planned(app)
    assert one.fingerprint != other.fingerprint
