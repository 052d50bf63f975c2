"""Work done in other threads, a little ahead of whoever needs the results.

Arrow, NumPy and both databases let go of Python's lock while they work. Reading takes longer than writing, so that two
threads read.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

THREADS = 2


def read_ahead(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    depth: int,
    stop: Callable[[], None],
    discard: Callable[[Result], None],
) -> Generator[Result]:
    """``work`` of each item, in order; at most ``depth`` results wait, so that memory stays flat.

    What ``work`` raises is raised here, in its place. At the end, early or not, ``stop`` tells the work under way to
    give up, and what waits is discarded.
    """
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(THREADS, thread_name_prefix="reading") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > depth:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            stop()
            for future in waiting:
                future.cancel()
            for future in waiting:
                if not future.cancelled() and future.exception() is None:
                    discard(future.result())
