"""A server that is down, a full disk, a locked database: nobody is lost, and the same command goes on later."""

import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest

from tests.acceptance.conftest import World
from tests.acceptance.runner import Cli
from tests.acceptance.worlds import configure
from tests.servers.smtp import smtp_server
from tests.servers.unused import unused_port

SEND = ("send", 1, "--yes", "--expect", 12)


def require_resumable(cli: Cli, *, said: str, left: int = 12) -> None:
    """After trouble: told how to go on, nobody lost; once it is mended, the same command sends to everybody."""
    assert "Traceback" not in said
    assert "mmcampaign send 1" in said
    (status,) = cli.json("status", 1)["campaigns"]
    assert (status["state"], status["pending"], status["failed"], status["unknown"]) == ("unfinished", left, 0, 0)


def test_a_mail_server_that_is_down_costs_nothing(world: World) -> None:
    cli = world("small approved")
    port = unused_port()
    configure(cli.folder, f'\n[delivery.smtp]\nhost = "127.0.0.1"\nport = {port}\n', backend='"smtp"')
    require_resumable(cli, said=cli(*SEND, code=4).err)
    with smtp_server(port=port) as server:
        assert cli.json(*SEND)["accepted"] == 12
        assert len(server.mails) == 12


def test_a_refused_login_costs_nothing(world: World) -> None:
    with smtp_server(login=("kim", "right")) as server:
        cli = world("small approved")
        more = f'\n[delivery.smtp]\nhost = "127.0.0.1"\nport = {server.port}\nusername = "kim"\n'
        configure(cli.folder, more, backend='"smtp"')
        assert "MMCAMPAIGN_SMTP_PASSWORD" in cli(*SEND, code=2).err
        said = cli.with_env(MMCAMPAIGN_SMTP_PASSWORD="wrong")(*SEND, code=4).err
        assert "wrong" not in said
        require_resumable(cli, said=said)
        assert cli.with_env(MMCAMPAIGN_SMTP_PASSWORD="right").json(*SEND)["accepted"] == 12


@contextmanager
def a_file_in_its_place(outbox: Path) -> Iterator[None]:
    outbox.write_text("a file, not a folder", encoding="utf-8")
    yield
    outbox.unlink()


@contextmanager
def a_folder_without_rights(outbox: Path) -> Iterator[None]:
    if os.geteuid() == 0:  # root may write anywhere but below /proc
        outbox.symlink_to("/proc/self/fdinfo")
        yield
        outbox.unlink()
        return
    outbox.mkdir(mode=0o555)
    yield
    outbox.chmod(0o755)


@contextmanager
def a_full_disk(outbox: Path) -> Iterator[None]:
    outbox.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", outbox], check=False).returncode:
        pytest.skip("a file system of 4 kB cannot be mounted here")
    yield
    subprocess.run(["umount", outbox], check=True)


@pytest.mark.parametrize("trouble", [a_file_in_its_place, a_folder_without_rights, a_full_disk])
def test_an_outbox_that_cannot_be_written_costs_nothing(
    world: World, trouble: Callable[[Path], AbstractContextManager[None]]
) -> None:
    cli = world("small approved")
    with trouble(cli.folder / "outbox"):
        said = cli(*SEND, code=4).err
        assert "outbox cannot be written" in said
        accepted = cli.json("status", 1)["campaigns"][0]["accepted"]
        require_resumable(cli, said=said, left=12 - accepted)
    if not accepted:
        assert cli.json(*SEND)["accepted"] == 12


def test_a_locked_database_is_told_and_can_still_be_read(world: World) -> None:
    cli = world("small approved")
    with closing(sqlite3.connect(cli.folder / "mmcampaign.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        waiting = cli.start("cancel", 1)
        assert cli.json("status", 1)["campaigns"][0]["state"] == "approved"
        out, err = (content.decode() for content in waiting.communicate())
        assert (waiting.returncode, out) == (4, "")
        assert "is locked by another program" in err
        assert "Traceback" not in err
    assert cli.json(*SEND)["accepted"] == 12


def test_a_second_person_can_approve(world: World) -> None:
    cli = world("small planned")
    configure(cli.folder, '\n[policy]\napproval = "second-person"\n')
    assert cli.json("approve", 1, "--by", "Ola")["approved_by"] == "Ola"
