"""Messages that are pending or in doubt are found by indexes of these alone."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _create("ix_messages_pending", ["campaign_id", "shape_digest"], "status = 'pending'")
    _create("ix_messages_in_doubt", ["campaign_id"], "status = 'sending' OR status = 'unknown'")
    op.drop_index(op.f("ix_messages_campaign_id_status_shape_digest"), "messages")


def downgrade() -> None:
    op.create_index(
        op.f("ix_messages_campaign_id_status_shape_digest"), "messages", ["campaign_id", "status", "shape_digest"]
    )
    for name in ("ix_messages_pending", "ix_messages_in_doubt"):
        op.drop_index(name, "messages")


def _create(name: str, columns: list[str], where: str) -> None:
    op.create_index(name, "messages", columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
