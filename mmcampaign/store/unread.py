"""Whether anything was read into a database yet; asked before the libraries of a first load are loaded."""

from sqlalchemy import select

from mmcampaign.store.engine import Store
from mmcampaign.store.import_log import READ
from mmcampaign.store.tables import completions, course_instancedetails, imports, learners

# A report may have been read that lists nobody: the log knows, though no learner does.
READ_BEFORE = (
    select(imports.c.id).where(imports.c.status.in_(READ), imports.c.course_instance.is_not(None)).limit(1),
    *(
        select(table.c[name]).limit(1)
        for table, name in (
            (learners, "student_id"),
            (course_instancedetails, "learner_id"),
            (completions, "learner_id"),
        )
    ),
)


def is_unread(store: Store) -> bool:
    """Whether nothing was read into the database, so that a first load may begin (``first_load.py``)."""
    with store.read() as connection:
        return not any(connection.execute(query).first() for query in READ_BEFORE)
