"""The checks over a program: today's shapes and those of nobody today, findings that are accepted, and approval."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mmcampaign.app import open_app
from mmcampaign.campaigns import approve, get, refuse_drift
from mmcampaign.checking import Checked, accept, check_program
from mmcampaign.checks import limits
from mmcampaign.dry_run import DryRun, as_json, dry_run
from mmcampaign.errors import InputError, RefusedError
from mmcampaign.findings import Finding, Severity, count, findings_in, not_checked_in
from mmcampaign.model import CampaignState
from mmcampaign.planning import PlanRequest
from mmcampaign.resources import resource
from mmcampaign.store import audit
from mmcampaign.store.engine import Store, open_store
from mmcampaign.synthetic import all_facts
from tests.builders import certified, make_candidate, make_enrollment, make_learner
from tests.unit.checks_builders import HTML, SUBJECT, TEXT, after_greeting, put, worse_than_notes
from tests.worlds import TestApp, fill, make_app, people, write_template

CLEAN = {"subject.txt": SUBJECT, "body.html": HTML, "body.txt": TEXT}


@pytest.fixture
def store(sqlite_url: str) -> Iterator[Store]:
    """SQLite is enough: no statement here is a new one."""
    opened = open_store(sqlite_url)
    yield opened
    opened.close()


def edit(folder: Path, **files: str) -> None:
    """Write the clean template of the unit tests with these files changed (``body_html=…``)."""
    for name, content in (CLEAN | {name.replace("_", "."): content for name, content in files.items()}).items():
        write_template(folder, f"river/{name}", content)


@pytest.fixture
def world(store: Store, tmp_path: Path) -> Callable[..., TestApp]:
    """Three learners to upgrade in one course, one without a name in another. The template is clean but for that."""

    def build(**files: str) -> TestApp:
        fill(store, [*people(3), make_candidate(certified(1), make_enrollment(2), learner=make_learner(4, name=""))])
        app = make_app(store, tmp_path)
        edit(tmp_path, **files)
        return app

    return build


def blocking(checked: Checked) -> list[Finding]:
    return [each for each in checked.findings if each.severity is Severity.BLOCK]


def planned(app: TestApp) -> DryRun:
    return dry_run(app, PlanRequest(program="river", name="June"))


# --- which emails -----------------------------------------------------------------------------------------------------


def test_today_and_the_other_branches_are_looked_at(world: Callable[..., TestApp]) -> None:
    checked = check_program(world(), "river")
    assert worse_than_notes(checked.findings) == []
    assert [email.learners for email in checked.emails[:2]] == [3, 1]
    assert len(checked.emails) > 2 and {email.learners for email in checked.emails[2:]} == {0}
    assert len({email.shape for email in checked.emails}) == len(checked.emails)
    assert any("SpamAssassin" in aside for aside in checked.not_checked)
    assert any("--links" in aside for aside in checked.not_checked)


def test_a_program_without_data_is_checked_too(store: Store, tmp_path: Path) -> None:
    app = make_app(store, tmp_path)
    edit(tmp_path, body_html=put("{{ next.link }}", "#"))
    checked = check_program(app, "river")
    assert [(each.code, each.place, each.learners) for each in blocking(checked)] == [
        ("empty-link", "river/body.html:11", 0)
    ]


def test_any_three_facts_meet_in_every_way() -> None:
    rows = [(f.upgrade, f.following, f.dated, f.named, f.others, f.many) for f in all_facts()]
    for one in range(6):
        for two in range(one):
            for three in range(two):
                assert len({(row[one], row[two], row[three]) for row in rows}) == 8


@pytest.mark.parametrize(
    ("condition", "learners"),
    [
        pytest.param("trigger.code == 'river1x'", 3, id="three today"),
        pytest.param("not learner.name", 1, id="the one without a name"),
        pytest.param("trigger.upgrade_deadline and other_triggers", 0, id="nobody today"),
        pytest.param("not next and not certificates.remaining", 0, id="who has finished"),
    ],
)
def test_an_undefined_value_is_found_wherever_it_stands(
    world: Callable[..., TestApp], condition: str, learners: int
) -> None:
    body = put("{% if next %}", f"{{% if {condition} %}}\n{{{{ trigger.tilte }}}}{{% endif %}}\n{{% if next %}}", TEXT)
    checked = check_program(world(body_txt=body), "river")
    (found,) = [each for each in blocking(checked) if each.code == "undefined-value"]
    assert (found.place, found.part, found.learners) == ("river/body.txt:4", "text", learners)
    assert "trigger.title?" in found.message


@pytest.mark.parametrize(
    ("files", "code", "place"),
    [
        pytest.param({"body_html": HTML + "{% if %}"}, "template-error", "river/body.html:17", id="syntax"),
        pytest.param({"body_html": HTML + "{{ 1 / 0 }}"}, "template-error", "river/body.html:17", id="arithmetic"),
        pytest.param({"subject_txt": "{{ '' }}"}, "empty-subject", "river/subject.txt", id="empty subject"),
        pytest.param(
            {"body_html": put("</head>", "<style>@import 'x.css';</style>\n</head>")},
            "outside-style-sheet",
            "river/body.html:6",
            id="style sheet from elsewhere",
        ),
    ],
)
def test_a_template_that_cannot_be_merged_is_a_finding(
    world: Callable[..., TestApp], files: dict[str, str], code: str, place: str
) -> None:
    checked = check_program(world(**files), "river")
    assert {(each.code, each.place) for each in blocking(checked)} == {(code, place)}
    assert checked.blocked


def test_of_very_many_shapes_the_most_frequent_are_looked_at(
    world: Callable[..., TestApp], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SHAPES_CHECKED", 1)
    app = world()
    checked = check_program(app, "river")
    assert [email.learners for email in checked.emails] == [3]
    assert checked.not_checked[0].startswith("shapes beyond the 1 most frequent (")
    settings = planned(app).campaign.settings
    assert not_checked_in(settings) == ("shapes beyond the 1 most frequent (1)",)


@pytest.mark.parametrize("program", ["buslead", "corpinn", "engy", "lgdm"])
def test_shipped_templates_have_nothing_to_mend(program: str, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(resource("config.toml").read_bytes())
    app = open_app(tmp_path / "config.toml", {}, cwd=tmp_path)
    checked = check_program(app, program)
    app.store.close()
    assert worse_than_notes(checked.findings) == []
    assert len(checked.emails) >= 16


# --- accepting --------------------------------------------------------------------------------------------------------

NO_LANGUAGE = put(' lang="en"', "")


def test_a_warning_stands_until_the_template_is_edited(world: Callable[..., TestApp], tmp_path: Path) -> None:
    app = world(body_html=NO_LANGUAGE)
    assert count(check_program(app, "river").findings)["accepted"] == 0
    done = accept(app, "river", "no-language", reason="the layout is not ours", by="Lee")
    again = check_program(app, "river")
    for checked in (done, again):
        (warning,) = [each for each in checked.findings if each.severity is Severity.WARN]
        assert (warning.accepted, warning.open) == ("the layout is not ours (Lee)", False)
    with app.store.read() as connection:
        (entry,) = list(audit.entries(connection))
        assert audit.first_broken(connection) is None
    assert (entry["act"], entry["subject"], entry["actor"]) == ("accepted findings", "program river", "kim")
    assert entry["facts"].items() >= {"code": "no-language", "by": "Lee", "findings": 1}.items()
    edit(tmp_path, body_html=NO_LANGUAGE + "\n")
    assert count(check_program(app, "river").findings)["accepted"] == 0


@pytest.mark.parametrize(
    ("code", "reason", "error", "says"),
    [
        pytest.param("no-language", " ", InputError, "needs a reason", id="no reason"),
        pytest.param("no-lang", "why", InputError, "no warning 'no-lang'", id="no such warning"),
        pytest.param("clients-html-body", "why", InputError, "no warning", id="a note"),
        pytest.param("empty-link", "why", RefusedError, "cannot be accepted", id="what blocks"),
    ],
)
def test_what_cannot_be_accepted(
    world: Callable[..., TestApp], code: str, reason: str, error: type[Exception], says: str
) -> None:
    app = world(body_html=NO_LANGUAGE.replace("{{ next.link }}", "#"))
    with pytest.raises(error, match=says) as raised:
        accept(app, "river", code, reason=reason)
    assert getattr(raised.value, "unchanged", "") == "Nothing was accepted."
    with app.store.read() as connection:
        assert list(audit.entries(connection)) == []


# --- approval ---------------------------------------------------------------------------------------------------------


def test_findings_are_frozen_with_the_campaign(world: Callable[..., TestApp]) -> None:
    app = world(body_html=NO_LANGUAGE)
    accept(app, "river", "no-language", reason="known")
    result = planned(app)
    found = findings_in(result.campaign.settings)
    assert as_json(result)["findings"] == count(found)
    (warning,) = [each for each in found if each.severity is Severity.WARN]
    assert (warning.place, warning.learners, warning.accepted) == ("river/body.html:2", 4, "known (kim)")
    assert len(warning.shapes) == result.shapes == 2
    page = result.files.report.read_text("utf-8")
    assert "river/body.html:2" in page and "known (kim)" in page
    with app.store.read() as connection:
        refuse_drift(app, connection, get(connection, result.campaign.id))
    assert approve(app, result.campaign.id).state is CampaignState.APPROVED


def test_what_blocks_is_not_approved_and_a_mended_template_is(world: Callable[..., TestApp], tmp_path: Path) -> None:
    app = world(body_html=after_greeting('<p><a href="#">Upgrade</a></p>'))
    campaign = planned(app).campaign
    with pytest.raises(RefusedError, match="A finding blocks the approval") as raised:
        approve(app, campaign.id)
    assert raised.value.exit_code == 3
    assert raised.value.facts == ("river/body.html:10: The link “Upgrade” leads nowhere: its address is empty.",)
    assert "mmcampaign dry-run river" in raised.value.todo
    with app.store.read() as connection:
        assert get(connection, campaign.id).state is CampaignState.PLANNED
    edit(tmp_path)
    assert approve(app, planned(app).campaign.id).state is CampaignState.APPROVED


def test_the_report_of_what_blocks_does_not_ask_for_approval(world: Callable[..., TestApp]) -> None:
    app = world(body_html=after_greeting('<p><a href="#">Upgrade</a></p>'))
    page = planned(app).files.report.read_text("utf-8")
    assert "cannot be approved yet" in page
    assert "mmcampaign approve" not in page
    assert "mmcampaign check river" in page


def test_branches_nobody_reaches_do_not_block_a_campaign(world: Callable[..., TestApp]) -> None:
    app = world(body_html=put("{% if next %}", "{% if not next %}<a href=''>x</a>{% endif %}{% if next %}"))
    assert check_program(app, "river").blocked
    assert approve(app, planned(app).campaign.id).state is CampaignState.APPROVED


def test_a_test_host_of_ours_warns_before_people_are_written_to(world: Callable[..., TestApp]) -> None:
    app = world()
    mail = app.settings.mail.model_copy(update={"backend": "smtp"})
    careful = replace(app, settings=app.settings._replace(mail=mail))
    assert {"configured-test-host"} == {code for code, _ in worse_than_notes(check_program(careful, "river").findings)}
