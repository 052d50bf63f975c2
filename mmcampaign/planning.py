"""Use case: plan a campaign and freeze it.

Planning is one transaction: recipients, merge values, shapes, exclusions, the report's files and the fingerprint are
there together or not at all.
"""

import hashlib
import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from mmcampaign import tokens
from mmcampaign.app import App
from mmcampaign.cohorts import Decision
from mmcampaign.context import MergeContext, own_values, personal_values, shared_values, token_values
from mmcampaign.errors import InputError
from mmcampaign.frozen import RecipientsDigest, fingerprint, frozen_settings, sender_of, to_json
from mmcampaign.model import Cohort, MessageStatus, Program
from mmcampaign.rules import Candidate
from mmcampaign.selection import BOTH, policy_of, select
from mmcampaign.shapes import DERIVED_MARK, Filler, clean
from mmcampaign.store import audit, campaigns
from mmcampaign.store.campaigns import Campaign
from mmcampaign.telling import Teller

if TYPE_CHECKING:  # approve and status need no Jinja
    from mmcampaign.merge import Merged, Template

ROWS_AT_ONCE = 5_000  # in memory; of more at once, those of a shape would stand together in longer runs (decision 19)
REASONS_TOLD = 5


@dataclass(frozen=True, kw_only=True)
class PlanRequest:
    """What a dry run was asked for. ``limit`` plans the first so many recipients only."""

    program: str
    cohorts: frozenset[Cohort] = BOTH
    name: str = ""
    holdout_percent: float | None = None
    limit: int | None = None


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A recipient as selection gives it: the decision, the shared merge values and the person's own."""

    decision: Decision
    context: MergeContext
    personal: Mapping[str, str]

    def frozen_fields(self) -> tuple[object, ...]:
        """What the approval is of; compared again before sending."""
        decision = self.decision
        return (
            decision.learner.student_id,
            decision.cohort.value,
            decision.trigger.code,
            decision.trigger.current_run,
            decision.next_course.code if decision.next_course else "",
            self.context.digest,
            _own_json(self.personal),
        )


def frozen_row(row: Sequence[Any]) -> tuple[Any, ...]:
    """The same of a recipient that was planned. What a template derives from a person is no part of what is compared:
    the person and the template are."""
    *fields, personal = row
    return (*fields, _own_json(own_values(json.loads(personal))) if DERIVED_MARK in personal else personal)


def _own_json(personal: Mapping[str, str]) -> str:
    return json.dumps(personal, ensure_ascii=False, sort_keys=True)


Report = Callable[[Connection, Campaign], None]


def plan(
    app: App,
    request: PlanRequest,
    report: Report,
    on_progress: Callable[[int], None] = lambda _: None,
    on_remark: Callable[[str], None] = lambda _: None,
) -> Campaign:
    """Select, merge and freeze; ``report`` writes the dry-run report before anything is committed.

    ``on_remark`` is told, before the report, which emails had to be rendered one by one, and why. Raises TemplateError
    with the template's line (nothing is planned then), InputError without data.
    """
    program = app.program(request.program)
    template = app.merger().load(program.template, subject=program.subject)
    with app.store.write() as connection:
        _require_data(connection, program)
        name = request.name or f"{program.title}, {app.today:%d %b %Y}"
        campaign = campaigns.add_campaign(
            connection, program=program.code, name=name, planned_on=app.today, at=app.clock(), by=app.actor
        )
        settings = settings_now(app, program, template.files, _selection_settings(app, request, campaign, name))
        writer = _PlanWriter(app, connection, campaign, template, settings)
        for chosen in recipients(app, connection, program, settings, writer.exclude):
            writer.add(chosen)
            if writer.chosen % 100 == 0:
                on_progress(writer.chosen)
        writer.close()
        frozen = to_json(settings)
        mark = fingerprint(frozen, writer.digest.hexdigest())
        campaigns.keep_template(connection, _contents(template), app.clock())
        campaigns.complete_plan(
            connection,
            campaign,
            settings=frozen,
            fingerprint=mark,
            chosen=writer.chosen,
            excluded=writer.excluded,
        )
        planned = campaigns.get_campaign(connection, campaign)
        assert planned is not None
        for remark in _one_by_one(template):
            on_remark(remark)
        report(connection, planned)
        facts = {"fingerprint": mark, "recipients": writer.chosen, "excluded": writer.excluded}
        if template.alone:
            facts["rendered one by one"] = template.alone.total()
        subject = f"campaign {campaign}"
        audit.record(connection, at=app.clock(), actor=app.actor, act="planned", subject=subject, facts=facts)
    return planned


def _require_data(connection: Connection, program: Program) -> None:
    if not campaigns.data_sources(connection, [course.code for course in program.courses]):
        raise InputError(
            f"No report of any course of {program.title} was loaded yet.",
            unchanged="Nothing was planned.",
            todo="mmcampaign ingest FOLDER  (the folder of your edX downloads)",
        )


def _selection_settings(app: App, request: PlanRequest, campaign: int, name: str) -> dict[str, Any]:
    holdout = request.holdout_percent
    return {
        "campaign": campaign,
        "name": name,
        "today": app.today.isoformat(),
        "cohorts": sorted(request.cohorts),
        "limit": request.limit,
        "holdout_percent": app.settings.policy.holdout_percent if holdout is None else holdout,
    }


def settings_now(app: App, program: Program, files: Mapping[str, str], selection: Mapping[str, Any]) -> dict[str, Any]:
    """Today's settings in the form that a campaign freezes. ``files`` are those of the template."""
    settings = app.settings
    return frozen_settings(
        program=program,
        sender=settings.mail.sender,
        site={"name": settings.site.name, "staff": list(settings.site.staff)},
        mail={
            "postal_address": settings.mail.postal_address,
            "public_url": settings.mail.public_url,
            "links_signed": bool(settings.secrets.secret_key),
        },
        policy={"cooldown_days": settings.policy.cooldown_days, "consent": settings.policy.consent},
        templates={path: _sha256(content) for path, content in files.items()},
        selection=selection,
    )


def _sha256(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


def _contents(template: "Template") -> dict[str, tuple[str, str]]:
    return {path: (_sha256(content), content) for path, content in template.files.items()}


def recipients(
    app: App,
    connection: Connection,
    program: Program,
    settings: Mapping[str, Any],
    on_excluded: Callable[[Decision], None] = lambda _: None,
) -> Iterator[Chosen]:
    """The recipients that these frozen settings give on today's data, by student id."""
    selection = settings["selection"]
    policy = replace(
        policy_of(
            app, frozenset(Cohort(name) for name in selection["cohorts"]), today=date.fromisoformat(selection["today"])
        ),
        holdout_percent=selection["holdout_percent"],
        holdout_seed=f"campaign {selection['campaign']}",
    )
    contexts = ContextMaker(program, settings)
    taken = 0
    for candidate, decisions in select(app, connection, program, policy, ignore_campaign=selection["campaign"]):
        if taken == selection["limit"]:
            return
        for decision in decisions:
            if not decision.chosen:
                on_excluded(decision)
                continue
            taken += 1
            yield Chosen(
                decision=decision,
                context=contexts.of(candidate, decision),
                personal=personal_values(candidate.learner),
            )


class ContextMaker:
    """Makes the shared merge values once for all recipients that have the same."""

    def __init__(self, program: Program, settings: Mapping[str, Any]) -> None:
        self._program = program
        self._site = {
            "name": settings["site"]["name"],
            "postal_address": settings["mail"]["postal_address"],
        }
        selection = settings["selection"]
        self._campaign = {"id": selection["campaign"], "name": selection["name"]}
        self._made: dict[object, MergeContext] = {}

    def of(self, candidate: Candidate, decision: Decision) -> MergeContext:
        done = frozenset(course.code for course in self._program.courses if candidate.has_certificate(course))
        key = (decision.cohort, decision.trigger.code, decision.next_course, done, decision.other_triggers)
        if key not in self._made:
            values = shared_values(self._program, decision, done, site=self._site, campaign=self._campaign)
            self._made[key] = MergeContext.of(values)
        return self._made[key]


class _PlanWriter:
    """Writes recipients and exclusions of one campaign as they come, and keeps every shape and context once."""

    def __init__(
        self, app: App, connection: Connection, campaign: int, template: "Template", settings: Mapping[str, Any]
    ) -> None:
        self.chosen = self.excluded = 0
        self.digest = RecipientsDigest()
        self._connection, self._campaign, self._template = connection, campaign, template
        self._public_url = app.settings.mail.public_url
        self._secret = app.settings.secrets.secret_key
        self._teller = Teller(app.settings.mail.backend, sender_of(settings), campaign)
        self._messages: list[dict[str, Any]] = []
        self._exclusions: list[dict[str, Any]] = []
        self._kept: set[str] = set()
        self._fillers: dict[str, Filler] = {}

    def add(self, chosen: Chosen) -> None:
        decision, learner = chosen.decision, chosen.decision.learner
        message_id = new_message_id(self._secret)
        url = unsubscribe_url(self._public_url, message_id, self._secret)
        merged = self._template.merge(chosen.context, token_values(chosen.personal, url))
        filler = self._keep(chosen.context, merged)
        subject = filler.subject(merged.values)
        self.chosen += 1
        self.digest.add(chosen.frozen_fields())
        self._teller.add(
            merged.shape,
            merged.values,
            message_id=message_id,
            name=chosen.personal["name"],
            email=learner.email,
            subject=subject,
            unsubscribe_url=url,
        )
        self._messages.append(
            {
                "message_id": message_id,
                "campaign_id": self._campaign,
                "learner_id": learner.student_id,
                "email": learner.email,
                "email_key": learner.email.casefold(),
                "cohort": decision.cohort.value,
                "trigger_course": decision.trigger.code,
                "trigger_run": decision.trigger.current_run,
                "next_course": decision.next_course.code if decision.next_course else "",
                "certificates_earned": decision.certificates_earned,
                "context_digest": chosen.context.digest,
                "personal": _own_json({**chosen.personal, **merged.derived}),
                "unsubscribe_url": url,
                "shape_digest": merged.shape.digest,
                "subject": subject,
                "deadline": _deadline(decision),
                "status": MessageStatus.PENDING.value,
                "attempts": 0,
            }
        )
        if len(self._messages) >= ROWS_AT_ONCE:
            self._flush()

    def exclude(self, decision: Decision) -> None:
        self.excluded += 1
        self._exclusions.append(
            {
                "campaign_id": self._campaign,
                "learner_id": decision.learner.student_id,
                "cohort": decision.cohort.value,
                "trigger_course": decision.trigger.code,
                "reason": decision.reason,
                "detail": decision.detail,
            }
        )
        if len(self._exclusions) >= ROWS_AT_ONCE:
            self._flush()

    def close(self) -> None:
        self._flush()

    def _flush(self) -> None:
        told = self._teller.told()
        for row in self._messages:
            row["told"], row["told_digest"] = told.get(row["message_id"], (None, None))
        # Those of one shape are claimed together, so they stand together: fewer pages are written on their way out.
        self._messages.sort(key=itemgetter("shape_digest"))
        campaigns.add_messages(self._connection, self._messages)
        campaigns.add_exclusions(self._connection, self._exclusions)
        self._messages, self._exclusions = [], []

    def _keep(self, context: MergeContext, merged: "Merged") -> Filler:
        """Writes shape and shared values once. A shape of one person alone is not kept in memory."""
        shape = merged.shape
        if context.digest not in self._kept:
            campaigns.keep_context(self._connection, context.digest, context.json)
            self._kept.add(context.digest)
        if shape.digest in self._fillers:
            return self._fillers[shape.digest]
        campaigns.keep_shape(self._connection, shape, self._template.digest)
        filler = Filler(shape)
        if merged.shared:
            self._fillers[shape.digest] = filler
        return filler


def _one_by_one(template: "Template") -> Iterator[str]:
    """Sentences on emails that no shape could be shared for, the most frequent reasons first."""
    for reason, people in template.alone.most_common(REASONS_TOLD):
        emails = f"{people:,} emails were" if people > 1 else "One email was"
        yield f"{emails} rendered one by one, which is slow. The reason: {reason}."


def new_message_id(secret: str, draw: Callable[[], str] = lambda: secrets.token_hex(8)) -> str:
    """16 hexadecimal digits whose unsubscribe link every part of an email takes as it is.

    A token of random letters may hold what starts a token of a shape, or ``--``, which ends an HTML comment.
    """
    while True:
        message_id = draw()
        token = tokens.sign(message_id, secret)
        if clean(token) == token and "--" not in token:
            return message_id


def unsubscribe_url(public_url: str, message_id: str, secret: str) -> str:
    """At most 75 characters for a public_url of up to 40 (delivery.md 3.3)."""
    return f"{public_url}/u/{tokens.sign(message_id, secret)}"


def _deadline(decision: Decision) -> date | None:
    """The last day on which this message makes sense; checked again at the moment of claiming."""
    if decision.cohort is Cohort.AUDIT_UPGRADE:
        return decision.trigger.upgrade_deadline
    coming = decision.next_course.coming_run if decision.next_course else None
    return coming.enrollment_closes if coming else None
