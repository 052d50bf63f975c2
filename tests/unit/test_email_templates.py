"""Every template on disk, in every combination of facts it can meet: complete, honest links, readable, reviewed.

``UPDATE_GOLDEN=1`` rewrites the emails kept in ``tests/golden/emails``; review them as a diff.
"""

import os
import re
from collections import Counter
from dataclasses import replace
from datetime import date
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from lxml import html as lxml_html

from mmcampaign.cohorts import Decision
from mmcampaign.config import load_settings
from mmcampaign.context import MergeContext, shared_values, token_values
from mmcampaign.merge import Merger, Template
from mmcampaign.model import Cohort, ComingRun, Learner, Program
from mmcampaign.shapes import Filler

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "templates" / "emails"
GOLDEN = ROOT / "tests" / "golden" / "emails"
NAMES = sorted(path.name for path in FOLDER.iterdir() if path.is_dir() and path.name != "_base")
LINK = "https://mail.example.edu/u/AbCdEf0123456789AbCdEf0123456789"
SITE = {"name": "UQx", "postal_address": "The University of Queensland, St Lucia QLD 4072, Australia"}
PROGRAMS = [name for name in NAMES if name != "_new"]  # _new is what `templates new` starts from
every_template = pytest.mark.parametrize("name", NAMES)


class Case(NamedTuple):
    """The facts that a template's branches ask for. ``done`` counts certificates of the series."""

    cohort: Cohort
    done: int
    has_next: bool
    day: date | None
    others: int
    first_name: str


def cases() -> list[Case]:
    days = (None, date(2027, 1, 20))
    upgrades = product((Cohort.AUDIT_UPGRADE,), (0, 2, 3), (True, False), days, (0, 1, 2), ("Ann", ""))
    going_on = product((Cohort.CONTINUE,), (1, 3, 4), (True, False), days, (0, 1, 2), ("Ann", ""))
    return [Case(*facts) for facts in (*upgrades, *going_on)]


class Email(NamedTuple):
    subject: str
    html: str
    text: str
    context: MergeContext


@pytest.fixture(scope="module")
def programs() -> dict[str, Program]:
    return {program.template: program for program in load_settings(ROOT / "config.toml", {}).programs.values()}


@pytest.fixture(scope="module")
def templates() -> dict[str, Template]:
    return {name: Merger(FOLDER).load(name) for name in NAMES}


def merge(template: Template, program: Program, case: Case) -> Email:
    """The trigger is the course after the certificates (audit-upgrade), or the last one with a certificate."""
    series = program.series
    place = min(case.done, 3) if case.cohort is Cohort.AUDIT_UPGRADE else case.done - 1
    trigger = series[place]._replace(upgrade_deadline=case.day)
    following = series[(place + 1) % 4]._replace(coming_run=ComingRun(run="1T2027", enrollment_closes=case.day))
    courses = {trigger.code: trigger, following.code: following}
    program = replace(program, courses=tuple(courses.get(course.code, course) for course in program.courses))
    learner = Learner(student_id=1, username="ann", email="ann@example.org", name=f"{case.first_name} Lee".strip())
    decision = Decision(
        learner=learner,
        cohort=case.cohort,
        trigger=trigger,
        next_course=following if case.has_next else None,
        certificates_earned=case.done,
        other_triggers=tuple(course.code for course in series if course != trigger)[: case.others],
    )
    done = frozenset(course.code for course in series[: case.done])
    context = MergeContext.of(shared_values(program, decision, done, site=SITE, campaign={"id": 7, "name": "January"}))
    personal = {"name": learner.name, "first_name": case.first_name, "email": learner.email, "username": "ann"}
    merged = template.merge(context, token_values({**personal, "country": "AU", "student_id": "1"}, LINK))
    assert merged.shared, "one shape serves all who have the same facts"
    filler = Filler(merged.shape)
    return Email(filler.subject(merged.values), filler.html(merged.values), filler.text(merged.values), context)


@pytest.fixture(params=NAMES, scope="module")
def emails(request: Any, programs: dict[str, Program], templates: dict[str, Template]) -> list[tuple[Case, Email]]:
    """Every case of one template."""
    name = request.param
    program = programs.get(name) or next(iter(programs.values()))
    return [(case, merge(templates[name], program, case)) for case in cases()]


def visible(page: Any) -> str:
    """The words a reader sees, without the preheader."""
    body = page.find("body")
    for hidden in body.find_class("preheader"):
        hidden.drop_tree()
    return " ".join(piece for element in body.iter("*") for piece in (element.text or "", element.tail or ""))


def words(text: str) -> Counter[str]:
    return Counter(re.findall(r"\w+", re.sub(r"https?://\S+", "", text)))


@every_template
def test_a_template_is_three_files(name: str) -> None:
    assert sorted(path.name for path in (FOLDER / name).iterdir()) == ["body.html", "body.txt", "subject.txt"]


def test_every_configured_program_has_its_template(programs: dict[str, Program]) -> None:
    assert set(programs) <= set(NAMES)


def test_subjects_are_short_and_name_the_course_where_there_is_room(emails: list[tuple[Case, Email]]) -> None:
    for case, email in emails:
        values = email.context.values
        told = values["trigger"] if case.cohort is Cohort.AUDIT_UPGRADE else values["next"]
        assert 20 <= len(email.subject) <= 60
        assert email.subject == " ".join(email.subject.split())
        if told and len(told["title"]) <= 48:
            assert told["title"] in email.subject


def test_links_are_https_and_the_same_in_both_parts(emails: list[tuple[Case, Email]]) -> None:
    for case, email in emails:
        values = email.context.values
        page = lxml_html.document_fromstring(email.html)
        in_html = set(page.xpath("//a/@href"))
        target = values["trigger"] if case.cohort is Cohort.AUDIT_UPGRADE else values["next"]
        assert in_html == {LINK} | ({target["link"]} if target else set())
        assert in_html == set(re.findall(r"https?://\S+", email.text))
        assert all(link.startswith("https://") for link in in_html)
        assert not page.xpath("//img | //link | //script")


def test_both_parts_say_the_same(emails: list[tuple[Case, Email]]) -> None:
    for case, email in emails:
        page = lxml_html.document_fromstring(email.html)
        assert words(visible(page)) == words(email.text), case


def test_names_dates_and_progress_are_told(emails: list[tuple[Case, Email]]) -> None:
    for case, email in emails:
        text = " ".join(email.text.split())
        assert ("Hello Ann, " if case.first_name else "Hello, ") in text
        asked = case.day and (case.cohort is Cohort.AUDIT_UPGRADE or case.has_next)
        assert ("20 January 2027" in text) is bool(asked)
        assert text.count(" Earned ") == case.done
        assert SITE["postal_address"] in text
        assert "You receive this email because" in text
        assert ("You have also passed" in text) is bool(case.others)


def test_the_text_part_is_narrow(emails: list[tuple[Case, Email]]) -> None:
    for _, email in emails:
        lines = [line for line in email.text.splitlines() if not line.startswith("https://")]
        assert max(map(len, lines)) <= 76
        assert "\n\n\n" not in email.text


def test_the_page_is_complete(emails: list[tuple[Case, Email]]) -> None:
    for _, email in emails:
        page = lxml_html.document_fromstring(email.html)
        assert email.html.startswith("<!DOCTYPE html>")
        assert len(email.html.encode()) < 30_000
        assert page.get("lang") == "en"
        assert page.findtext(".//title") == page.findtext(".//h1")
        assert page.xpath("//meta[@name='color-scheme']/@content") == ["light dark"]
        assert set(page.xpath("//table/@role")) == {"presentation"}
        assert len(page.xpath("//table")) == len(page.xpath("//table[@role]"))
        assert "prefers-color-scheme: dark" in email.html
        assert email.html.count("<!--[if mso]>") == email.html.count("<![endif]-->")


def test_the_preheader_fills_the_inbox_line(emails: list[tuple[Case, Email]]) -> None:
    for _, email in emails:
        (preheader,) = lxml_html.document_fromstring(email.html).find_class("preheader")
        shown, padding = re.fullmatch(
            r"([^\u034f]*)([\u034f\u200c\xa0]+)", preheader.text_content().strip("\n")
        ).groups()  # type: ignore[union-attr]
        assert 40 <= len(shown.strip()) <= 130
        assert len(padding) >= 100


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


LIGHT = {"text": ("#2b2a29", "#5f5b57", "#1a1918"), "ground": ("#ffffff", "#f7f5f2")}
DARK = {"text": ("#eceae6", "#b9b5af"), "ground": ("#1d1f23", "#26292e")}


@every_template
def test_contrast_is_enough(name: str) -> None:
    source = (FOLDER / name / "body.html").read_text("utf-8")
    accent, dark_accent = (re.search(rf'{what} = "(#\w{{6}})"', source)[1] for what in ("accent", "accent_dark"))  # type: ignore[index]
    layout = (FOLDER / "_base" / "layout.html").read_text("utf-8")
    for colour in (*LIGHT["text"], *LIGHT["ground"], *DARK["text"], *DARK["ground"], "#131417"):
        assert f": {colour}" in layout, "the colours below are those of the layout"
    pairs = [
        *product((*LIGHT["text"], accent), LIGHT["ground"]),
        *product((*DARK["text"], dark_accent), DARK["ground"]),
        ("#ffffff", accent),
        ("#131417", dark_accent),
    ]
    assert [(pair, round(contrast(*pair), 1)) for pair in pairs if contrast(*pair) < 4.5] == []


REVIEWED = {
    "upgrade": Case(Cohort.AUDIT_UPGRADE, 1, True, date(2027, 1, 20), 0, "Ann"),
    "upgrade-last": Case(Cohort.AUDIT_UPGRADE, 3, False, None, 0, ""),
    "continue": Case(Cohort.CONTINUE, 2, True, date(2027, 1, 20), 1, "Ann"),
    "finished": Case(Cohort.CONTINUE, 4, False, None, 0, "Ann"),
}


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("what", REVIEWED)
def test_golden(name: str, what: str, programs: dict[str, Program], templates: dict[str, Template]) -> None:
    email = merge(templates[name], programs.get(name) or next(iter(programs.values())), REVIEWED[what])
    for suffix, content in (("subject.txt", email.subject + "\n"), ("html", email.html), ("txt", email.text)):
        path = GOLDEN / f"{name}-{what}.{suffix}"
        if os.environ.get("UPDATE_GOLDEN"):
            path.write_text(content, "utf-8")
        assert path.read_text("utf-8") == content, f"{path.name} differs; UPDATE_GOLDEN=1 rewrites it"
