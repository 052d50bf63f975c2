"""A batch in the hands of several threads: who still waits, what is known, and what stands in the way."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Event, Lock
from typing import ParamSpec, TypeVar

from mmcampaign.model import Batch, Outcome, Outgoing, Receipt

P = ParamSpec("P")
T = TypeVar("T")


class Run:
    """A batch in work. Any thread may call anything here."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self._waiting = deque(batch.messages)
        self._receipts: dict[str, Receipt] = {}
        self._lock = Lock()
        self._closed = False  # nobody begins another message
        # What those are told who are left in the end.
        self._trouble, self._halt, self._slower = "", False, False
        self._unreachable = False  # somebody found the service out of reach, for a reason that will last

    def next(self) -> Outgoing | None:
        """The next message, which is the caller's alone; None when nobody is left or the rest must wait."""
        if not self.waits:
            return None
        if not self.batch.may_go():  # may ask the database: not while the others wait
            self.leave_the_rest("Stopped before it was handed over.", halt=True)
        with self._lock:
            return self._waiting.popleft() if self._waiting and not self._closed else None

    def put_back(self, message: Outgoing) -> None:
        """Nothing of it was handed over; it waits again."""
        with self._lock:
            self._waiting.appendleft(message)

    def settle(self, receipt: Receipt) -> None:
        """What came of a message. One that halts the run ends it for everybody."""
        with self._lock:
            self._receipts[receipt.message_id] = receipt
        if receipt.halt:
            self.leave_the_rest(receipt.error, halt=True)

    def leave_the_rest(self, sentence: str, *, halt: bool = False, slower: bool = False) -> None:
        """Nobody begins another message; those left may go with a later batch. ``halt``: the whole run is over."""
        with self._lock:
            if halt or not self._closed:
                self._closed, self._trouble, self._halt, self._slower = True, sentence, halt, slower

    def give_up(self, sentence: str, *, lasting: bool = False, slower: bool = False) -> None:
        """One worker cannot go on and leaves the rest to the others."""
        with self._lock:
            self._unreachable = self._unreachable or lasting
            if not self._closed:
                self._trouble, self._slower = sentence, slower

    @property
    def waits(self) -> bool:
        """Whether somebody could still begin a message."""
        with self._lock:
            return bool(self._waiting) and not self._closed

    def answer(self) -> list[Receipt]:
        """All receipts in order. Messages that nobody began were not taken; if none was, going on is useless."""
        self._halt = self._halt or (self._unreachable and not self._receipts)
        return [self._receipts.get(message.message_id) or self._left(message) for message in self.batch.messages]

    def _left(self, message: Outgoing) -> Receipt:
        return Receipt(
            message_id=message.message_id,
            outcome=Outcome.NOT_TAKEN,
            error=self._trouble,
            halt=self._halt,
            slower=self._slower,
        )


class Crew:
    """Threads that are kept from batch to batch until ``close``: one that leads, and ``size`` others."""

    def __init__(self, size: int, name: str) -> None:
        self._size, self._name = size, name
        self._threads: ThreadPoolExecutor | None = None

    def deliver(self, batch: Batch, work: Callable[[Run], None]) -> list[Receipt]:
        """What came of the batch when ``work`` has ended, which runs in a thread that no Ctrl-C reaches.

        Ctrl-C, at whatever moment of it, lets what is in flight finish and leaves the rest untouched.
        """
        lead, interrupted = _Lead(Run(batch), work), False
        while not lead.over.is_set():
            try:
                if not lead.begun:
                    self.submit(lead)  # after a Ctrl-C right here once more, which then does nothing
                lead.over.wait()
            except KeyboardInterrupt:
                interrupted = True
                lead.run.leave_the_rest("Stopped by Ctrl-C before it was handed over.", halt=True)
        receipts = lead.answer()
        return [receipt._replace(halt=True) for receipt in receipts] if interrupted else receipts

    def together(self, worker: Callable[[Run], None], run: Run) -> None:
        """The same work in each of the threads, until all have ended; raises what one of them raised."""
        tasks = [self.submit(worker, run) for _ in run.batch.messages[: self._size]]
        wait(tasks)
        for task in tasks:
            task.result()

    def submit(self, do: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Do it in one of the threads."""
        self._threads = self._threads or ThreadPoolExecutor(self._size + 1, thread_name_prefix=self._name)
        return self._threads.submit(do, *args, **kwargs)

    def close(self) -> None:
        """Let the threads go; the next batch gets new ones."""
        if self._threads:
            self._threads.shutdown()
        self._threads = None


class _Lead:
    """Does the work once. Only the main thread is interrupted by Ctrl-C, so this runs in another."""

    def __init__(self, run: Run, work: Callable[[Run], None]) -> None:
        self.run, self._work = run, work
        self.begun, self.over, self._lock = False, Event(), Lock()
        self._error: BaseException | None = None

    def __call__(self) -> None:
        with self._lock:
            if self.begun:
                return
            self.begun = True
        try:
            self._work(self.run)
        except BaseException as error:  # noqa: BLE001  raised again where the batch was handed over
            self._error = error
        finally:
            self.over.set()

    def answer(self) -> list[Receipt]:
        """What came of it; raises what the work raised."""
        if self._error:
            raise self._error
        return self.run.answer()
