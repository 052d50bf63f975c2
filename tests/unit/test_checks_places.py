"""Where a finding is told to stand: the template's file and line, through everything that Jinja and inlining do."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmcampaign.findings import Severity
from tests.unit.checks_builders import HTML, TEXT, after_greeting, findings, line_of

LAYOUT = HTML.replace("<p>{{ site.postal_address }}</p>", "{% block foot %}{% endblock %}")
CHILD = """\
{% extends "mail/frame.html" %}
{% block foot %}
<p>{{ site.postal_address }}</p>
{% include "mail/more.html" %}
{% endblock %}
"""


@pytest.mark.parametrize(
    ("more", "place"),
    [
        pytest.param('<p>More</p>\n<a href="">x</a>', "mail/more.html:2", id="included"),
        pytest.param(
            '{% for each in [1, 2] %}\n<a href="">x{{ each }}</a>{% endfor %}', "mail/more.html:2", id="in a loop"
        ),
        pytest.param(
            '{% macro link() %}\n<a href="">x</a>\n{% endmacro %}<p>\n{{ link() }}</p>',
            "mail/more.html:2",
            id="in a macro",
        ),
        pytest.param('{% if next %}<p>\n\n<a\nhref="">x</a></p>{% endif %}', "mail/more.html:3", id="over two lines"),
        pytest.param(
            '{# <a href> #}<!-- <a href> -->\n<a title=\'{{ "<b>" }}\' href="">x</a>',
            "mail/more.html:2",
            id="after what only looks like tags",
        ),
        pytest.param("{{ \"<a href=''>x</a>\" | safe }}", "", id="written by an expression"),
    ],
)
def test_a_finding_is_told_in_the_file_it_comes_from(tmp_path: Path, more: str, place: str) -> None:
    found = findings(tmp_path, body_html=CHILD, frame_html=LAYOUT, more_html=more)
    assert [(each.code, each.place) for each in found if each.severity is Severity.BLOCK] == [("empty-link", place)]


WORDS = st.lists(
    st.sampled_from(
        [
            "<p>w</p>",
            "{% if next %}<b>n</b>{% endif %}",
            "{{ trigger.title }}",
            "",
            "<br>",
            "{% if not next %}<i>x</i>{% endif %}",
            "<!-- c -->",
        ]
    ),
    max_size=8,
)


@settings(max_examples=20)
@given(before=WORDS, after=WORDS)
def test_whatever_stands_around_it_the_line_is_right(
    tmp_path_factory: pytest.TempPathFactory, before: list[str], after: list[str]
) -> None:
    body = after_greeting("\n".join([*before, '<a href="#">Here it is</a>', *after]))
    found = findings(tmp_path_factory.mktemp("mail"), body_html=body)
    (link,) = [each for each in found if each.code == "empty-link"]
    assert link.place == f"mail/body.html:{line_of('Here it is', body)}"


@settings(max_examples=20)
@given(
    before=st.lists(
        st.sampled_from(
            ["word", "", "{% if next -%}\nn\n{%- endif %}", "{{ trigger.title }}", "{{- trigger.run }}", "{# c #}"]
        ),
        max_size=8,
    )
)
def test_so_it_is_in_the_text_part(tmp_path_factory: pytest.TempPathFactory, before: list[str]) -> None:
    body = TEXT + "\n".join(["---", *before, "---", "see http://localhost/x"])
    found = findings(tmp_path_factory.mktemp("mail"), body_txt=body)
    places = {each.place for each in found if each.code == "link-to-test-host"}
    assert places == {f"mail/body.txt:{line_of('localhost', body)}"}
