"""The configured programs in the database: ``program_courses`` and the completion report views (contract, part 4)."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, and_, case, delete, func, insert, inspect, select, update

from mmcampaign.model import Program, Status
from mmcampaign.store.dialect import is_empty
from mmcampaign.store.engine import Store
from mmcampaign.store.tables import completions, course_instancedetails, imports, learners, program_courses

VIEW_SUFFIX = "_coursecompletion"

Configured = dict[str, dict[str, object]]


def sync_programs(store: Store, programs: Sequence[Program]) -> None:
    """Bring courses, passing grades and report views of the database in line with the configuration.

    Rows of a course that is configured no longer are kept, unseen, and come back with it. Reads only when nothing
    changed. One transaction.
    """
    if knows_programs(store, programs):
        return
    with store.write() as connection:
        _sync_courses(connection, _configured(programs))
        _sync_views(connection, programs)


def knows_programs(store: Store, programs: Sequence[Program]) -> bool:
    """Whether courses, passing grades and report views of the database are those of the configuration."""
    views = {view_name(program.code) for program in programs}
    with store.read() as connection:
        return _stored(connection) == _configured(programs) and _views(connection) == views


def view_name(program: str) -> str:
    return f"{program}{VIEW_SUFFIX}"


def _configured(programs: Sequence[Program]) -> Configured:
    return {
        course.code: {
            "course": course.code,
            "program": program.code,
            "position": position,
            "prefix": course.prefix,
            "series": course.series,
            "passing_grade": course.passing_grade,
        }
        for program in programs
        for position, course in enumerate(program.courses)
    }


def _stored(connection: Connection) -> Configured:
    return {row.course: dict(row._mapping) for row in connection.execute(select(program_courses))}


def _views(connection: Connection) -> set[str]:
    return {name for name in inspect(connection).get_view_names() if name.endswith(VIEW_SUFFIX)}


def _sync_courses(connection: Connection, wanted: Configured) -> None:
    from mmcampaign.store import completion  # noqa: PLC0415  most commands find the programs as they were

    before = _stored(connection)
    connection.execute(delete(program_courses))
    if wanted:
        connection.execute(insert(program_courses), list(wanted.values()))
    _assign_rows(connection)
    if is_empty(connection, course_instancedetails):
        return
    connection.execute(delete(completions).where(completions.c.course.not_in(select(program_courses.c.course))))
    for code, course in wanted.items():
        if any(before.get(code, {}).get(key) != course[key] for key in ("prefix", "passing_grade")):
            completion.recompute_status(connection, code, float(str(course["passing_grade"])))
            completion.rebuild_course(connection, code)


def _assign_rows(connection: Connection) -> None:
    """Rows belong to the course whose prefix their course run begins with, or to none."""
    for table in (course_instancedetails, imports):
        belongs = program_courses.c.prefix + "_" + table.c.run == table.c.course_instance
        course = select(program_courses.c.course).where(belongs).scalar_subquery()
        known = func.coalesce(course, "")
        connection.execute(
            update(table)
            .where(table.c.run.is_not(None), func.coalesce(table.c.course, "") != known)
            .values(course=known)
        )
    owner = select(program_courses.c.program).where(program_courses.c.course == imports.c.course).scalar_subquery()
    connection.execute(update(imports).where(imports.c.program.is_distinct_from(owner)).values(program=owner))


def _sync_views(connection: Connection, programs: Sequence[Program]) -> None:
    quote = connection.dialect.identifier_preparer.quote
    for name in _views(connection):
        connection.exec_driver_sql(f"DROP VIEW {quote(name)}")
    for program in programs:
        name = quote(view_name(program.code))
        connection.exec_driver_sql(f"CREATE VIEW {name} AS {_report(program, connection)}")


def _report(program: Program, connection: Connection) -> str:
    """The completion report as SQL: a row for every learner with an enrollment or grade row in the program."""
    per_course = [column for course in program.courses for column in _course_columns(course.code)]
    certificate = completions.c.status.in_([Status.CERTIFIED.value, Status.ELIGIBLE.value])
    series = completions.c.course.in_([course.code for course in program.series])
    audited = and_(completions.c.status == Status.AUDIT_PASSED.value, series)
    certificates = func.count(case((certificate, 1))).label("no_certificate_eligible")
    standing = (
        select(
            completions.c.learner_id,
            *per_course,
            certificates,
            func.count(case((audited, 1))).label("no_audited_passed"),
        )
        .where(completions.c.course.in_([course.code for course in program.courses]))
        .group_by(completions.c.learner_id)
        .subquery("standing")
    )  # grouped before the join: what is sorted is narrow
    who = (learners.c.student_id, learners.c.username, learners.c.email, learners.c.name)
    query = (
        select(*who, *(column for column in standing.c if column.name != "learner_id"), learners.c.country)
        .join_from(standing, learners, standing.c.learner_id == learners.c.student_id)
        .order_by(standing.c.no_certificate_eligible.desc(), learners.c.student_id)
    )
    return str(query.compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True}))


def _course_columns(course: str) -> tuple[ColumnElement[str], ColumnElement[str]]:
    here = completions.c.course == course
    track = func.max(case((here, func.coalesce(completions.c.enrollment_track, "unknown"))))
    passed = func.max(case((here, completions.c.passed)))
    return (
        func.coalesce(track, "-").label(f"{course}_enrollment_track"),
        func.coalesce(passed, "-").label(f"{course}_passed"),
    )
