"""Pause, resume, the first wave, the send window, and a provider that wants fewer messages."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from mmcampaign.campaigns import cancel, pause, reject, resolve, resume
from mmcampaign.errors import RefusedError, UnavailableError
from mmcampaign.history import campaign_list
from mmcampaign.model import CampaignState, MessageStatus, Outcome, Outgoing, Receipt
from mmcampaign.sending import FIRST_WAVE
from mmcampaign.sending_run import PUT_OFFS_IN_A_ROW
from mmcampaign.store.campaigns import Campaign
from mmcampaign.store.tables import campaigns, messages, send_rates, shapes
from mmcampaign.testing import MemoryBackend
from tests.steps import DOWN, acts, address, approved, go, kill_during, open_counts, planned, rows
from tests.worlds import Scripted, TestApp, on_sqlite, with_mail

S, M = CampaignState, MessageStatus
TOO_FAST = Receipt(message_id="", outcome=Outcome.NOT_TAKEN, error="429 too many requests", slower=True)


class Smtp(Scripted):
    """A MemoryBackend that rate and hours hold back, as they do those that reach people."""

    name = "smtp"


def now(app: TestApp, campaign: Campaign) -> Campaign:
    return campaign_list(app, campaign.id)[0]


# --- pause and resume -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("unhurried")
def test_a_running_sender_stops_for_a_pause(make: Callable[..., TestApp]):
    backend = Scripted({}, batch_size=2)
    app = with_mail(make(7, backend=backend), claim_batch=2)
    campaign = approved(app)
    backend.on_batch = lambda: backend.batches and pause(replace(app, actor="lee"), campaign.id, note="wrong link")
    part, run = go(app, campaign)
    assert (part.state, part.pause_reason, part.paused_by) == (S.PAUSED, "wrong link", "lee")
    assert (open_counts(part), part.unfinished) == ({"accepted": 4, "pending": 3}, True)
    assert (run.told, run.trouble) == ("The campaign was paused by lee: wrong link.", "")
    assert acts(app)[-2:] == ["paused", "stopped part-way"]


def test_only_resuming_ends_a_persons_pause(make: Callable[..., TestApp]):
    backend = Scripted({}, batch_size=2)
    app = make(5, backend=backend)
    campaign = approved(app)
    go(app, campaign, limit=2)
    pause(app, campaign.id, note="wrong link")
    with pytest.raises(RefusedError, match="was paused by kim: wrong link") as raised:
        go(app, campaign)
    assert raised.value.todo.startswith(f"mmcampaign resume {campaign.id}")
    again = resume(app, campaign.id)
    assert (again.state, again.pause_reason, again.paused_by) == (S.SENDING, None, None)
    done, _ = go(app, campaign)
    assert (done.state, open_counts(done)) == (S.FINISHED, {"accepted": 5})
    assert len(backend.handed_over) == 5
    assert acts(app)[-4:] == ["paused", "resumed", "sending", "finished"]


@on_sqlite
def test_the_yes_of_whoever_sends_ends_a_pause_too(make: Callable[..., TestApp]):
    app = make(3)
    campaign = approved(app)
    go(app, campaign, limit=1)
    pause(app, campaign.id)
    done, _ = go(app, campaign, resume=True)
    assert (done.state, done.pause_reason, open_counts(done)) == (S.FINISHED, None, {"accepted": 3})


@on_sqlite
def test_pausing_and_resuming_twice_changes_nothing(make: Callable[..., TestApp]):
    app = make(3)
    campaign = approved(app)
    go(app, campaign, limit=1)
    first = pause(app, campaign.id, note="wrong link")
    assert pause(replace(app, actor="lee"), campaign.id, note="something else") == first
    assert resume(app, campaign.id) == resume(app, campaign.id)
    assert acts(app)[-2:] == ["paused", "resumed"]


@on_sqlite
def test_a_pause_for_trouble_becomes_a_persons(make: Callable[..., TestApp]):
    app = make(2, backend=Scripted({address(1): [DOWN]}))
    campaign = approved(app)
    part, _ = go(app, campaign)
    assert (part.state, part.pause_reason, part.paused_by) == (S.PAUSED, "connection refused", None)
    done = pause(app, campaign.id)
    assert (done.pause_reason, done.paused_by) == ("connection refused", "kim")
    with pytest.raises(RefusedError, match="paused by kim"):
        go(app, campaign)


@on_sqlite
@pytest.mark.parametrize("act", [pause, resume])
@pytest.mark.parametrize(
    ("prepare", "state"),
    [
        pytest.param(planned, "planned", id="planned"),
        pytest.param(approved, "approved", id="approved"),
        pytest.param(lambda app: reject(app, planned(app).id), "cancelled", id="rejected"),
        pytest.param(lambda app: go(app, approved(app))[0], "finished", id="finished"),
    ],
)
def test_only_what_is_being_sent_is_paused_or_resumed(
    make: Callable[..., TestApp], prepare: Any, state: str, act: Callable[[TestApp, int], Campaign]
):
    app = make(2)
    campaign = prepare(app)
    with pytest.raises(RefusedError, match=f"is {state}"):
        act(app, campaign.id)
    assert now(app, campaign) == campaign


def test_a_paused_campaign_can_be_cancelled_and_is_settled(make: Callable[..., TestApp]):
    app = make(4, backend=Scripted({address(1): [Outcome.UNKNOWN]}))
    campaign = approved(app)
    go(app, campaign, limit=2)
    pause(app, campaign.id)
    done = cancel(app, campaign.id)
    assert (done.state, done.pause_reason) == (S.CANCELLED, None)
    assert open_counts(done) == {"accepted": 1, "unknown": 1, "cancelled": 2}
    assert resolve(app, campaign.id, "accepted") == 1
    assert not now(app, campaign).unfinished


@pytest.mark.usefixtures("unhurried")
def test_trouble_does_not_undo_a_persons_pause(make: Callable[..., TestApp]):
    """The service goes down in the same moment: the campaign stays paused by the person."""
    backend = Scripted({address(1): [DOWN]}, batch_size=2)
    app = make(3, backend=backend)
    campaign = approved(app)
    backend.on_batch = partial(pause, app, campaign.id, note="wrong link")
    part, _ = go(app, campaign)
    assert (part.state, part.pause_reason, part.paused_by) == (S.PAUSED, "wrong link", "kim")


def test_a_backend_is_told_in_the_middle_of_a_batch(make: Callable[..., TestApp]):
    """What it had not begun goes back, without costing an attempt."""
    app = make(6)
    campaign = approved(app)

    class Slow(MemoryBackend):
        """Its third message takes so long that the pause is noticed."""

        def _answer(self, message: Outgoing) -> Receipt:
            if len(self.taken) == 2:
                pause(app, campaign.id, note="wrong link")
                while self.batches[0].may_go():
                    pass
            return super()._answer(message)

    part, run = go(replace(app, swapped=Slow()), campaign)
    assert (part.state, open_counts(part)) == (S.PAUSED, {"accepted": 3, "pending": 3})
    assert run.told == "The campaign was paused by kim: wrong link."
    assert run.trouble == ""
    assert [row.attempts for row in rows(app, part)] == [1, 1, 1, 0, 0, 0]


# --- the first wave -------------------------------------------------------------------------------------------------


def test_the_first_wave_goes_out_and_the_rest_waits_for_a_yes(make: Callable[..., TestApp]):
    backend = Scripted({address(2): [Outcome.FAILED]}, batch_size=2)
    app = make(8, backend=backend)
    campaign = approved(app)
    part, run = go(app, campaign, first=3)
    assert (part.state, part.pause_reason, part.paused_by) == (S.PAUSED, FIRST_WAVE, "kim")
    assert (open_counts(part), run.ended_first_wave) == ({"accepted": 2, "failed": 1, "pending": 5}, True)
    with pytest.raises(RefusedError, match="the first wave has gone out"):
        go(app, campaign)
    resume(app, campaign.id)
    done, run = go(app, campaign)
    assert (done.state, open_counts(done)) == (S.FINISHED, {"accepted": 7, "failed": 1})
    assert not run.ended_first_wave


def test_a_part_of_a_campaign_shows_many_shapes_and_the_rest_goes_shape_by_shape(make: Callable[..., TestApp]):
    backend = MemoryBackend(batch_size=2)
    app = make(9, backend=backend)
    campaign = approved(app)
    with app.store.write() as connection:
        shape = connection.execute(select(shapes)).one()._asdict()
        connection.execute(insert(shapes), {**shape, "digest": "0" * 64})
        connection.execute(update(messages).where(messages.c.learner_id % 2 == 0).values(shape_digest="0" * 64))
    go(app, campaign, first=3)
    resume(app, campaign.id)
    go(app, campaign, limit=1)
    go(app, campaign)
    addressed = [[message.to_email for message in batch.messages] for batch in backend.batches]
    assert addressed == [list(map(address, some)) for some in ([1, 2], [3], [4], [6, 8], [5, 7], [9])]


@on_sqlite
@pytest.mark.parametrize("first", [3, 4])
def test_a_first_wave_of_everybody_is_the_whole_campaign(make: Callable[..., TestApp], first: int):
    app = make(3)
    done, run = go(app, approved(app), first=first)
    assert (done.state, run.ended_first_wave) == (S.FINISHED, False)


@on_sqlite
def test_a_first_wave_that_is_cut_short_is_not_over(make: Callable[..., TestApp]):
    app = make(6, backend=Scripted({address(2): [DOWN]}, batch_size=1))
    part, run = go(app, approved(app), first=4)
    assert (part.pause_reason, part.paused_by, run.ended_first_wave) == ("connection refused", None, False)


# --- the send window ------------------------------------------------------------------------------------------------


def at_night(app: TestApp, clock: str = "22:00", window: str = "mon-fri 09:00-17:00") -> TestApp:
    """Tuesday, 15 June 2027, in the site's time zone, which is UTC."""
    hour, minute = map(int, clock.split(":"))
    app.clock.now = datetime(2027, 6, 15, hour, minute, tzinfo=UTC)
    site = app.settings.site.model_copy(update={"timezone": "UTC"})
    return with_mail(replace(app, settings=app.settings._replace(site=site)), send_window=window)


@on_sqlite
def test_outside_the_send_window_nothing_is_sent(make: Callable[..., TestApp]):
    backend = Smtp({})
    app = at_night(make(3, backend=backend))
    campaign = approved(app)
    with pytest.raises(UnavailableError, match=r"opens on Wednesday, 16 June at 09:00") as raised:
        go(app, campaign)
    assert "--wait" in raised.value.todo
    assert (backend.handed_over, now(app, campaign)) == ([], campaign)


@on_sqlite
def test_waiting_for_the_send_window(make: Callable[..., TestApp]):
    app = at_night(make(3, backend=Smtp({})), "08:58")
    done, run = go(app, approved(app), wait=True)
    assert (done.state, run.told) == (S.FINISHED, "")
    assert {row.claimed_at for row in rows(app, done)} == {datetime(2027, 6, 15, 9, 0, tzinfo=UTC)}


def closing_after(app: TestApp, messages: int) -> Callable[[], None]:
    """It is five in the afternoon when the last of so many hand-overs begins."""
    begun = iter(range(messages + 100))

    def tick() -> None:
        if next(begun) == messages - 1:
            app.clock.now = datetime(2027, 6, 15, 17, 0, tzinfo=UTC)

    return tick


@on_sqlite
def test_a_sender_stops_when_the_send_window_closes(make: Callable[..., TestApp]):
    backend = Smtp({}, batch_size=1)
    app = at_night(make(5, backend=backend), "16:59")
    backend.on_batch = closing_after(app, 2)
    part, run = go(app, approved(app))
    assert (part.state, open_counts(part)) == (S.SENDING, {"accepted": 1, "pending": 4})
    assert run.told == "The send window is closed; it opens on Wednesday, 16 June at 09:00."


@on_sqlite
def test_a_sender_that_waits_goes_on_when_the_send_window_opens_again(make: Callable[..., TestApp]):
    backend = Smtp({}, batch_size=1)
    app = at_night(make(5, backend=backend), "16:59", "09:00-17:00")
    backend.on_batch = closing_after(app, 2)
    app = with_mail(app, send_window="17:02-17:00")
    done, _ = go(app, approved(app), wait=True)
    assert (done.state, open_counts(done)) == (S.FINISHED, {"accepted": 5})
    first, *others = (row.claimed_at for row in rows(app, done))
    assert first < datetime(2027, 6, 15, 17, 0, tzinfo=UTC)
    assert min(others) >= datetime(2027, 6, 15, 17, 2, tzinfo=UTC)


@on_sqlite
def test_who_waits_for_the_send_window_can_be_told_to_stop(make: Callable[..., TestApp]):
    app = at_night(make(3, backend=Smtp({})), "08:58")
    campaign = approved(app)
    left = iter(range(5))
    waited = app.clock.wait

    def cancelled_soon(timeout: float | None = None) -> bool:
        if next(left, None) is None and now(app, campaign).state is S.SENDING:
            cancel(app, campaign.id)
        return waited(timeout)

    app.clock.wait = cancelled_soon  # type: ignore[method-assign]
    done, run = go(app, campaign, wait=True)
    assert (done.state, open_counts(done), run.told) == (S.CANCELLED, {"cancelled": 3}, "The campaign was cancelled.")


@on_sqlite
def test_files_may_be_written_at_any_hour(make: Callable[..., TestApp]):
    app = at_night(make(2))
    assert go(app, approved(app), backend="file")[0].state is S.FINISHED


# --- a provider that wants fewer messages ---------------------------------------------------------------------------


def test_asked_for_less_everybody_goes_slower_and_nobody_fails(make: Callable[..., TestApp]):
    backend = Smtp({address(number): [TOO_FAST] * 3 for number in range(1, 5)}, batch_size=4)
    app = make(4, backend=backend)
    done, run = go(app, approved(app))
    assert (done.state, open_counts(done), run.trouble) == (S.FINISHED, {"accepted": 4}, "")
    assert {row.attempts for row in rows(app, done)} == {1}
    with app.store.read() as connection:
        assert connection.execute(select(send_rates.c.share).where(send_rates.c.backend == "smtp")).scalar_one() <= 0.5


@on_sqlite
def test_a_provider_that_never_stops_asking_for_less_is_trouble(make: Callable[..., TestApp]):
    app = make(4, backend=Smtp({address(number): [TOO_FAST] * 99 for number in range(1, 5)}, batch_size=4))
    done, run = go(app, approved(app))
    assert (done.state, open_counts(done), done.paused_by) == (S.PAUSED, {"pending": 4}, None)
    assert run.trouble == f"the service asked {PUT_OFFS_IN_A_ROW} times in a row for fewer messages: {TOO_FAST.error}"
    assert done.pause_reason == run.trouble


# --- batches and the ledger -----------------------------------------------------------------------------------------


@on_sqlite
def test_no_more_is_taken_in_hand_than_configured(make: Callable[..., TestApp]):
    backend = MemoryBackend(batch_size=100)
    app = with_mail(make(7, backend=backend), claim_batch=3)
    go(app, approved(app))
    assert [len(batch.messages) for batch in backend.batches] == [3, 3, 1]


def test_a_ledger_that_does_not_add_up_is_named(make: Callable[..., TestApp]):
    app = make(3)
    campaign = approved(app)
    with app.store.write() as connection:
        connection.execute(update(campaigns).values(accepted=1, chosen=4))
    with pytest.raises(UnavailableError) as raised:
        go(app, campaign)
    assert "accepted: 3 emails, 4 counted; chosen: 3 emails, 4 counted" in raised.value.what


def test_a_lease_outlives_a_clock_that_is_set_back(make: Callable[..., TestApp]):
    """An hour back: what a killed process left behind is given up later, and never sent."""
    app = make(4)
    campaign = approved(app)
    claimed = kill_during(app, campaign)
    app.clock.now -= timedelta(hours=1)
    go(app, campaign)
    app.clock.now += timedelta(hours=2)
    done, _ = go(app, campaign)
    assert open_counts(done) == {"accepted": 2, "unknown": 2}
    assert {row.message_id for row in rows(app, done) if row.status == M.UNKNOWN} == {
        message.message_id for message in claimed
    }
