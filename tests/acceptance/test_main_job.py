"""The main job from edX's files to the log of every send, through each backend, on the demo's learners."""

import csv
import hashlib
import json
import random
import re
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from datetime import timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import pytest

from mmcampaign.app import open_app
from mmcampaign.history import show
from tests.acceptance.conftest import World
from tests.acceptance.runner import SECRET, Cli, Result
from tests.acceptance.sinks import FileSink, SendgridSink, Sink, SmtpSink, file_sink, sendgrid_sink, smtp_sink
from tests.acceptance.worlds import STAMP, Person, write_reports

SINKS: dict[str, Callable[[Cli], AbstractContextManager[Any]]] = {
    "file": file_sink,
    "smtp": smtp_sink,
    "sendgrid": sendgrid_sink,
}
# Other reasons concern one course: the same learner may be written to about another.
ABOUT_THE_PERSON = {"account_retired", "no_address", "invalid_address", "staff_account", "duplicate_address"}
ABOUT_THE_PERSON |= {"program_complete", "recently_mailed", "held_out"}


@dataclass(frozen=True, kw_only=True)
class Arrived:
    """A message at the receiving side."""

    message: str
    address: str
    subject: str
    text: str
    html: str
    unsubscribe: str


def arrived(sink: Sink) -> list[Arrived]:
    if isinstance(sink, SendgridSink):
        return [_from_sendgrid(mail) for mail in sink.mails]
    if isinstance(sink, SmtpSink):
        for mail in sink.mails:
            assert [message_from_bytes(mail.content, policy=default)["To"].addresses[0].addr_spec] == [*mail.recipients]
        return [_from_bytes(mail.content) for mail in sink.mails]
    assert isinstance(sink, FileSink)
    return [_from_bytes(path.read_bytes()) for path in sink.files()]


def _from_sendgrid(mail: Any) -> Arrived:
    headers = mail.headers
    assert headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    return Arrived(
        message=headers["X-MMCampaign-Message"],
        address=mail.to_email,
        subject=mail.subject,
        text=mail.text,
        html=mail.html,
        unsubscribe=headers["List-Unsubscribe"],
    )


def _from_bytes(content: bytes) -> Arrived:
    """Read by the standard library; everything that contract 6 asks of a message."""
    message = message_from_bytes(content, policy=default)
    assert isinstance(message, EmailMessage)
    assert not message.defects
    assert max(map(len, content.split(b"\r\n"))) <= 998
    assert b"\n" not in content.replace(b"\r\n", b"")
    assert message.get_content_type() == "multipart/alternative"
    parts = list(message.iter_parts())
    assert [part.get_content_type() for part in parts] == ["text/plain", "text/html"]
    assert {part.get_content_charset() for part in parts} == {"utf-8"}
    for name in ("To", "From", "Subject", "Message-ID", "Date", "List-Unsubscribe", "X-MMCampaign-Message"):
        assert len(message.get_all(name, [])) == 1, name
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert re.search(rb"\r\nList-Unsubscribe: <https://[^\s>]+>\r\n", content), "the link must not be folded"
    (to,) = message["To"].addresses
    text, html = (part.get_content() for part in parts)
    return Arrived(
        message=str(message["X-MMCampaign-Message"]),
        address=to.addr_spec,
        subject=str(message["Subject"]),
        text=text,
        html=html,
        unsubscribe=str(message["List-Unsubscribe"]),
    )


def ledger(folder: Path, campaign: int) -> Counter[str]:
    with closing(sqlite3.connect(folder / "mmcampaign.db")) as connection:
        query = "SELECT status, count(*) FROM messages WHERE campaign_id = ? GROUP BY status"
        return Counter(dict(connection.execute(query, (campaign,))))


def recipients(report: str) -> list[dict[str, str]]:
    with (Path(report).parent / "recipients.csv").open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))


def excluded(report: str) -> list[dict[str, str]]:
    with (Path(report).parent / "excluded.csv").open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("backend", SINKS)
def test_each_chosen_learner_gets_one_email_and_the_log_can_show_it(world: World, backend: str) -> None:
    with SINKS[backend](world("shipped")) as sink:
        cli: Cli = sink.cli
        talk: list[Result] = []

        def call(*words: object) -> Any:
            talk.append(cli(*words, "--json"))
            return talk[-1].json

        cohort = call("cohort", "engy")
        plan = call("dry-run", "engy")
        number = plan["recipients"]
        assert number == len(cohort["chosen"]) > 100
        call("approve", 1)
        sent = call("send", 1, "--yes", "--expect", number)
        assert (sent["state"], sent["accepted"]) == ("finished", number)
        assert ledger(cli.folder, 1) == {"accepted": number}
        require_same_people(arrived(sink), cohort["chosen"], plan, call("history", "--campaign", 1)["messages"])

        again = call("send", 1)
        assert again == sent
        assert sink.counts().total() == number
        (status,) = call("status", 1)["campaigns"]
        assert status["considered"] == status["chosen"] + status["excluded"] == number + len(cohort["excluded"])
        assert status["accepted"] == number
        require_shown_as_sent(cli, sink, talk)
        if backend == "file":
            require_second_campaign(cli, sink, call)
        require_private(cli, talk)


def trigger_of(row: dict[str, str]) -> tuple[str, str, str]:
    return row["student_id"], row["cohort"], row["trigger_course"]


def require_same_people(
    found: list[Arrived], chosen: list[dict[str, Any]], plan: dict[str, Any], log: list[dict[str, Any]]
) -> None:
    """Cohort, dry run, receiving side and log name the same people, each once."""
    assert len({mail.message for mail in found}) == len({mail.address.casefold() for mail in found}) == len(found)
    planned = recipients(plan["report"])
    assert {int(row["student_id"]) for row in planned} == {row["student_id"] for row in chosen}
    assert sorted(row["email"] for row in planned) == sorted(row["email"] for row in chosen)
    assert {mail.address.casefold() for mail in found} == {row["email"].casefold() for row in chosen}
    assert {(row["message"], row["email"].casefold()) for row in log} == {
        (mail.message, mail.address.casefold()) for mail in found
    }
    assert all(row["status"] == "accepted" and row["sent_at"] and row["provider_message_id"] for row in log)
    left_out = excluded(plan["report"])
    barred = {int(row["student_id"]) for row in left_out if row["reason"] in ABOUT_THE_PERSON}
    assert barred
    assert not barred & {row["student_id"] for row in chosen}
    assert not {trigger_of(row) for row in left_out} & {trigger_of(row) for row in planned}
    assert sum(plan["excluded"].values()) == len(left_out)
    for mail in found:
        link = mail.unsubscribe.strip("<>")
        assert link.startswith("https://mail.example.edu/u/")
        assert link in mail.text
        assert link in mail.html
        assert not re.search(r"\{\{|\}\}|\{%|\bNone\b|undefined", mail.subject + mail.text)
    assert len({mail.unsubscribe for mail in found}) == len(found)


def require_shown_as_sent(cli: Cli, sink: Sink, talk: list[Result]) -> None:
    """Every message again, byte for byte: all of them in one process, three through the command."""
    content = {}
    if isinstance(sink, FileSink):
        content = {path.stem: path.read_bytes() for path in sink.files()}
        mbox = (sink.folder / "1" / "campaign.mbox").read_bytes()
        assert mbox.count(b"\nX-MMCampaign-Message: ") == len(content)
    elif isinstance(sink, SmtpSink):
        content = {_from_bytes(mail.content).message: mail.content for mail in sink.mails}
    app = open_app(cli.folder / "config.toml", {"MMCAMPAIGN_SECRET_KEY": SECRET}, cwd=cli.folder, actor="kim")
    for mail in arrived(sink):
        shown = show(app, mail.message)
        assert shown.reproduced is True
        if content:  # SendGrid writes the message itself: there the digest is of what it was told
            assert hashlib.sha256(shown.eml).hexdigest() == shown.facts["digest"]
        assert (shown.subject, _lines(shown.text), _lines(shown.html)) == (
            mail.subject,
            _lines(mail.text),
            _lines(mail.html),
        )
        if content:
            assert shown.eml.rstrip(b"\r\n") == content[mail.message].rstrip(b"\r\n")
    app.store.close()
    for key in random.Random(1).sample(sorted(content), min(3, len(content))):
        talk.append(cli("show", key, "--eml", "--out", "one.eml"))
        assert (cli.folder / "one.eml").read_bytes().rstrip(b"\r\n") == content[key].rstrip(b"\r\n")


def _lines(text: str) -> list[str]:
    return text.strip().splitlines()


def require_second_campaign(cli: Cli, sink: Sink, call: Callable[..., Any]) -> None:
    """Who has just heard from us is left out of the next program's campaign, and the same campaign again is empty."""
    mailed = {row["student_id"] for row in call("history")["messages"]}
    other = call("dry-run", "lgdm")
    recent = {int(row["student_id"]) for row in excluded(other["report"]) if row["reason"] == "recently_mailed"}
    assert recent <= mailed
    assert not mailed & {int(row["student_id"]) for row in recipients(other["report"])}
    call("approve", 2)
    call("send", 2, "--yes", "--expect", other["recipients"])
    assert Counter(Counter(mail.address.casefold() for mail in arrived(sink)).values()).keys() == {1}
    assert call("dry-run", "engy")["recipients"] == 0


def require_private(cli: Cli, talk: list[Result]) -> None:
    """Addresses and names of learners stand where they were asked for: never in what is logged or said."""
    with closing(sqlite3.connect(cli.folder / "mmcampaign.db")) as connection:
        people = connection.execute("SELECT email, name, username FROM learners").fetchall()
        audit = json.dumps(connection.execute("SELECT * FROM audit_log").fetchall(), ensure_ascii=False)
    private = {word for row in people for word in row if word and len(word) > 6}
    assert len(private) > 10_000
    said = "\n".join(result.err for result in talk) + audit
    assert "campaign 1" in said
    assert [word for word in private if word in said] == []


def test_the_way_to_a_dry_run_on_the_demo(world: World) -> None:
    """What a person looks at before anything is planned agrees with each other and writes nothing but files."""
    cli = world("shipped")
    summary = cli("report", "engy")
    assert "Sustainable Energy" in summary.out
    rows = json.loads(cli("report", "engy", "--format", "json").out)
    chosen = cli.json("cohort", "engy")["chosen"]
    certified = {row["student_id"]: row["no_certificate_eligible"] for row in rows}
    assert all(certified[row["student_id"]] >= row["certificates_earned"] for row in chosen)
    emails = cli.json("preview", "engy")["emails"]
    assert sum(email["learners"] for email in emails) == len(chosen)
    for email in emails:
        _from_bytes(Path(email["eml"]).read_bytes())
    assert cli.json("status")["campaigns"] == []
    assert not (cli.folder / "outbox").exists()


def test_who_heard_from_us_lately_is_left_out_of_the_next_campaign(world: World) -> None:
    """A learner mailed about one course passes another the day after: a new reason to write, but too soon."""
    cli = world("small sent")
    learners = [Person(number=1_001), Person(number=5_000)]
    write_reports(cli.folder / "newer", learners, stamp=STAMP + timedelta(hours=3), courses="2", attended="2")
    cli("ingest", "newer")
    found = cli.json("cohort", "river")
    assert [row["student_id"] for row in found["chosen"]] == [5_000]
    reasons = {(row["student_id"], row["trigger_course"]): row["reason"] for row in found["excluded"]}
    assert reasons[1_001, "river2x"] == "recently_mailed"
    assert reasons[1_002, "river1x"] == "already_mailed"
    later = (STAMP + timedelta(days=20)).date().isoformat()
    assert {row["student_id"] for row in cli.json("cohort", "river", "--today", later)["chosen"]} == {1_001, 5_000}
