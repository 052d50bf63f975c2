"""Files to completion: the ingest of some forty reports, beside the plain pandas read of the same files."""

import csv
import sys
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from bench.main_job import PLAIN_READ
from bench.measure import Cost, command, line, mmcampaign
from mmcampaign.config import load_settings
from mmcampaign.demo_data import demo_config, write_exports
from mmcampaign.model import Program
from mmcampaign.resources import resource


def run(learners: int) -> None:
    """Print rows per second, peak memory and the ratio to the plain read, of the first ingest and of later ones."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        files = write(folder, learners)
        size = sum(file.stat().st_size for file in files) / 1e6
        rows = sum(_rows(file) for file in files if _is_report(file))
        print(f"ingest: {learners:,} learners, {len(files)} files, {rows:,} rows, {size:,.0f} MB")
        line("", "seconds", "CPU s", "rows/s", "peak MB", "x plain read", "% of first")
        plain = [_plain(folder)]
        costs = {"first": _ingest(folder)}
        plain.append(_plain(folder))
        costs["the same folder again"] = _ingest(folder)
        _change_one(files)
        costs["one file of it changed"] = _ingest(folder)
        plain.append(_plain(folder))
        base = sorted(cost.seconds for cost in plain)
        middle, spread = base[len(base) // 2], (base[-1] - base[0]) / base[0]
        peak = max(cost.peak_mb for cost in plain)
        cpu = sorted(cost.cpu_seconds for cost in plain)[len(plain) // 2]
        figures = (f"{middle:.1f}", f"{cpu:.1f}", f"{rows / middle:,.0f}", f"{peak:.0f}", "1.00", "")
        line("pandas.read_csv(dtype=str), median", *figures)
        for what, cost in costs.items():
            share = f"{100 * cost.seconds / costs['first'].seconds:.1f}"
            rate, ratio = f"{rows / cost.seconds:,.0f}", f"{cost.seconds / middle:.2f}"
            spent = (f"{cost.seconds:.1f}", f"{cost.cpu_seconds:.1f}")
            line(f"ingest, {what}", *spent, rate, f"{cost.peak_mb:.0f}", ratio, share)
        line("the plain reads differed by", f"{spread:.0%}")


def write(folder: Path, learners: int) -> list[Path]:
    """One run of each course of the shipped programs."""
    today = datetime.now(UTC).date()
    source = resource("config.toml").read_text(encoding="utf-8")
    (folder / "config.toml").write_text(demo_config(source, today=today), encoding="utf-8")
    programs = load_settings(folder / "config.toml", {}).programs.values()
    shortened = tuple(_one_run(program) for program in programs)
    return write_exports(folder / "downloads", shortened, learners=learners, seed=1, today=today)


def _one_run(program: Program) -> Program:
    courses = (replace(course, runs=(course.current_run,), coming_run=None) for course in program.courses)
    return replace(program, courses=tuple(courses))


def _is_report(file: Path) -> bool:
    return "_student_profile_info_" in file.name or ("_grade_report_2" in file.name and "problem" not in file.name)


def _rows(file: Path) -> int:
    with file.open(encoding="utf-8", newline="") as stream:
        return sum(1 for _ in csv.reader(stream)) - 1


def _plain(folder: Path) -> Cost:
    return command([sys.executable, "-c", PLAIN_READ, str(folder / "downloads")])


def _ingest(folder: Path) -> Cost:
    return mmcampaign("ingest", "downloads", cwd=folder)


def _change_one(files: list[Path]) -> None:
    """A later download of the last grade report, in which its last learner is missing, in place of the file."""
    last = max(file for file in files if "_grade_report_2" in file.name and "problem" not in file.name)
    head, _, stamp = last.stem.rpartition("_")
    later = f"{head}_{stamp[:-4]}2359.csv"
    rows = last.read_bytes().splitlines(keepends=True)
    last.with_name(later).write_bytes(b"".join(rows[:-1]))
    last.unlink()
