"""Small installations for integration tests: a database filled from builders' values, and an ``App`` on top.

Nothing is mocked but time and, where a test asks for it, the backend.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from types import MappingProxyType
from typing import Any

import pytest
from sqlalchemy import Connection, insert, select, update

from mmcampaign.app import App
from mmcampaign.config import Settings, load_settings
from mmcampaign.delivery import Backend
from mmcampaign.model import Batch, Outcome, Outgoing, Program, Receipt
from mmcampaign.rules import Candidate
from mmcampaign.store import suppressions
from mmcampaign.store.engine import Store
from mmcampaign.store.tables import completions, consents, course_instancedetails, imports, learners
from mmcampaign.testing import MemoryBackend
from tests.builders import EXPORTED, NOW, make_candidate, make_learner, make_program

CONFIG = """
[site]
name = "NX"
timezone = "Australia/Brisbane"
[templates]
dir = "templates"
[mail]
from = '"NX Updates" <news@nx.example>'
postal_address = "1 River Road, Nordland"
public_url = "https://mail.nx.example"
[programs.river]
title = "Rivers"
template = "river"
[[programs.river.courses]]
code = "river1x"
prefix = "NX_RIVER1x"
title = "Rain"
link = "https://www.edx.example/course/river1x"
passing_grade = 0.65
"""
TEMPLATE = {
    "river/subject.txt": "{{ 'Well done' if cohort == 'continue' else 'One step left' }}: {{ trigger.title }}",
    "river/body.html": """<html><head><style>p { color: #123456 }</style></head><body>
<p>Dear {% if learner.first_name %}{{ learner.first_name }}{% else %}learner{% endif %},</p>
{% if next %}<p>Go on with <a href="{{ next.link }}">{{ next.title }}</a>.</p>{% endif %}
<p><a href="{{ unsubscribe_url }}">Unsubscribe</a> {{ site.postal_address }}</p></body></html>
""",
    "river/body.txt": """Dear {{ learner.name }},
{{ trigger.title }}
{{ unsubscribe_url }}
{{ site.postal_address }}
""",
}


# For tables of cases in which the values differ and the SQL does not: once is enough.
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


# --- the database ---------------------------------------------------------------------------------------------------


def people(number: int, **changes: Any) -> list[Candidate]:
    """So many ordinary audit passers, with ids from 1."""
    return [
        make_candidate(learner=make_learner(each, name=f"Ana{each} Pine"), **changes) for each in range(1, number + 1)
    ]


def fill(store: Store, candidates: Iterable[Candidate], *, program: Program | None = None) -> None:
    """Write learners with all that is known of them, as ingest would have left it. Again is an update."""
    with store.write() as connection:
        connection.execute(update(imports).values(ingested_at=datetime.now(UTC)))
        for candidate in candidates:
            put(connection, candidate, program or make_program())


def put(connection: Connection, candidate: Candidate, program: Program, *, seen_at: datetime = EXPORTED) -> None:
    _clear(connection, candidate.learner.student_id)
    learner = candidate.learner
    row = {
        "student_id": learner.student_id,
        "username": learner.username,
        "email": learner.email,
        "email_key": learner.email.casefold(),
        "name": learner.name,
        "country": learner.country,
        "retired_at": seen_at if learner.retired else None,
        "seen_at": seen_at,
        "profile_seen_at": seen_at,
    }
    connection.execute(insert(learners), row)
    prefixes = {course.code: course.prefix for course in program.courses}
    for each in candidate.enrollments:
        instance = f"{prefixes[each.course]}_{each.run}"
        hidden = instance in candidate.hidden_runs
        connection.execute(
            insert(course_instancedetails),
            {
                "course_instance": instance,
                "learner_id": learner.student_id,
                "course": each.course,
                "run": each.run,
                "grade": each.grade,
                "enrollment_track": each.track or None,
                "enrollment_status": each.enrollment_status or None,
                "status": each.status.value,
                "import_id": _import(connection, program, each.course, each.run, instance, each.source, hidden),
            },
        )
    for completion in candidate.completions.values():
        connection.execute(
            insert(completions),
            {
                "course": completion.course,
                "learner_id": learner.student_id,
                "status": completion.status.value,
                "enrollment_track": completion.track,
                "passed": "-",
                "course_instance": f"{prefixes[completion.course]}_{completion.run}",
            },
        )
    if candidate.consent:
        connection.execute(insert(consents), {"learner_id": learner.student_id, "choice": candidate.consent})
    if candidate.suppression:
        suppress(connection, learner.email, candidate.suppression)


def _clear(connection: Connection, student_id: int) -> None:
    connection.execute(learners.delete().where(learners.c.student_id == student_id))
    for table in (course_instancedetails, completions, consents):
        connection.execute(table.delete().where(table.c.learner_id == student_id))


def _import(
    connection: Connection, program: Program, course: str, run: str, instance: str, name: str, hidden: bool
) -> int:
    """The grade report of that name, made when it is not there yet."""
    found = connection.execute(select(imports.c.id).where(imports.c.name == name)).scalar()
    if found is not None:
        return int(found)
    row = {
        "sha256": f"digest of {name}",
        "name": name,
        "kind": "grade_report",
        "program": program.code,
        "course": course,
        "run": run,
        "course_instance": instance,
        "exported_at": EXPORTED,
        "status": "loaded",
        "rows": 1,
        "accepted": 1,
        "rejected": 0,
        "reason": "",
        "warnings": "[]",
        "audit_hidden": hidden,
        "ingested_at": EXPORTED,
    }
    return int(connection.execute(insert(imports).returning(imports.c.id), row).scalar_one())


def suppress(connection: Connection, email: str, reason: str = "unsubscribed") -> None:
    suppressions.add(connection, email, reason=reason, by="test", note="", at=NOW)


# --- the application ------------------------------------------------------------------------------------------------


class Clock(Event):
    """The time, and the stop event of a run in one: waiting for something moves the time instead."""

    def __init__(self, now: datetime = NOW) -> None:
        super().__init__()
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def wait(self, timeout: float | None = None) -> bool:
        self.now += timedelta(seconds=timeout or 0)
        return self.is_set()


@dataclass(frozen=True, kw_only=True)
class TestApp(App):
    """An App whose configured backend may be another one; a backend asked for by name is the real one."""

    __test__ = False
    clock: Clock
    swapped: Backend | None = None

    def backend(self, name: str = "") -> Backend:
        return self.swapped if self.swapped is not None and not name else super().backend(name)


def make_settings(folder: Path, *programs: Program, environ: Mapping[str, str] | None = None) -> Settings:
    """Settings from a small config.toml in ``folder``, with these programs (default: river) and a template each."""
    chosen = programs or (make_program(),)
    (folder / "config.toml").write_text(CONFIG, "utf-8")
    for program in chosen:
        for path, content in TEMPLATE.items():
            write_template(folder, path.replace("river/", f"{program.template}/"), content)
    secrets = {"MMCAMPAIGN_SECRET_KEY": "a secret", **(environ or {})}
    settings = load_settings(folder / "config.toml", secrets)
    return settings._replace(programs=MappingProxyType({program.code: program for program in chosen}))


def write_template(folder: Path, path: str, content: str) -> None:
    target = folder / "templates" / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(content, "utf-8")


def make_app(
    store: Store, folder: Path, *programs: Program, backend: Backend | None = None, clock: Clock | None = None
) -> TestApp:
    return TestApp(
        settings=make_settings(folder, *programs),
        store=store,
        clock=clock or Clock(),
        actor="kim",
        swapped=backend or MemoryBackend(),
    )


def with_policy(app: TestApp, **changes: Any) -> TestApp:
    """The same installation after somebody edited ``[policy]``."""
    policy = app.settings.policy.model_copy(update=changes)
    return replace(app, settings=app.settings._replace(policy=policy))


def with_mail(app: TestApp, *, backend: Backend | None = None, **changes: Any) -> TestApp:
    """The same installation after somebody edited ``[mail]``, or with another backend."""
    mail = app.settings.mail.model_copy(update=changes)
    return replace(app, settings=app.settings._replace(mail=mail), swapped=backend or app.swapped)


def with_program(app: TestApp, program: Program) -> TestApp:
    """The same installation after somebody edited a program."""
    programs = {**app.settings.programs, program.code: program}
    return replace(app, settings=app.settings._replace(programs=MappingProxyType(programs)))


Step = Outcome | Receipt | BaseException


class Scripted(MemoryBackend):
    """A MemoryBackend that answers some addresses by a script, one step for each hand-over; then it accepts."""

    def __init__(self, script: Mapping[str, list[Step]], *, batch_size: int = 100) -> None:
        super().__init__(batch_size=batch_size)
        self.script = {address: list(steps) for address, steps in script.items()}
        self.handed_over: list[str] = []
        self.on_batch: Callable[[], object] = lambda: None

    def deliver(self, batch: Batch) -> list[Receipt]:
        self.on_batch()
        return super().deliver(batch)

    def _answer(self, message: Outgoing) -> Receipt:
        self.handed_over.append(message.to_email)
        steps = self.script.get(message.to_email)
        step: Step = steps.pop(0) if steps else Outcome.ACCEPTED
        if isinstance(step, BaseException):
            raise step
        if isinstance(step, Receipt):
            return step._replace(message_id=message.message_id)
        self.answers[message.to_email] = step
        return super()._answer(message)
