"""The digest of what selection reads: whatever is changed in it since the approval makes ``send`` look again."""

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Table, event, update

from mmcampaign import campaigns
from mmcampaign.campaigns import log_act, refuse_drift
from mmcampaign.errors import RefusedError
from mmcampaign.history import campaign_list
from mmcampaign.model import CampaignState, MessageStatus
from mmcampaign.planning import recipients
from mmcampaign.store import audit, suppressions
from mmcampaign.store.inputs import inputs_digest
from mmcampaign.store.tables import campaigns as campaign_rows
from mmcampaign.store.tables import imports, metadata
from mmcampaign.store.tables import suppressions as suppression_rows
from tests.builders import NOW, make_candidate, make_learner
from tests.steps import approved, go, planned
from tests.worlds import TestApp, fill, on_sqlite, people

Change = Callable[[TestApp], TestApp]


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry each time the selection is run again to find drift."""
    found: list[int] = []
    look = campaigns._recipient_changes

    def counted(*args: object) -> list[str]:
        found.append(1)
        return look(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(campaigns, "_recipient_changes", counted)
    return found


def _row(table: Table, **values: object) -> Change:
    def change(app: TestApp) -> TestApp:
        with app.store.write() as connection:
            assert connection.execute(update(table).values(**values)).rowcount
        return app

    return change


def _another(**values: object) -> Change:
    """A second campaign that is not being sent, of which this was changed."""

    def change(app: TestApp) -> TestApp:
        with app.store.write() as connection:
            rows = update(campaign_rows).where(campaign_rows.c.id == 2).values(**values)
            assert connection.execute(rows).rowcount
        return app

    return change


def _exported(app: TestApp) -> TestApp:
    fill(app.store, people(3))
    return app


def _suppressed(app: TestApp) -> TestApp:
    with app.store.write() as connection:
        who = f"somebody{len(suppressions.all_of(connection))}@mail.example"
        suppressions.add(connection, who, reason="manual", by="kim", note="", at=NOW)
    return app


def _unsuppressed(app: TestApp) -> TestApp:
    with app.store.write() as connection:
        connection.execute(suppression_rows.delete())
        audit.record(connection, at=NOW, actor="kim", act="unsuppressed", subject="an address")
    return app


def _act(app: TestApp) -> TestApp:
    with app.store.write() as connection:
        log_act(app, connection, "an act of a later version", 2, {})
    return app


def _zone(app: TestApp) -> TestApp:
    site = app.settings.site.model_copy(update={"timezone": "Pacific/Auckland"})
    return replace(app, settings=app.settings._replace(site=site))


def planned_beside(app: TestApp) -> TestApp:
    planned(app, name="beside it")
    return app


INPUTS = [
    pytest.param(_exported, id="learners, enrollments, completions, consents: an export was read"),
    pytest.param(_row(imports, status="superseded"), id="an export counts no more"),
    pytest.param(_row(imports, audit_hidden=True), id="an export was found to hide audit learners"),
    pytest.param(_row(imports, exported_at=NOW), id="an export's stamp"),
    pytest.param(_suppressed, id="a suppression"),
    pytest.param(_unsuppressed, id="a suppression taken back"),
    pytest.param(_act, id="an act upon another campaign, whichever"),
    pytest.param(planned_beside, id="another campaign was planned"),
    pytest.param(_another(state=CampaignState.SENDING), id="another campaign is being sent"),
    pytest.param(_another(state=CampaignState.PAUSED), id="another campaign is paused"),
    pytest.param(_another(state=CampaignState.CANCELLED), id="another campaign was cancelled"),
    pytest.param(_another(started_at=NOW), id="another campaign has started"),
    *(
        pytest.param(_another(**{status.value: 77}), id=f"messages of another campaign became {status.value}")
        for status in MessageStatus
    ),
    pytest.param(_zone, id="the time zone, which makes days of times"),
]


@on_sqlite
@pytest.mark.parametrize("change", INPUTS)
def test_whatever_selection_reads_is_looked_at_again(app: TestApp, looks: list[int], change: Change):
    campaign = planned(app)
    _suppressed(planned_beside(app))
    campaigns.approve(app, campaign.id)
    looks.clear()
    _look(app, campaign.id)
    assert looks == []
    _look(change(app), campaign.id)
    assert looks == [1]


@on_sqlite
def test_another_version_or_library_looks_again(app: TestApp, looks: list[int], monkeypatch: pytest.MonkeyPatch):
    campaign = approved(app)
    for name, value in (("__version__", "9"), ("version", lambda _: "9")):
        with monkeypatch.context() as patched:
            patched.setattr(campaigns, name, value)
            looks.clear()
            _look(app, campaign.id)
            assert looks == [1], name


@on_sqlite
def test_what_is_not_read_is_no_reason_to_look(app: TestApp, looks: list[int]):
    campaign = approved(app)
    app.clock.now += timedelta(days=3)
    go(app, campaign, limit=1)
    go(app, campaign, limit=1)
    assert looks == [1]


@on_sqlite
@pytest.mark.parametrize("state", [CampaignState.SENDING, CampaignState.PAUSED])
def test_while_another_campaign_is_sent_there_is_no_digest(app: TestApp, looks: list[int], state: CampaignState):
    """Its counts may be the same again although its messages are not."""
    campaign = approved(planned_beside(app))
    with app.store.write() as connection:
        beside = campaign_rows.c.id != campaign.id
        connection.execute(update(campaign_rows).where(beside).values(state=state))
        connection.execute(update(campaign_rows).where(~beside).values(inputs=None))
        assert inputs_digest(connection, campaign.id) == ""
    looks.clear()
    _look(app, campaign.id)
    assert looks == [1]


@on_sqlite
def test_the_selection_reads_no_table_that_leaves_no_trace(app: TestApp):
    """A table that it reads one day has to leave a trace in the digest, too."""
    campaign = planned(app)
    fill(app.store, [make_candidate(learner=make_learner(9, email="learner1@mail.example"))])
    said: list[str] = []

    def hear(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        said.append(statement)

    event.listen(app.store.engine, "before_cursor_execute", hear)
    with app.store.read() as connection:
        assert list(recipients(app, connection, app.program("river"), campaign.settings))
    event.remove(app.store.engine, "before_cursor_execute", hear)
    words = {word for statement in said for word in re.findall(r"\w+", statement)}
    assert words & set(metadata.tables) == {
        *("learners", "course_instancedetails", "completions", "consents", "address_consents"),
        *("seen_again", "imports", "suppressions", "messages", "campaigns"),
    }


def _look(app: TestApp, campaign: int) -> None:
    """As ``send`` does; whether something had drifted is not asked here."""
    with app.store.read() as connection, suppress(RefusedError):
        refuse_drift(app, connection, campaign_list(app, campaign)[0])
