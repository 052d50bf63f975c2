"""Use case: warnings that a person lets stand, with a reason. They live in the audit log and nowhere else.

An acceptance holds for one program, one code and the template as it was read then: whoever edits the template is asked
again.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from sqlalchemy import Connection

from mmcampaign.app import App
from mmcampaign.findings import Finding, Severity
from mmcampaign.store import audit

ACT = "accepted findings"


def reasons(connection: Connection, program: str, template: str) -> dict[str, str]:
    """Code -> reason and who gave it, for a template of this digest; the last word counts."""
    return {
        entry["facts"]["code"]: f"{entry['facts']['reason']} ({entry['facts']['by']})"
        for entry in audit.entries(connection)
        if entry["act"] == ACT and entry["subject"] == _subject(program) and entry["facts"]["template"] == template
    }


def with_reasons(findings: Iterable[Finding], accepted: Mapping[str, str]) -> Iterator[Finding]:
    """The findings, with the reason at each warning that was accepted. Nothing else can be."""
    for each in findings:
        stands = each.severity is Severity.WARN and each.code in accepted
        yield replace(each, accepted=accepted[each.code]) if stands else each


def record(
    app: App, connection: Connection, *, program: str, template: str, code: str, reason: str, by: str, findings: int
) -> None:
    facts = {"code": code, "reason": reason, "by": by, "template": template, "findings": findings}
    audit.record(connection, at=app.clock(), actor=app.actor, act=ACT, subject=_subject(program), facts=facts)


def _subject(program: str) -> str:
    return f"program {program}"
