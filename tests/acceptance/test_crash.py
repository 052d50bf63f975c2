"""Promise 1: kill the process at any moment, run two at once, press Ctrl-C: nobody is mailed twice, nobody is lost.

The installed command, a few times each; ``test_kills.py`` does it by the hundred.
"""

import random
import sqlite3
import subprocess
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path
from signal import SIGINT, SIGKILL
from typing import Any

import pytest

from mmcampaign.app import open_app
from mmcampaign.delivery.file import FileBackend
from mmcampaign.delivery.file_batch import give_name
from mmcampaign.scratch import PREFIX
from mmcampaign.sending import SendRequest, send
from tests.acceptance import sinks
from tests.acceptance.conftest import World
from tests.acceptance.runner import LONGEST_SECONDS, SECRET, Cli, kill
from tests.acceptance.sinks import FileSink, Sink, file_sink, sendgrid_sink, smtp_sink
from tests.acceptance.worlds import Person, make_river, people

ALL = 300
KILLS = 3  # in one campaign of a server
IN_HAND = 50
CONFIRMED = ("send", 1, "--yes", "--expect")


def tables(folder: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of the database, read without the program."""
    with closing(sqlite3.connect(folder / "mmcampaign.db")) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: sorted(connection.execute(f"SELECT * FROM {name}").fetchall(), key=repr) for name in names}


def statuses(folder: Path) -> dict[str, str]:
    """Message id to status, read without the program."""
    with closing(sqlite3.connect(folder / "mmcampaign.db", timeout=LONGEST_SECONDS)) as connection:
        return dict(connection.execute("SELECT message_id, status FROM messages").fetchall())


def pending(folder: Path) -> int:
    """How many the next run will send: a killed file run leaves `sending` behind, which that run settles first."""
    return Counter(statuses(folder).values())["pending"]


def require_adding_up(sink: Sink) -> Counter[str]:
    return sinks.require_adding_up(sink.counts(), statuses(sink.cli.folder))


def finish(sink: Sink) -> Counter[str]:
    """Send until nothing is left to send; the numbers that are printed must be those of the log."""
    left = pending_after_settling(sink)
    said = sink.cli.json(*CONFIRMED, left, code=None)
    counts = require_adding_up(sink)
    assert counts.keys() <= {"accepted", "unknown"}
    assert counts.total() == ALL
    assert (said["accepted"], said["unknown"], said["pending"]) == (counts["accepted"], counts["unknown"], 0)
    return counts


def require_unknown_listed(sink: Sink, counts: Counter[str]) -> None:
    """Every place that shows the ledger shows the same."""
    cli = sink.cli
    (status,) = cli.json("status", 1)["campaigns"]
    assert (status["accepted"], status["unknown"], status["pending"]) == (counts["accepted"], counts["unknown"], 0)
    assert status["state"] == "unfinished"
    listed = cli.json("history", "--campaign", 1)["messages"]
    assert Counter(row["status"] for row in listed) == counts
    assert all(row["error"] for row in listed if row["status"] == "unknown")
    checks = {row["what"]: row["state"] for row in cli.json("doctor")["checks"]}
    assert (checks["ledger"], checks["audit log"], checks["database file"]) == ("ok", "ok", "ok")


def pending_after_settling(sink: Sink) -> int:
    """What the next run will ask to confirm: for files, orphans without a file go back to pending first."""
    log = statuses(sink.cli.folder)
    count = Counter(log.values())["pending"]
    if isinstance(sink, FileSink):
        found = sink.counts()
        count += sum(status == "sending" and key not in found for key, status in log.items())
    return count


# --- kill -9 ------------------------------------------------------------------------------------------------------


def kill_at_file(sink: FileSink, count: int) -> None:
    """Start a run and kill it as soon as the outbox holds ``count`` messages."""
    process = sink.cli.start(*CONFIRMED, pending_after_settling(sink))
    while process.poll() is None and len(sink.files()) < count:
        pass
    kill(process)


def test_files_survive_being_killed_anywhere(world: World) -> None:
    """No unknown at all: the outbox itself proves what was taken."""
    rng = random.Random(1)
    with file_sink(world("large approved")) as sink:
        for count in sorted(rng.sample(range(ALL + 1), 6)):
            print(f"killed at {count}")
            kill_at_file(sink, count)
            assert set(sink.counts().values()) <= {1}
        assert finish(sink) == {"accepted": ALL}
        assert not list(sink.folder.glob("*/.*.eml.part"))


SERVERS: dict[str, Callable[[Cli], AbstractContextManager[Any]]] = {"smtp": smtp_sink, "sendgrid": sendgrid_sink}


@pytest.mark.parametrize("backend", SERVERS)
def test_servers_get_nobody_twice_when_the_sender_is_killed(world: World, backend: str) -> None:
    """Killed at the moment the server has taken the k-th message, before its answer; in doubt is what was in hand."""
    rng = random.Random(1)
    with SERVERS[backend](world("large approved")) as sink:
        sink.cli = sink.cli.with_env(MMCAMPAIGN_MAIL__CLAIM_BATCH=str(IN_HAND))
        for _ in range(KILLS):
            expected = pending(sink.cli.folder)
            if not expected:
                break
            process = sink.cli.start(*CONFIRMED, expected)
            count = len(sink.mails) + rng.randint(1, min(120, expected))
            print(f"killed when {count} were taken")
            sink.mails.at(count, lambda process=process: (process.kill(), process.wait()))
            process.communicate(timeout=LONGEST_SECONDS)
            assert process.returncode == -SIGKILL
        counts = finish(sink)
        assert 0 < counts["unknown"] <= KILLS * IN_HAND
        require_unknown_listed(sink, counts)
        if backend == "smtp":
            settle_unknown(sink, counts)


def settle_unknown(sink: Sink, counts: Counter[str]) -> None:
    """A person looks into the mail server's records and settles what is unknown; then nothing is open."""
    cli = sink.cli
    said = cli("send", 1, code=1)
    assert f"{counts['unknown']} emails may or may not have gone out" in said.err
    assert "mmcampaign resolve 1" in said.err
    one = next(key for key, status in statuses(cli.folder).items() if status == "unknown")
    assert cli.json("resolve", 1, "--message", one, "--as", "accepted") == {"resolved": 1}
    assert cli.json("resolve", 1, "--as", "accepted") == {"resolved": counts["unknown"] - 1}
    assert cli.json("send", 1)["state"] == "finished"
    assert Counter(statuses(cli.folder).values()) == {"accepted": ALL}
    assert set(sink.counts().values()) == {1}


def test_ingest_survives_being_killed_anywhere(tmp_path: Path) -> None:
    """Each file is in or not; the same command goes on, and the end is as if nothing had happened."""
    make_river(tmp_path / "calm", people(2_000))
    make_river(tmp_path / "killed", people(2_000))
    calm, killed = Cli(folder=tmp_path / "calm"), Cli(folder=tmp_path / "killed")
    calm("ingest", "downloads")
    for files in range(4):
        process = killed.start("ingest", "downloads")
        while process.poll() is None and read_files(killed.folder) < files:
            pass
        kill(process)
        rows = killed.json("imports")["imports"]
        assert all(row["accepted"] + row["rejected"] == row["rows"] for row in rows)
    killed("ingest", "downloads")
    for name in ("learners", "course_instancedetails", "completions"):
        assert without_stamps(tables(killed.folder)[name]) == without_stamps(tables(calm.folder)[name])
    assert killed.json("cohort", "river") == calm.json("cohort", "river")


def read_files(folder: Path) -> int:
    """How many imports are committed; 0 while there is no database."""
    try:
        with closing(sqlite3.connect(f"file:{folder / 'mmcampaign.db'}?mode=ro", uri=True)) as connection:
            return int(connection.execute("SELECT count(*) FROM imports").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def without_stamps(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Rows without import numbers, which count the files in the order they came."""
    return [tuple(value for value in row if not isinstance(value, int) or value > 900) for row in rows]


def test_a_dry_run_that_is_killed_leaves_a_campaign_or_none(world: World) -> None:
    cli = world("small")
    cli("ingest", "downloads")
    reports = cli.folder / "reports"
    moments: list[Callable[[], bool]] = [
        (cli.folder / "mmcampaign.db-wal").exists,
        lambda: any(reports.glob(".*.part/*")),
        (reports / "campaign-1" / "report.html").exists,
    ]
    for moment in moments:
        process = cli.start("dry-run", "river")
        while process.poll() is None and not moment():
            pass
        kill(process)
        campaigns = cli.json("status")["campaigns"]
        assert all(row["chosen"] == row["pending"] == 12 for row in campaigns)
        assert all((reports / f"campaign-{row['campaign']}" / "report.html").is_file() for row in campaigns)
        for row in campaigns:
            cli("reject", row["campaign"])
    last = cli.json("dry-run", "river")
    assert last["recipients"] == 12
    listed = (Path(last["report"]).parent / "recipients.csv").read_text(encoding="utf-8-sig").splitlines()
    assert len(listed) == 13
    cli("approve", last["campaign"])
    assert cli.json("send", last["campaign"], "--yes", "--expect", 12)["accepted"] == 12


# --- two at once --------------------------------------------------------------------------------------------------


def test_a_second_sender_refuses_while_one_is_at_work(world: World) -> None:
    """The first is held by its server in the middle of a message while the second one runs."""
    heard: list[subprocess.CompletedProcess[bytes]] = []
    with smtp_sink(world("large approved")) as sink:
        cli = sink.cli
        second = cli.start  # started from the server's thread, where a failing assertion would be lost

        def meanwhile() -> None:
            process = second(*CONFIRMED, ALL)
            out, err = process.communicate(timeout=LONGEST_SECONDS)
            heard.append(subprocess.CompletedProcess(process.args, process.returncode, out, err))

        sink.mails.at(20, meanwhile)
        assert cli.json(*CONFIRMED, ALL)["accepted"] == ALL
        assert heard[0].returncode == 4, heard[0].stderr
        assert b"Another mmcampaign is sending" in heard[0].stderr
        assert require_adding_up(sink) == {"accepted": ALL}


def test_two_senders_started_together_mail_nobody_twice(world: World) -> None:
    with file_sink(world("large approved")) as sink:
        both = [sink.cli.start(*CONFIRMED, ALL) for _ in range(2)]
        for process in both:
            process.communicate(timeout=LONGEST_SECONDS)
        codes = sorted(process.returncode for process in both)
        assert codes in ([0, 0], [0, 4], [0, 3])
        assert require_adding_up(sink) == {"accepted": ALL}


# --- Ctrl-C -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", SERVERS)
def test_ctrl_c_finishes_what_is_in_flight_and_says_how_to_go_on(world: World, backend: str) -> None:
    with SERVERS[backend](world("large approved")) as sink:
        process = sink.cli.start(*CONFIRMED, ALL)
        sink.mails.at(30, lambda: process.send_signal(SIGINT))
        out, err = (content.decode() for content in process.communicate(timeout=LONGEST_SECONDS))
        assert process.returncode == 130, err
        check_talk(err)
        counts = require_adding_up(sink)
        assert counts.keys() == {"accepted", "pending"}, "what was in flight was not recorded"
        assert counts["accepted"] >= 30
        assert "mmcampaign send 1" in err
        assert f"{counts['pending']} emails are still to go" in err
        assert f"accepted    {counts['accepted']}" in out
        assert finish(sink) == {"accepted": ALL}


def test_ctrl_c_in_an_ingest_says_what_is_in(tmp_path: Path) -> None:
    make_river(tmp_path / "world", [Person(number=10_000 + n, track="audit") for n in range(50_000)])
    (tmp_path / "scratch").mkdir()
    cli = Cli(folder=tmp_path / "world").with_env(TMPDIR=str(tmp_path / "scratch"))

    def of_ours() -> list[Path]:  # Python's tempfile tries the folder with a file of its own, which Ctrl-C may leave
        return list((tmp_path / "scratch").glob(f"{PREFIX}*"))

    process = cli.start("ingest", "downloads")
    while process.poll() is None and not of_ours():
        pass
    process.send_signal(SIGINT)
    _, err = process.communicate(timeout=LONGEST_SECONDS)
    assert process.returncode == 130
    assert b"No file is done yet, and nothing is half-done. Go on with the same command." in err
    assert not of_ours()
    assert {file["status"] for file in cli.json("ingest", "downloads")["files"]} == {"loaded"}


def test_ctrl_c_while_files_are_written(world: World) -> None:
    with file_sink(world("large approved")) as sink:
        process = sink.cli.start(*CONFIRMED, ALL)
        while process.poll() is None and not sink.files():
            pass
        process.send_signal(SIGINT)
        process.communicate(timeout=LONGEST_SECONDS)
        assert process.returncode == 130
        assert 0 < require_adding_up(sink)["accepted"] < ALL
        assert finish(sink) == {"accepted": ALL}


def test_ctrl_c_twice_stops_now_and_nobody_is_mailed_twice(world: World) -> None:
    with smtp_sink(world("large approved")) as sink:
        process = sink.cli.start(*CONFIRMED, ALL)
        twice = threading.Event()

        def interrupt() -> None:
            assert process.stderr is not None
            process.send_signal(SIGINT)
            process.stderr.readline()  # "Stopping after what is in flight", so the first was heard
            process.send_signal(SIGINT)
            twice.set()

        sink.mails.at(30, interrupt)
        assert twice.wait(LONGEST_SECONDS)  # until then the other thread reads what is said
        process.communicate(timeout=LONGEST_SECONDS)
        assert process.returncode == 130
        require_adding_up(sink)
        assert len(sink.mails) < 60
        finish(sink)


def test_ctrl_c_twice_leaves_no_unknown_file(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second Ctrl-C comes when the 18th file gets its name: the outbox proves what became of the 50 in flight."""

    def interrupted(path: Path) -> None:
        if len(sink.files()) == 17:
            raise KeyboardInterrupt
        give_name(path)

    monkeypatch.setattr(FileBackend, "batch_size", 50)
    monkeypatch.setattr("mmcampaign.delivery.file_batch.give_name", interrupted)
    with file_sink(world("large approved")) as sink:
        folder = sink.cli.folder
        app = open_app(folder / "config.toml", {"MMCAMPAIGN_SECRET_KEY": SECRET}, cwd=folder, actor="kim")
        with pytest.raises(KeyboardInterrupt):
            send(app, SendRequest(campaign=1), confirm=lambda campaign, number: None)
        app.store.close()
        assert require_adding_up(sink) == {"accepted": 17, "pending": ALL - 17}
        assert sink.cli.json(*CONFIRMED, ALL - 17)["accepted"] == ALL


def test_ctrl_c_at_the_question_sends_nothing(world: World) -> None:
    cli = world("small approved")
    for key in ("\x03", "\x04"):
        said = cli.on_terminal("send", 1, typed=key, code=3).out
        assert "Nothing was sent" in said
        assert "Stopping after" not in said
    assert not (cli.folder / "outbox").exists()


def check_talk(err: str) -> None:
    assert "Traceback" not in err
    assert "Stopping after what is in flight" in err
