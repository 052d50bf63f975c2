"""The dry run of one campaign, at two sizes: its time and memory for each recipient, and what approving it costs."""

import csv
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from bench.measure import line, mmcampaign
from mmcampaign.config import load_settings
from mmcampaign.demo_data import demo_config
from mmcampaign.resources import resource

_PROFILE = ("id", "username", "name", "email", "enrollment_mode", "country")
_GRADES = (
    "Student ID",
    "Email",
    "Username",
    "Grade",
    "Enrollment Track",
    "Verification Status",
    "Certificate Eligible",
    "Certificate Delivered",
    "Certificate Type",
)
_NAMES = ("Nguyễn Thị Châu", "Deirdre O'Connor", "Björn Lindqvist", "王 小明", "Ada Lovelace", "فاطمة حسن", "")


def run(recipients: int) -> None:
    """Print seconds, peak memory and seconds for 1,000 recipients, for a tenth of them and for all."""
    print("dry run of one campaign (program engy, everybody passed on the audit track)")
    line("", "recipients", "seconds", "peak MB", "s / 1,000")
    for number in (recipients // 10, recipients):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            _write(folder, number)
            mmcampaign("ingest", "downloads", cwd=folder)
            for command in (("dry-run", "engy"), ("approve", "1")):
                cost = mmcampaign(*command, cwd=folder)
                share = f"{1_000 * cost.seconds / number:.3f}"
                line(" ".join(command), f"{number:,}", f"{cost.seconds:.1f}", f"{cost.peak_mb:.0f}", share)


def _write(folder: Path, learners: int) -> None:
    """A profile and a grade report of the first course's current run."""
    today = datetime.now(UTC).date()
    source = resource("config.toml").read_text(encoding="utf-8")
    (folder / "config.toml").write_text(demo_config(source, today=today), encoding="utf-8")
    course = load_settings(folder / "config.toml", {}).programs["engy"].courses[0]
    downloads = folder / "downloads"
    downloads.mkdir()
    stem = f"{course.prefix}_{course.current_run}"
    people = [(number, f"u{number}", f"learner{number}@mail.example") for number in range(1, learners + 1)]
    profile = ((n, user, _NAMES[n % len(_NAMES)], mail, "audit", "AU") for n, user, mail in people)
    grades = ((n, mail, user, "0.9", "audit", "N/A", "N", "N", "N/A") for n, user, mail in people)
    for kind, header, rows in (("student_profile_info", _PROFILE, profile), ("grade_report", _GRADES, grades)):
        with (downloads / f"{stem}_{kind}_{today}-0100.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([header, *rows])
