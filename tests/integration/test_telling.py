"""What SendGrid is told of each person: made when a campaign is planned for it, handed over as it lies there."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from mmcampaign.campaigns import approve
from mmcampaign.delivery import SendgridOptions
from mmcampaign.delivery.sendgrid import SendgridBackend
from mmcampaign.delivery.sendgrid_body import requests_for
from mmcampaign.errors import UnavailableError
from mmcampaign.history import HistoryFilter, sends, show
from mmcampaign.model import Batch, MessageStatus, Sender
from mmcampaign.outgoing import Maker
from mmcampaign.planning import PlanRequest, plan
from mmcampaign.sending import SendRequest, send
from mmcampaign.store.campaigns import get_shape
from mmcampaign.store.contents import stored
from mmcampaign.store.engine import Store
from mmcampaign.store.tables import merge_values, whole_messages
from tests.builders import make_candidate, make_learner, make_program
from tests.servers.faulty_http import Answer
from tests.servers.sendgrid import KEY, SendgridServer, errors, sendgrid_server
from tests.worlds import Scripted, TestApp, fill, make_app

NAMES = {1: "Ana Pine", 2: "山田 太郎", 3: "", 4: 'Zoë "Zo" O\'Brien, PhD', 5: "<b>& {{ x }} 100 %s", 6: "ñ" * 6_000}
WORDY = 6  # more words than the substitutions may hold
SENDER = Sender(name="NX Updates", email="news@nx.example")


@pytest.fixture
def server() -> Iterator[SendgridServer]:
    with sendgrid_server() as running:
        yield running


@pytest.fixture
def app(store: Store, tmp_path: Path, server: SendgridServer) -> TestApp:
    """Planned for SendGrid and sent to one on this machine."""
    fill(store, [make_candidate(learner=make_learner(number, name=name)) for number, name in NAMES.items()])
    backend = SendgridBackend(SendgridOptions(api_key=KEY, host=server.url, batch_size=4))
    return planned_for(make_app(store, tmp_path, make_program(), backend=backend), "sendgrid")


def planned_for(app: TestApp, backend: str) -> TestApp:
    mail = app.settings.mail.model_copy(update={"backend": backend})
    return replace(app, settings=app.settings._replace(mail=mail))


def planned(app: TestApp, limit: int | None = None) -> int:
    campaign = plan(app, PlanRequest(program="river", name="June", limit=limit), lambda _connection, _campaign: None).id
    approve(app, campaign)
    return campaign


def go(app: TestApp, campaign: int) -> None:
    send(app, SendRequest(campaign=campaign), confirm=lambda _campaign, _number: None, stop=app.clock)


def log(app: TestApp) -> dict[int, Any]:
    with app.store.read() as connection:
        return {row.learner_id: row for row in connection.execute(whole_messages)}


def people(server: SendgridServer) -> dict[str, Any]:
    """What was posted of each person, by address."""
    return {person["to"][0]["email"]: person for body in server.requests for person in body["personalizations"]}


def test_it_is_what_would_be_made_at_the_hand_over(app: TestApp):
    planned(app)
    rows = log(app)
    assert {learner for learner, row in rows.items() if row.told is None} == {WORDY}
    for row in rows.values():
        claimed, content = stored(row)
        with app.store.read() as connection:
            maker = Maker(get_shape(connection, row.shape_digest), SENDER, row.campaign_id, whole=False)
        outgoing = maker.outgoing([(claimed, content._replace(told=""))])
        (request,) = requests_for(Batch(sender=SENDER, messages=tuple(outgoing)), 1)
        if row.learner_id != WORDY:
            assert (request.people, request.digests()) == ([row.told], [row.told_digest])


def test_it_is_handed_over_as_it_lies_there(app: TestApp, server: SendgridServer):
    campaign = planned(app)
    go(app, campaign)
    posted = people(server)
    for row in log(app).values():
        assert row.told is None or posted.pop(row.email) == json.loads(row.told)
    assert list(posted) == [f"learner{WORDY}@mail.example"]
    arrived = {mail.to_email: mail for mail in server.mails}
    assert len(server.mails) == len(arrived) == len(NAMES)
    for message in sends(app, HistoryFilter(campaign=campaign)):
        shown, mail = show(app, message["message"]), arrived[message["email"]]
        assert shown.reproduced
        assert (shown.html, shown.text) == (mail.html, mail.text)


def test_a_campaign_planned_for_files_can_be_sent_through_sendgrid(app: TestApp, server: SendgridServer):
    campaign = planned(planned_for(app, "file"))
    assert {row.told for row in log(app).values()} == {None}
    go(app, campaign)
    assert len({mail.to_email for mail in server.mails}) == len(server.mails) == len(NAMES)
    assert all(show(app, message["message"]).reproduced for message in sends(app, HistoryFilter(campaign=campaign)))


def test_a_campaign_planned_for_sendgrid_can_be_sent_as_whole_emails(app: TestApp):
    """And what is logged is the digest of these."""
    other = Scripted({})
    campaign = planned(app)
    go(replace(app, swapped=other), campaign)
    assert len(other.taken) == len(NAMES)
    for message in other.taken:
        shown = show(app, message.message_id)
        assert (shown.reproduced, shown.eml) == (True, message.eml)
        assert shown.facts["digest"] == hashlib.sha256(message.eml).hexdigest()


def test_what_sendgrid_says_of_a_person_is_logged_without_them(app: TestApp, server: SendgridServer):
    """Names and addresses are known from what it was told; one person's row does not tell of another either."""
    said = errors("ana pine <learner1@mail.example>, learner1 and 山田 太郎 are on a list", field="personalizations")
    server.script.append(Answer(status=500, body=said))
    go(app, planned(app, limit=2))
    assert len(server.requests) == 1, "both in one request"
    told = [row.error for row in log(app).values()]
    assert (
        told
        == [
            "SendGrid's answer leaves open whether it took the message (500: [name] <[address]>, [name] and "
            "[name] are on a list)."
        ]
        * 2
    )


def test_before_it_was_handed_over_nothing_is_proven(app: TestApp, server: SendgridServer):
    """Also when it was claimed, and put back."""
    server.script.append(Answer(status=401, body=errors("authorization required")))
    campaign = planned(app)
    go(app, campaign)
    assert {row.status for row in log(app).values()} == {MessageStatus.PENDING}
    assert any(row.claimed_at for row in log(app).values())
    shown = [show(app, message["message"]) for message in sends(app, HistoryFilter(campaign=campaign))]
    assert {(each.reproduced, each.facts["digest"]) for each in shown} == {(None, None)}


@pytest.mark.parametrize("change", [{"told_digest": "0" * 64}, {"told": '{"to":[{"email":"x@y.example"}]}'}], ids=str)
def test_tampering_with_it_is_noticed(app: TestApp, change: dict[str, Any]):
    campaign = planned(app)
    go(app, campaign)
    with app.store.write() as connection:
        connection.execute(update(merge_values).where(merge_values.c.told.is_not(None)).values(change))
    (message,) = sends(app, HistoryFilter(campaign=campaign, learner="1"))
    with pytest.raises(UnavailableError, match="cannot be shown as it was sent"):
        show(app, message["message"])
