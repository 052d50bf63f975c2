"""Drift: what changed since the dry run is refused and named, what does not change the mail is not."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mmcampaign.campaigns import approve
from mmcampaign.errors import RefusedError
from mmcampaign.history import campaign_list
from mmcampaign.model import CampaignState
from mmcampaign.store.tables import suppressions
from tests.builders import (
    TODAY,
    certified,
    leaves,
    make_candidate,
    make_course,
    make_enrollment,
    make_learner,
    make_program,
)
from tests.steps import planned
from tests.worlds import (
    Clock,
    TestApp,
    fill,
    make_settings,
    on_sqlite,
    people,
    suppress,
    with_policy,
    with_program,
    write_template,
)

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
        return replace(app, settings=app.settings._replace(mail=mail))

    return change


def _no_key(app: TestApp, _folder: Path) -> TestApp:
    secrets = replace(app.settings.secrets, secret_key="")
    return replace(app, settings=app.settings._replace(secrets=secrets))


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
        "learners whose data is not what was planned with: 1 (edX user 1)",
        id="a learner upgraded and is certified",
    ),
    pytest.param(
        _learner(make_candidate(make_enrollment(1, track="verified"), **ANA1)),
        "learners who were planned but would not be chosen now: 1 (edX user 1)",
        id="a learner upgraded",
    ),
    pytest.param(
        _learner(make_candidate(learner=make_learner(1, name="Ana1 Pine", email="new@mail.example"))),
        "learners whose data is not what was planned with: 1 (edX user 1)",
        id="a learner has another address",
    ),
    pytest.param(
        _learner(make_candidate(learner=make_learner(1, name="Anne Pine"))),
        "learners whose data is not what was planned with: 1 (edX user 1)",
        id="a learner has another name",
    ),
    pytest.param(
        _learner(make_candidate(consent="refused", **ANA1)),
        "learners who were planned but would not be chosen now: 1 (edX user 1)",
        id="a learner refused",
    ),
    pytest.param(
        _learner(make_candidate(make_enrollment(1), certified(2, run="1T2020"), **ANA1)),
        "learners whose data is not what was planned with: 1 (edX user 1)",
        id="a certificate turned up",
    ),
    pytest.param(
        _learner(*(make_candidate(learner=make_learner(number)) for number in range(20, 27))),
        "learners who would be chosen now but were not planned: 7 (edX users 20, 21, 22, 23, 24, ...)",
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
    assert raised.value.facts == ("learners who would be chosen now but were not planned: 1 (edX user 6)",)


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
