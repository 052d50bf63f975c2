"""The history of a run is a function of the exports there are: checked against a model, in any order of reading."""

import itertools
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, example, given, settings
from sqlalchemy import select

from mmcampaign.ingest import ingest
from mmcampaign.store.engine import Store
from mmcampaign.store.tables import enrollment_history
from tests.exports import GRADE_REPORT, NOW, PROFILE_REPORT, PROGRAM, Export, Folder, Values, exports, states, wipe

History = dict[tuple[str, int, datetime], Values | None]


def model(files: list[Export]) -> History:
    """Between any two exports that follow each other: what the learners were whose row the later one changed."""
    found: History = {}
    for kind in (GRADE_REPORT, PROFILE_REPORT):
        for (_, old), (stamp, new) in itertools.pairwise(sorted(states(files, kind).items())):
            for who in old.rows.keys() | new.rows.keys():
                if old.rows.get(who) != new.rows.get(who):
                    found[kind, who, stamp] = old.rows.get(who)
    return found


def stored(store: Store) -> History:
    found: History = {}
    with store.read() as connection:
        for row in connection.execute(select(enrollment_history)):
            of_grades = (row.grade, row.enrollment_track, row.certificate_delivered)
            values = of_grades if row.kind == GRADE_REPORT else (row.profile_track,)
            found[row.kind, row.learner_id, row.until] = values if row.present else None
            assert row.present or not any(values)
    return found


def check(store: Store, files: list[Export]) -> None:
    wipe(store)
    with TemporaryDirectory() as place:
        for file in files:
            ingest(store, (PROGRAM,), [file.write(Folder(Path(place)))], now=NOW)
    assert stored(store) == model(files)


PASSED, FAILED = (0.8, "audit", "N"), (0.2, "audit", "N")


@settings(max_examples=5, suppress_health_check=list(HealthCheck))
@given(files=exports())
@example(files=[Export(kind=GRADE_REPORT, month=2), Export(kind=GRADE_REPORT, month=1, rows={1: FAILED})])
@example(files=[Export(kind=GRADE_REPORT, month=month, rows={1: PASSED, month: FAILED}) for month in (3, 1, 2)])
@example(
    files=[
        Export(kind=GRADE_REPORT, month=1, rows={1: PASSED}),
        Export(kind=GRADE_REPORT, month=3, rows={1: FAILED}),
        Export(kind=GRADE_REPORT, month=2, rows={1: PASSED, 2: PASSED}),
        Export(kind=GRADE_REPORT, month=2, tail=" (1)", rows={2: FAILED}),
        Export(kind=GRADE_REPORT, month=3, tail=" (1)", rows={2: FAILED, 3: PASSED}),
    ]
)
def test_the_history_depends_on_the_exports_and_not_on_their_order(store: Store, files: list[Export]) -> None:
    check(store, files)


@pytest.mark.soak
@settings(max_examples=600, suppress_health_check=list(HealthCheck))
@given(files=exports())
def test_the_history_depends_on_the_exports_and_not_on_their_order_for_long(store: Store, files: list[Export]) -> None:
    check(store, files)


def test_a_first_export_leaves_no_history(store: Store) -> None:
    files = [
        Export(kind=GRADE_REPORT, month=1, rows={1: PASSED}),
        Export(kind=PROFILE_REPORT, month=2, rows={1: ("audit",)}),
    ]
    check(store, files)
    assert stored(store) == {}
