"""What a killed process leaves behind, and two senders at once."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from threading import Thread

import pytest
from sqlalchemy import update

from mmcampaign.errors import UnavailableError
from mmcampaign.history import campaign_list
from mmcampaign.model import CampaignState, MessageStatus
from mmcampaign.store.tables import campaigns
from mmcampaign.testing import MemoryBackend
from tests.builders import (
    NOW,
)
from tests.steps import acts, address, approved, go, kill_during, open_counts, rows
from tests.worlds import (
    Clock,
    TestApp,
)

S, M = CampaignState, MessageStatus


def test_messages_left_behind_are_in_doubt_and_never_sent_again(make: Callable[..., TestApp]):
    backend = MemoryBackend()
    app = make(6, backend=backend)
    campaign = approved(app)
    claimed = kill_during(app, campaign)
    app.clock.now += timedelta(hours=1)
    done, _ = go(app, campaign)
    assert (done.state, open_counts(done)) == (S.SENDING, {"accepted": 4, "unknown": 2})
    assert not {message.message_id for message in claimed} & {message.message_id for message in backend.taken}
    assert {row.error for row in rows(app, done) if row.status == M.UNKNOWN} == {
        "the sending process ended before the answer"
    }
    assert "settled after an interruption" in acts(app)


def test_the_file_backend_proves_what_it_took(make: Callable[..., TestApp]):
    """On PostgreSQL the sender may have stood on another machine: a file that is not here proves nothing."""
    app = make(6)
    alone = app.store.dialect == "sqlite"
    campaign = approved(app)
    handed_over, not_yet = kill_during(app, campaign, provider="file", hand_over=True)
    app.clock.now += timedelta(hours=1)
    done, _ = go(app, campaign, backend="file")
    assert open_counts(done) == ({"accepted": 6} if alone else {"accepted": 5, "unknown": 1})
    by_id = {row.id: row for row in rows(app, done)}
    assert (by_id[handed_over.id].attempts, by_id[not_yet.id].attempts) == (1, 2 if alone else 1)
    assert by_id[handed_over.id].sent_at == NOW
    folder = app.settings.delivery.file.dir / str(campaign.id)
    assert len(list(folder.glob("*.eml"))) == (6 if alone else 5)


def test_another_backend_proves_nothing(make: Callable[..., TestApp]):
    app = make(4)
    campaign = approved(app)
    kill_during(app, campaign, provider="file")
    app.clock.now += timedelta(hours=1)
    done, _ = go(app, campaign)
    assert open_counts(done)["unknown"] == 2


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_on_postgresql_a_fresh_lease_is_left_to_its_owner(make: Callable[..., TestApp]):
    app = make(4)
    campaign = approved(app)
    kill_during(app, campaign)
    done, _ = go(app, campaign)
    assert open_counts(done) == {"accepted": 2, "sending": 2}
    assert (done.state, done.unfinished) == (S.SENDING, True)


def test_a_sum_that_does_not_add_up_stops_everything(make: Callable[..., TestApp]):
    app = make(3)
    campaign = approved(app)
    with app.store.write() as connection:
        connection.execute(update(campaigns).values(accepted=1))
    with pytest.raises(UnavailableError, match="does not add up"):
        go(app, campaign)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_two_senders_at_once_write_to_everybody_once(make: Callable[..., TestApp]):
    app = make(40)
    campaign = approved(app)
    backends = [MemoryBackend(batch_size=3), MemoryBackend(batch_size=4)]
    trouble: list[BaseException] = []

    def work(backend: MemoryBackend) -> None:
        mine = replace(app, swapped=backend, clock=Clock())
        try:
            go(mine, campaign)
        except BaseException as error:
            trouble.append(error)

    threads = [Thread(target=work, args=(backend,)) for backend in backends]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert trouble == []
    [done] = campaign_list(app, campaign.id)
    assert (done.state, open_counts(done)) == (S.FINISHED, {"accepted": 40})
    taken = Counter(message.to_email for backend in backends for message in backend.taken)
    assert taken == {address(number): 1 for number in range(1, 41)}
