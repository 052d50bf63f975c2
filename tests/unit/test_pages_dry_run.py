"""The dry-run report: it adds up, says everything asked of it, holds hostile input, and is whole or not there."""

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from lxml import html as lxml_html

from mmcampaign.errors import RefusedError, UnavailableError
from mmcampaign.model import Cohort, Reason
from mmcampaign.pages.dry_run import DryRunPage, Excluded, PreviousCampaign, Recipient, write_dry_run
from mmcampaign.pages.html import duration, preheader
from mmcampaign.pages.reasons import COHORT_TITLES, REASON_SENTENCES
from tests.unit.pages_builders import (
    make_course,
    make_excluded,
    make_finding,
    make_page,
    make_recipient,
    make_sample,
    make_source,
    page_of_words,
)
from tests.unit.pages_example import GOLDEN, read_aloud, write_example

HOSTILE = [
    "<script>document.title='run'</script>",
    '"><img src=x onerror="document.title=1">',
    "{{ 7 * 7 }}{% raw %}",
    "\u202egnp.exe",
    "N" * 300,
    "</bdi></table></iframe>",
    "&lt;b&gt;",
]


def write(
    folder: Path,
    page: DryRunPage | None = None,
    recipients: Iterable[Recipient] | None = None,
    excluded: Iterable[Excluded] | None = None,
) -> Any:
    """The report, parsed."""
    lists = (recipients or [make_recipient()], excluded or [make_excluded()])
    files = write_dry_run(page or make_page(), *lists, folder)
    return lxml_html.fromstring(files.report.read_text(encoding="utf-8"))


def words(document: Any, path: str) -> str:
    return " ".join(" ".join(node.text_content() for node in document.xpath(path)).split())


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_every_reason_and_cohort_has_words() -> None:
    assert set(REASON_SENTENCES) == set(Reason)
    assert set(COHORT_TITLES) == set(Cohort)
    assert all(re.fullmatch(r"[A-Z].*\.", sentence) for sentence in REASON_SENTENCES.values())
    assert len(set(REASON_SENTENCES.values())) == len(Reason)


def test_report_reads_as_approved(tmp_path: Path) -> None:
    assert read_aloud(write_example(tmp_path / "campaign-12")) == GOLDEN.read_text(encoding="utf-8")


def test_three_files_hold_everybody(tmp_path: Path) -> None:
    files = write_dry_run(make_page(), [make_recipient()], [make_excluded()], tmp_path / "3")
    assert read_csv(files.recipients_csv) == [{key: str(value) for key, value in vars(make_recipient()).items()}]
    assert read_csv(files.excluded_csv) == [{key: str(value) for key, value in vars(make_excluded()).items()}]
    assert {path.name for path in (tmp_path / "3").iterdir()} == {"report.html", "recipients.csv", "excluded.csv"}
    assert [path.name for path in tmp_path.iterdir()] == ["3"]


@pytest.mark.parametrize(
    ("page", "heading"),
    [
        pytest.param(make_page(), "Approve 1 email to learners of Sustainable Energy?", id="planned asks"),
        pytest.param(make_page(state="approved"), "1 email to learners of Sustainable Energy", id="approved tells"),
    ],
)
def test_heading_says_what_is_asked(tmp_path: Path, page: DryRunPage, heading: str) -> None:
    assert words(write(tmp_path / "3", page), "//h1") == heading


def test_nobody_chosen_asks_for_nothing(tmp_path: Path) -> None:
    files = write_dry_run(make_page(chosen=0), [], [make_excluded()], tmp_path / "3")
    document = lxml_html.fromstring(files.report.read_text(encoding="utf-8"))
    assert words(document, "//h1") == "Nobody of Sustainable Energy would be mailed."


def test_nobody_considered_is_a_page_too(tmp_path: Path) -> None:
    files = write_dry_run(make_page(chosen=0, excluded=0), [], [], tmp_path / "3")
    assert "Nobody is left out." in files.report.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("page", "fact"),
    [
        pytest.param(make_page(considered=3), "in all: 3 considered, but 1 chosen and 1 left out", id="total"),
        pytest.param(
            make_page(courses=(replace(make_course(), considered=9),)),
            "continue in engy1x: 9 considered, but 1 chosen and 1 left out",
            id="one course",
        ),
        pytest.param(
            make_page(courses=(make_course(chosen=2),)),
            "1 chosen in all, but 2 when the courses are added up",
            id="chosen by course",
        ),
        pytest.param(
            make_page(courses=(make_course(excluded=2),)),
            "1 left out in all, but 2 when the courses are added up",
            id="left out by course",
        ),
        pytest.param(make_page(reasons=()), "1 left out in all, but 0 when the reasons are added up", id="reasons"),
        pytest.param(
            make_page(shapes=0, samples=()), "1 chosen in all, but 0 when the samples are added up", id="samples"
        ),
    ],
)
def test_figures_that_disagree_are_refused(tmp_path: Path, page: DryRunPage, fact: str) -> None:
    with pytest.raises(RefusedError) as caught:
        write(tmp_path / "3", page)
    assert fact in caught.value.facts
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("recipients", "excluded", "fact"),
    [
        pytest.param(
            [make_recipient()] * 2, [make_excluded()], "1 chosen, but 2 on the list of recipients", id="one too many"
        ),
        pytest.param(
            [make_recipient()],
            [make_excluded(reason="merged")],
            "merged: 0 left out, but 1 on the list",
            id="another reason",
        ),
    ],
)
def test_lists_that_differ_from_the_page_are_refused(
    tmp_path: Path, recipients: list[Recipient], excluded: list[Excluded], fact: str
) -> None:
    with pytest.raises(RefusedError) as caught:
        write(tmp_path / "3", make_page(), recipients, excluded)
    assert fact in caught.value.facts
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "hostile", HOSTILE, ids=["script", "attribute", "template", "override", "long", "tags", "entity"]
)
def test_hostile_words_stay_words(tmp_path: Path, hostile: str) -> None:
    """Whatever the field: the page has the same elements as with harmless words, and shows the words as they are."""
    harmless = write(tmp_path / "a", *page_of_words("Ada"))
    document = write(tmp_path / "b", *page_of_words(hostile))
    assert [node.tag for node in document.iter(lxml_html.etree.Element)] == [
        node.tag for node in harmless.iter(lxml_html.etree.Element)
    ]
    assert document.xpath("count(//bdi[.=$words])", words=hostile) >= 4
    assert document.xpath("//iframe/@srcdoc")[0].endswith(hostile)


def test_page_can_reach_nothing(tmp_path: Path) -> None:
    document = write(tmp_path / "3")
    policy = document.xpath("//meta[@http-equiv='Content-Security-Policy']/@content")[0]
    assert policy.startswith("default-src 'none';")
    assert "script-src" not in policy and "http" not in policy
    assert not document.xpath("//script | //link | //img | //form | //object")
    assert [frame.get("sandbox") for frame in document.xpath("//iframe")] == ["", ""]
    inside = re.compile(r"#[\w-]+|recipients\.csv|excluded\.csv")
    links = document.xpath("//a/@href")
    assert links and all(inside.fullmatch(link) for link in links)


def test_every_link_inside_the_page_has_a_target(tmp_path: Path) -> None:
    document = write(tmp_path / "3")
    anchors = {link[1:] for link in document.xpath("//a/@href") if link.startswith("#")}
    ids = document.xpath("//@id")
    assert anchors <= set(ids)
    assert len(ids) == len(set(ids))
    assert set(document.xpath("//@aria-labelledby")) <= set(ids)


def test_names_stop_at_fifty_and_say_how_many_more(tmp_path: Path) -> None:
    people = [make_excluded(student_id=number, name=f"Bo {number}") for number in range(1284)]
    document = write(tmp_path / "3", make_page(excluded=1284), [make_recipient()], people)
    assert len(document.xpath("//details[@id='unenrolled']//tbody/tr")) == 50
    assert words(document, "//p[@class='more']") == "and 1,234 more in excluded.csv"
    assert len(read_csv(tmp_path / "3" / "excluded.csv")) == 1284


def test_lists_are_streamed(tmp_path: Path) -> None:
    """Nobody is asked for before the one before is written: at no time are two recipients alive."""
    alive: list[int] = []

    def stream() -> Iterator[Recipient]:
        for number in range(3000):
            alive.append(number)
            yield make_recipient(student_id=number)
            alive.remove(number)
            assert not alive

    write(tmp_path / "3", make_page(chosen=3000), stream())
    assert len(read_csv(tmp_path / "3" / "recipients.csv")) == 3000


def test_crash_leaves_nothing(tmp_path: Path) -> None:
    def stream() -> Iterator[Excluded]:
        yield make_excluded()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "3", make_page(excluded=2), None, stream())
    assert not list(tmp_path.iterdir())


def test_second_report_replaces_the_first_and_spares_other_files(tmp_path: Path) -> None:
    write(tmp_path, make_page(name="first"))
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    document = write(tmp_path, make_page(name="second"))
    assert "second" in words(document, "//title")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "excluded.csv",
        "notes.txt",
        "recipients.csv",
        "report.html",
    ]


def test_failed_second_report_keeps_the_first(tmp_path: Path) -> None:
    write(tmp_path / "3", make_page(name="first"))
    before = {path.name: path.read_bytes() for path in (tmp_path / "3").iterdir()}
    with pytest.raises(RefusedError):
        write(tmp_path / "3", make_page(name="second"), [make_recipient()] * 2)
    assert {path.name: path.read_bytes() for path in (tmp_path / "3").iterdir()} == before


def test_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UnavailableError, match="cannot be written") as caught:
        write(tmp_path / "file" / "3")
    assert "--out" in caught.value.todo


def test_times_are_shown_in_the_named_zone(tmp_path: Path) -> None:
    document = write(tmp_path / "3", make_page(sources=(make_source(),)))
    top = words(document, "//header[@class='top']/dl")
    assert "6 June 2019, 06:30 by kim" in top  # 20:30 UTC the day before
    assert "Australia/Brisbane time (UTC+10:00)" in top
    assert "2 June 2019, 01:00 4 days" in " ".join(
        words(document, f"//section[@id='data']//tbody//td[{column}]") for column in (2, 3)
    )


@pytest.mark.parametrize(
    ("backend", "said"),
    [
        ("file", ["into files", "written at once"]),
        ("smtp", ["at 10 a second, through smtp", "10 a second, less"]),
    ],
)
def test_rate_is_told_where_it_holds(tmp_path: Path, backend: str, said: list[str]) -> None:
    document = write(tmp_path / "3", make_page(backend=backend))
    assert all(each in words(document, "//body") for each in said)


def test_age_that_is_not_known_is_said(tmp_path: Path) -> None:
    document = write(tmp_path / "3", make_page(sources=(make_source(exported_at=None),)))
    assert "age not known" in words(document, "//header[@class='top']/dl")


def test_what_narrows_the_campaign_is_on_top(tmp_path: Path) -> None:
    document = write(tmp_path / "3", make_page(holdout_percent=12.5, limit=400))
    top = words(document, "//header[@class='top']/dl")
    assert "12.5 % at random" in top
    assert "limited to 400 emails" in top


def test_last_campaign_is_compared(tmp_path: Path) -> None:
    earlier = PreviousCampaign(campaign=2, name="May", planned_on=date(2019, 5, 1), considered=2, chosen=2, excluded=0)
    document = write(tmp_path / "3", make_page(previous=earlier))
    rows = [words(row, "./*") for row in document.xpath("//table[@class='compare']/tbody/tr")]
    assert rows == ["Considered 2 2 no change", "To be mailed 2 1 −1", "Left out 0 1 +1"]


def test_what_blocks_is_on_top_and_nothing_asks_for_approval(tmp_path: Path) -> None:
    page = make_page(findings=(make_finding("block"), make_finding("warn", accepted="known (kim)")))
    document = write(tmp_path / "3", page)
    assert words(document, "//h1") == "1 email to learners of Sustainable Energy cannot be approved yet."
    assert words(document, "//section[@aria-labelledby='blocked']/h2") == "1 finding blocks the approval"
    assert "A link leads nowhere." in words(document, "//section[@aria-labelledby='blocked']")
    assert "known (kim)" in words(document, "//section[@id='findings']")


def test_findings_are_counted_and_told_with_place_shapes_and_learners(tmp_path: Path) -> None:
    shapes = [make_sample(number=n, shape_digest=f"{n}" * 64) for n in (1, 2)]
    some = make_finding("warn", shapes=("2" * 64,), file=None, line=None)
    page = make_page(
        chosen=2, shapes=2, samples=tuple(shapes), findings=(some, make_finding("note", shapes=("1" * 64, "2" * 64)))
    )
    document = write(tmp_path / "3", page, [make_recipient(), make_recipient(student_id=8)])
    assert "0 to mend before approval, 1 warning, 1 note." in words(document, "//section[@id='findings']/p[1]")
    cells = [words(row, "./td") for row in document.xpath("//section[@id='findings']//tbody/tr")]
    assert cells == ["html 2 1", "engy/body.html:12 all 1"]
    assert "cannot be approved" not in words(document, "//h1")


def test_nothing_found_is_said(tmp_path: Path) -> None:
    document = write(tmp_path / "3", make_page(not_checked=("2 shapes",)))
    said = words(document, "//section[@id='findings']")
    assert "Nothing was found." in said
    assert said.endswith("Not checked: 2 shapes.")


def test_fingerprint_and_commands_can_be_copied(tmp_path: Path) -> None:
    document = write(tmp_path / "3", make_page(commands=("mmcampaign approve 3", "mmcampaign send 3")))
    assert words(document, "//p[@class='print']").split() == ["0123", "4567", "89ab", "cdef"] * 4
    assert document.xpath("string(//pre[@class='type'])") == "mmcampaign approve 3\nmmcampaign send 3"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        pytest.param(0, "less than a minute", id="nothing"),
        pytest.param(59.9, "less than a minute", id="just under"),
        pytest.param(60, "about 1 minute", id="one minute"),
        pytest.param(1000, "about 17 minutes", id="minutes"),
        pytest.param(3590, "about 1 hour", id="rounds up to the hour"),
        pytest.param(10020, "about 2 hours 47 minutes", id="hours"),
    ],
)
def test_durations_as_people_say_them(seconds: float, said: str) -> None:
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("html", "shown"),
    [
        pytest.param("", "", id="empty"),
        pytest.param("<style>p{}</style><title>T</title><p>Hello <b>you</b></p>", "Hello you", id="style and title"),
        pytest.param('<div style="display:none">First</div><p>Second</p>', "First Second", id="hidden preheader"),
        pytest.param("<p>Short&#847;&zwnj;&nbsp;&#847; end</p>", "Short end", id="padding"),
        pytest.param('<?xml version="1.0" encoding="latin-1"?><p>Zoë</p>', "Zoë", id="encoding named wrongly"),
        pytest.param("<!-- only -->", "", id="comment only"),
        pytest.param("<p>" + "word " * 60, ("word " * 60)[:109].rstrip() + "…", id="long"),
    ],
)
def test_preheader_is_what_an_inbox_shows(html: str, shown: str) -> None:
    assert preheader(html) == shown
