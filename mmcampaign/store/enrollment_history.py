"""What each export changed, kept backwards: a row holds what a learner's row was until an export replaced it.

The newest state of a run stands in ``course_instancedetails``; going back from it, the row of ``enrollment_history``
with the smallest ``until`` after a moment says what held then. The table depends on the set of files alone, never on
their order: an export that comes late is put in between its neighbours. Of several in one minute only the one that
counts has a state.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    CompoundSelect,
    Connection,
    MetaData,
    Row,
    Select,
    Table,
    and_,
    cast,
    delete,
    false,
    func,
    insert,
    literal,
    null,
    or_,
    select,
    true,
    union_all,
)

from mmcampaign.store.column_types import UtcDateTime
from mmcampaign.store.dialect import one_of
from mmcampaign.store.import_log import READ, ImportEntry, place
from mmcampaign.store.standing import VALUES, is_listed
from mmcampaign.store.tables import course_instancedetails, enrollment_history, imports

_history = enrollment_history.c
_details = course_instancedetails.c


class Span(NamedTuple):
    """An export among those of its run and kind: when the one before it and the one after it were exported.

    ``newest`` is the stamp of the one that counts until now, whose rows are the details.
    """

    kind: str
    course_instance: str
    stamp: datetime
    before: datetime | None
    after: datetime | None
    newest: datetime | None


class _Rows(NamedTuple):
    """Learners with their values, somewhere in SQL: those rows of ``table`` of which ``where`` is true."""

    table: Table
    learner: ColumnElement[int]
    values: Mapping[str, ColumnElement[Any]]
    where: ColumnElement[bool]


def record_history(connection: Connection, staged: Table, entry: ImportEntry) -> None:
    """Write down what the staged export changes, before it replaces anything; an older one is put in its place."""
    span = _span(connection, entry)
    if span is not None:
        _put_between(connection, span, _staged_rows(staged, span.kind))


def add_to_history(connection: Connection, staged: Table, export: Row[Any]) -> None:
    """The same for rows that are added to an export that was read already."""
    span = _span(connection, export)
    if span is not None:
        _put_between(connection, span, _staged_rows(staged, span.kind), only=staged)


def listed_in(connection: Connection, export: Row[Any], learners: Collection[int]) -> frozenset[int]:
    """Which of these learners an export lists; none of them when another one of the same minute counts."""
    if _span(connection, export) is None:
        return frozenset()
    state = state_at(export.kind, export.course_instance, export.exported_at).subquery()
    among = one_of(connection, state.c.learner_id, list(learners))
    return frozenset(connection.execute(select(state.c.learner_id).where(among)).scalars())


def state_at(
    kind: str, course_instance: str, moment: datetime, details: Table = course_instancedetails
) -> CompoundSelect[Any]:
    """``learner_id`` and values of everybody whom the newest export stamped up to ``moment`` lists.

    The caller knows that there is such an export. ``details`` is the table of the newest states.
    """
    later = and_(_history.course_instance == course_instance, _history.kind == kind, _history.until > moment)
    place_in_time = func.row_number().over(partition_by=_history.learner_id, order_by=_history.until)
    columns = [_history[name] for name in ("learner_id", "present", *VALUES[kind])]
    first = select(*columns, place_in_time.label("place")).where(later).subquery()
    changed = select(first.c.learner_id, *(first.c[name] for name in VALUES[kind]))
    unchanged = select(details.c.learner_id, *(details.c[name] for name in VALUES[kind])).where(
        details.c.course_instance == course_instance,
        is_listed(kind, details),
        details.c.learner_id.not_in(select(_history.learner_id).where(later)),
    )
    return union_all(changed.where(first.c.place == 1, first.c.present), unchanged)


def counting_exports(connection: Connection, *conditions: ColumnElement[bool]) -> list[Row[Any]]:
    """The exports that have a state, oldest first: of those of a run, a kind and a minute the one that counts."""
    query = select(imports).where(
        imports.c.status.in_(READ), imports.c.kind.in_(list(VALUES)), imports.c.supplements.is_(None), *conditions
    )
    found: dict[tuple[str, str, datetime], Row[Any]] = {}
    for row in sorted(connection.execute(query), key=place):
        found[row.course_instance, row.kind, row.exported_at] = row
    return list(found.values())


def _span(connection: Connection, export: Any) -> Span | None:
    """Where an export stands among the others; None when another of its minute counts."""
    of_run = and_(imports.c.course_instance == export.course_instance, imports.c.kind == export.kind)
    places = {row.exported_at: place(row) for row in counting_exports(connection, of_run)}
    stamp = export.exported_at
    mine = places.get(stamp)
    if mine is not None and mine > place(export):
        return None
    return Span(
        kind=export.kind,
        course_instance=export.course_instance,
        stamp=stamp,
        before=max((other for other in places if other < stamp), default=None),
        after=min((other for other in places if other > stamp), default=None),
        newest=max(places, default=None),
    )


def _put_between(connection: Connection, span: Span, new: _Rows, *, only: Table | None = None) -> None:
    """Write anew what led to the export and from it to the next one; ``only`` for the learners staged there."""
    with (
        _copied_state(connection, span, "state_before", span.before, only) as before,
        _copied_state(connection, span, "state_after", span.after, only) as after,
    ):
        of_span = and_(_history.course_instance == span.course_instance, _history.kind == span.kind)
        wrong = and_(of_span, _history.until.in_([stamp for stamp in (span.stamp, span.after) if stamp]))
        whose = true() if only is None else _history.learner_id.in_(select(only.c.student_id))
        connection.execute(delete(enrollment_history).where(wrong, whose))
        if before is not None:
            _write_changes(connection, span, before, new, until=span.stamp)
        if after is not None:
            _write_changes(connection, span, new, after, until=span.after)


@contextmanager
def _copied_state(
    connection: Connection, span: Span, name: str, moment: datetime | None, only: Table | None
) -> Iterator[_Rows | None]:
    """The state of a moment; in a temporary table where the rows it is made of are about to change."""
    if moment is None:
        yield None
        return
    if moment == span.newest:
        rows = _current_rows(span)
        if only is not None:
            rows = rows._replace(where=and_(rows.where, rows.learner.in_(select(only.c.student_id))))
        yield rows
        return
    columns = [Column(value, enrollment_history.c[value].type) for value in VALUES[span.kind]]
    key = Column("learner_id", BigInteger, primary_key=True, autoincrement=False)
    table = Table(name, MetaData(), key, *columns, prefixes=["TEMPORARY"])
    table.create(connection)
    state = state_at(span.kind, span.course_instance, moment).subquery()
    query = select(state) if only is None else select(state).where(state.c.learner_id.in_(select(only.c.student_id)))
    connection.execute(insert(table).from_select(table.columns.keys(), query))
    values = {value: table.c[value] for value in VALUES[span.kind]}
    yield _Rows(table=table, learner=table.c.learner_id, values=values, where=true())
    table.drop(connection)


def _staged_rows(staged: Table, kind: str) -> _Rows:
    values = {name: staged.c[name] for name in VALUES[kind]}
    return _Rows(table=staged, learner=staged.c.student_id, values=values, where=true())


def _current_rows(span: Span) -> _Rows:
    here = and_(_details.course_instance == span.course_instance, is_listed(span.kind))
    values = {name: _details[name] for name in VALUES[span.kind]}
    return _Rows(table=course_instancedetails, learner=_details.learner_id, values=values, where=here)


def _write_changes(connection: Connection, span: Span, old: _Rows, new: _Rows, *, until: datetime | None) -> None:
    """A row for each learner whose values differ, who is gone, and who has come."""
    same = old.learner == new.learner
    differs = or_(*(value.is_distinct_from(new.values[name]) for name, value in old.values.items()))
    changed_or_gone = (
        select(old.learner, true(), *old.values.values())
        .select_from(old.table.outerjoin(new.table, and_(same, new.where)))
        .where(old.where, or_(new.learner.is_(None), differs))
    )
    come = select(new.learner, false(), *(cast(null(), value.type) for value in old.values.values())).where(
        new.where, ~select(old.learner).where(same, old.where).exists()
    )
    names = ("course_instance", "kind", "until", "learner_id", "present", *old.values)
    of_export = (literal(span.course_instance), literal(span.kind), literal(until, UtcDateTime()))
    for rows in (changed_or_gone, come):
        inner = rows.subquery()
        query: Select[Any] = select(*of_export, *inner.c).order_by(inner.c[0])
        connection.execute(insert(enrollment_history).from_select(names, query))
