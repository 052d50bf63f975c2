"""Work in another thread, a little ahead: order, bound, errors, early end."""

from threading import Event

import pytest

from mmcampaign.read_ahead import read_ahead


def nothing(_: object = None) -> None:
    pass


def test_results_come_in_order():
    squares = read_ahead(lambda n: n * n, range(5), depth=2, stop=nothing, discard=nothing)
    assert list(squares) == [0, 1, 4, 9, 16]


def test_no_more_is_taken_on_than_the_depth_allows():
    taken: list[int] = []

    def items():
        for number in range(10):
            taken.append(number)
            yield number

    ahead = read_ahead(lambda n: n, items(), depth=2, stop=nothing, discard=nothing)
    assert next(ahead) == 0
    assert taken == [0, 1, 2]
    ahead.close()


def test_an_error_is_raised_in_its_place():
    def work(number: int) -> int:
        if number == 1:
            raise ValueError("one")
        return number

    ahead = read_ahead(work, range(3), depth=2, stop=nothing, discard=nothing)
    assert next(ahead) == 0
    with pytest.raises(ValueError, match="one"):
        next(ahead)


def test_an_early_end_stops_the_work_under_way_and_discards_what_waits():
    begun, stopped = Event(), Event()
    discarded: list[int] = []

    def work(number: int) -> int:
        if number == 2:
            begun.set()
            assert stopped.wait(timeout=30)
            raise RuntimeError("gave up")
        return number

    ahead = read_ahead(work, range(9), depth=2, stop=stopped.set, discard=discarded.append)
    assert next(ahead) == 0
    assert begun.wait(timeout=30)
    ahead.close()
    assert discarded == [1]
