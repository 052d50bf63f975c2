"""Many named tuples at once, from columns: for what is made of every message on its way out."""

from collections.abc import Iterable
from itertools import repeat
from typing import Any, NamedTuple, TypeVar

Row = TypeVar("Row", bound=NamedTuple)


def rows_of(kind: type[Row], *columns: Iterable[Any]) -> list[Row]:
    """A ``kind`` for each row of these columns, one for each field. Calling ``kind`` would take twice as long.

    Raises ValueError when the columns are not equally long.
    """
    assert len(columns) == len(kind._fields)
    return list(map(tuple.__new__, repeat(kind), zip(*columns, strict=True)))
