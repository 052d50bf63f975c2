"""Use case: the dry run. Plans and freezes a campaign and writes the report that is approved."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from mmcampaign.app import App
from mmcampaign.campaign_findings import freeze
from mmcampaign.context import token_values
from mmcampaign.findings import Severity, count, findings_in, not_checked_in
from mmcampaign.model import Program, Reason
from mmcampaign.pages.dry_run import (
    CourseCount,
    DryRunFiles,
    DryRunPage,
    Excluded,
    PreviousCampaign,
    ReasonCount,
    Recipient,
    Sample,
    Source,
    TemplateFile,
    write_dry_run,
)
from mmcampaign.pages.reasons import REASON_SENTENCES
from mmcampaign.planning import PlanRequest, plan
from mmcampaign.selection import missing_reports
from mmcampaign.shapes import Filler, with_nobodys_link
from mmcampaign.store import campaigns
from mmcampaign.store.campaigns import Campaign
from mmcampaign.store.consents import ConsentData, consent_data

STALE_DAYS = 14
MOST_SAMPLES = 100  # emails shown in the report; a template that makes a form for each person has thousands


@dataclass(frozen=True, kw_only=True)
class DryRun:
    """A planned campaign and where its report is. ``warnings`` are those of the report."""

    campaign: Campaign
    files: DryRunFiles
    shapes: int
    excluded: dict[str, int]
    warnings: tuple[str, ...]


def dry_run(
    app: App, request: PlanRequest, *, out: Path | None = None, on_progress: Callable[[int], None] = lambda _: None
) -> DryRun:
    """Plan, freeze, and write the report into ``out`` (default: reports/campaign-N beside config.toml)."""
    written: list[DryRun] = []
    remarks: list[str] = []

    def report(connection: Connection, campaign: Campaign) -> None:
        folder = out or app.settings.root / "reports" / f"campaign-{campaign.id}"
        campaign = freeze(app, connection, campaign)
        page = build_page(app, connection, campaign, remarks)
        counts = campaigns.shape_counts(connection, campaign.id)
        numbers = {digest: number for number, (digest, _, _) in enumerate(counts, start=1)}
        files = write_dry_run(
            page, _recipients(connection, campaign.id, numbers), _excluded(connection, campaign.id), folder
        )
        reasons = {reason.reason: reason.people for reason in page.reasons}
        written.append(
            DryRun(campaign=campaign, files=files, shapes=len(numbers), excluded=reasons, warnings=page.warnings)
        )

    plan(app, request, report, on_progress, remarks.append)
    return written[0]


def build_page(app: App, connection: Connection, campaign: Campaign, remarks: Sequence[str] = ()) -> DryRunPage:
    """Everything the report says, read from what was frozen; ``remarks`` are warnings from the planning itself."""
    program = app.program(campaign.program)
    mail, selection = campaign.settings["mail"], campaign.settings["selection"]
    return DryRunPage(
        campaign=campaign.id,
        name=campaign.name,
        program_code=program.code,
        program_title=program.title,
        state=campaign.state,
        fingerprint=campaign.fingerprint,
        planned_at=campaign.planned_at,
        planned_on=campaign.planned_on,
        planned_by=campaign.planned_by,
        timezone=app.settings.site.timezone,
        cohorts=tuple(selection["cohorts"]),
        backend=app.settings.mail.backend,
        sender=f"{mail['from_name']} <{mail['from']}>" if mail["from_name"] else mail["from"],
        reply_to=mail["reply_to"],
        rate_per_second=app.settings.mail.rate_per_second,
        considered=campaign.considered,
        chosen=campaign.chosen,
        excluded=campaign.excluded,
        courses=_course_counts(connection, campaign, program),
        reasons=_reason_counts(connection, campaign),
        shapes=len(campaigns.shape_counts(connection, campaign.id)),
        samples=tuple(_samples(connection, campaign, program)),
        sources=_sources(connection, program),
        templates=tuple(
            TemplateFile(path=path, digest=digest) for path, digest in sorted(campaign.settings["templates"].items())
        ),
        consent_note=_consent_note(app, connection),
        warnings=(*_warnings(app, connection, campaign, program), *remarks),
        holdout_percent=selection["holdout_percent"],
        limit=selection["limit"],
        previous=_previous(connection, campaign),
        findings=findings_in(campaign.settings),
        not_checked=not_checked_in(campaign.settings),
        commands=_commands(campaign),
    )


def _commands(campaign: Campaign) -> tuple[str, ...]:
    if any(each.severity is Severity.BLOCK for each in findings_in(campaign.settings)):
        return (
            f"mmcampaign check {campaign.program}",
            f"mmcampaign cancel {campaign.id}",
            f"mmcampaign dry-run {campaign.program}",
        )
    return (f"mmcampaign approve {campaign.id}", f"mmcampaign send {campaign.id}")


def _course_counts(connection: Connection, campaign: Campaign, program: Program) -> tuple[CourseCount, ...]:
    counts = campaigns.count_triggers(connection, campaign.id)
    order = [course.code for course in program.courses]
    return tuple(
        CourseCount(
            cohort=cohort,
            course_code=code,
            course_title=program.course(code).title,
            run=program.course(code).current_run,
            considered=chosen + excluded,
            chosen=chosen,
            excluded=excluded,
        )
        for (cohort, code), (chosen, excluded) in sorted(
            counts.items(), key=lambda item: (item[0][0], order.index(item[0][1]))
        )
    )


def _reason_counts(connection: Connection, campaign: Campaign) -> tuple[ReasonCount, ...]:
    counts = campaigns.count_exclusions(connection, campaign.id)
    found = sorted(counts.items(), key=lambda item: -item[1])
    return tuple(
        ReasonCount(reason=reason, sentence=REASON_SENTENCES[Reason(reason)], people=people) for reason, people in found
    )


def _samples(connection: Connection, campaign: Campaign, program: Program) -> Iterator[Sample]:
    """One learner of each of the most frequent shapes; nobody can unsubscribe them from the report."""
    no_link = f"{campaign.settings['mail']['public_url']}/u/preview"
    counts = campaigns.shape_counts(connection, campaign.id)[:MOST_SAMPLES]
    for number, (digest, learners, row_id) in enumerate(counts, start=1):
        row = campaigns.get_message(connection, row_id)
        personal = json.loads(row.personal)
        shape, values = with_nobodys_link(
            campaigns.get_shape(connection, digest),
            token_values(personal, no_link),
            theirs=row.unsubscribe_url,
            nobodys=no_link,
        )
        filler = Filler(shape)
        yield Sample(
            number=number,
            shape_digest=digest,
            learners=learners,
            cohort=row.cohort,
            trigger_title=program.course(row.trigger_course).title,
            next_title=program.course(row.next_course).title if row.next_course else "",
            student_id=row.learner_id,
            name=personal["name"],
            email=row.email,
            subject=row.subject,
            html=filler.html(values),
            text=filler.text(values),
        )


def _sources(connection: Connection, program: Program) -> tuple[Source, ...]:
    rows = campaigns.data_sources(connection, [course.code for course in program.courses])
    return tuple(
        Source(
            course_code=row.course,
            run=row.run,
            kind=row.kind,
            file=row.name,
            exported_at=row.exported_at,
            ingested_at=row.ingested_at,
            rows=row.rows,
            warnings=tuple(json.loads(row.warnings)),
        )
        for row in rows
    )


def _consent_note(app: App, connection: Connection) -> str:
    """The rule, and how old the choices are that it goes by (edX case E50)."""
    policy = app.settings.policy.consent
    said = {
        "required": "Only learners with an explicit yes on edX's opt-in list are written to.",
        "not-refused": "Everybody but those with an explicit no on edX's opt-in list is written to.",
        "off": "Choices on edX's opt-in list are not considered.",
    }
    return said[policy] if policy == "off" else f"{said[policy]} {_consent_age(app, consent_data(connection))}"


def _consent_age(app: App, data: ConsentData) -> str:
    if not data.lists:
        return "No opt-in list has been ingested, so no choice is known."
    if data.newest_choice is None:
        return "The opt-in lists ingested hold no choice of anybody."
    zone = app.settings.site.zone
    age = f"The newest choice on record is of {data.newest_choice.astimezone(zone):%Y-%m-%d}"
    if data.newest_report is None or data.newest_choice >= data.newest_report:
        return f"{age}."
    report = f"{data.newest_report.astimezone(zone):%Y-%m-%d}"
    return f"{age}, older than the newest report ({report}): choices made since are not known."


def _warnings(app: App, connection: Connection, campaign: Campaign, program: Program) -> tuple[str, ...]:
    found = [*missing_reports(connection, program), *_stale_reports(app, connection, campaign, program)]
    if not campaign.settings["mail"]["links_signed"] and app.settings.mail.backend != "file":
        found.append(
            "MMCAMPAIGN_SECRET_KEY is not set: the unsubscribe links would not work, so this campaign can be sent "
            "to files only."
        )
    return tuple(found)


def _stale_reports(app: App, connection: Connection, campaign: Campaign, program: Program) -> list[str]:
    """Sentences naming current runs whose grade report is old enough for people to have upgraded since."""
    current = {course.code: course.current_run for course in program.series}
    found = []
    for row in campaigns.data_sources(connection, list(current)):
        if row.kind != "grade_report" or row.run != current[row.course] or row.exported_at is None:
            continue
        age = (campaign.planned_on - row.exported_at.astimezone(app.settings.site.zone).date()).days
        if age > STALE_DAYS:
            found.append(f"The grade report of {row.course_instance} is {age} days old: learners may have upgraded.")
    return found


def _previous(connection: Connection, campaign: Campaign) -> PreviousCampaign | None:
    for other in campaigns.list_campaigns(connection):
        if other.program == campaign.program and other.id < campaign.id and other.started_at is not None:
            return PreviousCampaign(
                campaign=other.id,
                name=other.name,
                planned_on=other.planned_on,
                considered=other.considered,
                chosen=other.chosen,
                excluded=other.excluded,
            )
    return None


def _recipients(connection: Connection, campaign: int, numbers: dict[str, int]) -> Iterator[Recipient]:
    for row in campaigns.recipients(connection, campaign):
        yield Recipient(
            student_id=row.learner_id,
            email=row.email,
            name=json.loads(row.personal)["name"],
            cohort=row.cohort,
            trigger_course=row.trigger_course,
            trigger_run=row.trigger_run,
            next_course=row.next_course,
            certificates_earned=row.certificates_earned,
            shape=numbers[row.shape_digest],
            subject=row.subject,
        )


def _excluded(connection: Connection, campaign: int) -> Iterator[Excluded]:
    for row in campaigns.excluded(connection, campaign):
        yield Excluded(
            student_id=row.learner_id,
            name=row.name or "",
            email=row.email or "",
            cohort=row.cohort,
            trigger_course=row.trigger_course,
            reason=row.reason,
            detail=row.detail,
        )


def as_json(result: DryRun) -> dict[str, Any]:
    """The keys of ``dry-run --json`` (contract 3)."""
    return {
        "campaign": result.campaign.id,
        "state": result.campaign.state,
        "fingerprint": result.campaign.fingerprint,
        "recipients": result.campaign.chosen,
        "shapes": result.shapes,
        "excluded": result.excluded,
        "findings": count(findings_in(result.campaign.settings)),
        "warnings": list(result.warnings),
        "report": str(result.files.report),
    }
