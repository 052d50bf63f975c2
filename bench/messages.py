"""Merging and building messages: by shapes, beside the plain way for each message."""

import statistics
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any

import jinja2
import premailer

from bench.measure import line, per_second
from mmcampaign.cohorts import Decision
from mmcampaign.config import load_settings
from mmcampaign.context import MergeContext, personal_values, shared_values, token_values
from mmcampaign.merge import Merger, Template
from mmcampaign.merge.environment import long_date
from mmcampaign.mime import Composer, Letters
from mmcampaign.model import Cohort, Learner, Sender
from mmcampaign.resources import resource
from mmcampaign.shapes import Filler

SENDER = Sender(name="UQx Updates", email="business@uqx.uq.edu.au", reply_to="business@uqx.uq.edu.au")
PLAIN_PARTS = ("subject.txt", "body.html", "body.txt")
# The shipped template, doing with personal values what they may be asked: filters, comparisons, a cut, a join.
LOOKING = """<p>{{ ("Dear " ~ learner.name | title) if learner.name else "Dear learner" }},</p>
{% if learner.country == "AU" %}<p>See you on campus.</p>
{% elif learner.country in ["NZ", "FJ"] %}<p>Kia ora!</p>{% endif %}
{% if learner.name | length > 18 %}<p>{{ learner.name | truncate(12) }}</p>{% endif %}
<p>{{ learner.username | upper }} ({{ learner.email.split("@")[1] }})</p>
<p>{{ learner.first_name[:1] | default("-", true) }}</p>
"""
NAMES = ("Ana Silva", "Nguyễn Thị Châu", "Deirdre O'Connor", "Björn Lindqvist", "Meera Iyer")
COUNTRIES = ("AU", "NZ", "", "IN")
PEOPLE = 1_000
TOGETHER = 10  # messages of one shape in a batch of a hundred

Work = Callable[[int], object]
People = list[dict[str, str]]


def run() -> None:
    """Print messages per second and ratios: a shipped template, one that looks into personal values, MIME."""
    context = _context()
    merger = Merger(resource("templates") / "emails")
    people = [_personal(i) for i in range(PEOPLE)]
    for what, template in (("the shipped engy template", merger.load("engy")), ("looking at names", _looking(merger))):
        print(f"messages: {what}, one process")
        _merging(template, context, people)
        line("")
    template = merger.load("engy")
    shape = template.merge(context, people[0]).shape
    line("", "messages/s", "ours is")
    _compare(
        ("MIME by shape, headers included", _composed(Composer(shape, SENDER), people)),
        ("EmailMessage", _standard_library(Filler(shape), people[0])),
    )


def _merging(template: Template, context: MergeContext, people: People) -> None:
    line("", "messages/s", "shapes are")
    _compare(
        ("shapes: subject + HTML + text", _shaped(template, context, people)),
        ("plain Jinja, no inlining", _plain(template, context.values, people)),
        ("plain Jinja + premailer per message", _inlined(template, context.values, people)),
    )
    line("first message of a new shape", f"{_first(template, context, people[0]) * 1000:,.1f} ms")


def _looking(merger: Merger) -> Template:
    """The shipped template with `LOOKING` in its opening, in both bodies."""
    shipped = merger.load("engy")
    files = {
        path: source.replace("{% block opening %}", "{% block opening %}" + LOOKING, 1).replace(
            "{% block opening -%}", "{% block opening -%}" + LOOKING, 1
        )
        if path.startswith("engy/body")
        else source
        for path, source in shipped.files.items()
    }
    return Template("engy", files, ("engy/subject.txt", "engy/body.html", "engy/body.txt"))


def _first(template: Template, context: MergeContext, person: dict[str, str]) -> float:
    """Seconds for the first message, compiling the template left out."""
    seconds = []
    for _ in range(5):
        subject, html, text = (f"engy/{part}" for part in PLAIN_PARTS)
        fresh = Template(template.name, template.files, (subject, html, text))
        started = time.perf_counter()
        fresh.merge(context, person)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def _compare(*ways: tuple[str, Work]) -> None:
    rates = [(what, per_second(work)) for what, work in ways]
    for what, rate in rates:
        line(what, f"{rate:,.0f}", f"{rates[0][1] / rate:,.1f} x")


def _context() -> MergeContext:
    program = load_settings(resource("config.toml"), {}).programs["engy"]
    decision = Decision(
        learner=Learner(student_id=1, username="a", email="a@b.example"),
        cohort=Cohort.CONTINUE,
        trigger=program.courses[0],
        next_course=program.courses[1],
        certificates_earned=1,
    )
    site = {"name": "UQx", "postal_address": "St Lucia QLD 4072"}
    campaign = {"id": 1, "name": "Bench"}
    return MergeContext.of(shared_values(program, decision, frozenset({"engy0x"}), site=site, campaign=campaign))


def _personal(i: int) -> dict[str, str]:
    name = NAMES[i % len(NAMES)]
    learner = Learner(
        student_id=i, username=f"u{i}", email=f"learner{i}@mail.example", name=name, country=COUNTRIES[i % 4]
    )
    return token_values(personal_values(learner), f"https://mail.example.edu/u/{i:032x}")


def _shaped(template: Template, context: MergeContext, people: People) -> Work:
    """Warm: every shape of these people is there."""
    fillers = {
        merged.shape.digest: Filler(merged.shape) for merged in (template.merge(context, each) for each in people)
    }
    assert not template.alone

    def work(i: int) -> object:
        merged = template.merge(context, people[i % PEOPLE])
        filler, values = fillers[merged.shape.digest], merged.values
        return filler.subject(values), filler.html(values), filler.text(values)

    return work


def _plain(template: Template, values: Mapping[str, Any], people: People) -> Callable[[int], list[str]]:
    loader = jinja2.DictLoader(dict(template.files))
    environment = jinja2.Environment(loader=loader, autoescape=jinja2.select_autoescape(["html"]))
    environment.filters["long_date"] = long_date
    parts = [environment.get_template(f"engy/{part}") for part in PLAIN_PARTS]

    def work(i: int) -> list[str]:
        person = people[i % PEOPLE]
        learner = {key.partition(".")[2]: value for key, value in person.items() if key.startswith("learner.")}
        own = {"learner": learner, "unsubscribe_url": person["unsubscribe_url"]}
        return [part.render({**values, **own}) for part in parts]

    return work


def _inlined(template: Template, values: Mapping[str, Any], people: People) -> Work:
    inliner = premailer.Premailer(allow_network=False, cssutils_logging_level=50)
    plain = _plain(template, values, people)
    return lambda i: inliner.transform(plain(i)[1])


def _composed(composer: Composer, people: People) -> Work:
    """Every TOGETHER calls so many are written at once, as a sender does with those of one shape."""
    fields = people[0]

    def work(i: int) -> object:
        if i % TOGETHER:
            return None
        chosen = [people[(i + place) % PEOPLE] for place in range(TOGETHER)]
        columns = {field: [person[field] for person in chosen] for field in fields}
        return composer.compose_all(
            Letters(
                message_ids=[f"{i + place:016x}" for place in range(TOGETHER)],
                names=columns["learner.name"],
                addresses=columns["learner.email"],
                subjects=["You earned it"] * TOGETHER,
                unsubscribe_urls=columns["unsubscribe_url"],
                dated_at=[datetime.now(UTC)] * TOGETHER,
                values=columns,
            )
        )

    return work


def _standard_library(filler: Filler, values: dict[str, str]) -> Work:
    html, text = filler.html(values), filler.text(values)

    def work(_: int) -> bytes:
        message = EmailMessage(policy=SMTP)
        message["From"], message["To"], message["Subject"] = SENDER.email, "a@b.example", "You earned it"
        message.set_content(text, cte="quoted-printable")
        message.add_alternative(html, subtype="html", cte="quoted-printable")
        return message.as_bytes()

    return work
