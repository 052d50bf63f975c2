"""Campaigns: who may approve, how they end, and how two of them know of each other."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mmcampaign.campaigns import approve, cancel, reject, resolve
from mmcampaign.errors import InputError, RefusedError
from mmcampaign.history import campaign_list, sends, show
from mmcampaign.model import CampaignState, MessageStatus, Outcome
from mmcampaign.store.campaigns import Campaign, count_exclusions
from mmcampaign.store.history import HistoryFilter
from mmcampaign.testing import MemoryBackend
from tests.builders import (
    NOW,
    TODAY,
    certified,
    make_candidate,
    make_course,
    make_enrollment,
    make_learner,
    make_program,
)
from tests.steps import DOWN, acts, address, approved, go, kill_during, open_counts, planned, rows
from tests.worlds import (
    Scripted,
    TestApp,
    fill,
    on_sqlite,
    with_policy,
    with_program,
    write_template,
)

S, M = CampaignState, MessageStatus


def test_approval_is_written_down(make: Callable[..., TestApp]):
    app = make()
    done = approve(app, planned(app).id, by="lee", note="read with Kim")
    assert (done.state, done.approved_by, done.approved_at, done.note) == (S.APPROVED, "lee", NOW, "read with Kim")
    assert acts(app) == ["planned", "approved"]


@on_sqlite
@pytest.mark.parametrize(
    ("by", "fine"),
    [("lee", True), ("kim", False), ("", False)],
    ids=["somebody else", "the planner by name", "the planner"],
)
def test_a_second_person_approves_where_the_policy_asks_for_one(make: Callable[..., TestApp], by: str, fine: bool):
    app = make()
    campaign = planned(app)
    careful = with_policy(app, approval="second-person")
    if fine:
        assert approve(careful, campaign.id, by=by).state is S.APPROVED
        return
    with pytest.raises(RefusedError, match="somebody else must approve") as raised:
        approve(careful, campaign.id, by=by)
    assert "policy.approval" in raised.value.todo
    assert campaign_list(app, campaign.id) == [campaign]


@on_sqlite
def test_a_campaign_without_recipients_cannot_be_approved(make: Callable[..., TestApp]):
    app = make(3)
    campaign = planned(app, holdout_percent=100.0)
    with pytest.raises(RefusedError, match="no recipients"):
        approve(app, campaign.id)
    assert campaign_list(app, campaign.id)[0].state is S.PLANNED


@on_sqlite
def test_nobody_approves_twice(make: Callable[..., TestApp]):
    app = make()
    campaign = approved(app)
    with pytest.raises(RefusedError, match="is approved, so it cannot become approved"):
        approve(app, campaign.id)


@on_sqlite
@pytest.mark.parametrize("act", [approve, reject, cancel, lambda app, campaign: resolve(app, campaign, "failed")])
def test_a_campaign_that_does_not_exist(make: Callable[..., TestApp], act: Any):
    with pytest.raises(InputError, match="no campaign 99"):
        act(make(), 99)


@on_sqlite
def test_rejecting_frees_the_learners(make: Callable[..., TestApp]):
    app = make()
    done = reject(app, planned(app).id, by="lee", note="wrong deadline")
    assert done.state is S.CANCELLED
    assert open_counts(done) == {"cancelled": 5}
    assert approved(app).chosen == 5
    with pytest.raises(RefusedError, match="only a planned one"):
        reject(app, done.id)


@on_sqlite
def test_only_a_planned_campaign_is_rejected(make: Callable[..., TestApp]):
    app = make()
    campaign = approved(app)
    with pytest.raises(RefusedError, match="is approved; only a planned one"):
        reject(app, campaign.id)
    assert campaign_list(app, campaign.id) == [campaign]


def test_cancelling_keeps_what_went_out(make: Callable[..., TestApp]):
    app = make(5, backend=Scripted({address(2): [Outcome.UNKNOWN]}))
    campaign = approved(app)
    go(app, campaign, limit=3)
    done = cancel(app, campaign.id)
    assert (done.state, open_counts(done)) == (S.CANCELLED, {"accepted": 2, "unknown": 1, "cancelled": 2})
    assert done.unfinished  # somebody may or may not have got it
    assert resolve(app, campaign.id, "failed") == 1
    [settled] = campaign_list(app, campaign.id)
    assert (settled.state, open_counts(settled)) == (S.CANCELLED, {"accepted": 2, "failed": 1, "cancelled": 2})
    assert not settled.unfinished


def test_a_finished_campaign_cannot_be_cancelled(make: Callable[..., TestApp]):
    app = make()
    done, _ = go(app, approved(app))
    with pytest.raises(RefusedError, match="is finished, so it cannot become cancelled"):
        cancel(app, done.id)


@pytest.mark.usefixtures("unhurried")
def test_cancelled_by_somebody_else_while_it_is_being_sent(make: Callable[..., TestApp]):
    """What is in flight is recorded, what comes back is cancelled, and trouble does not wake it up again."""
    backend = Scripted({address(1): [Outcome.NOT_TAKEN], address(2): [DOWN]}, batch_size=3)
    app = make(6, backend=backend)
    campaign = approved(app)
    backend.on_batch = partial(cancel, app, campaign.id)
    done, run = go(app, campaign)
    assert (done.state, open_counts(done)) == (S.CANCELLED, {"accepted": 1, "cancelled": 5})
    assert run.trouble == "connection refused"
    assert len(backend.batches) == 1


def test_left_behind_in_a_cancelled_campaign_proven_not_taken(make: Callable[..., TestApp]):
    app = make(4)
    campaign = approved(app)
    kill_during(app, campaign, provider="file")
    cancel(app, campaign.id)
    app.clock.now += timedelta(hours=1)
    with pytest.raises(RefusedError, match="was cancelled"):
        go(app, campaign, backend="file")
    alone = app.store.dialect == "sqlite"  # else the sender may have stood on another machine, with its own folder
    proven = {"cancelled": 3} if alone else {"cancelled": 1, "unknown": 2}
    assert open_counts(campaign_list(app, campaign.id)[0]) == {"accepted": 1} | proven


@pytest.mark.parametrize(
    ("decision", "counts", "state"),
    [
        ("accepted", {"accepted": 4}, S.FINISHED),
        ("failed", {"accepted": 2, "failed": 2}, S.FINISHED),
        ("retry", {"accepted": 2, "pending": 2}, S.SENDING),
    ],
)
def test_resolve(make: Callable[..., TestApp], decision: str, counts: dict[str, int], state: CampaignState):
    app = make(4, backend=Scripted({address(number): [Outcome.UNKNOWN] for number in (2, 3)}))
    campaign = approved(app)
    go(app, campaign)
    assert resolve(app, campaign.id, decision) == 2
    [done] = campaign_list(app, campaign.id)
    assert (open_counts(done), done.state) == (counts, state)
    assert (acts(app)[-1] == "finished") is (state is S.FINISHED)
    assert f"resolved as {decision}" in acts(app)
    assert resolve(app, campaign.id, decision) == 0


@on_sqlite
def test_resolve_one_message_only(make: Callable[..., TestApp]):
    app = make(3, backend=Scripted({address(number): [Outcome.UNKNOWN] for number in (1, 2)}))
    campaign = approved(app)
    go(app, campaign)
    first = rows(app, campaign)[0].message_id
    assert resolve(app, campaign.id, "accepted", first) == 1
    assert [row.status for row in rows(app, campaign)] == [M.ACCEPTED, M.UNKNOWN, M.ACCEPTED]
    with pytest.raises(InputError, match="no unknown message"):
        resolve(app, campaign.id, "accepted", first)


def test_what_a_person_sends_again_is_sent_again(make: Callable[..., TestApp]):
    backend = Scripted({address(1): [Outcome.UNKNOWN]})
    app = make(2, backend=backend)
    campaign = approved(app)
    go(app, campaign)
    resolve(app, campaign.id, "retry")
    app.clock.now += timedelta(days=2)
    done, _ = go(app, campaign)
    assert (done.state, open_counts(done)) == (S.FINISHED, {"accepted": 2})
    assert Counter(backend.handed_over) == {address(1): 2, address(2): 1}


def test_nothing_of_a_cancelled_campaign_is_tried_again(make: Callable[..., TestApp]):
    app = make(2, backend=Scripted({address(1): [Outcome.UNKNOWN]}))
    campaign = approved(app)
    go(app, campaign)
    cancel(app, campaign.id)
    with pytest.raises(RefusedError, match="is cancelled"):
        resolve(app, campaign.id, "retry")
    assert open_counts(campaign_list(app, campaign.id)[0]) == {"accepted": 1, "unknown": 1}


def excluded(app: TestApp, campaign: Campaign) -> dict[str, int]:
    with app.store.read() as connection:
        return count_exclusions(connection, campaign.id)


def test_the_next_campaign_knows_who_was_mailed(make: Callable[..., TestApp]):
    app = make(3, backend=Scripted({address(2): [Outcome.FAILED]}))
    go(app, approved(app))
    fill(app.store, [make_candidate(certified(1), learner=make_learner(3, name="Ana3 Pine"))])
    second = planned(app)
    assert excluded(app, second) == {"already_mailed": 1, "recently_mailed": 1}
    assert [row.learner_id for row in rows(app, second)] == [2]
    weeks_later = replace(app, fixed_today=TODAY + timedelta(days=14))
    third = planned(weeks_later)
    assert excluded(app, third) == {"already_mailed": 1}
    assert [row.learner_id for row in rows(app, third)] == [2, 3]


def test_a_message_in_doubt_counts_as_sent(make: Callable[..., TestApp]):
    app = make(2, backend=Scripted({address(1): [Outcome.UNKNOWN]}))
    go(app, approved(app))
    assert excluded(app, planned(app)) == {"already_mailed": 2}


def test_a_campaign_being_sent_counts_whole_for_the_next(make: Callable[..., TestApp]):
    app = make(4)
    go(app, approved(app), limit=1)
    second = planned(app)
    assert (second.chosen, excluded(app, second)) == (0, {"already_mailed": 4})


def test_of_two_approved_campaigns_only_the_first_is_sent(make: Callable[..., TestApp]):
    backend = MemoryBackend()
    app = make(3, backend=backend)
    first, second = approved(app), approved(app)
    go(app, first, limit=1)
    with pytest.raises(RefusedError) as raised:
        go(app, second)
    assert raised.value.facts == ("learners who were planned but would not be chosen now: 3 (edX users 1, 2, 3)",)
    done, _ = go(app, first)
    assert open_counts(done) == {"accepted": 3}
    assert len(backend.taken) == 3


def test_resuming_days_later_is_no_drift(make: Callable[..., TestApp]):
    """Its own messages and the passing of days do not speak against a campaign that is under way."""
    app = make(4)
    campaign = approved(app)
    go(app, campaign, limit=2)
    app.clock.now += timedelta(days=5)
    done, _ = go(app, campaign)
    assert open_counts(done) == {"accepted": 4}


def test_resuming_is_refused_when_somebody_still_to_be_mailed_changed(make: Callable[..., TestApp]):
    app = make(4)
    campaign = approved(app)
    go(app, campaign, limit=2)
    upgraded = make_enrollment(1, track="verified")
    fill(app.store, [make_candidate(upgraded, learner=make_learner(1, name="Ana1 Pine"))])  # was mailed already
    fill(app.store, [make_candidate(learner=make_learner(9))])  # new: the next campaign's
    assert open_counts(go(app, campaign, limit=1)[0]) == {"accepted": 3, "pending": 1}
    fill(app.store, [make_candidate(upgraded, learner=make_learner(4, name="Ana4 Pine"))])
    with pytest.raises(RefusedError) as raised:
        go(app, campaign)
    assert raised.value.facts == ("learners who were planned but would not be chosen now: 1 (edX user 4)",)


def test_with_a_limit_somebody_new_pushes_nobody_out(make: Callable[..., TestApp]):
    app = make(0)
    fill(app.store, [make_candidate(learner=make_learner(number)) for number in (2, 3, 4)])
    campaign = approved(app, limit=2)
    go(app, campaign, limit=1)
    fill(app.store, [make_candidate(learner=make_learner(1))])
    assert open_counts(go(app, campaign)[0]) == {"accepted": 2}


@on_sqlite
def test_a_template_edited_under_way_stops_the_rest(make: Callable[..., TestApp], tmp_path: Path):
    app = make(4)
    campaign = approved(app)
    go(app, campaign, limit=2)
    write_template(tmp_path, "river/body.txt", "Dear {{ learner.name }}, {{ unsubscribe_url }}")
    with pytest.raises(RefusedError, match="no longer what was planned"):
        go(app, campaign)
    assert open_counts(campaign_list(app, campaign.id)[0]) == {"accepted": 2, "pending": 2}


@on_sqlite
def test_a_course_renamed_after_the_end_changes_nothing(make: Callable[..., TestApp]):
    """A finished campaign answers for itself."""
    app = make(2)
    campaign = approved(app)
    done, _ = go(app, campaign)
    renamed = with_program(app, make_program(make_course(1, title="Drizzle")))
    assert go(renamed, campaign)[0] == done
    for message in sends(renamed, HistoryFilter(campaign=campaign.id)):
        assert show(renamed, message["message"]).reproduced
