"""The first load of a SQLite database: the first reports of all runs in one transaction, appended in order.

Nothing is there to merge with, so the rows are joined in memory (``joined.py``) and go straight into the tables; the
learners once, at the end, and then their index. SQLite keeps a rollback journal meanwhile: pages added to a file need
no copy in it, so that every page is written once. Whatever ends the load early, nothing of it is in the database.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import pyarrow as pa
from sqlalchemy import case, delete, func, literal, select
from sqlalchemy.schema import CreateIndex, DropIndex

from mmcampaign.completion import PASSED
from mmcampaign.model import Status
from mmcampaign.store.bulk import Bulk, BulkError
from mmcampaign.store.bulk_rows import as_rows, as_sql, insert_rows, into, places, stored_stamps
from mmcampaign.store.changes import ExportChanges
from mmcampaign.store.column_types import UnixTime, UtcDateTime
from mmcampaign.store.completion import first_completions
from mmcampaign.store.engine import LOCK_WAIT_SECONDS, Store, alone, trouble
from mmcampaign.store.enrollments import Run
from mmcampaign.store.exports import AUDIT_HIDDEN, Export
from mmcampaign.store.first_learners import FirstLearners
from mmcampaign.store.import_log import Changes, ImportEntry, row_of, rows_of_rejected
from mmcampaign.store.joined import Joined, join_reports
from mmcampaign.store.staging import staged_grades, staged_profiles, staged_rows, writable
from mmcampaign.store.standing import GRADE_REPORT
from mmcampaign.store.tables import (
    completions,
    course_instancedetails,
    imports,
    learners,
    rejected_rows,
)
from mmcampaign.store.unread import READ_BEFORE

# Pages go out as they are filled: a larger cache would hold what nobody asks for again. The sorter of the index takes
# as much memory once more, and a thread of its own for what does not fit.
_SETTINGS = ("synchronous = FULL", "foreign_keys = OFF", "cache_size = -2048", "threads = 2")
UNCHANGED = "Nothing of this first load is in the database: none of its files counts as read."
_LEARNER = (
    *("student_id", "username", "email", "email_key", "name", "country"),
    *("retired_at", "seen_at", "profile_seen_at"),
)


@dataclass(frozen=True, kw_only=True)
class FirstRun:
    """The first reports of a run, or the only one; their rows are staged in memory and not in the database yet."""

    grades: Export | None
    profile: Export | None

    @property
    def exports(self) -> list[Export]:
        return [export for export in (self.grades, self.profile) if export is not None]

    @property
    def is_simple(self) -> bool:
        """Whether joining is all there is to do: the rows fit into memory, and one report is the newer one."""
        stamps = {export.entry.stamp for export in self.exports}
        return 0 < len(stamps) == len(self.exports) and all(export.staging.is_in_memory for export in self.exports)

    @cached_property
    def joined(self) -> Joined:
        """Takes the rows out of their staging; for one thread at a time."""
        newest = max(export.entry.stamp for export in self.exports)
        return join_reports(
            self.grades.staging.take() if self.grades else staged_rows(staged_grades),
            self.profile.staging.take() if self.profile else staged_rows(staged_profiles),
            graded_is_newer=self.grades is not None and self.grades.entry.stamp == newest,
            passing_grade=self.exports[0].passing_grade,
        )


def begin_first_load(store: Store, folder: Path) -> "FirstLoad | None":
    """Begin the first load of a database; ``folder`` takes what does not fit into memory.

    None where anything was read before, where somebody else has the database open, and on PostgreSQL: each export is
    merged by itself then. Until the load has ended nobody can use the database, in this process or another.
    """
    if store.dialect != "sqlite" or store.path is None:
        return None
    with ExitStack() as closing:
        if not closing.enter_context(alone(store)):
            return None
        closing.enter_context(_thrifty())
        with _explained(store):
            bulk = Bulk(store.path, (f"busy_timeout = {int(LOCK_WAIT_SECONDS * 1000)}", *_SETTINGS))
            closing.callback(bulk.close)
            bulk.run("BEGIN EXCLUSIVE")
            if any(bulk.read(as_sql(query)) for query in READ_BEFORE):
                return None  # somebody was quicker
            return FirstLoad(store, bulk, folder, closing.pop_all())
    raise AssertionError


@contextmanager
def _thrifty() -> Iterator[None]:
    """Arrow's memory from jemalloc, where it has that: it keeps a hundred megabytes less of what is free again."""
    before = pa.default_memory_pool()
    with suppress(NotImplementedError):
        pa.set_memory_pool(pa.jemalloc_memory_pool())
    try:
        yield
    finally:
        pa.set_memory_pool(before)


class FirstLoad:
    """A first load under way; a context manager, which undoes what was not finished.

    ``summary`` says what each export has changed.
    """

    def __init__(self, store: Store, bulk: Bulk, folder: Path, closing: ExitStack) -> None:
        self._store, self._bulk, self._closing = store, bulk, closing
        self._people = FirstLearners(folder)
        self._runs: list[Run] = []  # of the course whose completions are not there yet
        self._changes = Changes()
        self._added: dict[tuple[str, str], ImportEntry] = {}
        self.summary: list[ExportChanges] = []
        with _explained(store):
            for index in learners.indexes:
                bulk.run(as_sql(DropIndex(index, if_exists=True)))
            found = bulk.read(as_sql(select(imports.c.id, imports.c.sha256, imports.c.name)))
        self._logged = {(row["sha256"], row["name"]): int(row["id"]) for row in found}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._closing.close()

    def add(self, run: FirstRun) -> None:
        """Append the rows of a run; the runs of one course come one after another."""
        with _explained(self._store):
            grades, profile = (self._log(export, run.joined) for export in (run.grades, run.profile))
            of_run = run.exports[0].run(grades or 0)
            if self._runs and self._runs[0].course != of_run.course:
                self._derive()
            self._runs.append(of_run)
            self._bulk.run(_details(of_run, grades, profile, run.joined.details.column_names), run.joined.details)
        with writable(UNCHANGED):
            self._people.add(
                run.joined.people,
                graded_at=run.grades.entry.stamp if run.grades else None,
                enrolled_at=run.profile.entry.stamp if run.profile else None,
            )

    def finish(self) -> Changes:
        """Put the learners in their places and commit; the database is free again. Returns what the load changed."""
        with _explained(self._store):
            self._derive()
            self._place_learners()
            for index in learners.indexes:
                self._bulk.run(as_sql(CreateIndex(index)))
            self._bulk.run("COMMIT")
        self._closing.close()
        return self._changes

    def added(self, export: Export) -> ImportEntry | None:
        """The log entry of an export that the load has brought in, as it was written."""
        return self._added.get((export.entry.sha256, export.entry.name))

    def _log(self, export: Export | None, joined: Joined) -> int | None:
        """The import's id, in place of what the log said of the same file before."""
        if export is None:
            return None
        entry, of_grades = export.entry, export.entry.kind == GRADE_REPORT
        hidden = joined.audit_hidden
        if hidden and not of_grades:
            entry = entry._replace(warnings=(*entry.warnings, AUDIT_HIDDEN))
        file = entry.sha256, entry.name
        if file in self._logged:
            self._bulk.run(as_sql(delete(rejected_rows).where(rejected_rows.c.import_id == self._logged[file])))
        number = self._logged.setdefault(file, max(self._logged.values(), default=0) + 1)
        values = {"id": number, **row_of(entry), "audit_hidden": hidden and of_grades}
        self._bulk.run(insert_rows(imports, tuple(values), replace=True), as_rows(imports, [values]))
        if entry.rejected_rows:
            rows = rows_of_rejected(number, entry.rejected_rows)
            self._bulk.run(insert_rows(rejected_rows, tuple(rows[0])), as_rows(rejected_rows, rows))
        self._added[file] = entry
        self.summary.append(_first_changes(number, entry, joined))
        return number

    def _derive(self) -> None:
        """The completions of the course whose runs are all there."""
        if not self._runs:
            return
        course, instances = self._runs[0].course, [run.course_instance for run in self._runs]
        self._runs.clear()
        self._bulk.run(as_sql(first_completions(course, instances)))
        passed, certified = completions.c.passed == "Y", completions.c.status == Status.CERTIFIED.value
        counts = (
            func.count(case((flag, 1))).label(name)
            for name, flag in (("newly_passed", passed), ("newly_certified", certified))
        )
        [found] = self._bulk.read(as_sql(select(*counts).where(completions.c.course == course)))
        self._changes += Changes(**found)

    def _place_learners(self) -> None:
        stamps = self._people.stamps
        texts, seconds = stored_stamps(stamps, UtcDateTime()), stored_stamps(stamps, UnixTime())
        values = places(_LEARNER)
        values["email_key"] = func.coalesce(values["email_key"], values["email"])
        statement = into(learners, values)
        for batch in _ahead(self._people.batches()):
            self._bulk.run(statement, _dated(batch, texts, seconds))
            self._changes += Changes(new_learners=len(batch))


def _ahead(batches: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The next batch is made while one is written."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(next, batches, None)
        while (batch := future.result()) is not None:
            future = pool.submit(next, batches, None)
            yield batch


def _dated(people: pa.Table, texts: pa.Array, seconds: pa.Array) -> pa.Table:
    """With each stamp in place of its number: as text, kept once for all rows, or as seconds."""
    columns = {name: people[name] for name in people.column_names}
    columns["retired_at"] = pa.DictionaryArray.from_arrays(people["retired_at"].combine_chunks(), texts)
    for name in ("seen_at", "profile_seen_at"):
        columns[name] = seconds.take(people[name])
    return pa.table({name: columns[name] for name in _LEARNER})


def _details(run: Run, grades: int | None, profile: int | None, names: list[str]) -> str:
    """What is the same in all rows stands in the statement, so that only the rest is handed over row by row."""
    placed = places(names)
    of_row = {name: place for name, place in placed.items() if name not in ("student_id", "graded", "enrolled")}
    return into(
        course_instancedetails,
        {
            **of_row,
            "course_instance": literal(run.course_instance),
            "learner_id": placed["student_id"],
            **{
                name: literal(getattr(run, name))
                for name in ("course", "run", "term", "year")
                if getattr(run, name) is not None
            },
            "import_id": case((placed["graded"], literal(grades))),
            "profile_import_id": case((placed["enrolled"], literal(profile))),
        },
    )


def _first_changes(number: int, entry: ImportEntry, joined: Joined) -> ExportChanges:
    """Everybody whom a first export lists is new; a profile knows of no grade."""
    statuses = joined.statuses if entry.kind == GRADE_REPORT else {}
    assert entry.course is not None
    assert entry.run is not None
    return ExportChanges(
        file_number=number,
        name=entry.name,
        kind=entry.kind,
        course=entry.course,
        run=entry.run,
        exported_at=entry.stamp,
        since=None,
        newly_enrolled=entry.accepted,
        passed=sum(count for status, count in statuses.items() if status in PASSED),
        certified=statuses.get(Status.CERTIFIED, 0),
    )


@contextmanager
def _explained(store: Store) -> Iterator[None]:
    try:
        yield
    except BulkError as error:
        raise trouble(store, str(error), unchanged=UNCHANGED) from error
