"""Builders of what the pages show: only what a test is about is spelt out."""

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

from mmcampaign.findings import Finding, Part, Severity
from mmcampaign.model import Reason
from mmcampaign.pages.dry_run import (
    CourseCount,
    DryRunPage,
    Excluded,
    ReasonCount,
    Recipient,
    Sample,
    Source,
    TemplateFile,
)
from mmcampaign.pages.reasons import REASON_SENTENCES


def make_course(*, chosen: int = 1, excluded: int = 1, cohort: str = "continue") -> CourseCount:
    return CourseCount(
        cohort=cohort,
        course_code="engy1x",
        course_title="Climate Science and Policy",
        run="1T2019",
        considered=chosen + excluded,
        chosen=chosen,
        excluded=excluded,
    )


def make_sample(**values: Any) -> Sample:
    defaults: dict[str, Any] = {
        "number": 1,
        "shape_digest": "ab" * 32,
        "learners": 1,
        "cohort": "continue",
        "trigger_title": "Climate Science and Policy",
        "student_id": 7,
        "name": "Ada",
        "email": "ada@example.org",
        "subject": "Well done",
        "html": "<p>Dear Ada</p>",
        "text": "Dear Ada",
    }
    return Sample(**(defaults | values))


def make_page(*, chosen: int = 1, excluded: int = 1, **values: Any) -> DryRunPage:
    """A page that adds up for so many chosen and, all for one reason, left out."""
    left_out = ReasonCount(reason="unenrolled", sentence=REASON_SENTENCES[Reason.UNENROLLED], people=excluded)
    defaults: dict[str, Any] = {
        "campaign": 3,
        "name": "June",
        "program_code": "engy",
        "program_title": "Sustainable Energy",
        "state": "planned",
        "fingerprint": "0123456789abcdef" * 4,
        "planned_at": datetime(2019, 6, 5, 20, 30, tzinfo=UTC),
        "planned_on": date(2019, 6, 6),
        "planned_by": "kim",
        "timezone": "Australia/Brisbane",
        "cohorts": ("continue",),
        "backend": "file",
        "sender": "UQx <uqx@example.edu>",
        "reply_to": "",
        "rate_per_second": 10,
        "considered": chosen + excluded,
        "chosen": chosen,
        "excluded": excluded,
        "courses": (make_course(chosen=chosen, excluded=excluded),),
        "reasons": (left_out,) if excluded else (),
        "shapes": 1 if chosen else 0,
        "samples": (make_sample(learners=chosen),) if chosen else (),
        "sources": (),
        "templates": (),
    }
    return DryRunPage(**(defaults | values))


def make_recipient(**values: Any) -> Recipient:
    defaults: dict[str, Any] = {
        "student_id": 7,
        "email": "ada@example.org",
        "name": "Ada",
        "cohort": "continue",
        "trigger_course": "engy1x",
        "trigger_run": "UQx_ENGY1x_1T2019",
        "next_course": "engy2x",
        "certificates_earned": 2,
        "shape": 1,
        "subject": "Well done",
    }
    return Recipient(**(defaults | values))


def make_excluded(**values: Any) -> Excluded:
    defaults: dict[str, Any] = {
        "student_id": 8,
        "name": "Bo",
        "email": "bo@example.org",
        "cohort": "continue",
        "trigger_course": "engy1x",
        "reason": "unenrolled",
        "detail": "has left the run",
    }
    return Excluded(**(defaults | values))


def make_source(**values: Any) -> Source:
    defaults: dict[str, Any] = {
        "course_code": "engy1x",
        "run": "1T2019",
        "kind": "grade_report",
        "file": "UQx_ENGY1x_1T2019_grade_report_2019-06-01-1500.csv",
        "exported_at": datetime(2019, 6, 1, 15, 0, tzinfo=UTC),
        "ingested_at": datetime(2019, 6, 2, 1, 0, tzinfo=UTC),
        "rows": 1234,
    }
    return Source(**(defaults | values))


def make_finding(severity: str = "warn", **values: Any) -> Finding:
    defaults: dict[str, Any] = {
        "severity": Severity(severity),
        "code": "empty-link",
        "message": "A link leads nowhere.",
        "mend": "write its address",
        "part": Part.HTML,
        "file": "engy/body.html",
        "line": 12,
        "shapes": ("ab" * 32,),
        "learners": 1,
    }
    return Finding(**(defaults | values))


def page_of_words(text: str) -> tuple[DryRunPage, list[Recipient], list[Excluded]]:
    sample = make_sample(name=text, email=text, subject=text, html=text, text=text, trigger_title=text, next_title=text)
    page = make_page(
        name=text,
        program_title=text,
        sender=text,
        planned_by=text,
        shapes=1,
        samples=(sample,),
        warnings=(text,),
        findings=(make_finding(message=text, mend=text, code=text, file=text, accepted=text),),
        not_checked=(text,),
        consent_note=text,
        commands=(text,),
        templates=(TemplateFile(path=text, digest=text),),
        sources=(make_source(file=text, warnings=(text,)),),
        courses=(replace(make_course(), course_title=text),),
    )
    return page, [make_recipient()], [make_excluded(name=text, detail=text)]
