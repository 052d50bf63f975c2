"""What scripts may rely on: keys, columns, exit codes, help, and where each kind of output goes (contract 3 and 4)."""

import csv
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from openpyxl import load_workbook
from typer.main import get_command

from mmcampaign import __version__
from mmcampaign.cli import app
from mmcampaign.demo import run_demo
from tests.acceptance.conftest import World
from tests.acceptance.runner import Cli
from tests.acceptance.worlds import STAMP, Person, people, write_reports

SAMPLES = Path(__file__).parents[1] / "data" / "edx-samples" / "downloads"
FILE_KEYS = {"name", "kind", "program", "course", "run", "exported_at", "status", "rows", "accepted", "rejected"}
FILE_KEYS |= {"reason", "warnings"}
CHANGE_KEYS = {"new_learners", "newly_passed", "newly_certified", "upgraded", "vanished"}
CHOSEN_KEYS = {"student_id", "email", "name", "cohort", "trigger_course", "trigger_run", "next_course"}
CHOSEN_KEYS |= {"certificates_earned", "other_triggers"}
DRY_RUN_KEYS = {"campaign", "state", "fingerprint", "recipients", "shapes", "excluded", "findings", "report"}
SEND_KEYS = {"campaign", "state", "accepted", "failed", "unknown", "suppressed", "pending", "cancelled"}
STATUS_KEYS = {*SEND_KEYS, "program", "name", "considered", "chosen", "excluded"}
MESSAGE_KEYS = {"message", "campaign", "program", "cohort", "student_id", "email", "subject", "status"}
MESSAGE_KEYS |= {"delivery_status", "provider_message_id", "sent_at", "error"}
REPORT_COLUMNS = ["student_id", "username", "email", "name"]
REPORT_COLUMNS += ["river1x_enrollment_track", "river1x_passed", "river2x_enrollment_track", "river2x_passed"]
REPORT_COLUMNS += ["no_certificate_eligible", "no_audited_passed", "country"]


def commands() -> dict[str, Any]:
    """Every command by the words that call it."""

    def walk(command: Any, words: tuple[str, ...]) -> Any:
        yield words, command
        for name, inner in getattr(command, "commands", {}).items():
            yield from walk(inner, (*words, name))

    return {" ".join(words): command for words, command in walk(get_command(app), ())}


# --- JSON --------------------------------------------------------------------------------------------------------


def test_samples_are_read_with_the_keys_of_the_contract(world: World) -> None:
    cli = world("small")
    shutil.rmtree(cli.folder / "downloads")
    shutil.copytree(SAMPLES, cli.folder / "downloads")
    text = (cli.folder / "config.toml").read_text(encoding="utf-8")
    text = text.replace("NordX_RIVER1x", "NordlandX_RIVER1x").replace("NordX_RIVER2x", "NordlandX_RIVER.2x")
    first, second = '["1T2016", "2T2019"]\ncurrent_run = "2T2019"', '["3T2016", "2025_T1"]\ncurrent_run = "2025_T1"'
    text = text.replace('current_run = "1T2026"', f"runs = {first}", 1)
    text = text.replace('current_run = "1T2026"', f"runs = {second}", 1)
    (cli.folder / "config.toml").write_text(text, encoding="utf-8")

    read = cli.json("ingest", "downloads")
    expected = json.loads((SAMPLES.parent / "expected.json").read_text(encoding="utf-8"))
    assert {file["name"] for file in read["files"]} == {file["file"] for file in expected["files"]}
    assert all(file.keys() >= FILE_KEYS for file in read["files"])
    assert {file["status"] for file in read["files"]} == {"loaded", "superseded", "duplicate", "ignored"}
    assert read["changes"].keys() >= CHANGE_KEYS
    assert read["changes"]["new_learners"] == len(expected["learners"])
    report = json.loads(cli("report", "river", "--format", "json").out)
    complete = {str(row["student_id"]) for row in report if row["no_certificate_eligible"] == 2}
    assert complete == {key for key, learner in expected["learners"].items() if learner["program_complete"]}
    again = cli.json("ingest", "downloads")
    assert {file["status"] for file in again["files"]} == {"duplicate", "ignored"}
    assert set(again["changes"].values()) == {0}


def test_the_way_from_files_to_history_has_the_keys_of_the_contract(world: World) -> None:
    cli = world("small")
    write_reports(cli.folder / "downloads", [*people(12), Person(number=-4)])
    read = cli.json("ingest", "downloads", code=1)  # a row is refused
    assert sum(file["rejected"] for file in read["files"]) > 0
    assert all(file["accepted"] + file["rejected"] == file["rows"] for file in read["files"])
    imports = cli.json("imports", "--rejected")
    assert imports.keys() >= {"imports", "rejected"}
    assert len(imports["rejected"]) == sum(file["rejected"] for file in read["files"])
    assert all(row["reason"] and row["line"] > 1 for row in imports["rejected"])

    cohort = cli.json("cohort", "river")
    assert all(row.keys() >= CHOSEN_KEYS for row in cohort["chosen"])
    assert all(
        row.keys() >= {"student_id", "cohort", "trigger_course", "reason", "detail"} for row in cohort["excluded"]
    )
    one = cli.json("cohort", "river", "continue")
    assert {row["cohort"] for row in one["chosen"]} == {"continue"}
    for key in ("1001", "learner1001", "learner1001@post.example"):
        found = cli.json("explain", "river", key)
        assert found["learner"]["student_id"] == 1001
        assert found.keys() >= {"learner", "completions", "decisions"}
        assert all(
            row.keys() >= {"cohort", "trigger_course", "chosen", "reason", "rules"} for row in found["decisions"]
        )
        assert all(rule.keys() >= {"rule", "passed", "seen", "source"} for rule in found["decisions"][0]["rules"])

    emails = cli.json("preview", "river", "--out", "looked-at")["emails"]
    assert all(
        email.keys() >= {"student_id", "shape", "subject", "html", "text", "eml", "learners"} for email in emails
    )
    assert all((cli.folder / email[kind]).is_file() for email in emails for kind in ("html", "text", "eml"))
    assert sum(email["learners"] for email in emails) == len(cohort["chosen"])
    alone = cli.json("preview", "river", "--learner", "1001")["emails"]
    assert [email["student_id"] for email in alone] == [1001]

    plan = cli.json("dry-run", "river", "--name", "A name")
    assert plan.keys() >= DRY_RUN_KEYS
    assert plan["findings"].keys() >= {"block", "warn", "note"}
    assert (plan["state"], plan["recipients"]) == ("planned", len(cohort["chosen"]))
    assert sum(plan["excluded"].values()) == len(cohort["excluded"])
    report = Path(plan["report"])
    assert {path.name for path in report.parent.iterdir()} == {"report.html", "recipients.csv", "excluded.csv"}

    approved = cli.json("approve", 1, "--by", "Ola", "--note", "read")
    assert {**approved, "campaign": 1, "state": "approved", "approved_by": "Ola"} == approved
    sent = cli.json("send", 1, "--yes", "--expect", 12)
    assert sent.keys() >= SEND_KEYS
    assert (sent["state"], sent["accepted"]) == ("finished", 12)
    (status,) = cli.json("status")["campaigns"]
    assert status.keys() >= STATUS_KEYS
    assert cli.json("status", 1) == {"campaigns": [status]}
    messages = cli.json("history")["messages"]
    assert all(message.keys() >= MESSAGE_KEYS for message in messages)
    assert messages == json.loads(cli("history", "--format", "json").out)["messages"]
    assert len(cli.json("history", "--learner", "1001")["messages"]) == 1
    assert cli.json("history", "--campaign", "7")["messages"] == []
    assert cli.json("history", "--program", "river", "--since", f"{STAMP:%Y-%m-%d}")["messages"] == messages
    shown = cli.json("show", messages[0]["message"])
    assert shown["reproduced"] is True
    assert shown.keys() >= {"message", "campaign", "subject", "html", "text"}

    log = cli.json("audit")
    assert log["intact"] is True
    assert [entry["act"] for entry in log["entries"]] == ["planned", "approved", "sending", "finished"]
    assert "chain intact" in cli("audit", "--verify").out
    added = cli.json("suppress", "add", "learner1002@post.example", "--note", "asked")["suppressions"]
    assert [row["email"] for row in added] == ["learner1002@post.example"]
    assert cli.json("suppress", "list")["suppressions"] == added
    assert cli.json("suppress", "remove", "learner1002@post.example")["suppressions"] == []
    assert cli.json("doctor").keys() >= {"checks"}
    again = cli.json("dry-run", "river")
    assert cli.json("reject", again["campaign"])["state"] == "cancelled"


def test_resolve_and_cancel_have_the_keys_of_the_contract(world: World) -> None:
    cli = world("small approved")
    assert cli.json("resolve", 1, "--as", "failed") == {"resolved": 0}
    cancelled = cli.json("cancel", 1)
    assert (cancelled["campaign"], cancelled["state"]) == (1, "cancelled")


def test_the_demo_runs_the_main_job_of_every_program(world: World) -> None:
    cli = world("demo")
    made = json.loads((cli.folder / "demo.json").read_text(encoding="utf-8"))
    assert made.keys() >= {"dir", "learners", "campaigns"}
    assert [row["program"] for row in made["campaigns"]] == ["buslead", "corpinn", "engy", "lgdm"]
    assert sum(row["accepted"] for row in made["campaigns"]) > 10
    assert {row["state"] for row in made["campaigns"]} <= {"finished", "planned"}
    inside = Cli(folder=cli.folder / "here")
    status = {row["campaign"]: row for row in inside.json("status")["campaigns"]}
    for row in made["campaigns"]:
        assert status[row["campaign"]]["accepted"] == row["accepted"]
        assert (inside.folder / "reports" / f"campaign-{row['campaign']}" / "report.html").is_file()
    outbox = list((cli.folder / "here" / "outbox").glob("*/*.eml"))
    assert len(outbox) == sum(row["accepted"] for row in made["campaigns"])
    mine = cli.folder / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("irreplaceable", encoding="utf-8")
    assert "not empty" in cli("demo", "mine", code=2).err
    assert [path.name for path in mine.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("folder", "first"), [(".", "mmcampaign status"), ("here", "cd here   and there: mmcampaign status")]
)
def test_the_demo_says_where_to_go_on(folder: str, first: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    run_demo(Path(folder), learners=100, seed=1, today=None, say=said.append)
    assert said[-1].split(",")[0].strip() == first


def test_errors_are_json_too(world: World) -> None:
    cli = world("small planned")
    found = cli("report", "rivver", "--format", "json", code=2)
    assert "Did you mean 'river'?" in found.err
    error = cli.json("cohort", "rivver", code=2)["error"]
    assert error["exit_code"] == 2
    assert "river" in error["what"]
    refused = cli("send", 1, "--yes", "--expect", 12, "--json", code=3)
    assert refused.json["error"]["todo"].startswith("Read its report")
    assert "Next: Read its report" in refused.err


# --- the completion report ----------------------------------------------------------------------------------------


def test_the_report_has_the_same_columns_and_rows_in_every_format(world: World) -> None:
    cli = world("small planned")
    csv_text = cli("report", "river", "--format", "csv").out
    as_csv = list(csv.reader(io.StringIO(csv_text.removeprefix("\ufeff"))))
    as_json = json.loads(cli("report", "river", "--format", "json").out)
    cli("report", "river", "--format", "xlsx", "--out", "report.xlsx")
    assert "needs a file" in cli("report", "river", "--format", "xlsx", code=2).err
    book = load_workbook(cli.folder / "report.xlsx")
    sheet = next(sheet for sheet in book.worksheets if sheet["A1"].value == "student_id")
    as_xlsx = [[cell.value for cell in row] for row in sheet.iter_rows()]
    assert as_csv[0] == list(as_json[0]) == as_xlsx[0] == REPORT_COLUMNS
    rows = [["" if value is None else str(value) for value in row.values()] for row in as_json]
    assert as_csv[1:] == rows
    assert [["" if cell is None else str(cell) for cell in row] for row in as_xlsx[1:]] == rows
    assert len(rows) == 16
    order = [(-row["no_certificate_eligible"], row["student_id"]) for row in as_json]
    assert order == sorted(order)
    cli("report", "river", "--format", "csv", "--out", "report.csv")
    assert (cli.folder / "report.csv").read_bytes().decode("utf-8") == csv_text
    assert not list(cli.folder.glob(".*.part"))
    assert "16 learners" in cli("report", "river").out


# --- help, version, words that mean nothing -----------------------------------------------------------------------


@pytest.mark.parametrize("words", commands())
def test_help_fits_a_terminal_and_shows_an_example(words: str, tmp_path: Path) -> None:
    said = Cli(folder=tmp_path)(*words.split(), "--help").out
    assert max(map(len, said.splitlines())) <= 80
    assert said.startswith("Usage: mmcampaign")
    group = hasattr(commands()[words], "commands")
    assert group or re.search(rf"Examples?: mmcampaign {words}\b", " ".join(said.split()))


def test_help_starts_fast_and_imports_neither_pandas_nor_sqlalchemy(tmp_path: Path) -> None:
    assert min(Cli(folder=tmp_path).user_seconds("--help") for _ in range(3)) < 0.6
    listed = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "mmcampaign", "--help"], capture_output=True, text=True, check=True
    ).stderr
    imported = {line.rpartition("|")[2].strip() for line in listed.splitlines()}
    assert "mmcampaign.cli" in imported
    assert not imported & {"pandas", "sqlalchemy", "jinja2", "premailer", "pyarrow", "sendgrid", "pydantic"}


def test_words_that_are_no_command(tmp_path: Path) -> None:
    cli = Cli(folder=tmp_path)
    assert cli("--version").out == f"mmcampaign {__version__}\n"
    bare = cli(code=2)
    assert "dry-run" in bare.out + bare.err
    assert "Did you mean 'status'" in cli("staus", code=2).err
    assert "Did you mean" in cli("dryrun", code=2).err
    assert "is not a day" in cli("cohort", "river", "--today", "tomorrow", code=2).err
    assert "--as" in cli("resolve", 1, code=2).err
    for wrong in (("send", "first"), ("send", 1, "--expect", -1), ("dry-run", "x", "--limit", 0), ("cohort", "x", "y")):
        assert "Usage:" in cli(*wrong, code=2).err


# --- where output goes --------------------------------------------------------------------------------------------


def test_results_go_to_stdout_and_talk_to_stderr(world: World) -> None:
    cli = world("small")
    read = cli("ingest", "downloads")
    assert "grade_report" in read.out
    assert "Changed: 16 new learners" in read.err
    cohort = cli("cohort", "river")
    assert "Quelle Nummer1001" in cohort.out
    assert "Next: mmcampaign preview" in cohort.err
    assert "considered" not in cohort.out
    for words in (("status",), ("imports",), ("suppress", "list"), ("audit",)):
        assert cli(*words, "--json").err == ""


def test_a_pipe_gets_whole_lines_and_no_colour(world: World) -> None:
    cli = world("small sent").with_env(FORCE_COLOR="", COLUMNS="40")
    listed = cli("history").out.splitlines()
    assert len(listed) == 13
    messages = cli.json("history")["messages"]
    for line, message in zip(listed[1:], messages, strict=True):
        assert line.split()[:5] == [message["message"], "1", str(message["student_id"]), message["email"], "accepted"]
    table = cli("history", "--format", "csv").out
    assert [row["message"] for row in csv.DictReader(io.StringIO(table))] == [row["message"] for row in messages]


def test_a_terminal_of_80_columns_shows_all_data(world: World) -> None:
    cli = world("small sent")
    plain = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
    coloured = cli.on_terminal("history").out
    seen = plain.sub("", coloured)
    assert max(map(len, seen.splitlines())) <= 80
    assert "…" not in seen
    columns = [_column(seen, place) for place in range(6)]
    for row in cli.json("history")["messages"]:
        assert row["message"] in columns[0]
        assert row["email"] in columns[3]
    without = cli.with_env(NO_COLOR="1").on_terminal("history").out
    assert not re.search(r"\x1b\[(3[0-9]|4[0-9]|9[0-9]|38;)", without)
    assert "Sending" not in cli.on_terminal("send", 1).out


def _column(table: str, place: int) -> str:
    """The text of one column of a folded table, its lines put together again."""
    lines = [line.rstrip("\r\n") for line in table.splitlines()]
    head = next(line for line in lines if "message" in line)
    starts = [match.start() for match in re.finditer(r"\S+", head)]
    ends = [*starts[1:], 80]
    return "".join(line[max(starts[place] - 1, 0) : ends[place] - 1].strip() for line in lines[lines.index(head) + 2 :])


def test_a_reader_that_leaves_early_hears_no_complaint(world: World) -> None:
    cli = world("small sent")
    process = cli.start("history", "--format", "csv")
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate()
    assert err.decode() == ""


# --- exit codes ---------------------------------------------------------------------------------------------------


def test_exit_codes(world: World) -> None:
    """0, 1, 2 and 3 on one world; 4 and 130 need trouble and are met in test_crash.py and test_bad_input.py."""
    cli = world("small planned")
    cli("status", code=0)
    cli("status", 9, code=2)
    cli("send", 1, "--yes", "--expect", 12, code=3)
    page = cli.folder / "downloads" / f"NordX_RIVER1x_1T2026_grade_report_{STAMP:%Y-%m-%d}-2359.csv"
    page.write_text("<html>Service unavailable</html>", encoding="utf-8")
    assert "refused" in cli("ingest", "downloads", code=1).out
