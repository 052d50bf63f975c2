"""Which file of an ingest is read when."""

from pathlib import Path

from mmcampaign.edx_csv import parse_name
from mmcampaign.ingest_ready import Found
from mmcampaign.reading_order import in_turn

NEW_GRADES = "Org_ONE_1T2019_grade_report_2019-03-01-0000.csv"
OLD_GRADES = "Org_ONE_1T2019_grade_report_2019-02-01-0000.csv"
COPY = "Org_ONE_1T2019_grade_report_2019-03-01-0000 (1).csv"
NEW_PROFILE = "Org_ONE_1T2019_student_profile_info_2019-02-20-0000.csv"
OLD_PROFILE = "Org_ONE_1T2019_student_profile_info_2019-01-20-0000.csv"
LATER_RUN = "Org_ONE_2T2019_grade_report_2019-09-01-0000.csv"
NOTES = "notes.txt"


OTHER_COURSE = "Org_TWO_1T2019_grade_report_2019-08-01-0000.csv"


def found(name: str, shown: str = "") -> Found:
    return Found(path=Path(name), shown=Path(shown or name), name=parse_name(name, ["Org_ONE", "Org_TWO"]))


def order(*names: str) -> tuple[list[tuple[str, ...]], list[str]]:
    """The runs' newest reports, and the other files."""
    runs, others = in_turn([found(name) for name in names])
    return [tuple(file.path.name for file in run) for run in runs], [file.path.name for file in others]


def test_the_newest_of_both_kinds_come_first_and_older_ones_and_copies_follow():
    names = [COPY, NEW_GRADES, NEW_PROFILE, OLD_GRADES, OLD_PROFILE]
    expected = [(NEW_GRADES, NEW_PROFILE)], [COPY, OLD_GRADES, OLD_PROFILE]
    assert order(*names) == order(*reversed(names)) == expected


def test_the_course_with_the_newest_export_comes_first_with_all_of_its_runs():
    runs = [(LATER_RUN,), (NEW_GRADES, NEW_PROFILE), (OTHER_COURSE,)]
    assert order(OTHER_COURSE, NOTES, NEW_PROFILE, NEW_GRADES, LATER_RUN) == (runs, [NOTES])


def test_a_copy_is_marked_and_an_older_export_is_not():
    files = [found(name) for name in (COPY, NEW_GRADES, OLD_GRADES, OLD_PROFILE)]
    _, others = in_turn([*files, found(OLD_GRADES, f"again.zip/{OLD_GRADES}")])
    assert [(file.shown.name, file.again) for file in others] == [
        (COPY, True),
        (OLD_GRADES, False),
        (OLD_GRADES, True),
    ]
