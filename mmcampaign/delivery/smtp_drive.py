"""One thread that keeps several conversations going, each written down as if it were alone.

A conversation is a generator: where it would have to wait it yields what for, and the others go on meanwhile. Threads
would do the same for more than twice the CPU (decision 14).
"""

import socket
import ssl
from collections.abc import Generator, Iterable
from concurrent.futures import Future
from selectors import EVENT_READ, EVENT_WRITE, BaseSelector, DefaultSelector
from time import monotonic
from typing import Generic, NamedTuple, TypeVar

READ, WRITE = EVENT_READ, EVENT_WRITE
LONGEST_SLEEP = 60.0  # seconds; a selector cannot wait for ever in a number

T = TypeVar("T")


class Pause(NamedTuple):
    """Wait until ``socket`` can do what ``event`` says: READ or WRITE. At ``deadline`` (monotonic) TimeoutError."""

    socket: socket.socket | ssl.SSLSocket
    event: int
    deadline: float


Conversation = Generator[Pause, None, T]


def drive(conversations: Iterable[Conversation[T]]) -> list[T]:
    """Their results, in order. What one raises is raised here when the others have come to their ends."""
    talks = [_Talk(conversation) for conversation in conversations]
    with DefaultSelector() as selector:
        for talk in talks:
            talk.go_on(selector)
        while going := [talk for talk in talks if talk.pause]:
            _round(going, selector)
    return [talk.result() for talk in talks]


def done_elsewhere(future: Future[T]) -> Conversation[T]:
    """Wait for the result of another thread."""
    ours, theirs = socket.socketpair()
    with ours:
        future.add_done_callback(lambda _: theirs.close())
        yield Pause(ours, READ, float("inf"))
    return future.result()


class _Talk(Generic[T]):
    """A conversation and what it waits for: nothing more when it has ended."""

    def __init__(self, conversation: Conversation[T]) -> None:
        self.pause: Pause | None = None
        self._conversation = conversation
        self._results: list[T] = []
        self._error: BaseException | None = None

    def go_on(self, selector: BaseSelector, *, late: bool = False) -> None:
        """Up to its next pause, or to its end."""
        before, self.pause = self.pause, None
        try:
            self.pause = self._conversation.throw(TimeoutError()) if late else next(self._conversation)
        except StopIteration as end:
            self._results.append(end.value)
        except BaseException as error:  # noqa: BLE001  raised again where the result is asked for
            self._error = error
        self._listen(before, self.pause, selector)

    def _listen(self, before: Pause | None, now: Pause | None, selector: BaseSelector) -> None:
        if before and now and before.socket is now.socket and before.event == now.event:
            return
        if before:
            selector.unregister(before.socket)  # which may be closed by now
        if now:
            selector.register(now.socket, now.event, self)

    def result(self) -> T:
        if self._error:
            raise self._error
        return self._results[0]


def _round(going: "list[_Talk[T]]", selector: BaseSelector) -> None:
    """Wait once. An answer that is there counts, however late we come to look."""
    soonest = min(talk.pause.deadline for talk in going if talk.pause)
    for key, _ in selector.select(max(0.0, min(soonest - monotonic(), LONGEST_SLEEP))):
        key.data.go_on(selector)
    now = monotonic()
    if now >= soonest:
        for talk in going:
            if talk.pause and talk.pause.deadline <= now:
                talk.go_on(selector, late=True)
