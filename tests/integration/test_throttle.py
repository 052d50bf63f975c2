"""Messages per second, shared by processes through the database."""

import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import pairwise

import pytest

from mmcampaign.store import throttle
from mmcampaign.store.engine import Store
from tests.worlds import on_sqlite

# Sends nothing: books slots, waits for them, and says when how many went.
SENDER = """
import sys, time
from mmcampaign.store import throttle
from mmcampaign.store.engine import open_store

url, per_second, seconds = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
store = open_store(url)
print("ready", flush=True)
until = float(sys.stdin.readline()) + seconds
while time.time() < until:
    with store.write() as connection:
        slots = throttle.take_slots(connection, "smtp", 5, per_second=per_second)
    time.sleep(slots.wait)
    print(time.time(), slots.count, flush=True)
"""


def run_senders(url: str, *, number: int, per_second: float, seconds: float) -> list[tuple[float, int]]:
    """What so many processes hand over in so many seconds from a common start, as (seconds since, messages)."""
    words = [sys.executable, "-c", SENDER, url, str(per_second), str(seconds)]
    senders = [subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(number)]
    for sender in senders:
        assert sender.stdout and sender.stdout.readline() == "ready\n"
    start = time.time()
    handed_over: list[tuple[float, int]] = []
    for sender in senders:
        assert sender.stdin
        sender.stdin.write(f"{start}\n")
        sender.stdin.flush()
    for sender in senders:
        lines = sender.communicate(timeout=seconds + 60)[0].splitlines()
        assert sender.returncode == 0
        handed_over += [(float(at) - start, int(count)) for at, count in map(str.split, lines)]
    return sorted(handed_over)


def sent_within(handed_over: Sequence[tuple[float, int]], start: float, end: float) -> int:
    return sum(count for at, count in handed_over if start <= at < end)


def test_processes_share_the_rate(store: Store, database_url: str):
    handed_over = run_senders(database_url, number=2, per_second=100, seconds=2.5)
    assert 190 * 0.8 <= sent_within(handed_over, 0.5, 2.4) <= 190 * 1.05


@pytest.mark.soak
@pytest.mark.parametrize("number", [2, 4])
def test_processes_hold_the_rate_within_five_percent(store: Store, database_url: str, number: int):
    handed_over = run_senders(database_url, number=number, per_second=80, seconds=21)
    assert 1600 * 0.95 <= sent_within(handed_over, 0.5, 20.5) <= 1600 * 1.05
    for second in range(1, 20):
        assert sent_within(handed_over, second, second + 1) <= 80 * 1.05 + 5


def test_slots_follow_each_other(store: Store):
    with store.write() as connection:
        waits = [throttle.take_slots(connection, "smtp", 10, per_second=10).wait for _ in range(4)]
    steps = [later - sooner for sooner, later in pairwise(waits)]
    assert waits[0] == 0
    assert steps == pytest.approx([1, 1, 1], abs=0.2)


def test_backends_do_not_share_their_rates(store: Store):
    with store.write() as connection:
        assert throttle.take_slots(connection, "smtp", 10, per_second=1).wait == 0
        assert throttle.take_slots(connection, "ses", 10, per_second=1).wait == 0
        assert throttle.take_slots(connection, "smtp", 10, per_second=1).wait > 0


def test_what_a_provider_asks_for_holds_for_everybody(store: Store):
    with store.write() as connection:
        throttle.take_slots(connection, "smtp", 10, per_second=10)
        throttle.slow_down(connection, "smtp", 5.0)
        slots = throttle.take_slots(connection, "smtp", 10, per_second=10)
    assert slots.count == 5
    assert slots.wait == pytest.approx(5, abs=0.2)


@on_sqlite
def test_a_clock_that_was_set_back_does_not_stop_anybody(store: Store, monkeypatch: pytest.MonkeyPatch):
    now = time.time()
    with store.write() as connection:
        monkeypatch.setattr(time, "time", lambda: now + 3_600)
        throttle.take_slots(connection, "smtp", 10, per_second=10)
        monkeypatch.setattr(time, "time", lambda: now)
        assert throttle.take_slots(connection, "smtp", 10, per_second=10).wait == 0
        assert throttle.take_slots(connection, "smtp", 10, per_second=10).wait == pytest.approx(1)
