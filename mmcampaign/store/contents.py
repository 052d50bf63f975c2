"""What is in a message: frozen when it was planned, read when it is handed over or looked at."""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, Select, case, select

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


_OF_THE_TOLD = ("email", "told")  # is needed of whoever has ``told``; the others are left empty for them


def contents(connection: Connection, ids: Sequence[int], *, for_told: bool = False) -> list[Content]:
    """What is in the messages of these rows, in their order. It never changes, so any transaction may read it.

    ``for_told``: for a provider that writes the mail itself, only what is needed of each.
    """
    query = _contents(connection.dialect.name, for_told=for_told)
    found, *columns = columns_of(connection, query, {"ids": keys_for(connection, ids)})
    by_id = dict(zip(found, map(Content, *columns), strict=True))
    return [by_id[number] for number in ids]


@cache
def _contents(dialect: str, *, for_told: bool) -> Select[Any]:
    own = merge_values.c
    columns = [
        case((own.told.is_(None), own[name]), else_="") if for_told and name not in _OF_THE_TOLD else own[name]
        for name in Content._fields
    ]
    return select(own.id, *columns).where(one_of_bound(dialect, own.id, "ids"))


def stored(row: Row[Any]) -> tuple[Claimed, Content]:
    """A row of ``whole_messages`` as the two that its bytes are made from."""
    claimed, content = ([row._mapping[name] for name in kind._fields] for kind in (Claimed, Content))
    return Claimed._make(claimed), Content._make(value or "" for value in content)
