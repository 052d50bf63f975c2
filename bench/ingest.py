"""Files to completion: the ingest of some forty reports, beside the plain pandas read of the same files."""

import csv
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from bench.main_job import PLAIN_READ
from bench.measure import Cost, command, line, mmcampaign
from mmcampaign.config import load_settings
from mmcampaign.demo_data import demo_config, write_exports
from mmcampaign.model import Program
from mmcampaign.resources import resource

PLAIN = "pandas.read_csv(dtype=str)"


def run(learners: int, rounds: int = 3) -> None:
    """Print rows per second, peak memory and the ratio to the plain read, of the first ingest and of later ones.

    Medians of interleaved rounds, each in a new database.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        files = write(folder, learners)
        size = sum(file.stat().st_size for file in files) / 1e6
        rows = sum(_rows(file) for file in files if _is_report(file))
        print(f"ingest: {learners:,} learners, {len(files)} files, {rows:,} rows, {size:,.0f} MB")
        line("", "seconds", "CPU s", "rows/s", "peak MB", "x plain read", "% of first", "spread")
        costs: dict[str, list[Cost]] = {}
        for _ in range(rounds):
            for old in folder.glob("mmcampaign.db*"):
                old.unlink()
            costs.setdefault(PLAIN, []).append(_plain(folder))
            costs.setdefault("ingest, first", []).append(_ingest(folder))
            costs.setdefault("ingest, the same folder again", []).append(_ingest(folder))
            with _one_changed(files):
                costs.setdefault("ingest, one file of it changed", []).append(_ingest(folder))
        seconds = {what: statistics.median(cost.seconds for cost in found) for what, found in costs.items()}
        for what, found in costs.items():
            taken = seconds[what]
            cpu = statistics.median(cost.cpu_seconds for cost in found)
            peak = max(cost.peak_mb for cost in found)
            ratios = (f"{taken / seconds[PLAIN]:.2f}", f"{100 * taken / seconds['ingest, first']:.1f}")
            spread = (max(cost.seconds for cost in found) - min(cost.seconds for cost in found)) / taken
            figures = (f"{taken:.2f}", f"{cpu:.2f}", f"{rows / taken:,.0f}", f"{peak:.0f}", *ratios, f"{spread:.0%}")
            line(what, *figures)


def write(folder: Path, learners: int) -> list[Path]:
    """One run of each course of the shipped programs."""
    today = datetime.now(UTC).date()
    source = resource("config.toml").read_text(encoding="utf-8")
    (folder / "config.toml").write_text(demo_config(source, today=today), encoding="utf-8")
    programs = load_settings(folder / "config.toml", {}).programs.values()
    shortened = tuple(_one_run(program) for program in programs)
    return write_exports(folder / "downloads", shortened, learners=learners, seed=1, today=today)


def _one_run(program: Program) -> Program:
    courses = (course._replace(runs=(course.current_run,), coming_run=None) for course in program.courses)
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


@contextmanager
def _one_changed(files: list[Path]) -> Iterator[None]:
    """A later download of the last grade report, in which its last learner is missing, in place of the file."""
    last = max(file for file in files if "_grade_report_2" in file.name and "problem" not in file.name)
    head, _, stamp = last.stem.rpartition("_")
    later, away = last.with_name(f"{head}_{stamp[:-4]}2359.csv"), last.parent.parent / last.name
    rows = last.read_bytes().splitlines(keepends=True)
    later.write_bytes(b"".join(rows[:-1]))
    last.rename(away)
    try:
        yield
    finally:
        later.unlink()
        away.rename(last)
