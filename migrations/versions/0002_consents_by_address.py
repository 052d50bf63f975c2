"""Choices from opt-in lists that know people by address only, as before January 2017."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "address_consents",
        sa.Column("email_key", sa.Text(), nullable=False),
        sa.Column("choice", sa.Text(), nullable=False),
        sa.Column("chosen_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("import_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.ForeignKeyConstraint(["import_id"], ["imports.id"], name=op.f("fk_address_consents_import_id")),
        sa.PrimaryKeyConstraint("email_key", name=op.f("pk_address_consents")),
    )


def downgrade() -> None:
    op.drop_table("address_consents")
