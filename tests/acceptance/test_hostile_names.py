"""Names that try to be headers, templates, scripts or formulas, on the whole way from the report to the log."""

import csv
from email import message_from_bytes
from email.policy import default
from pathlib import Path

from lxml import html

from tests.acceptance.runner import Cli
from tests.acceptance.worlds import Person, make_river

NAMES = {
    "a header": "Mallory\r\nBcc: everybody@post.example",
    "a lone line feed": "Mallory\nX-Evil: 1",
    "a template": "{{7*7}} {% for x in y %} ${7*7}",
    "a script": '<script>alert("1")</script><img src=x onerror=alert(1)>',
    "an attribute": '" onmouseover="alert(1)" x="',
    "300 letters": "Ab " * 100,
    "quotes and commas": 'O"Neil, \\"Jo\\" <jo@post.example>; me',
    "right to left": "\u202etxt.exe Mallory\u202c",
    "a formula": '=HYPERLINK("https://evil.example","x")',
    "a formula behind a tab": "\t=1+1",
    "zero bytes of width": "\u200b\u2060+1+1",
    "no letters": "🙂🙂",
}
HOSTILE = [Person(number=1_000 + n, name=name) for n, name in enumerate(NAMES.values())]
HOSTILE.append(Person(number=2_000, name="Aoife O'Neil", email="aoife.o'neil+edx@post.example"))
SENT_HEADERS = {
    *("From", "To", "Reply-To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type"),
    *("Auto-Submitted", "Precedence", "List-Unsubscribe", "List-Unsubscribe-Post", "X-MMCampaign-Message"),
}


def test_hostile_names_harm_nobody_on_the_whole_way(tmp_path: Path) -> None:
    make_river(tmp_path / "world", HOSTILE)
    cli = Cli(folder=tmp_path / "world")
    cli("ingest", "downloads")
    cli("preview", "river")
    plan = cli.json("dry-run", "river")
    assert plan["recipients"] == len(HOSTILE)
    cli("approve", 1)
    sent = cli("send", 1, "--yes", "--expect", len(HOSTILE))
    assert not any(word in sent.said for word in ("Mallory", "evil", "alert"))
    files = sorted((cli.folder / "outbox" / "1").glob("*.eml"))
    assert len(files) == len(HOSTILE)
    for path in files:
        require_harmless(path.read_bytes())
    require_safe_lists(Path(plan["report"]).parent)
    page = html.fromstring(Path(plan["report"]).read_bytes())
    assert not page.xpath("//script[contains(., 'alert')] | //*[@onerror or @onmouseover]")
    listed = cli("history").out.splitlines()
    assert len(listed) == 1 + len(HOSTILE)
    for form in ("report", "history"):
        text = cli(*((form, "river") if form == "report" else (form,)), "--format", "csv").out
        assert not [cell for row in csv.reader(text.splitlines()) for cell in row if is_formula(cell)]


def require_harmless(content: bytes) -> None:
    message = message_from_bytes(content, policy=default)
    assert not message.defects
    assert sorted(message.keys()) == sorted(SENT_HEADERS)
    assert len(message["To"].addresses) == 1
    assert message["To"].addresses[0].addr_spec.endswith("@post.example")
    assert max(map(len, content.split(b"\r\n"))) <= 998
    text, page = (part.get_content() for part in message.iter_parts())
    assert "49" not in text.splitlines()[0]
    tree = html.fromstring(page)
    assert not tree.xpath("//script | //img | //*[@onerror or @onmouseover]")


def require_safe_lists(folder: Path) -> None:
    with (folder / "recipients.csv").open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == len(HOSTILE)
    assert not [cell for row in rows for cell in row.values() if is_formula(cell)]
    assert "aoife.o'neil+edx@post.example" in {row["email"] for row in rows}


def is_formula(cell: str) -> bool:
    """Whether a spreadsheet would run the cell: what it starts with, blanks and invisible characters aside."""
    return cell.lstrip(" \t\r\n\u200b\u2060\ufeff\u202e")[:1] in tuple("=+@") and len(cell) > 1
