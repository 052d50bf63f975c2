"""What samples for staff are made of: one message of a campaign, and which addresses may not be written to."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, select

from mmcampaign.store.tables import learners, messages, suppressions, whole_messages


def message_of(connection: Connection, campaign: int, student_id: int) -> Row[Any] | None:
    """The message of this learner in the campaign."""
    query = whole_messages.where(messages.c.campaign_id == campaign, messages.c.learner_id == student_id)
    return connection.execute(query).first()


def suppressed(connection: Connection, keys: Sequence[str]) -> set[str]:
    """Those of the case-folded addresses that are on the list of addresses not to be mailed."""
    column = suppressions.c.email_key
    return set(connection.execute(select(column).where(column.in_(keys))).scalars())


def of_learners(connection: Connection, keys: Sequence[str]) -> list[tuple[str, str]]:
    """Those of the case-folded addresses that learners have, each with the user name."""
    query = select(learners.c.email_key, learners.c.username).where(learners.c.email_key.in_(keys))
    return [(row.email_key, row.username or "") for row in connection.execute(query)]
