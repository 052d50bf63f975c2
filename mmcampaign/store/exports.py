"""One export merged in one transaction: its rows, its line in the log, the older export it replaces, completions."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

from sqlalchemy import Connection, Row, Table

from mmcampaign.model import FileStatus
from mmcampaign.store.completion import CompletionChanges, note_learners, rebuild_completions
from mmcampaign.store.enrollments import Run, RunChanges, audit_is_hidden, replace_grades, replace_profiles
from mmcampaign.store.import_log import (
    REASON_SUPERSEDED,
    ImportEntry,
    add_warning,
    find_current,
    find_read,
    log_import,
    mark_superseded,
    set_audit_hidden,
)
from mmcampaign.store.learners import merge_learners
from mmcampaign.store.staging import Staging, staged_grades
from mmcampaign.store.tables import course_instancedetails
