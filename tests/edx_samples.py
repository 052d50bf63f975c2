"""The invented sample folder and what is compared after it was ingested."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select

from mmcampaign.model import Course, FileStatus, Program
from mmcampaign.store.engine import Store
from mmcampaign.store.learners import last_seen
from mmcampaign.store.tables import completions, course_instancedetails, imports, learners, metadata, rejected_rows

SAMPLES = Path(__file__).parent / "data" / "edx-samples"
DOWNLOADS = SAMPLES / "downloads"
EXPECTED = json.loads((SAMPLES / "expected.json").read_text(encoding="utf-8"))
NOW = datetime(2026, 9, 1, 12, tzinfo=UTC)
RIVER = Program(
    code="river",
    title="Rivers",
    template="river",
    courses=(
        Course(code="RIVER1x", prefix="NordlandX_RIVER1x", passing_grade=0.65, runs=("1T2016", "2T2019")),
        Course(code="RIVER.2x", prefix="NordlandX_RIVER.2x", passing_grade=0.7, runs=("3T2016", "2025_T1")),
    ),
)


def dump(store: Store) -> dict[str, list[Any]]:
    """Every table, row by row; but for what is known of files on this disk."""
    with store.read() as connection:
        return {
            name: sorted((tuple(row) for row in connection.execute(select(table))), key=repr)
            for name, table in metadata.tables.items()
            if name != "seen_files"
        }


def facts(store: Store) -> dict[str, Any]:
    """What the files say, without import ids, times of reading, and which of two equal files came first."""
    with store.read() as connection:
        files = {row.id: row.sha256 for row in connection.execute(select(imports))}
        found: dict[str, Any] = {}
        for table in (completions, course_instancedetails):
            rows = connection.execute(select(table).order_by(*table.primary_key.columns)).mappings()
            found[table.name] = [
                {key: files.get(value) if key.endswith("import_id") else value for key, value in row.items()}
                for row in rows
            ]
        facts_of = [column for column in learners.columns if not column.name.endswith("seen_at")]
        stamps = [last_seen(learners, name) for name in ("seen_at", "profile_seen_at")]
        query = select(*facts_of, *stamps).order_by(learners.c.student_id)
        found["learners"] = [tuple(row) for row in connection.execute(query)]
        known = select(imports.c.sha256, imports.c.kind, imports.c.course_instance, imports.c.status, imports.c.reason)
        known = known.add_columns(imports.c.rows, imports.c.accepted, imports.c.rejected, imports.c.audit_hidden)
        read = known.where(imports.c.status.in_([FileStatus.LOADED, FileStatus.SUPERSEDED]))
        found["imports"] = sorted(tuple(row) for row in connection.execute(read))
        found["rejected"] = sorted(
            tuple(row)
            for row in connection.execute(select(rejected_rows.c.line, rejected_rows.c.reason, rejected_rows.c.raw))
        )
    return found
