"""The log of every send: each message found again, and shown byte for byte as it went out."""

import hashlib
from dataclasses import replace
from datetime import datetime, timedelta
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from mmcampaign.campaigns import approve
from mmcampaign.delivery import SendgridOptions
from mmcampaign.delivery.sendgrid import SendgridBackend
from mmcampaign.errors import InputError, UnavailableError
from mmcampaign.history import COLUMNS, HistoryFilter, campaign_list, sends, show
from mmcampaign.model import Course, Outcome
from mmcampaign.planning import PlanRequest, plan
from mmcampaign.sending import SendRequest, send
from mmcampaign.store import outbox
from mmcampaign.store.engine import Store
from mmcampaign.store.tables import learners, merge_values, messages, shapes
from tests.builders import NOW, certified, make_candidate, make_enrollment, make_learner, make_program
from tests.ledgers import claimer
from tests.servers.sendgrid import KEY, sendgrid_server
from tests.worlds import Scripted, TestApp, fill, make_app, on_sqlite, people, write_template

LAKE = make_program(code="lake", title="Lakes", template="lake")


def planned(app: TestApp, program: str = "river") -> int:
    return plan(app, PlanRequest(program=program, name="June"), lambda _connection, _campaign: None).id


def sent(app: TestApp, program: str = "river", **request: Any) -> int:
    campaign = planned(app, program)
    approve(app, campaign)
    go(app, campaign, **request)
    return campaign


def go(app: TestApp, campaign: int, **request: Any) -> None:
    send(app, SendRequest(campaign=campaign, **request), confirm=lambda _campaign, _number: None, stop=app.clock)


def listed(app: TestApp, **wanted: Any) -> list[Any]:
    return [message["student_id"] for message in sends(app, HistoryFilter(**wanted))]


@pytest.fixture
def app(store: Store, tmp_path: Path) -> TestApp:
    """Learners of every kind that a template tells apart, with names of every kind that a header has to bear."""
    names = {1: "Ana Pine", 2: "山田 太郎", 3: "", 4: 'Zoë "Zo" O\'Brien, PhD', 5: "<b>& {{ x }}" + "y" * 300}
    fill(store, [make_candidate(learner=make_learner(number, name=name)) for number, name in names.items()])
    fill(store, [make_candidate(certified(1), make_enrollment(2), learner=make_learner(6, name="محمد علي"))])
    fill(store, [make_candidate(certified(1), learner=make_learner(7, email="D.O'Connor+edx@Mail.example"))])
    return make_app(store, tmp_path, make_program(), backend=Scripted({}, batch_size=2))


# --- show -----------------------------------------------------------------------------------------------------------


def test_every_message_is_reproduced_byte_for_byte(app: TestApp):
    sent(app)
    backend = app.swapped
    assert isinstance(backend, Scripted)
    assert len(backend.taken) == 7
    for message in backend.taken:
        shown = show(app, message.message_id)
        assert shown.reproduced is True
        assert shown.eml == message.eml
        assert shown.subject == message.subject
        parsed = message_from_bytes(shown.eml, policy=policy.default)
        for kind, content in (("plain", shown.text), ("html", shown.html)):
            [part] = [part for part in parsed.walk() if part.get_content_subtype() == kind]
            assert part.get_content().split() == content.split()
        assert shown.facts["digest"] == hashlib.sha256(message.eml).hexdigest()
        assert shown.facts["status"] == "accepted"


def test_files_of_the_file_backend_are_what_is_shown(app: TestApp):
    campaign = sent(app, backend="file")
    folder = app.settings.delivery.file.dir / str(campaign)
    files = sorted(folder.glob("*.eml"))
    assert len(files) == 7
    for file in files:
        assert show(app, file.stem).eml == file.read_bytes()


@on_sqlite
def test_what_sendgrid_was_told_is_verified(app: TestApp):
    """Its digest is over the shape and the person's JSON; before, it was that of the message composed here."""
    with sendgrid_server() as server:
        backend = SendgridBackend(SendgridOptions(api_key=KEY, host=server.url))
        sent(replace(app, swapped=backend))
        arrived = {mail.to_email: mail for mail in server.mails}
    assert len(arrived) == 7
    for row in sends(app, HistoryFilter()):
        shown = show(app, row["message"])
        mail = arrived[row["email"]]
        assert shown.reproduced
        assert (shown.html, shown.text) == (mail.html, mail.text)
        _log_digest(app, row["message"], hashlib.sha256(shown.eml).hexdigest())
        assert show(app, row["message"]).reproduced
    _log_digest(app, row["message"], "0" * 64)
    with pytest.raises(UnavailableError, match="cannot be shown as it was sent"):
        show(app, row["message"])


def _log_digest(app: TestApp, message: str, digest: str) -> None:
    with app.store.write() as connection:
        connection.execute(update(messages).where(messages.c.message_id == message).values(digest=digest))


def test_later_changes_do_not_reach_old_messages(app: TestApp, tmp_path: Path):
    sent(app)
    before = {row["message"]: show(app, row["message"]).eml for row in sends(app, HistoryFilter())}
    write_template(tmp_path, "river/body.html", "<p>Another text {{ unsubscribe_url }}</p>")
    fill(app.store, [make_candidate(learner=make_learner(1, name="Renamed", email="moved@mail.example"))])
    app.clock.now += timedelta(days=400)
    with app.store.write() as connection:
        connection.execute(learners.delete().where(learners.c.student_id == 2))
    assert {message: show(app, message).eml for message in before} == before


def test_a_message_tried_again_is_shown_as_it_went_out_last(app: TestApp):
    backend = app.swapped
    assert isinstance(backend, Scripted)
    backend.script = {"learner1@mail.example": [Outcome.NOT_TAKEN]}
    sent(app)
    [row] = sends(app, HistoryFilter(learner="1"))
    assert show(app, row["message"]).eml == next(m.eml for m in backend.taken if m.message_id == row["message"])


def test_a_message_left_behind_at_a_second_try_can_be_shown(app: TestApp):
    """Its first digest is of other bytes: no alarm, but no proof either."""
    backend = app.swapped
    assert isinstance(backend, Scripted)
    backend.script = {"learner1@mail.example": [Outcome.NOT_TAKEN]}
    campaign = planned(app)
    approve(app, campaign)
    go(app, campaign, limit=2)
    with app.store.write() as connection:
        later = NOW + timedelta(hours=1)
        outbox.claim(connection, campaign, claimer("dead:1", later), size=1)
    for row in sends(app, HistoryFilter(campaign=campaign)):
        assert show(app, row["message"]).reproduced is not False


def test_a_planned_message_can_be_looked_at(app: TestApp):
    campaign = planned(app)
    row = next(sends(app, HistoryFilter(campaign=campaign)))
    shown = show(app, row["message"])
    assert (shown.reproduced, shown.facts["status"]) == (None, "pending")
    assert "Ana" in shown.html


@on_sqlite
@pytest.mark.parametrize(
    ("table", "change"),
    [
        pytest.param(merge_values, {"subject": "Something else"}, id="the subject"),
        pytest.param(merge_values, {"email": "other@mail.example"}, id="the address"),
        pytest.param(merge_values, {"unsubscribe_url": "https://other.example/u/x"}, id="the link"),
        pytest.param(messages, {"claimed_at": NOW + timedelta(seconds=1)}, id="the time"),
        pytest.param(messages, {"digest": "0" * 64}, id="the digest itself"),
        pytest.param(shapes, {"html": "<p>Something else</p>"}, id="the text"),
    ],
)
def test_tampering_is_noticed(app: TestApp, table: Any, change: dict[str, Any]):
    sent(app)
    row = next(sends(app, HistoryFilter()))
    with app.store.write() as connection:
        connection.execute(update(table).values(change))
    with pytest.raises(UnavailableError, match="do not have the logged digest"):
        show(app, row["message"])


@on_sqlite
@pytest.mark.parametrize("key", ["", "0" * 16, "nonsense", "%", "' OR 1=1 --"])
def test_a_message_that_does_not_exist(app: TestApp, key: str):
    with pytest.raises(InputError, match="no message"):
        show(app, key)


# --- lists ----------------------------------------------------------------------------------------------------------


def test_the_log_has_the_columns_of_the_contract(app: TestApp):
    campaign = sent(app)
    first = next(sends(app, HistoryFilter()))
    assert tuple(first) == COLUMNS
    assert first["provider_message_id"].startswith("memory-")
    assert first == {
        "message": first["message"],
        "campaign": campaign,
        "program": "river",
        "cohort": "audit-upgrade",
        "student_id": 1,
        "email": "learner1@mail.example",
        "subject": "One step left: Rain",
        "status": "accepted",
        "delivery_status": None,
        "provider_message_id": first["provider_message_id"],
        "sent_at": NOW,
        "error": None,
    }


@on_sqlite
@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        pytest.param({}, [1, 2, 3, 1, 2], id="everything, the newest campaign first"),
        pytest.param({"campaign": 1}, [1, 2], id="a campaign"),
        pytest.param({"campaign": 9}, [], id="a campaign that does not exist"),
        pytest.param({"program": "lake"}, [1, 2, 3], id="a program"),
        pytest.param({"learner": "2"}, [2, 2], id="a learner by number"),
        pytest.param({"learner": "learner_3"}, [3], id="a learner by user name"),
        pytest.param({"learner": "LEARNER1@mail.example"}, [1, 1], id="a learner by address"),
        pytest.param({"learner": "nobody"}, [], id="nobody"),
        pytest.param({"learner": "9" * 40}, [], id="a number beyond any id"),
        pytest.param({"learner": "2", "program": "river"}, [2], id="two conditions"),
        pytest.param({"since": NOW + timedelta(days=20)}, [1, 2, 3], id="since a time"),
        pytest.param({"since": NOW + timedelta(days=99)}, [], id="since later"),
    ],
)
def test_filters(store: Store, tmp_path: Path, wanted: dict[str, Any], found: list[int]):
    fill(store, people(2))
    app = make_app(store, tmp_path, make_program(), _lake())
    sent(app)
    app.clock.now += timedelta(days=30)
    for number in (1, 2, 3):
        river = make_enrollment(1) if number < 3 else make_enrollment(1, grade=0.1)
        candidate = make_candidate(river, make_enrollment("lake1x"), learner=make_learner(number))
        fill(store, [candidate], program=_both())
    sent(app, "lake")
    assert listed(app, **wanted) == found


def _lake() -> Any:
    course = Course(code="lake1x", prefix="NX_LAKE1x", title="Ponds", passing_grade=0.5, current_run="1T2027")
    return make_program(course, code="lake", title="Lakes", template="lake", courses=(course,))


def _both() -> Any:
    return make_program(courses=(*make_program().courses, *_lake().courses))


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.UNKNOWN])
def test_what_went_wrong_stands_in_the_log_too(store: Store, tmp_path: Path, outcome: Outcome):
    fill(store, people(2))
    app = make_app(store, tmp_path, backend=Scripted({"learner1@mail.example": [outcome]}))
    sent(app)
    found = {message["student_id"]: message for message in sends(app, HistoryFilter(since=NOW))}
    assert (found[1]["status"], found[1]["sent_at"]) == (outcome.value, None)
    assert found[1]["error"]
    assert found[2]["status"] == "accepted"


def test_what_was_never_handed_over_is_not_since_anything(app: TestApp):
    planned(app)
    assert listed(app) == [1, 2, 3, 4, 5, 6, 7]
    assert listed(app, since=datetime.fromisoformat("2000-01-01T00:00:00+00:00")) == []


def test_campaigns_newest_first(app: TestApp):
    first, second = planned(app), planned(app)
    assert [campaign.id for campaign in campaign_list(app)] == [second, first]
    assert [campaign.id for campaign in campaign_list(app, first)] == [first]
    with pytest.raises(InputError, match="no campaign 99"):
        campaign_list(app, 99)


def test_a_log_of_many_is_streamed(store: Store, tmp_path: Path):
    """More than one round of reading: nothing is lost or doubled between the rounds."""
    fill(store, people(1))
    app = make_app(store, tmp_path)
    campaign = planned(app)
    with store.write() as connection:
        for table in (messages, merge_values):
            first = dict(connection.execute(select(table)).one()._mapping)
            own = [{"id": n + 100, "learner_id": n, "message_id": f"{n:016x}"} for n in range(2, 4_501)]
            more = [{**first, **{name: value for name, value in each.items() if name in first}} for each in own]
            connection.execute(insert(table), more)
    assert listed(app, campaign=campaign) == list(range(1, 4_501))
