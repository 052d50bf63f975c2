"""``check`` as people and scripts meet it: keys, exit codes, the terminal, and what it does to an approval."""

import re
from pathlib import Path

from tests.acceptance.conftest import World
from tests.acceptance.runner import Cli

FINDING_KEYS = {"severity", "code", "message", "part", "line", "shapes", "mend", "file", "learners", "accepted"}


def edit(cli: Cli, name: str, old: str, new: str) -> None:
    path: Path = cli.folder / "templates" / "emails" / "river" / name
    content = path.read_text(encoding="utf-8")
    assert content.count(old) == 1
    path.write_text(content.replace(old, new), encoding="utf-8")


def test_check_has_the_keys_of_the_contract_and_says_what_blocks(world: World) -> None:
    cli = world("small planned")
    fine = cli.json("check", "river")
    assert fine.keys() >= {"findings", "not_checked", "counts", "shapes", "learners"}
    assert all(finding.keys() >= FINDING_KEYS for finding in fine["findings"])
    assert fine["counts"]["block"] == 0
    assert fine["learners"] == 12
    edit(cli, "body.html", '"{{ next.link }}"', '""')
    found = cli.json("check", "river", code=3)
    (blocking,) = [each for each in found["findings"] if each["severity"] == "block"]
    assert (blocking["code"], blocking["file"], blocking["line"]) == ("empty-link", "river/body.html", 4)
    assert (blocking["part"], blocking["learners"]) == ("html", 12)
    edit(cli, "body.html", "{{ trigger.title }}", "{{ trigger.tilte }}")
    assert "trigger.title?" in cli("check", "river", code=3).out
    assert "Did you mean 'river'?" in cli("check", "rivver", code=2).err


def test_a_finding_that_blocks_stops_the_approval_and_nothing_else_does(world: World) -> None:
    cli = world("small planned")
    cli("cancel", 1)
    edit(cli, "body.html", '"{{ next.link }}"', '"#"')
    plan = cli.json("dry-run", "river")
    assert plan["findings"]["block"] == 1
    refused = cli("approve", 2, code=3)
    assert "river/body.html:4" in refused.err
    assert "still only planned" in refused.err
    assert "mmcampaign dry-run river" in refused.err
    assert cli.json("status", 2)["campaigns"][0]["state"] == "planned"
    edit(cli, "body.html", '"#"', '"{{ next.link }}"')
    cli("cancel", 2)
    again = cli.json("dry-run", "river")
    assert again["findings"]["block"] == 0 and again["findings"]["warn"] > 1
    approved = cli("approve", 3)
    assert f"{again['findings']['warn']} warnings about its emails are open; see its report." in approved.err
    assert cli.json("send", 3, "--yes", "--expect", 12)["accepted"] == 12


def test_a_warning_is_accepted_with_a_reason(world: World) -> None:
    cli = world("small planned")
    said = cli("check", "river", "--accept", "no-language", "--reason", "one reader only", "--by", "Ola")
    assert "Accepted: one reader only (Ola)" in said.out
    warned = {each["code"]: each for each in cli.json("check", "river")["findings"]}
    assert warned["no-language"]["accepted"] == "one reader only (Ola)"
    assert cli.json("dry-run", "river")["findings"]["accepted"] == 1
    assert [entry["act"] for entry in cli.json("audit")["entries"]] == ["planned", "accepted findings", "planned"]
    assert "needs a reason" in cli("check", "river", "--accept", "no-language", code=2).err
    assert "Warnings there are" in cli("check", "river", "--accept", "nonsense", "--reason", "x", code=2).err


def test_a_terminal_of_80_columns_holds_every_finding(world: World) -> None:
    cli = world("small planned")
    seen = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", cli.on_terminal("check", "river").out)
    assert max(map(len, seen.splitlines())) <= 80
    folded = " ".join(seen.split())
    for finding in cli.json("check", "river")["findings"]:
        assert finding["message"] in folded
        assert finding["mend"] in folded
