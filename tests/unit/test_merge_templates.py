"""What templates may rely on, the files they are made of, and errors that say where."""

from pathlib import Path

import pytest
from lxml import html as lxml_html

from mmcampaign.context import MergeContext
from mmcampaign.errors import TemplateError
from mmcampaign.merge import Merger
from tests.unit.merge_builders import ANN, LINK, SHARED, filled, load, merge_one, write


def test_dates_are_written_out(tmp_path: Path) -> None:
    merged = merge_one(tmp_path, body_txt="{{ trigger.upgrade_deadline | long_date }}")
    assert merged.shape.text == "20 January 2027\n"


def test_only_html_is_escaped(tmp_path: Path) -> None:
    merged = merge_one(tmp_path, ANN, **dict.fromkeys(("subject_txt", "body_html", "body_txt"), "{{ trigger.title }}"))
    assert (merged.shape.subject, merged.shape.text) == ("Climate <Science>", "Climate <Science>\n")
    assert "Climate &lt;Science&gt;" in merged.shape.html


def test_the_subject_is_one_line(tmp_path: Path) -> None:
    assert merge_one(tmp_path, subject_txt="You\n  passed\r\n\x00!\n").shape.subject == "You passed !"


def test_the_text_has_no_stray_spaces_or_gaps(tmp_path: Path) -> None:
    merged = merge_one(tmp_path, body_txt="\n\nA  \n{% if next %}\nno\n{% endif %}\n\n\nB\t\n\n")
    assert merged.shape.text == "A\n\nB\n"


def test_styles_are_inlined_and_media_queries_kept(tmp_path: Path) -> None:
    html = (
        "<!doctype html><html><head><style>p { color: #123456; mso-line-height-rule: exactly } a:hover { color: red }"
        "@media (prefers-color-scheme: dark) { p { color: #eeeeee } }</style></head><body><p>x&nbsp;y</p></body></html>"
    )
    found = merge_one(tmp_path, body_html=html).shape.html
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
    found = merge_one(tmp_path, body_html=f"<html><body><div>{written}</div></body></html>").shape.html
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


@pytest.mark.parametrize(
    "words",
    [
        "{% include '_base/m.html' %}",
        "{%include '_base/m.html'%}",
        "{%- include '_base/m.html' -%}",
        "{%+ include ['_base/m.html'] ignore missing %}",
        "{%\n  import '_base/m.html' as m %}",
        "{% from '_base/m.html' import x %}",
        "{% if next %}{% include '_base/m.html' %}{% endif %}",
        "{% block b %}{%-\tinclude '_base/m.html' %}{% endblock %}",
    ],
)
def test_a_file_is_found_however_it_is_named(tmp_path: Path, words: str) -> None:
    write(tmp_path, "_base", m_html="{% macro x() %}1{% endmacro %}")
    assert "_base/m.html" in Merger(write(tmp_path, body_html=words)).files("mail")


def test_an_error_in_a_file_that_names_no_other_is_told_with_its_line(tmp_path: Path) -> None:
    write(tmp_path, "_base", layout_html="<p>\n{% if %}{% endif %}{% block b %}{% endblock %}</p>")
    with pytest.raises(TemplateError, match=r"_base/layout\.html, line 2") as error:
        load(tmp_path, body_html="{% extends '_base/layout.html' %}")
    assert error.value.line == 2


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
        *(
            pytest.param({"body_txt": f"\n{{{{ {what} }}}}"}, "has no words", "body.txt", 2, id=f"printing {what}")
            for what in (
                "program.courses | map(attribute='title')",
                "program.courses | reverse",
                "[program.courses | reverse]",
                "program.courses.index",
                "learner.name.upper",
                "learner.name | list | reverse",
                "cycler('a', 'b')",
                "range",
            )
        ),
        pytest.param({"body_html": ""}, "cannot be inlined", "body.html", 0, id="empty page"),
    ],
)
def test_errors(tmp_path: Path, files: dict[str, str], problem: str, part: str, line: int) -> None:
    with pytest.raises(TemplateError) as caught:
        merge_one(tmp_path, ANN, **files)
    assert problem in caught.value.what
    assert (caught.value.part, caught.value.line) == (part, line)
    assert caught.value.todo
    assert "Ann" not in caught.value.what


def test_an_error_in_the_base_names_the_base(tmp_path: Path) -> None:
    write(tmp_path, "_base", layout_html="\n{{ oops }}")
    with pytest.raises(TemplateError, match=r"_base/layout\.html, line 2") as caught:
        merge_one(tmp_path, body_html="{% extends '_base/layout.html' %}")
    assert caught.value.part == "_base/layout.html"


def test_an_error_in_the_configured_subject_names_the_configuration(tmp_path: Path) -> None:
    (write(tmp_path) / "mail" / "subject.txt").unlink()
    with pytest.raises(TemplateError, match=r"config\.toml, line 1: there is no merge value oops"):
        Merger(tmp_path).load("mail", subject="{{ oops }}").merge(MergeContext.of(SHARED), ANN)
