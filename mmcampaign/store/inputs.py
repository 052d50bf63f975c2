"""What selection reads, as one digest: equal digests mean that selecting again would give the same people.

Selection reads learners, enrollments, completions, consents, suppressions, the log of files and the messages of other
campaigns. Whatever changes one of these leaves a trace that is far quicker to read than the data:

- an export, an opt-in list or mended rows: their row in ``imports``;
- a suppression, one that is taken back, a loss of learners that was accepted, anything a person decides about another
  campaign: the audit log;
- mail of another campaign: that campaign's counts. While one is being sent they may return to what they were, so there
  is no digest then.

A digest that differs proves nothing: then somebody has to look. What is changed in the tables by hand leaves no trace.
"""

import hashlib
import json
from typing import Any

from sqlalchemy import Connection, func, select

from mmcampaign.model import CampaignState, MessageStatus
from mmcampaign.store.tables import audit_log, campaigns, imports, suppressions

_UNDER_WAY = (CampaignState.SENDING.value, CampaignState.PAUSED.value)
_OF_IMPORT = ("id", "sha256", "status", "exported_at", "ingested_at", "audit_hidden", "course_instance", "supplements")
_OF_CAMPAIGN = ("id", "program", "state", "started_at", *(status.value for status in MessageStatus))


def inputs_digest(connection: Connection, campaign: int) -> str:
    """SHA-256 over the traces of all that selection reads for this campaign, whose own messages are of no account.

    Empty while another campaign is being sent or paused. Reads no learner and no message: milliseconds at any size.
    """
    others = _rows(connection, select(*(campaigns.c[name] for name in _OF_CAMPAIGN)).where(campaigns.c.id != campaign))
    if any(state in _UNDER_WAY for _, _, state, *_ in others):
        return ""
    files = _rows(connection, select(*(imports.c[name] for name in _OF_IMPORT)).order_by(imports.c.id))
    listed = _rows(connection, select(func.count(), func.max(suppressions.c.since)))
    return hashlib.sha256(json.dumps([others, files, listed, _acts(connection, campaign)]).encode()).hexdigest()


def _acts(connection: Connection, campaign: int) -> list[Any]:
    """The newest act that is not upon this campaign; its digest stands for all before it."""
    others = audit_log.c.subject != f"campaign {campaign}"
    newest = select(audit_log.c.id, audit_log.c.act, audit_log.c.digest).where(others)
    return _rows(connection, newest.order_by(audit_log.c.id.desc()).limit(1))


def _rows(connection: Connection, query: Any) -> list[Any]:
    return [[value if isinstance(value, int) else str(value) for value in row] for row in connection.execute(query)]


def approved_inputs(connection: Connection, campaign: int) -> str:
    """The digest as it was when the campaign was approved; empty when there was none."""
    return connection.execute(select(campaigns.c.inputs).where(campaigns.c.id == campaign)).scalar_one() or ""
