"""The file backend: whole files or none, its own proof of what was taken, and an mbox of each campaign."""

import errno
import logging
import mailbox
import os
import subprocess
import sys
from contextlib import closing
from email.utils import parseaddr
from pathlib import Path

import pytest

from mmcampaign.delivery import FileOptions, file_batch
from mmcampaign.delivery.file import FileBackend
from mmcampaign.model import Outcome
from tests.contract.batches import make_batch, make_message, people
from tests.contract.proofs import FILE_OTHER, STOPS, proof_in


@pytest.fixture
def outbox(tmp_path: Path) -> Path:
    return tmp_path / "outbox"


@pytest.fixture
def backend(outbox: Path) -> FileBackend:
    return FileBackend(FileOptions(dir=outbox))


def test_a_message_becomes_a_file_byte_for_byte(backend: FileBackend, outbox: Path) -> None:
    message = make_message(5)
    (receipt,) = backend.deliver(make_batch(message))
    assert proof_in(receipt) == FILE_OTHER["the whole file is on the disk"]
    assert receipt.provider_message_id == f"7/{message.message_id}.eml"
    assert (outbox / receipt.provider_message_id).read_bytes() == message.eml
    assert [path.name for path in (outbox / "7").iterdir()] == [f"{message.message_id}.eml"]


def test_a_system_that_opens_no_folder_gets_its_files_too(
    backend: FileBackend, outbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open

    def as_on_windows(path: Path, *how: int) -> int:
        if path.is_dir():
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(path, *how)

    monkeypatch.setattr(os, "open", as_on_windows)
    monkeypatch.delattr(os, "O_DIRECTORY")
    (receipt,) = backend.deliver(make_batch(make_message(5)))
    assert receipt.outcome is Outcome.ACCEPTED
    assert backend.proof(receipt.message_id) is Outcome.ACCEPTED


def test_the_same_message_again_is_the_same_file(backend: FileBackend, outbox: Path) -> None:
    batch = people(2)
    assert backend.deliver(batch) == backend.deliver(batch)
    assert proof_in(backend.deliver(batch)[1]) == FILE_OTHER["the same file was there already"]
    assert len(list(outbox.glob("*/*.eml"))) == 2


def test_another_version_never_overwrites(backend: FileBackend, outbox: Path) -> None:
    message = make_message(1)
    backend.deliver(make_batch(message))
    (receipt,) = backend.deliver(make_batch(message._replace(eml=b"Subject: other\r\n\r\nother\r\n")))
    assert proof_in(receipt) == FILE_OTHER["another version was there already"]
    assert (outbox / f"7/{message.message_id}.eml").read_bytes() == message.eml


def test_a_file_is_the_proof(backend: FileBackend, outbox: Path) -> None:
    assert backend.proof("0" * 16) is None, "without an outbox nothing is proven"
    message = make_message(1)
    backend.deliver(make_batch(message))
    (outbox / "7" / ".0000000000000009.eml.part").write_bytes(b"half a mess")
    assert backend.proof(message.message_id) is Outcome.ACCEPTED
    assert backend.proof("0000000000000009") is Outcome.NOT_TAKEN


def test_the_mbox_holds_every_message_of_the_campaign(outbox: Path) -> None:
    for numbers in ((1, 2), (3,)):
        with closing(FileBackend(FileOptions(dir=outbox))) as backend:
            backend.deliver(make_batch(*(make_message(number) for number in numbers)))
    with closing(mailbox.mbox(outbox / "7" / "campaign.mbox", create=False)) as mbox:
        addresses = [parseaddr(message["To"])[1] for message in mbox]
    assert addresses == [f"learner{number}@example.com" for number in (1, 2, 3)]


def test_each_campaign_has_its_own_mbox(backend: FileBackend, outbox: Path) -> None:
    backend.deliver(make_batch(make_message(1, campaign_id=1), make_message(2, campaign_id=2)))
    backend.close()
    assert sorted(path.parent.name for path in outbox.glob("*/campaign.mbox")) == ["1", "2"]


def test_lines_that_look_like_a_new_message_are_quoted_and_can_be_unquoted(backend: FileBackend, outbox: Path) -> None:
    text = b"From here on\r\n>From there\r\nfrom nowhere\r\n.\r\n"
    message = make_message(1)._replace(eml=b"Subject: x\r\n\r\n" + text)
    backend.deliver(make_batch(message, make_message(2)))
    backend.close()
    stored = (outbox / "7" / "campaign.mbox").read_bytes()
    assert b"\n\n>From here on\n>>From there\nfrom nowhere\n.\n\nFrom " in stored
    assert stored.count(b"\nFrom ") + stored.startswith(b"From ") == 2


def test_trouble_with_the_mbox_is_logged_and_leaves_the_files(
    backend: FileBackend, outbox: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backend.deliver(people(1))
    (outbox / "7" / "campaign.mbox").mkdir()
    with caplog.at_level(logging.WARNING):
        backend.close()
    assert "was not written" in caplog.text
    assert [path.name for path in (outbox / "7").iterdir() if path.is_file()] == ["0000000000000001.eml"]


@pytest.fixture
def acts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What was put on the disk or got its name, in this order."""
    done: list[tuple[str, str]] = []
    fsync, give_name = os.fsync, file_batch.give_name

    def watched_fsync(descriptor: int) -> None:
        fsync(descriptor)
        done.append(("on disk", str(Path(f"/proc/self/fd/{descriptor}").readlink())))

    def watched_name(path: Path) -> None:
        done.append(("named", str(path)))
        give_name(path)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(file_batch, "give_name", watched_name)
    return done


@pytest.mark.skipif(sys.platform != "linux", reason="the name of an open file is read from /proc")
def test_files_and_their_names_are_on_the_disk_before_the_receipts(
    backend: FileBackend, outbox: Path, acts: list[tuple[str, str]]
) -> None:
    batch = people(20)
    backend.deliver(batch)
    assert acts[:2] == [("on disk", str(outbox.parent)), ("on disk", str(outbox))], "the names of new folders"
    drafts, names, folder = acts[2:22], acts[22:42], acts[42:]
    assert sorted(drafts) == [("on disk", f"{outbox}/7/.{m.message_id}.eml.part") for m in batch.messages]
    assert names == [("named", f"{outbox}/7/{m.message_id}.eml") for m in batch.messages]
    assert folder == [("on disk", f"{outbox}/7")]
    assert backend.proof(batch.messages[0].message_id) is Outcome.ACCEPTED
    assert acts[43:] == [("on disk", f"{outbox}/7")], "what is proven stays so"


def breaks_for(inode_of: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk does not keep this file or folder."""
    fsync = os.fsync

    def fail(descriptor: int) -> None:
        if inode_of.exists() and os.path.samestat(os.fstat(descriptor), inode_of.stat()):
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fail)


def test_a_file_that_the_disk_does_not_keep_was_not_taken(
    backend: FileBackend, outbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks_for(outbox / "7" / ".0000000000000002.eml.part", errno.EIO, monkeypatch)
    receipts = backend.deliver(people(3))
    assert [receipt.outcome for receipt in receipts] == [Outcome.ACCEPTED, Outcome.NOT_TAKEN, Outcome.ACCEPTED]
    assert receipts[1].halt
    assert sorted(path.name for path in (outbox / "7").iterdir()) == ["0000000000000001.eml", "0000000000000003.eml"]


def test_names_that_the_disk_does_not_keep_are_taken_back(
    backend: FileBackend, outbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.deliver(make_batch(make_message(1)))
    breaks_for(outbox / "7", errno.EIO, monkeypatch)
    receipts = backend.deliver(make_batch(make_message(2), make_message(3)))
    assert {(receipt.outcome, receipt.halt) for receipt in receipts} == {(Outcome.NOT_TAKEN, True)}
    assert [path.name for path in (outbox / "7").iterdir()] == ["0000000000000001.eml"]


def test_a_file_system_that_cannot_be_told_to_keep_names_is_good_enough(
    backend: FileBackend, outbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks_for(outbox, errno.EINVAL, monkeypatch)
    assert {receipt.outcome for receipt in backend.deliver(people(3))} == {Outcome.ACCEPTED}


def test_the_first_trouble_ends_the_batch(backend: FileBackend, outbox: Path) -> None:
    (outbox / "7" / "0000000000000002.eml").mkdir(parents=True)
    receipts = backend.deliver(people(4))
    assert [receipt.outcome for receipt in receipts] == [Outcome.ACCEPTED] + [Outcome.NOT_TAKEN] * 3
    assert all(receipt.halt and "Is a directory" in receipt.error for receipt in receipts[1:])
    assert [path.name for path in (outbox / "7").iterdir() if path.is_file()] == ["0000000000000001.eml"]


def test_ctrl_c_leaves_whole_files_and_no_drafts(
    backend: FileBackend, outbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_name = file_batch.give_name

    def interrupted(path: Path) -> None:
        if path.name == "0000000000000003.eml":
            raise KeyboardInterrupt
        give_name(path)

    monkeypatch.setattr(file_batch, "give_name", interrupted)
    batch = people(5)
    with pytest.raises(KeyboardInterrupt):
        backend.deliver(batch)
    taken = [backend.proof(message.message_id) for message in batch.messages]
    assert taken == [Outcome.ACCEPTED] * 2 + [Outcome.NOT_TAKEN] * 3
    assert len(list((outbox / "7").iterdir())) == 2


FULL_DISK = """
import resource, sys
from pathlib import Path
from mmcampaign.delivery import FileOptions
from mmcampaign.delivery.file import FileBackend
from tests.contract.batches import make_batch, make_message

resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # a larger file meets a real error of the system
large = make_message(2)._replace(eml=b"Subject: x\\r\\n\\r\\n" + b"x" * 30_000)
backend = FileBackend(FileOptions(dir=Path(sys.argv[1])))
for receipt in backend.deliver(make_batch(make_message(1), large, make_message(3))):
    print(receipt.outcome, receipt.halt, receipt.error)
backend.close()
"""


def test_a_full_disk_stops_the_run_and_leaves_no_half_file(outbox: Path) -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", FULL_DISK, str(outbox)]
    result = subprocess.run(
        command, cwd=root, env={"PYTHONPATH": str(root)}, capture_output=True, text=True, check=True
    )
    first, second, third = result.stdout.splitlines()
    assert first.startswith("accepted False")
    assert second == third
    assert FILE_OTHER["the disk is full within a file"] == (Outcome.NOT_TAKEN, STOPS)
    assert second.startswith("not_taken True The outbox cannot be written: File too large. Free space")
    assert sorted(path.name for path in (outbox / "7").iterdir()) == ["0000000000000001.eml", "campaign.mbox"]


def test_a_folder_that_cannot_be_made_stops_the_run(tmp_path: Path) -> None:
    (tmp_path / "occupied").write_text("a file")
    backend = FileBackend(FileOptions(dir=tmp_path / "occupied"))
    receipts = backend.deliver(people(2))
    assert {proof_in(receipt) for receipt in receipts} == {FILE_OTHER["the folder cannot be made or written"]}
    assert "[delivery.file] dir" in receipts[0].error
    assert backend.proof("0" * 16) is None


def test_a_message_found_after_a_crash_stands_in_the_mbox(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "0a.eml").write_bytes(b"Subject: left behind\r\n\r\nHello\r\n")
    backend = FileBackend(FileOptions(dir=tmp_path))
    assert backend.proof("0a") is Outcome.ACCEPTED
    backend.close()
    assert b"Subject: left behind" in (tmp_path / "7" / "campaign.mbox").read_bytes()
