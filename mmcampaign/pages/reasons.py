"""Plain English for the codes a page shows: one sentence for every ``model.Reason``, a title for every cohort."""

from collections.abc import Mapping
from types import MappingProxyType

from mmcampaign.model import Cohort, Reason

REASON_SENTENCES: Mapping[Reason, str] = MappingProxyType(
    {
        Reason.ACCOUNT_RETIRED: "Their edX account is deleted or waiting for deletion.",
        Reason.NO_ADDRESS: "No file gives an email address for them.",
        Reason.INVALID_ADDRESS: "Mail cannot reach their address as it is written.",
        Reason.STAFF_ACCOUNT: "They are on the list of staff, who are never mailed.",
        Reason.DUPLICATE_ADDRESS: "A newer file gives the same address to another account; only that one is mailed.",
        Reason.UNENROLLED: "They have left the course run.",
        Reason.PROGRAM_COMPLETE: "They hold every certificate of the series already.",
        Reason.ALREADY_CERTIFIED: "They earned the certificate of this course in another run.",
        Reason.PAID_TRACK: "Their track cannot be upgraded; in most cases it is paid for already.",
        Reason.UPGRADE_CLOSED: "The last day to upgrade has passed.",
        Reason.NEXT_RUN_CLOSED: "Enrollment in the coming run of their next course has closed.",
        Reason.ALREADY_ENROLLED_NEXT: "They are in the coming run of their next course already, on a paid track.",
        Reason.REPORT_INCOMPLETE: "The grade report holds verified learners only, so their grade is not known.",
        Reason.CONSENT_REFUSED: "They said no on edX to email from the university.",
        Reason.CONSENT_MISSING: "They have not said yes on edX to email from the university, as the policy asks.",
        Reason.SUPPRESSED_UNSUBSCRIBED: "They unsubscribed.",
        Reason.SUPPRESSED_BOUNCED: "Earlier mail to their address came back.",
        Reason.SUPPRESSED_COMPLAINED: "They reported earlier mail as spam.",
        Reason.SUPPRESSED_MANUAL: "Staff put their address on the list of addresses not to be mailed.",
        Reason.ALREADY_MAILED: "An earlier campaign sent them the same invitation.",
        Reason.RECENTLY_MAILED: "They heard from us within the cool-down period.",
        Reason.MERGED: "They get one email only, about their furthest course; this was another of their courses.",
        Reason.HELD_OUT: "They were drawn at random to stay unmailed, so that the effect of the mail can be measured.",
    }
)

COHORT_TITLES: Mapping[str, str] = MappingProxyType(
    {
        Cohort.AUDIT_UPGRADE: "Invited to upgrade",
        Cohort.CONTINUE: "Invited to the next course",
    }
)
