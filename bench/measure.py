"""Running a command or a function and saying what it cost."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cost:
    """Wall seconds, peak memory (MB, resident) and processor seconds of one process."""

    seconds: float
    peak_mb: float
    cpu_seconds: float


# A process starts with the peak memory of the one that started it, so a small one stands in between.
_LAUNCHER = """
import json, os, subprocess, sys, time
started = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
seconds = time.perf_counter() - started
cpu = usage.ru_utime + usage.ru_stime
print(json.dumps([seconds, usage.ru_maxrss / 1024, cpu, os.waitstatus_to_exitcode(status)]))
"""


def command(arguments: Sequence[str], *, cwd: Path | None = None) -> Cost:
    """Run a command in a process of its own; its output goes nowhere, a failure ends the benchmark.

    What others have left to be written is on the disk before: it would be taken for the cost of this one.
    """
    os.sync()
    launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, *arguments]
    ran = subprocess.run(launcher, cwd=cwd, capture_output=True, text=True, check=True)
    *cost, code = json.loads(ran.stdout)
    if code not in (0, 1):
        sys.exit(f"{' '.join(arguments)} ended with {code}:\n{ran.stderr}")
    return Cost(*cost)


def mmcampaign(*arguments: str, cwd: Path) -> Cost:
    return command([sys.executable, "-m", "mmcampaign", *arguments], cwd=cwd)


def per_second(work: Callable[[int], object], *, at_least: float = 1.0) -> float:
    """How often ``work(i)`` runs in a second, measured over at least so many seconds."""
    work(0)
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < at_least:
        done += 1
        work(done)
    return done / (time.perf_counter() - started)


def line(what: str, *figures: str) -> None:
    print(f"  {what:<52}" + "".join(f"{figure:>16}" for figure in figures), flush=True)
