"""Staged rows of learners do not outlive their process by more than the time to the next ingest."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from mmcampaign.errors import UnavailableError
from mmcampaign.scratch import PREFIX, scratch_folder


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def left_behind(temporary: Path, name: str) -> Path:
    folder = temporary / f"{PREFIX}{name}"
    folder.mkdir()
    (folder / "rows.db").write_bytes(b"x")
    (folder / "lock").touch()
    return folder


def test_the_folder_is_private_and_gone_at_the_end():
    with scratch_folder() as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "rows.db").write_bytes(b"x")
    assert not folder.exists()


def test_it_is_gone_after_an_error_too():
    with pytest.raises(KeyboardInterrupt), scratch_folder() as folder:
        raise KeyboardInterrupt
    assert not folder.exists()


def test_what_a_killed_process_left_is_removed_by_the_next(temporary: Path):
    old = left_behind(temporary, "killed")
    with scratch_folder():
        assert not old.exists()


def test_the_folder_of_a_running_ingest_is_left_alone(temporary: Path):
    running = left_behind(temporary, "running")
    with FileLock(running / "lock"), scratch_folder():
        assert (running / "rows.db").exists()


def test_no_room_is_said(temporary: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tempfile.tempdir", str(temporary / "nowhere"))
    with pytest.raises(UnavailableError, match="scratch file"), scratch_folder():
        pass


def test_a_folder_taken_for_abandoned_before_it_was_locked_is_made_again(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
):
    """Another ingest that begins at the same moment finds it without an owner."""
    taken: list[Path] = []

    class Late(FileLock):
        def acquire(self, *args: Any, **kwargs: Any) -> Any:
            if not taken:
                taken.append(Path(self.lock_file).parent)
                shutil.rmtree(taken[0])
            return super().acquire(*args, **kwargs)

    monkeypatch.setattr("mmcampaign.scratch.FileLock", Late)
    with scratch_folder() as folder:
        assert folder.is_dir()
        assert folder != taken[0]
    assert list(temporary.iterdir()) == []
