"""Previews: the files of each email as it is, names kept out of file names, and a page that shows them all."""

from pathlib import Path
from typing import Any

import pytest
from lxml import html as lxml_html

from mmcampaign.pages.preview import PreviewEmail, write_previews


def make_email(**values: Any) -> PreviewEmail:
    defaults: dict[str, Any] = {
        "student_id": 7,
        "shape": 1,
        "shape_digest": "ab" * 32,
        "learners": 87,
        "cohort": "audit-upgrade",
        "trigger_title": "Climate Science and Policy",
        "name": "Ada Lovelace",
        "to_email": "ada@example.org",
        "subject": "Well done",
        "html": "<!doctype html>\r\n<p>Dear Ada</p>\n",
        "text": "Dear Ada\n",
        "eml": b"Subject: Well done\r\n\r\nDear Ada\r\n",
    }
    return PreviewEmail(**(defaults | values))


def test_each_email_is_written_as_it_is(tmp_path: Path) -> None:
    email = make_email()
    files = write_previews([email], tmp_path / "preview").emails[0]
    assert files.html.read_bytes() == email.html.encode()
    assert files.text.read_bytes() == email.text.encode()
    assert files.eml.read_bytes() == email.eml


def test_file_names_tell_order_cohort_and_shape_and_nobody(tmp_path: Path) -> None:
    emails = [make_email(), make_email(cohort="continue", shape=4), make_email(cohort="../x/", shape=4)]
    written = write_previews(emails, tmp_path / "preview")
    assert [files.html.name for files in written.emails] == [
        "01-audit-upgrade-1.html",
        "02-continue-4.html",
        "03-x-4.html",
    ]
    every = {files.html for files in written.emails} | {files.text for files in written.emails}
    every |= {files.eml for files in written.emails} | {written.index}
    assert set((tmp_path / "preview").iterdir()) == every


def test_names_sort_in_order_beyond_ninety_nine(tmp_path: Path) -> None:
    names = [files.html.name for files in write_previews([make_email()] * 101, tmp_path / "preview").emails]
    assert names == sorted(names)


def test_index_shows_each_shape_and_links_its_files(tmp_path: Path) -> None:
    written = write_previews([make_email(), make_email(shape=2, learners=1, next_title="Energy")], tmp_path / "preview")
    document = lxml_html.fromstring(written.index.read_text(encoding="utf-8"))
    assert [heading.text_content() for heading in document.xpath("//h3")] == [
        "Shape 1: 87 learners",
        "Shape 2: 1 learner",
    ]
    assert len(document.xpath("//iframe[@sandbox='']")) == 4
    local = [link for link in document.xpath("//a/@href") if not link.startswith("#")]
    assert len(local) == 6
    assert all((tmp_path / "preview" / link).is_file() for link in local)


def test_empty_preview_says_so(tmp_path: Path) -> None:
    written = write_previews([], tmp_path / "preview")
    assert written.emails == ()
    assert "Nobody would get an email today" in written.index.read_text(encoding="utf-8")


@pytest.mark.parametrize("hostile", ["<script>x</script>", "{{ 1 }}", '"><iframe>', "\u202eexe", "N" * 300])
def test_hostile_words_stay_words(tmp_path: Path, hostile: str) -> None:
    email = make_email(name=hostile, to_email=hostile, subject=hostile, html=hostile, text=hostile, next_title=hostile)
    index = write_previews([email], tmp_path / "preview").index
    document = lxml_html.fromstring(index.read_text(encoding="utf-8"))
    assert not document.xpath("//script")
    assert len(document.xpath("//iframe")) == 2
    assert document.xpath("count(//bdi[.=$words])", words=hostile) >= 3
    assert document.xpath("string(//details/pre)") == hostile


def test_failure_leaves_the_earlier_preview(tmp_path: Path) -> None:
    index = write_previews([make_email()], tmp_path / "preview").index
    before = index.read_bytes()
    with pytest.raises(UnicodeEncodeError):
        write_previews([make_email(), make_email(text="\ud800")], tmp_path / "preview")
    assert index.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["preview"]
