"""The audit log on both engines: every act follows from the one before, and tampering shows."""

from collections.abc import Callable
from datetime import timedelta
from threading import Thread
from typing import Any

import pytest
from sqlalchemy import Connection, delete, insert, select, update

from mmcampaign.store import audit
from mmcampaign.store.engine import Store
from mmcampaign.store.tables import audit_log
from tests.builders import NOW


def write(store: Store, number: int = 5) -> None:
    for each in range(1, number + 1):
        with store.write() as connection:
            at = NOW + timedelta(microseconds=each)
            audit.record(connection, at=at, actor="kim", act="approved", subject=f"campaign {each}", facts={"n": each})


def broken(store: Store) -> int | None:
    with store.read() as connection:
        return audit.first_broken(connection)


def test_acts_come_back_in_order(store: Store):
    write(store, 2)
    with store.read() as connection:
        first, second = audit.entries(connection)
    assert {key: first[key] for key in ("actor", "act", "subject", "facts")} == {
        "actor": "kim",
        "act": "approved",
        "subject": "campaign 1",
        "facts": {"n": 1},
    }
    assert second["at"] == NOW + timedelta(microseconds=2)
    assert len(second["digest"]) == 64


def test_an_untouched_log_is_intact(store: Store):
    assert broken(store) is None
    write(store)
    assert broken(store) is None


def test_names_in_any_script_do_not_break_the_chain(store: Store):
    with store.write() as connection:
        for actor in ("zoë", "山田", 'O\'Brien "the" 1st'):
            audit.record(connection, at=NOW, actor=actor, act="planned", subject="campaign 1", facts={"note": actor})
    assert broken(store) is None


def _copy_in_between(connection: Connection) -> None:
    """A row made up between the third and the fourth, with a digest of its own that is right."""
    rows = connection.execute(select(audit_log).order_by("id")).all()
    connection.execute(delete(audit_log).where(audit_log.c.id > rows[2].id))
    audit.record(connection, at=NOW, actor="eve", act="approved", subject="campaign 9")
    for row in rows[3:]:
        connection.execute(insert(audit_log), {**row._mapping, "id": row.id + 10})


def change(row: int, **values: Any) -> Callable[[Connection], None]:
    def tamper(connection: Connection) -> None:
        connection.execute(update(audit_log).where(audit_log.c.id == row).values(values))

    return tamper


def remove(row: int) -> Callable[[Connection], None]:
    def tamper(connection: Connection) -> None:
        connection.execute(delete(audit_log).where(audit_log.c.id == row))

    return tamper


def _swap(connection: Connection) -> None:
    second, third = (connection.execute(select(audit_log).where(audit_log.c.id == row)).one() for row in (2, 3))
    for row, other in ((2, third), (3, second)):
        change(row, **{key: value for key, value in other._mapping.items() if key != "id"})(connection)


@pytest.mark.parametrize(
    ("tamper", "row"),
    [
        pytest.param(change(3, actor="eve"), 3, id="another actor"),
        pytest.param(change(3, act="rejected"), 3, id="another act"),
        pytest.param(change(3, subject="campaign 4"), 3, id="another campaign"),
        pytest.param(change(3, facts='{"n": 4}'), 3, id="other facts"),
        pytest.param(change(3, at=NOW), 3, id="another time"),
        pytest.param(change(3, previous=""), 3, id="cut loose from the one before"),
        pytest.param(change(5, actor="eve"), 5, id="the last one"),
        pytest.param(change(1, actor="eve"), 1, id="the first one"),
        pytest.param(remove(3), 4, id="one removed"),
        pytest.param(remove(1), 2, id="the first one removed"),
        pytest.param(_copy_in_between, 14, id="one inserted"),
        pytest.param(_swap, 2, id="two swapped"),
    ],
)
def test_tampering_is_found_where_it_begins(store: Store, tamper: Callable[[Connection], None], row: int):
    write(store)
    with store.write() as connection:
        tamper(connection)
    assert broken(store) == row


def _forge(connection: Connection) -> None:
    """Row 3 with another actor and the digest that goes with it."""
    row = connection.execute(select(audit_log).where(audit_log.c.id == 3)).one()
    later = connection.execute(select(audit_log).where(audit_log.c.id > 3)).all()
    connection.execute(delete(audit_log).where(audit_log.c.id >= 3))
    audit.record(connection, at=row.at, actor="eve", act=row.act, subject=row.subject, facts={"n": 3})
    forged = connection.execute(select(audit_log).order_by(audit_log.c.id.desc()).limit(1)).one()
    connection.execute(delete(audit_log).where(audit_log.c.id == forged.id))
    connection.execute(insert(audit_log), [{**forged._mapping, "id": 3}, *(dict(each._mapping) for each in later)])


def test_a_row_changed_together_with_its_digest_breaks_the_next(store: Store):
    write(store)
    with store.write() as connection:
        _forge(connection)
    assert broken(store) == 4


def test_an_act_that_is_rolled_back_leaves_no_trace(store: Store):
    write(store, 1)
    with pytest.raises(ZeroDivisionError), store.write() as connection:
        audit.record(connection, at=NOW, actor="kim", act="planned", subject="campaign 2")
        raise ZeroDivisionError
    with store.read() as connection:
        assert len(list(audit.entries(connection))) == 1
    assert broken(store) is None


def test_two_writers_at_once_make_one_chain(store: Store):
    threads = [Thread(target=write, args=(store, 10)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with store.read() as connection:
        assert len(list(audit.entries(connection))) == 20
    assert broken(store) is None
