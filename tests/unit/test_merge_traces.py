"""Traced shapes: what is decided and told, what is derived and kept, who is rendered alone and why."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import default
from pathlib import Path

import pytest
from lxml import html as lxml_html

from mmcampaign.context import MergeContext
from mmcampaign.errors import TemplateError
from mmcampaign.merge import Merged, Template, paths
from mmcampaign.mime import Composer
from mmcampaign.model import Sender
from mmcampaign.shapes import MARK, tokens
from tests.unit.merge_builders import ANN, LINK, SHARED, filled, load, merge_one

CONTEXT = MergeContext.of(SHARED)
BOB = {**ANN, "learner.name": "Bob Ng", "learner.first_name": "Bob", "learner.country": "NZ"}


def merge(template: Template, **personal: str) -> Merged:
    return template.merge(CONTEXT, {**ANN, **{name.replace("__", "."): value for name, value in personal.items()}})


# ---- decisions


@pytest.mark.parametrize(
    ("what", "told"),
    [
        pytest.param("{% if learner.name %}x{% endif %}", "learner.name -> yes", id="there"),
        pytest.param("{% if learner.country == 'AU' %}x{% endif %}", "learner.country == 'AU' -> yes", id="equal"),
        pytest.param("{% if 'NZ' != learner.country %}x{% endif %}", "'NZ' != learner.country -> yes", id="unequal"),
        pytest.param("{% if learner.country in ['NZ'] %}x{% endif %}", "learner.country in ['NZ'] -> no", id="in"),
        pytest.param(
            "{% if learner.name | length > 9 %}x{% endif %}", "(learner.name | length) > 9 -> no", id="length"
        ),
        pytest.param(
            "{% if learner.name.startswith('A') %}x{% endif %}", "learner.name.startswith('A') -> yes", id="method"
        ),
        pytest.param("{% if learner.name is upper %}x{% endif %}", "learner.name is upper -> no", id="test"),
        pytest.param(
            "{% for word in learner.name.split(' ') %}{{ word }}{% endfor %}",
            "length of (learner.name.split(' ')) -> 2",
            id="words",
        ),
        pytest.param("{% if learner.name[0] == 'A' %}x{% endif %}", "(learner.name[0]) == 'A' -> yes", id="letter"),
        pytest.param("{% if learner.name[:1] == 'A' %}x{% endif %}", "(learner.name[:1]) == 'A' -> yes", id="cut"),
    ],
)
def test_decisions_are_told_with_their_line(tmp_path: Path, what: str, told: str) -> None:
    merged = merge_one(tmp_path, body_html=f"<p>Hello</p>\n\n{what}")
    assert merged.shared
    assert [str(choice) for choice in merged.choices] == [f"{told}, mail/body.html line 3"]


def test_what_is_always_so_is_no_decision(tmp_path: Path) -> None:
    what = "{% if learner.name is defined and next is none %}{{ learner.country | default('x') }}{% endif %}"
    merged = merge_one(tmp_path, body_txt="{{ learner.name }}" + what)
    assert merged.choices == ()
    assert merged.derived == {}


def test_an_empty_value_is_told(tmp_path: Path) -> None:
    merged = merge_one(tmp_path, {**ANN, "learner.name": ""}, body_txt="Dear {{ learner.name }}")
    assert [str(choice) for choice in merged.choices] == ["learner.name -> empty, mail/body.txt line 1"]


def test_others_follow_the_decisions_without_a_render(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    template = load(
        tmp_path, body_txt="{% if learner.country == 'AU' %}Oz{% else %}{{ learner.name | upper }}{% endif %}"
    )
    oz, nz = template.merge(CONTEXT, ANN), template.merge(CONTEXT, BOB)
    monkeypatch.setattr(template, "_rendered", None)
    again = merge(template, learner__name="Zoë")
    other = merge(template, learner__name="Zoë", learner__country="FJ")
    assert again.shape is oz.shape
    assert other.shape is nz.shape
    assert (filled(again)[2], filled(other)[2]) == ("Oz\n", "ZOË\n")


# ---- derived values


def test_a_derived_value_is_named_after_its_field_and_kept(tmp_path: Path) -> None:
    merged = merge_one(tmp_path, body_txt="{{ learner.name | upper }}", body_html="<p>{{ learner.name | upper }}</p>")
    ((name, value),) = merged.derived.items()
    assert name.startswith("learner.name#")
    assert value == "ANN LEE"
    assert {token.field for token in tokens(merged.shape.html + merged.shape.text)} == {name}
    assert merged.values == {**ANN, **merged.derived}


def test_equal_derivations_have_equal_names_and_others_do_not(tmp_path: Path) -> None:
    def name(what: str) -> str:
        return next(iter(merge_one(tmp_path, body_txt=what).derived))

    assert name("{{ learner.name | upper }}") == name("a {{ learner.name|upper }} b")
    different = ["upper", "lower", "replace('n', 'm')", "replace('n', 'o')", "truncate(5)", "truncate(5, true)"]
    assert len({name(f"{{{{ learner.name | {what} }}}}") for what in different}) == len(different)


def test_spaces_around_a_derived_value_stand_in_the_shape(tmp_path: Path) -> None:
    template = load(tmp_path, body_txt="[{{ learner.name[:4] }}]")
    assert filled(merge(template, learner__name="Ann Lee"))[2] == "[Ann ]\n"
    assert filled(merge(template, learner__name="Anna Lee"))[2] == "[Anna]\n"
    assert not template.alone


def test_values_derived_before_are_not_merge_values(tmp_path: Path) -> None:
    merged = merge_one(tmp_path, {**ANN, "learner.name#abcdefghij": "x"}, body_txt="{{ learner | length }}")
    assert filled(merged)[2] == "3\n"


# ---- alone


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        pytest.param(
            {"body_html": "<p>\n{{ learner.name | map('upper') | join }}</p>"},
            "mail/body.html, line 2: the filter map looks at a personal value",
            id="a filter that is not followed",
        ),
        pytest.param(
            {"body_html": "\n<p class='{{ learner.country }}'>x</p>"},
            "mail/body.html, line 2: learner.country stands where the page could change with it",
            id="a class",
        ),
        pytest.param(
            {"body_txt": "{{ unsubscribe_url | upper }}"},
            "mail/body.txt, line 1: unsubscribe_url | upper changes the unsubscribe link",
            id="the link, changed",
        ),
        pytest.param(
            {"body_txt": "{{ learner.name | replace(' ', '\n') }}"},
            "mail/body.txt, line 1: learner.name | replace(' ', '\\n') comes out with markup, line breaks or control "
            "characters",
            id="line breaks",
        ),
        pytest.param(
            {"body_html": "<a href='x?{{ learner.name }}'>x</a>"},
            "mail/body.html, line 1: learner.name has signs that a link or a comment changes",
            id="a space in a link",
        ),
    ],
)
def test_who_is_rendered_alone_is_counted_with_the_reason(tmp_path: Path, files: dict[str, str], reason: str) -> None:
    template = load(tmp_path, **files)
    one, two = template.merge(CONTEXT, ANN), template.merge(CONTEXT, BOB)
    assert not one.shared
    assert one.reason == reason
    assert not tokens(one.shape.html + one.shape.text + one.shape.subject)
    assert not two.shared
    assert template.alone == {reason: 2}


def test_only_those_are_alone_who_need_it(tmp_path: Path) -> None:
    template = load(tmp_path, body_html="<p>{{ learner.name | safe }}</p>")
    shared = [merge(template, learner__name=name).shared for name in ("Ann", "A <b>", "Bob", "A & B", "欧阳")]
    assert shared == [True, False, True, False, True]


def test_too_many_forms_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "MOST_PATHS", 5)
    template = load(tmp_path, body_txt="Hi\n{% for letter in learner.name %}{{ letter }}{% endfor %}")
    merged = [merge(template, learner__name="x" * length) for length in range(1, 9)]
    assert [each.shared for each in merged].count(False) == 3
    assert merged[-1].reason.startswith("mail/body.txt, line 2: decides so often that there would be more than 5")
    assert filled(merged[-1])[2] == "Hi\n" + "x" * 8 + "\n"
    assert merge(template, learner__name="yy").shared, "a form that is there is still used"


def test_an_error_that_only_others_meet_is_an_error(tmp_path: Path) -> None:
    template = load(tmp_path, body_txt="{% set unused = 10 // (learner.name | length - 3) %}x")
    merge(template, learner__name="Anna")
    with pytest.raises(TemplateError, match=r"body\.txt, line 1.*ZeroDivisionError"):
        merge(template, learner__name="Bob")


def test_no_error_quotes_a_person(tmp_path: Path) -> None:
    with pytest.raises(TemplateError) as caught:
        merge_one(tmp_path, body_txt="{{ {'x': 1}[learner.name] }}")
    assert "Ann" not in caught.value.what
    assert caught.value.__cause__ is None


def test_a_template_that_rolls_dice_is_rendered_alone_in_the_end(tmp_path: Path) -> None:
    dice = "{% if range(2) | random %}{{ learner.name | upper }}{% else %}{{ learner.name }}{% endif %}"
    template = load(tmp_path, body_txt=dice)
    texts = {filled(merge(template, learner__name="Ann", learner__country=str(n)))[2] for n in range(40)}
    assert texts <= {"ANN\n", "Ann\n"}


# ---- inert

HOSTILE = {
    "a template": "{{7*7}}",
    "the end of a style": "</style><p>x",
    "a script": '"><script>alert(1)</script>',
    "a header": "Ann\r\nBcc: x@y.example",
    "an encoded header": "Ann%0aBcc: x@y.example",
    "an override": "\u202etxt.exe",
    "a token": "Zq7hlearner0email7qZ",
    "a derived token": "Zq!7tlearner0name2abcdefghij7qZ",
    "an attribute": "x' onmouseover='alert(1)",
    "a script link": "javascript:alert(1)",
}
EVERYWHERE: Mapping[str, str] = {
    "subject_txt": "Hi {{ X }}, {{ X | replace('!', '') | title }}",
    "body_html": "<html><body><style>p {color: red}</style>"
    "<p title='{{ X }}' class='k'>{{ X }} {{ X | replace('!', '') }}</p>"
    "<a href='https://example.org/?q={{ X | urlencode }}'>x</a>"
    "<!--[if mso]><b>{{ X }}</b><![endif]--></body></html>",
    "body_txt": "Hi {{ X }}, {{ X | replace('!', '') }}",
}


@pytest.mark.parametrize("value", [pytest.param(value, id=name) for name, value in HOSTILE.items()])
def test_hostile_values_are_inert(tmp_path: Path, value: str) -> None:
    files = {name: text.replace("X", "learner.name") for name, text in EVERYWHERE.items()}
    merged = merge_one(tmp_path, {**ANN, "learner.name": value}, **files)
    subject, html, text = filled(merged)
    page = lxml_html.document_fromstring(html)
    assert not page.xpath("//script | //*[@onmouseover] | //a[not(starts-with(@href, 'https://example.org/?q='))]")
    assert len(page.xpath("//p")) == len(page.xpath("//a")) == 1
    assert "{{7*7}}" in html or "49" not in html
    assert len(subject.splitlines()) == len(text.splitlines()) == 1
    assert not any(sign in subject + html + text for sign in ("\u202e", MARK, "\r", "\x00"))
    mail = message_from_bytes(composed(merged, subject, value), policy=default)
    assert not mail.defects
    assert mail["Bcc"] is None
    assert mail["Subject"] == subject


def composed(merged: Merged, subject: str, name: str) -> bytes:
    return Composer(merged.shape, Sender(name="UQx", email="uqx@example.org")).compose(
        message_id="m1",
        to_name=name,
        to_email="ann@example.org",
        subject=subject,
        values=merged.values,
        unsubscribe_url=LINK,
        dated_at=datetime(2027, 1, 2, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    "what",
    [
        "{{ learner.name.__class__ }}",
        "{{ learner.name['__class__'] }}",
        "{{ learner.name | attr('__class__') }}",
        "{{ (learner.name | upper).__class__.__mro__ }}",
        "{{ '{0.__class__}'.format(learner.name) }}",
        "{{ learner.name.format.__globals__ }}",
        "{{ config }}",
        "{{ self.__init__.__globals__ }}",
    ],
)
def test_reaching_into_the_program_is_refused(tmp_path: Path, what: str) -> None:
    with pytest.raises(TemplateError):
        merge_one(tmp_path, body_txt=what)
