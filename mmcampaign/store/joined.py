"""Both first reports of a run joined by learner in memory: the rows of the tables before the database sees them.

Pure Arrow and NumPy, which let go of Python's lock. ``completion.py`` judges each different row once.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mmcampaign.arrow_values import array, from_numpy, scalar, to_numpy
from mmcampaign.completion import is_audit_passed, status_of_run
from mmcampaign.model import Status
from mmcampaign.store.learners import RETIRED_NAME

_BELOW = -1.0  # any grade that is not a passing one
_FALSE = scalar(False, pa.bool_())
_PEOPLE = ("student_id", "username", "email", "email_key", "name", "country", "of_profile", "enrolled")


@dataclass(frozen=True, kw_only=True)
class Joined:
    """Rows for every learner of either report, by learner.

    ``details`` are those of ``course_instancedetails``, with ``graded`` and ``enrolled`` for the report they are in.
    ``people`` says who the learners are: user name and address of the profile where ``of_profile``, else of the grade
    report; ``email_key`` is null where it equals the address; ``retired_graded`` and ``retired_enrolled`` tell which
    report shows a retired user name. ``statuses`` counts the rows, ``audit_hidden`` is edX case E44.
    """

    details: pa.Table
    people: pa.Table
    statuses: Mapping[Status, int]
    audit_hidden: bool


def join_reports(grades: pa.Table, profile: pa.Table, *, graded_is_newer: bool, passing_grade: float) -> Joined:
    """Join the rows of a run's reports, in any order, each learner once; either report may be empty."""
    learners = _listed(grades, profile)
    grades, profile = _at(grades, learners), _at(profile, learners)
    rows = {
        "student_id": from_numpy(learners),
        **{name: grades[name] for name in grades.column_names if name not in profile.column_names},
        **{name: profile[name] for name in ("name", "country", "profile_track")},
        "graded": grades["student_id"].is_valid(),
        "enrolled": profile["student_id"].is_valid(),
    }
    rows["enrollment_track"] = pc.if_else(rows["graded"], grades["enrollment_track"], profile["profile_track"])
    identity = _identity(grades, profile, rows, graded_is_newer)
    judged, statuses = _judged(rows, passing_grade)
    details = {name: rows[name] for name in rows if name not in ("name", "country")}
    return Joined(
        details=pa.table({**details, **judged}),
        people=pa.table({**{name: {**rows, **identity}[name] for name in _PEOPLE}, **_retired(identity)}),
        statuses=statuses,
        audit_hidden=_hides_audit(rows),
    )


def _listed(*reports: pa.Table) -> npt.NDArray[np.int64]:
    """The learners of all of them, in order. Most reports are in order already, which a stable sort makes use of."""
    learners = np.concatenate([to_numpy(rows["student_id"]) for rows in reports])
    learners.sort(kind="stable")
    return learners[np.diff(learners, prepend=-1) > 0]


def _at(rows: pa.Table, learners: npt.NDArray[np.int64]) -> pa.Table:
    """The rows of these learners, all null for who has none; ``learners`` are in order, and name everybody there is."""
    known = to_numpy(rows["student_id"])
    if np.array_equal(known, learners):
        return rows
    places = np.full(len(learners), -1)
    places[np.searchsorted(learners, known)] = np.arange(len(known))
    return rows.take(from_numpy(places, places >= 0))


def _identity(grades: pa.Table, profile: pa.Table, rows: Mapping[str, Any], graded_is_newer: bool) -> dict[str, Any]:
    """User name and address by the rule of ``learners.py``: a retired user name first, then the newer report."""
    retired_graded, retired_enrolled = (
        pc.fill_null(pc.starts_with(one["username"], RETIRED_NAME), _FALSE) for one in (grades, profile)
    )
    newer = pc.and_(retired_enrolled, pc.invert(retired_graded))
    if not graded_is_newer:
        newer = pc.or_(newer, pc.invert(pc.and_(retired_graded, pc.invert(retired_enrolled))))
    of_profile = pc.and_(rows["enrolled"], pc.or_(newer, pc.invert(rows["graded"])))
    username, email, key = (
        pc.if_else(of_profile, profile[name], grades[name]) for name in ("username", "email", "email_key")
    )
    return {
        "username": username,
        "email": email,
        "email_key": pc.if_else(pc.equal(key, email), scalar(None, pa.string()), key),
        "of_profile": of_profile,
        "retired_graded": retired_graded,
        "retired_enrolled": retired_enrolled,
    }


def _retired(identity: Mapping[str, Any]) -> dict[str, Any]:
    return {name: identity[name] for name in ("retired_graded", "retired_enrolled")}


def _judged(rows: Mapping[str, Any], passing_grade: float) -> tuple[dict[str, pa.Array], dict[Status, int]]:
    """Status and audit pass of every row, by the rules of ``completion.py``; and how often each status is there."""
    reached = pc.greater_equal(rows["grade"], scalar(passing_grade, pa.float64()))
    known, above = (to_numpy(pc.fill_null(flags, _FALSE)) for flags in (rows["grade"].is_valid(), reached))
    grades, key = (None, _BELOW, passing_grade), known.astype(np.int64) + above
    texts = []
    for name in ("enrollment_track", "certificate_eligible", "certificate_delivered"):
        different = pc.fill_null(rows[name], scalar("", pa.string())).combine_chunks().dictionary_encode()
        texts.append([*different.dictionary.to_pylist(), ""])
        key = key * len(texts[-1]) + to_numpy(different.indices)
    shape = (len(grades), *map(len, texts))
    numbers = np.bincount(key, minlength=1)
    cases = np.flatnonzero(numbers)
    status, audit, counts = [], [], Counter[Status]()
    for case, grade, *places in zip(cases, *np.unravel_index(cases, shape), strict=True):
        track, eligible, delivered = (values[place] for values, place in zip(texts, places, strict=True))
        standing = {"grade": grades[grade], "track": track, "passing_grade": passing_grade}
        status.append(status_of_run(**standing, eligible=eligible, delivered=delivered))
        audit.append(is_audit_passed(**standing))
        counts[status[-1]] += int(numbers[case])
    which = np.zeros(len(numbers), np.int64)
    which[cases] = np.arange(len(cases))
    which = from_numpy(which[key])
    judged = {
        "status": array([one.value for one in status], pa.string()).take(which),
        "audit_passed": array(audit, pa.bool_()).take(which),
    }
    return judged, dict(counts)


def _hides_audit(rows: Mapping[str, Any]) -> bool:
    """Whether the grade report lists verified learners only while the profile shows others, see ``enrollments.py``."""

    def others(tracks: Any) -> Any:
        return pc.fill_null(pc.not_equal(tracks, scalar("verified", pa.string())), _FALSE)

    graded = pc.any(pc.and_(rows["graded"], others(rows["enrollment_track"])), min_count=0).as_py()
    return not graded and bool(pc.any(others(rows["profile_track"]), min_count=0).as_py())
