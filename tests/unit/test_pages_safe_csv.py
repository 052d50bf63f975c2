"""CSV cells that a spreadsheet would execute (edX case E29), and the dialect it opens right."""

import csv
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcampaign.pages import safe_csv
from mmcampaign.pages.safe_csv import safe_cell, write_csv


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        pytest.param("=HYPERLINK(1)", "'=HYPERLINK(1)", id="equals"),
        pytest.param("+61 7 3365", "'+61 7 3365", id="plus"),
        pytest.param("-1+cmd", "'-1+cmd", id="minus"),
        pytest.param("@SUM(A1)", "'@SUM(A1)", id="at"),
        pytest.param("  =1", "'  =1", id="blanks first"),
        pytest.param("\t=1", "\t'=1", id="tab first"),
        pytest.param("\r=1", "\r'=1", id="carriage return first"),
        pytest.param("\u200b=1", "'\u200b=1", id="invisible first"),
        pytest.param("＝1+1", "'＝1+1", id="full width"),
        pytest.param("Smith;=1", "Smith;'=1", id="semicolon starts a cell elsewhere"),
        pytest.param("Smith\n=1", "Smith\n'=1", id="second line"),
        pytest.param("-", "-", id="minus alone means no grade known"),
        pytest.param("Well done - you", "Well done - you", id="minus inside"),
        pytest.param("ada+x@example.org", "ada+x@example.org", id="address"),
        pytest.param("O'Brien", "O'Brien", id="apostrophe"),
        pytest.param("", "", id="empty"),
        pytest.param(-5, -5, id="number"),
        pytest.param(None, None, id="nothing"),
        pytest.param(date(2019, 6, 5), date(2019, 6, 5), id="date"),
    ],
)
def test_cells(cell: object, written: object) -> None:
    assert safe_cell(cell) == written


@given(st.text())
def test_no_text_starts_a_formula_and_nothing_but_marks_is_added(text: str) -> None:
    written = safe_cell(text)
    assert isinstance(written, str)
    visible = written.lstrip()
    assert len(visible) < 2 or visible[0] not in "=+-@＝＋－＠"
    assert written.replace("'", "") == text.replace("'", "")


@given(st.text() | st.text(alphabet="=+-@＝;'\t \r\n\u200b\ufeffaß_1٣"))
def test_what_passes_as_harmless_holds_no_formula(text: str) -> None:
    """The short way gives what looking for formulas gives."""
    assert safe_cell(text) == safe_csv._FORMULA.sub(r"\1'\2", text)


@given(st.text(alphabet="=+-@;'\t \r\nab"))
def test_twice_is_once(text: str) -> None:
    assert safe_cell(safe_cell(text)) == safe_cell(text)


def test_file_opens_right_in_a_spreadsheet(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    assert write_csv(path, ["id", "name"], iter([(1, "Zoë, “Zo”"), (2, "=1+1"), (3, "two\nlines")])) == 3
    assert path.read_bytes().startswith(b"\xef\xbb\xbfid,name\r\n1,")
    assert path.read_bytes().count(b"\r\n") == 4
    with path.open(encoding="utf-8-sig", newline="") as file:
        assert list(csv.reader(file)) == [["id", "name"], ["1", "Zoë, “Zo”"], ["2", "'=1+1"], ["3", "two\nlines"]]


def test_no_rows_is_a_header_alone(tmp_path: Path) -> None:
    assert write_csv(tmp_path / "none.csv", ["id"], []) == 0
    assert (tmp_path / "none.csv").read_bytes() == b"\xef\xbb\xbfid\r\n"
