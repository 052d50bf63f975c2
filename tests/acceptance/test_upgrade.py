"""A campaign half sent by an earlier version: its database is brought forward by one command, and sending goes on."""

from contextlib import closing

import pytest

from mmcampaign.store.engine import connect, head_revision
from tests.acceptance.conftest import World
from tests.migrations import go_back


@pytest.mark.parametrize("revision", ["0001", "0004", "0005"])
def test_a_campaign_half_sent_by_an_earlier_version_is_finished_by_this_one(world: World, revision: str) -> None:
    cli = world("small approved")
    cli.json("send", 1, "--yes", "--expect", 5, "--limit", 5)
    before = cli.json("history")["messages"]
    with closing(connect(f"sqlite:///{cli.folder / 'mmcampaign.db'}")) as store:
        go_back(store, revision)
    assert f"older schema ({revision}" in cli("status", code=4).err
    assert f"at {head_revision()} (was {revision})" in cli("db", "upgrade").out
    assert not list(cli.folder.glob("mmcampaign.db-wal"))  # once it was as large as the database, and stayed
    assert cli("db", "upgrade").out.endswith("nothing to do.\n")
    assert cli.json("history")["messages"] == before
    sent = [row["message"] for row in before if row["status"] == "accepted"]
    assert [cli.json("show", message)["reproduced"] for message in sent] == [True] * 5
    assert cli.json("send", 1, "--yes", "--expect", 7)["accepted"] == 12
