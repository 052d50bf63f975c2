"""Merge values: shared ones hold nothing personal and digest exactly, names greet safely."""

import copy
import json
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcampaign.cohorts import Decision, decide
from mmcampaign.context import MergeContext, first_name, own_values, personal_values, shared_values, token_values
from mmcampaign.model import Program
from mmcampaign.rules import Candidate
from tests.builders import (
    certified,
    leaves,
    make_candidate,
    make_coming,
    make_course,
    make_enrollment,
    make_learner,
    make_policy,
    make_program,
)

SITE = {"name": "NX", "postal_address": "1 River Road, Nordland"}
CAMPAIGN = {"id": 3, "name": "June"}
COMING = make_coming(link="https://www.edx.example/next", title="Snow, again", enrollment_closes=date(2027, 7, 1))
PROGRAM = make_program(make_course(1, upgrade_deadline=date(2027, 6, 30)), make_course(2, coming_run=COMING))


def decision_for(program: Program, candidate: Candidate) -> Decision:
    return next(decision for decision in decide(program, candidate, make_policy()) if decision.chosen)


def values_for(program: Program, candidate: Candidate) -> dict[str, Any]:
    done = frozenset(course.code for course in program.courses if candidate.has_certificate(course))
    return shared_values(program, decision_for(program, candidate), done, site=SITE, campaign=CAMPAIGN)


def test_values_of_an_audit_passer():
    values = values_for(PROGRAM, make_candidate())
    assert values["cohort"] == "audit-upgrade"
    assert values["trigger"] == {
        "code": "river1x",
        "title": "Rain",
        "link": "https://www.edx.example/course/river1x",
        "run": "1T2027",
        "upgrade_deadline": "2027-06-30",
    }
    assert values["next"] == {
        "code": "river2x",
        "title": "Snow, again",
        "link": "https://www.edx.example/next",
        "enrollment_closes": "2027-07-01",
    }
    assert values["certificates"] == {"earned": 0, "total": 3, "remaining": 3}
    assert values["site"] == SITE
    assert values["campaign"] == CAMPAIGN
    assert values["item"] == {
        "no_certificate_eligible": 0,
        "trigger_course_verified": 0,
        "trigger_course_title": "Rain",
        "trigger_course_link": "https://www.edx.example/course/river1x",
        "next_course_title": "Snow",
        "next_course_link": "https://www.edx.example/next",
    }


def test_values_of_somebody_with_certificates_and_other_triggers():
    candidate = make_candidate(certified(1), certified(2), make_enrollment(3, grade=0.1), certified("rivercapx"))
    values = values_for(PROGRAM, candidate)
    assert values["cohort"] == "continue"
    assert values["trigger"]["code"] == "river2x"
    assert values["other_triggers"] == [{"code": "river1x", "title": "Rain"}]
    assert values["certificates"] == {"earned": 2, "total": 3, "remaining": 1}
    assert values["item"]["trigger_course_verified"] == 1
    courses = {course["code"]: course for course in values["program"]["courses"]}
    assert [code for code, course in courses.items() if course["done"]] == ["river1x", "river2x", "rivercapx"]
    assert [code for code, course in courses.items() if not course["series"]] == ["rivercapx"]
    assert [code for code, course in courses.items() if course["is_trigger"]] == ["river2x"]
    assert [code for code, course in courses.items() if course["is_next"]] == ["river3x"]


def test_without_a_next_course_next_is_none_and_the_predecessors_names_are_empty():
    candidate = make_candidate(make_enrollment(1), certified(2, run="1T2026"), certified(3, run="1T2026"))
    values = values_for(PROGRAM, candidate)
    assert values["next"] is None
    assert values["item"]["next_course_title"] == values["item"]["next_course_link"] == ""


def test_without_a_coming_run_the_next_course_speaks_for_itself():
    values = values_for(make_program(), make_candidate())
    assert values["next"] == {
        "code": "river2x",
        "title": "Snow",
        "link": "https://www.edx.example/course/river2x",
        "enrollment_closes": None,
    }


def test_shared_values_hold_nothing_personal():
    """They are kept once for many and stay when a learner is forgotten."""
    learner = make_learner(
        424242, username="ana_secret", email="ana.secret@mail.example", name="Ana Secret", country="ZZ"
    )
    values = values_for(PROGRAM, make_candidate(certified(1), make_enrollment(2), learner=learner))
    shown = " ".join(str(leaf) for leaf in leaves(values).values())
    for private in ("424242", "ana", "Ana", "secret", "Secret", "ZZ", "@mail.example"):
        assert private not in shown


def test_two_learners_alike_share_one_context():
    one, other = (make_candidate(learner=make_learner(number)) for number in (1, 2))
    assert MergeContext.of(values_for(PROGRAM, one)) == MergeContext.of(values_for(PROGRAM, other))


def test_shared_values_survive_the_database():
    values = values_for(PROGRAM, make_candidate(certified(1), make_enrollment(2)))
    context = MergeContext.of(values)
    assert json.loads(context.json) == values
    assert MergeContext.of(json.loads(context.json)).digest == context.digest


def test_digest_does_not_depend_on_the_order_of_keys():
    values = values_for(PROGRAM, make_candidate())
    assert MergeContext.of(dict(reversed(values.items()))).digest == MergeContext.of(values).digest


VALUES = values_for(PROGRAM, make_candidate(certified(1), certified(2), make_enrollment(3, grade=0.1)))


@pytest.mark.parametrize("path", sorted(leaves(VALUES)))
def test_digest_changes_with_any_value(path: str):
    changed: Any = copy.deepcopy(VALUES)
    *way, last = path.split(".")
    place = changed
    for step in way:
        place = place[int(step) if isinstance(place, list) else step]
    place[last] = "something else"
    assert MergeContext.of(changed).digest != MergeContext.of(VALUES).digest


# --- the person -----------------------------------------------------------------------------------------------------


def test_derived_values_pass_through_and_can_be_told_from_ones_own():
    own = personal_values(make_learner(7, name="Ana"))
    frozen = {**own, "learner.name#abcdefghij": "ANA"}
    assert token_values(frozen, "x") == {**token_values(own, "x"), "learner.name#abcdefghij": "ANA"}
    assert own_values(frozen) == own


def test_personal_values_have_every_name_that_templates_use():
    personal = personal_values(make_learner(7, name="Dr. Ana  Pine"))
    assert token_values(personal, "https://mail.example/u/x") == {
        "learner.name": "Dr. Ana Pine",
        "learner.first_name": "Ana",
        "learner.email": "learner7@mail.example",
        "learner.username": "learner_7",
        "learner.country": "AU",
        "unsubscribe_url": "https://mail.example/u/x",
        "item.email": "learner7@mail.example",
        "item.student_name": "Dr. Ana Pine",
        "item.student_id": "7",
        "item.unsubscribe_link": "https://mail.example/u/x",
    }


@pytest.mark.parametrize(
    ("name", "greeting"),
    [
        pytest.param("Ana Pine", "Ana", id="two words"),
        pytest.param("ana", "ana", id="one word, as typed"),
        pytest.param("  Ana \t Pine ", "Ana", id="blanks around"),
        pytest.param("", "", id="no name (E31)"),
        pytest.param("   ", "", id="blanks only"),
        pytest.param("Dr. Ana Pine", "Ana", id="a title"),
        pytest.param("Prof Dr Ana Pine", "Ana", id="two titles"),
        pytest.param("Mrs", "", id="nothing but a title"),
        pytest.param("Jean-Luc Picard", "Jean-Luc", id="a hyphen"),
        pytest.param("D'Arcy O’Brien", "D'Arcy", id="an apostrophe"),
        pytest.param('"Ana" Pine', "Ana", id="quotes"),
        pytest.param("A. Pine", "", id="an initial"),
        pytest.param("J.P. Pine", "J.P", id="two initials"),
        pytest.param("A Pine", "", id="an initial without its dot"),
        pytest.param("山田 太郎", "山田 太郎", id="Japanese: whole"),
        pytest.param("김 민준", "김 민준", id="Korean: whole"),
        pytest.param("李", "李", id="one Chinese sign is a name"),
        pytest.param("محمد علي", "محمد", id="Arabic"),
        pytest.param("علی\u200cرضا کریمی", "علی\u200cرضا", id="Persian with a joiner inside the name"),
        pytest.param("प्रिया शर्मा", "प्रिया", id="Devanagari with vowel marks"),
        pytest.param("Nguyễn Văn An", "Nguyễn", id="Vietnamese, composed"),
        pytest.param("Nguye\u0302\u0303n Va\u0306n", "Nguye\u0302\u0303n", id="Vietnamese, with combining marks"),
        pytest.param("Łukasz Żak", "Łukasz", id="Polish"),
        pytest.param("=Ana Pine", "Ana", id="a leading = (E29)"),
        pytest.param("+Ana", "Ana", id="a leading +"),
        pytest.param("=1+1", "", id="a sum"),
        pytest.param('=HYPERLINK("http://x.example","Ana")', "", id="a formula"),
        pytest.param("Ana\r\nBcc: all@x.example", "", id="a header smuggled in (E20)"),
        pytest.param("Ana\r\nPine", "Ana", id="a line break (E20)"),
        pytest.param("Ana\u2028Pine", "Ana", id="a line separator"),
        pytest.param("{{ learner.email }}", "", id="a template expression"),
        pytest.param("{% include 'x' %}", "", id="a template tag"),
        pytest.param("<script>alert(1)</script>", "", id="a script"),
        pytest.param("Ana<br>", "", id="a tag"),
        pytest.param("x" * 300, "", id="300 characters"),
        pytest.param("A" * 31, "", id="one more than the longest"),
        pytest.param("A" * 30, "A" * 30, id="the longest"),
        pytest.param("https://x.example/win", "", id="a link"),
        pytest.param("www.x.example", "", id="a bare link"),
        pytest.param("Visit casino.com now", "", id="a domain"),
        pytest.param("ana@mail.example", "", id="an address"),
        pytest.param("12345678", "", id="a number"),
        pytest.param("Ana4", "", id="a user name"),
        pytest.param("???? ????", "", id="accents lost by a spreadsheet"),
        pytest.param("😀 Ana", "", id="an emoji first"),
        pytest.param("Ana 😀", "Ana", id="an emoji last"),
        pytest.param("\u202eenaJ", "enaJ", id="a direction override"),
        pytest.param("Pine, Ana", "", id="family name first with a comma"),
        pytest.param("Ana Pine, PhD", "Ana", id="a degree after a comma"),
        pytest.param("Ana,", "Ana", id="a comma at the end"),
    ],
)
def test_first_name(name: str, greeting: str):
    assert first_name(name) == greeting


@given(st.text(max_size=60))
def test_a_greeting_is_one_short_harmless_line(name: str):
    greeting = first_name(name)
    assert len(greeting) <= 30
    assert greeting == greeting.strip()
    assert not set(greeting) & set('<>{}@/\\|=\r\n"')
    assert first_name(greeting) in (greeting, "")


@given(st.text(max_size=60))
def test_a_stored_name_is_one_line(name: str):
    stored = personal_values(make_learner()._replace(name=name))["name"]
    assert len(stored.splitlines()) <= 1
    assert stored == stored.strip()
    assert personal_values(make_learner()._replace(name=stored))["name"] == stored
