"""Running a command or a function and saying what it cost."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cost:
    """Wall seconds and peak memory (MB, resident) of one process."""

    seconds: float
    peak_mb: float


def command(arguments: Sequence[str], *, cwd: Path | None = None) -> Cost:
    """Run a command in a process of its own; its output goes nowhere, a failure ends the benchmark."""
    started = time.perf_counter()
    process = subprocess.Popen(
        arguments, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    if process.returncode not in (0, 1):
        sys.exit(f"{' '.join(arguments)} ended with {process.returncode}:\n{errors.decode()}")
    return Cost(seconds, usage.ru_maxrss / 1024)


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
