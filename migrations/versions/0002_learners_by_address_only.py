"""Learners are found by address; by user name all of them are looked through."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # An earlier version left both out when it was killed in the middle of a first load.
    op.create_index(op.f("ix_learners_email_key"), "learners", ["email_key"], if_not_exists=True)
    op.drop_index(op.f("ix_learners_username"), "learners", if_exists=True)


def downgrade() -> None:
    op.create_index(op.f("ix_learners_username"), "learners", ["username"])
