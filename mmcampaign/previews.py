"""Use case: merged emails as files, for one learner or one per shape. Nothing is planned, nothing can be sent."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from mmcampaign.app import App
from mmcampaign.cohorts import Decision
from mmcampaign.context import personal_values, token_values
from mmcampaign.errors import InputError
from mmcampaign.merge import Template
from mmcampaign.mime import Composer
from mmcampaign.model import Cohort, Program
from mmcampaign.pages.preview import PreviewEmail, PreviewFiles, write_previews
from mmcampaign.planning import ContextMaker, settings_now
from mmcampaign.rules import Candidate
from mmcampaign.selection import BOTH, explain_learner, policy_of, select
from mmcampaign.shapes import Filler


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What was written. ``remark`` says who the examples are, where that is not obvious."""

    emails: tuple[PreviewEmail, ...]
    files: PreviewFiles
    remark: str = ""


def preview(
    app: App, code: str, *, learner: str = "", cohorts: frozenset[Cohort] = BOTH, out: Path | None = None
) -> Preview:
    """Write previews into ``out`` (default: previews/PROGRAM beside config.toml), one per shape or for one learner."""
    program = app.program(code)
    template = app.merger().load(program.template, subject=program.subject)
    maker = _PreviewMaker(app, program, template)
    if learner:
        examples, remark = _of_learner(app, program, learner, cohorts)
        emails = [maker.email(candidate, decision) for candidate, decision in examples]
    else:
        emails, remark = _one_per_shape(app, program, cohorts, maker)
    numbered = tuple(replace(email, shape=number) for number, email in enumerate(emails, start=1))
    files = write_previews(numbered, out or app.settings.root / "previews" / code)
    return Preview(emails=numbered, files=files, remark=remark)


def _of_learner(
    app: App, program: Program, key: str, cohorts: frozenset[Cohort]
) -> tuple[list[tuple[Candidate, Decision]], str]:
    candidate, found = explain_learner(app, program, key, policy_of(app, cohorts))
    decisions = [decision for _, decision, _ in found if decision is not None]
    if not decisions:
        raise InputError(
            f"Learner {candidate.learner.student_id} has no reason to be written to in {program.title}.",
            todo=f"mmcampaign explain {program.code} {candidate.learner.student_id}",
        )
    chosen = [decision for decision in decisions if decision.chosen]
    if chosen:
        return [(candidate, chosen[0])], ""
    reason = decisions[-1].reason
    return [(candidate, decisions[-1])], f"This learner would get no email today ({reason}); this is how it would read."


def _one_per_shape(
    app: App, program: Program, cohorts: frozenset[Cohort], maker: "_PreviewMaker"
) -> tuple[list[PreviewEmail], str]:
    emails = _distinct(maker, _examples(app, program, cohorts, chosen=True))
    if emails:
        return emails, ""
    emails = _distinct(maker, _examples(app, program, cohorts, chosen=False))
    if emails:
        return emails, "Nobody would be written to today; these learners are left out, and this is how it would read."
    raise InputError(
        f"No learner of {program.title} gives a reason to write today, so there is nothing to preview.",
        todo=f"mmcampaign cohort {program.code}  (after: mmcampaign ingest FOLDER)",
    )


def _examples(
    app: App, program: Program, cohorts: frozenset[Cohort], *, chosen: bool
) -> Iterator[tuple[Candidate, Decision]]:
    with app.store.read() as connection:
        for candidate, decisions in select(app, connection, program, policy_of(app, cohorts)):
            yield from ((candidate, decision) for decision in decisions if decision.chosen is chosen)


def _distinct(maker: "_PreviewMaker", examples: Iterator[tuple[Candidate, Decision]]) -> list[PreviewEmail]:
    """The first learner of each shape, with how many have it, the most frequent first."""
    first: dict[str, PreviewEmail] = {}
    learners: dict[str, int] = {}
    for candidate, decision in examples:
        digest = maker.shape_digest(candidate, decision)
        learners[digest] = learners.get(digest, 0) + 1
        if digest not in first:
            first[digest] = maker.email(candidate, decision)
    found = [replace(email, learners=learners[digest]) for digest, email in first.items()]
    return sorted(found, key=lambda email: -email.learners)


class _PreviewMaker:
    """Merges one email with an unsubscribe link that leads nowhere."""

    def __init__(self, app: App, program: Program, template: Template) -> None:
        selection = {"campaign": 0, "name": "Preview"}
        self._contexts = ContextMaker(program, settings_now(app, program, template, selection))
        self._template, self._program = template, program
        self._sender, self._now = app.settings.mail.sender, app.clock()
        self._link = f"{app.settings.mail.public_url}/u/preview"

    def shape_digest(self, candidate: Candidate, decision: Decision) -> str:
        values = token_values(personal_values(candidate.learner), self._link)
        return self._template.merge(self._contexts.of(candidate, decision), values).shape.digest

    def email(self, candidate: Candidate, decision: Decision) -> PreviewEmail:
        personal = personal_values(candidate.learner)
        merged = self._template.merge(self._contexts.of(candidate, decision), token_values(personal, self._link))
        filler = Filler(merged.shape)
        subject = filler.subject(merged.values)
        return PreviewEmail(
            student_id=candidate.learner.student_id,
            shape=0,
            shape_digest=merged.shape.digest,
            learners=1,
            cohort=decision.cohort,
            trigger_title=decision.trigger.title,
            next_title=decision.next_course.title if decision.next_course else "",
            name=personal["name"],
            to_email=candidate.learner.email,
            subject=subject,
            html=filler.html(merged.values),
            text=filler.text(merged.values),
            eml=Composer(merged.shape, self._sender).compose(
                message_id="preview",
                to_name=personal["name"],
                to_email=candidate.learner.email,
                subject=subject,
                values=merged.values,
                unsubscribe_url=self._link,
                dated_at=self._now,
                domain=self._sender.email.rpartition("@")[2],
            ),
        )
