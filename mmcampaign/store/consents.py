"""What people chose on edX's e-mail opt-in list, the newest choice winning over all lists (edx-exports 16).

Kept apart from ``suppressions``, which are ours and which no list changes (edX case E51). A choice of somebody in no
report yet is kept; it applies when the person appears (E49).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, and_, case, func, or_, select

from mmcampaign.store.dialect import insert_into, one_of
from mmcampaign.store.import_log import ImportEntry, log_import
from mmcampaign.store.tables import address_consents, consents, imports

GRANTED, REFUSED, UNKNOWN = "granted", "refused", "unknown"
BATCH = 5_000

Row = tuple[int | str, str, datetime | None]  # user id or case-folded address, choice, when (None: nobody chose)


@dataclass(frozen=True, kw_only=True)
class ConsentData:
    """How old the choices on record are: the newest of them, and the newest grade or profile report beside it.

    ``lists`` is how many opt-in lists were read.
    """

    lists: int
    newest_choice: datetime | None
    newest_report: datetime | None


def merge_choices(connection: Connection, entry: ImportEntry, rows: Iterable[Row], *, by_id: bool) -> None:
    """Log the list and bring its choices in; an older choice than the one on record changes nothing."""
    import_id = log_import(connection, entry)
    table = consents if by_id else address_consents
    person = next(iter(table.primary_key.columns)).name
    statement = _keep_newest(insert_into(connection, table), table, person)
    for batch in _batches(rows):
        values = [{person: who, "choice": choice, "chosen_at": at, "import_id": import_id} for who, choice, at in batch]
        connection.execute(statement, values)


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    source = iter(rows)
    while batch := list(islice(source, BATCH)):
        yield batch


def _keep_newest(insert: Any, table: Table, person: str) -> Any:
    """A dated choice outranks none; on one date a refusal outranks a consent, so that the order of files is nothing."""
    old, new = table.c, insert.excluded
    newer = or_(
        and_(old.chosen_at.is_(None), new.chosen_at.is_not(None)),
        new.chosen_at > old.chosen_at,
        and_(new.chosen_at == old.chosen_at, _rank(new.choice) > _rank(old.choice)),
    )
    values = {name: new[name] for name in ("choice", "chosen_at", "import_id")}
    return insert.on_conflict_do_update(index_elements=[person], set_=values, where=newer)


def _rank(choice: ColumnElement[str]) -> ColumnElement[int]:
    return case((choice == REFUSED, 2), (choice == GRANTED, 1), else_=0)


def choices_of(connection: Connection, people: Mapping[int, str]) -> dict[int, str]:
    """The choice of each learner on record, by id; ``people`` gives the case-folded address of each id.

    The newer of what is known by id and by address; without dates, or on one date, a refusal stands.
    """
    by_id = _read(connection, consents, list(people))
    by_address = _read(connection, address_consents, [key for key in people.values() if key])
    found = {}
    for student_id, key in people.items():
        known = [row for row in (by_id.get(student_id), by_address.get(key)) if row is not None]
        if known:
            found[student_id] = max(known, key=_standing).choice
    return found


def _read(connection: Connection, table: Table, people: list[Any]) -> dict[Any, Any]:
    person = next(iter(table.primary_key.columns))
    query = select(person, table.c.choice, table.c.chosen_at).where(one_of(connection, person, people))
    return {row[0]: row for row in connection.execute(query)}


def _standing(row: Any) -> tuple[bool, float, bool]:
    dated = row.chosen_at is not None
    return dated, row.chosen_at.timestamp() if dated else 0.0, row.choice == REFUSED


def consent_data(connection: Connection) -> ConsentData:
    """How old the consent data is, for the dry run (edX case E50)."""
    of_lists = imports.c.kind == "email_opt_in"
    loaded = imports.c.status == "loaded"
    lists = connection.execute(select(func.count()).select_from(imports).where(of_lists, loaded)).scalar_one()
    newest = [
        connection.execute(select(func.max(table.c.chosen_at))).scalar_one() for table in (consents, address_consents)
    ]
    report = connection.execute(select(func.max(imports.c.exported_at)).where(~of_lists, loaded)).scalar_one()
    dated = [at for at in newest if at is not None]
    return ConsentData(lists=lists, newest_choice=max(dated, default=None), newest_report=report)
