"""A load that loses more learners of a run than the site allows is held back until a person confirms it.

edX changes what it lists (verified-only reports, E44) and downloads go wrong; either empties a run silently. Compared
are the learners of one course run and kind: those in the export that counts against those in the one to replace it.
"""

import shlex
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table, func, select

from mmcampaign.errors import InputError
from mmcampaign.model import FileStatus
from mmcampaign.store import audit
from mmcampaign.store.import_log import ImportEntry
from mmcampaign.store.standing import standing_rows

FEW = 10  # learners; fewer missing is the ordinary coming and going of a small run


class LossLimit(NamedTuple):
    """How many of a run's learners an export may lack: ``percent`` of those in the export it replaces.

    ``accepted`` is whether ``actor`` has confirmed the loss; ``file`` is the export as it was typed, for the advice.
    """

    percent: float = 20
    accepted: bool = False
    actor: str = ""
    file: str = ""


def require_small_loss(
    connection: Connection, staged: Table, entry: ImportEntry, current: Any, limit: LossLimit
) -> None:
    """Raise InputError when the staged export lacks too many learners of ``current``, which it would replace.

    A loss that was accepted goes to the audit log instead. An export that is superseded at once replaces nothing.
    """
    if entry.status is not FileStatus.LOADED:
        return
    rows = standing_rows(entry.kind, entry.course_instance or "").subquery()
    kept = rows.join(staged, staged.c.student_id == rows.c.learner_id)
    listed = connection.execute(select(func.count()).select_from(rows)).scalar_one()
    missing = listed - connection.execute(select(func.count()).select_from(kept)).scalar_one()
    if missing <= FEW or missing * 100 <= listed * limit.percent:
        return
    if limit.accepted:
        facts = {"course_instance": entry.course_instance, "kind": entry.kind, "missing": missing, "of": listed}
        subject = f"file {entry.name}"
        audit.record(
            connection, at=entry.ingested_at, actor=limit.actor, act="accept loss", subject=subject, facts=facts
        )
        return
    raise InputError(
        f"It lacks {missing:,} of the {listed:,} learners ({missing / listed * 100:.0f} %) that {current.name} lists "
        f"for this run; a loss of more than {limit.percent:g} % is held back until somebody confirms it.",
        unchanged="Nothing of it was ingested.",
        todo=f"If they have really left: mmcampaign ingest {shlex.quote(limit.file or entry.name)} --accept-loss",
    )
