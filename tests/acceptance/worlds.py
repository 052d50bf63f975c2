"""Folders to work in: a small program with learners made to order, and shipped programs with the demo's learners."""

import csv
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mmcampaign.config import load_settings
from mmcampaign.demo_data import demo_config, write_exports
from mmcampaign.resources import resource
from tests.acceptance.runner import Cli

CONFIG = """\
[site]
name = "NordX"
timezone = "Europe/Oslo"
staff = ["kim_staff"]

[database]
url = "sqlite:///mmcampaign.db"

[mail]
backend = "file"
from = '"NordX Updates" <updates@nordx.example>'
reply_to = "updates@nordx.example"
postal_address = "Fjordveien 1, 5003 Bergen, Norway"
public_url = "https://mail.nordx.example"
rate_per_second = 100000

[programs.river]
title = "Rivers"
template = "river"

[[programs.river.courses]]
code = "river1x"
prefix = "NordX_RIVER1x"
title = "Springs & brooks"
link = "https://nordx.example/river1x?a=1&b=2"
passing_grade = 0.65
current_run = "1T2026"

[[programs.river.courses]]
code = "river2x"
prefix = "NordX_RIVER2x"
title = "Deltas"
link = "https://nordx.example/river2x"
passing_grade = 0.7
current_run = "1T2026"
"""
TEMPLATE = {
    "subject.txt": "Well done, {{ learner.name }}",
    "body.html": """\
<!doctype html>
<html><head><style>p { color: #333333 }</style></head><body>
<p>Dear {{ learner.name }}, you passed {{ trigger.title }}.</p>
{% if next %}<p>Go on with <a href="{{ next.link }}">{{ next.title }}</a></p>{% endif %}
<p><a href="{{ unsubscribe_url }}">Unsubscribe</a>. {{ site.postal_address }}</p>
</body></html>
""",
    "body.txt": """\
Dear {{ learner.name }}, you passed {{ trigger.title }}.
{% if next %}Go on with {{ next.title }}: {{ next.link }}
{% endif %}Unsubscribe: {{ unsubscribe_url }}
{{ site.postal_address }}
""",
}
STAMP = datetime.now(UTC) - timedelta(days=1)
GRADES = ["Student ID", "Email", "Username", "Grade", "Final exam", "Enrollment Track", "Verification Status"]
GRADES += ["Certificate Eligible", "Certificate Delivered", "Certificate Type", "Enrollment Status"]
PROFILE = ["id", "username", "name", "email", "language", "location", "enrollment_mode", "city", "country"]


@dataclass(frozen=True, kw_only=True)
class Person:
    """A learner in RIVER1x. On the free track with a passing grade unless a test says otherwise."""

    number: int
    name: str = ""
    email: str = ""
    username: str = ""
    grade: float = 0.9
    track: str = "audit"
    enrollment_status: str = "enrolled"

    @property
    def cells(self) -> dict[str, object]:
        certificate = self.track == "verified"
        return {
            "id": self.number,
            "username": self.username or f"learner{self.number}",
            "name": self.name or f"Quelle Nummer{self.number}",
            "email": self.email or f"learner{self.number}@post.example",
            "track": self.track,
            "grade": self.grade,
            "checked": "ID Verified" if certificate else "N/A",
            "certificate": "Y" if certificate else "N",
            "kind": "verified" if certificate else "N/A",
            "status": self.enrollment_status,
        }


def people(count: int) -> list[Person]:
    """``count`` learners to be chosen, every third with a certificate; and four who are not."""
    chosen = [Person(number=1_000 + n, track="verified" if n % 3 == 0 else "audit") for n in range(count)]
    return [
        *chosen,
        Person(number=9_001, grade=0.2),
        Person(number=9_002, enrollment_status="unenrolled"),
        Person(number=9_003, username="kim_staff"),
        Person(number=9_004, email="no address"),
    ]


def write_reports(
    folder: Path, learners: Sequence[Person], *, stamp: datetime = STAMP, courses: str = "12", attended: str = "1"
) -> None:
    """Both reports of each of the courses; everybody is in the attended one, nobody in the other."""
    folder.mkdir(parents=True, exist_ok=True)
    for course in courses:
        run = f"NordX_RIVER{course}x_1T2026"
        rows = [person.cells for person in learners] if course == attended else []
        grades = [
            [row[key] for key in ("id", "email", "username", "grade", "grade", "track", "checked")]
            + [row[key] for key in ("certificate", "certificate", "kind", "status")]
            for row in rows
        ]
        profiles = [
            [row["id"], row["username"], row["name"], row["email"], "en", "", row["track"], "Bergen", "NO"]
            for row in rows
            if row["status"] == "enrolled"
        ]
        _write(folder / f"{run}_grade_report_{stamp:%Y-%m-%d-%H%M}.csv", GRADES, grades)
        _write(folder / f"{run}_student_profile_info_{stamp:%Y-%m-%d-%H%M}.csv", PROFILE, profiles)


def _write(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])


def make_river(folder: Path, learners: Sequence[Person]) -> None:
    """The folder of somebody who has downloaded reports and done nothing yet."""
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(CONFIG, encoding="utf-8")
    template = folder / "templates" / "emails" / "river"
    template.mkdir(parents=True)
    for name, content in TEMPLATE.items():
        (template / name).write_text(content, encoding="utf-8")
    write_reports(folder / "downloads", learners)


def configure(folder: Path, change: str = "", **values: str) -> None:
    """Edit config.toml: new values of keys where they first stand, and text to add at the end."""
    path = folder / "config.toml"
    text = path.read_text(encoding="utf-8")
    for key, value in values.items():
        line = re.search(rf"(?m)^{key}\s*=.*$", text)
        assert line, key
        text = text.replace(line[0], f"{key} = {value}", 1)
    path.write_text(text + change, encoding="utf-8")


def planned(cli: Cli, *options: str) -> Cli:
    cli("ingest", "downloads")
    cli("dry-run", "river", *options)
    return cli


def make_shipped(folder: Path, *, learners: int, programs: Sequence[str]) -> None:
    """The shipped configuration with some of its programs, and the demo's exports for them as of today."""
    today = datetime.now(UTC).date()
    text = demo_config(resource("config.toml").read_text(encoding="utf-8"), today=today)
    head, *parts = re.split(r"(?m)^(?=\[programs\.)", text)
    kept = [part for part in parts if part.startswith(tuple(f"[programs.{code}]" for code in programs))]
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(head + "".join(kept), encoding="utf-8")
    found = load_settings(folder / "config.toml", {}).programs
    write_exports(folder / "downloads", tuple(found.values()), learners=learners, seed=1, today=today)


def copy_world(source: Path, target: Path) -> Cli:
    shutil.copytree(source, target, dirs_exist_ok=True)
    return Cli(folder=target)
