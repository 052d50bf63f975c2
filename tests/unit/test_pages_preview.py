"""Previews: the files of each email as it is, names kept out of file names, and pages that show every shape."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lxml import html as lxml_html

from mmcampaign.findings import Finding, Part, Severity
from mmcampaign.pages.preview import PreviewEmail, PreviewPage, PreviewShape, inbox_lines, source_files, write_previews


def make_email(**values: Any) -> PreviewEmail:
    defaults: dict[str, Any] = {
        "student_id": 7,
        "name": "Ada Lovelace",
        "to_email": "ada@example.org",
        "subject": "Well done",
        "html": "<!doctype html>\r\n<p>Dear Ada</p>\n",
        "text": "Dear Ada\n",
        "eml": b"Subject: =?utf-8?q?Well_d=C3=B6ne?=\r\nTo: Ada\r\n <ada@example.org>\r\n\r\nDear Ada\r\n",
    }
    return PreviewEmail(**(defaults | values))


def make_shape(number: int = 1, *emails: PreviewEmail, **values: Any) -> PreviewShape:
    defaults: dict[str, Any] = {
        "number": number,
        "digest": f"{number:064x}",
        "learners": 87,
        "cohort": "audit-upgrade",
        "trigger_title": "Climate Science and Policy",
        "facts": (("Certificates", "1 of 4"),),
        "emails": emails or (make_email(),),
    }
    return PreviewShape(**(defaults | values))


def make_page(*shapes: PreviewShape, **values: Any) -> PreviewPage:
    sources = {"engy/body.html": "{% extends %}\n<p>pale</p>", "_base/layout.html": "<html>"}
    defaults: dict[str, Any] = {"program_title": "Energy", "sender": "UQx Updates", "sources": sources}
    return PreviewPage(**(defaults | {"shapes": shapes} | values))


def make_finding(**values: Any) -> Finding:
    defaults: dict[str, Any] = {
        "severity": Severity.WARN,
        "code": "contrast",
        "message": "The words are pale.",
        "mend": "Darken them.",
        "part": Part.HTML,
        "file": "engy/body.html",
        "line": 2,
        "shapes": (make_shape(1).digest,),
    }
    return Finding(**(defaults | values))


def read(path: Path) -> Any:
    return lxml_html.fromstring(path.read_text(encoding="utf-8"))


def words(element: Any) -> str:
    return " ".join(element.text_content().split())


def test_each_email_is_written_as_it_is(tmp_path: Path) -> None:
    email = make_email()
    files = write_previews(make_page(make_shape(1, email)), tmp_path / "preview").shapes[0][0]
    assert files.html.read_bytes() == email.html.encode()
    assert files.text.read_bytes() == email.text.encode()
    assert files.eml.read_bytes() == email.eml


def test_file_names_tell_order_cohort_and_shape_and_nobody(tmp_path: Path) -> None:
    page = make_page(make_shape(1, make_email(), make_email()), make_shape(2, cohort="continue"))
    page = replace(page, shapes=(*page.shapes, make_shape(3, cohort="../x/")))
    written = write_previews(page, tmp_path / "preview")
    assert [[files.html.name for files in shape] for shape in written.shapes] == [
        ["01-audit-upgrade-1.html", "01-audit-upgrade-1-2.html"],
        ["02-continue-2.html"],
        ["03-x-3.html"],
    ]
    emails = {path for shape in written.shapes for files in shape for path in (files.html, files.text, files.eml)}
    pages = {tmp_path / "preview" / f"{name}.html" for name in ("index", "source", "shape-1", "shape-2", "shape-3")}
    assert set((tmp_path / "preview").iterdir()) == emails | pages


def test_of_a_hundred_shapes_all_are_listed_in_order_and_some_are_pictured(tmp_path: Path) -> None:
    written = write_previews(make_page(*(make_shape(number) for number in range(1, 102))), tmp_path / "preview")
    names = [files[0].html.name for files in written.shapes]
    assert names == sorted(names)
    index = read(written.index)
    assert len(index.xpath("//tbody/tr[th/a]")) == 101
    assert len(index.xpath("//article")) == 24


def test_every_link_of_every_page_leads_somewhere(tmp_path: Path) -> None:
    page = make_page(make_shape(1), make_shape(2, make_email(), make_email()), findings=(make_finding(),))
    folder = write_previews(page, tmp_path / "preview").index.parent
    for name in ("index", "source", "shape-1", "shape-2"):
        for link in read(folder / f"{name}.html").xpath("//a/@href"):
            file, _, place = link.partition("#")
            assert (folder / file).exists()
            if place:
                assert read(folder / (file or f"{name}.html")).xpath("//*[@id=$place]", place=place), link


def test_index_shows_each_shape_with_its_learners(tmp_path: Path) -> None:
    shapes = (make_shape(1), make_shape(2, learners=1, next_title="Energy"))
    document = read(write_previews(make_page(*shapes), tmp_path / "preview").index)
    assert [words(heading) for heading in document.xpath("//h3")] == ["Shape 1: 87 learners", "Shape 2: 1 learner"]
    assert len(document.xpath("//iframe[@sandbox='']")) == len(document.xpath("//iframe")) == 8


def test_a_shape_is_shown_for_each_of_its_learners(tmp_path: Path) -> None:
    shape = make_shape(1, make_email(why=("the first of them",)), make_email(name="", why=("no name", "no letters")))
    folder = write_previews(make_page(shape), tmp_path / "preview").index.parent
    document = read(folder / "shape-1.html")
    assert [words(label) for label in document.xpath("//fieldset[1]//label")] == [
        "the first of them",
        "no name, no letters",
    ]
    assert len(document.xpath("//iframe[@sandbox='']")) == len(document.xpath("//iframe")) == 4
    assert document.xpath("string(//div[contains(@class, 'text')]/pre)") == "Dear Ada\n"
    assert words(document.xpath("//dl[@class='facts']")[0]) == "Certificates1 of 4"
    headers = [words(row) for row in document.xpath("//div[contains(@class, 'headers')]")[0].xpath(".//tbody/tr")]
    assert headers == ["SubjectWell döne", "ToAda <ada@example.org>"]


def test_frames_run_nothing_and_half_of_them_load_no_image(tmp_path: Path) -> None:
    folder = write_previews(make_page(make_shape(1)), tmp_path / "preview").index.parent
    frames = read(folder / "shape-1.html").xpath("//iframe/@srcdoc")
    policies = [re.findall('http-equiv="Content-Security-Policy" content="([^"]+)"', frame) for frame in frames]
    rest = "default-src 'none'; style-src 'unsafe-inline'; img-src"
    assert policies == [[f"{rest} https: data:"], [f"{rest} 'none'"]]


def test_findings_stand_at_their_shapes_and_lines(tmp_path: Path) -> None:
    note = make_finding(severity=Severity.NOTE, message="Good to know.", shapes=(), line=None)
    page = make_page(make_shape(1), make_shape(2), findings=(make_finding(), note))
    folder = write_previews(page, tmp_path / "preview").index.parent
    assert "The words are pale." in words(read(folder / "shape-1.html"))
    assert "Nothing to mend." in words(read(folder / "shape-2.html"))
    assert [words(each) for each in read(folder / "index.html").xpath("//article/header/p")] == [
        f"1 to mend · {make_shape(1).digest[:12]}",
        f"0 to mend · {make_shape(2).digest[:12]}",
    ]
    (marked,) = read(folder / "source.html").xpath("//li[@class='marked']")
    assert words(marked).startswith("<p>pale</p> Warning: The words are pale. Darken them.")


def test_an_accepted_finding_is_not_to_mend(tmp_path: Path) -> None:
    page = make_page(make_shape(1), findings=(make_finding(accepted="Our colour, says Kim."),))
    index = read(write_previews(page, tmp_path / "preview").index)
    assert "0 to mend" in words(index)
    assert "Let stand: Our colour, says Kim." in words(index)


def test_a_templates_own_files_come_before_those_it_builds_on() -> None:
    names = [file.name for file in source_files({"_base/a": "", "engy/b": "x\ny", "default:engy/b": ""}, ())]
    assert names == ["engy/b", "_base/a", "default:engy/b"]


@pytest.mark.parametrize(
    ("preheader", "shown"),
    [
        pytest.param("Short", ["Short", "Short", "Short"], id="short"),
        pytest.param(
            "word " * 12,
            ["word word word word word word word…", "word " * 11 + "word", "word " * 11 + "word"],
            id="cut",
        ),
        pytest.param("", ["", "", ""], id="none"),
    ],
)
def test_inboxes_cut_the_preview_text_and_padding_ends_it(preheader: str, shown: list[str]) -> None:
    padding = "\u034f\u200c\xa0" * 30
    html = f"<html><body><div>{preheader}{padding}</div><p>The body of it</p></body></html>"
    assert [words for _, words in inbox_lines(html)] == shown


def test_empty_preview_says_so(tmp_path: Path) -> None:
    written = write_previews(make_page(), tmp_path / "preview")
    assert written.shapes == ()
    assert "Nobody would get an email today" in written.index.read_text(encoding="utf-8")


@pytest.mark.parametrize("hostile", ["<script>x</script>", "{{ 1 }}", '"><iframe>', "\u202eexe", "N" * 300])
def test_hostile_words_stay_words(tmp_path: Path, hostile: str) -> None:
    email = make_email(name=hostile, to_email=hostile, subject=hostile, html=hostile, text=hostile, why=(hostile,))
    shape = make_shape(1, email, next_title=hostile, trigger_title=hostile, facts=((hostile, hostile),))
    finding = make_finding(message=hostile, mend=hostile, file=hostile, accepted=hostile)
    page = make_page(shape, sender=hostile, sources={hostile: hostile}, findings=(finding,), remark=hostile)
    folder = write_previews(page, tmp_path / "preview").index.parent
    for name, frames in (("index", 4), ("shape-1", 2), ("source", 0)):
        document = read(folder / f"{name}.html")
        assert not document.xpath("//script")
        assert len(document.xpath("//iframe")) == frames
        assert hostile in document.text_content()
    assert read(folder / "shape-1.html").xpath("count(//bdi[.=$words])", words=hostile) >= 3


def test_failure_leaves_the_earlier_preview(tmp_path: Path) -> None:
    index = write_previews(make_page(make_shape(1)), tmp_path / "preview").index
    before = index.read_bytes()
    with pytest.raises(UnicodeEncodeError):
        write_previews(make_page(make_shape(1), make_shape(2, make_email(text="\ud800"))), tmp_path / "preview")
    assert index.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["preview"]
