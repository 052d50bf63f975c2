"""A template that works on personal values, from the plan to the log: derived values are frozen with the message."""

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from mmcampaign.campaigns import approve
from mmcampaign.delivery.sendgrid_body import requests_for
from mmcampaign.dry_run import dry_run
from mmcampaign.history import show
from mmcampaign.model import Batch, Receipt
from mmcampaign.planning import PlanRequest, plan
from mmcampaign.sending import SendRequest, send
from mmcampaign.store.engine import Store
from mmcampaign.store.tables import audit_log, merge_values, messages, shapes
from tests.builders import make_candidate, make_learner, make_program
from tests.worlds import Scripted, TestApp, fill, make_app, write_template

NAMES = {1: "ana pine", 2: "山田 太郎", 3: "", 4: "zoë o'brien", 5: "<b>& {{ x }}", 6: "bo ek"}
HTML = "<p>{{ (learner.name or 'friend') | title }}{% if learner.name | length > 8 %} (long){% endif %}</p>"
TEXT = "Dear {{ learner.name | title | default('friend', true) }} <{{ unsubscribe_url }}>"
REQUEST = PlanRequest(program="river", name="June")


@pytest.fixture
def app(store: Store, tmp_path: Path) -> TestApp:
    fill(store, [make_candidate(learner=make_learner(number, name=name)) for number, name in NAMES.items()])
    app = make_app(store, tmp_path, make_program(), backend=Scripted({}, batch_size=2))
    rewrite(tmp_path, HTML, TEXT)
    return app


def rewrite(folder: Path, html: str, text: str) -> None:
    write_template(folder, "river/subject.txt", "{{ learner.first_name | upper | default('You', true) }} passed")
    write_template(
        folder, "river/body.html", f"<html><body>{html}<a href='{{{{ unsubscribe_url }}}}'>no</a></body></html>"
    )
    write_template(folder, "river/body.txt", text)


def rows(store: Store, table: Any) -> list[Any]:
    with store.read() as connection:
        return list(connection.execute(select(table)))


def test_what_was_derived_is_sent_and_shown_again(app: TestApp):
    campaign = plan(app, REQUEST, lambda _connection, _campaign: None).id
    planned = rows(app.store, messages)
    assert len(rows(app.store, shapes)) == 3, "with a name, with a long one, and without"
    assert all(any("#" in name for name in json.loads(row.personal)) for row in rows(app.store, merge_values))
    approve(app, campaign)  # it does not pass for drift
    send(app, SendRequest(campaign=campaign), confirm=lambda _campaign, _number: None)
    backend = app.swapped
    assert isinstance(backend, Scripted)
    assert len(backend.taken) == len(NAMES)
    texts = {row.learner_id: show(app, row.message_id) for row in planned}
    assert all(shown.reproduced for shown in texts.values())
    assert texts[1].text.startswith("Dear Ana Pine <http")
    assert texts[3].text.startswith("Dear friend <http")
    assert "<p>Zoë O&#39;brien (long)</p>" in texts[4].html
    assert texts[5].text.startswith("Dear <B>& {{ X }} <http")
    assert (texts[1].subject, texts[3].subject) == ("ANA passed", "You passed")


def test_sendgrid_gets_one_body_and_the_derived_words(app: TestApp):
    campaign = plan(app, REQUEST, lambda _connection, _campaign: None).id
    approve(app, campaign)
    bodies: list[Batch] = []
    backend = app.swapped
    assert isinstance(backend, Scripted)
    deliver = backend.deliver

    def noted(batch: Batch) -> list[Receipt]:
        bodies.append(batch)
        return deliver(batch)

    backend.deliver = noted  # type: ignore[method-assign]
    send(app, SendRequest(campaign=campaign), confirm=lambda _campaign, _number: None)
    assert sum(len(batch.messages) for batch in bodies) == len(NAMES)
    for batch in bodies:
        for request in requests_for(batch, 500):
            for message, person in zip(request.messages, request.people, strict=True):
                text = request.text
                for token, words in json.loads(person)["substitutions"].items():
                    text = text.replace(token, words)
                assert text == show(app, message.message_id).text


def test_a_dry_run_says_who_is_rendered_one_by_one_and_why(app: TestApp, tmp_path: Path):
    rewrite(tmp_path, "\n<p class='{{ learner.name }}'>x</p>\n", TEXT)
    result = dry_run(app, REQUEST)
    told = [warning for warning in result.warnings if "one by one" in warning]
    assert told == [
        "5 emails were rendered one by one, which is slow. The reason: river/body.html, line 2: learner.name stands "
        "where the page could change with it."
    ]
    (planned,) = [row for row in rows(app.store, audit_log) if row.act == "planned"]
    assert json.loads(planned.facts)["rendered one by one"] == 5


def test_a_dry_run_that_shares_every_form_says_nothing_of_it(app: TestApp):
    assert not [warning for warning in dry_run(app, REQUEST).warnings if "one by one" in warning]
