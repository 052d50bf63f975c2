"""test-send and templates through the installed command."""

from tests.acceptance.conftest import World

SENT = {"address", "shape", "learners", "subject", "status", "provider_message_id", "error"}


def test_samples_reach_staff_and_no_learners_log(world: World) -> None:
    cli = world("small planned")
    sent = cli.json("test-send", 1, "kim@nordx.example", "jo@nordx.example")["sent"]
    assert all(each.keys() == SENT for each in sent)
    assert {each["status"] for each in sent} == {"accepted"}
    assert all((cli.folder / "outbox" / each["provider_message_id"]).is_file() for each in sent)
    (row,) = cli.json("status", 1)["campaigns"]
    assert (row["pending"], row["accepted"]) == (12, 0)
    assert {message["status"] for message in cli.json("history")["messages"]} == {"pending"}
    assert cli.json("audit", "--verify")["entries"][-1]["act"] == "test sent"
    alone = cli.json("test-send", 1, "kim@nordx.example", "--learner", "learner1003")["sent"]
    assert [each["subject"] for each in alone] == ["TEST: Well done, Quelle Nummer1003"]
    assert "Next: Give addresses of staff" in cli("test-send", 1, "learner1001@post.example", code=3).said


def test_a_new_template_is_used_by_a_program(world: World) -> None:
    cli = world("small")
    cli("ingest", "downloads")
    made = cli("templates", "new", "lake")
    assert made.out == "templates/emails/lake\n"
    assert 'template = "lake"' in made.err
    assert cli("templates", "new", "lake", code=2).said.startswith("Error: There is a template lake already")
    config = cli.folder / "config.toml"
    config.write_text(config.read_text("utf-8").replace('template = "river"', 'template = "lake"'), "utf-8")
    users = {each["name"]: each["programs"] for each in cli.json("templates", "list")["templates"]}
    assert users["lake"] == ["river"]
    emails = cli.json("preview", "river")["emails"]
    subjects = {email["subject"] for email in emails}
    assert subjects == {"You passed Springs & brooks", "Certificate earned. Next: Deltas"}
