"""Planning: all or nothing, figures that add up, one fingerprint for the same data, and drift told by name."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, func, select

from mmcampaign.campaigns import approve
from mmcampaign.dry_run import dry_run
from mmcampaign.errors import InputError, RefusedError, TemplateError
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
    messages,
    shapes,
    suppressions,
    template_versions,
)
from tests.builders import (
    TODAY,
    certified,
    leaves,
    make_candidate,
    make_coming,
    make_course,
    make_enrollment,
    make_learner,
    make_program,
)
from tests.worlds import (
    Clock,
    TestApp,
    fill,
    make_app,
    make_settings,
    on_sqlite,
    people,
    suppress,
    with_policy,
    with_program,
    write_template,
)

RIVER = PlanRequest(program="river", name="June")


def quietly(_connection: Connection, _campaign: Campaign) -> None:
    """A report nobody reads."""


def planned(app: TestApp, **request: Any) -> Campaign:
    return plan(app, replace(RIVER, **request), quietly)


def messages_of(store: Store, campaign: int) -> list[Any]:
    with store.read() as connection:
        found = select(messages).where(messages.c.campaign_id == campaign).order_by("learner_id")
        return list(connection.execute(found))


@pytest.fixture
def app(store: Store, tmp_path: Path) -> TestApp:
    """Six learners: three to upgrade, one to go on, one staff member, one who unsubscribed."""
    fill(
        store,
        [
            *people(3),
            make_candidate(certified(1), make_enrollment(2), learner=make_learner(4)),
            make_candidate(learner=make_learner(5, email="kim@nx.example")),
            make_candidate(learner=make_learner(6), suppression="unsubscribed"),
            make_candidate(make_enrollment(1, grade=0.1), learner=make_learner(7)),
        ],
    )
    made = make_app(store, tmp_path)
    site = made.settings.site.model_copy(update={"staff": ("@nx.example",)})
    return replace(made, settings=replace(made.settings, site=site))


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
            if table in (campaigns, messages, exclusions, audit_log):
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


# --- drift ----------------------------------------------------------------------------------------------------------

Change = Callable[[TestApp, Path], TestApp]


def _edit(path: str, content: str) -> Change:
    def change(app: TestApp, folder: Path) -> TestApp:
        write_template(folder, path, content)
        return app

    return change


def _learner(*candidates: Any) -> Change:
    def change(app: TestApp, _folder: Path) -> TestApp:
        fill(app.store, candidates)
        return app

    return change


def _policy(**values: Any) -> Change:
    return lambda app, _folder: with_policy(app, **values)


def _program(*courses: Any, **values: Any) -> Change:
    return lambda app, _folder: with_program(app, make_program(*courses, **values))


def _mail(**values: Any) -> Change:
    def change(app: TestApp, _folder: Path) -> TestApp:
        mail = app.settings.mail.model_copy(update=values)
        return replace(app, settings=replace(app.settings, mail=mail))

    return change


def _no_key(app: TestApp, _folder: Path) -> TestApp:
    secrets = replace(app.settings.secrets, secret_key="")
    return replace(app, settings=replace(app.settings, secrets=secrets))


ANA1 = {"learner": make_learner(1, name="Ana1 Pine")}
DRIFT = [
    pytest.param(
        _edit("river/body.txt", "Dear {{ learner.name }}, {{ unsubscribe_url }}"),
        "template river/body.txt was edited",
        id="a template edited",
    ),
    pytest.param(_policy(cooldown_days=7), "policy.cooldown_days: was 14, now 7", id="the cool-down changed"),
    pytest.param(
        _program(make_course(1, passing_grade=0.7)),
        "program.courses[0].passing_grade: was 0.65, now 0.7",
        id="a passing grade changed",
    ),
    pytest.param(
        _program(make_course(1, upgrade_deadline=TODAY)),
        'program.courses[0].upgrade_deadline: was nothing, now "2027-06-15"',
        id="a deadline set",
    ),
    pytest.param(_mail(postal_address="2 Hill Road"), "mail.postal_address: was", id="another postal address"),
    pytest.param(_mail(from_='"NX Updates" <news@other.example>'), "mail.from: was", id="another sender"),
    pytest.param(_no_key, "mail.links_signed: was true, now false", id="the secret key is gone"),
    pytest.param(
        _learner(make_candidate(certified(1), **ANA1)),
        "1 learners have other data now than was planned with (edX users 1)",
        id="a learner upgraded and is certified",
    ),
    pytest.param(
        _learner(make_candidate(make_enrollment(1, track="verified"), **ANA1)),
        "1 learners were planned who would not be chosen now (edX users 1)",
        id="a learner upgraded",
    ),
    pytest.param(
        _learner(make_candidate(learner=make_learner(1, name="Ana1 Pine", email="new@mail.example"))),
        "1 learners have other data now than was planned with (edX users 1)",
        id="a learner has another address",
    ),
    pytest.param(
        _learner(make_candidate(learner=make_learner(1, name="Anne Pine"))),
        "1 learners have other data now than was planned with (edX users 1)",
        id="a learner has another name",
    ),
    pytest.param(
        _learner(make_candidate(consent="refused", **ANA1)),
        "1 learners were planned who would not be chosen now (edX users 1)",
        id="a learner refused",
    ),
    pytest.param(
        _learner(make_candidate(make_enrollment(1), certified(2, run="1T2020"), **ANA1)),
        "1 learners have other data now than was planned with (edX users 1)",
        id="a certificate turned up",
    ),
    pytest.param(
        _learner(*(make_candidate(learner=make_learner(number)) for number in range(20, 27))),
        "7 learners would be chosen now who were not planned (edX users 20, 21, 22, 23, 24, …)",
        id="new learners",
    ),
]


@on_sqlite
@pytest.mark.parametrize(("change", "said"), DRIFT)
def test_drift_is_refused_and_named(app: TestApp, tmp_path: Path, change: Change, said: str):
    campaign = planned(app)
    changed = change(app, tmp_path)
    with pytest.raises(RefusedError, match="no longer what was planned") as raised:
        approve(changed, campaign.id)
    [fact] = raised.value.facts
    assert fact.startswith(said)
    assert "mail.example" not in fact
    assert raised.value.unchanged
    assert raised.value.todo == f"mmcampaign cancel {campaign.id}, then mmcampaign dry-run river"
    assert campaign_list(app, campaign.id) == [campaign]


def _later(app: TestApp, _folder: Path) -> TestApp:
    return replace(app, clock=Clock(app.clock() + timedelta(days=3)))


def _suppressed(app: TestApp, _folder: Path) -> TestApp:
    with app.store.write() as connection:
        suppress(connection, "learner2@mail.example", "bounced")
    return app


def _left_suppression(app: TestApp, _folder: Path) -> TestApp:
    with app.store.write() as connection:
        connection.execute(suppressions.delete())
    return app


def _exported_again(app: TestApp, folder: Path) -> TestApp:
    """The same facts from newer files."""
    return _learner(*people(3))(app, folder)


SAME = [
    pytest.param(lambda app, _folder: app, id="nothing at all"),
    pytest.param(_later, id="days have passed"),
    pytest.param(_exported_again, id="the same data again"),
    pytest.param(_policy(approval="second-person", holdout_percent=50), id="a policy for the next campaign"),
    pytest.param(_mail(rate_per_second=99.0), id="another pace"),
    pytest.param(_edit("other/body.html", "<p>"), id="another template edited"),
    pytest.param(_learner(make_candidate(make_enrollment(1, grade=0.1), learner=make_learner(30))), id="a failing one"),
    pytest.param(_suppressed, id="a recipient unsubscribed: dropped at the claim, no reason to plan again"),
]


@on_sqlite
@pytest.mark.parametrize("change", SAME)
def test_what_does_not_change_the_mail_is_no_drift(app: TestApp, tmp_path: Path, change: Change):
    campaign = planned(app)
    changed = change(app, tmp_path)
    assert approve(changed, campaign.id, by="lee").state is CampaignState.APPROVED


def test_with_a_limit_a_dropped_recipient_is_not_replaced(app: TestApp, tmp_path: Path):
    """Otherwise the next in line would be chosen now who was not planned."""
    campaign = planned(app, limit=2)
    _suppressed(app, tmp_path)
    assert approve(app, campaign.id).state is CampaignState.APPROVED


def test_somebody_taken_off_the_list_is_new(app: TestApp, tmp_path: Path):
    campaign = planned(app)
    _left_suppression(app, tmp_path)
    with pytest.raises(RefusedError) as raised:
        approve(app, campaign.id)
    assert raised.value.facts == ("1 learners would be chosen now who were not planned (edX users 6)",)


@on_sqlite
def test_settings_survive_the_database_unchanged(app: TestApp):
    campaign = planned(app)
    assert campaign.settings["selection"]["today"] == "2027-06-15"
    assert campaign.settings["mail"]["from"] == "news@nx.example"
    assert not [path for path in leaves(campaign.settings) if "secret" in path]
    assert "a secret" not in json.dumps(campaign.settings)


def test_settings_of_tests_are_those_of_a_real_file(tmp_path: Path):
    """The helper swaps programs in; everything else comes from config.toml."""
    assert make_settings(tmp_path).mail.sender.email == "news@nx.example"
