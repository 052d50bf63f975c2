"""Who is enrolled in which run of the demo, on which track, with what result.

About 88 of 100 learners are on a free track and 4 of 100 of those pass; of the paying about half do; later courses
have fewer learners. Twelve free learners of each program are given the rare stories, so that a small demo has them too.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmcampaign.demo_people import Ints, Kind, People
from mmcampaign.model import Course, Program

TRACKS = np.array(["audit", "verified", "masters", "credit", "honor", "professional", "no-id-professional"])
AUDIT, VERIFIED, MASTERS, CREDIT, HONOR, PROFESSIONAL, NO_ID = range(len(TRACKS))
_TRACK_SHARE = [0.911, 0.07, 0.004, 0.007, 0.004, 0.002, 0.002]  # of learners; the paying take more courses
ELIGIBLE_TRACKS = [VERIFIED, MASTERS, PROFESSIONAL]  # edx-exports 7.1: credit and no-id-professional do not count

_ROW = np.dtype(
    [
        ("learner", np.int64),
        ("course", np.int64),
        ("run", np.int64),
        ("track", np.int64),
        ("percent", np.int64),
        ("eligible", np.bool_),
        ("delivered", np.bool_),
        ("unenrolled", np.bool_),
    ]
)
Rows: TypeAlias = NDArray[Any]  # of _ROW
Rng: TypeAlias = np.random.Generator


@dataclass(frozen=True, kw_only=True)
class Run:
    """A course run with its enrollments, by learner."""

    course: Course
    run: str
    rows: Rows

    @property
    def instance(self) -> str:
        return self.course.instance(self.run)


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """A program in numbers, one for each course. ``current`` and ``coming`` are places in ``runs``; -1: none."""

    runs: tuple[tuple[str, ...], ...]
    mark: Ints  # passing grade in per cent
    current: Ints
    coming: Ints
    series: NDArray[np.bool_]

    @classmethod
    def of(cls, program: Program) -> "_Plan":
        past = [_past_runs(course) for course in program.courses]
        coming = [course.coming_run.run if course.coming_run else "" for course in program.courses]
        runs = tuple(
            (*listed, run) if run and run not in listed else listed for listed, run in zip(past, coming, strict=True)
        )
        return cls(
            runs=runs,
            mark=np.array([round(course.passing_grade * 100) for course in program.courses]),
            current=np.array([len(listed) - 1 for listed in past]),
            coming=np.array(
                [len(all_) - 1 if len(all_) > len(listed) else -1 for listed, all_ in zip(past, runs, strict=True)]
            ),
            series=np.array([course.series for course in program.courses]),
        )


def _past_runs(course: Course) -> tuple[str, ...]:
    """Oldest first, up to the current one."""
    listed = course.runs or ((course.current_run,) if course.current_run else ())
    return listed[: listed.index(course.current_run) + 1] if course.current_run in listed else listed


def enroll(programs: tuple[Program, ...], people: People, seed: int) -> list[Run]:
    """Enroll everybody; marks the learners of the rare stories in ``people``. One in thirty is in a second program."""
    rng = np.random.default_rng([seed, 2])
    count = len(people.student_id)
    home = rng.integers(0, len(programs), count)
    second = np.where(rng.random(count) < 1 / 30, rng.integers(0, len(programs), count), home)
    runs: list[Run] = []
    for number, program in enumerate(programs):
        plan = _Plan.of(program)
        rows = _walk(plan, np.flatnonzero((home == number) | (second == number)), rng)
        rows = np.concatenate([_tell_stories(plan, rows, people), _early_birds(plan, rows, rng)])
        runs += _by_run(program, plan, _once(rows))
    return runs


def _once(rows: Rows) -> Rows:
    """One row for each learner and run, the first one (edX case E21), by learner."""
    _, first = np.unique(rows[["learner", "course", "run"]], return_index=True)
    once: Rows = rows[first]
    return once


def _by_run(program: Program, plan: _Plan, rows: Rows) -> Iterator[Run]:
    for number, course in enumerate(program.courses):
        for place, run in enumerate(plan.runs[number]):
            yield Run(course=course, run=run, rows=rows[(rows["course"] == number) & (rows["run"] == place)])


def _walk(plan: _Plan, members: Ints, rng: Rng) -> Rows:
    """Take every member through one course or more, in order, a term or half a term each."""
    size, courses, terms = len(members), len(plan.mark), int(max(plan.current)) + 1
    track = rng.choice(len(TRACKS), size=size, p=_TRACK_SHARE)
    keen = np.isin(track, ELIGIBLE_TRACKS) & (rng.random(size) < 0.3)
    length = np.where(keen, 1 + rng.binomial(4, 0.6, size), 1 + (rng.random(size) < 0.15))
    first = np.minimum(rng.choice(4, size=size, p=[0.62, 0.2, 0.11, 0.07]), courses - 1)
    first[keen & (rng.random(size) < 0.8)] = 0
    term = rng.integers(0, max(terms, 1), size)
    steps = []
    for step in range(courses):
        goes = (step < length) & (first + step < courses)
        rows = np.zeros(int(goes.sum()), dtype=_ROW)
        rows["learner"], rows["track"], rows["course"] = members[goes], track[goes], first[goes] + step
        later = np.maximum(0, terms - 1 - term[goes] - (step + rng.integers(0, 2, len(rows))) // 2)
        rows["run"] = np.clip(plan.current[rows["course"]] - later, 0, None)
        steps += [_graded(plan, rows, keen[goes], rng), _again(plan, rows, keen[goes], rng)]
    return np.concatenate(steps)


def _again(plan: _Plan, rows: Rows, keen: NDArray[np.bool_], rng: Rng) -> Rows:
    """Some of those who failed take the next run of the same course."""
    failed = rows["percent"] < plan.mark[rows["course"]]
    repeats = failed & (rows["run"] < plan.current[rows["course"]]) & (rng.random(len(rows)) < 0.03)
    again = rows[repeats].copy()
    again["run"] += 1
    return _graded(plan, again, keen[repeats], rng)


def _graded(plan: _Plan, rows: Rows, keen: NDArray[np.bool_], rng: Rng) -> Rows:
    """Fill in grades, and certificates by the rule of today (edx-exports 7.3)."""
    size, mark = len(rows), plan.mark[rows["course"]]
    paid = ~np.isin(rows["track"], [AUDIT, HONOR])
    passes = rng.random(size) < np.where(paid, np.where(keen, 0.9, 0.15), 0.04)
    begun = rng.random(size) < np.where(paid, 0.85, 0.4)
    above = mark + np.floor((101 - mark) * rng.beta(1.1, 1.5, size))
    below = np.where(begun, np.floor(mark * rng.beta(0.8, 2.5, size)), 0)
    rows["percent"] = np.where(passes, above, below)
    allowed = paid & (rng.random(size) < 0.002)  # allow-listed below the cut-off (edX case E38)
    late = (rows["run"] == plan.current[rows["course"]]) & (rng.random(size) < 0.3)  # not issued yet
    bought = passes & np.isin(rows["track"], [CREDIT, NO_ID]) & (rng.random(size) < 0.7)
    earned = (passes & np.isin(rows["track"], ELIGIBLE_TRACKS)) | allowed
    rows["eligible"], rows["delivered"] = earned | bought, (earned & ~late) | bought
    rows["unenrolled"] = rng.random(size) < 0.06
    return rows


def _tell_stories(plan: _Plan, rows: Rows, people: People) -> Rows:
    """Let twelve free learners of the current runs pass, and change their accounts and enrollments."""
    running = plan.series[rows["course"]] & (rows["run"] == plan.current[rows["course"]])
    plain = people.kind[rows["learner"]] == Kind.PLAIN
    free = np.flatnonzero(running & plain & (rows["track"] == AUDIT))
    free = free[np.unique(rows["learner"][free], return_index=True)[1]][:12]
    if len(free) < 12:
        return rows
    learner = rows["learner"][free]
    rows["percent"][free] = np.maximum(rows["percent"][free], plan.mark[rows["course"][free]])
    rows["unenrolled"][free] = False
    rows["unenrolled"][free[[4, 8]]] = True
    kinds = [Kind.PENDING_DELETION, Kind.NAMELESS, Kind.FORMULA, Kind.STAFF, Kind.RETIRED, Kind.TWIN]
    people.kind[learner[: len(kinds)]] = kinds
    people.twin_of[learner[5]] = learner[6]
    if not (people.kind == Kind.ODD_USERNAME).any():
        people.kind[learner[7]] = Kind.ODD_USERNAME
    rows["track"][free[9]] = CREDIT  # passed and paid, no certificate: never invited to upgrade (edX case E40)
    before = rows[free[10:]].copy()  # certified in an earlier run, passed again for free
    before["run"] -= 1
    before["track"], before["eligible"], before["delivered"] = VERIFIED, True, True
    return np.concatenate([before[before["run"] >= 0], rows])


def _early_birds(plan: _Plan, rows: Rows, rng: Rng) -> Rows:
    """Learners in a coming run already: holders of a certificate in the next course, others in the same one again."""
    holds = rows["delivered"] & (rows["course"] + 1 < len(plan.mark)) & (rng.random(len(rows)) < 0.15)
    failed = (rows["percent"] < plan.mark[rows["course"]]) & (rng.random(len(rows)) < 0.02)
    birds: Rows = rows[holds | failed]
    birds = birds[np.unique(birds["learner"], return_index=True)[1]].copy()
    birds["course"] += birds["delivered"]
    birds["run"] = plan.coming[birds["course"]]
    for name in ("percent", "eligible", "delivered", "unenrolled"):
        birds[name] = 0
    fitting: Rows = birds[birds["run"] >= 0]
    return fitting
