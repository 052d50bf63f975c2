"""Senders and the people who steer them, each a process of its own: pause, cancel, one that sleeps, two at once."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from typer.testing import CliRunner

from mmcampaign.app import App, open_app
from mmcampaign.cli import app
from mmcampaign.cli.shell import Shell
from tests.acceptance.conftest import World
from tests.acceptance.runner import LONGEST_SECONDS, Cli
from tests.acceptance.sinks import SmtpSink, Watched, smtp_sink
from tests.acceptance.worlds import make_river, people
from tests.servers.smtp import SmtpServer, smtp_server

ALL = 300
NOTICED_WITHIN = 2.0  # seconds


class Slow(Watched[Any]):
    """A server that needs a while for each message; ``times`` says when it had taken them."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.times: list[float] = []
        self.seconds = seconds

    def append(self, mail: Any) -> None:
        time.sleep(self.seconds)
        self.times.append(time.monotonic())
        super().append(mail)


def steer_while_sending(sink: SmtpSink, *words: object) -> str:
    """Send; after twenty messages give that command from another process. What the sender said when it stopped."""
    mails = sink.server.mails = sink.mails = Slow(0.015)
    given: list[float] = []

    def steer() -> None:
        sink.cli(*words)
        given.append(time.monotonic())

    other = threading.Thread(target=steer)
    mails.at(20, other.start)
    sender = sink.cli.start("send", 1, "--yes", "--expect", ALL)
    _, err = sender.communicate(timeout=LONGEST_SECONDS)
    other.join()
    assert mails.times[-1] - given[0] < NOTICED_WITHIN
    assert 20 <= len(mails) < ALL
    assert sender.returncode == 4
    return err.decode()


def test_a_pause_from_another_process_is_heeded_within_two_seconds(world: World) -> None:
    with smtp_sink(world("large approved")) as sink:
        talk = steer_while_sending(sink, "pause", 1, "--note", "wrong link")
        out = len(sink.mails)
        assert "Stopped: The campaign was paused by kim: wrong link." in talk
        assert f"{ALL - out} emails are still to go. Go on with: mmcampaign resume 1, then: mmcampaign send 1" in talk
        (status,) = sink.cli.json("status", 1)["campaigns"]
        assert (status["state"], status["accepted"], status["pending"]) == ("unfinished", out, ALL - out)
        assert (status["unknown"], status["sending"]) == (0, 0)
        assert status["reason"] == "paused by kim: wrong link"
        assert sink.cli.json("resume", 1)["state"] == "sending"


def test_a_cancellation_from_another_process_is_heeded_within_two_seconds(world: World) -> None:
    with smtp_sink(world("large approved")) as sink:
        talk = steer_while_sending(sink, "cancel", 1)
        assert "Stopped: The campaign was cancelled." in talk
        (status,) = sink.cli.json("status", 1)["campaigns"]
        out = len(sink.mails)
        assert (status["state"], status["accepted"], status["cancelled"]) == ("cancelled", out, ALL - out)
        assert (status["reason"], status["next"]) == ("", "")


def test_the_first_wave_asks_on_a_terminal(world: World) -> None:
    cli = world("small approved")
    said = cli.on_terminal("send", 1, "--first", 5, typed="5\n7\n").said
    assert "The first wave has gone out: 5 accepted. Look at what arrived; 7 emails are left." in said
    assert "Campaign 1 is finished." in said
    assert len(list((cli.folder / "outbox" / "1").glob("*.eml"))) == 12


def test_the_first_wave_in_a_script_waits_for_resume(world: World) -> None:
    cli = world("small approved")
    assert "not both" in cli("send", 1, "--first", 5, "--limit", 2, code=2).err
    sent = cli.json("send", 1, "--first", 5, "--yes", "--expect", 5)
    assert (sent["state"], sent["accepted"], sent["pending"]) == ("paused", 5, 7)
    (status,) = cli.json("status", 1)["campaigns"]
    assert status["next"] == "mmcampaign resume 1, then: mmcampaign send 1"
    assert "the first wave has gone out" in cli("send", 1, "--yes", "--expect", 7, code=3).err
    shown = cli.on_terminal("status").out.splitlines()
    assert max(map(len, shown)) <= 80
    assert shown[1].split(maxsplit=3)[3] == "5 accepted + 7 pending"
    assert shown[3].strip() == "Next: mmcampaign resume 1, then: mmcampaign send 1"


@pytest.mark.parametrize(
    ("words", "said", "todo"),
    [
        pytest.param(("staus",), "Did you mean 'status'", "mmcampaign --help", id="no such command"),
        pytest.param(("send", "first"), "valid integer", "mmcampaign send --help", id="not a number"),
        pytest.param(("resolve", 1), "--as", "mmcampaign resolve --help", id="an option is missing"),
    ],
)
def test_a_usage_error_is_json_too(tmp_path: Path, words: tuple[object, ...], said: str, todo: str) -> None:
    error = Cli(folder=tmp_path).json(*words, code=2)["error"]
    assert said in error["what"]
    assert (error["todo"], error["exit_code"]) == (todo, 2)


def test_outside_the_send_window_it_says_when_it_opens(world: World) -> None:
    here = time.gmtime()
    shut = f"{(here.tm_hour + 4) % 24:02}:00-{(here.tm_hour + 5) % 24:02}:00"  # Oslo is one or two hours ahead
    with smtp_sink(world("small approved")) as sink:
        cli = sink.cli.with_env(MMCAMPAIGN_MAIL__SEND_WINDOW=shut)
        said = cli("send", 1, "--yes", "--expect", 12, code=4).err
        assert f"Mail goes out {shut} (Europe/Oslo) only; the send window opens on" in said
        assert "Next: mmcampaign send 1 --wait" in said
        assert not sink.mails


# --- several processes on PostgreSQL --------------------------------------------------------------------------------

SENDER = """
import os, signal, sys
from datetime import timedelta
from pathlib import Path

from mmcampaign.app import open_app
from mmcampaign.handover import Hand
from mmcampaign.sending import SendRequest, send
from mmcampaign.store import outbox

lease, stop_at = float(sys.argv[1]), int(sys.argv[2])
outbox.LEASE = timedelta(seconds=lease)
asked = iter(range(1, 1_000_000))
may_go = Hand.may_go


def may_go_or_sleep(self, covered_until):
    if next(asked) == stop_at:
        os.kill(os.getpid(), signal.SIGSTOP)
    return may_go(self, covered_until)


Hand.may_go = may_go_or_sleep
app = open_app(None, os.environ, cwd=Path.cwd())
print("ready", flush=True)
sys.stdin.readline()
send(app, SendRequest(campaign=1), confirm=lambda campaign, number: None)
"""


class Shared:
    """One campaign of thirty on PostgreSQL, and a mail server; any number of senders."""

    def __init__(self, cli: Cli, url: str, server: SmtpServer) -> None:
        self.cli, self.server = cli, server
        self._engine = create_engine(url)

    def sender(self, *, lease: float = 600, stop_at: int = 0) -> subprocess.Popen[bytes]:
        """A sender that waits for a line before it begins; it stops itself when it asks for so many times if it may."""
        process = subprocess.Popen(
            [sys.executable, "-c", SENDER, str(lease), str(stop_at)],
            cwd=self.cli.folder,
            env=self.cli.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdout and process.stdout.readline() == b"ready\n"
        return process

    def inside(self, *words: object, code: int = 0) -> str:
        """The command, within this process: it costs a tenth."""
        opened: list[App] = []

        def open_and_note(shell: Shell, *words: str) -> App:
            opened.append(open_app(shell.config, os.environ, cwd=Path.cwd()))
            return opened[-1]

        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.cli.folder)
            patch.setattr(Shell, "open", open_and_note)
            for name, value in self.cli.environment().items():
                patch.setenv(name, value)
            result = CliRunner().invoke(app, list(map(str, words)))
        for each in opened:
            each.store.close()
        assert result.exit_code == code, result.output
        return result.output

    def query(self, sql: str) -> list[Any]:
        with self._engine.connect() as connection:
            return list(connection.execute(text(sql)))

    def statuses(self) -> Counter[str]:
        return Counter(row.status for row in self.query("SELECT status FROM messages"))

    def arrived(self) -> Counter[str]:
        return Counter(str(message_from_bytes(mail.content)["X-MMCampaign-Message"]) for mail in self.server.mails)

    def wait_for(self, sql: str) -> None:
        """Until the database says yes."""
        until = time.monotonic() + LONGEST_SECONDS
        while not self.query(sql)[0][0]:
            assert time.monotonic() < until
            threading.Event().wait(0.05)

    def close(self) -> None:
        self._engine.dispose()


def begin(*senders: subprocess.Popen[bytes]) -> None:
    for sender in senders:
        assert sender.stdin
        sender.stdin.write(b"\n")
        sender.stdin.flush()


@pytest.fixture
def shared(tmp_path: Path, database_url: str) -> Iterator[Shared]:
    make_river(tmp_path / "world", people(30))
    with smtp_server() as server:
        cli = Cli(folder=tmp_path / "world").with_env(
            MMCAMPAIGN_DATABASE__URL=database_url,
            MMCAMPAIGN_MAIL__BACKEND="smtp",
            MMCAMPAIGN_MAIL__CLAIM_BATCH="10",
            MMCAMPAIGN_DELIVERY__SMTP__HOST=server.host,
            MMCAMPAIGN_DELIVERY__SMTP__PORT=str(server.port),
        )
        made = Shared(cli, database_url, server)
        for words in (("ingest", "downloads"), ("dry-run", "river"), ("approve", 1)):
            made.inside(*words)
        yield made
        made.close()


on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@on_postgresql
def test_two_processes_share_a_campaign(shared: Shared) -> None:
    shared.server.mails = Slow(0.01)
    shared.cli = shared.cli.with_env(MMCAMPAIGN_MAIL__CLAIM_BATCH="4")
    senders = [shared.sender(), shared.sender()]
    begin(*senders)
    for sender in senders:
        sender.communicate(timeout=LONGEST_SECONDS)
    assert [sender.returncode for sender in senders] == [0, 0]
    assert shared.statuses() == {"accepted": 30}
    assert len(shared.arrived()) == shared.arrived().total() == 30
    assert len(shared.query("SELECT DISTINCT claimed_by FROM messages")) == 2
    assert shared.query("SELECT state FROM campaigns")[0].state == "finished"


@on_postgresql
def test_a_sender_that_slept_longer_than_its_lease_sends_nothing_it_held(shared: Shared) -> None:
    """Stopped between claim and wire. Others give its messages up, a person has them sent again; then it wakes."""
    sleeper = shared.sender(lease=1, stop_at=1)
    begin(sleeper)
    os.waitpid(sleeper.pid, os.WUNTRACED)
    held = shared.statuses()["sending"]
    assert held > 0
    shared.wait_for("SELECT max(claimed_until) < clock_timestamp() FROM messages")
    shared.inside("send", 1, "--local", "--yes", "--expect", 30 - held, code=1)
    assert shared.statuses() == {"accepted": 30 - held, "unknown": held}
    shared.inside("resolve", 1, "--as", "retry")
    shared.inside("send", 1, "--local", "--yes", "--expect", held)
    sleeper.send_signal(signal.SIGCONT)
    sleeper.communicate(timeout=LONGEST_SECONDS)
    assert sleeper.returncode == 0
    assert shared.statuses() == {"accepted": 30}
    assert len(shared.arrived()) == shared.arrived().total() == 30


@on_postgresql
def test_a_sender_that_slept_in_the_middle_of_a_batch_tells_what_became_of_it(shared: Shared) -> None:
    """What was on the wire is settled by its late word, what was not begun goes back; nobody is in doubt at the end."""
    sleeper = shared.sender(lease=3, stop_at=6)
    begin(sleeper)
    os.waitpid(sleeper.pid, os.WUNTRACED)
    held = shared.statuses()["sending"]
    shared.wait_for("SELECT max(claimed_until) < clock_timestamp() FROM messages")
    shared.inside("send", 1, "--local", "--yes", "--expect", 30 - held, code=1)
    assert shared.statuses() == {"accepted": 30 - held, "unknown": held}
    taken = len(shared.arrived())
    assert 30 - held <= taken < 30
    sleeper.send_signal(signal.SIGCONT)
    sleeper.communicate(timeout=LONGEST_SECONDS)
    assert sleeper.returncode == 0
    assert shared.statuses() == {"accepted": 30}
    assert len(shared.arrived()) == shared.arrived().total() == 30
    assert shared.query("SELECT state FROM campaigns")[0].state == "finished"
