"""Merging: one shape for many, never different from a plain render of each; and errors that say where."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from lxml import html as lxml_html

from mmcampaign.context import MergeContext
from mmcampaign.errors import TemplateError
from mmcampaign.merge import Merged, Merger, Template
from mmcampaign.merge.page import inline, with_safe_conditionals
from mmcampaign.shapes import Filler, clean, one_line, tokens

LINK = "https://mail.example.edu/u/AbC-_1.x=?&~"
SHARED = {
    "program": {"title": "Sustainable Energy & Co", "courses": [{"title": "One", "done": True}, {"title": "Two"}]},
    "trigger": {"title": "Climate <Science>", "upgrade_deadline": "2027-01-20"},
    "next": None,
    "number": 3,
}
ANN = {
    "learner.name": "Ann Lee",
    "learner.first_name": "Ann",
    "learner.country": "AU",
    "unsubscribe_url": LINK,
    "item.email": "ann@example.org",
}


def write(folder: Path, name: str = "mail", **files: str) -> Path:
    """A template folder; file names with ``_`` for the dot."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    for file, content in ({"subject_txt": "Hello", "body_html": "<p>Hello</p>", "body_txt": "Hello"} | files).items():
        (folder / name / file.replace("_", ".")).write_text(content, "utf-8")
    return folder


def load(folder: Path, **files: str) -> Template:
    return Merger(write(folder, **files)).load("mail")


def merge(folder: Path, personal: Mapping[str, str] = ANN, **files: str) -> Merged:
    return load(folder, **files).merge(MergeContext.of(SHARED), personal)


def filled(merged: Merged) -> tuple[str, str, str]:
    filler = Filler(merged.shape)
    return filler.subject(merged.values), filler.html(merged.values), filler.text(merged.values)


def tree(html: str) -> Any:
    """The parsed page as nested tuples: tags, attributes, texts, comments."""

    def node(element: Any) -> Any:
        attributes = tuple(sorted(element.attrib.items())) if isinstance(element.tag, str) else ()
        return str(element.tag), attributes, element.text or "", [node(child) for child in element], element.tail or ""

    return node(lxml_html.document_fromstring(html))


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
    ("compared", "{% if X == 'Ann' %}Ann!{% else %}other{% endif %}", False),
    ("compared in a list", "{% if [X] == ['Ann'] %}Ann!{% endif %}", False),
    ("looked for", "{% if X in ['Ann', 'Bob'] %}known{% endif %}", False),
    ("looked into", "{% if 'A' in X %}has an A{% endif %}", False),
    ("ordered", "{% if X < 'M' %}first half{% endif %}", False),
    ("length", "{{ X | length }}", False),
    ("upper", "{{ X | upper }}", False),
    ("method", "{{ X.upper() }}", False),
    ("replace", "{{ X | replace('n', 'm') }}", False),
    ("slice", "{{ X[:1] }}", False),
    ("first letter", "{{ X[0] if X }}", False),
    ("joined with ~", "{{ 'Dear ' ~ X }}", False),
    ("added", "{{ 'Dear ' + X }}", False),
    ("formatted", "{{ 'Dear %s' | format(X) }}{{ 'Dear %s' % X }}", False),
    ("as an argument", "{{ 'Dear {}'.format(X) }}", False),
    ("as a filter's argument", "{{ 'abc' | replace('b', X) }}", False),
    ("letters", "{% for letter in X %}{{ letter }}.{% endfor %}", False),
    ("list printed", "{{ [X] }}", False),
    ("list joined", "{{ [X, 'b'] | join(', ') }}", False),
    ("dict printed", "{{ learner }}", False),
    ("values of a dict", "{% for key, value in learner.items() %}{{ key }}={{ value }};{% endfor %}", False),
    ("key", "{{ {'Ann': 'A'}[X] | default('none') }}", False),
    ("dict key", "{% set d = {X: 1} %}{{ d['Ann'] | default('none') }}", False),
    ("number", "{% if X | int %}number{% endif %}", False),
    ("captured, then compared", "{% set hi %}{{ X }}{% endset %}{% if hi == 'Ann' %}Ann{% endif %}", False),
    ("captured, then upper", "{% set hi %}{{ X }}{% endset %}{{ hi | upper }}", False),
    ("captured, then escaped", "{% set hi %}{{ X }} & co{% endset %}{{ hi | e }}", None),
    ("captured by a filter", "{% set hi | upper %}{{ X }}{% endset %}{{ hi }}", False),
    ("filter block", "{% filter upper %}Dear {{ X }}{% endfilter %}", False),
    ("macro that looks", "{% macro hi(n) %}{{ n | length }}{% endmacro %}{{ hi(X) }}", False),
    ("macro's output measured", "{% macro hi(n) %}{{ n }}{% endmacro %}{{ hi(X) | length }}", False),
    ("macro's other arguments", "{% macro hi() %}{{ varargs | join('+') }}{% endmacro %}{{ hi(X, 'b') }}", False),
    ("unpacked", "{% set a, b = X, 1 %}{{ a }}{{ b }}", False),
    ("safe", "{{ X | safe }}", False),
    ("string test", "{% if X is string %}s{% endif %}", False),
    ("equality test", "{% if X is eq('Ann') %}s{% endif %}", False),
    ("loop.changed", "{% for n in [1, 2] %}{% if loop.changed(X) %}c{% endif %}{% endfor %}", False),
    ("markup of a macro joined", "{% macro m(n) %}<i>{{ n }}</i>{% endmacro %}{{ '<b>' ~ m(X) }}", False),
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
def test_a_shape_is_shared_unless_the_template_inspects_a_value(
    tmp_path: Path, what: str, shared: bool, part: str
) -> None:
    files = {part: "Mail: " + what.replace("X", "learner.first_name")}
    assert merge(tmp_path, ANN, **files).shared is shared


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
        pytest.param("<a href='{{ unsubscribe_url }}&x=1'>x</a>", False, id="more in the link"),
        pytest.param("<a href='https://x.y/{{ learner.country }}'>x</a>", False, id="another link"),
        pytest.param("<p class='{{ learner.country }}'>x</p>", False, id="class"),
        pytest.param("<p style='color: {{ learner.country }}'>x</p>", False, id="style"),
        pytest.param("<style>.{{ learner.country }} {color: red}</style><p>x</p>", False, id="style sheet"),
        pytest.param("<script>'{{ learner.name }}'</script>", False, id="script"),
        pytest.param("<p><!-- {{ learner.name }} --></p>", False, id="comment"),
        pytest.param(
            "<style>p[title=Ann] {color: red}</style><p title='{{ learner.name }}'>x</p>", False, id="selector"
        ),
        pytest.param(
            "{% import 'mail/m.txt' as m %}<p>{{ m.hi(learner.name) }}</p>", False, id="macro from a text file"
        ),
    ],
)
def test_where_a_value_may_stand_in_html(tmp_path: Path, what: str, shared: bool) -> None:
    write(tmp_path, m_txt="{% macro hi(n) %}Hi {{ n }}{% endmacro %}")
    merged = merge(tmp_path, body_html=what)
    assert merged.shared is shared
    assert bool(tokens(merged.shape.html)) is shared


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
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
    merged = merge(tmp_path, odd, **files)
    assert not merged.shared
    assert "https://example.org/%C3%BC%20ber" in merged.shape.html


# ---- what templates may rely on


def test_dates_are_written_out(tmp_path: Path) -> None:
    merged = merge(tmp_path, body_txt="{{ trigger.upgrade_deadline | long_date }}")
    assert merged.shape.text == "20 January 2027\n"


def test_only_html_is_escaped(tmp_path: Path) -> None:
    merged = merge(tmp_path, ANN, **dict.fromkeys(("subject_txt", "body_html", "body_txt"), "{{ trigger.title }}"))
    assert (merged.shape.subject, merged.shape.text) == ("Climate <Science>", "Climate <Science>\n")
    assert "Climate &lt;Science&gt;" in merged.shape.html


def test_the_subject_is_one_line(tmp_path: Path) -> None:
    assert merge(tmp_path, subject_txt="You\n  passed\r\n\x00!\n").shape.subject == "You passed !"


def test_the_text_has_no_stray_spaces_or_gaps(tmp_path: Path) -> None:
    merged = merge(tmp_path, body_txt="\n\nA  \n{% if next %}\nno\n{% endif %}\n\n\nB\t\n\n")
    assert merged.shape.text == "A\n\nB\n"


def test_styles_are_inlined_and_media_queries_kept(tmp_path: Path) -> None:
    html = (
        "<!doctype html><html><head><style>p { color: #123456; mso-line-height-rule: exactly } a:hover { color: red }"
        "@media (prefers-color-scheme: dark) { p { color: #eeeeee } }</style></head><body><p>x&nbsp;y</p></body></html>"
    )
    found = merge(tmp_path, body_html=html).shape.html
    assert '<p style="color:#123456; mso-line-height-rule:exactly">x\xa0y</p>' in found
    assert "color: #eee !important" in found
    assert "a:hover {color:red !important}" in found
    assert found.startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        pytest.param("<!--[if mso]><b>O</b><![endif]-->", None, id="hidden"),
        pytest.param("<!--[if !mso]><!--><b>x</b><!--<![endif]-->", None, id="revealed, safe form"),
        pytest.param(
            "<![if !mso]><b>x</b><![endif]>", "<!--[if !mso]><!--><b>x</b><!--<![endif]-->", id="revealed, old form"
        ),
        pytest.param("<!--[if mso]><![if x]>O<![endif]><![endif]-->", None, id="old form inside a comment"),
    ],
)
def test_outlook_conditionals_survive(tmp_path: Path, written: str, kept: str | None) -> None:
    found = merge(tmp_path, body_html=f"<html><body><div>{written}</div></body></html>").shape.html
    assert f"<div>{kept or written}</div>" in found


PREDECESSOR_HTML = """<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN"
 "http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml"><head><meta http-equiv="Content-Type" content="text/html; charset=utf-8" />
<style type="text/css">#outlook a {padding:0;} .btn {background-color: #51247a; color: #ffffff}</style></head><body>
<!--[if gte mso 9]><v:rect xmlns:v="urn:schemas-microsoft-com:vml" fill="true"><v:textbox inset="0,0,0,0"><![endif]-->
<p>Dear {{ item.student_name }},</p>
{% if item.trigger_course_verified == 1 %}<p>You now have {{ item.no_certificate_eligible }} of 4 certificates.</p>
{% if item.next_course_title %}<![if !mso]><a class="btn" href="{{ item.next_course_link }}">
{{ item.next_course_title }}</a><![endif]>{% endif %}
{% else %}<p>Upgrade <a href="{{ item.trigger_course_link }}">{{ item.trigger_course_title }}</a>.</p>{% endif %}
<!--[if gte mso 9]></v:textbox></v:rect><![endif]-->
<a href="{{ item.unsubscribe_link }}">Unsubscribe</a> ({{ item.email }}, {{ item.student_id }})</body></html>
"""
PREDECESSOR_TEXT = """Dear {{ item.student_name }},
{% if item.trigger_course_verified == 1 %}Next: {{ item.next_course_title }}
{%- else %}Upgrade {{ item.trigger_course_title }}{% endif %}
Unsubscribe: {{ item.unsubscribe_link }}
"""
PREDECESSOR_ITEM = {
    "no_certificate_eligible": 2,
    "trigger_course_title": "Climate Science & Policy",
    "trigger_course_link": "https://www.edx.org/course/climate-science",
    "next_course_title": "Energy and Development",
    "next_course_link": "https://www.edx.org/course/energy?a=1&b=2",
}
PREDECESSOR_PERSON = {
    "item.email": "ann@example.org",
    "item.student_name": "Ann O'Neil",
    "item.student_id": "1234",
    "item.unsubscribe_link": LINK,
}


@pytest.mark.parametrize(
    ("verified", "words"), [(1, "Next: Energy and Development"), (0, "Upgrade Climate Science & Policy")]
)
def test_a_template_of_the_predecessor_merges(tmp_path: Path, verified: int, words: str) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "engy.html").write_text(PREDECESSOR_HTML, "utf-8")
    (tmp_path / "old" / "engy.txt").write_text(PREDECESSOR_TEXT, "utf-8")
    template = Merger(tmp_path).load("old", subject="Congratulations - you are now one step closer!")
    context = MergeContext.of({"item": {**PREDECESSOR_ITEM, "trigger_course_verified": verified}})
    merged = template.merge(context, PREDECESSOR_PERSON)
    subject, html, text = filled(merged)
    assert merged.shared
    assert subject == "Congratulations - you are now one step closer!"
    assert text == f"Dear Ann O'Neil,\n{words}\nUnsubscribe: {LINK}\n"
    page = lxml_html.document_fromstring(html)
    assert page.xpath("//p")[0].text == "Dear Ann O'Neil,"
    assert page.xpath("//a/@href")[-1] == LINK
    assert html.startswith("<!DOCTYPE html PUBLIC")
    assert "<![endif]-->" in html
    assert ("<!--[if !mso]><!-->" in html) is bool(verified)


# ---- files


def test_a_site_overrides_a_file_and_extends_ours(tmp_path: Path) -> None:
    ours = write(
        tmp_path / "ours", subject_txt="ours", body_html="<p>{% block words %}ours{% endblock %}</p>", body_txt="ours"
    )
    (tmp_path / "site" / "mail").mkdir(parents=True)
    (tmp_path / "site" / "mail" / "body.html").write_text(
        '{% extends "default:mail/body.html" %}{% block words %}theirs{% endblock %}', "utf-8"
    )
    template = Merger(tmp_path / "site", ours).load("mail")
    merged = template.merge(MergeContext.of(SHARED), ANN)
    assert "<p>theirs</p>" in merged.shape.html
    assert merged.shape.text == "ours\n"
    assert set(template.files) == {"mail/subject.txt", "mail/body.html", "mail/body.txt", "default:mail/body.html"}


def test_files_and_digest_cover_all_that_is_used(tmp_path: Path) -> None:
    write(tmp_path, "_base", layout_html="<p>{% block b %}{% endblock %}</p>", m_html="{% macro x() %}1{% endmacro %}")
    write(tmp_path, "other", body_html="unused")
    words = "{% import '_base/m.html' as m %}{% block b %}{{ m.x() }}{% endblock %}"
    files = {"body_html": "{% extends '_base/layout.html' %}" + words}
    before = load(tmp_path, **files)
    assert set(before.files) == {
        "_base/layout.html",
        "_base/m.html",
        "mail/body.html",
        "mail/body.txt",
        "mail/subject.txt",
    }
    assert load(tmp_path, **files).digest == before.digest
    (tmp_path / "_base" / "m.html").write_text("{% macro x() %}2{% endmacro %}")
    assert load(tmp_path, **files).digest != before.digest


def test_a_template_stays_as_it_was_loaded(tmp_path: Path) -> None:
    write(tmp_path, "_base", layout_html="before")
    template = load(tmp_path, body_html="{% include '_base/layout.html' %}")
    (tmp_path / "_base" / "layout.html").write_text("after")
    assert "before" in template.merge(MergeContext.of(SHARED), ANN).shape.html


def test_the_configured_subject_counts_only_where_it_is_used(tmp_path: Path) -> None:
    merger = Merger(write(tmp_path))
    assert merger.load("mail", subject="A").digest == merger.load("mail", subject="B").digest
    (tmp_path / "mail" / "subject.txt").unlink()
    assert merger.load("mail", subject="A").digest != merger.load("mail", subject="B").digest
    assert merger.load("mail", subject="Hi {{ number }}").merge(MergeContext.of(SHARED), ANN).shape.subject == "Hi 3"


@pytest.mark.parametrize("name", ["nobody", "", "..", "../mail", "mail/..", "/etc"])
def test_a_template_that_does_not_exist(tmp_path: Path, name: str) -> None:
    with pytest.raises(TemplateError, match=r"A template is a folder with subject\.txt, body\.html and body\.txt"):
        Merger(write(tmp_path)).load(name)


def test_no_subject_anywhere(tmp_path: Path) -> None:
    (write(tmp_path) / "mail" / "subject.txt").unlink()
    with pytest.raises(TemplateError, match=r"has no subject\.txt") as caught:
        Merger(tmp_path).load("mail")
    assert caught.value.part == "subject.txt"


def test_half_a_template(tmp_path: Path) -> None:
    (write(tmp_path) / "mail" / "body.txt").unlink()
    with pytest.raises(TemplateError, match=r"mail/body\.txt is missing"):
        Merger(tmp_path).load("mail")


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    (write(tmp_path) / "mail" / "body.txt").write_bytes(b"caf\xe9")
    with pytest.raises(TemplateError, match="UTF-8"):
        Merger(tmp_path).load("mail")


# ---- errors say what and where


@pytest.mark.parametrize(
    ("files", "problem", "part", "line"),
    [
        pytest.param(
            {"body_html": "<p>\n{{ learner.nmae }}"},
            "no merge value learner.nmae; did you mean learner.name?",
            "body.html",
            2,
            id="undefined, nearly right",
        ),
        pytest.param({"body_txt": "{{ lerner }}"}, "no merge value lerner", "body.txt", 1, id="undefined"),
        pytest.param(
            {"body_txt": "{% for c in program.courses %}\n\n{{ c.tilte }}{% endfor %}"},
            "no merge value program.courses[].tilte",
            "body.txt",
            3,
            id="undefined in a list",
        ),
        pytest.param(
            {"body_txt": "{{ next.title }}"}, "title is asked of a value that is none here", "body.txt", 1, id="of none"
        ),
        pytest.param({"body_html": "\n\n{% if x %}"}, "Unexpected end of template", "body.html", 3, id="syntax"),
        pytest.param(
            {"body_html": "\n{{ number | uper }}"}, "No filter named 'uper'", "body.html", 2, id="unknown filter"
        ),
        pytest.param({"subject_txt": " \n"}, "the subject comes out empty", "subject.txt", 0, id="empty subject"),
        pytest.param(
            {"body_html": "{% include 'mail/x.html' %}"},
            "there is no file mail/x.html",
            "body.html",
            1,
            id="missing include",
        ),
        pytest.param(
            {"body_html": "{% include number %}"}, "whose name is computed", "body.html", 0, id="computed include"
        ),
        pytest.param({"body_html": "\n{{ ''.__class__.__mro__ }}"}, "unsafe", "body.html", 2, id="sandbox"),
        pytest.param(
            {"body_html": "{{ program.courses.append(1) }}"},
            "unsafe",
            "body.html",
            1,
            id="changing values",
        ),
        pytest.param(
            {"body_txt": "\n{{ 1 / 0 }}"}, "cannot be computed (ZeroDivisionError)", "body.txt", 2, id="arithmetic"
        ),
        pytest.param(
            {"body_txt": "{{ learner.name + 1 }}"},
            "cannot be computed (TypeError)",
            "body.txt",
            1,
            id="arithmetic with a name",
        ),
        pytest.param(
            {"body_html": "\n<link rel='stylesheet' href='https://x.y/z.css'>"},
            "style sheet from elsewhere",
            "body.html",
            2,
            id="linked style sheet",
        ),
        pytest.param(
            {"body_html": "<style>\np {}\n@import url(x.css);</style>"},
            "style sheet from elsewhere",
            "body.html",
            3,
            id="imported style sheet",
        ),
        pytest.param({"body_html": ""}, "cannot be inlined", "body.html", 0, id="empty page"),
    ],
)
def test_errors(tmp_path: Path, files: dict[str, str], problem: str, part: str, line: int) -> None:
    with pytest.raises(TemplateError) as caught:
        merge(tmp_path, ANN, **files)
    assert problem in caught.value.what
    assert (caught.value.part, caught.value.line) == (part, line)
    assert caught.value.todo
    assert "Ann" not in caught.value.what


def test_an_error_in_the_base_names_the_base(tmp_path: Path) -> None:
    write(tmp_path, "_base", layout_html="\n{{ oops }}")
    with pytest.raises(TemplateError, match=r"_base/layout\.html, line 2") as caught:
        merge(tmp_path, body_html="{% extends '_base/layout.html' %}")
    assert caught.value.part == "_base/layout.html"


def test_an_error_in_the_configured_subject_names_the_configuration(tmp_path: Path) -> None:
    (write(tmp_path) / "mail" / "subject.txt").unlink()
    with pytest.raises(TemplateError, match=r"config\.toml, line 1: there is no merge value oops"):
        Merger(tmp_path).load("mail", subject="{{ oops }}").merge(MergeContext.of(SHARED), ANN)
