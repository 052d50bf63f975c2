"""The predecessor's pair of files, 32 kB with Outlook conditionals: its shapes are what plain rendering gives."""

from pathlib import Path
from typing import Any

import jinja2
import pytest

from mmcampaign.context import MergeContext
from mmcampaign.merge import Merger, Template
from mmcampaign.merge.page import inline, with_safe_conditionals
from tests.unit.merge_builders import LINK, filled, tree

FOLDER = Path(__file__).parents[1] / "data" / "predecessor"
SUBJECT = "Congratulations - you are now one step closer to the MicroMasters credential!"
PEOPLE = ["Ann O'Neil", "", '"><script>alert(1)</script>', "{{7*7}} 欧阳"]
FACTS = [
    (0, 1, "Energy & Development"),
    (0, 3, ""),
    (1, 3, "Energy & Development"),
]  # verified, certificates, next course


@pytest.fixture(scope="module")
def template() -> Template:
    return Merger(FOLDER).load("energy", subject=SUBJECT)


def shared(verified: int, certificates: int, following: str) -> dict[str, Any]:
    return {
        "no_certificate_eligible": certificates,
        "trigger_course_verified": verified,
        "trigger_course_title": "Climate <Science>",
        "trigger_course_link": "https://www.edx.org/course/climate?a=1&b=2",
        "next_course_title": following,
        "next_course_link": "https://www.edx.org/course/energy" if following else "",
    }


def own(name: str) -> dict[str, str]:
    return {"student_name": name, "email": "ann@example.org", "student_id": "1234", "unsubscribe_link": LINK}


@pytest.mark.parametrize("facts", FACTS)
def test_shapes_are_what_a_plain_render_gives(template: Template, facts: tuple[int, int, str]) -> None:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER / "energy"),
        autoescape=jinja2.select_autoescape(["html"]),
        undefined=jinja2.StrictUndefined,
    )
    context = MergeContext.of({"item": shared(*facts)})
    for name in PEOPLE:
        merged = template.merge(context, {f"item.{key}": value for key, value in own(name).items()})
        values = {"item": {**shared(*facts), **own(name)}}
        html = inline(with_safe_conditionals(environment.get_template("energy.html").render(values)))
        assert merged.shared
        subject, found, text = filled(merged)
        assert subject == SUBJECT
        assert tree(found) == tree(html)
        assert text.split() == environment.get_template("energy.txt").render(values).split()
        assert "<script" not in found


def test_it_is_as_large_as_they_are() -> None:
    html = (FOLDER / "energy" / "energy.html").read_text("utf-8")
    assert 30_000 < len(html.encode()) < 34_000
    assert html.count("{% if ") == 4
    assert all(form in html for form in ("<![if !mso]>", "<!--[if mso]>", "<!--[if gte mso 9]>"))


def test_people_share_a_shape_for_each_set_of_facts(template: Template) -> None:
    contexts = [MergeContext.of({"item": shared(*facts)}) for facts in FACTS]
    digests = [
        {
            template.merge(context, {f"item.{key}": value for key, value in own(name).items()}).shape.digest
            for name in PEOPLE
        }
        for context in contexts
    ]
    assert [len(each) for each in digests] == [2] * len(FACTS), "with a name, and without"
    assert not template.alone
