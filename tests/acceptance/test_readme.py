"""The README is true: its two commands and its tour are run as a newcomer would, on a terminal, block by block."""

import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
PROMPT = re.compile(rb"([\d,]+) emails through the .* backend.*Type the number of emails", re.DOTALL)
LONGEST_SECONDS = 300


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where `make demo` was just run."""
    folder = tmp_path_factory.mktemp("newcomer")
    (folder / ".venv").symlink_to(sys.prefix)
    made = subprocess.run(
        ["make", "-o", ".venv/.installed", f"VENV={sys.prefix}", "demo", f"DEMO={folder / 'demo'}"],
        cwd=ROOT,
        env=_environment(folder),
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    assert "What to look at next" in made.stderr
    return folder


def _environment(home: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(home), "TERM": "xterm", "COLUMNS": "80", "LANG": "C.UTF-8"}


def test_the_two_commands_are_what_ci_runs() -> None:
    commands = [line.split("#")[0].strip() for line in BLOCKS[0].strip().splitlines()]
    assert commands == ["make demo", "make test"]
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_the_tour_runs_on_a_terminal(newcomer: Path) -> None:
    commands = [line for block in BLOCKS[1:] for line in block.strip().splitlines()]
    script = newcomer / "tour.sh"
    script.write_text("set -e\n" + "\n".join(f"{command}\necho '@@ done'" for command in commands), encoding="utf-8")
    status, output = _on_a_terminal(["bash", str(script)], newcomer)
    assert status == 0, output[-3000:]
    assert output.count("@@ done") == len(commands)
    assert "Traceback" not in output
    for expected in ("Campaign 4 is approved", "Campaign 4 is finished", "chain intact", "already_mailed"):
        assert expected in output, expected


def _on_a_terminal(command: list[str], folder: Path) -> tuple[int, str]:
    """Run a command on a terminal of its own, typing the number of emails whenever it is asked for."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=_environment(folder),
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
    )
    os.close(follower)
    seen, answered = b"", 0
    deadline = time.monotonic() + LONGEST_SECONDS
    while time.monotonic() < deadline:
        if not select.select([leader], [], [], 0.5)[0]:
            continue
        try:
            read = os.read(leader, 65_536)
        except OSError:  # the far end is closed
            break
        if not read:
            break
        seen += read
        if found := PROMPT.search(seen, answered):
            os.write(leader, found[1].replace(b",", b"") + b"\n")
            answered = found.end()
    os.close(leader)
    if time.monotonic() >= deadline:
        process.kill()
    return process.wait(), seen.decode("utf-8", "replace")


def test_every_reason_stands_in_the_readme() -> None:
    from mmcampaign.model import Reason

    assert re.findall(r"^\| `([a-z_]+)` \| [A-Z]", README, re.MULTILINE) == [reason.value for reason in Reason]


def test_every_command_stands_in_the_readme() -> None:
    from typer.main import get_command

    from mmcampaign.cli import app

    commands = getattr(get_command(app), "commands")  # noqa: B009  typer types its group loosely
    assert [name for name in commands if not re.search(rf"`[^`]*\b{name}\b[^`]*`", README)] == []
