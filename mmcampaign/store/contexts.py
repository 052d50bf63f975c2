"""The shared merge values that messages were made from, by their digest."""

import json

from sqlalchemy import Connection, select

from mmcampaign.context import MergeContext
from mmcampaign.store.tables import merge_contexts


def get_context(connection: Connection, digest: str) -> MergeContext:
    """The values as they were kept when a message was planned."""
    text = connection.execute(select(merge_contexts.c.context).where(merge_contexts.c.digest == digest)).scalar_one()
    return MergeContext(digest=digest, values=json.loads(text), json=text)
