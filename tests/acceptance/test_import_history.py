"""What imports changed, a cohort of an earlier day, loads held back and rows mended: through the installed command."""

import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.acceptance.runner import Cli
from tests.acceptance.worlds import Person, make_river, write_reports

CHANGES = {"newly_enrolled", "passed", "upgraded", "certified", "vanished", "lowered"}
EXPORT_KEYS = {"file_number", "name", "kind", "course", "run", "exported_at", "since"} | CHANGES
LEARNER_KEYS = {"student_id", "username", "changes", "grade_before", "grade_after", "track_before", "track_after"}
MAY, JUNE = datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 6, 1, 23, tzinfo=UTC)


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Twenty learners in May, of whom one failed; by June that one has passed, another has upgraded, two are gone."""
    folder = tmp_path / "place"
    may = [Person(number=100 + n, grade=0.2 if n == 0 else 0.9) for n in range(20)]
    make_river(folder, may)
    for file in (folder / "downloads").iterdir():
        file.unlink()
    june = [replace(may[0], grade=0.8), replace(may[1], track="verified"), *may[2:18]]
    write_reports(folder / "may", may, stamp=MAY, courses="1")
    write_reports(folder / "june", june, stamp=JUNE, courses="1")
    return Cli(folder=folder)


def test_from_two_downloads_to_what_has_changed_and_to_the_cohort_of_an_earlier_day(cli: Cli) -> None:
    """June's exports are of 23:00 UTC, which is 01:00 of the next day in Oslo."""
    first = cli.json("ingest", "may")["changes_by_course"]
    assert [(one["kind"], one["since"], one["newly_enrolled"], one["passed"]) for one in first] == [
        ("grade_report", None, 20, 19),
        ("student_profile_info", None, 20, 0),
    ]
    june, profile = cli.json("ingest", "june")["changes_by_course"]
    assert june.keys() == EXPORT_KEYS
    counts = {"passed": 1, "upgraded": 1, "certified": 1, "vanished": 2}
    assert {name: june[name] for name in CHANGES} == {**dict.fromkeys(CHANGES, 0), **counts}
    assert (profile["upgraded"], profile["vanished"], profile["passed"]) == (1, 2, 0)

    upgrades = cli.json("changes", "--change", "upgraded", "--course", "river1x")["exports"]
    assert [one["file_number"] for one in upgrades] == [june["file_number"], profile["file_number"]]
    learners = cli.json("changes", june["file_number"])["learners"]
    assert all(learner.keys() >= LEARNER_KEYS for learner in learners)
    changed = {learner["student_id"]: learner["changes"] for learner in learners}
    assert changed == {100: ["passed"], 101: ["upgraded", "certified"], 118: ["vanished"], 119: ["vanished"]}
    by_name = cli("changes", june["name"], "--change", "vanished", "--format", "csv").out.splitlines()
    assert [line.partition(",")[0] for line in by_name] == ["student_id", "118", "119"]

    then = cli.json("cohort", "river", "--as-of", "2026-06-01")
    assert {row["student_id"] for row in then["chosen"]} == set(range(101, 120))
    assert {row["cohort"] for row in then["chosen"]} == {"audit-upgrade"}
    assert {(one["course"], one["kind"], one["exported_at"]) for one in then["exports"]} == {
        ("river1x", kind, "2026-05-01T00:00:00+00:00") for kind in ("grade_report", "student_profile_info")
    }
    said = cli("cohort", "river", "--as-of", "2026-06-02").said
    assert "these exports counted: river1x 1T2026 grade_report of 2026-06-01" in said
    explained = cli.json("explain", "river", 101, "--as-of", "2026-06-01")
    assert explained["decisions"][0]["cohort"] == "audit-upgrade"


def test_nothing_has_changed_only_where_no_export_changed_anything(cli: Cli) -> None:
    """Who is gone from the grade report and stands in the profile is still a learner of the run."""
    cli("ingest", "may")
    stay = [Person(number=100 + n, grade=0.2 if n == 0 else 0.9) for n in range(19)]
    write_reports(cli.folder / "later", stay, stamp=JUNE, courses="1")
    next((cli.folder / "later").glob("*_student_profile_info_*")).unlink()
    loaded = cli("ingest", "later")
    assert "Changed: only what the table shows." in loaded.said
    assert loaded.out.splitlines()[-1].split()[-2:] == ["1", "0"], "vanished, lowered"
    assert "Changed: nothing." in cli("ingest", "later").said


def test_a_great_loss_waits_for_a_person(cli: Cli) -> None:
    cli("ingest", "may")
    write_reports(cli.folder / "cut", [Person(number=100)], stamp=JUNE, courses="1")
    lax = cli.with_env(MMCAMPAIGN_INGEST__LARGEST_LOSS_PERCENT="95")
    held = cli.json("ingest", "cut", code=1)
    assert {file["status"] for file in held["files"]} == {"refused"}
    assert all("--accept-loss" in file["reason"] for file in held["files"])
    shutil.copyfile(cli.folder / "mmcampaign.db", cli.folder / "copy.db")
    lax.with_env(MMCAMPAIGN_DATABASE__URL="sqlite:///copy.db")("ingest", "cut")
    cli("ingest", "cut", "--accept-loss")
    (entry, _) = cli.json("audit", "--verify")["entries"]
    assert (entry["actor"], entry["act"], entry["facts"]["missing"]) == ("kim", "accept loss", 19)


def test_refused_rows_are_mended_and_ingested_again(cli: Cli) -> None:
    report = next((cli.folder / "may").glob("*grade_report*"))
    report.write_bytes(report.read_bytes().replace(b"100,", b"10O,", 1))
    cli("ingest", "may", code=1)
    told = cli("imports", "--rejected", "--out", "mend")
    assert "Next: mend them there, then: mmcampaign ingest mend" in told.said
    (path,) = (cli.folder / "mend").iterdir()
    document = cli.json("imports", "--rejected", "--out", "mend")
    assert [(file["rows"], file["written"]) for file in document["files"]] == [(1, False)]
    path.write_bytes(path.read_bytes().replace(b"10O,", b"100,"))
    (file,) = cli.json("ingest", "mend")["files"]
    assert (file["status"], file["accepted"], file["rejected"]) == ("loaded", 1, 0)
    report_rows = cli("report", "river", "--format", "csv").out.splitlines()
    assert any(line.startswith("100,") for line in report_rows)
