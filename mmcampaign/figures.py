"""The completion report in figures: the values and the arithmetic on them. Standard library only.

Learners are counted by their best status over the runs of a course, as the report's rows are, unless a value says run.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from graphlib import CycleError, TopologicalSorter

from mmcampaign.completion import FREE_TRACKS, PAID_TRACKS
from mmcampaign.model import Course, Program


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """A course run in numbers, each learner by the standing in this run. ``certificates``: certified or eligible."""

    run: str
    enrolled: int
    passed: int
    certificates: int


@dataclass(frozen=True, kw_only=True)
class CourseSummary:
    """A course in numbers. ``tracks`` counts by enrollment track, the empty one being not known."""

    course: Course
    enrolled: int
    tracks: Mapping[str, int]
    passed: int
    certified: int
    eligible: int
    runs: tuple[RunSummary, ...] = ()

    @property
    def free(self) -> int:
        return sum(count for track, count in self.tracks.items() if track in FREE_TRACKS)

    @property
    def paid(self) -> int:
        return sum(count for track, count in self.tracks.items() if track in PAID_TRACKS)

    @property
    def other(self) -> int:
        """On a track that is unknown to us (edX case E30), or on none that the exports name."""
        return self.enrolled - self.free - self.paid

    @property
    def certificates(self) -> int:
        """Certified or eligible, as the report's ``no_certificate_eligible`` counts."""
        return self.certified + self.eligible


@dataclass(frozen=True, kw_only=True)
class Standing:
    """``learners`` with so many certificates, and so many courses passed in the series and outside it."""

    certificates: int
    series_passed: int
    others_passed: int
    learners: int


@dataclass(frozen=True, kw_only=True)
class Source:
    """An export that the report rests on: the one that counts for its run and kind. Times are UTC."""

    course_code: str
    run: str
    kind: str
    file: str
    exported_at: datetime
    ingested_at: datetime
    rows: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How long learners took who hold a certificate in every course of the series.

    ``by_terms``: terms between the runs of the first and the last certificate -> learners. ``unknown`` are those with
    a certificate from a run that is not in ``order``; all of them where the order is empty, that is not known.
    """

    order: tuple[str, ...]
    by_terms: Mapping[int, int]
    unknown: int


@dataclass(frozen=True, kw_only=True)
class Step:
    """A step of the funnel. The shares are fractions, None where there is nothing to divide by."""

    label: str
    learners: int
    of_previous: float | None
    of_first: float | None


@dataclass(frozen=True, kw_only=True)
class ProgramSummary:
    """A program in numbers."""

    program: Program
    courses: tuple[CourseSummary, ...]
    standings: tuple[Standing, ...]
    pace: Pace
    exports: tuple[Source, ...]

    @property
    def learners(self) -> int:
        return sum(standing.learners for standing in self.standings)

    @property
    def by_certificates(self) -> dict[int, int]:
        """Number of courses certified or eligible -> learners, in ascending order; no gaps, no nobody."""
        counts: dict[int, int] = {}
        for standing in sorted(self.standings, key=lambda standing: standing.certificates):
            counts[standing.certificates] = counts.get(standing.certificates, 0) + standing.learners
        return counts

    @property
    def newest_export_at(self) -> datetime | None:
        return max((export.exported_at for export in self.exports), default=None)

    @property
    def funnel(self) -> tuple[Step, ...]:
        """Enrolled, passed one course of the series or more, ..., all of them, and what stands outside the series."""
        reached = list(self._reached())
        first = reached[0][1]
        befores = (0, *(learners for _, learners in reached))
        return tuple(
            Step(label=label, learners=learners, of_previous=share(learners, before), of_first=share(learners, first))
            for (label, learners), before in zip(reached, befores, strict=False)
        )

    def passed(self, courses: int) -> int:
        """Learners who passed at least so many courses of the series."""
        return sum(standing.learners for standing in self.standings if standing.series_passed >= courses)

    def _reached(self) -> Iterator[tuple[str, int]]:
        total, others = len(self.program.series), len(self.program.courses) - len(self.program.series)
        yield "Enrolled", self.learners
        for number in range(1, total):
            yield f"Passed {number} of {total} or more", self.passed(number)
        yield (f"Passed all {total}" if total > 1 else "Passed the course"), self.passed(total)
        if others:
            finished = (s for s in self.standings if (s.series_passed, s.others_passed) == (total, others))
            yield "And passed the capstone", sum(standing.learners for standing in finished)

    @property
    def capstone_early(self) -> int:
        """Learners who passed everything outside the series, but not all of the series."""
        total, others = len(self.program.series), len(self.program.courses) - len(self.program.series)
        early = (s.learners for s in self.standings if s.series_passed < total and s.others_passed == others)
        return sum(early) if others else 0

    @property
    def missing(self) -> tuple[str, ...]:
        """A sentence for each current run whose grade report was never loaded."""
        loaded = {(export.course_code, export.run) for export in self.exports if export.kind == "grade_report"}
        return tuple(
            f"No grade report of {course.instance(course.current_run)} was loaded: who passed there is not counted."
            for course in self.program.courses
            if course.current_run and (course.code, course.current_run) not in loaded
        )


def share(part: int, whole: int) -> float | None:
    """``part`` of ``whole`` as a fraction, None when there is no whole."""
    return part / whole if whole else None


def term_order(program: Program) -> tuple[str, ...]:
    """The runs of the series in the one order that the courses' ``runs`` agree on, oldest first.

    Runs with the same code count as the same term. Empty when no runs are listed, or when the lists leave two runs
    without an order between them or contradict each other.
    """
    before: dict[str, set[str]] = {}
    for course in program.series:
        for place, run in enumerate(course.runs):
            before.setdefault(run, set()).update(course.runs[max(place - 1, 0) : place])
    sorter = TopologicalSorter(before)
    order: list[str] = []
    try:
        sorter.prepare()
    except CycleError:
        return ()
    while sorter.is_active():
        ready = sorter.get_ready()
        if len(ready) > 1:
            return ()
        order += ready
        sorter.done(*ready)
    return tuple(order)
