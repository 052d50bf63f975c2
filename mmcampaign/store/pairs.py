"""The first grade report and the first profile of a run, joined in memory and written in one transaction.

Most rows of a first load come like this. One row a learner, by learner and with its status, leaves the database nothing
to do but to add it. SQLite only; a run too large for memory, or one read before, is merged export by export.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection, Table

from mmcampaign.completion import is_audit_passed, status_of_run
from mmcampaign.store.completion import add_completions
from mmcampaign.store.enrollments import add_first_pair
from mmcampaign.store.exports import Changes, Export, Merged, flag_hidden_audit
from mmcampaign.store.import_log import find_current, log_import
from mmcampaign.store.learners import RETIRED_NAME, merge_learners_of_pair
from mmcampaign.store.staging import JoinedReports, staged_grades, staged_pairs, staged_profiles

_IDENTITY = ("username", "email", "email_key")
_BELOW = -1.0  # any grade that is not a passing one


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Both first reports of a run, read and joined; nothing in the database has changed yet."""

    grades: Export
    profile: Export
    joined: JoinedReports


def join_first_pair(grades: Export, profile: Export, folder: Path) -> Pair | None:
    """Take the rows of both reports of a run and join them; ``folder`` takes the scratch file.

    None where that is more than adding rows, or does not fit: an export of the run was read before, or the database,
    the stamps or the number of rows do not allow it.
    """
    store, stagings = grades.staging.store, (grades.staging, profile.staging)
    if store.dialect != "sqlite" or grades.entry.stamp == profile.entry.stamp:
        return None
    if not all(staging.is_in_memory for staging in stagings):
        return None
    with store.read() as connection:
        if _is_known(connection, grades, profile):
            return None
    tables = _tables(grades, profile)
    return Pair(grades=grades, profile=profile, joined=JoinedReports(store, tables, folder))


def _tables(grades: Export, profile: Export) -> dict[Table, pa.Table]:
    """The joined rows, and once more as they came those with a retired user name."""
    of_grades, of_profile = grades.staging.take(), profile.staging.take()
    rows = _joined(of_grades, of_profile, grades.entry.stamp > profile.entry.stamp, grades.passing_grade)
    retired = rows.filter(rows["retired"])["student_id"]
    return {
        staged_pairs: rows,
        staged_grades: of_grades.filter(pc.is_in(of_grades["student_id"], retired)),
        staged_profiles: of_profile.filter(pc.is_in(of_profile["student_id"], retired)),
    }


def _is_known(connection: Connection, *exports: Export) -> bool:
    return any(find_current(connection, one.entry.kind, one.entry.course_instance) for one in exports)


def merge_first_pair(pair: Pair) -> tuple[Merged, Merged] | None:
    """Merge both reports of a run in one transaction, each row of it written once.

    The result is that of ``merge_export`` for one after the other. None, and nothing is changed, when an export of the
    run has been read since.
    """
    grades, profile = pair.grades, pair.profile
    with pair.joined.merge() as connection:
        if _is_known(connection, grades, profile):
            return None
        of_grades, of_profile = (log_import(connection, one.entry) for one in (grades, profile))
        new = merge_learners_of_pair(connection, grades.entry.stamp, profile.entry.stamp)
        run = grades.run(of_grades)
        add_first_pair(connection, run, of_profile)
        derived = add_completions(connection, staged_pairs, run.course, run.course_instance)
        entry = flag_hidden_audit(connection, profile.entry, of_profile)
    passed = {"newly_passed": derived.newly_passed, "newly_certified": derived.newly_certified}
    return (grades.entry, Changes(new_learners=new, **passed)), (entry, Changes())


def _joined(grades: pa.Table, profile: pa.Table, graded_is_newer: bool, passing_grade: float) -> pa.Table:
    """A row for every learner of either report, by learner, with the columns of ``staged_pairs``."""
    graded, enrolled = grades["student_id"].to_numpy(), profile["student_id"].to_numpy()
    learners = np.union1d(graded, enrolled)
    grades, profile = _at(grades, graded, learners), _at(profile, enrolled, learners)
    has_grade, has_profile = grades["student_id"].is_valid(), profile["student_id"].is_valid()
    of_profile = pc.and_(has_profile, pc.invert(has_grade)) if graded_is_newer else has_profile
    retired = (pc.fill_null(pc.starts_with(one["username"], RETIRED_NAME), False) for one in (grades, profile))
    columns = {
        "student_id": pa.array(learners),
        **{name: pc.if_else(of_profile, profile[name], grades[name]) for name in _IDENTITY},
        **{name: profile[name] for name in ("name", "country", "profile_track")},
        **{name: grades[name] for name in grades.column_names if name not in profile.column_names},
        "enrollment_track": pc.if_else(has_grade, grades["enrollment_track"], profile["profile_track"]),
        "graded": has_grade,
        "enrolled": has_profile,
        "of_profile": of_profile,
        "retired": pc.or_(*retired),
    }
    return pa.table({**columns, **_judged(columns, passing_grade)})


def _at(rows: pa.Table, known: npt.NDArray[np.int64], learners: npt.NDArray[np.int64]) -> pa.Table:
    """The rows of these learners, all null for who has none; both are in order, and every row is of one of them."""
    if len(known) == len(learners):
        return rows
    places = np.searchsorted(known, learners)
    missing = ~np.isin(learners, known, assume_unique=True)
    return rows.take(pa.array(places, mask=missing))


def _judged(columns: dict[str, Any], passing_grade: float) -> dict[str, pa.Array]:
    """Status and audit pass of every row: by the rules of ``completion.py``, asked once for each different row."""
    reached = pc.fill_null(pc.add(pc.greater_equal(columns["grade"], passing_grade).cast(pa.int8()), 1), 0)
    grades, key = (None, _BELOW, passing_grade), reached.to_numpy().astype(np.int64)
    texts = []
    for name in ("enrollment_track", "certificate_eligible", "certificate_delivered"):
        different = pc.fill_null(columns[name], "").combine_chunks().dictionary_encode()
        texts.append([*different.dictionary.to_pylist(), ""])
        key = key * len(texts[-1]) + different.indices.to_numpy()
    cases, which = np.unique(key, return_inverse=True)
    status, audit = [], []
    for grade, *places in zip(*np.unravel_index(cases, (len(grades), *map(len, texts))), strict=True):
        track, eligible, delivered = (values[place] for values, place in zip(texts, places, strict=True))
        standing = {"grade": grades[grade], "track": track, "passing_grade": passing_grade}
        status.append(status_of_run(**standing, eligible=eligible, delivered=delivered).value)
        audit.append(is_audit_passed(**standing))
    return {
        "status": pa.array(status, pa.string()).take(pa.array(which)),
        "audit_passed": pa.array(audit, pa.bool_()).take(pa.array(which)),
    }
