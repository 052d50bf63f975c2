"""Previews of real selections: one email a shape, the learners out of the ordinary, the checks' findings."""

from email import message_from_bytes
from email.policy import default
from pathlib import Path

import pytest

from mmcampaign.errors import InputError
from mmcampaign.model import Cohort
from mmcampaign.previews import preview
from mmcampaign.store.engine import Store
from tests.builders import certified, make_candidate, make_learner
from tests.worlds import TestApp, fill, make_app, on_sqlite, people, write_template

pytestmark = on_sqlite

NAMES = {4: "Maximiliana-Alexandrina von Hohenfels", 5: "Анна Ли", 6: "فرح", 7: ""}


@pytest.fixture
def river(store: Store, tmp_path: Path) -> TestApp:
    named = [make_candidate(learner=make_learner(number, name=name)) for number, name in NAMES.items()]
    ordinary = [make_candidate(learner=make_learner(number)) for number in (1, 2, 3)]
    fill(store, [*ordinary, *named, make_candidate(certified(1), learner=make_learner(8))])
    return make_app(store, tmp_path)


def test_each_shape_with_its_number_and_its_remarkable_learners(river: TestApp) -> None:
    made = preview(river, "river")
    shown = [
        (shape.learners, shape.cohort, [(email.student_id, email.why) for email in shape.emails])
        for shape in made.page.shapes
    ]
    assert shown == [
        (
            6,
            "audit-upgrade",
            [
                (1, ("the first of them",)),
                (4, ("the longest name",)),
                (5, ("not in Latin letters",)),
                (6, ("written from right to left",)),
            ],
        ),
        (1, "audit-upgrade", [(7, ("the first of them", "no name"))]),
        (1, "continue", [(8, ("the first of them", "the longest name"))]),
    ]
    assert made.remark == ""


def test_no_file_holds_a_live_unsubscribe_link(river: TestApp) -> None:
    made = preview(river, "river")
    for path in made.files.index.parent.iterdir():
        links = path.read_text("utf-8").split("https://mail.nx.example/u/")[1:]
        assert all(link.startswith("preview") for link in links), path.name


def test_files_are_the_email_as_the_learner_would_get_it(river: TestApp) -> None:
    made = preview(river, "river")
    email, files = made.page.shapes[0].emails[1], made.files.shapes[0][1]
    message = message_from_bytes(files.eml.read_bytes(), policy=default)
    assert message["Subject"] == email.subject == "One step left: Rain"
    assert email.name in files.text.read_text("utf-8")
    assert "Dear Maximiliana-Alexandrina," in files.html.read_text("utf-8")


def test_facts_tell_what_decides(river: TestApp) -> None:
    facts = dict(preview(river, "river").page.shapes[0].facts)
    assert facts["After"] == "Rain, 1T2027"
    assert preview(river, "river").page.shapes[1].choices
    assert (facts["Next course"], facts["Certificates"], facts["Name to greet"]) == ("Snow", "0 of 3", "yes")


def test_the_checks_findings_are_on_the_page(river: TestApp) -> None:
    assert "link-in-one-part" in {finding.code for finding in preview(river, "river").page.findings}
    assert "stands in the HTML part" in preview(river, "river").files.index.read_text("utf-8")


def test_one_learner(river: TestApp) -> None:
    made = preview(river, "river", learner="learner_8", cohorts=frozenset({Cohort.CONTINUE}))
    assert [[email.student_id for email in shape.emails] for shape in made.page.shapes] == [[8]]


def test_where_nobody_is_chosen_those_left_out_are_shown(store: Store, tmp_path: Path) -> None:
    fill(store, people(2, suppression="unsubscribed"))
    made = preview(make_app(store, tmp_path), "river")
    assert made.remark.startswith("Nobody would be written to today")
    assert made.remark in made.files.index.read_text("utf-8")
    with pytest.raises(InputError, match="No learner of Rivers gives a reason"):
        preview(make_app(store, tmp_path), "river", cohorts=frozenset({Cohort.CONTINUE}))


def test_very_many_shapes_are_cut_and_told(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmcampaign.previews.MOST_SHAPES", 3)
    fill(store, [make_candidate(learner=make_learner(number, name="A" * number)) for number in range(1, 6)])
    app = make_app(store, tmp_path)
    loop = "{% for _ in range(learner.name | length) %}-{% endfor %} {{ unsubscribe_url }}\n"
    write_template(tmp_path, "river/body.txt", loop)
    made = preview(app, "river")
    assert len(made.page.shapes) == 3
    assert made.remark == "There are 5 shapes; shown are the 3 with most learners."
