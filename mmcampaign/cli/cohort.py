"""Commands over the cohorts: who is in, who is out and why."""

import re
from collections import Counter
from typing import Annotated, Any

import typer

from mmcampaign.cli.shell import Json, Program, Today, a_day, print_json, print_json_lists, print_table, say, shell_of
from mmcampaign.model import Cohort

AnyCohort = Annotated[Cohort | None, typer.Argument(metavar="[audit-upgrade|continue]", help="One cohort only.")]
AsOfDay = Annotated[
    str,
    typer.Option(
        "--as-of", metavar="YYYY-MM-DD", help="Go by the exports there were at the end of this day.", show_default=False
    ),
]
SHOWN_ON_SCREEN = 20
EXPORTS_SHOWN = 12
OF_TODAY = "Addresses, names, edX's opt-in choices and config.toml are today's: their history is not kept."
TRIGGER_CHECKS = frozenset({"current_run", "passing_grade", "certificate"})
EXPORT_NAME = re.compile(r".*_(grade_report|student_profile_info)_(\d{4}-\d\d-\d\d).*")


def add_to(app: typer.Typer) -> None:
    app.command(epilog="Examples: mmcampaign cohort engy audit-upgrade · mmcampaign cohort engy --as-of 2019-06-30")(
        cohort
    )
    app.command(epilog="Example: mmcampaign explain engy ana@mail.example")(explain)


def cohort(
    ctx: typer.Context,
    program: Program,
    which: AnyCohort = None,
    today: Today = "",
    as_of: AsOfDay = "",
    as_json: Json = False,
) -> None:
    """List who would be written to today, and who is left out and why."""
    from mmcampaign.selection import BOTH, looking_at, policy_of, select

    app = shell_of(ctx).open(today or as_of)
    chosen_program = app.program(program)
    policy = policy_of(app, frozenset({which}) if which else BOTH)
    chosen: list[dict[str, Any]] = []
    excluded: list[dict[str, Any]] = []
    with looking_at(app, chosen_program, a_day(as_of)) as (connection, then):
        for _, decisions in select(app, connection, chosen_program, policy):
            for decision in decisions:
                (chosen if decision.chosen else excluded).append(_as_json(decision))
    if as_json:
        past: dict[str, list[Any]] = {}
        if then:
            past = {"exports": [_export(row) for row in then.exports], "remarks": [OF_TODAY]}
        print_json_lists({"chosen": chosen, "excluded": excluded, **past})
        return
    columns = ("student_id", "name", "cohort", "trigger_course", "next_course", "certificates_earned")
    print_table(columns, [[str(row[column]) for column in columns] for row in chosen[:SHOWN_ON_SCREEN]])
    if len(chosen) > SHOWN_ON_SCREEN:
        say(f"... and {len(chosen) - SHOWN_ON_SCREEN:,} more (--json lists all)")
    reasons = Counter((row["cohort"], row["reason"]) for row in excluded)
    print_table(("left out of", "reason", "learners"), [(*key, count) for key, count in reasons.most_common()])
    say(f"{len(chosen) + len(excluded):,} considered = {len(chosen):,} chosen + {len(excluded):,} left out.")
    if then:
        say(_exports_counted(as_of, [_export(row) for row in then.exports]))
        say(OF_TODAY)
    elif chosen:
        say(f"Next: mmcampaign preview {program}, then mmcampaign dry-run {program}")


def _export(row: Any) -> dict[str, Any]:
    return {key: getattr(row, key) for key in ("name", "course", "run", "kind", "exported_at")}


def _exports_counted(day: str, exports: list[dict[str, Any]]) -> str:
    """Which exports made the state of a past day."""
    newest_first = sorted(exports, key=lambda one: one["exported_at"], reverse=True)
    named = [f"{one['course']} {one['run']} {one['kind']} of {one['exported_at']:%Y-%m-%d}" for one in newest_first]
    more = f" and {len(named) - EXPORTS_SHOWN} more (--json lists all)" if len(named) > EXPORTS_SHOWN else ""
    return f"As of {day} these exports counted: {', '.join(named[:EXPORTS_SHOWN])}{more}."


def _as_json(decision: Any) -> dict[str, Any]:
    learner = decision.learner
    common = {"student_id": learner.student_id, "cohort": decision.cohort, "trigger_course": decision.trigger.code}
    if not decision.chosen:
        return {**common, "reason": decision.reason, "detail": decision.detail}
    return {
        **common,
        "email": learner.email,
        "name": learner.name,
        "trigger_run": decision.trigger.current_run,
        "next_course": decision.next_course.code if decision.next_course else None,
        "certificates_earned": decision.certificates_earned,
        "other_triggers": list(decision.other_triggers),
    }


def explain(
    ctx: typer.Context,
    program: Program,
    learner: Annotated[str, typer.Argument(metavar="LEARNER", help="An edX user id, a user name or an address.")],
    today: Today = "",
    as_of: AsOfDay = "",
    as_json: Json = False,
) -> None:
    """Show every rule for one learner, with the value seen and where it was read."""
    from mmcampaign.selection import explain_learner, policy_of

    app = shell_of(ctx).open(today or as_of)
    candidate, found = explain_learner(app, app.program(program), learner, policy_of(app), as_of=a_day(as_of))
    completions = [
        {"course": c.course, "status": c.status, "enrollment_track": c.track, "run": c.run}
        for c in sorted(candidate.completions.values(), key=lambda c: c.course)
    ]
    decisions = [_decision_json(*entry) for entry in found]
    if as_json:
        person = candidate.learner
        known = {"student_id": person.student_id, "username": person.username, "email": person.email}
        document = {"learner": {**known, "name": person.name}, "completions": completions, "decisions": decisions}
        print_json(document)
        return
    typer.echo(f"{candidate.learner.name or '(no name)'}, edX user {candidate.learner.student_id}")
    print_table(("course", "status", "track", "run"), [tuple(c.values()) for c in completions])
    for course, decision, checks in found:
        print_table(
            ("", "rule", "seen", "source"), [_ladder_row(decision, c) for c in checks], title=_verdict(course, decision)
        )


def _verdict(course: Any, decision: Any) -> str:
    if decision is None:
        return f"{course.code}: no reason to write"
    return f"{course.code}: {decision.cohort}, " + ("chosen" if decision.chosen else f"left out: {decision.reason}")


def _ladder_row(decision: Any, check: Any) -> tuple[str, ...]:
    """One rule on the screen. What only describes the trigger speaks neither for nor against."""
    mark = "ok" if check.passed else "NO"
    if decision is not None and check.rule in TRIGGER_CHECKS:
        mark = ""
    return mark, str(check.rule), check.seen, EXPORT_NAME.sub(r"\1 of \2", check.source)


def _decision_json(course: Any, decision: Any, checks: Any) -> dict[str, Any]:
    return {
        "cohort": decision.cohort if decision else None,
        "trigger_course": course.code,
        "chosen": bool(decision and decision.chosen),
        "reason": decision.reason if decision else "no_trigger",
        "rules": [{"rule": str(c.rule), "passed": c.passed, "seen": c.seen, "source": c.source} for c in checks],
    }
