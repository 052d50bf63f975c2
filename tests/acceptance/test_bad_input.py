"""What people get wrong, and what breaks around us: an exit code, a sentence, a next step, and nothing changed."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.acceptance.conftest import World
from tests.acceptance.runner import Cli
from tests.acceptance.worlds import STAMP, Person, configure, people, planned, write_reports


def dump(folder: Path) -> list[str]:
    """The whole database as SQL, read without the program; nothing when there is none or it is none."""
    path = folder / "mmcampaign.db"
    if not path.exists():
        return []
    with closing(sqlite3.connect(path)) as connection:
        try:
            return list(connection.iterdump())
        except sqlite3.DatabaseError:
            return [path.read_bytes().hex()]


def replace_in(name: str, old: str, new: str) -> Callable[[Cli], None]:
    def edit(cli: Cli) -> None:
        path = cli.folder / name
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    return edit


def write(name: str, content: str) -> Callable[[Cli], None]:
    def put(cli: Cli) -> None:
        (cli.folder / name).write_text(content, encoding="utf-8")

    return put


def delete(name: str) -> Callable[[Cli], None]:
    return lambda cli: (cli.folder / name).unlink()


def run(*words: object) -> Callable[[Cli], object]:
    return lambda cli: cli(*words)


def sql(statement: str) -> Callable[[Cli], None]:
    def change(cli: Cli) -> None:
        with closing(sqlite3.connect(cli.folder / "mmcampaign.db")) as connection:
            connection.execute(statement)
            connection.commit()

    return change


def other_grades(cli: Cli) -> None:
    """A newer export in which one of those planned has failed, and one has another name."""
    changed = {1001: Person(number=1001, grade=0.1), 1002: Person(number=1002, name="Another Name")}
    learners = [changed.get(person.number, person) for person in people(12)]
    write_reports(cli.folder / "newer", learners, stamp=STAMP + timedelta(hours=3))
    cli("ingest", "newer")


@dataclass(frozen=True, kw_only=True)
class Case:
    """``says`` must all stand in stderr; the database must be after the call what it was before."""

    world: str
    before: Callable[[Cli], object] = lambda cli: None
    words: tuple[object, ...]
    code: int
    says: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)


SEND = ("send", 1, "--yes", "--expect", 12)
HTML = "templates/emails/river/body.html"
CASES = {
    # what is read
    "an empty folder": Case(
        world="small",
        before=lambda cli: (cli.folder / "empty").mkdir(),
        words=("ingest", "empty"),
        code=2,
        says=("no file in the folder empty", "Nothing was ingested"),
    ),
    "a path that is not there": Case(
        world="small", words=("ingest", "download"), code=2, says=("no file or folder download",)
    ),
    "an unknown program": Case(
        world="small planned", words=("cohort", "rivr"), code=2, says=("Did you mean 'river'?", "Programs: river")
    ),
    "an unknown program for ingest": Case(
        world="small planned",
        words=("ingest", "downloads", "--program", "rivr"),
        code=2,
        says=("Did you mean 'river'?",),
    ),
    "an unknown learner": Case(
        world="small planned", words=("explain", "river", "nobody"), code=2, says=("No learner 'nobody'",)
    ),
    "a dry run before any report": Case(
        world="small", words=("dry-run", "river"), code=2, says=("No report", "mmcampaign ingest")
    ),
    # templates
    "a value that templates do not have": Case(
        world="small planned",
        before=replace_in(HTML, "{{ learner.name }}", "{{ learner.nmae }}"),
        words=("dry-run", "river"),
        code=2,
        says=("nmae", "body.html", "line 3"),
    ),
    "a template that is no template": Case(
        world="small planned",
        before=replace_in(HTML, "{% endif %}", ""),
        words=("preview", "river"),
        code=2,
        says=("body.html", "line"),
    ),
    "a template file that is gone": Case(
        world="small planned",
        before=delete("templates/emails/river/body.txt"),
        words=("dry-run", "river"),
        code=2,
        says=("body.txt",),
    ),
    # configuration
    "several problems in config.toml": Case(
        world="small planned",
        before=lambda cli: configure(cli.folder, timezone='"Europe/Olso"', passing_grade="65", backend='"fax"'),
        words=("status",),
        code=2,
        says=("3 problems", "site.timezone", "passing_grade", "mail.backend"),
    ),
    "an unknown key": Case(
        world="small planned",
        before=replace_in("config.toml", "reply_to =", "replyto ="),
        words=("status",),
        code=2,
        says=("mail.replyto", "Did you mean 'reply_to'?"),
    ),
    "config.toml that is no TOML": Case(
        world="small planned", before=write("config.toml", "[site\n"), words=("status",), code=2, says=("line 1",)
    ),
    "no config.toml anywhere": Case(
        world="small planned",
        before=delete("config.toml"),
        words=("status",),
        code=2,
        says=("no config.toml in", "--config"),
    ),
    "a config.toml that is named and not there": Case(
        world="small planned", words=("--config", "other.toml", "status"), code=2, says=("other.toml", "--config")
    ),
    # the database
    "a file that is no database": Case(
        world="small planned",
        before=write("mmcampaign.db", "Dear diary, today I learnt about databases. " * 40),
        words=("status",),
        code=2,
        says=("not a database file", "not touched"),
    ),
    "an older schema": Case(
        world="small planned",
        before=sql("UPDATE alembic_version SET version_num = '0000'"),
        words=("status",),
        code=4,
        says=("older schema", "mmcampaign db upgrade"),
    ),
    "a newer schema": Case(
        world="small planned",
        before=sql("UPDATE alembic_version SET version_num = '9999'"),
        words=("db", "check"),
        code=4,
        says=("newer mmcampaign",),
    ),
    # approval
    "approving twice": Case(
        world="small approved", words=("approve", 1), code=3, says=("is approved", "cannot become approved")
    ),
    "approving nobody": Case(
        world="small sent", before=run("dry-run", "river"), words=("approve", 2), code=3, says=("no recipients",)
    ),
    "approving one's own plan where a second person must": Case(
        world="small planned",
        before=lambda cli: configure(cli.folder, '\n[policy]\napproval = "second-person"\n'),
        words=("approve", 1),
        code=3,
        says=("somebody else must approve", "still only planned"),
    ),
    "rejecting what is approved": Case(
        world="small approved", words=("reject", 1), code=3, says=("only a planned one can be rejected",)
    ),
    "approving what is not there": Case(world="small planned", words=("approve", 5), code=2, says=("no campaign 5",)),
    "approving what has drifted": Case(
        world="small planned",
        before=replace_in(HTML, "Dear", "Dearest"),
        words=("approve", 1),
        code=3,
        says=("no longer what was planned", "body.html"),
    ),
    # sending
    "sending what is not approved": Case(
        world="small planned", words=SEND, code=3, says=("not approved", "Nothing was sent", "mmcampaign approve 1")
    ),
    "sending after the template changed": Case(
        world="small approved",
        before=replace_in(HTML, "Dear", "Dearest"),
        words=SEND,
        code=3,
        says=("no longer what was planned", "body.html", "Nothing was sent"),
    ),
    "sending after the configuration changed": Case(
        world="small approved",
        before=replace_in("config.toml", "https://nordx.example/river2x", "https://nordx.example/other"),
        words=SEND,
        code=3,
        says=("no longer what was planned", "Nothing was sent"),
    ),
    "sending after the data changed": Case(
        world="small approved",
        before=other_grades,
        words=SEND,
        code=3,
        says=("learners who were planned but would not be chosen now: 1 (edX user 1001)", "edX user 1002"),
    ),
    "sending what was cancelled": Case(
        world="small approved", before=run("cancel", 1), words=SEND, code=3, says=("was cancelled",)
    ),
    "sending what is not there": Case(world="small approved", words=("send", 7), code=2, says=("no campaign 7",)),
    "a wrong number": Case(
        world="small approved",
        words=("send", 1, "--yes", "--expect", 13),
        code=3,
        says=("12 emails would be sent, but --expect says 13", "Nothing was sent"),
    ),
    "no number": Case(world="small approved", words=("send", 1, "--yes"), code=3, says=("--yes needs --expect",)),
    "no terminal": Case(
        world="small approved", words=("send", 1), code=3, says=("no terminal", "mmcampaign send 1 --yes --expect 12")
    ),
    "no key for SendGrid": Case(
        world="small approved", words=(*SEND, "--backend", "sendgrid"), code=2, says=("SENDGRID_API_KEY is not set",)
    ),
    "a backend that is not there": Case(
        world="small approved", words=(*SEND, "--backend", "fax"), code=2, says=("no backend 'fax'", "sendgrid")
    ),
    "unsubscribe links that would not work": Case(
        world="small",
        before=lambda cli: planned(cli.with_env(MMCAMPAIGN_SECRET_KEY=""))("approve", 1),
        words=(*SEND, "--backend", "smtp"),
        env={"MMCAMPAIGN_SECRET_KEY": ""},
        code=3,
        says=("without a secret key", "MMCAMPAIGN_SECRET_KEY"),
    ),
    # looking back
    "a message that is not there": Case(
        world="small sent", words=("show", "0123456789abcdef"), code=2, says=("no message '0123456789abcdef'",)
    ),
    "a status that is not there": Case(world="small sent", words=("status", 9), code=2, says=("no campaign 9",)),
    "a folder that is not there for a report": Case(
        world="small sent",
        words=("report", "river", "--format", "csv", "--out", "no/r.csv"),
        code=2,
        says=("no/r.csv", "--out"),
    ),
    "an address that is none": Case(
        world="small sent", words=("suppress", "add", "kim"), code=2, says=("'kim' is", "The list is as it was")
    ),
    "an address that is not on the list": Case(
        world="small sent", words=("suppress", "remove", "kim"), code=2, says=("not on the list",)
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_is_refused_with_a_sentence_and_changes_nothing(case: Case, world: World) -> None:
    cli = replace(world(case.world), env=case.env)
    case.before(cli)
    state = dump(cli.folder)
    said = cli(*case.words, code=case.code)
    for words in case.says:
        assert words in said.err
    assert dump(cli.folder) == state
    assert said.out == ""


# --- files --------------------------------------------------------------------------------------------------------


def test_files_that_are_not_what_they_say_are_refused_and_the_others_read(world: World) -> None:
    cli = world("small")
    pdf = f"NordX_RIVER1x_1T2026_grade_report_{STAMP:%Y-%m-%d}-2358.csv"
    (cli.folder / "downloads" / pdf).write_bytes(b"%PDF-1.7\n\xe2\xe3\xcf\xd3\n1 0 obj\n")
    (cli.folder / "downloads" / "notes.txt").write_text("Ring Kim", encoding="utf-8")
    read = cli("ingest", "downloads", code=1)
    assert f"{pdf}: " in read.err
    rows = {row["name"]: row for row in cli.json("imports")["imports"]}
    assert rows[pdf]["status"] == "refused"
    assert rows[pdf]["reason"]
    assert "notes.txt" in read.out
    assert len(cli.json("cohort", "river")["chosen"]) == 12


def test_a_course_without_reports_is_told_in_the_dry_run(world: World) -> None:
    cli = world("small")
    for path in (cli.folder / "downloads").glob("NordX_RIVER2x*"):
        path.unlink()
    cli("ingest", "downloads")
    assert "NordX_RIVER2x" in cli("dry-run", "river").err
