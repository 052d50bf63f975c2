"""Who is written to, out of a large database: cohort, explain and report, beside a bare SQL scan of the same rows."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.ingest import write
from bench.measure import Cost, command, line, mmcampaign
from mmcampaign.config import load_settings
from mmcampaign.model import Program

# What there is to read at the least: every row of the program's courses with its learner, through sqlite3.
BARE_SCAN = """
import sqlite3, sys
connection = sqlite3.connect("mmcampaign.db")
query = '''SELECT d.*, l.* FROM course_instancedetails d JOIN learners l ON l.student_id = d.learner_id
           WHERE d.course_instance IN (SELECT value FROM json_each(?))'''
print(sum(1 for _ in connection.execute(query, sys.argv[1:])))
"""
A_LEARNER = """
import sqlite3, sys
connection = sqlite3.connect("mmcampaign.db")
query = "SELECT learner_id FROM course_instancedetails WHERE course_instance = ? AND grade > 0.7 LIMIT 1"
print(connection.execute(query, sys.argv[1:]).fetchone()[0])
"""
ROUNDS = 3


def run(learners: int) -> None:
    """Print the median seconds, peak memory and the ratio to the bare scan, the start of the command beside them."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write(folder, learners)
        mmcampaign("ingest", "downloads", cwd=folder)
        program = next(iter(load_settings(folder / "config.toml", {}).programs.values()))
        print(f"selection: program {program.code} of {learners:,} learners, median of {ROUNDS} rounds")
        line("", "seconds", "peak MB", "x bare scan")
        rounds = [_round(folder, program) for _ in range(ROUNDS)]
        base = _median([costs["sqlite3, the bare scan"] for costs in rounds])
        for what in rounds[0]:
            cost = _median([costs[what] for costs in rounds])
            line(what, f"{cost.seconds:.2f}", f"{cost.peak_mb:.0f}", f"{cost.seconds / base.seconds:.2f}")


def _round(folder: Path, program: Program) -> dict[str, Cost]:
    runs = [course.instance(course.current_run) for course in program.courses]
    learner = _output(folder, A_LEARNER, runs[0])
    commands = {
        "--help": ("--help",),
        "status": ("status",),
        "explain": ("explain", program.code, learner, "--json"),
        "cohort": ("cohort", program.code),
        "cohort --json": ("cohort", program.code, "--json"),
        "report --format csv": ("report", program.code, "--format", "csv"),
    }
    scan = [sys.executable, "-c", BARE_SCAN, json.dumps(runs)]
    costs = {"sqlite3, the bare scan": command(scan, cwd=folder)}
    return costs | {what: mmcampaign(*words, cwd=folder) for what, words in commands.items()}


def _output(folder: Path, code: str, *arguments: str) -> str:
    return subprocess.check_output([sys.executable, "-c", code, *arguments], cwd=folder, text=True).strip()


def _median(costs: list[Cost]) -> Cost:
    return sorted(costs, key=lambda cost: cost.seconds)[len(costs) // 2]
