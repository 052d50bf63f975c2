"""Use case: the checks of a program's emails, over every shape that learners get today and over the branches of the
template that nobody reaches today."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from email.parser import BytesHeaderParser
from email.policy import default
from urllib.parse import urlsplit

from mmcampaign.acceptances import reasons, record, with_reasons
from mmcampaign.app import App
from mmcampaign.checks import check_emails, in_order, limits
from mmcampaign.checks.email import CheckedEmail, House
from mmcampaign.checks.outside import check_links, check_spam
from mmcampaign.context import MergeContext, personal_values, token_values
from mmcampaign.errors import InputError, RefusedError, TemplateError
from mmcampaign.findings import Finding, Part, Severity
from mmcampaign.marked import MarkedTemplate
from mmcampaign.merge import Merged, Template
from mmcampaign.mime import Composer
from mmcampaign.model import Learner, Program, Sender, Shape
from mmcampaign.planning import ContextMaker, settings_now
from mmcampaign.selection import policy_of, select
from mmcampaign.shapes import Filler
from mmcampaign.synthetic import invented

# Nobody's values, for findings to be quoted and grouped without a learner's name in them.
_NOBODY = token_values(
    personal_values(
        Learner(student_id=1, username="sam_sample", email="sam.sample@mail.example", name="Sam Sample", country="AU")
    ),
    "",
)
_UNDEFINED = re.compile(r"there is no merge value|is undefined|asked of a value that is none")


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One shape to check. ``personal`` are the values of a learner who gets it, by the dotted names that templates use
    (``token_values``); ``learners`` get it today."""

    shape: Shape
    context: MergeContext
    personal: Mapping[str, str]
    learners: int = 0


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What a check gave. ``not_checked`` says in words what was left aside; ``template`` is the digest of what was
    checked, empty where it could not even be read."""

    program: Program
    template: str
    findings: tuple[Finding, ...]
    not_checked: tuple[str, ...] = ()
    emails: tuple[CheckedEmail, ...] = ()

    @property
    def blocked(self) -> bool:
        return any(finding.severity is Severity.BLOCK for finding in self.findings)


def check_program(app: App, code: str, *, ask_links: bool = False) -> Checked:
    """Check a program's template over every shape of today's learners, and with invented ones for other branches.

    With ``ask_links`` the servers behind the links are asked too. Writes nothing. Raises InputError for an unknown
    program; a template that cannot be merged is a finding.
    """
    program = app.program(code)
    try:
        template = app.merger().load(program.template, subject=program.subject)
    except TemplateError as error:
        return Checked(program=program, template="", findings=(of_error(error, program),))
    broken: list[Finding] = []
    samples = _merged(_today(app, program, template), template, program, broken)
    known = {sample.shape.digest for sample in samples}
    others = _merged(_nobody_today(app, program, template), template, program, broken)
    chosen = [*samples, *(sample for sample in others if sample.shape.digest not in known)]
    emails = tuple(emails_of(template, chosen[: limits.SHAPES_CHECKED], app.settings.mail.sender, app.clock()))
    found = [*check_emails(emails, house_of(app)), *_summed(broken)]
    aside = left_aside(len(chosen))
    for outside in (check_spam, check_links if ask_links else _links_not_asked):
        more, not_checked = outside(emails)
        found, aside = [*found, *more], [*aside, *not_checked]
    with app.store.read() as connection:
        accepted = reasons(connection, program.code, template.digest)
    return Checked(
        program=program,
        template=template.digest,
        findings=in_order(with_reasons(found, accepted)),
        not_checked=tuple(aside),
        emails=emails,
    )


def _links_not_asked(_: Sequence[CheckedEmail]) -> tuple[tuple[Finding, ...], list[str]]:
    return (), ["whether links answer: add --links"]


def accept(app: App, code: str, finding: str, *, reason: str, by: str = "") -> Checked:
    """Let the warnings of one code stand, for a reason that is kept in the audit log.

    Raises InputError without a reason or where there is no such warning, RefusedError for a finding that blocks.
    """
    checked = check_program(app, code)
    wanted = [each for each in checked.findings if each.code == finding]
    if any(each.severity is Severity.BLOCK for each in wanted):
        raise RefusedError(
            f"{finding} blocks, and what blocks cannot be accepted.",
            facts=tuple(each.message for each in wanted),
            unchanged="Nothing was accepted.",
            todo="mend the template, then check again",
        )
    warnings = [each for each in wanted if each.severity is Severity.WARN]
    if not warnings or not reason.strip():
        codes = sorted({each.code for each in checked.findings if each.severity is Severity.WARN})
        raise InputError(
            f"There is no warning {finding!r} to accept." if not warnings else "Accepting a warning needs a reason.",
            unchanged="Nothing was accepted.",
            todo=f"Warnings there are: {', '.join(codes) or 'none'}."
            if not warnings
            else "add --reason 'why it may stand'",
        )
    with app.store.write() as connection:
        record(
            app,
            connection,
            program=code,
            template=checked.template,
            code=finding,
            reason=reason.strip(),
            by=by or app.actor,
            findings=len(warnings),
        )
        accepted = reasons(connection, code, checked.template)
    return replace(checked, findings=tuple(with_reasons(checked.findings, accepted)))


def findings_of(app: App, program: Program, template: Template, samples: Sequence[Sample]) -> tuple[Finding, ...]:
    """The findings over these shapes, the worst first, with the reasons of those that were accepted.

    Of very many shapes only the most frequent are looked at.
    """
    with app.store.read() as connection:
        accepted = reasons(connection, program.code, template.digest)
    return tuple(with_reasons(found_in(app, template, samples), accepted))


def found_in(app: App, template: Template, samples: Sequence[Sample]) -> tuple[Finding, ...]:
    """The same without looking into the audit log."""
    frequent = sorted(samples, key=lambda sample: -sample.learners)[: limits.SHAPES_CHECKED]
    return check_emails(emails_of(template, frequent, app.settings.mail.sender, app.clock()), house_of(app))


def house_of(app: App) -> House:
    """What config.toml says about every email."""
    mail, programs = app.settings.mail, app.settings.programs.values()
    links = [mail.public_url]
    for course in (course for program in programs for course in program.courses):
        links += [course.link, course.invitation_link]
    return House(
        postal_address=mail.postal_address,
        own_hosts=frozenset(host for link in links if (host := urlsplit(link).hostname)),
        reaches_people=mail.backend != "file",
    )


# --- samples --------------------------------------------------------------------------------------------------------

Merge = tuple[MergeContext, Mapping[str, str], int]  # shared values, personal values, learners


def _today(app: App, program: Program, template: Template) -> Iterator[Merge]:
    """Everybody who would be written to today."""
    contexts = _contexts(app, program, template)
    with app.store.read() as connection:
        for candidate, decisions in select(app, connection, program, policy_of(app)):
            for decision in (each for each in decisions if each.chosen):
                personal = token_values(personal_values(candidate.learner), _preview_link(app))
                yield contexts.of(candidate, decision), personal, 1


def _nobody_today(app: App, program: Program, template: Template) -> Iterator[Merge]:
    """Invented learners for whatever a template may ask (``synthetic.py``)."""
    for other, candidate, decision in invented(program, app.today):
        context = _contexts(app, other, template).of(candidate, decision)
        yield context, token_values(personal_values(candidate.learner), _preview_link(app)), 0


def _contexts(app: App, program: Program, template: Template) -> ContextMaker:
    return ContextMaker(program, settings_now(app, program, template.files, {"campaign": 0, "name": "Check"}))


def _preview_link(app: App) -> str:
    return f"{app.settings.mail.public_url}/u/preview"


def _merged(merges: Iterable[Merge], template: Template, program: Program, broken: list[Finding]) -> list[Sample]:
    """A sample of each shape, the most frequent first. What cannot be merged becomes a finding in ``broken``."""
    samples: dict[str, Sample] = {}
    learners: Counter[str] = Counter()
    for context, personal, people in merges:
        try:
            shape = template.merge(context, personal).shape
        except TemplateError as error:
            broken.append(replace(of_error(error, program, template), learners=people))
            continue
        learners[shape.digest] += people
        if shape.digest not in samples:
            samples[shape.digest] = Sample(shape=shape, context=context, personal=personal)
    counted = (replace(sample, learners=learners[digest]) for digest, sample in samples.items())
    return sorted(counted, key=lambda sample: -sample.learners)


def left_aside(shapes: int) -> list[str]:
    """What is not looked at of so many shapes, in words."""
    beyond = shapes - limits.SHAPES_CHECKED
    return [f"shapes beyond the {limits.SHAPES_CHECKED} most frequent ({beyond:,})"] if beyond > 0 else []


# --- emails ---------------------------------------------------------------------------------------------------------


def emails_of(
    template: Template, samples: Iterable[Sample], sender: Sender, dated_at: datetime
) -> Iterator[CheckedEmail]:
    """Each sample as it would go over the wire, to nobody. ``dated_at`` is aware."""
    marked = MarkedTemplate(template)
    for sample in samples:
        personal, merged = _to_nobody(template, sample)
        url, filler = personal["unsubscribe_url"], Filler(merged.shape)
        eml = Composer(merged.shape, sender).compose(
            message_id="check",
            to_name=_NOBODY["learner.name"],
            to_email=_NOBODY["learner.email"],
            subject=filler.subject(merged.values),
            values=merged.values,
            unsubscribe_url=url,
            dated_at=dated_at,
        )
        yield CheckedEmail(
            shape=sample.shape.digest,
            subject=filler.subject(merged.values),
            html=filler.html(merged.values),
            text=filler.text(merged.values),
            eml=eml,
            headers={name: str(value) for name, value in BytesHeaderParser(policy=default).parsebytes(eml).items()},
            unsubscribe_url=url,
            learners=sample.learners,
            courses=_courses(sample.context),
            places=marked.places(sample.context, personal),
        )


def _to_nobody(template: Template, sample: Sample) -> tuple[Mapping[str, str], Merged]:
    """The sample's form with nobody's values in it, so that no finding quotes a learner; with its learner's own where
    the template decides by them and nobody would get another form."""
    personal = harmless(sample.personal)
    merged = template.merge(sample.context, personal)
    if merged.shared and merged.shape.digest != sample.shape.digest:
        return sample.personal, template.merge(sample.context, sample.personal)
    return personal, merged


def harmless(personal: Mapping[str, str]) -> dict[str, str]:
    """Personal values with nobody's in their place; what is empty stays empty, and links and countries stay."""
    return {field: (_NOBODY.get(field) or value) if value else "" for field, value in personal.items()}


def _courses(context: MergeContext) -> dict[str, str]:
    """The courses that an email is about, title to link."""
    about = (context.values["trigger"], context.values["next"])
    return {course["title"]: course["link"] for course in about if course}


# --- templates that cannot be merged --------------------------------------------------------------------------------


def of_error(error: TemplateError, program: Program, template: Template | None = None) -> Finding:
    """The finding that an error of a template is."""
    own = f"{program.template}/{error.part}"
    file = own if template is None or own in template.files else error.part
    codes = {"subject comes out empty": "empty-subject", "style sheet from elsewhere": "outside-style-sheet"}
    code = next((code for words, code in codes.items() if words in error.what), "template-error")
    return Finding(
        severity=Severity.BLOCK,
        code="undefined-value" if _UNDEFINED.search(error.what) else code,
        message=error.what,
        mend=error.todo,
        part=_part_of(error.part),
        file=file or None,
        line=error.line or None,
    )


def _part_of(file: str) -> Part:
    if file.endswith((".html", "")) and not file.endswith((".txt", ".toml")):
        return Part.HTML
    return Part.TEXT if file.endswith(".txt") and not file.endswith("subject.txt") else Part.SUBJECT


def _summed(broken: Iterable[Finding]) -> Iterator[Finding]:
    found: dict[tuple[str, str | None, int | None, str], Finding] = {}
    for each in broken:
        key = (each.code, each.file, each.line, each.message)
        found[key] = replace(each, learners=each.learners + (found[key].learners if key in found else 0))
    yield from found.values()
