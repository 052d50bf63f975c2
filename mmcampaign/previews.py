"""Use case: merged emails as files, for one learner or one per shape. Nothing is planned, nothing can be sent."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mmcampaign.app import App
from mmcampaign.checking import Sample, findings_of
from mmcampaign.cohorts import Decision
from mmcampaign.context import first_name, personal_values, token_values
from mmcampaign.errors import InputError
from mmcampaign.examples import Examples
from mmcampaign.merge import Merged, Template
from mmcampaign.mime import Composer
from mmcampaign.model import Cohort, Program
from mmcampaign.pages.preview import PreviewEmail, PreviewFiles, PreviewPage, PreviewShape, write_previews
from mmcampaign.planning import ContextMaker, settings_now
from mmcampaign.rules import Candidate
from mmcampaign.selection import BOTH, explain_learner, policy_of, select
from mmcampaign.shapes import Filler

MOST_SHAPES = 100  # more than anybody looks at; a template that inspects names gives one for each learner

Case = tuple[Candidate, Decision]


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What was written. ``remark`` says who the examples are, where that is not obvious."""

    page: PreviewPage
    files: PreviewFiles

    @property
    def remark(self) -> str:
        return self.page.remark


def preview(
    app: App, code: str, *, learner: str = "", cohorts: frozenset[Cohort] = BOTH, out: Path | None = None
) -> Preview:
    """Write previews into ``out`` (default: previews/PROGRAM beside config.toml), one per shape or for one learner.

    Raises InputError where nobody gives a reason to write, TemplateError with the line of a template that cannot be
    merged.
    """
    program = app.program(code)
    template = app.merger().load(program.template, subject=program.subject)
    maker = _PreviewMaker(app, program, template)
    found, remark = (
        _of_learner(app, program, learner, cohorts, maker) if learner else _by_shape(app, program, cohorts, maker)
    )
    ordered = sorted(found, key=lambda examples: -examples.learners)
    shown = ordered[:MOST_SHAPES]
    if len(ordered) > MOST_SHAPES:
        remark = f"{remark} There are {len(ordered):,} shapes; shown are the {MOST_SHAPES} with most learners.".strip()
    page = PreviewPage(
        program_title=program.title,
        sender=app.settings.mail.sender.name or app.settings.mail.sender.email,
        shapes=tuple(maker.shape(number, each) for number, each in enumerate(shown, start=1)),
        sources=template.files,
        findings=findings_of(app, program, template, [maker.sample(each) for each in shown]),
        remark=remark,
    )
    return Preview(page=page, files=write_previews(page, out or app.settings.root / "previews" / code))


def _of_learner(
    app: App, program: Program, key: str, cohorts: frozenset[Cohort], maker: "_PreviewMaker"
) -> tuple[list[Examples[Case]], str]:
    candidate, found = explain_learner(app, program, key, policy_of(app, cohorts))
    decisions = [decision for _, decision, _ in found if decision is not None]
    if not decisions:
        raise InputError(
            f"Learner {candidate.learner.student_id} has no reason to be written to in {program.title}.",
            todo=f"mmcampaign explain {program.code} {candidate.learner.student_id}",
        )
    chosen = [decision for decision in decisions if decision.chosen]
    if chosen:
        return maker.group(iter([(candidate, chosen[0])])), ""
    reason = decisions[-1].reason
    remark = f"This learner would get no email today ({reason}); this is how it would read."
    return maker.group(iter([(candidate, decisions[-1])])), remark


def _by_shape(
    app: App, program: Program, cohorts: frozenset[Cohort], maker: "_PreviewMaker"
) -> tuple[list[Examples[Case]], str]:
    found = maker.group(_cases(app, program, cohorts, chosen=True))
    if found:
        return found, ""
    found = maker.group(_cases(app, program, cohorts, chosen=False))
    if found:
        return found, "Nobody would be written to today; these learners are left out, and this is how it would read."
    raise InputError(
        f"No learner of {program.title} gives a reason to write today, so there is nothing to preview.",
        todo=f"mmcampaign cohort {program.code}  (after: mmcampaign ingest FOLDER)",
    )


def _cases(app: App, program: Program, cohorts: frozenset[Cohort], *, chosen: bool) -> Iterator[Case]:
    with app.store.read() as connection:
        for candidate, decisions in select(app, connection, program, policy_of(app, cohorts)):
            yield from ((candidate, decision) for decision in decisions if decision.chosen is chosen)


class _PreviewMaker:
    """Merges emails with an unsubscribe link that leads nowhere."""

    def __init__(self, app: App, program: Program, template: Template) -> None:
        selection = {"campaign": 0, "name": "Preview"}
        self._contexts = ContextMaker(program, settings_now(app, program, template.files, selection))
        self._template, self._program = template, program
        self._sender, self._now = app.settings.mail.sender, app.clock()
        self._link = f"{app.settings.mail.public_url}/u/preview"

    def group(self, cases: Iterator[Case]) -> list[Examples[Case]]:
        """All learners by the shape they get."""
        found: dict[str, Examples[Case]] = {}
        for case in cases:
            candidate, decision = case
            examples = found.setdefault(self._merged(case).shape.digest, Examples())
            name = personal_values(candidate.learner)["name"]
            examples.add(case, name=name, cohort=decision.cohort, facts=_facts(self._program, decision, name))
        return list(found.values())

    def shape(self, number: int, examples: Examples[Case]) -> PreviewShape:
        chosen = examples.chosen()
        first, _ = chosen[0]
        _, decision = first
        merged = self._merged(first)
        return PreviewShape(
            number=number,
            digest=merged.shape.digest,
            learners=examples.learners,
            cohort=decision.cohort,
            trigger_title=decision.trigger.title,
            next_title=decision.next_course.title if decision.next_course else "",
            facts=tuple(examples.facts()),
            choices=tuple(map(str, merged.choices)),
            emails=tuple(self._email(case, why) for case, why in chosen),
        )

    def sample(self, examples: Examples[Case]) -> Sample:
        """The shape as the checks take it."""
        case = examples.chosen()[0][0]
        return Sample(
            shape=self._merged(case).shape,
            context=self._contexts.of(*case),
            personal=self._personal(case),
            learners=examples.learners,
        )

    def _merged(self, case: Case) -> Merged:
        return self._template.merge(self._contexts.of(*case), self._personal(case))

    def _personal(self, case: Case) -> dict[str, str]:
        return token_values(personal_values(case[0].learner), self._link)

    def _email(self, case: Case, why: tuple[str, ...]) -> PreviewEmail:
        learner = case[0].learner
        merged = self._merged(case)
        filler = Filler(merged.shape)
        subject, name = filler.subject(merged.values), personal_values(learner)["name"]
        return PreviewEmail(
            student_id=learner.student_id,
            why=why,
            name=name,
            to_email=learner.email,
            subject=subject,
            html=filler.html(merged.values),
            text=filler.text(merged.values),
            eml=Composer(merged.shape, self._sender).compose(
                message_id="preview",
                to_name=name,
                to_email=learner.email,
                subject=subject,
                values=merged.values,
                unsubscribe_url=self._link,
                dated_at=self._now,
            ),
        )


def _facts(program: Program, decision: Decision, name: str) -> dict[str, str]:
    """What a template can decide by, in words."""
    following = decision.next_course
    closes = following.coming_run.enrollment_closes if following and following.coming_run else None
    others = [program.course(code).title for code in decision.other_triggers]
    return {
        "Cohort": decision.cohort,
        "After": f"{decision.trigger.title}, {decision.trigger.current_run}",
        "Next course": following.title if following else "none",
        "Certificates": f"{decision.certificates_earned} of {len(program.series)}",
        "Last day to upgrade": str(decision.trigger.upgrade_deadline or "not known"),
        "Enrolment closes": str(closes or "not known"),
        "Also passed": ", ".join(others) or "nothing else",
        "Name to greet": "yes" if first_name(name) else "no",
    }
