"""Merging and building messages: by shapes, beside the plain way for each message."""

from datetime import UTC, date, datetime
from email.message import EmailMessage
from email.policy import SMTP

import jinja2
import premailer

from bench.measure import line, per_second
from mmcampaign.cohorts import Decision
from mmcampaign.config import load_settings
from mmcampaign.context import MergeContext, personal_values, shared_values, token_values
from mmcampaign.merge import Merger
from mmcampaign.mime import Composer
from mmcampaign.model import Cohort, Learner, Sender
from mmcampaign.resources import resource
from mmcampaign.shapes import Filler

SENDER = Sender(name="UQx Updates", email="business@uqx.uq.edu.au", reply_to="business@uqx.uq.edu.au")
NAMES = ("Ana Silva", "Nguyễn Thị Châu", "Deirdre O'Connor", "Björn Lindqvist", "Meera Iyer")


def run() -> None:
    """Print messages per second and ratios for the shipped engy template."""
    program = load_settings(resource("config.toml"), {}).programs["engy"]
    decision = Decision(
        learner=Learner(student_id=1, username="a", email="a@b.example"),
        cohort=Cohort.CONTINUE,
        trigger=program.courses[0],
        next_course=program.courses[1],
        certificates_earned=1,
    )
    values = shared_values(
        program,
        decision,
        frozenset({"engy0x"}),
        site={"name": "UQx", "postal_address": "St Lucia QLD 4072"},
        campaign={"id": 1, "name": f"Bench {date.today()}"},
    )
    context = MergeContext.of(values)
    template = Merger(resource("templates") / "emails").load("engy")
    people = [_personal(i) for i in range(1_000)]
    shape = template.merge(context, people[0]).shape
    filler, composer = Filler(shape), Composer(shape, SENDER)

    def shaped(i: int) -> None:
        merged = template.merge(context, people[i % 1_000])
        filler.subject(merged.values), filler.html(merged.values), filler.text(merged.values)

    def built(i: int) -> bytes:
        person = people[i % 1_000]
        return composer.compose(
            message_id=f"{i:016x}",
            to_name=person["learner.name"],
            to_email=person["learner.email"],
            subject="You earned it",
            values=person,
            unsubscribe_url=person["unsubscribe_url"],
            dated_at=datetime.now(UTC),
            domain="uqx.uq.edu.au",
        )

    html, text = filler.html(people[0]), filler.text(people[0])

    def naive_mime(_: int) -> bytes:
        message = EmailMessage(policy=SMTP)
        message["From"], message["To"], message["Subject"] = SENDER.email, "a@b.example", "You earned it"
        message.set_content(text, cte="quoted-printable")
        message.add_alternative(html, subtype="html", cte="quoted-printable")
        return message.as_bytes()

    plain, inlined = _plain(template, values, people)
    rates = [("shapes: subject + HTML + text", per_second(shaped)), ("plain Jinja, no inlining", per_second(plain))]
    rates += [("plain Jinja + premailer per message", per_second(inlined))]
    print("messages: the shipped engy template, one process")
    line("", "messages/s", "shapes are")
    for what, rate in rates:
        line(what, f"{rate:,.0f}", f"{rates[0][1] / rate:,.1f} x")
    line("")
    mime = [("MIME by shape, headers included", per_second(built)), ("EmailMessage", per_second(naive_mime))]
    for what, rate in mime:
        line(what, f"{rate:,.0f}", f"{mime[0][1] / rate:,.1f} x")


def _personal(i: int) -> dict[str, str]:
    name = NAMES[i % len(NAMES)]
    learner = Learner(student_id=i, username=f"u{i}", email=f"learner{i}@mail.example", name=name)
    return token_values(personal_values(learner), f"https://mail.example.edu/u/{i:032x}")


def _plain(template: object, values: object, people: list[dict[str, str]]) -> tuple[object, object]:
    environment = jinja2.Environment(
        loader=jinja2.DictLoader(dict(template.files)),  # type: ignore[attr-defined]
        autoescape=jinja2.select_autoescape(["html"]),
    )
    environment.filters["long_date"] = str
    parts = [environment.get_template(f"engy/{part}") for part in ("subject.txt", "body.html", "body.txt")]
    inliner = premailer.Premailer(allow_network=False, cssutils_logging_level=50)

    def merged(i: int) -> list[str]:
        person = people[i % 1_000]
        learner = {key.partition(".")[2]: value for key, value in person.items() if key.startswith("learner.")}
        own = {"learner": learner, "unsubscribe_url": person["unsubscribe_url"]}
        return [part.render({**values, **own}) for part in parts]  # type: ignore[dict-item]

    return merged, lambda i: inliner.transform(merged(i)[1])
