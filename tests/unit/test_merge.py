"""Merging: one shape for many people, never different from a plain render of each."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mmcampaign.context import MergeContext
from mmcampaign.merge.page import inline, with_safe_conditionals
from mmcampaign.shapes import clean, one_line, tokens
from tests.unit.merge_builders import ANN, LINK, SHARED, filled, load, merge_one, tree, write


def plain(files: Mapping[str, str], personal: Mapping[str, str]) -> tuple[str, str, str]:
    """The same by Jinja and inlining alone, for one person."""
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, autoescape=lambda name: name is not None and name.endswith("html")
    )
    environment.loader = jinja2.DictLoader({f"mail/{name.replace('_', '.')}": text for name, text in files.items()})
    values: dict[str, Any] = {**SHARED, "learner": {}, "item": {}}
    for field, value in personal.items():
        group, _, leaf = field.rpartition(".")
        (values[group] if group else values)[leaf] = clean(value)
    subject, html, text = (environment.get_template(f"mail/{part}").render(values) for part in PARTS)
    return one_line(subject), inline(with_safe_conditionals(html)), text


PARTS = ("subject.txt", "body.html", "body.txt")

# What templates do with a personal value `X`: (where, what, whether its shape is still shared).
USES = [
    ("printed", "{{ X }}", True),
    ("in a sentence", "Dear {{ X }}, well done", True),
    ("asked for", "{% if X %}Dear {{ X }}{% else %}Hello{% endif %}", True),
    ("asked for not", "{% if not X %}Hello{% endif %}", True),
    ("and, or", "{{ X or 'friend' }}{{ X and 'known' }}", True),
    ("chosen by a condition", "{{ X if X else 'friend' }}", True),
    ("default", "{{ X | default('friend', true) }}", True),
    ("escaped", "{{ X | e }}", None),
    ("set", "{% set name = X %}{{ name }}", True),
    ("captured", "{% set hi %}Hi {{ X }}{% endset %}{{ hi }}", True),
    ("with", "{% with n = X %}{{ n }}{% endwith %}", True),
    ("through a macro", "{% macro hi(n) %}Hi {{ n }}!{% endmacro %}{{ hi(X) }}", True),
    (
        "through a call block",
        "{% macro box() %}[{{ caller() }}]{% endmacro %}{% call box() %}{{ X }}{% endcall %}",
        True,
    ),
    ("loop over a list with it", "{% for n in [X, 'b'] %}{{ n }};{% endfor %}", True),
    ("defined", "{% if X is defined %}yes{% endif %}", True),
    ("namespace", "{% set ns = namespace(n='') %}{% set ns.n = X %}{{ ns.n }}", True),
    ("compared", "{% if X == 'Ann' %}Ann!{% else %}other{% endif %}", True),
    ("compared in a list", "{% if [X] == ['Ann'] %}Ann!{% endif %}", True),
    ("looked for", "{% if X in ['Ann', 'Bob'] %}known{% endif %}", True),
    ("looked into", "{% if 'A' in X %}has an A{% endif %}", True),
    ("ordered", "{% if X < 'M' %}first half{% endif %}", True),
    ("length", "{{ X | length }}", True),
    ("upper", "{{ X | upper }}", True),
    ("method", "{{ X.upper() }}", True),
    ("replace", "{{ X | replace('n', 'm') }}", True),
    ("slice", "{{ X[:1] }}", True),
    ("first letter", "{{ X[0] if X }}", True),
    ("joined with ~", "{{ 'Dear ' ~ X }}", True),
    ("added", "{{ 'Dear ' + X }}", True),
    ("formatted", "{{ 'Dear %s' | format(X) }}{{ 'Dear %s' % X }}", True),
    ("as an argument", "{{ 'Dear {}'.format(X) }}", True),
    ("as a filter's argument", "{{ 'abc' | replace('b', X) }}", True),
    ("letters", "{% for letter in X %}{{ letter }}.{% endfor %}", True),
    ("list printed", "{{ [X] }}", True),
    ("list joined", "{{ [X, 'b'] | join(', ') }}", True),
    ("dict printed", "{{ learner }}", True),
    ("values of a dict", "{% for key, value in learner.items() %}{{ key }}={{ value }};{% endfor %}", True),
    ("key", "{{ {'Ann': 'A'}[X] | default('none') }}", True),
    ("dict key", "{% set d = {X: 1} %}{{ d['Ann'] | default('none') }}", False),
    ("number", "{% if X | int %}number{% endif %}", True),
    ("captured, then compared", "{% set hi %}{{ X }}{% endset %}{% if hi == 'Ann' %}Ann{% endif %}", True),
    ("captured, then upper", "{% set hi %}{{ X }}{% endset %}{{ hi | upper }}", True),
    ("captured, then escaped", "{% set hi %}{{ X }} & co{% endset %}{{ hi | e }}", None),
    ("captured by a filter", "{% set hi | upper %}{{ X }}{% endset %}{{ hi }}", True),
    ("filter block", "{% filter upper %}Dear {{ X }}{% endfilter %}", True),
    ("macro that looks", "{% macro hi(n) %}{{ n | length }}{% endmacro %}{{ hi(X) }}", True),
    ("macro's output measured", "{% macro hi(n) %}{{ n }}{% endmacro %}{{ hi(X) | length }}", True),
    ("macro's other arguments", "{% macro hi() %}{{ varargs | join('+') }}{% endmacro %}{{ hi(X, 'b') }}", True),
    ("unpacked", "{% set a, b = X, 1 %}{{ a }}{{ b }}", True),
    ("safe", "{{ X | safe }}", True),
    ("string test", "{% if X is string %}s{% endif %}", True),
    ("equality test", "{% if X is eq('Ann') %}s{% endif %}", True),
    ("loop.changed", "{% for n in [1, 2] %}{% if loop.changed(X) %}c{% endif %}{% endfor %}", False),
    ("markup of a macro joined", "{% macro m(n) %}<i>{{ n }}</i>{% endmacro %}{{ '<b>' ~ m(X) }}", True),
    ("autoescape off", "{% autoescape false %}{{ X }}{% endautoescape %}", None),
    ("autoescape on", "{% autoescape true %}{{ X }}{% endautoescape %}", None),
]
use = st.sampled_from([what for _, what, _ in USES])
X = st.sampled_from(["learner.first_name", "learner.name", "learner.country", "item.email"])
HTML_FRAMES = [
    "<p>{}</p>",
    "<table><tr><td> {} </td></tr></table>",
    '<p title="{}">x</p>',
    '<p class="{}">x</p>',
    '<p style="color: {}">x</p>',
    "<style>.a {{ color: red }} .{} {{ color: blue }}</style><p class='a Ann'>x</p>",
    "<script>var x = '{}'</script>",
    "<!-- {} -->",
    "<!--[if mso]><b>{}</b><![endif]-->",
    '<a href="https://example.org/?q={}">x</a>',
    '<a href="{{{{ unsubscribe_url }}}}">{}</a>',
    "<title>{}</title><style>p {{ margin: 0 }}</style><p>y</p>",
]
NAMES = [
    "Ann",
    "",
    " ",
    "O'Neil <b>&amp;</b>",
    'Zoë "Z"',
    "欧阳",
    "a\r\nb\x00",
    "👩‍🎓",
    "--><b>",
    "\u202eeeL",
    "Z\xa0",
    "]]>{{ x }}",
]


def framed(frame: str, what: str) -> str:
    return frame.format(what)


@pytest.mark.parametrize(
    ("what", "shared"), [pytest.param(what, shared, id=name) for name, what, shared in USES if shared is not None]
)
@pytest.mark.parametrize("part", ["subject_txt", "body_html", "body_txt"])
def test_a_shape_is_shared_whatever_is_asked_of_a_value(tmp_path: Path, what: str, shared: bool, part: str) -> None:
    files = {part: "Mail: " + what.replace("X", "learner.first_name")}
    assert merge_one(tmp_path, ANN, **files).shared is shared


@pytest.mark.parametrize(
    ("what", "shared"),
    [
        pytest.param("<p>{{ learner.name }}</p>", True, id="text"),
        pytest.param("<p title='{{ learner.name }}'>x</p>", True, id="title"),
        pytest.param("<title>{{ learner.name }}</title>", True, id="page title"),
        pytest.param("<a href='{{ unsubscribe_url }}'>x</a>", True, id="unsubscribe link"),
        pytest.param(
            "<p><!--[if mso]><a href='{{ unsubscribe_url }}'>x</a><![endif]--></p>", True, id="the same in Outlook"
        ),
        pytest.param("<a href='{{ unsubscribe_url }}&x=1'>x</a>", True, id="more in the link"),
        pytest.param("<a href='https://x.y/{{ learner.country }}'>x</a>", True, id="another link"),
        pytest.param("<a href='https://x.y/{{ learner.name }}'>x</a>", False, id="a space in a link"),
        pytest.param("<a href='https://x.y/{{ learner.name | urlencode }}'>x</a>", True, id="encoded in a link"),
        pytest.param("<p>{{ learner.name | safe }}</p>", True, id="said to be safe, and is"),
        pytest.param("<p>{{ learner.name | replace(' ', '<br>') | safe }}</p>", False, id="markup"),
        pytest.param("<p title={{ learner.name }}>x</p>", False, id="title without quotes"),
        pytest.param("<p>&{{ learner.name }}</p>", False, id="behind an ampersand"),
        pytest.param("<{{ learner.name }}>x", False, id="tag"),
        pytest.param("<p>x<!--{{ learner.name }}--></p>", True, id="comment"),
        pytest.param("<p class='{{ learner.country }}'>x</p>", False, id="class"),
        pytest.param("<p style='color: {{ learner.country }}'>x</p>", False, id="style"),
        pytest.param("<style>.{{ learner.country }} {color: red}</style><p>x</p>", False, id="style sheet"),
        pytest.param("<script>'{{ learner.name }}'</script>", False, id="script"),
        pytest.param(
            "<style>p[title=Ann] {color: red}</style><p title='{{ learner.name }}'>x</p>", False, id="selector"
        ),
        pytest.param(
            "<style>a[x-apple-data-detectors] {color: red}</style><p title='{{ learner.name }}'>x</p>",
            True,
            id="selector that asks for no value",
        ),
        pytest.param(
            "<style>a[hr\\65 f^=A] {color: red}</style><p><a href='{{ learner.country }}'>x</a></p>",
            False,
            id="selector with escapes",
        ),
        pytest.param(
            "{% import 'mail/m.txt' as m %}<p>{{ m.hi(learner.name) }}</p>", False, id="macro from a text file"
        ),
    ],
)
def test_where_a_value_may_stand_in_html(tmp_path: Path, what: str, shared: bool) -> None:
    write(tmp_path, m_txt="{% macro hi(n) %}Hi {{ n }}{% endmacro %}")
    merged = merge_one(tmp_path, body_html=what)
    assert merged.shared is shared
    assert bool(tokens(merged.shape.html)) is shared


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    st.tuples(use, X),
    st.tuples(use, X, st.sampled_from(HTML_FRAMES)),
    st.tuples(use, X),
    st.lists(st.one_of(st.sampled_from(NAMES), st.text(max_size=8)), min_size=4, max_size=4),
    st.lists(st.one_of(st.sampled_from(NAMES), st.text(max_size=8)), min_size=4, max_size=4),
)
@example(
    ("{{ X }}", "learner.name"),
    ("{{ X }}", "learner.name", "<p>{}</p>"),
    ("{{ X }}", "item.email"),
    ["a"] * 4,
    ["<"] * 4,
)
def test_shared_or_not_the_email_is_that_of_a_plain_render(
    tmp_path: Path,
    subject: tuple[str, str],
    html: tuple[str, str, str],
    text: tuple[str, str],
    first: list[str],
    second: list[str],
) -> None:
    files = {
        "subject_txt": "Mail: " + subject[0].replace("X", subject[1]),
        "body_html": "<html><body>" + framed(html[2], html[0].replace("X", html[1])) + "</body></html>",
        "body_txt": f"[{text[0].replace('X', text[1])}]",
    }
    template = load(tmp_path, **files)
    fields = ("learner.first_name", "learner.name", "learner.country", "item.email")
    for values in (first, second):
        personal = {**dict(zip(fields, values, strict=True)), "unsubscribe_url": LINK}
        found = filled(template.merge(MergeContext.of(SHARED), personal))
        expected = plain(files, personal)
        assert found[0] == expected[0]
        assert tree(found[1]) == tree(expected[1])
        assert found[2].strip("\n") == expected[2].strip("\n")


def test_recipients_share_one_shape_while_the_same_values_are_empty(tmp_path: Path) -> None:
    template = load(tmp_path, body_html="<p>{% if learner.first_name %}Dear {{ learner.first_name }}{% endif %}</p>")
    context = MergeContext.of(SHARED)
    ann, bob, nobody, stranger = (
        template.merge(context, {**ANN, "learner.first_name": name, "learner.country": country})
        for name, country in (("Ann", "AU"), ("Bob", "NZ"), ("", "AU"), ("Cy", ""))
    )
    assert ann.shape is bob.shape
    assert nobody.shape is not ann.shape
    assert stranger.shape is ann.shape, "a value the template does not use makes no new shape"
    assert ann.shape.digest != nobody.shape.digest
    assert filled(bob)[1] == "<html><head></head><body><p>Dear Bob</p></body></html>"


def test_another_context_is_another_shape(tmp_path: Path) -> None:
    template = load(tmp_path, subject_txt="{{ number }}")
    one, two = (template.merge(MergeContext.of({"number": n}), ANN) for n in (1, 2))
    assert (one.shape.subject, two.shape.subject) == ("1", "2")


def test_a_link_that_a_parser_would_rewrite_is_rendered_alone(tmp_path: Path) -> None:
    files = {"body_html": "<a href='{{ unsubscribe_url }}'>x</a>"}
    odd = {**ANN, "unsubscribe_url": "https://example.org/ü ber"}
    merged = merge_one(tmp_path, odd, **files)
    assert not merged.shared
    assert "https://example.org/%C3%BC%20ber" in merged.shape.html
