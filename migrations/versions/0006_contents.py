"""All that is in a message stands apart from what becomes of it; what a provider is told may lie ready."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
CONTEXT = "fk_merge_values_context_digest"
OLD = ("context_digest", "personal", "unsubscribe_url")
NEW = ("context_digest", "email", "subject", "personal", "unsubscribe_url")
MOVED = ("email", "subject")
TOLD = ("told", "told_digest")


def upgrade() -> None:
    _build_anew(NEW, TOLD, "SELECT m.id, {} FROM old_values v JOIN messages m ON m.id = v.id ORDER BY m.id")
    with op.batch_alter_table("messages") as table:
        for name in MOVED:
            table.drop_column(name)


def downgrade() -> None:
    with op.batch_alter_table("messages") as table:
        for name in MOVED:
            table.add_column(sa.Column(name, sa.Text))
    op.execute(
        "UPDATE messages SET email = own.email, subject = own.subject, digest = coalesce(messages.digest, CASE WHEN "
        "messages.claimed_at IS NOT NULL AND messages.provider = 'sendgrid' THEN own.told_digest END) "
        "FROM merge_values AS own WHERE own.id = messages.id"
    )
    with op.batch_alter_table("messages") as table:
        for name in MOVED:
            table.alter_column(name, nullable=False)
    _build_anew(OLD, (), "SELECT v.id, {} FROM old_values v ORDER BY v.id")


def _build_anew(names: tuple[str, ...], more: tuple[str, ...], rows: str) -> None:
    """In a new table the columns stand in the order of the metadata, and SQLite packs its rows."""
    op.rename_table("merge_values", "old_values")
    for constraint in (CONTEXT, "pk_merge_values"):
        if op.get_bind().dialect.name == "postgresql":
            op.execute(f"ALTER TABLE old_values RENAME CONSTRAINT {constraint} TO old_{constraint}")
    op.create_table(
        "merge_values",
        sa.Column("id", NUMBER, autoincrement=False, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in names),
        *(sa.Column(name, sa.Text) for name in more),
        sa.ForeignKeyConstraint(["context_digest"], ["merge_contexts.digest"], name=op.f(CONTEXT)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_merge_values")),
    )
    op.execute(f"INSERT INTO merge_values (id, {', '.join(names)}) {rows.format(', '.join(names))}")
    op.drop_table("old_values")
