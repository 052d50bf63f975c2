"""The indexes by which a learner is found: by address and by user name.

Their keys come in no order, so that filling them row by row costs more than everything else of a first load. On SQLite
that load goes without them, and they are built from the whole table at its end; or, where that end was never reached,
when the database is opened next.
"""

from sqlalchemy import Connection, inspect, select
from sqlalchemy.schema import CreateIndex, DropIndex

from mmcampaign.store.tables import learners


def lacks_lookup(connection: Connection) -> bool:
    """Whether an index is not there, as during a first load and after one that was killed."""
    found = {index["name"] for index in inspect(connection).get_indexes(learners.name)}
    return any(str(index.name) not in found for index in learners.indexes)


def build_lookup(connection: Connection) -> None:
    """Build the indexes that are missing."""
    for index in learners.indexes:
        connection.execute(CreateIndex(index, if_not_exists=True))


def has_learners(connection: Connection) -> bool:
    return connection.execute(select(learners.c.student_id).limit(1)).first() is not None


def drop_lookup(connection: Connection) -> None:
    for index in learners.indexes:
        connection.execute(DropIndex(index, if_exists=True))
