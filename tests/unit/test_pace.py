"""The line of time that senders share: never faster than asked, no burst after a pause, slower when a provider asks."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcampaign.pace import (
    LEAST_SHARE,
    LONGEST_BREAK_SECONDS,
    RECOVERY_SECONDS,
    Slots,
    Throttle,
    reserve,
    slow_down,
)

NOW = 1_800_000_000.0


def line(**changes: Any) -> Throttle:
    return Throttle(**{"free_at": NOW, **changes})


@pytest.mark.parametrize(
    ("free_at", "wanted", "per_second", "slots", "then"),
    [
        pytest.param(NOW, 5, 10, Slots(count=5, wait=0), NOW + 0.5, id="free: at once"),
        pytest.param(NOW + 0.5, 5, 10, Slots(count=5, wait=0.5), NOW + 1, id="booked: behind the others"),
        pytest.param(NOW - 3600, 5, 10, Slots(count=5, wait=0), NOW + 0.5, id="after a pause: nothing to catch up"),
        pytest.param(0.0, 5, 10, Slots(count=5, wait=0), NOW + 0.5, id="never used"),
        pytest.param(NOW, 500, 10, Slots(count=10, wait=0), NOW + 1, id="one second's worth at most"),
        pytest.param(NOW, 5, 0.5, Slots(count=1, wait=0), NOW + 2, id="less than one a second"),
        pytest.param(NOW + 20, 5, 0.5, Slots(count=1, wait=20), NOW + 22, id="ten stand in line at half a message"),
        pytest.param(NOW + 3600, 5, 10, Slots(count=5, wait=0), NOW + 0.5, id="the clock was set back by an hour"),
    ],
)
def test_reserve(free_at: float, wanted: int, per_second: float, slots: Slots, then: float):
    after, found = reserve(line(free_at=free_at), now=NOW, wanted=wanted, per_second=per_second)
    assert (found, after) == (slots, line(free_at=then))


steps = st.lists(st.tuples(st.integers(1, 200), st.floats(0, 5), st.booleans()), min_size=1, max_size=40)


@given(st.floats(0.5, 500), steps)
def test_never_faster_than_asked(per_second: float, steps: list[tuple[int, float, bool]]):
    """Whoever books, whenever: slots follow each other, each long enough for its messages at the rate in use."""
    throttle, now, end = line(), NOW, NOW
    for wanted, later, asked_for_less in steps:
        now += later
        if asked_for_less:
            throttle = slow_down(throttle, now=now)
        throttle, slots = reserve(throttle, now=now, wanted=wanted, per_second=per_second)
        start = now + slots.wait
        assert 1 <= slots.count <= max(1, min(wanted, per_second))
        assert start >= end - 1e-6 or end - now > LONGEST_BREAK_SECONDS
        end = throttle.free_at
        assert end - start >= slots.count / per_second - 1e-6


def test_asked_for_less_it_halves_for_everybody_and_comes_back_slowly():
    half = slow_down(line(), now=NOW)
    assert half.share_at(NOW) == 0.5
    assert half.share_at(NOW + RECOVERY_SECONDS / 4) == 0.75
    assert half.share_at(NOW + RECOVERY_SECONDS) == 1
    _, slots = reserve(half, now=NOW + 1, wanted=100, per_second=10)
    assert slots.count == 5
    quarter = slow_down(half, now=NOW + 2)
    assert quarter.share_at(NOW + 2) == pytest.approx(0.25, abs=0.01)
    for later in range(3, 60):
        quarter = slow_down(quarter, now=NOW + 2 * later)
    assert quarter.share >= LEAST_SHARE


def test_many_answers_about_the_same_haste_halve_once():
    throttle = line()
    for _ in range(20):
        throttle = slow_down(throttle, now=NOW + 0.5)
    assert throttle.share_at(NOW + 0.5) == 0.5


@pytest.mark.parametrize(
    ("retry_after", "pause"),
    [(None, 1), (0.0, 1), (5.0, 5), (60.0, 60), (86_400.0, 60)],
    ids=["nothing said", "at once", "five seconds", "a minute", "a day"],
)
def test_nobody_sends_for_as_long_as_the_provider_asks(retry_after: float | None, pause: float):
    _, slots = reserve(slow_down(line(), now=NOW, retry_after=retry_after), now=NOW, wanted=1, per_second=10)
    assert slots.wait == pause


def test_a_clock_set_back_gives_no_more_than_the_rate_had():
    half = slow_down(line(), now=NOW)
    assert half.share_at(NOW - 3600) == 0.5
