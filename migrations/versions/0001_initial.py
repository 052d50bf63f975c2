"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
UTC = sa.DateTime(timezone=True)
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit_log",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("at", UTC, nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("act", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("previous", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_log")),
    )
    op.create_table(
        "campaigns",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("program", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("settings", sa.Text(), nullable=False),
        sa.Column("planned_on", sa.Date(), nullable=False),
        sa.Column("planned_at", UTC, nullable=False),
        sa.Column("planned_by", sa.Text(), nullable=False),
        sa.Column("approved_at", UTC, nullable=True),
        sa.Column("approved_by", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("inputs", sa.Text(), nullable=True),
        sa.Column("started_at", UTC, nullable=True),
        sa.Column("sent_by", sa.Text(), nullable=True),
        sa.Column("finished_at", UTC, nullable=True),
        sa.Column("pause_reason", sa.Text(), nullable=True),
        sa.Column("paused_by", sa.Text(), nullable=True),
        sa.Column("backend", sa.Text(), nullable=True),
        sa.Column("considered", sa.Integer(), nullable=False),
        sa.Column("chosen", sa.Integer(), nullable=False),
        sa.Column("excluded", sa.Integer(), nullable=False),
        sa.Column("pending", sa.Integer(), nullable=False),
        sa.Column("sending", sa.Integer(), nullable=False),
        sa.Column("accepted", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("unknown", sa.Integer(), nullable=False),
        sa.Column("suppressed", sa.Integer(), nullable=False),
        sa.Column("cancelled", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_campaigns")),
    )
    op.create_table(
        "completions",
        sa.Column("course", sa.Text(), nullable=False),
        sa.Column("learner_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("enrollment_track", sa.Text(), nullable=True),
        sa.Column("passed", sa.Text(), nullable=False),
        sa.Column("course_instance", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("course", "learner_id", name=op.f("pk_completions")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "enrollment_history",
        sa.Column("course_instance", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("learner_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("until", UTC, nullable=False),
        sa.Column("present", sa.Boolean(), nullable=False),
        sa.Column("grade", sa.Double(), nullable=True),
        sa.Column("enrollment_track", sa.Text(), nullable=True),
        sa.Column("verification_status", sa.Text(), nullable=True),
        sa.Column("certificate_eligible", sa.Text(), nullable=True),
        sa.Column("certificate_delivered", sa.Text(), nullable=True),
        sa.Column("certificate_type", sa.Text(), nullable=True),
        sa.Column("enrollment_status", sa.Text(), nullable=True),
        sa.Column("profile_track", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("course_instance", "kind", "learner_id", "until", name=op.f("pk_enrollment_history")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "imports",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("program", sa.Text(), nullable=True),
        sa.Column("course", sa.Text(), nullable=True),
        sa.Column("run", sa.Text(), nullable=True),
        sa.Column("course_instance", sa.Text(), nullable=True),
        sa.Column("exported_at", UTC, nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("accepted", sa.Integer(), nullable=False),
        sa.Column("rejected", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("warnings", sa.Text(), nullable=False),
        sa.Column("resaved", sa.Boolean(), nullable=False),
        sa.Column("audit_hidden", sa.Boolean(), nullable=False),
        sa.Column("ingested_at", UTC, nullable=False),
        sa.Column("header", sa.Text(), nullable=True),
        sa.Column("supplements", ROW_ID, nullable=True),
        sa.ForeignKeyConstraint(["supplements"], ["imports.id"], name=op.f("fk_imports_supplements")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_imports")),
        sa.UniqueConstraint("sha256", "name", name=op.f("uq_imports_sha256_name")),
    )
    with op.batch_alter_table("imports", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_imports_course_instance_kind"), ["course_instance", "kind"], unique=False)

    op.create_table(
        "learners",
        sa.Column("student_id", ROW_ID, autoincrement=False, nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("email_key", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("country", sa.Text(), nullable=True),
        sa.Column("retired_at", UTC, nullable=True),
        sa.Column("seen_at", UTC, nullable=False),
        sa.Column("profile_seen_at", UTC, nullable=True),
        sa.PrimaryKeyConstraint("student_id", name=op.f("pk_learners")),
    )
    with op.batch_alter_table("learners", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_learners_email_key"), ["email_key"], unique=False)
        batch_op.create_index(batch_op.f("ix_learners_username"), ["username"], unique=False)

    op.create_table(
        "merge_contexts",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("context", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_merge_contexts")),
    )
    op.create_table(
        "program_courses",
        sa.Column("course", sa.Text(), nullable=False),
        sa.Column("program", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("series", sa.Boolean(), nullable=False),
        sa.Column("passing_grade", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("course", name=op.f("pk_program_courses")),
    )
    op.create_table(
        "seen_files",
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("modified_ns", sa.BigInteger(), nullable=False),
        sa.Column("changed_ns", sa.BigInteger(), nullable=False),
        sa.Column("inode", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("path", name=op.f("pk_seen_files")),
    )
    op.create_table(
        "send_rates",
        sa.Column("backend", sa.Text(), nullable=False),
        sa.Column("free_at", sa.Double(), nullable=False),
        sa.Column("share", sa.Double(), nullable=False),
        sa.Column("slowed_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("backend", name=op.f("pk_send_rates")),
    )
    op.create_table(
        "shapes",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("template_digest", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("html", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_shapes")),
    )
    op.create_table(
        "template_versions",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("first_used_at", UTC, nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_template_versions")),
    )
    op.create_table(
        "address_consents",
        sa.Column("email_key", sa.Text(), nullable=False),
        sa.Column("choice", sa.Text(), nullable=False),
        sa.Column("chosen_at", UTC, nullable=True),
        sa.Column("import_id", ROW_ID, nullable=True),
        sa.ForeignKeyConstraint(["import_id"], ["imports.id"], name=op.f("fk_address_consents_import_id")),
        sa.PrimaryKeyConstraint("email_key", name=op.f("pk_address_consents")),
    )
    op.create_table(
        "consents",
        sa.Column("learner_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("choice", sa.Text(), nullable=False),
        sa.Column("chosen_at", UTC, nullable=True),
        sa.Column("import_id", ROW_ID, nullable=True),
        sa.ForeignKeyConstraint(["import_id"], ["imports.id"], name=op.f("fk_consents_import_id")),
        sa.PrimaryKeyConstraint("learner_id", name=op.f("pk_consents")),
    )
    op.create_table(
        "course_instancedetails",
        sa.Column("course_instance", sa.Text(), nullable=False),
        sa.Column("learner_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("course", sa.Text(), nullable=False),
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("term", sa.Text(), nullable=True),
        sa.Column("year", sa.Integer(), nullable=True),
        sa.Column("grade", sa.Double(), nullable=True),
        sa.Column("enrollment_track", sa.Text(), nullable=True),
        sa.Column("profile_track", sa.Text(), nullable=True),
        sa.Column("verification_status", sa.Text(), nullable=True),
        sa.Column("certificate_eligible", sa.Text(), nullable=True),
        sa.Column("certificate_delivered", sa.Text(), nullable=True),
        sa.Column("certificate_type", sa.Text(), nullable=True),
        sa.Column("enrollment_status", sa.Text(), nullable=True),
        sa.Column("audit_passed", sa.Boolean(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("import_id", ROW_ID, nullable=True),
        sa.Column("profile_import_id", ROW_ID, nullable=True),
        sa.ForeignKeyConstraint(["import_id"], ["imports.id"], name=op.f("fk_course_instancedetails_import_id")),
        sa.ForeignKeyConstraint(
            ["profile_import_id"], ["imports.id"], name=op.f("fk_course_instancedetails_profile_import_id")
        ),
        sa.PrimaryKeyConstraint("course_instance", "learner_id", name=op.f("pk_course_instancedetails")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "exclusions",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("campaign_id", ROW_ID, nullable=False),
        sa.Column("learner_id", sa.BigInteger(), nullable=False),
        sa.Column("cohort", sa.Text(), nullable=False),
        sa.Column("trigger_course", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"], name=op.f("fk_exclusions_campaign_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_exclusions")),
    )
    with op.batch_alter_table("exclusions", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_exclusions_campaign_id_reason"), ["campaign_id", "reason"], unique=False)
        batch_op.create_index(batch_op.f("ix_exclusions_learner_id"), ["learner_id"], unique=False)

    op.create_table(
        "messages",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("campaign_id", ROW_ID, nullable=False),
        sa.Column("learner_id", sa.BigInteger(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("email_key", sa.Text(), nullable=False),
        sa.Column("cohort", sa.Text(), nullable=False),
        sa.Column("trigger_course", sa.Text(), nullable=False),
        sa.Column("trigger_run", sa.Text(), nullable=False),
        sa.Column("next_course", sa.Text(), nullable=False),
        sa.Column("certificates_earned", sa.Integer(), nullable=False),
        sa.Column("context_digest", sa.Text(), nullable=False),
        sa.Column("personal", sa.Text(), nullable=False),
        sa.Column("unsubscribe_url", sa.Text(), nullable=False),
        sa.Column("shape_digest", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("deadline", sa.Date(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("delivery_status", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("claimed_by", sa.Text(), nullable=True),
        sa.Column("claimed_at", UTC, nullable=True),
        sa.Column("claimed_until", UTC, nullable=True),
        sa.Column("not_before", UTC, nullable=True),
        sa.Column("provider", sa.Text(), nullable=True),
        sa.Column("provider_message_id", sa.Text(), nullable=True),
        sa.Column("digest", sa.Text(), nullable=True),
        sa.Column("sent_at", UTC, nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"], name=op.f("fk_messages_campaign_id")),
        sa.ForeignKeyConstraint(["context_digest"], ["merge_contexts.digest"], name=op.f("fk_messages_context_digest")),
        sa.ForeignKeyConstraint(["shape_digest"], ["shapes.digest"], name=op.f("fk_messages_shape_digest")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_messages")),
        sa.UniqueConstraint("campaign_id", "learner_id", name=op.f("uq_messages_campaign_id_learner_id")),
        sa.UniqueConstraint("message_id", name=op.f("uq_messages_message_id")),
    )
    with op.batch_alter_table("messages", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_messages_campaign_id_status_shape_digest"),
            ["campaign_id", "status", "shape_digest"],
            unique=False,
        )
        batch_op.create_index(batch_op.f("ix_messages_email_key"), ["email_key"], unique=False)
        batch_op.create_index(batch_op.f("ix_messages_learner_id"), ["learner_id"], unique=False)

    op.create_table(
        "rejected_rows",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("import_id", ROW_ID, nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("raw", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["import_id"], ["imports.id"], name=op.f("fk_rejected_rows_import_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rejected_rows")),
    )
    with op.batch_alter_table("rejected_rows", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_rejected_rows_import_id"), ["import_id"], unique=False)

    op.create_table(
        "suppressions",
        sa.Column("email_key", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("since", UTC, nullable=False),
        sa.Column("added_by", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("campaign_id", ROW_ID, nullable=True),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"], name=op.f("fk_suppressions_campaign_id")),
        sa.PrimaryKeyConstraint("email_key", name=op.f("pk_suppressions")),
    )


def downgrade() -> None:
    op.drop_table("suppressions")
    with op.batch_alter_table("rejected_rows", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_rejected_rows_import_id"))

    op.drop_table("rejected_rows")
    with op.batch_alter_table("messages", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_messages_learner_id"))
        batch_op.drop_index(batch_op.f("ix_messages_email_key"))
        batch_op.drop_index(batch_op.f("ix_messages_campaign_id_status_shape_digest"))

    op.drop_table("messages")
    with op.batch_alter_table("exclusions", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_exclusions_learner_id"))
        batch_op.drop_index(batch_op.f("ix_exclusions_campaign_id_reason"))

    op.drop_table("exclusions")
    op.drop_table("course_instancedetails")
    op.drop_table("consents")
    op.drop_table("address_consents")
    op.drop_table("template_versions")
    op.drop_table("shapes")
    op.drop_table("send_rates")
    op.drop_table("seen_files")
    op.drop_table("program_courses")
    op.drop_table("merge_contexts")
    with op.batch_alter_table("learners", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_learners_username"))
        batch_op.drop_index(batch_op.f("ix_learners_email_key"))

    op.drop_table("learners")
    with op.batch_alter_table("imports", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_imports_course_instance_kind"))

    op.drop_table("imports")
    op.drop_table("enrollment_history")
    op.drop_table("completions")
    op.drop_table("campaigns")
    op.drop_table("audit_log")
