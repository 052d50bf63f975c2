"""The main job on generated exports, command by command, beside the plain pandas read of the same files."""

import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from bench.measure import command, line, mmcampaign
from mmcampaign.config import load_settings
from mmcampaign.demo_data import demo_config, write_exports
from mmcampaign.resources import resource

PLAIN_READ = """
import sys, pathlib, pandas
for path in sorted(pathlib.Path(sys.argv[1]).glob('*.csv')):
    wanted = {'id', 'username', 'name', 'email', 'country', 'enrollment_mode', 'Student ID', 'Email', 'Username',
              'Grade', 'Enrollment Track', 'Verification Status', 'Certificate Eligible', 'Certificate Delivered',
              'Certificate Type', 'Enrollment Status'}
    if 'grade_report_2' in path.name or 'profile_info' in path.name:
        pandas.read_csv(path, dtype=str, keep_default_na=False, usecols=lambda name: name in wanted)
"""


def run(learners: int) -> None:
    """Print wall time, peak memory and the ratio to the plain read for each step."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        today = datetime.now(UTC).date()
        source = resource("config.toml").read_text(encoding="utf-8")
        (folder / "config.toml").write_text(demo_config(source, today=today), encoding="utf-8")
        programs = load_settings(folder / "config.toml", {}).programs
        files = write_exports(folder / "downloads", tuple(programs.values()), learners=learners, seed=1, today=today)
        size = sum(file.stat().st_size for file in files) / 1e6
        print(f"main job: {learners:,} learners, {len(files)} files, {size:,.0f} MB")
        line("", "seconds", "peak MB", "x plain read")
        base = command([sys.executable, "-c", PLAIN_READ, str(folder / "downloads")])
        line("pandas.read_csv(dtype=str) of the same files", f"{base.seconds:.1f}", f"{base.peak_mb:.0f}", "1.00")
        steps = [("ingest", "downloads"), ("ingest", "downloads"), ("report", "engy", "--format", "csv")]
        steps += [("cohort", "engy", "--json")]
        for number, program in enumerate(programs, start=1):
            steps += [("dry-run", program), ("approve", str(number))]
            steps += [("send", str(number), "--yes", "--expect", "@")]
        for step in steps:
            arguments = [_expected(folder, step[1]) if word == "@" else word for word in step]
            cost = mmcampaign(*arguments, cwd=folder)
            ratio = f"{cost.seconds / base.seconds:.2f}"
            line(" ".join(step[:2]), f"{cost.seconds:.1f}", f"{cost.peak_mb:.0f}", ratio)


def _expected(folder: Path, campaign: str) -> str:
    import json
    import subprocess

    told = subprocess.check_output([sys.executable, "-m", "mmcampaign", "status", campaign, "--json"], cwd=folder)
    return str(json.loads(told)["campaigns"][0]["pending"])
