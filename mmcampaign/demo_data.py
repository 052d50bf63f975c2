"""Synthetic edX exports for the demo and for load tests, in the format of today (edx-exports, eras G7 and P8b).

The same seed, programs and day give the same bytes. Nobody in them exists; addresses end in reserved domains.
"""

import csv
import re
import shutil
import zlib
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmcampaign.demo_enrollments import ELIGIBLE_TRACKS, MASTERS, PROFESSIONAL, TRACKS, Rng, Rows, Run, enroll
from mmcampaign.demo_people import STAFF_DOMAIN, Kind, People
from mmcampaign.model import Program

PROFILE_HEADER = [
    *["id", "username", "name", "email", "language", "location", "gender", "level_of_education"],
    *["mailing_address", "goals", "enrollment_mode", "last_login", "date_joined", "external_user_key"],
    *["lti_13_uuid", "city", "country"],
]
GRADE_START = ["Student ID", "Email", "Username", "Grade"]
GRADE_END = [
    "Enrollment Track",
    "Verification Status",
    "Certificate Eligible",
    "Certificate Delivered",
    "Certificate Type",
    "Enrollment Status",
]
ASSIGNMENTS = [
    *(f"Weekly quiz {number}: {name}" for number, name in enumerate(
        ["Getting started", "Foundations", '"Why" and "how"', "People, places and time", "Evidence", "Models",
         "Systems", "Trade-offs", "Practice", "Ethics", "Communication", "Review"], start=1)),
    "Weekly quiz (Avg)",
    *(f"Assignment {number}: {name}" for number, name in enumerate(
        ["Plan", "Draft", "Peer review", "Résumé of findings", "Reflection"], start=1)),
    "Assignment (Avg)",
    "Final exam",
]  # fmt: skip
_CHUNK = 20_000  # rows in memory at a time

Progress: TypeAlias = Callable[[int, int], None]


def write_exports(
    folder: Path,
    programs: tuple[Program, ...],
    *,
    learners: int,
    seed: int,
    today: date,
    progress: Progress = lambda done, total: None,
) -> list[Path]:
    """Write both reports of every run of every course, and the odd files that real folders have.

    Runs are a course's ``runs`` up to its current one, and its coming run. ``progress`` hears how many of how many
    runs are written. Returns the files written, in order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    people = People.draw(learners, np.random.default_rng([seed, 1]))
    runs = enroll(programs, people, seed)
    exported = datetime.combine(today - timedelta(days=1), time(3, 7), UTC)
    written: list[Path] = []
    for number, run in enumerate(runs):
        stamp = exported + timedelta(minutes=7 * number % 1200)
        rng = np.random.default_rng([seed, zlib.crc32(run.instance.encode())])
        written += _write_run(folder, run, people, stamp, rng, odd=number == 0)
        progress(number + 1, len(runs))
    return written


def _write_run(folder: Path, run: Run, people: People, stamp: datetime, rng: Rng, *, odd: bool) -> list[Path]:
    """Both reports of a run; ``odd`` adds what real folders also have (edX cases E1–E3, E32)."""
    rows = run.rows
    after = stamp + timedelta(minutes=5)
    profile, grades = folder / _name(run, "student_profile_info", stamp), folder / _name(run, "grade_report", after)
    header = [*GRADE_START, *ASSIGNMENTS, *GRADE_END]
    ungraded = np.flatnonzero(~rows["unenrolled"])[: int(odd)]  # in the profile and the error list, not in the report
    graded = np.delete(rows, ungraded)
    _write(profile, PROFILE_HEADER, _profile_rows(rows, people, stamp, rng))
    _write(grades, header, _grade_rows(graded, people, rng))
    if not odd:
        return [profile, grades]
    older = folder / _name(run, "grade_report", after - timedelta(days=21))
    _write(older, header, _grade_rows(_three_weeks_ago(graded), people, rng, earlier=True))
    copy = grades.with_name(f"{grades.stem} (1).csv")
    shutil.copyfile(grades, copy)
    problems = folder / _name(run, "problem_grade_report", after + timedelta(minutes=1))
    errors = folder / _name(run, "grade_report_err", after)
    _write_problem_report(problems, graded, people)
    _write_error_list(errors, rows[ungraded], people)
    return [profile, grades, older, copy, problems, errors]


def _name(run: Run, kind: str, stamp: datetime) -> str:
    """edX's file names (edx-exports 2.1); the stamp is UTC."""
    return f"{run.instance}_{kind}_{stamp:%Y-%m-%d-%H%M}.csv"


def _write(path: Path, header: Sequence[str], rows: Iterator[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)  # CR LF and minimal quoting, as edX's own (edx-exports 3)
        writer.writerow(header)
        writer.writerows(rows)


def _chunks(rows: Rows) -> Iterator[Rows]:
    for start in range(0, len(rows), _CHUNK):
        yield rows[start : start + _CHUNK]


_STREETS = ("None", "None", "None", "", "", "12 River Street\r\nBrisbane QLD 4000", 'Flat 3, "The Weir"\r\n\r\nCork')
_GOALS = ("None", "None", "", "", "Work abroad, then teach", "Finish all four\r\nand the capstone")


def _profile_rows(rows: Rows, people: People, stamp: datetime, rng: Rng) -> Iterator[Sequence[object]]:
    """Those enrolled now, by user name (edx-exports 8)."""
    live = rows[~rows["unenrolled"] & (people.kind[rows["learner"]] != Kind.RETIRED)]
    cards = [people.card(index) for index in live["learner"].tolist()]
    order = sorted(range(len(cards)), key=lambda place: cards[place].username)
    joined = np.datetime64("2013-03-01T00:00:00.000000") + (
        people.student_id[live["learner"]] * (365.25 * 24 * 3600e6 * 12 / 70_000_000)
    ).astype("timedelta64[us]")
    span = np.datetime64(stamp.replace(tzinfo=None), "us") - joined
    login = joined + (span * rng.beta(6, 1, len(live))).astype("timedelta64[us]")
    joined_text, login_text = _times(joined), _times(login)
    dice = rng.integers(0, 2**30, len(live)).tolist()
    tracks = TRACKS[live["track"]].tolist()
    for place in order:
        card, roll = cards[place], dice[place]
        yield (
            card.student_id,
            card.username,
            card.name,
            card.email,
            "",
            "",
            ("m", "f", "o", "", "None")[roll % 5],
            ("p", "m", "b", "hs", "none", "other", "", "None")[roll % 8],
            _STREETS[roll % 97 % len(_STREETS)],
            _GOALS[roll % 89 % len(_GOALS)],
            tracks[place],
            "None" if roll % 50 == 0 else login_text[place],
            joined_text[place],
            f"UQ-{card.student_id}" if tracks[place] == "masters" else "",
            "",
            "Brisbane" if roll % 13 == 0 else "None",
            card.country,
        )


def _times(moments: NDArray[np.datetime64]) -> list[str]:
    """``2026-08-16 06:45:10.500001+00:00``; edX leaves a zero fraction out."""
    texts = np.datetime_as_string(moments, unit="us").tolist()
    return [f"{text[:10]} {text[11:].removesuffix('.000000')}+00:00" for text in texts]


def _grade_rows(rows: Rows, people: People, rng: Rng, *, earlier: bool = False) -> Iterator[Sequence[object]]:
    """Everybody who ever enrolled, by id (edx-exports 6 to 8)."""
    for chunk in _chunks(rows):
        cards = [people.card(index, earlier=earlier) for index in chunk["learner"].tolist()]
        verifiable = np.isin(chunk["track"], ELIGIBLE_TRACKS)
        checked = np.where(rng.random(len(chunk)) < 0.4, "ID Verified", "Not ID Verified")
        own = np.isin(chunk["track"], [MASTERS, PROFESSIONAL])
        kind = np.where(own, TRACKS[chunk["track"]], "verified")
        retired = people.kind[chunk["learner"]] == Kind.RETIRED
        columns: list[Sequence[object]] = [
            [card.student_id for card in cards],
            [card.email for card in cards],
            [card.username for card in cards],
            (chunk["percent"] / 100).tolist(),
            *_assignment_columns(chunk["percent"], rng),
            TRACKS[chunk["track"]].tolist(),
            np.where(verifiable, checked, "N/A").tolist(),
            np.where(chunk["eligible"], "Y", "N").tolist(),
            np.where(chunk["delivered"], "Y", "N").tolist(),
            np.where(chunk["delivered"], kind, "N/A").tolist(),
            np.where(chunk["unenrolled"] | retired, "unenrolled", "enrolled").tolist(),
        ]
        yield from zip(*columns, strict=True)


def _assignment_columns(percent: NDArray[np.int64], rng: Rng) -> Iterator[list[object]]:
    """Twelve quizzes with their average, five assignments with theirs, a final exam (edx-exports 6.1)."""
    level = (percent / 100)[:, None]
    for count, whole in ((12, 6), (5, 30), (1, 100)):
        shape = (len(percent), count)
        tried = (rng.random(shape) < level + 0.25) & (level > 0)
        marks = np.rint(np.clip(level + rng.normal(0, 0.15, shape), 0, 1) * whole).astype(np.int64)
        cells = np.array([repr(mark / whole) for mark in range(whole + 1)] + ["Not Attempted"], dtype=object)
        for column in np.where(tried, marks, whole + 1).T:
            yield cells[column].tolist()
        if count > 1:
            yield np.where(tried, marks / whole, 0.0).mean(axis=1).tolist()


def _three_weeks_ago(rows: Rows) -> Rows:
    """An older export of the same run: fewer learners, lower grades, no certificates."""
    earlier = rows[: max(1, len(rows) * 4 // 5)].copy()
    earlier["percent"] = earlier["percent"] * 6 // 10
    earlier["eligible"], earlier["delivered"] = False, False
    return earlier


def _write_problem_report(path: Path, graded: Rows, people: People) -> None:
    """A report that is no grade report, with nearly its name (edX case E1)."""
    header = (
        "Student ID,Email,Username,Enrollment Status,Grade,Final exam - Essay (Earned),Final exam - Essay (Possible)"
    )
    some = [(people.card(int(row["learner"])), row["percent"] / 100) for row in graded[~graded["unenrolled"]][:40]]
    cells = ((card.student_id, card.email, card.username, "enrolled", grade, 6.0, 10.0) for card, grade in some)
    _write(path, header.split(","), cells)


def _write_error_list(path: Path, ungraded: Rows, people: People) -> None:
    """edX's list of learners it could not grade."""
    failed = (people.card(index) for index in ungraded["learner"].tolist())
    cells = ((card.student_id, card.username, 'Subsection tree, "block-v1", is missing') for card in failed)
    _write(path, ["Student ID", "Username", "Error"], cells)


# --- the demo's config.toml ------------------------------------------------------------------------------------


def demo_config(source: str, *, today: date) -> str:
    """The text of a config.toml with its runs and deadlines moved to the terms around ``today``.

    A year has three terms of four months. The courses of a program get, in order: a deadline ahead, one that has
    passed, none, one ahead; the last course of the second program invites to a run that is already closed.
    """
    lines: list[str] = []
    program, course = -1, -1
    for line in source.splitlines():
        if re.match(r"(runs|current_run|coming_run|upgrade_deadline)\s*=", line):
            continue
        if re.match(r"\[programs\.\w+\]", line):
            program, course = program + 1, -1
        course += line.startswith("[[programs.")
        lines.append(re.sub(r"^staff\s*=\s*\[", f'staff = ["@{STAFF_DOMAIN}", ', line))
        if re.match(r"passing_grade\s*=", line):
            lines += _schedule(program, course, today)
    return "\n".join(lines) + "\n"


def _schedule(program: int, course: int, today: date) -> list[str]:
    runs = [_term(today, ago) for ago in (-2, -1, 0)]
    closes = today + timedelta(days=-2 if (program, course) == (1, 3) else 45 + 7 * course)
    lines = [f"runs = {runs!r}".replace("'", '"'), f'current_run = "{runs[-1]}"']
    if course < 4:  # four courses, then the capstone
        lines.append(f'coming_run = {{ run = "{_term(today, 1)}", enrollment_closes = {closes.isoformat()} }}')
    deadline = {0: 21, 1: -3, 3: 24}.get(course)
    return lines + ([f"upgrade_deadline = {today + timedelta(days=deadline)}"] if deadline else [])


def _term(today: date, ahead: int) -> str:
    year, term = divmod(today.year * 3 + (today.month - 1) // 4 + ahead, 3)
    return f"{term + 1}T{year}"
