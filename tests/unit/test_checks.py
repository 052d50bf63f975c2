"""Every rule of the checks: a clean email has nothing to mend, and each fault is found once, where it stands."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcampaign.checks import check_emails, grouped
from mmcampaign.checks.email import House, Spot
from mmcampaign.checks.links import is_test_host
from mmcampaign.findings import Finding, Part, Severity, as_dict, count, from_dict
from tests.unit.checks_builders import (
    HOUSE,
    HTML,
    LINK,
    SHARED,
    SUBJECT,
    TEXT,
    after_greeting,
    checked_email,
    findings,
    put,
    worse_than_notes,
)

HIDDEN = HTML.splitlines()[7]
STYLED = put("</head>", "<style>\n{}\n</style>\n</head>")
IMAGE = '<img src="https://www.edx.org/a.png" alt="A graph" width="100" height="50">'


def after_both(html: str, text: str) -> dict[str, str]:
    return {"body_html": after_greeting(html), "body_txt": put("{% if next %}", f"{text}\n{{% if next %}}", TEXT)}


def both_link(address: str) -> dict[str, str]:
    """A link in both parts, on line 10 of one and 3 of the other."""
    return after_both(f'<p><a href="{address}">Read our notes</a></p>', address)


def linked(words: str) -> dict[str, str]:
    """A link to the trigger with these words, in both parts."""
    link = f'<p><a href="{{{{ trigger.link }}}}">{words}</a></p>'
    return {"body_html": after_greeting(link), "body_txt": TEXT + "{{ trigger.link }}"}


def test_a_clean_email_has_nothing_to_mend(tmp_path: Path) -> None:
    found = findings(tmp_path)
    assert worse_than_notes(found) == []
    assert {each.code for each in found} == {"clients-html-meta-color-scheme", "clients-html-body"}


BLOCKING = [
    pytest.param(
        {"body_html": put('<p><a href="{{ unsubscribe_url }}">Unsubscribe</a></p>', "<p>Unsubscribe by mail</p>")},
        "no-unsubscribe-link",
        "mail/body.html:13",
        id="no way out in HTML",
    ),
    pytest.param(
        {"body_txt": put("{{ unsubscribe_url }}", "write to us", TEXT)},
        "no-unsubscribe-link",
        "mail/body.txt:8",
        id="no way out in the text",
    ),
    pytest.param(
        {
            "body_html": put("{{ site.postal_address }}", "UQx"),
            "body_txt": put("{{ site.postal_address }}", "UQx", TEXT),
        },
        "no-postal-address",
        "mail/body.html:13",
        id="no postal address",
    ),
    pytest.param(
        {"body_html": after_greeting('<p><a href="">Upgrade</a></p>')},
        "empty-link",
        "mail/body.html:10",
        id="empty link",
    ),
    pytest.param(
        {"body_html": after_greeting('<p><a href="#">Upgrade</a></p>')}, "empty-link", "mail/body.html:10", id="# link"
    ),
    pytest.param(
        {"body_html": after_greeting('<p><a href="#top">To the top</a></p>')},
        "empty-link",
        "mail/body.html:10",
        id="no such anchor",
    ),
    pytest.param(
        {"body_html": after_greeting('<p><a href="www.edx.org/x">Upgrade</a></p>')},
        "broken-link",
        "mail/body.html:10",
        id="no scheme",
    ),
    pytest.param(
        {"body_html": after_greeting('<p><a href="javascript:go()">Upgrade</a></p>')},
        "broken-link",
        "mail/body.html:10",
        id="javascript",
    ),
    pytest.param(both_link("https://localhost/x"), "link-to-test-host", "mail/body.html:10", id="localhost"),
    pytest.param(both_link("https://staging.edx.org/x"), "link-to-test-host", "mail/body.html:10", id="staging"),
    pytest.param(
        {
            "body_html": put("{% if next %}\n<p>Go on", "{% if not next %}\n<p>Go on")
            .replace("{{ next.link }}", "x:")
            .replace("{{ next.title }}", "y")
        },
        "parts-differ",
        "mail/body.txt:4",
        id="the next course in the text only",
    ),
    pytest.param(
        {"body_txt": put("{% if next %}", "{% if not next %}", TEXT)},
        "parts-differ",
        "mail/body.html:11",
        id="the next course in HTML only",
    ),
    pytest.param(
        {"body_html": after_greeting("<p>Dear {{ '{{' }} name }}</p>")},
        "unfilled-mark",
        "mail/body.html:10",
        id="{{ left in HTML",
    ),
    pytest.param(
        {"body_html": after_greeting("<p>Dear *|FNAME|*</p>")},
        "unfilled-mark",
        "mail/body.html:10",
        id="another service's mark",
    ),
    pytest.param(
        {"body_txt": put("you passed", "{{ '{%' }} you passed", TEXT)},
        "unfilled-mark",
        "mail/body.txt:2",
        id="{% left in the text",
    ),
    pytest.param(
        {"subject_txt": "Well done, %%name%%: {{ trigger.title }}"},
        "unfilled-mark",
        "mail/subject.txt:1",
        id="mark left in the subject",
    ),
    pytest.param(
        {"body_html": after_greeting("<p>" + "word " * 21_000 + "</p>")},
        "too-big",
        "mail/body.html:7",
        id="over 102 kB",
    ),
]


@pytest.mark.parametrize(("changes", "code", "place"), BLOCKING)
def test_what_blocks_is_found_in_its_line(tmp_path: Path, changes: dict[str, Any], code: str, place: str) -> None:
    found = [each for each in findings(tmp_path, **changes) if each.severity is Severity.BLOCK]
    assert (code, place) in {(each.code, each.place) for each in found}
    assert {each.code for each in found} == {code}
    assert all(each.message and each.mend and each.learners == 5 and len(each.shapes) == 1 for each in found)


WARNING = [
    pytest.param({"body_html": put(' lang="en"', "")}, "no-language", 2, id="no language"),
    pytest.param({"body_html": put('lang="en"', 'lang="english_au"')}, "invalid-language", 2, id="no such language"),
    pytest.param(
        {"body_html": put("<title>You passed</title>", "<title></title>")}, "empty-title", 5, id="empty title"
    ),
    pytest.param({"body_html": put("<title>You passed</title>\n", "")}, "empty-title", 3, id="no title"),
    pytest.param(
        {"body_html": put("You passed</title>", "Untitled Document</title>")},
        "leftover-title",
        5,
        id="an editor's title",
    ),
    pytest.param(
        {"body_html": put("<title>", '<meta property="og:title" content="Newsletter">\n<title>')},
        "leftover-title",
        5,
        id="a meta title",
    ),
    pytest.param(
        {"body_html": put("</head>", '<link rel="preconnect" href="https://fonts.gstatic.com">\n</head>')},
        "outside-style",
        6,
        id="link element",
    ),
    pytest.param(
        {"body_html": STYLED.replace("{}", "@font-face { font-family: X; src: url(https://fonts.edu.au/x.woff) }")},
        "outside-font",
        7,
        id="web font",
    ),
    pytest.param({"body_html": after_greeting("<script>go()</script>")}, "script", 10, id="script"),
    pytest.param({"body_html": after_greeting("<div><b>Well done</div>")}, "unclosed-element", 10, id="unclosed b"),
    pytest.param({"body_html": after_greeting("<p>Well done</span></p>")}, "stray-end-tag", 10, id="nothing to close"),
    pytest.param(
        {"body_html": after_greeting("<p>" + "word " * 18_500 + "</p>")}, "nearly-too-big", 7, id="over 90 kB"
    ),
    pytest.param({"body_html": after_greeting("<p>The last day is None.</p>")}, "prints-none", 10, id="None printed"),
    pytest.param({"body_html": put(HIDDEN, "<div></div>")}, "no-preheader", 7, id="no preheader"),
    pytest.param(
        {"body_html": put("The next course of the series is open. You are ready.", "Well done.")},
        "short-preheader",
        8,
        id="short preheader",
    ),
    pytest.param(
        both_link("http://www.edx.org/x") | {"house": replace(HOUSE, own_hosts=frozenset({"mail.uqx.edu.au"}))},
        "http-link",
        10,
        id="not encrypted",
    ),
    pytest.param(linked(""), "link-without-words", 10, id="link without words"),
    pytest.param(linked("Click here"), "vague-link", 10, id="click here"),
    pytest.param(linked("www.uq.edu.au"), "address-unlike-target", 10, id="shows another address"),
    pytest.param(
        {"body_html": after_greeting('<p><a href="https://uq.edu.au/a">Your course</a></p>')},
        "link-in-one-part",
        10,
        id="link in HTML only",
    ),
    pytest.param(
        {"body_html": put("{{ site.postal_address }}", "UQx")},
        "postal-address-in-one-part",
        13,
        id="postal address in the text only",
    ),
    pytest.param(
        {"body_html": after_greeting("<p>{{ certificates.earned }} of many</p>")},
        "value-in-one-part",
        10,
        id="value in HTML only",
    ),
    pytest.param(
        {"body_html": after_greeting(IMAGE.replace(' alt="A graph"', ""))},
        "image-without-alt",
        10,
        id="no alternative text",
    ),
    pytest.param(
        {"body_html": after_greeting(IMAGE.replace(' height="50"', ""))}, "image-without-size", 10, id="no size"
    ),
    pytest.param(
        {"body_html": after_greeting(IMAGE.replace("https:", "http:"))}, "image-not-https", 10, id="picture over http"
    ),
    pytest.param(
        {"body_html": after_greeting(IMAGE.replace('"100"', '"600"').replace('"50"', '"900"'))},
        "more-image-than-text",
        10,
        id="mostly picture",
    ),
    pytest.param(
        {"body_html": after_greeting('<p style="color: #888888">Well done</p>')}, "low-contrast", 10, id="grey on white"
    ),
    pytest.param({"body_html": STYLED.replace("{}", "p { color: #999 }")}, "low-contrast", 12, id="colour from a rule"),
    pytest.param(
        {"body_html": after_greeting('<p style="color: rgba(0, 0, 0, 0.4)">Well done</p>')},
        "low-contrast",
        10,
        id="transparent letters",
    ),
    pytest.param(
        {"body_html": after_greeting('<table bgcolor="#000000"><tr><td>Well done</td></tr></table>')},
        "low-contrast",
        10,
        id="black on black",
    ),
    pytest.param(
        {"body_html": after_greeting('<p style="display: flex">Well done</p>')},
        "",
        10,
        id="flexible boxes are partly known",
    ),
    pytest.param(
        {"body_html": after_greeting('<div style="position: absolute">Well done</div>')},
        "clients-css-position",
        10,
        id="left out by programs",
    ),
]


@pytest.mark.parametrize(("changes", "code", "line"), WARNING)
def test_what_warns_is_found_in_its_line(tmp_path: Path, changes: dict[str, Any], code: str, line: int) -> None:
    found = worse_than_notes(findings(tmp_path, **changes))
    assert {each for each, _ in found} == ({code} if code else set())
    assert not code or (code, f"mail/body.html:{line}") in found


@pytest.mark.parametrize(
    ("subject", "code"),
    [
        pytest.param("YOU PASSED YOUR COURSE {{ trigger.title }}", "shouting-subject", id="capitals"),
        pytest.param("You passed {{ trigger.title }}!!", "shouting-subject", id="exclamation marks"),
        pytest.param(
            "You have now, at last and to our delight, passed the course with the title {{ trigger.title }}",
            "long-subject",
            id="long",
        ),
        pytest.param(
            "A note on your way to the whole credential, now {{ trigger.title }}", "", id="long only with the title"
        ),
    ],
)
def test_subjects(tmp_path: Path, subject: str, code: str) -> None:
    assert worse_than_notes(findings(tmp_path, subject_txt=subject)) == ([(code, "mail/subject.txt:1")] if code else [])


NOTED = [
    pytest.param(
        {"body_html": put('<meta name="color-scheme" content="light dark">\n', "")},
        "no-dark-mode",
        "mail/body.html:3",
        id="no dark mode",
    ),
    pytest.param(
        {"body_html": after_greeting("<![if !mso]><p>Well done</p><![endif]>")},
        "old-conditional",
        "mail/body.html:10",
        id="old conditional",
    ),
    pytest.param(
        {"body_html": put(" | safe * 60", " | safe")}, "unpadded-preheader", "mail/body.html:8", id="no padding"
    ),
    pytest.param(
        {"body_html": put("The next course", "The next course, " * 9)},
        "long-preheader",
        "mail/body.html:8",
        id="long preheader",
    ),
    pytest.param({"body_txt": TEXT + "word " * 20}, "wide-text", "mail/body.txt:10", id="wide text"),
    pytest.param(
        {"subject_txt": "A note on your way to the whole credential, now {{ trigger.title }}"},
        "subject-cut-short",
        "mail/subject.txt:1",
        id="long with the title",
    ),
    pytest.param(
        {"body_html": after_greeting('<div style="background: url(https://www.edx.org/a.png)">Words</div>')},
        "contrast-not-known",
        "mail/body.html:10",
        id="on a picture",
    ),
    pytest.param(
        {"house": replace(HOUSE, own_hosts=frozenset({"mail.nx.example"}))}, "", "", id="a test host nobody links to"
    ),
]


@pytest.mark.parametrize(("changes", "code", "place"), NOTED)
def test_what_is_noted(tmp_path: Path, changes: dict[str, Any], code: str, place: str) -> None:
    found = findings(tmp_path, **changes)
    assert worse_than_notes(found) == []
    assert not code or (code, place) in {(each.code, each.place) for each in found}


# --- hosts of our own, headers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reaches_people", "severity"),
    [pytest.param(False, Severity.NOTE, id="files"), pytest.param(True, Severity.WARN, id="people")],
)
def test_a_configured_test_host_is_told_and_not_blocked(
    tmp_path: Path, reaches_people: bool, severity: Severity
) -> None:
    email = checked_email(tmp_path)
    link = LINK.replace("mail.uqx.edu.au", "mail.nx.example")
    email = replace(
        email, html=email.html.replace(LINK, link), text=email.text.replace(LINK, link), unsubscribe_url=link
    )
    house = replace(HOUSE, own_hosts=HOUSE.own_hosts | {"mail.nx.example"}, reaches_people=reaches_people)
    found = {each.code: each for each in check_emails([email], house)}
    assert found["configured-test-host"].severity is severity
    assert "link-to-test-host" not in found
    assert "link-to-test-host" in {each.code for each in check_emails([email], HOUSE)}


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="none"),
        pytest.param({"List-Unsubscribe": f"<{LINK}>"}, id="no one-click"),
        pytest.param({"List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}, id="no address"),
        pytest.param(
            {"List-Unsubscribe": "<mailto:x@uq.edu.au>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"},
            id="by mail only",
        ),
    ],
)
def test_missing_one_click_headers_block(tmp_path: Path, headers: dict[str, str]) -> None:
    found = check_emails([replace(checked_email(tmp_path), headers=headers)], HOUSE)
    assert [(each.code, each.part) for each in found if each.severity is Severity.BLOCK] == [
        ("no-one-click-unsubscribe", Part.HEADERS)
    ]


@pytest.mark.parametrize(
    ("host", "is_test"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("10.1.2.3", True),
        ("::1", True),
        ("example.com", True),
        ("mail.example.edu", True),
        ("example.edu.au", True),
        ("uq.test", True),
        ("staging.uq.edu.au", True),
        ("courses-staging.uq.edu.au", True),
        ("dev.uq.edu.au", True),
        ("web.local", True),
        ("www.edx.org", False),
        ("edge.edx.org", False),
        ("learning.uq.edu.au", False),
        ("testing.org", False),
        ("devon.gov.uk", False),
        ("8.8.8.8", False),
        ("contest.edx.org", False),
    ],
)
def test_test_hosts(host: str, is_test: bool) -> None:
    assert is_test_host(host) is is_test


# --- grouping, values -------------------------------------------------------------------------------------------------


def test_shapes_with_the_same_fault_share_a_finding(tmp_path: Path) -> None:
    page: dict[str, Any] = {"body_html": after_greeting('<p><a href="">Upgrade</a></p>')}
    with_next = checked_email(tmp_path, **page)
    without = checked_email(tmp_path, shared={**SHARED, "next": None}, **page)
    assert with_next.shape != without.shape
    found = check_emails([with_next, replace(without, learners=2)], HOUSE)
    (link,) = [each for each in found if each.code == "empty-link"]
    assert (link.shapes, link.learners) == ((with_next.shape, without.shape), 7)


def test_different_faults_in_one_place_are_counted(tmp_path: Path) -> None:
    email = checked_email(tmp_path)
    spots = [
        Spot(severity=Severity.WARN, code="c", message=f"M{n}.", mend="x", part=Part.HTML, place=("a.html", 1))
        for n in range(3)
    ]
    (found,) = grouped((email, spot, spot.place) for spot in spots)
    assert found.message == "M0. And 2 more of this kind in this place."
    assert found.learners == 5


def test_the_worst_comes_first(tmp_path: Path) -> None:
    found = findings(tmp_path, body_html=put(' lang="en"', "").replace("<title>", "<a href=''>x</a><title>"))
    severities = [list(Severity).index(each.severity) for each in found]
    assert severities == sorted(severities) and len(set(severities)) == 3


def test_a_finding_goes_through_json_and_back(tmp_path: Path) -> None:
    found = [replace(each, accepted="known (kim)") for each in findings(tmp_path, body_html=put(' lang="en"', ""))]
    assert [from_dict(json.loads(json.dumps(as_dict(each)))) for each in found] == found
    assert count(found) == {"block": 0, "warn": 1, "note": len(found) - 1, "accepted": len(found)}


def test_no_learner_is_quoted(tmp_path: Path) -> None:
    email = checked_email(tmp_path, body_html=after_greeting('<p><a href="">{{ learner.name }}</a></p>'))
    said = repr(check_emails([email], HOUSE)) + email.subject + email.html + email.text + email.eml.decode()
    assert "Sam Sample" in said
    assert "Ann" not in said and "ann@" not in said


# --- whatever comes ---------------------------------------------------------------------------------------------------


@given(html=st.text(max_size=200), text=st.text(max_size=200))
def test_no_email_breaks_the_checks(html: str, text: str, _clean: Any) -> None:
    email = replace(_clean, html=html, text=text, subject=text[:20])
    found = check_emails([email], House(postal_address="x"))
    assert all(isinstance(each, Finding) and each.message and each.mend for each in found)


MARKUP = st.lists(
    st.sampled_from(
        [
            "<p>",
            "</p>",
            "<a href='",
            "'>",
            "<td bgcolor=red>",
            'style="color:',
            "<style>@media {",
            "}",
            "<!--",
            "-->",
            "<img ",
            "&#0;",
            "x",
            "<",
            "http://[",
            "<svg><a href=x>",
        ]
    ),
    max_size=25,
)


@given(pieces=MARKUP)
def test_nor_does_broken_markup(pieces: list[str], _clean: Any) -> None:
    html = "".join(pieces)
    assert check_emails([replace(_clean, html=html, places=replace(_clean.places, html=html))], HOUSE)


@pytest.fixture(scope="module")
def _clean(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return checked_email(tmp_path_factory.mktemp("clean"))


def test_the_subject_of_the_clean_email(tmp_path: Path) -> None:
    assert checked_email(tmp_path).subject == SUBJECT.replace("{{ trigger.title }}", "Climate Science").strip()
