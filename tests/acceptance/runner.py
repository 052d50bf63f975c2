"""Runs the installed ``mmcampaign`` as people and scripts do: a process of its own, on a terminal or not."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

COMMAND = str(Path(sys.executable).with_name("mmcampaign"))
SECRET = "a secret key for tests"
LONGEST_SECONDS = 120
QUIET_SECONDS = 3
CONTROL_KEYS = ("\x03", "\x04")  # Ctrl-C, Ctrl-D
_ADDRESS = re.compile(r"[\w.+'-]+@[\w-]+(?:\.[\w-]+)*\.(?:example|invalid|test|net|org|com)\b", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one call gave. ``user_seconds`` is the CPU time of the child itself, not the time that went by."""

    code: int
    out: str
    err: str
    user_seconds: float = 0.0

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def said(self) -> str:
        """Everything that a person saw, with folded white space."""
        return " ".join(f"{self.out} {self.err}".split())


@dataclass(frozen=True, kw_only=True)
class Cli:
    """The command in one folder, with an environment that holds nothing of this machine but its PATH.

    Each result is looked at on the way: there is never a traceback, and stderr never names an address, unless a test
    says that one was typed (``personal``).
    """

    folder: Path
    env: Mapping[str, str] = field(default_factory=dict)

    def with_env(self, **values: str) -> "Cli":
        return replace(self, env={**self.env, **values})

    def __call__(
        self, *words: object, code: int | None = 0, typed: str | None = None, personal: bool = False
    ) -> Result:
        """Run to the end. ``code`` is the exit code it must have (None: any); ``typed`` is what stdin holds."""
        process = self.start(*words, stdin=subprocess.PIPE if typed else subprocess.DEVNULL)
        out, err = process.communicate(typed.encode() if typed else None, timeout=LONGEST_SECONDS)
        result = Result(code=process.returncode, out=out.decode(), err=err.decode())
        check(result, words, code=code, personal=personal)
        return result

    def json(self, *words: object, code: int | None = 0) -> Any:
        """The document of a call with ``--json``; stdout must hold that document and nothing else."""
        return self(*words, "--json", code=code).json

    def start(self, *words: object, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [COMMAND, *map(str, words)],
            cwd=self.folder,
            env=self.environment(),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def environment(self) -> dict[str, str]:
        home = self.folder / ".home"
        home.mkdir(exist_ok=True)
        basic = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "LOGNAME": "kim"}
        return {**basic, "MMCAMPAIGN_SECRET_KEY": SECRET, **self.env}

    def on_terminal(self, *words: object, typed: str = "", columns: int = 80, code: int | None = 0) -> Result:
        """The same on a terminal of that width; ``typed`` is the answer to its question. stdout and stderr are one."""
        main, side = pty.openpty()
        fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        process = subprocess.Popen(
            [COMMAND, *map(str, words)],
            cwd=self.folder,
            env={"TERM": "xterm-256color", **self.environment()},
            stdin=side,
            stdout=side,
            stderr=side,
            start_new_session=True,
            preexec_fn=_make_ctrl_c_a_signal,  # noqa: PLW1509  no lock is taken in it
        )
        os.close(side)
        result = Result(code=0, out=_talk(main, typed), err="")
        result = replace(result, code=process.wait(LONGEST_SECONDS))
        check(result, words, code=code)
        return result

    def user_seconds(self, *words: object) -> float:
        """The CPU time of one call, in seconds of user time."""
        process = subprocess.Popen(
            [COMMAND, *map(str, words)], cwd=self.folder, env=self.environment(), stdout=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        return usage.ru_utime


def _make_ctrl_c_a_signal() -> None:
    """The terminal sends it to this process; a shell that runs the tests in the background would have it ignored."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def check(result: Result, words: Iterable[object], *, code: int | None, personal: bool = False) -> None:
    """What holds for every call."""
    shown = f"mmcampaign {' '.join(map(str, words))} -> {result.code}\n{result.out[-3_000:]}\n{result.err[-3_000:]}"
    assert "Traceback (most recent call last)" not in result.err + result.out, shown
    assert code is None or result.code == code, shown
    if not personal:
        assert not _ADDRESS.findall(result.err), shown


def _talk(main: int, typed: str) -> str:
    """Read until the other side is closed; type when asked, one line of ``typed`` for each question.

    A control key is typed again when nothing comes of it: a signal in the instant between Python's last look at its
    signals and the read of the answer is seen only at the next one, as for a person who types that fast.
    """
    answers = typed.splitlines(keepends=True)
    seen, again, deadline = b"", "", time.monotonic() + LONGEST_SECONDS
    while time.monotonic() < deadline:
        if not select.select([main], [], [], QUIET_SECONDS)[0]:
            os.write(main, again.encode())
            continue
        try:
            some = os.read(main, 65_536)
        except OSError:  # Linux: the other side is closed
            some = b""
        if not some:
            break
        seen += some
        if answers and seen.endswith(b": "):
            answer = answers.pop(0)
            os.write(main, answer.encode())
            again = answer if answer in CONTROL_KEYS else ""
    os.close(main)
    return seen.decode()


def kill(process: subprocess.Popen[bytes]) -> None:
    """kill -9; the process is gone when this returns."""
    process.kill()
    process.communicate(timeout=LONGEST_SECONDS)
