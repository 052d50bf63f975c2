"""Messages per second, on a clock that only moves when somebody waits."""

from threading import Event

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcampaign.pace import Pace


class Clock(Event):
    """A clock and the stop event of a run in one: waiting moves the time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.waits.append(timeout)
        self.now += timeout
        return False


def test_ten_a_second_go_a_second_apart():
    clock = Clock()
    pace = Pace(10, clock)
    for _ in range(3):
        pace.after(10, clock)
    assert clock.waits == [1, 1, 1]


def test_time_spent_handing_over_counts():
    clock = Clock()
    pace = Pace(10, clock)
    clock.now += 0.75
    pace.after(10, clock)
    assert clock.waits == [0.25]


def test_a_long_pause_is_not_caught_up_with():
    clock = Clock()
    pace = Pace(10, clock)
    clock.now += 3600
    pace.after(10, clock)
    assert clock.waits == []
    pace.after(10, clock)
    assert clock.waits == [1]


def test_less_than_one_a_second():
    clock = Clock()
    pace = Pace(0.5, clock)
    assert pace.most_at_once == 1
    pace.after(1, clock)
    assert clock.waits == [2]


def test_no_limit_never_waits():
    clock = Clock()
    pace = Pace(0, clock)
    assert pace.most_at_once >= 1000
    pace.after(10_000, clock)
    assert clock.waits == []


@given(st.floats(0.1, 1000), st.lists(st.tuples(st.integers(1, 500), st.floats(0, 5)), min_size=1, max_size=30))
def test_never_faster_than_asked(rate: float, batches: list[tuple[int, float]]):
    """Over the whole run at most one second's worth and one batch are ahead of the rate."""
    clock = Clock()
    start, pace, sent = clock.now, Pace(rate, clock), 0
    for count, handing_over in batches:
        clock.now += handing_over
        sent += count
        pace.after(count, clock)
        assert sent <= rate * (clock.now - start + 1) * (1 + 1e-9) + 1e-6


@pytest.mark.parametrize(("rate", "most"), [(10, 10), (10.9, 10), (1, 1), (0.2, 1)])
def test_a_batch_holds_at_most_one_seconds_worth(rate: float, most: int):
    assert Pace(rate).most_at_once == most
