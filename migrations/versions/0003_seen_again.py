"""Export stamps of learners as seconds since 1970; those of later exports stand apart from the learners."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

SECONDS = sa.BigInteger().with_variant(sa.Integer, "sqlite")
TIME = sa.DateTime(timezone=True)
STAMPS = ("seen_at", "profile_seen_at")


def upgrade() -> None:
    op.create_table(
        "seen_again",
        sa.Column("student_id", SECONDS, autoincrement=False, nullable=False),
        sa.Column("seen_at", SECONDS, nullable=False),
        sa.Column("profile_seen_at", SECONDS, nullable=True),
        sa.PrimaryKeyConstraint("student_id", name=op.f("pk_seen_again")),
    )
    _drop_views()
    if _is_postgresql():
        _retype(SECONDS, using="extract(epoch FROM {})::bigint")
    else:  # what is no number yet would be cut down to one
        _rewrite("CAST(strftime('%s', {}) AS INTEGER)")
        _retype(SECONDS)


def downgrade() -> None:
    op.execute(
        "UPDATE learners SET seen_at = again.seen_at, profile_seen_at = again.profile_seen_at "
        "FROM seen_again AS again WHERE learners.student_id = again.student_id"
    )
    op.drop_table("seen_again")
    _drop_views()
    if _is_postgresql():
        _retype(TIME, using="to_timestamp({})")
    else:
        _retype(TIME)
        _rewrite("strftime('%Y-%m-%d %H:%M:%S.000000', {}, 'unixepoch')")


def _is_postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def _retype(kind: sa.types.TypeEngine, using: str = "") -> None:
    with op.batch_alter_table("learners") as table:
        for name in STAMPS:
            table.alter_column(name, type_=kind, postgresql_using=using.format(name))


def _rewrite(value: str) -> None:
    learners = sa.table("learners", *map(sa.column, STAMPS))
    op.execute(learners.update().values({name: sa.text(value.format(name).replace(":", "\\:")) for name in STAMPS}))


def _drop_views() -> None:
    """They look at the table; whoever opens the database next makes them again."""
    bind = op.get_bind()
    for name in sa.inspect(bind).get_view_names():
        if name.endswith("_coursecompletion"):
            op.execute(f"DROP VIEW {bind.dialect.identifier_preparer.quote(name)}")
