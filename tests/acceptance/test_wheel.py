"""The built wheel, unpacked where nothing of the checkout can be seen, does the whole job from an empty folder."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder / "site")
    return folder / "site"


def _run(site: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(site)}
    command = [sys.executable, "-m", "mmcampaign", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_wheel_carries_what_stands_at_the_top_level(unpacked: Path) -> None:
    bundled = unpacked / "mmcampaign" / "_bundled"
    for name in (
        "config.toml",
        "migrations/env.py",
        "migrations/versions/0001_initial.py",
        "templates/emails/engy/body.html",
    ):
        assert (bundled / name).read_bytes() == (ROOT / name).read_bytes(), name


def test_the_demo_runs_from_the_wheel_alone(unpacked: Path, tmp_path: Path) -> None:
    done = _run(unpacked, tmp_path, "demo", "demo", "--learners", "400")
    assert done.returncode == 0, done.stderr
    where = "import mmcampaign; print(mmcampaign.__file__)"
    told = subprocess.check_output(
        [sys.executable, "-c", where], cwd=tmp_path, env={"PYTHONPATH": str(unpacked)}, text=True
    )
    assert told.startswith(str(unpacked))
    for command in (["doctor"], ["preview", "lgdm"], ["db", "check"]):
        done = _run(unpacked, tmp_path / "demo", *command)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "demo" / "previews" / "lgdm" / "index.html").exists()
