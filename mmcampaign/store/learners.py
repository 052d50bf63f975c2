"""Who the learners are: facts from every export that mentions a learner, the newest winning (edx-exports 10).

The outcome depends on the set of files alone, never on their order: each fact has a rank, and the highest stays.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Insert,
    MetaData,
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
    tuple_,
    update,
)

from mmcampaign.store.dialect import is_empty
from mmcampaign.store.import_log import Changes
from mmcampaign.store.tables import RowId, UtcDateTime, learners

RETIRED_NAME = "retired__user_"
RETIRED_ADDRESS = "retired\\_\\_user\\_%@retired.invalid"

Row = Mapping[str, ColumnElement[Any]]

_IDENTITY = ("username", "email", "email_key")
_old = dict(learners.c)
_outdated = Table(
    "outdated_learners", MetaData(), Column("student_id", RowId, primary_key=True), prefixes=["TEMPORARY"]
)
_CHANGING = ("student_id", "name", "country", "retired_at", "seen_at", "profile_seen_at")  # no index follows these
_changed = Table(
    "changed_learners", MetaData(), *(Column(name, _old[name].type) for name in _CHANGING), prefixes=["TEMPORARY"]
)


def merge_learners(connection: Connection, staged: Table, exported_at: datetime, *, is_old: bool = False) -> Changes:
    """Bring the facts of the staged rows into ``learners``; returns how many are new, and how many renamed.

    ``is_old`` says that a newer export of the same run was read before, which changes nothing but the time it takes.

    User name and address are the newest export's (edX case E33). A retired user name is final: it outranks every other,
    older or newer, and wipes name and country for good (E42). A retired address alone is a pending deletion and counts
    by its date, so that a cancelled deletion brings the address back (E41).
    """
    facts = select(*_labelled(_facts(staged, exported_at)))
    if is_old:  # most learners were seen since: they need one look, not one for each step of the merge
        _outdated.create(connection)
        may_change = select(staged.c.student_id).where(~_was_seen_since(staged, exported_at))
        connection.execute(_outdated.insert().from_select(["student_id"], may_change))
        facts = facts.where(staged.c.student_id.in_(select(_outdated.c.student_id)))
        changes = Changes() if is_empty(connection, _outdated) else _merge(connection, facts.subquery("facts"))
        _outdated.drop(connection)
        return changes
    return _merge(connection, facts.subquery("facts"))


def _was_seen_since(staged: Table, exported_at: datetime) -> ColumnElement[bool]:
    """Whether a staged row is of a learner of whom all is known from newer exports; a retired one always counts."""
    stamp = literal(exported_at, UtcDateTime())
    seen = [_old["student_id"] == staged.c.student_id, _old["seen_at"] > stamp]
    if "name" in staged.c:
        seen.append(_old["profile_seen_at"] > stamp)
    return and_(~_is_retired(staged), exists(select(_old["student_id"]).where(*seen)))


def _is_retired(staged: Table) -> ColumnElement[bool]:
    return func.substr(staged.c.username, 1, len(RETIRED_NAME)) == RETIRED_NAME


def _merge(connection: Connection, facts: Subquery) -> Changes:
    renamed = 0
    if not is_empty(connection, learners):
        renamed = connection.execute(_rename(facts)).rowcount
        _changed.create(connection)
        final = _final(facts)
        connection.execute(_changed.insert().from_select(final.selected_columns.keys(), final))
        connection.execute(_take_over())
        _changed.drop(connection)
    return Changes(new_learners=connection.execute(_add(facts)).rowcount, renamed=renamed)


def count_shared_addresses(connection: Connection) -> int:
    """How many addresses stand on more than one account (edX case E34)."""
    shared = select(_old["email_key"]).where(_old["email_key"] > "").group_by(_old["email_key"])
    shared = shared.having(func.count() > 1)
    return int(connection.execute(select(func.count()).select_from(shared.subquery())).scalar_one())


def _facts(staged: Table, exported_at: datetime) -> Row:
    """What a staged row says, by column of ``learners``."""
    stamp = literal(exported_at, UtcDateTime())
    retired = _is_retired(staged)
    of_profile = "name" in staged.c
    return {
        "student_id": staged.c.student_id,
        **{name: staged.c[name] for name in _IDENTITY},
        "name": case((retired, null()), else_=staged.c.name) if of_profile else literal(None, Text()),
        "country": case((retired, null()), else_=staged.c.country) if of_profile else literal(None, Text()),
        "retired_at": case((retired, stamp)),
        "seen_at": stamp,
        "profile_seen_at": stamp if of_profile else literal(None, UtcDateTime()),
    }


def _labelled(facts: Row) -> list[ColumnElement[Any]]:
    return [value.label(name) for name, value in facts.items()]


def _rename(facts: Subquery) -> Update:
    """Changed user names and addresses: few, and the only columns an index follows, so the merge leaves them alone."""
    new: Row = dict(facts.c)
    differs = or_(*(_old[name] != new[name] for name in _IDENTITY))
    changed = update(learners).where(_is_same(new), differs, _is_newer(new))
    return changed.values({name: new[name] for name in _IDENTITY})


def _is_same(new: Row) -> ColumnElement[bool]:
    """The sum keeps SQLite from going through all learners and looking each one up among the staged rows."""
    return learners.c.student_id == new["student_id"] + 0


def _final(facts: Subquery) -> Select[Any]:
    """What the known learners whose facts change are to be, the highest of every fact."""
    new: Row = dict(facts.c)
    newer = _is_newer(new)
    newer_profile = and_(
        new["profile_seen_at"].is_not(None),
        or_(_old["profile_seen_at"].is_(None), _profile_rank(new) > _profile_rank(_old)),
    )
    retired = or_(_old["retired_at"].is_not(None), new["retired_at"].is_not(None))
    retired_earlier = new["retired_at"] < _old["retired_at"]
    first_or_earlier = or_(_old["retired_at"].is_(None), retired_earlier)
    values: Row = {
        "student_id": new["student_id"],
        "seen_at": case((newer, new["seen_at"]), else_=_old["seen_at"]),
        **{name: case((retired, null()), (newer_profile, new[name]), else_=_old[name]) for name in ("name", "country")},
        "profile_seen_at": case((newer_profile, new["profile_seen_at"]), else_=_old["profile_seen_at"]),
        "retired_at": case((first_or_earlier, new["retired_at"]), else_=_old["retired_at"]),
    }
    found = select(*_labelled(values)).join_from(facts, learners, _is_same(new))
    return found.where(or_(newer, newer_profile, retired_earlier))


def _take_over() -> Update:
    """The final values into their rows. Without functions, SQLite writes no second journal to undo the statement by."""
    final = {name: column for name, column in _changed.c.items() if name != "student_id"}
    return update(learners).prefix_with("OR FAIL", dialect="sqlite").where(_is_same(dict(_changed.c))).values(final)


def _add(facts: Subquery) -> Insert:
    known = select(learners.c.student_id).where(learners.c.student_id == facts.c.student_id)
    rows = select(facts).where(~known.exists()).order_by(facts.c.student_id)
    return learners.insert().from_select(facts.c.keys(), rows).execution_options(preserve_rowcount=True)


def _is_newer(new: Row) -> ColumnElement[bool]:
    """Still true of seen_at after ``_rename``: a tie in it was settled there, and leaves nothing to change."""
    return _identity_rank(new) > _identity_rank(_old)


def _identity_rank(row: Row) -> ColumnElement[Any]:
    """Retired first, then the newest; in the same minute a retired address, then any order that is always the same."""
    is_retired = case((row["retired_at"].is_not(None), 1), else_=0)
    is_leaving = case((row["email_key"].like(RETIRED_ADDRESS, escape="\\"), 1), else_=0)
    return tuple_(is_retired, row["seen_at"], is_leaving, row["email"], row["username"])


def _profile_rank(row: Row) -> ColumnElement[Any]:
    return tuple_(row["profile_seen_at"], func.coalesce(row["name"], ""), func.coalesce(row["country"], ""))
