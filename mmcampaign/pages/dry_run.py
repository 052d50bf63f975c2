"""The dry-run report: the document a manager approves, and the full lists of recipients and left-out beside it.

The caller fills the values; ``write_dry_run`` refuses to write figures that do not add up, streams the lists to disk
in one pass and renders ``report.html``, a single file without scripts that needs neither server nor network.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from datetime import date, datetime
from operator import attrgetter
from pathlib import Path
from zoneinfo import ZoneInfo

from mmcampaign.errors import RefusedError
from mmcampaign.findings import Finding, Severity
from mmcampaign.pages.folder import whole_folder
from mmcampaign.pages.html import environment
from mmcampaign.pages.safe_csv import write_csv

REPORT, RECIPIENTS, EXCLUDED = "report.html", "recipients.csv", "excluded.csv"
NAMES_PER_REASON = 50  # on the page; all of them stand in excluded.csv


@dataclass(frozen=True, kw_only=True)
class CourseCount:
    """One line of the ledger: the learners considered for one cohort because of one course run."""

    cohort: str
    course_code: str
    course_title: str
    run: str
    considered: int
    chosen: int
    excluded: int


@dataclass(frozen=True, kw_only=True)
class ReasonCount:
    """How many were left out for one reason (a ``model.Reason``; ``sentence`` from ``REASON_SENTENCES``)."""

    reason: str
    sentence: str
    people: int


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One shape of the email, merged for one learner who gets it. ``learners`` is how many get this shape."""

    number: int
    shape_digest: str
    learners: int
    cohort: str
    trigger_title: str
    next_title: str = ""
    student_id: int
    name: str
    email: str
    subject: str
    html: str = field(repr=False)
    text: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file the plan rests on. ``kind`` is as in ``imports``; ``rows`` are its data rows."""

    course_code: str
    run: str
    kind: str
    file: str
    exported_at: datetime | None
    ingested_at: datetime
    rows: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TemplateFile:
    """A template file frozen for this campaign, with the SHA-256 of its content."""

    path: str
    digest: str


@dataclass(frozen=True, kw_only=True)
class PreviousCampaign:
    """The figures of the program's campaign before this one, to compare with."""

    campaign: int
    name: str
    planned_on: date
    considered: int
    chosen: int
    excluded: int


@dataclass(frozen=True, kw_only=True)
class DryRunPage:
    """Everything the report says, except the names of those left out.

    ``considered`` counts a learner once for each course that gives a reason to write, so
    ``considered = chosen + excluded`` in total and on each line. ``timezone`` is an IANA name; ``rate_per_second``
    counts messages; ``planned_on`` is the day that decided deadlines and ages. ``consent_note`` and ``warnings`` are
    whole sentences, ``commands`` what to type next, in order. ``findings`` are those of the frozen emails, the worst
    first; ``not_checked`` says in words what was not looked at.
    """

    campaign: int
    name: str
    program_code: str
    program_title: str
    state: str
    fingerprint: str
    planned_at: datetime
    planned_on: date
    planned_by: str
    timezone: str
    cohorts: tuple[str, ...]
    backend: str
    sender: str
    reply_to: str
    rate_per_second: float
    considered: int
    chosen: int
    excluded: int
    courses: tuple[CourseCount, ...]
    reasons: tuple[ReasonCount, ...]
    shapes: int
    samples: tuple[Sample, ...]
    sources: tuple[Source, ...]
    templates: tuple[TemplateFile, ...]
    consent_note: str = ""
    warnings: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    not_checked: tuple[str, ...] = ()
    holdout_percent: float = 0
    limit: int | None = None
    previous: PreviousCampaign | None = None
    commands: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """How long sending takes at the agreed rate."""
        return self.chosen / self.rate_per_second if self.rate_per_second else 0

    @property
    def writes_files(self) -> bool:
        """Whether the emails become files, which no rate holds back."""
        return self.backend == "file"

    @property
    def oldest_days(self) -> int | None:
        """Age in days of the oldest export; None when no file says when it was exported."""
        ages = [age for source in self.sources if (age := self.age_days(source)) is not None]
        return max(ages, default=None)

    def age_days(self, source: Source) -> int | None:
        """Whole days in the page's zone between a file's export and the day of planning."""
        if source.exported_at is None:
            return None
        return (self.planned_on - source.exported_at.astimezone(ZoneInfo(self.timezone)).date()).days

    def found(self, severity: str) -> list[Finding]:
        """The findings of one severity, in the order given."""
        return [finding for finding in self.findings if finding.severity is Severity(severity)]

    def shapes_of(self, finding: Finding) -> list[int]:
        """The numbers of the samples that have it."""
        return [sample.number for sample in self.samples if sample.shape_digest in finding.shapes]

    def chosen_in(self, cohort: str) -> int:
        return sum(course.chosen for course in self.courses if course.cohort == cohort)


@dataclass(frozen=True, kw_only=True)
class Recipient:
    """A row of recipients.csv. ``shape`` is the number of the sample that shows this person's email."""

    student_id: int
    email: str
    name: str
    cohort: str
    trigger_course: str
    trigger_run: str
    next_course: str
    certificates_earned: int
    shape: int
    subject: str


@dataclass(frozen=True, kw_only=True)
class Excluded:
    """A row of excluded.csv: a learner considered for one course and left out. ``detail`` is what was seen."""

    student_id: int
    name: str
    email: str
    cohort: str
    trigger_course: str
    reason: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class DryRunFiles:
    """Where the three files are."""

    report: Path
    recipients_csv: Path
    excluded_csv: Path


def write_dry_run(
    page: DryRunPage, recipients: Iterable[Recipient], excluded: Iterable[Excluded], folder: Path
) -> DryRunFiles:
    """Write report.html, recipients.csv and excluded.csv into ``folder``: all three, or none.

    Both lists are read once and never held in memory. Raises RefusedError when the figures of the page do not add up
    or are not those of the lists, UnavailableError when the folder cannot be written.
    """
    _refuse(_contradictions(page))
    names: dict[str, list[Excluded]] = {}
    counts: Counter[str] = Counter()
    with whole_folder(folder, last=REPORT) as draft:
        listed = _write_list(draft / RECIPIENTS, Recipient, recipients)
        _write_list(draft / EXCLUDED, Excluded, _noting(excluded, names, counts))
        _refuse(_differences(page, listed, counts))
        html = environment().get_template(REPORT).render(page=page, names=names)
        (draft / REPORT).write_text(html, encoding="utf-8")
    return DryRunFiles(report=folder / REPORT, recipients_csv=folder / RECIPIENTS, excluded_csv=folder / EXCLUDED)


def _write_list(path: Path, row: type[Recipient | Excluded], people: Iterable[Recipient | Excluded]) -> int:
    columns = [column.name for column in fields(row)]
    return write_csv(path, columns, map(attrgetter(*columns), people))


def _noting(excluded: Iterable[Excluded], names: dict[str, list[Excluded]], counts: Counter[str]) -> Iterator[Excluded]:
    """Pass everybody on, count them, and keep the first of each reason for the page."""
    for person in excluded:
        counts[person.reason] += 1
        shown = names.setdefault(person.reason, [])
        if len(shown) < NAMES_PER_REASON:
            shown.append(person)
        yield person


def _contradictions(page: DryRunPage) -> Iterator[str]:
    """Every place where the page's own figures disagree."""
    lines = [("in all", page.considered, page.chosen, page.excluded)]
    lines += [(f"{c.cohort} in {c.course_code}", c.considered, c.chosen, c.excluded) for c in page.courses]
    for what, considered, chosen, excluded in lines:
        if considered != chosen + excluded:
            yield f"{what}: {considered} considered, but {chosen} chosen and {excluded} left out"
    sums = [
        ("chosen", page.chosen, "courses", sum(line.chosen for line in page.courses)),
        ("left out", page.excluded, "courses", sum(line.excluded for line in page.courses)),
        ("left out", page.excluded, "reasons", sum(reason.people for reason in page.reasons)),
    ]
    if len(page.samples) == page.shapes:
        sums.append(("chosen", page.chosen, "samples", sum(sample.learners for sample in page.samples)))
    for what, total, parts, found in sums:
        if total != found:
            yield f"{total} {what} in all, but {found} when the {parts} are added up"


def _differences(page: DryRunPage, listed: int, counts: Counter[str]) -> Iterator[str]:
    """Every place where the page says something else than the lists."""
    if page.chosen != listed:
        yield f"{page.chosen} chosen, but {listed} on the list of recipients"
    expected = {reason.reason: reason.people for reason in page.reasons}
    for reason in sorted(expected.keys() | counts.keys()):
        if expected.get(reason, 0) != counts[reason]:
            yield f"{reason}: {expected.get(reason, 0)} left out, but {counts[reason]} on the list"


def _refuse(facts: Iterable[str]) -> None:
    found = tuple(facts)
    if found:
        raise RefusedError(
            "The figures of this dry run do not add up, so no report was written.",
            facts=found,
            unchanged="An earlier report in this folder is as it was. Nothing was sent.",
            todo="Make the dry run again; if this comes back, it is a fault of the program.",
        )
