"""A dry-run report of realistic size, for the golden text and the screenshot. All people in it are made up.

After a wanted change run ``python -m tests.unit.pages_example``: it writes ``tests/golden/dry_run_report.txt`` and,
where Chromium is installed, ``docs/dry-run-report.png`` afresh.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import cycle, islice
from pathlib import Path

from lxml import html as lxml_html

from mmcampaign.findings import Finding, Part, Severity
from mmcampaign.model import Reason
from mmcampaign.pages.dry_run import (
    CourseCount,
    DryRunPage,
    Excluded,
    PreviousCampaign,
    ReasonCount,
    Recipient,
    Sample,
    Source,
    TemplateFile,
    write_dry_run,
)
from mmcampaign.pages.reasons import REASON_SENTENCES

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "dry_run_report.txt"
SCREENSHOT = ROOT / "docs" / "dry-run-report.png"

COURSES = {
    "engy0x": "Energy Principles and Renewable Energy",
    "engy1x": "Climate Science and Policy",
    "engy2x": "Energy and Development",
    "engy3x": "Low Emission Technologies and Supply Systems",
}
# cohort, course, considered, chosen
LEDGER = (
    ("audit-upgrade", "engy0x", 640, 142),
    ("audit-upgrade", "engy1x", 455, 96),
    ("audit-upgrade", "engy2x", 310, 48),
    ("audit-upgrade", "engy3x", 122, 15),
    ("continue", "engy0x", 150, 58),
    ("continue", "engy1x", 117, 31),
    ("continue", "engy2x", 78, 16),
    ("continue", "engy3x", 40, 6),
)
REASONS = {
    Reason.ALREADY_MAILED: (402, "campaign 11 wrote the same on 2019-03-12"),
    Reason.UNENROLLED: (287, "has left the run"),
    Reason.CONSENT_REFUSED: (214, "said no to email from the organisation on edX"),
    Reason.SUPPRESSED_UNSUBSCRIBED: (163, "the address is suppressed: unsubscribed"),
    Reason.PAID_TRACK: (131, "track verified: already paid"),
    Reason.MERGED: (96, "one email per person: Climate Science and Policy comes first"),
    Reason.ALREADY_ENROLLED_NEXT: (74, "enrolled in UQx_ENGY1x_1T2019a on track verified"),
    Reason.PROGRAM_COMPLETE: (61, "all 4 certificates of the series earned"),
    Reason.SUPPRESSED_BOUNCED: (38, "the address is suppressed: bounced"),
    Reason.ACCOUNT_RETIRED: (22, "the account is deleted or waiting for deletion"),
    Reason.DUPLICATE_ADDRESS: (9, "edX user 7120044 has the same address in a newer file"),
    Reason.STAFF_ACCOUNT: (3, "matches @uq.edu.au in site.staff"),
}
# cohort, course, next course, learners
SHAPES = (
    ("audit-upgrade", "engy0x", "engy1x", 142),
    ("audit-upgrade", "engy1x", "engy2x", 96),
    ("audit-upgrade", "engy2x", "engy3x", 63),
    ("continue", "engy0x", "engy1x", 58),
    ("continue", "engy1x", "engy2x", 37),
    ("continue", "engy3x", "", 16),
)
NAMES = (
    "Amelia Okafor",
    "Nguyễn Thị Minh Khai",
    "Bao-Zhi 陈宝智",
    "Mohammed Al-Rashid الرشيد",
    "Zoë Łukasiewicz-Brandão",
    "Priya Venkatanarasimharajuvaripeta Subramaniam",
    "O'Connor, Siobhán",
    "Jürgen Groß",
    "Άννα Παπαδοπούλου",
    "Ольга Дмитриевна Соколова",
    "みちこ 高橋",
    "Ana María de los Ángeles Fernández de la Cueva y Enríquez de Guzmán",
    "",
    "Li Wei",
)
EMAIL = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>$title</title>
<style>@media (max-width: 480px) { .pad { padding: 20px !important } h1 { font-size: 24px !important } }</style></head>
<body style="margin:0;background:#eef1f4;font-family:Helvetica,Arial,sans-serif;color:#22303c">
<div style="display:none">$preheader</div>
<table role="presentation" width="100%" cellspacing="0" cellpadding="0"><tr>
<td align="center" style="padding:24px 12px">
<table role="presentation" width="100%" style="max-width:600px;background:#fff" cellspacing="0" cellpadding="0">
<tr><td style="background:#0b4f5c;color:#fff;padding:22px 36px;font-size:15px;letter-spacing:.02em">
UQx &nbsp;|&nbsp; Sustainable Energy MicroMasters</td></tr>
<tr><td class="pad" style="padding:32px 36px;font-size:16px;line-height:1.55">
<h1 style="margin:0 0 18px;font-size:28px;line-height:1.2;font-weight:600">$title</h1>
<p style="margin:0 0 16px">Dear $name,</p><p style="margin:0 0 16px">$first</p><p style="margin:0 0 24px">$second</p>
<p style="margin:0 0 28px"><a href="https://www.edx.org/" style="display:inline-block;background:#b3471d;color:#fff;
padding:13px 26px;text-decoration:none;font-weight:600">$button</a></p>
<table role="presentation" width="100%" style="background:#f4f7f8" cellspacing="0" cellpadding="0"><tr>
<td style="padding:18px 20px;font-size:15px"><b>Your way to the credential</b><br>Certificates earned: $earned of 4
</td></tr></table>
<p style="margin:28px 0 0">With best wishes,<br>the UQx team</p></td></tr>
<tr><td style="padding:20px 36px 30px;font-size:13px;line-height:1.5;color:#52606b;border-top:1px solid #e3e8ec">
You get this because you studied $trigger on edX. <a href="https://mail.example.edu/u/sample" style="color:#52606b">
Unsubscribe</a><br>The University of Queensland, St Lucia QLD 4072, Australia</td></tr>
</table></td></tr></table></body></html>"""
UPGRADE = (
    "You passed $trigger!",
    "Your result counts towards a MicroMasters credential if you upgrade by 20 June.",
    "You passed $trigger on the free track. With the verified certificate your result counts towards the "
    "MicroMasters credential in Sustainable Energy.",
    "You can upgrade until 20 June 2019. Nothing else changes: your grade and your place in the course stay as they "
    "are. $next is the course to take after that.",
    "Upgrade now",
)
CONTINUE = (
    "One step closer",
    "Your next course starts in July; three more and the credential is yours.",
    "Congratulations on your certificate for $trigger. You are one step closer to the MicroMasters credential.",
    "$next is the next course of the series. Enrollment is open until 1 July 2019.",
    "See the next course",
)


def merged(cohort: str, values: dict[str, str]) -> tuple[str, str]:
    """An email's two parts, near enough to what the merge gives for this page."""
    names = ("title", "preheader", "first", "second", "button")
    words = dict(zip(names, UPGRADE if cohort == "audit-upgrade" else CONTINUE, strict=True))
    html = EMAIL
    text = "$title\n\nDear $name,\n\n$first\n\n$second\n\n$button: https://www.edx.org/\n\nUnsubscribe: …\n"
    for key, value in (words | values).items():
        html, text = html.replace(f"${key}", value), text.replace(f"${key}", value)
    for key, value in values.items():  # those inside the words
        html, text = html.replace(f"${key}", value), text.replace(f"${key}", value)
    return html, text


def example_samples() -> Iterator[Sample]:
    for number, (cohort, trigger, next_code, learners) in enumerate(SHAPES, start=1):
        name = NAMES[number - 1]
        following = COURSES.get(next_code, "")
        values = {"name": name, "trigger": COURSES[trigger], "next": following or "The capstone", "earned": trigger[4]}
        html, text = merged(cohort, values)
        yield Sample(
            number=number,
            shape_digest=f"{number:x}" * 7 + "c41e09d2a7" * 6,
            learners=learners,
            cohort=cohort,
            trigger_title=COURSES[trigger],
            next_title=following,
            student_id=7100000 + number,
            name=name,
            email=f"learner{number}@example.org",
            subject="Congratulations - you are now one step closer to the MicroMasters credential!",
            html=html,
            text=text,
        )


def example_sources() -> Iterator[Source]:
    for position, course in enumerate(COURSES):
        old = position == 3
        for kind, rows in (("grade_report", 9412 - 1900 * position), ("student_profile_info", 8870 - 1850 * position)):
            exported = datetime(2019, 5, 14, 1, 40, tzinfo=UTC) if old else datetime(2019, 6, 3, 22, 5, tzinfo=UTC)
            stamp = f"{exported:%Y-%m-%d-%H%M}"
            yield Source(
                course_code=course,
                run="1T2019",
                kind=kind,
                file=f"UQx_{course[:-1].upper()}x_1T2019_{kind}_{stamp}.csv",
                exported_at=exported,
                ingested_at=exported + timedelta(hours=26),
                rows=rows,
                warnings=("412 fewer learners than in the export before.",) if old else (),
            )


def example_findings() -> Iterator[Finding]:
    digests = [sample.shape_digest for sample in example_samples()]
    yield Finding(
        severity=Severity.WARN,
        code="image-without-alt",
        message="A picture has no alternative text; with pictures off, and to a screen reader, it says nothing.",
        mend='write alt="…", or alt="" for decoration',
        part=Part.HTML,
        file="_base/body.html",
        line=41,
        shapes=tuple(digests),
        learners=412,
        accepted="a line for decoration, alt follows in July (k.lee)",
    )
    yield Finding(
        severity=Severity.WARN,
        code="no-preheader",
        message="There is no preheader, so inboxes show the first words of the page behind the subject.",
        mend="write a hidden <div> with one sentence as the first element of the body",
        part=Part.HTML,
        file="engy/body.html",
        line=12,
        shapes=(digests[5],),
        learners=16,
    )
    yield Finding(
        severity=Severity.NOTE,
        code="wide-text",
        message="A line of the text part has 96 columns; 78 are read everywhere.",
        mend="break the line, and give long titles a line of their own",
        part=Part.TEXT,
        file="engy/body.txt",
        line=9,
        shapes=(digests[0], digests[1]),
        learners=238,
    )


def example_page() -> DryRunPage:
    return DryRunPage(
        campaign=12,
        name="June reminder 2019",
        program_code="engy",
        program_title="Sustainable Energy",
        state="planned",
        fingerprint="3f2a90bc41d7e86655aa0b1c9e4d2f7788c3b6a1d0e95f4237ab6c81f09d2e54",
        planned_at=datetime(2019, 6, 5, 4, 32, tzinfo=UTC),
        planned_on=date(2019, 6, 5),
        planned_by="k.lee",
        timezone="Australia/Brisbane",
        cohorts=("audit-upgrade", "continue"),
        backend="sendgrid",
        sender='"UQx Updates" <business@uqx.uq.edu.au>',
        reply_to="business@uqx.uq.edu.au",
        rate_per_second=2,
        considered=1912,
        chosen=412,
        excluded=1500,
        courses=tuple(
            CourseCount(
                cohort=cohort,
                course_code=course,
                course_title=COURSES[course],
                run="1T2019",
                considered=considered,
                chosen=chosen,
                excluded=considered - chosen,
            )
            for cohort, course, considered, chosen in LEDGER
        ),
        reasons=tuple(
            ReasonCount(reason=reason, sentence=REASON_SENTENCES[reason], people=people)
            for reason, (people, _) in REASONS.items()
        ),
        shapes=len(tuple(example_samples())),
        samples=tuple(example_samples()),
        sources=tuple(example_sources()),
        templates=(
            TemplateFile(path="engy/subject.txt", digest="0b7e" * 16),
            TemplateFile(path="engy/body.html", digest="9ac4" * 16),
            TemplateFile(path="engy/body.txt", digest="51d3" * 16),
            TemplateFile(path="_base/body.html", digest="e08f" * 16),
        ),
        consent_note="The opt-in list was exported on 1 June 2019, 4 days ago. 214 learners said no and are left out.",
        warnings=("The reports of engy3x are 22 days old: learners may have upgraded since.",),
        findings=tuple(example_findings()),
        not_checked=("shapes beyond the 40 most frequent (3)",),
        previous=PreviousCampaign(
            campaign=11,
            name="March reminder 2019",
            planned_on=date(2019, 3, 11),
            considered=1704,
            chosen=398,
            excluded=1306,
        ),
        commands=(
            "mmcampaign test-send 12 you@uq.edu.au",
            'mmcampaign approve 12 --by "Your Name"',
            "mmcampaign send 12 --yes --expect 412",
        ),
    )


def example_recipients() -> Iterator[Recipient]:
    names = cycle(NAMES)
    for number, (cohort, trigger, following, learners) in enumerate(SHAPES, start=1):
        for name in islice(names, learners):
            student_id = 7_100_000 + 1000 * number + len(name)
            yield Recipient(
                student_id=student_id,
                email=f"learner{student_id}@example.org",
                name=name,
                cohort=cohort,
                trigger_course=trigger,
                trigger_run=f"UQx_{trigger[:-1].upper()}x_1T2019",
                next_course=following,
                certificates_earned=int(trigger[4]),
                shape=number,
                subject="Congratulations - you are now one step closer to the MicroMasters credential!",
            )


def example_excluded() -> Iterator[Excluded]:
    names, courses = cycle(NAMES), cycle(COURSES)
    student_id = 7_200_000
    for reason, (people, detail) in REASONS.items():
        for name in islice(names, people):
            student_id += 37
            yield Excluded(
                student_id=student_id,
                name=name,
                email=f"learner{student_id}@example.org",
                cohort="audit-upgrade",
                trigger_course=next(courses),
                reason=reason,
                detail=detail,
            )


def write_example(folder: Path) -> Path:
    return write_dry_run(example_page(), example_recipients(), example_excluded(), folder).report


def read_aloud(report: Path, names: int = 2) -> str:
    """The page as text, a block a line; of each list of names only the first ones."""
    document = lxml_html.fromstring(report.read_text(encoding="utf-8"))
    for table in document.find_class("why"):
        for row in table.xpath(".//tbody/tr")[names:]:
            row.drop_tree()
    lines = []
    for block in document.xpath("//title|//h1|//h2|//h3|//p|//li|//dt|//dd|//tr|//caption|//summary|//pre|//footer"):
        parts = [" ".join(cell.text_content().split()) for cell in (block.xpath("./th|./td") or [block])]
        line = " | ".join(part for part in parts if part)
        lines.append(f"\n{'#' * int(block.tag[1])} {line}\n" if block.tag in ("h1", "h2", "h3") else line)
    return "\n".join(lines).strip() + "\n"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        report = write_example(Path(folder) / "campaign-12")
        GOLDEN.write_text(read_aloud(report), encoding="utf-8")
        chromium = shutil.which("chromium")
        if chromium is None:
            sys.exit("Chromium is not installed: the text was written, the screenshot was not.")
        command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        subprocess.run([*command, f"--screenshot={SCREENSHOT}", "--window-size=1280,1445", report.as_uri()], check=True)


if __name__ == "__main__":
    main()
