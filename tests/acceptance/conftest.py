"""Worlds made once for all test processes and copied for each test."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import fasteners
import pytest

from tests.acceptance.runner import Cli
from tests.acceptance.worlds import copy_world, make_river, make_shipped, people, planned

Maker = Callable[[Path], None]
World = Callable[[str], Cli]


def _small(folder: Path) -> None:
    """Downloads and an empty database."""
    make_river(folder, people(12))
    Cli(folder=folder)("status")


def _small_planned(folder: Path) -> None:
    _small(folder)
    planned(Cli(folder=folder))


def _small_approved(folder: Path) -> None:
    _small_planned(folder)
    Cli(folder=folder)("approve", 1)


def _small_sent(folder: Path) -> None:
    _small_approved(folder)
    Cli(folder=folder)("send", 1, "--yes", "--expect", 12)


def _large_approved(folder: Path) -> None:
    make_river(folder, people(300))
    planned(Cli(folder=folder))("approve", 1)


def _shipped(folder: Path) -> None:
    make_shipped(folder, learners=12_000, programs=("engy", "lgdm"))
    Cli(folder=folder)("ingest", "downloads")
    shutil.rmtree(folder / "downloads")


def _demo(folder: Path) -> None:
    folder.mkdir()
    (folder / "demo.json").write_text(Cli(folder=folder)("demo", "here", "--learners", 300, "--json").out)


MAKERS: dict[str, Maker] = {
    "small": _small,
    "small planned": _small_planned,
    "small approved": _small_approved,
    "small sent": _small_sent,
    "large approved": _large_approved,
    "shipped": _shipped,
    "demo": _demo,
}


@pytest.fixture(scope="session")
def _worlds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    folder = shared / "worlds"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture
def world(_worlds: Path, tmp_path: Path) -> World:
    """``world("small sent")`` copies that world into the test's own folder and gives the command in it."""

    def copied(name: str) -> Cli:
        source = _worlds / name.replace(" ", "-")
        with fasteners.InterProcessLock(_worlds / f"{source.name}.lock"):
            if not source.exists():
                draft = source.with_suffix(".draft")
                shutil.rmtree(draft, ignore_errors=True)  # what is left of a try that failed
                MAKERS[name](draft)
                draft.rename(source)
        return copy_world(source, tmp_path / "world")

    return copied
