"""A clean template for the checks to look at, and what is found when something in it is changed."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mmcampaign.checking import Sample, emails_of
from mmcampaign.checks import check_emails
from mmcampaign.checks.email import CheckedEmail, House
from mmcampaign.context import MergeContext, personal_values, token_values
from mmcampaign.findings import Finding, Severity
from mmcampaign.merge import Merger
from mmcampaign.model import Learner, Sender

NOW = datetime(2027, 6, 15, 3, 0, tzinfo=UTC)
LINK = "https://mail.uqx.edu.au/u/AbCdEf0123456789AbCdEf0123456789"
ADDRESS = "The University of Queensland, St Lucia QLD 4072, Australia"
HOUSE = House(postal_address=ADDRESS, own_hosts=frozenset({"mail.uqx.edu.au", "www.edx.org"}))
SENDER = Sender(name="UQx", email="updates@uqx.edu.au")
TRIGGER = {"code": "engy1x", "title": "Climate Science", "link": "https://www.edx.org/climate", "run": "1T2027"}
NEXT = {"code": "engy2x", "title": "Energy Markets", "link": "https://www.edx.org/markets"}
SHARED: dict[str, Any] = {
    "program": {"title": "Sustainable Energy", "courses": []},
    "cohort": "continue",
    "trigger": {**TRIGGER, "upgrade_deadline": None},
    "next": NEXT,
    "certificates": {"earned": 1, "total": 4, "remaining": 3},
    "site": {"name": "UQx", "postal_address": ADDRESS},
}
ANN = Learner(student_id=7, username="ann", email="ann@mail.example", name="Ann Lee")

SUBJECT = "You passed {{ trigger.title }}\n"
HTML = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta name="color-scheme" content="light dark">
<title>You passed</title>
</head>
<body>
<div style="display: none">The next course of the series is open. You are ready.{{ "&zwnj;&nbsp;" | safe * 60 }}</div>
<p>Dear {{ learner.first_name or "learner" }}, you passed {{ trigger.title }}.</p>
{% if next %}
<p>Go on with <a href="{{ next.link }}">{{ next.title }}</a>.</p>
{% endif %}
<p><a href="{{ unsubscribe_url }}">Unsubscribe</a></p>
<p>{{ site.postal_address }}</p>
</body>
</html>
"""
TEXT = """\
Dear {{ learner.first_name or "learner" }},
you passed {{ trigger.title }}.
{% if next %}
Go on with {{ next.title }}:
{{ next.link }}
{% endif %}

Unsubscribe: {{ unsubscribe_url }}
{{ site.postal_address }}
"""


def checked_email(folder: Path, *, shared: Mapping[str, Any] = SHARED, **files: str) -> CheckedEmail:
    """One email of the clean template, its files replaced by those given (``body_html=…``), other ones added."""
    (folder / "mail").mkdir(parents=True, exist_ok=True)
    contents = {"subject_txt": SUBJECT, "body_html": HTML, "body_txt": TEXT, **files}
    for name, content in contents.items():
        (folder / "mail" / ".".join(name.rsplit("_", 1))).write_text(content, "utf-8")
    template = Merger(folder).load("mail")
    context, personal = MergeContext.of(shared), token_values(personal_values(ANN), LINK)
    sample = Sample(shape=template.merge(context, personal).shape, context=context, personal=personal, learners=5)
    return next(emails_of(template, [sample], SENDER, NOW))


def findings(folder: Path, *, house: House = HOUSE, **changes: Any) -> tuple[Finding, ...]:
    return check_emails([checked_email(folder, **changes)], house)


def worse_than_notes(found: tuple[Finding, ...]) -> list[tuple[str, str]]:
    """Code and place of what blocks or warns."""
    return [(each.code, each.place) for each in found if each.severity is not Severity.NOTE]


def put(old: str, new: str, source: str = HTML) -> str:
    """The source with one thing changed; a test that changes nothing is a mistake."""
    assert source.count(old) == 1, old
    return source.replace(old, new)


def line_of(needle: str, source: str) -> int:
    assert source.count(needle) == 1, needle
    return source[: source.index(needle)].count("\n") + 1


def after_greeting(html: str) -> str:
    """The clean page with something more on a line of its own, the tenth."""
    return put("{% if next %}", f"{html}\n{{% if next %}}")
