"""Which course runs have rows, without reading the rows.

``course_instancedetails`` has no index but its key, run and learner: an index by course or by learner alone would cost
every load more than the few queries by course gain. These name the runs instead.
"""

from collections.abc import Collection

from sqlalchemy import ColumnElement, Select, and_, func, select

from mmcampaign.store.tables import course_instancedetails


def of_courses(courses: Collection[str]) -> ColumnElement[bool]:
    """The rows of ``course_instancedetails`` that belong to these courses, found by their runs."""
    details = course_instancedetails.c
    return and_(details.course_instance.in_(_runs(courses)), details.course.in_(courses))


def _runs(courses: Collection[str]) -> Select[tuple[str]]:
    """Each run is one step in the primary key: the next one after the last. All rows of a run are of one course."""
    run, later = course_instancedetails.alias("run").c, course_instancedetails.alias("later").c
    first = select(func.min(run.course_instance).label("course_instance")).cte("known_runs", recursive=True)
    after = select(func.min(later.course_instance)).where(later.course_instance > first.c.course_instance)
    known = first.union_all(select(after.scalar_subquery()).where(first.c.course_instance.is_not(None)))
    row = course_instancedetails.alias("row").c
    course = select(row.course).where(row.course_instance == known.c.course_instance).limit(1).scalar_subquery()
    return select(known.c.course_instance).where(course.in_(courses))
