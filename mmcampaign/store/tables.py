"""Every table, in one SQLAlchemy metadata. ``migrations/`` builds the same schema; a test holds the two equal.

Times are UTC. ``student_id`` is edX's user id everywhere, under the name ``learner_id`` where it refers to a learner.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    literal_column,
    or_,
    select,
)

from mmcampaign.model import MessageStatus
from mmcampaign.store.column_types import RowId, UnixTime, UtcDateTime

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

learners = Table(
    "learners",
    metadata,
    Column("student_id", RowId, primary_key=True, autoincrement=False),  # SQLite finds the row itself by it
    Column("username", Text, nullable=False),
    Column("email", Text, nullable=False),
    Column("email_key", Text, nullable=False),  # the address, case-folded
    Column("name", Text),  # null: never seen in a profile, or wiped by retirement
    Column("country", Text),
    Column("retired_at", UtcDateTime),  # export stamp of the file that showed the retired user name; final (E42)
    Column("seen_at", UnixTime, nullable=False),  # export stamp behind username and email (E33); see seen_again
    Column("profile_seen_at", UnixTime),  # export stamp behind name and country
    Index(None, "email_key"),  # by user name all are looked through, which few questions need
)

# The same stamps of learners whom another export has shown since, in place of those above: the learners of a run stand
# on as many pages of ``learners``, and few of them change.
seen_again = Table(
    "seen_again",
    metadata,
    Column("student_id", RowId, primary_key=True, autoincrement=False),
    Column("seen_at", UnixTime, nullable=False),
    Column("profile_seen_at", UnixTime),
)

# The configured courses as SQL sees them; written from config.toml whenever that changes.
program_courses = Table(
    "program_courses",
    metadata,
    Column("course", Text, primary_key=True),
    Column("program", Text, nullable=False),
    Column("position", Integer, nullable=False),
    Column("prefix", Text, nullable=False),
    Column("series", Boolean, nullable=False),
    Column("passing_grade", Double, nullable=False),
)

course_instancedetails = Table(
    "course_instancedetails",
    metadata,
    Column("course_instance", Text, primary_key=True),  # prefix_run, as the file names begin
    Column("learner_id", BigInteger, primary_key=True, autoincrement=False),
    Column("course", Text, nullable=False),
    Column("run", Text, nullable=False),
    Column("term", Text),
    Column("year", Integer),
    Column("grade", Double),  # fraction; null: not in the grade report (E32)
    Column("enrollment_track", Text),  # the grade report's, else the profile's
    Column("profile_track", Text),
    Column("verification_status", Text),
    Column("certificate_eligible", Text),  # Y or N, as edX writes it
    Column("certificate_delivered", Text),
    Column("certificate_type", Text),
    Column("enrollment_status", Text),  # enrolled, unenrolled; null: the report does not say (E17)
    Column("audit_passed", Boolean),  # free track and grade at or above the passing grade
    Column("status", Text, nullable=False),  # model.Status of this run
    Column("import_id", ForeignKey("imports.id")),  # the grade report it was read from
    Column("profile_import_id", ForeignKey("imports.id")),  # no index but the key, see runs.py
    sqlite_with_rowid=False,
)

# What an export has changed: what a learner's row was before the export stamped ``until`` replaced it. The newest state
# stands in ``course_instancedetails``; a run's first export leaves nothing here.
enrollment_history = Table(
    "enrollment_history",
    metadata,
    Column("course_instance", Text, primary_key=True),
    Column("kind", Text, primary_key=True),  # grade_report, student_profile_info
    Column("learner_id", BigInteger, primary_key=True, autoincrement=False),
    Column("until", UtcDateTime, primary_key=True),  # stamp of the export from which this holds no more
    Column("present", Boolean, nullable=False),  # false: the learner was not in the export before
    Column("grade", Double),
    Column("enrollment_track", Text),
    Column("verification_status", Text),
    Column("certificate_eligible", Text),
    Column("certificate_delivered", Text),
    Column("certificate_type", Text),
    Column("enrollment_status", Text),
    Column("profile_track", Text),
    sqlite_with_rowid=False,
)

completions = Table(
    "completions",
    metadata,
    Column("course", Text, primary_key=True),
    Column("learner_id", BigInteger, primary_key=True, autoincrement=False),
    Column("status", Text, nullable=False),  # model.Status, best over runs
    Column("enrollment_track", Text),
    Column("passed", Text, nullable=False),  # Y, N or - (no grade known)
    Column("course_instance", Text, nullable=False),  # the run the best status came from
    sqlite_with_rowid=False,
)

consents = Table(
    "consents",
    metadata,
    Column("learner_id", BigInteger, primary_key=True, autoincrement=False),
    Column("choice", Text, nullable=False),  # granted, refused, unknown
    Column("chosen_at", UtcDateTime),
    Column("import_id", ForeignKey("imports.id")),
)

# The same from lists without user ids (before January 2017); whoever has the address now is meant.
address_consents = Table(
    "address_consents",
    metadata,
    Column("email_key", Text, primary_key=True),
    Column("choice", Text, nullable=False),
    Column("chosen_at", UtcDateTime),
    Column("import_id", ForeignKey("imports.id")),
)

imports = Table(
    "imports",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("sha256", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("program", Text),
    Column("course", Text),
    Column("run", Text),
    Column("course_instance", Text),
    Column("exported_at", UtcDateTime),
    Column("status", Text, nullable=False),  # model.FileStatus
    Column("rows", Integer, nullable=False),
    Column("accepted", Integer, nullable=False),
    Column("rejected", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("warnings", Text, nullable=False),  # a JSON list of sentences
    Column("resaved", Boolean, nullable=False, default=False),  # a spreadsheet's copy of the export (E8)
    Column("audit_hidden", Boolean, nullable=False),  # a verified-only report: audit learners are missing (E44)
    Column("ingested_at", UtcDateTime, nullable=False),
    Column("header", Text),  # the file's first line as it stands; kept where rows were rejected, to mend them
    Column("supplements", ForeignKey("imports.id")),  # the export that this file of mended rows is added to
    UniqueConstraint("sha256", "name"),
    Index(None, "course_instance", "kind"),
)

# Files as they were when their digest was computed, see seen_files.py. Times are nanoseconds since 1970.
seen_files = Table(
    "seen_files",
    metadata,
    Column("path", Text, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("modified_ns", BigInteger, nullable=False),
    Column("changed_ns", BigInteger, nullable=False),
    Column("inode", Text, nullable=False),  # may exceed 63 bits
    Column("sha256", Text, nullable=False),
)

rejected_rows = Table(
    "rejected_rows",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("import_id", ForeignKey("imports.id"), nullable=False),
    Column("line", Integer, nullable=False),  # where the row starts in the file, the header being line 1
    Column("reason", Text, nullable=False),
    Column("raw", Text, nullable=False),
    Index(None, "import_id"),
)

campaigns = Table(
    "campaigns",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("program", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("state", Text, nullable=False),  # model.CampaignState
    Column("fingerprint", Text, nullable=False),
    Column("settings", Text, nullable=False),  # JSON: everything frozen at planning, see campaigns.FrozenSettings
    Column("planned_on", Date, nullable=False),  # the day that decided deadlines and cool-down
    Column("planned_at", UtcDateTime, nullable=False),
    Column("planned_by", Text, nullable=False),
    Column("approved_at", UtcDateTime),
    Column("approved_by", Text),
    Column("note", Text),
    Column("inputs", Text),  # digest of what selection had read when it was approved, see inputs.py
    Column("started_at", UtcDateTime),
    Column("sent_by", Text),
    Column("finished_at", UtcDateTime),
    Column("pause_reason", Text),  # null: not paused
    Column("paused_by", Text),  # who asked for the pause; null: nobody did, the sender met trouble
    Column("backend", Text),
    Column("considered", Integer, nullable=False),
    Column("chosen", Integer, nullable=False),
    Column("excluded", Integer, nullable=False),
    # The ledger: one count per message status, changed in the same transaction as the messages.
    Column("pending", Integer, nullable=False),
    Column("sending", Integer, nullable=False),
    Column("accepted", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("unknown", Integer, nullable=False),
    Column("suppressed", Integer, nullable=False),
    Column("cancelled", Integer, nullable=False),
)

messages = Table(
    "messages",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("message_id", Text, nullable=False, unique=True),  # opaque; stands in the headers of the mail
    Column("campaign_id", ForeignKey("campaigns.id"), nullable=False),
    Column("learner_id", BigInteger, nullable=False),
    Column("email_key", Text, nullable=False),  # the address, case-folded
    Column("cohort", Text, nullable=False),
    Column("trigger_course", Text, nullable=False),
    Column("trigger_run", Text, nullable=False),
    Column("next_course", Text, nullable=False),  # empty: none
    Column("certificates_earned", Integer, nullable=False),
    Column("shape_digest", ForeignKey("shapes.digest"), nullable=False),
    Column("deadline", Date),  # last day on which this message may go out
    Column("status", Text, nullable=False),  # model.MessageStatus
    Column("delivery_status", Text),
    Column("attempts", Integer, nullable=False),
    Column("claimed_by", Text),
    Column("claimed_at", UtcDateTime),  # also the Date header of the attempt
    Column("claimed_until", UtcDateTime),
    Column("not_before", UtcDateTime),  # back-off after a refusal that proved it was not taken
    Column("provider", Text),
    Column("provider_message_id", Text),
    Column("digest", Text),  # SHA-256 of what was handed over, unless that was known before: see merge_values
    Column("sent_at", UtcDateTime),
    Column("error", Text),
    UniqueConstraint("campaign_id", "learner_id"),
    Index(None, "learner_id"),
    Index(None, "email_key"),
)

# What is looked for by status is little or becomes less with each batch. An index of every status would be written to
# twice for each message, at ever another place, and cost a sender more than the messages themselves (decision 17).
IS_PENDING, IS_SENDING, IS_UNKNOWN = (
    messages.c.status == literal_column(f"'{status.value}'")  # a parameter would not tell that the index will do
    for status in (MessageStatus.PENDING, MessageStatus.SENDING, MessageStatus.UNKNOWN)
)
_IN_DOUBT = or_(IS_SENDING, IS_UNKNOWN)
Index(
    "ix_messages_pending",
    messages.c.campaign_id,
    messages.c.shape_digest,
    sqlite_where=IS_PENDING,
    postgresql_where=IS_PENDING,
)
Index("ix_messages_in_doubt", messages.c.campaign_id, sqlite_where=_IN_DOUBT, postgresql_where=_IN_DOUBT)

# What is in a message, a row for each. It never changes, while a sender has the whole row in ``messages`` written anew
# twice; so it stands apart (decisions 17 and 19). It refers to that row without a foreign key, with which SQLite
# could not build ``messages`` anew when a later revision changes it.
merge_values = Table(
    "merge_values",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=False),  # that of the row in ``messages``
    Column("context_digest", ForeignKey("merge_contexts.digest"), nullable=False),
    Column("email", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("personal", Text, nullable=False),  # JSON: the merge values of this person alone
    Column("unsubscribe_url", Text, nullable=False),
    # JSON: what a provider that writes the mail itself is told of this person, and the digest of what that hands over.
    # Null: the campaign was planned for another, or it is made at the hand-over.
    Column("told", Text),
    Column("told_digest", Text),
)
whole_messages = select(messages, *(column for column in merge_values.c if column is not merge_values.c.id)).join(
    merge_values, merge_values.c.id == messages.c.id
)

exclusions = Table(
    "exclusions",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("campaign_id", ForeignKey("campaigns.id"), nullable=False),
    Column("learner_id", BigInteger, nullable=False),
    Column("cohort", Text, nullable=False),
    Column("trigger_course", Text, nullable=False),
    Column("reason", Text, nullable=False),  # model.Reason
    Column("detail", Text, nullable=False),
    Index(None, "campaign_id", "reason"),
    Index(None, "learner_id"),
)

merge_contexts = Table(
    "merge_contexts",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("context", Text, nullable=False),  # JSON: the merge values that many recipients share
)

shapes = Table(
    "shapes",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("template_digest", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("html", Text, nullable=False),
    Column("text", Text, nullable=False),
)

template_versions = Table(
    "template_versions",
    metadata,
    Column("digest", Text, primary_key=True),  # SHA-256 of the content
    Column("path", Text, nullable=False),  # as seen from the template folder
    Column("content", Text, nullable=False),
    Column("first_used_at", UtcDateTime, nullable=False),
)

# What all senders through a backend share, see pace.py. Times are seconds since 1970 by the database's clock.
send_rates = Table(
    "send_rates",
    metadata,
    Column("backend", Text, primary_key=True),
    Column("free_at", Double, nullable=False),
    Column("share", Double, nullable=False),
    Column("slowed_at", Double, nullable=False),
)

suppressions = Table(
    "suppressions",
    metadata,
    Column("email_key", Text, primary_key=True),
    Column("email", Text, nullable=False),
    Column("reason", Text, nullable=False),  # unsubscribed, bounced, complained, manual
    Column("since", UtcDateTime, nullable=False),
    Column("added_by", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("campaign_id", ForeignKey("campaigns.id")),
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("actor", Text, nullable=False),
    Column("act", Text, nullable=False),
    Column("subject", Text, nullable=False),  # what it was done to: campaign 3, a file's name; never an address
    Column("facts", Text, nullable=False),  # JSON
    Column("previous", Text, nullable=False),  # digest of the row before; empty for the first
    Column("digest", Text, nullable=False),
)
