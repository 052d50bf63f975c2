"""Who the learners are: facts from every export that mentions a learner, the newest winning (edx-exports 10).

The outcome depends on the set of files alone, never on their order: each fact has a rank, and the highest stays.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    FromClause,
    Insert,
    MetaData,
    Row,
    Select,
    Subquery,
    Table,
    Text,
    Update,
    and_,
    case,
    exists,
    func,
    literal,
    null,
    or_,
    select,
    true,
    tuple_,
    update,
)

from mmcampaign.store.column_types import RowId, UnixTime, UtcDateTime
from mmcampaign.store.dialect import insert_into, is_empty
from mmcampaign.store.import_log import Changes
from mmcampaign.store.standing import is_listed
from mmcampaign.store.tables import course_instancedetails, learners, seen_again

RETIRED_NAME = "retired__user_"
RETIRED_ADDRESS = "retired\\_\\_user\\_%@retired.invalid"

Facts = Mapping[str, ColumnElement[Any]]

_IDENTITY = ("username", "email", "email_key")
_NAMES = ("name", "country", "retired_at")
_again = seen_again.alias("again")
_temporary = MetaData()
_telling = Table("telling_learners", _temporary, Column("student_id", RowId, primary_key=True), prefixes=["TEMPORARY"])
_resolved = Table(
    "resolved_learners",
    _temporary,
    *(Column(column.name, column.type, primary_key=column.primary_key) for column in learners.columns),
    prefixes=["TEMPORARY"],
)


def last_seen(who: FromClause, column: str = "seen_at") -> ColumnElement[Any]:
    """The export stamp behind facts of ``who``, which is ``learners`` or an alias of it."""
    again = seen_again.alias()
    found = select(again.c[column]).where(again.c.student_id == who.c.student_id).scalar_subquery()
    return func.coalesce(found, who.c[column])


def merge_learners(
    connection: Connection, staged: Table, exported_at: datetime, *, newer: Row[Any] | None = None
) -> Changes:
    """Bring the facts of the staged rows into ``learners``; returns how many are new, and how many renamed.

    ``newer`` is the import of the newest export of the same run and kind, if that is a newer one, which changes nothing
    but the time it takes.

    User name and address are the newest export's (edX case E33). A retired user name is final: it outranks every other,
    older or newer, and wipes name and country for good (E42). A retired address alone is a pending deletion and counts
    by its date, so that a cancelled deletion brings the address back (E41).
    """
    facts = select(*_labelled(_facts(staged, exported_at)))
    if newer is None:
        return _merge(connection, facts.subquery("facts"))
    _telling.create(connection)  # few: they need one look, not one for each step of the merge
    may_change = select(staged.c.student_id).where(or_(_is_retired(staged), ~_is_listed_in(staged, newer)))
    connection.execute(_telling.insert().from_select(["student_id"], may_change))
    facts = facts.where(staged.c.student_id.in_(select(_telling.c.student_id)))
    changes = Changes() if is_empty(connection, _telling) else _merge(connection, facts.subquery("facts"))
    _telling.drop(connection)
    return changes


def _is_listed_in(staged: Table, newest: Row[Any]) -> ColumnElement[bool]:
    """Whether the newest export of a run and kind, whose rows are the details, says as much of a staged learner."""
    details = course_instancedetails.c
    same = and_(details.course_instance == newest.course_instance, details.learner_id == staged.c.student_id)
    return exists(select(details.learner_id).where(same, is_listed(newest.kind)))


def _is_retired(staged: Table) -> ColumnElement[bool]:
    return func.substr(staged.c.username, 1, len(RETIRED_NAME)) == RETIRED_NAME


def _merge(connection: Connection, facts: Subquery) -> Changes:
    renamed = 0
    if not is_empty(connection, learners):
        renamed = _merge_known(connection, facts)
    return Changes(new_learners=connection.execute(_add(facts)).rowcount, renamed=renamed)


def _merge_known(connection: Connection, facts: Subquery) -> int:
    """How many have another user name or address now."""
    _resolved.create(connection)
    resolve = _resolve(facts)
    connection.execute(_resolved.insert().from_select(resolve.selected_columns.keys(), resolve))
    renamed = connection.execute(_take_over(_IDENTITY)).rowcount  # few, and alone in an index
    connection.execute(_take_over(_NAMES))
    connection.execute(_see_again(connection))
    _resolved.drop(connection)
    return renamed


def count_twins(connection: Connection) -> int:
    """How many accounts have an address that another one has, which the mail goes to (edX case E34)."""
    addresses = select(learners.c.email_key).where(learners.c.email_key > "")
    every, different = (select(func.count()).select_from(rows.subquery()) for rows in (addresses, addresses.distinct()))
    query = select(every.scalar_subquery() - different.scalar_subquery())
    return int(connection.execute(query).scalar_one())


def _facts(staged: Table, exported_at: datetime) -> Facts:
    """What a staged row says, by column of ``learners``."""
    stamp = literal(exported_at, UnixTime())
    retired, retired_at = _is_retired(staged), literal(exported_at, UtcDateTime())
    of_profile = "name" in staged.c
    return {
        "student_id": staged.c.student_id,
        **{name: staged.c[name] for name in _IDENTITY},
        "name": case((retired, null()), else_=staged.c.name) if of_profile else literal(None, Text()),
        "country": case((retired, null()), else_=staged.c.country) if of_profile else literal(None, Text()),
        "retired_at": case((retired, retired_at)),
        "seen_at": stamp,
        "profile_seen_at": stamp if of_profile else literal(None, UnixTime()),
    }


def _labelled(facts: Facts) -> list[ColumnElement[Any]]:
    return [value.label(name) for name, value in facts.items()]


def _resolve(facts: Subquery) -> Select[Any]:
    """What is true from now on of the known learners of whom the facts say more than was known."""
    new: Facts = dict(facts.c)
    stamps = {name: func.coalesce(_again.c[name], learners.c[name]) for name in ("seen_at", "profile_seen_at")}
    old: Facts = {**dict(learners.c), **stamps}
    newer = _identity_rank(new) > _identity_rank(old)
    newer_profile = and_(
        new["profile_seen_at"].is_not(None),
        or_(old["profile_seen_at"].is_(None), _profile_rank(new) > _profile_rank(old)),
    )
    retired = or_(old["retired_at"].is_not(None), new["retired_at"].is_not(None))
    retired_earlier = new["retired_at"] < old["retired_at"]
    first_or_earlier = or_(old["retired_at"].is_(None), retired_earlier)
    values: Facts = {
        "student_id": old["student_id"],
        **{name: case((newer, new[name]), else_=old[name]) for name in (*_IDENTITY, "seen_at")},
        **{name: case((retired, null()), (newer_profile, new[name]), else_=old[name]) for name in ("name", "country")},
        "profile_seen_at": case((newer_profile, new["profile_seen_at"]), else_=old["profile_seen_at"]),
        "retired_at": case((first_or_earlier, new["retired_at"]), else_=old["retired_at"]),
    }
    # The sum keeps SQLite from going through all learners and looking each one up among the staged rows.
    same = learners.c.student_id == new["student_id"] + 0
    known = facts.join(learners, same).outerjoin(_again, _again.c.student_id == learners.c.student_id)
    return select(*_labelled(values)).select_from(known).where(or_(newer, newer_profile, retired_earlier))


def _take_over(names: Sequence[str]) -> Update:
    differs = or_(*(learners.c[name].is_distinct_from(_resolved.c[name]) for name in names))
    changed = update(learners).where(learners.c.student_id == _resolved.c.student_id + 0, differs)
    return changed.values({name: _resolved.c[name] for name in names})


def _see_again(connection: Connection) -> Insert:
    stamps = [_resolved.c[column.name] for column in seen_again.columns]
    rows = select(*stamps).where(true()).order_by(stamps[0])  # SQLite wants the WHERE
    insert = insert_into(connection, seen_again).from_select(seen_again.c.keys(), rows)
    kept = {name: insert.excluded[name] for name in ("seen_at", "profile_seen_at")}
    upsert: Insert = insert.on_conflict_do_update(index_elements=["student_id"], set_=kept)
    return upsert


def _add(facts: Subquery) -> Insert:
    known = select(learners.c.student_id).where(learners.c.student_id == facts.c.student_id)
    rows = select(facts).where(~known.exists()).order_by(facts.c.student_id)
    return learners.insert().from_select(facts.c.keys(), rows).execution_options(preserve_rowcount=True)


def _identity_rank(row: Facts) -> ColumnElement[Any]:
    """Retired first, then the newest; in the same minute a retired address, then any order that is always the same."""
    is_retired = case((row["retired_at"].is_not(None), 1), else_=0)
    is_leaving = case((row["email_key"].like(RETIRED_ADDRESS, escape="\\"), 1), else_=0)
    return tuple_(is_retired, row["seen_at"], is_leaving, row["email"], row["username"])


def _profile_rank(row: Facts) -> ColumnElement[Any]:
    return tuple_(row["profile_seen_at"], func.coalesce(row["name"], ""), func.coalesce(row["country"], ""))
