"""Who the learners are: facts from every export that mentions a learner, the newest winning (edx-exports 10).

The outcome depends on the set of files alone, never on their order: each fact has a rank, and the highest stays.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, and_, case, exists, func, literal, null, or_, select, tuple_

from mmcampaign.store.staging import insert_into
from mmcampaign.store.tables import UtcDateTime, learners

RETIRED_NAME = "retired__user_"
RETIRED_ADDRESS = "retired\\_\\_user\\_%@retired.invalid"


def merge_learners(connection: Connection, staged: Table, exported_at: datetime) -> int:
    """Bring the facts of the staged rows into ``learners``; returns how many learners are new.

    User name and address are the newest export's (edX case E33). A retired user name is final: it outranks every other,
    older or newer, and wipes name and country for good (E42). A retired address alone is a pending deletion and counts
    by its date, so that a cancelled deletion brings the address back (E41).
    """
    known = exists(select(learners.c.student_id).where(learners.c.student_id == staged.c.student_id))
    new = connection.execute(select(func.count()).select_from(staged).where(~known)).scalar_one()
    insert = insert_into(connection, learners)
    insert = insert.from_select([column.name for column in learners.columns], _facts(staged, exported_at))
    connection.execute(_keep_highest(insert))
    return int(new)


def _facts(staged: Table, exported_at: datetime) -> Any:
    stamp = literal(exported_at, UtcDateTime())
    retired = func.substr(staged.c.username, 1, len(RETIRED_NAME)) == RETIRED_NAME
    of_profile = "name" in staged.c
    return (
        select(
            staged.c.student_id,
            staged.c.username,
            staged.c.email,
            staged.c.email_key,
            case((retired, null()), else_=staged.c.name) if of_profile else null(),
            case((retired, null()), else_=staged.c.country) if of_profile else null(),
            case((retired, stamp)),
            stamp,
            stamp if of_profile else null(),
        )
        .where(literal(True))  # SQLite would take ON CONFLICT for a join without it
        .order_by(staged.c.student_id)
    )


def _keep_highest(insert: Any) -> Any:
    old, new = learners.c, insert.excluded
    newer = _identity_rank(new) > _identity_rank(old)
    newer_profile = and_(
        new.profile_seen_at.is_not(None), or_(old.profile_seen_at.is_(None), _profile_rank(new) > _profile_rank(old))
    )
    retired = or_(old.retired_at.is_not(None), new.retired_at.is_not(None))
    retired_earlier = new.retired_at < old.retired_at
    return insert.on_conflict_do_update(
        index_elements=["student_id"],
        set_={
            **{
                name: case((newer, new[name]), else_=old[name])
                for name in ("username", "email", "email_key", "seen_at")
            },
            **{
                name: case((retired, null()), (newer_profile, new[name]), else_=old[name])
                for name in ("name", "country")
            },
            "profile_seen_at": case((newer_profile, new.profile_seen_at), else_=old.profile_seen_at),
            "retired_at": case((or_(old.retired_at.is_(None), retired_earlier), new.retired_at), else_=old.retired_at),
        },
        where=or_(newer, newer_profile, retired_earlier),
    )


def _identity_rank(row: Any) -> ColumnElement[Any]:
    """Retired first, then the newest; in the same minute a retired address, then any order that is always the same."""
    is_retired = case((row.retired_at.is_not(None), 1), else_=0)
    is_leaving = case((row.email_key.like(RETIRED_ADDRESS, escape="\\"), 1), else_=0)
    return tuple_(is_retired, row.seen_at, is_leaving, row.email, row.username)


def _profile_rank(row: Any) -> ColumnElement[Any]:
    return tuple_(row.profile_seen_at, func.coalesce(row.name, ""), func.coalesce(row.country, ""))
