"""What is in a message: frozen when it was planned, read when it is handed over or looked at."""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, Select, func, select

from mmcampaign.columns import rows_of
from mmcampaign.store.dialect import columns_of, keys_for, one_of_bound
from mmcampaign.store.outbox import Claimed
from mmcampaign.store.tables import merge_values


class Content(NamedTuple):
    """What was frozen of a message, beside its shape.

    ``personal`` are the person's own merge values as JSON; ``told`` is what a provider that writes the mail itself is
    told of them, empty unless it was made beforehand (decision 19).
    """

    email: str
    subject: str
    unsubscribe_url: str
    personal: str
    told: str


def contents(connection: Connection, ids: Sequence[int], *, for_told: bool = False) -> list[Content]:
    """What is in the messages of these rows, in their order. It never changes, so any transaction may read it.

    ``for_told``: for a provider that writes the mail itself; if what it is told lies ready for all of them, the rest is
    left empty.
    """
    wanted = {"ids": keys_for(connection, ids)}
    if for_told:
        query = _contents(connection.dialect.name, "email", "told")
        found, emails, told = columns_of(connection, query, wanted, last_is_plain=True)
        empty = [""] * len(found)
        columns = [emails, empty, empty, empty, told]
    if not for_told or not all(told):
        found, *columns = columns_of(connection, _contents(connection.dialect.name, *Content._fields), wanted)
    by_id = dict(zip(found, rows_of(Content, *columns), strict=True))
    return [by_id[number] for number in ids]


@cache
def _contents(dialect: str, *names: str) -> Select[Any]:
    own = merge_values.c
    columns = (func.coalesce(own.told, "").label(name) if name == "told" else own[name] for name in names)
    return select(own.id, *columns).where(one_of_bound(dialect, own.id, "ids"))


def stored(row: Row[Any]) -> tuple[Claimed, Content]:
    """A row of ``whole_messages`` as the two that its bytes are made from."""
    claimed, content = ([row._mapping[name] for name in kind._fields] for kind in (Claimed, Content))
    return Claimed._make(claimed), Content._make(value or "" for value in content)
