"""Rules over the programs of config.toml that join several keys, courses or programs.

They read the raw tables, so that they are told in the same breath as values of a wrong kind. A value that is not of
the right kind is passed over here: the schema reports it.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

_RESERVED_CODES = {"no_audited"}  # its column would be the view's own no_audited_passed


def run_of(prefix: str, run: str) -> str:
    """The bare run of ``1T2019`` or ``UQx_ENGY1x_1T2019``."""
    return run.removeprefix(f"{prefix}_")


class _RawCourse(NamedTuple):
    key: str  # programs.engy.courses[1]
    table: Mapping[str, Any]

    def text(self, name: str) -> str:
        value = self.table.get(name, "")
        return value if isinstance(value, str) else ""

    @property
    def runs(self) -> Iterator[tuple[str, str]]:
        """Every run written in the course, with its key."""
        listed = self.table.get("runs")
        for number, run in enumerate(listed if isinstance(listed, list) else []):
            yield f"{self.key}.runs[{number}]", run
        yield f"{self.key}.current_run", self.text("current_run")
        coming = self.table.get("coming_run")
        if isinstance(coming, dict):
            yield f"{self.key}.coming_run.run", coming.get("run", "")


def program_problems(programs: object) -> Iterator[str]:
    """One line, beginning with its key, for each broken rule."""
    tables = programs if isinstance(programs, dict) else {}
    courses = {code: list(_courses(code, table)) for code, table in tables.items()}
    every = [course for listed in courses.values() for course in listed]
    yield from _repeated(every, "code")
    yield from _repeated(every, "prefix")
    prefixes = {course.text("prefix"): course.text("code") for course in every if course.text("prefix")}
    if programs == {}:
        yield "programs: is empty; describe at least one"
    for code, listed in courses.items():
        if not any(course.table.get("series", True) for course in listed):
            yield f"programs.{code}.courses: no course counts; at least one must stand here without series = false"
    for course in every:
        yield from _course_problems(course, prefixes)


def _courses(program: str, table: object) -> Iterator[_RawCourse]:
    listed = table.get("courses") if isinstance(table, dict) else None
    for number, course in enumerate(listed if isinstance(listed, list) else []):
        if isinstance(course, dict):
            yield _RawCourse(key=f"programs.{program}.courses[{number}]", table=course)


def _repeated(courses: list[_RawCourse], name: str) -> Iterator[str]:
    places = defaultdict(list)
    for course in courses:
        places[course.text(name)].append(f"{course.key}.{name}")
    for value, keys in places.items():
        for key in keys[1:] if value else ():
            yield f"{key}: {value!r} is already used by {keys[0]}"


def _course_problems(course: _RawCourse, prefixes: Mapping[str, str]) -> Iterator[str]:
    if course.text("code") in _RESERVED_CODES:
        yield f"{course.key}.code: {course.text('code')!r} is the name of a column of the report; take another"
    if course.table.get("series", True):
        for name in ("title", "link"):
            if not course.table.get(name):
                yield f"{course.key}.{name}: is missing; a course of the series needs one for its emails"
    for key, run in course.runs:
        problem = _run_problem(course, run, prefixes) if isinstance(run, str) and run else ""
        if problem:
            yield f"{key}: {problem}"
    yield from _listed_run_problems(course)


def _run_problem(course: _RawCourse, run: str, prefixes: Mapping[str, str]) -> str:
    """Why ``run`` cannot be a run of the course. Of two fitting prefixes the longer counts, as in file names."""
    prefix, code = course.text("prefix"), course.text("code")
    if run.startswith("course-v1:"):
        return f"{run!r} is a course key; write the run as in the file names, such as '{prefix}_1T2019'"
    if not re.fullmatch(r"[\w.-]+", run):
        return f"{run!r} has characters that no file name of edX has"
    owner = max((known for known in prefixes if run.startswith(f"{known}_")), key=len, default="")
    if owner and owner != prefix:
        return f"{run!r} is a run of {prefixes[owner]!r}, not of {code!r}"
    organisation = prefix.split("_", maxsplit=1)[0]
    if not owner and "_" in prefix and run.startswith(f"{organisation}_"):
        stranger = "_".join(run.split("_")[:2])
        return f"{run!r} looks like a run of {stranger!r}, not of {code!r} ({prefix!r})"
    return ""


def _listed_run_problems(course: _RawCourse) -> Iterator[str]:
    listed, current, prefix = course.table.get("runs"), course.text("current_run"), course.text("prefix")
    if not isinstance(listed, list) or not listed:
        return
    runs = [run_of(prefix, run) for run in listed if isinstance(run, str)]
    if current and run_of(prefix, current) not in runs:
        yield f"{course.key}.current_run: {current!r} is not among runs = {listed!r}"
    for run in sorted({run for run in runs if runs.count(run) > 1}):
        yield f"{course.key}.runs: {run!r} stands there twice"
