"""While a batch is on the wire the next one is claimed: faster, and in every other way as if it were not so."""

import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from mmcampaign.model import Batch, CampaignState, MessageStatus, Outcome, Receipt
from mmcampaign.sending_run import Batches, Run, batches
from mmcampaign.store.campaigns import Campaign
from mmcampaign.store.tables import campaigns, messages
from mmcampaign.testing import MemoryBackend
from tests.steps import DOWN, address, approved, go, open_counts, rows
from tests.worlds import Scripted, TestApp, on_sqlite, with_mail

M = MessageStatus
PEOPLE = 30
SIZE = 4
TOO_FAST = Receipt(message_id="", outcome=Outcome.NOT_TAKEN, error="429 too many requests", slower=True)
steps = st.sampled_from([*Outcome, Outcome.NOT_TAKEN, DOWN, TOO_FAST])
scripts = st.dictionaries(st.integers(1, PEOPLE), st.lists(steps, min_size=1, max_size=3), max_size=PEOPLE)


@pytest.fixture
def sender(make: Callable[..., TestApp]) -> Callable[..., Any]:
    """Sends one campaign of PEOPLE again and again, from the start."""
    app = make(PEOPLE)
    campaign = approved(app)

    def send(script: dict[int, Any], *, ahead: bool, limit: int | None) -> Any:
        _from_the_start(app, campaign)
        backend = Scripted({address(number): each for number, each in script.items()}, batch_size=SIZE)
        mine = with_mail(app, backend=backend, claim_batch=1_000 if ahead else SIZE)
        assert batches(mine, backend).ahead is ahead
        done, run = go(mine, campaign, limit=limit)
        # A claim forgets what an earlier answer said, also one that goes back.
        found = [(row.status, row.attempts, row.status != M.PENDING and row.error) for row in rows(app, done)]
        return (done.state, open_counts(done)), _told(run), found, backend.handed_over

    return send


def _from_the_start(app: TestApp, campaign: Campaign) -> None:
    app.clock.clear()
    with app.store.write() as connection:
        nothing = dict.fromkeys(("error", "not_before", "digest", "sent_at", "provider_message_id", "claimed_by"))
        connection.execute(update(messages).values(status=M.PENDING, attempts=0, **nothing))
        counts = dict.fromkeys((status.value for status in M), 0) | {"pending": PEOPLE}
        connection.execute(update(campaigns).values(state=CampaignState.APPROVED, finished_at=None, **counts))


def _told(run: Run) -> tuple[Any, ...]:
    return run.total, run.done, run.trouble, run.failures_in_a_row, run.put_offs_in_a_row


@on_sqlite
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(scripts, st.one_of(st.none(), st.integers(1, PEOPLE)))
@example({number: [Outcome.UNKNOWN] for number in range(1, PEOPLE + 1)}, None)
@example({number: [TOO_FAST] * 3 for number in range(1, PEOPLE + 1)}, None)
@example({SIZE: [DOWN]}, None)
@example({2: [Outcome.NOT_TAKEN] * 5, 3: [Outcome.NOT_TAKEN]}, 5)
def test_the_ledger_is_the_same_as_one_batch_after_the_other(
    sender: Callable[..., Any], script: dict[int, Any], limit: int | None
):
    assert sender(script, ahead=True, limit=limit) == sender(script, ahead=False, limit=limit)


class Watching(Scripted):
    """Looks, at each hand-over, at how many messages are in hand; the first waits until there are two batches."""

    def __init__(self, app: TestApp, script: Any = None) -> None:
        super().__init__(script or {}, batch_size=SIZE)
        self._app, self.most = app, 0

    def deliver(self, batch: Batch) -> list[Receipt]:
        until = time.monotonic() + 10
        while not self.batches and self._claimed() < 2 * SIZE and time.monotonic() < until:
            time.sleep(0.001)
        self.most = max(self.most, self._claimed())
        return super().deliver(batch)

    def _claimed(self) -> int:
        with self._app.store.read() as connection:
            query = messages.select().where(messages.c.status == M.SENDING)
            return len(connection.execute(query).all())


def test_the_next_batch_is_claimed_meanwhile_and_no_more(make: Callable[..., TestApp]):
    app = make(5 * SIZE)
    backend = Watching(app)
    done, _ = go(with_mail(app, backend=backend), approved(app))
    assert open_counts(done) == {"accepted": 5 * SIZE}
    assert backend.most == 2 * SIZE
    assert max(Counter(backend.handed_over).values()) == 1


def test_what_was_claimed_meanwhile_goes_back_untouched_after_trouble(make: Callable[..., TestApp]):
    app = make(4 * SIZE)
    backend = Watching(app, {address(SIZE): [DOWN]})
    campaign = approved(app)
    done, run = go(with_mail(app, backend=backend), campaign)
    assert (backend.most, run.trouble) == (2 * SIZE, "connection refused")
    assert open_counts(done) == {"accepted": SIZE - 1, "pending": 3 * SIZE + 1}
    untouched = rows(app, done)[SIZE:]
    assert {(row.status, row.attempts, row.error, row.digest) for row in untouched} == {(M.PENDING, 0, None, None)}


@pytest.mark.parametrize("raised", [KeyboardInterrupt(), RuntimeError("a bug")], ids=["Ctrl-C twice", "a bug"])
def test_whatever_is_raised_beside_the_wire_its_answers_are_kept(make: Callable[..., TestApp], raised: BaseException):
    app = make(5 * SIZE)
    campaign = approved(app)
    backend = MemoryBackend(batch_size=SIZE)

    def later(run: Run) -> None:
        if run.done:
            raise raised

    with pytest.raises(type(raised)):
        go(with_mail(app, backend=backend), campaign, on_progress=later)
    found = Counter(row.status for row in rows(app, campaign))
    assert found == {M.ACCEPTED: len(backend.taken), M.PENDING: 5 * SIZE - len(backend.taken)}
    assert SIZE <= len(backend.taken) <= 2 * SIZE


@on_sqlite
def test_a_batch_that_the_wire_never_got_goes_back(make: Callable[..., TestApp], monkeypatch: pytest.MonkeyPatch):
    """Ctrl-C in the moment of handing it to the wire's thread."""
    app = make(2 * SIZE)
    campaign = approved(app)
    backend = MemoryBackend(batch_size=SIZE)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mmcampaign.handover.ThreadPoolExecutor.submit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        go(with_mail(app, backend=backend), campaign)
    assert {(row.status, row.attempts) for row in rows(app, campaign)} == {(M.PENDING, 0)}
    assert backend.batches == []


@on_sqlite
@pytest.mark.parametrize(
    ("name", "batch_size", "claim_batch", "rate", "expected"),
    [
        pytest.param("smtp", 50, 1_000, 10, Batches(size=10, ahead=False), id="the rate lets go no more"),
        pytest.param("smtp", 50, 1_000, 0.5, Batches(size=1, ahead=False), id="less than one a second"),
        pytest.param(
            "smtp", 50, 1_000, 99, Batches(size=50, ahead=False), id="two would be more than a second's worth"
        ),
        pytest.param("smtp", 50, 1_000, 100, Batches(size=50, ahead=True), id="two in a second"),
        pytest.param("smtp", 50, 99, 1_000, Batches(size=50, ahead=False), id="two would be more than in hand"),
        pytest.param("smtp", 50, 20, 1_000, Batches(size=20, ahead=False), id="fewer in hand"),
        pytest.param("sendgrid", 500, 1_000, 5_000, Batches(size=500, ahead=True), id="two requests"),
        pytest.param("sendgrid", 1_000, 1_000, 5_000, Batches(size=1_000, ahead=False), id="the largest request"),
        pytest.param("memory", 100, 1_000, 1, Batches(size=100, ahead=True), id="no rate holds it back"),
    ],
)
def test_how_much_is_taken_in_hand(
    make: Callable[..., TestApp], name: str, batch_size: int, claim_batch: int, rate: float, expected: Batches
):
    backend = MemoryBackend(batch_size=batch_size)
    backend.name = name
    app = with_mail(make(1), backend=backend, claim_batch=claim_batch, rate_per_second=rate)
    assert batches(app, backend) == expected
    assert expected.in_hand <= max(claim_batch, 1)


@on_sqlite
def test_the_ledger_gets_pythons_lock_sooner_while_mail_is_sent_and_only_then(make: Callable[..., TestApp]):
    class Watchful(MemoryBackend):
        def deliver(self, batch: Batch) -> list[Receipt]:
            seen.append(sys.getswitchinterval())
            return super().deliver(batch)

    seen: list[float] = []
    sys.setswitchinterval(0.005)  # Python's own; two senders in one process, as some tests have, end in any order
    before = sys.getswitchinterval()
    app = make(3, backend=Watchful())
    go(app, approved(app))
    assert seen
    assert max(seen) < before
    assert sys.getswitchinterval() == before
