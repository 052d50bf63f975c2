"""What a message is merged from stands apart from what becomes of it."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
CONTEXT = "fk_{}_context_digest"
NAMES = ("context_digest", "personal", "unsubscribe_url")


def upgrade() -> None:
    op.create_table(
        "merge_values",
        sa.Column("id", NUMBER, autoincrement=False, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in NAMES),
        sa.ForeignKeyConstraint(
            ["context_digest"], ["merge_contexts.digest"], name=op.f(CONTEXT.format("merge_values"))
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_merge_values")),
    )
    op.execute(
        "INSERT INTO merge_values (id, context_digest, personal, unsubscribe_url) "
        "SELECT id, context_digest, personal, unsubscribe_url FROM messages ORDER BY id"
    )
    with op.batch_alter_table("messages") as table:
        table.drop_constraint(op.f(CONTEXT.format("messages")), type_="foreignkey")
        for name in NAMES:
            table.drop_column(name)


def downgrade() -> None:
    with op.batch_alter_table("messages") as table:
        for name in NAMES:
            table.add_column(sa.Column(name, sa.Text))
    op.execute(
        "UPDATE messages SET context_digest = own.context_digest, personal = own.personal, "
        "unsubscribe_url = own.unsubscribe_url FROM merge_values AS own WHERE own.id = messages.id"
    )
    with op.batch_alter_table("messages") as table:
        for name in NAMES:
            table.alter_column(name, nullable=False)
        table.create_foreign_key(op.f(CONTEXT.format("messages")), "merge_contexts", ["context_digest"], ["digest"])
    op.drop_table("merge_values")
