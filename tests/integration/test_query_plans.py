"""What is looked up for one person is found by an index, however large the tables have grown."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC
from typing import Any

import pytest
from sqlalchemy import Connection, event, select

from mmcampaign.addresses import address_problem
from mmcampaign.store import campaigns, history, outbox
from mmcampaign.store.candidates import Lens, candidates_by_id, find_learner, read_candidates
from mmcampaign.store.dialect import one_of
from mmcampaign.store.engine import Store
from mmcampaign.store.history import HistoryFilter
from mmcampaign.store.tables import learners
from tests.builders import NOW, TODAY, make_candidate, make_learner, make_program
from tests.ledgers import claimer, make
from tests.worlds import fill, on_sqlite

LENS = Lens(zone=UTC, check_address=address_problem)
LARGE = ("learners", "course_instancedetails", "completions", "messages", "exclusions", "consents", "suppressions")

Query = Callable[[Connection], object]


@contextmanager
def statements(store: Store) -> Iterator[list[tuple[str, Any]]]:
    """Everything sent to the database meanwhile."""
    sent: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, sql: str, parameters: Any, *_: Any) -> None:
        sent.append((sql, parameters))

    event.listen(store.engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(store.engine, "before_cursor_execute", note)


def plans(store: Store, query: Query) -> list[str]:
    """SQLite's plan of each statement that ``query`` sends."""
    with store.read() as connection:
        with statements(store) as sent:
            query(connection)
        queries = [(sql, parameters) for sql, parameters in sent if sql.startswith("SELECT")]
        assert queries
        return [
            str(row[3])
            for sql, parameters in queries
            for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", parameters)
        ]


@on_sqlite
@pytest.mark.parametrize(
    "query",
    [
        pytest.param(lambda c: list(read_candidates(c, make_program(), LENS)), id="candidates of a program"),
        pytest.param(lambda c: list(candidates_by_id(c, make_program(), [1], LENS)), id="candidates by id"),
        pytest.param(lambda c: find_learner(c, "1"), id="a learner by id"),
        pytest.param(lambda c: list(history.read_history(c, HistoryFilter(campaign=1))), id="history of a campaign"),
        pytest.param(lambda c: history.stored_message(c, "nothing"), id="one message"),
        pytest.param(lambda c: outbox.claim(c, 1, claimer(), size=5), id="a claim of one shape"),
        pytest.param(lambda c: outbox.claim(c, 1, claimer(), size=5, after=1), id="a claim of any shape"),
        pytest.param(campaigns.list_campaigns, id="the ledgers"),
        pytest.param(lambda c: campaigns.count_exclusions(c, 1), id="the reasons of a campaign"),
    ],
)
def test_no_large_table_is_read_whole(store: Store, query: Query):
    shared = [make_candidate(learner=make_learner(number, email="shared@mail.example")) for number in (1, 2)]
    fill(store, shared)
    make(store)
    steps = plans(store, query)
    assert not [step for step in steps if re.match(rf"SCAN ({'|'.join(LARGE)})\b", step)]
    # Found by its primary key alone: the other keys slow the ingest down and may go.
    assert not [step for step in steps if "ix_course_instancedetails" in step]


@on_sqlite
@pytest.mark.parametrize(
    ("query", "index"),
    [
        pytest.param(lambda c: outbox.claim(c, 1, claimer(), size=5), "pending", id="a claim of one shape"),
        pytest.param(lambda c: outbox.next_try(c, 1), "pending", id="the next try"),
        pytest.param(lambda c: outbox.drop_unmailable(c, 1, TODAY), "pending", id="the late check"),
        pytest.param(lambda c: outbox.orphans(c, 1, now=NOW, alone=True), "in_doubt", id="what a sender left"),
        pytest.param(lambda c: outbox.last_claim_until(c, 1), "in_doubt", id="the last claim"),
        pytest.param(lambda c: outbox.unknown_ids(c, 1), "in_doubt", id="what is unknown"),
    ],
)
def test_what_is_to_do_is_found_among_itself_without_sorting(store: Store, query: Query, index: str):
    """However many messages the campaign has sent: their status stands in no index."""
    make(store)
    steps = [step for step in plans(store, query) if " messages " in step or "B-TREE" in step]
    assert [step.split(" (")[0] for step in steps] == [f"SEARCH messages USING INDEX ix_messages_{index}"]


@on_sqlite
@pytest.mark.parametrize(
    "query",
    [
        pytest.param(lambda c: find_learner(c, "nobody"), id="a learner by name"),
        pytest.param(lambda c: list(history.read_history(c, HistoryFilter(learner="7"))), id="history of a learner"),
    ],
)
def test_a_user_name_is_looked_for_among_all_learners_and_nowhere_else(store: Store, query: Query):
    """An index of them would cost every first load more than these questions take."""
    fill(store, [make_candidate(learner=make_learner(7, email="seven@mail.example"))])
    make(store)
    steps = plans(store, query)
    assert {step for step in steps if re.match(rf"SCAN ({'|'.join(LARGE)})\b", step)} == {"SCAN learners"}


@pytest.mark.parametrize(
    ("name", "keys", "found"),
    [
        pytest.param("student_id", [1, 3, 99], [1, 3], id="numbers"),
        pytest.param("student_id", [], [], id="nothing"),
        pytest.param("student_id", range(1, 40_001), [1, 2, 3], id="more than a statement has parameters"),
        pytest.param("name", ['O\'Hara "Bo"', "山田, 太郎 \\ \U0001f600"], [1, 2], id="quotes and any script"),
        pytest.param("name", ["%", "_", ""], [], id="no patterns"),
    ],
)
def test_one_of_many_keys(store: Store, name: str, keys: Any, found: list[int]):
    names = ('O\'Hara "Bo"', "山田, 太郎 \\ \U0001f600", "Ana")
    fill(store, [make_candidate(learner=make_learner(n, name=each)) for n, each in enumerate(names, start=1)])
    with store.read() as connection:
        wanted = one_of(connection, learners.c[name], list(keys))
        query = select(learners.c.student_id).where(wanted).order_by(learners.c.student_id)
        assert list(connection.execute(query).scalars()) == found
