"""Staged rows of learners do not outlive their process by more than the time to the next ingest."""

import os
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from mmcampaign.errors import UnavailableError
from mmcampaign.scratch import PREFIX, _remove_abandoned, scratch_folder


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def left_behind(temporary: Path, name: str) -> Path:
    folder = temporary / f"{PREFIX}{name}"
    folder.mkdir()
    (folder / "rows.db").write_bytes(b"x")
    folder.with_name(folder.name + ".lock").touch()
    return folder


def test_the_folder_is_private_and_gone_at_the_end():
    with scratch_folder() as scratch:
        folder = scratch.folder
        assert folder.stat().st_mode & 0o777 == 0o700
        assert scratch.folder == folder
        (folder / "rows.db").write_bytes(b"x")
    assert not folder.exists()


def test_it_is_gone_after_an_error_too(temporary: Path):
    with pytest.raises(KeyboardInterrupt), scratch_folder() as scratch:
        assert scratch.folder.is_dir()
        raise KeyboardInterrupt
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("late", ["acquire", "mkdir"])
def test_it_is_gone_when_ctrl_c_comes_while_it_is_made(temporary: Path, monkeypatch: pytest.MonkeyPatch, late: str):
    owner = FileLock if late == "acquire" else Path
    make = getattr(owner, late)

    def make_and_be_interrupted(*of: Any, **how: Any) -> None:
        make(*of, **how)
        raise KeyboardInterrupt

    monkeypatch.setattr(owner, late, make_and_be_interrupted)
    with pytest.raises(KeyboardInterrupt), scratch_folder() as scratch:
        _ = scratch.folder
    assert list(temporary.iterdir()) == []


def test_there_is_none_where_none_is_needed(temporary: Path):
    with scratch_folder():
        assert list(temporary.iterdir()) == []


def test_what_a_killed_process_left_is_removed_by_the_next(temporary: Path):
    old = left_behind(temporary, "killed")
    with scratch_folder():
        assert not old.exists()
    assert list(temporary.iterdir()) == []


def test_the_folder_of_a_running_ingest_is_left_alone(temporary: Path):
    running = left_behind(temporary, "running")
    with FileLock(f"{running}.lock"), scratch_folder():
        assert (running / "rows.db").exists()


def test_no_room_is_said(temporary: Path, monkeypatch: pytest.MonkeyPatch):
    (temporary / "file").touch()
    monkeypatch.setattr("tempfile.tempdir", str(temporary / "file"))
    with pytest.raises(UnavailableError, match="scratch file"), scratch_folder() as scratch:
        _ = scratch.folder


def test_one_that_begins_is_locked_before_there_is_a_folder(temporary: Path, monkeypatch: pytest.MonkeyPatch):
    """Another ingest that begins at the same moment must not take the folder for abandoned."""
    mkdir = Path.mkdir

    def late(folder: Path, **how: Any) -> None:
        mkdir(folder, **how)
        if folder.name.startswith(PREFIX):
            _remove_abandoned()
            assert folder.is_dir()

    monkeypatch.setattr(Path, "mkdir", late)
    with scratch_folder() as scratch:
        assert scratch.folder.is_dir()
    assert list(temporary.iterdir()) == []


def test_a_lock_taken_for_abandoned_before_it_was_held_is_made_again(temporary: Path, monkeypatch: pytest.MonkeyPatch):
    openings: list[object] = []
    opened = os.open

    def open_then_lose(path: Any, *args: Any, **how: Any) -> int:
        handle = opened(path, *args, **how)
        if str(path).endswith(".lock") and not openings:
            openings.append(path)
            Path(path).unlink()
        return handle

    monkeypatch.setattr(os, "open", open_then_lose)
    with scratch_folder() as scratch:
        folder = scratch.folder
        assert openings
        assert folder.with_name(folder.name + ".lock").exists()
