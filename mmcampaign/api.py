"""The library for analysts: the completion report, the cohorts and the log of sends as pandas data frames.

Reads only. Nothing here creates, upgrades or writes a database, plans a campaign or sends mail.

    import mmcampaign

    with mmcampaign.open("~/campaigns") as project:
        report = project.report("engy")
        chosen = project.cohort("engy", "continue", today="2027-03-01")
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self

import pandas as pd

from mmcampaign.app import App
from mmcampaign.cohorts import Decision
from mmcampaign.config import find_config, load_settings
from mmcampaign.config_schema import did_you_mean
from mmcampaign.errors import ConfigError, InputError, MmcampaignError, UnavailableError
from mmcampaign.history import COLUMNS, HistoryFilter, sends
from mmcampaign.model import Cohort, Program
from mmcampaign.selection import BOTH, explain_learner, looking_at, policy_of, select
from mmcampaign.store.programs import knows_programs
from mmcampaign.store.read_only import open_read_only
from mmcampaign.store.reports import completion_rows, report_columns

_CHOSEN = (
    *("student_id", "email", "name", "cohort", "trigger_course", "trigger_run"),
    *("next_course", "certificates_earned", "other_triggers"),
)
_EXCLUDED = ("student_id", "cohort", "trigger_course", "reason", "detail")
_RULES = ("trigger_course", "cohort", "chosen", "reason", "rule", "passed", "seen", "source")
_NUMBERS = frozenset({"student_id", "no_certificate_eligible", "no_audited_passed", "certificates_earned", "campaign"})
_FLAGS = frozenset({"chosen", "passed"})
_ROWS_AT_A_TIME = 50_000


@contextmanager
def _told() -> Iterator[None]:
    """Show with an error's traceback what the command line would print under it."""
    try:
        yield
    except MmcampaignError as error:
        problems = error.problems if isinstance(error, ConfigError) else ()
        for line in (*problems, error.unchanged, error.todo and f"Next: {error.todo}"):
            if line and line not in getattr(error, "__notes__", ()):
                error.add_note(line)
        raise


class Project:
    """An installation opened for reading: its programs, and its database as data frames. Made by ``mmcampaign.open``.

    Text columns have pandas' ``string`` type, with ``<NA>`` where nothing is known; counts and ids are ``int64``.
    Every call reads the database anew, in one consistent state. A program that is not configured raises InputError.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<mmcampaign.Project {self._app.settings.path}: {', '.join(self.programs)}>"

    def close(self) -> None:
        """Let go of the database; ``with`` does it."""
        self._app.store.close()

    @property
    def programs(self) -> Mapping[str, Program]:
        """The configured programs by code, each with ``title`` and ``courses`` (``code``, ``title``, ``series``...)."""
        return self._app.settings.programs

    @_told()
    def report(self, program: str) -> pd.DataFrame:
        """The completion report: a row for every learner of the program, most certificates first, then by id.

        Columns: ``student_id, username, email, name``, then ``<course>_enrollment_track`` and ``<course>_passed`` for
        each course in order, then ``no_certificate_eligible, no_audited_passed, country``. A track is ``-`` when the
        learner never enrolled, ``unknown`` when no export names it; ``_passed`` is ``Y``, ``N`` or ``-`` (no grade
        known). The best status over all runs decides.
        """
        found = self._app.program(program)
        return _frame(report_columns(found), completion_rows(self._app.store, found))

    @_told()
    def cohort(
        self,
        program: str,
        cohort: str | None = None,
        *,
        today: date | str | None = None,
        as_of: date | str | None = None,
    ) -> pd.DataFrame:
        """Who would be written to on the day ``today`` (default: today in the site's zone), a row for each learner.

        ``as_of`` goes by the exports there were at the end of that day, which is then the default of ``today``;
        addresses, names, opt-in choices and the configuration are those of now. InputError when none is so old.
        ``cohort`` is ``audit-upgrade``, ``continue``, or None for both. Columns: ``student_id, email, name, cohort,
        trigger_course, trigger_run, next_course`` (``<NA>``: none), ``certificates_earned`` (of the series),
        ``other_triggers`` (a list of texts).
        """
        chosen = (decision for decision in self._decisions(program, cohort, today, as_of) if decision.chosen)
        return _frame(_CHOSEN, map(_chosen_row, chosen))

    @_told()
    def excluded(
        self,
        program: str,
        cohort: str | None = None,
        *,
        today: date | str | None = None,
        as_of: date | str | None = None,
    ) -> pd.DataFrame:
        """Who was considered and is left out, a row for each learner and course that gave a reason to write.

        Arguments as in ``cohort``. Columns: ``student_id, cohort, trigger_course, reason, detail``.
        """
        excluded = (decision for decision in self._decisions(program, cohort, today, as_of) if not decision.chosen)
        return _frame(_EXCLUDED, map(_excluded_row, excluded))

    @_told()
    def explain(
        self,
        program: str,
        learner: str | int,
        *,
        today: date | str | None = None,
        as_of: date | str | None = None,
    ) -> pd.DataFrame:
        """Every rule for one learner (edX user id, user name or address), a row for each course and rule.

        Columns: ``trigger_course, cohort`` (``<NA>``: no reason to write), ``chosen``, ``reason`` (``<NA>`` when
        chosen), ``rule, passed, seen, source``. Raises InputError for somebody not in the database.
        """
        past = _day(as_of)
        policy = policy_of(self._app, today=_day(today) or past)
        _, judged = explain_learner(self._app, self._app.program(program), str(learner), policy, as_of=past)
        rows = []
        for course, decision, checks in judged:
            cohort, chosen = (str(decision.cohort), decision.chosen) if decision else (None, False)
            reason = decision.reason if decision else "no_trigger"
            rows += [(course.code, cohort, chosen, reason, c.rule, c.passed, c.seen, c.source) for c in checks]
        return _frame(_RULES, rows)

    @_told()
    def history(
        self,
        program: str | None = None,
        *,
        campaign: int | None = None,
        learner: str | int | None = None,
        since: date | str | None = None,
    ) -> pd.DataFrame:
        """Every email ever planned or sent that matches, a row for each; newest campaign first.

        ``since`` is a day in the site's zone. Columns as in ``mmcampaign history``: ``message, campaign, program,
        cohort, student_id, email, subject, status, delivery_status, provider_message_id, sent_at`` (UTC), ``error``.
        """
        if program is not None:
            self._app.program(program)
        day = _day(since)
        start = datetime(day.year, day.month, day.day, tzinfo=self._app.settings.site.zone) if day else None
        key = None if learner is None else str(learner)
        wanted = HistoryFilter(campaign=campaign, learner=key, program=program, since=start)
        frame = _frame(COLUMNS, ([row[name] for name in COLUMNS] for row in sends(self._app, wanted)))
        return frame.assign(sent_at=pd.to_datetime(frame["sent_at"], utc=True))

    def _decisions(
        self, program: str, cohort: str | None, today: date | str | None, as_of: date | str | None
    ) -> Iterator[Decision]:
        found, past = self._app.program(program), _day(as_of)
        policy = policy_of(self._app, _cohorts(cohort), today=_day(today) or past)
        with looking_at(self._app, found, past) as (connection, _):
            for _, decisions in select(self._app, connection, found, policy):
                yield from decisions


@_told()
def open_project(path: str | os.PathLike[str] | None = None) -> Project:
    """Open an installation for reading.

    ``path`` is a ``config.toml``, or a folder: the nearest ``config.toml`` from there upwards counts. Without it
    ``$MMCAMPAIGN_CONFIG`` does, else the nearest one from the working directory upwards.

    Raises ConfigError for a configuration that cannot be used, InputError when nothing is there yet, and
    UnavailableError, with the command that helps, for a database that does not fit this version or its configuration.
    """
    settings = load_settings(_config(path), os.environ)
    store = open_read_only(settings.database.url)
    if not knows_programs(store, tuple(settings.programs.values())):
        store.close()
        raise UnavailableError(
            f"The programs in {settings.path} were changed, and the database does not know that yet.",
            unchanged="Nothing was changed.",
            todo="mmcampaign doctor  (any command that opens the database brings it up to date)",
        )
    return Project(App(settings=settings, store=store, clock=lambda: datetime.now(UTC), actor=""))


def _config(path: str | os.PathLike[str] | None) -> Path:
    if path is None:
        return find_config(None, os.environ, Path.cwd())
    given = Path(path).expanduser().absolute()
    if given.is_dir():
        return find_config(None, {}, given)
    if not given.is_file():
        raise InputError(f"There is no {given}.", todo="name a folder with a config.toml, or that file")
    return given


def _cohorts(cohort: str | None) -> frozenset[Cohort]:
    if cohort is None:
        return BOTH
    try:
        return frozenset({Cohort(cohort)})
    except ValueError as error:
        known = tuple(each.value for each in Cohort)
        todo = f"Cohorts: {', '.join(known)}."
        raise InputError(f"There is no cohort {cohort!r}.{did_you_mean(cohort, known)}", todo=todo) from error


def _day(day: date | str | None) -> date | None:
    if not isinstance(day, str):
        return day.date() if isinstance(day, datetime) else day
    try:
        return date.fromisoformat(day)
    except ValueError as error:
        raise InputError(f"{day!r} is not a day.", todo="write it like 2027-01-31") from error


def _chosen_row(decision: Decision) -> Sequence[object]:
    learner, trigger, following = decision.learner, decision.trigger, decision.next_course
    who = (learner.student_id, learner.email, learner.name or None)
    why = (str(decision.cohort), trigger.code, trigger.current_run)
    code = following.code if following else None
    return (*who, *why, code, decision.certificates_earned, list(decision.other_triggers))


def _excluded_row(decision: Decision) -> Sequence[object]:
    learner, trigger = decision.learner, decision.trigger
    return learner.student_id, str(decision.cohort), trigger.code, decision.reason, decision.detail


def _frame(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> pd.DataFrame:
    """The rows with the same column types whatever is in them, and also when there are none.

    Converted piece by piece: rows as Python objects take many times the room of the frame.
    """
    types, source = {name: _type(name) for name in columns}, iter(rows)

    def typed(piece: list[Sequence[object]]) -> pd.DataFrame:
        return pd.DataFrame(piece, columns=list(columns), dtype="object").astype(types)

    pieces = []
    while piece := list(islice(source, _ROWS_AT_A_TIME)):
        pieces.append(typed(piece))
    return pd.concat(pieces or [typed([])], ignore_index=True)


def _type(column: str) -> str:
    if column in _NUMBERS:
        return "int64"
    if column in _FLAGS:
        return "bool"
    return "object" if column in {"other_triggers", "sent_at"} else "string"
