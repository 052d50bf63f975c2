"""Tokens and filling: what goes in comes out, escaped for where it stands, on one line."""

import markupsafe
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcampaign.model import Shape
from mmcampaign.shapes import (
    MARK,
    Filler,
    Place,
    Token,
    clean,
    clean_all,
    doubled,
    escape,
    escape_all,
    one_line,
    split,
    tokens,
    with_nobodys_link,
    with_places,
    without_tokens,
)
from tests.unit.merge_builders import substitutions

FIELDS = ("learner.name", "learner.first_name", "item.unsubscribe_link", "unsubscribe_url", "learner.name#abcdefghij")


def token(field: str, place: Place) -> str:
    return Token(field=field, place=place).text


def shape(*, subject: str = "", html: str = "", text: str = "") -> Shape:
    return Shape(digest="0" * 64, subject=subject, html=html, text=text)


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("place", Place)
def test_a_token_is_letters_and_digits_and_says_what_it_stands_for(field: str, place: Place) -> None:
    written = token(field, place)
    assert written.isalnum()
    assert written.isascii()
    assert tokens(f"x{written}x") == [Token(field=field, place=place)]


@pytest.mark.parametrize(
    "field", ["", "Learner.name", "learner name", "learner.2", ".name", "learner.", "a#b", "a#abcdefghiz"]
)
def test_other_field_names_are_refused(field: str) -> None:
    with pytest.raises(ValueError, match="lower-case words"):
        Token(field=field, place=Place.TEXT)


def test_tokens_delimit_themselves() -> None:
    both = token("learner.name", Place.HTML) + token("learner.first_name", Place.HTML)
    assert split(both) == ["", token("learner.name", Place.HTML), "", token("learner.first_name", Place.HTML), ""]
    written = [token(field, place) for field in FIELDS for place in Place]
    assert not [(one, other) for one in written for other in written if one != other and one in other]


@pytest.mark.parametrize(
    ("value", "cleaned"),
    [
        pytest.param("Ann Lee", "Ann Lee", id="nothing to do"),
        pytest.param("  Ann \t Lee ", "Ann Lee", id="spaces"),
        pytest.param("Ann\r\nBcc: x@y.z", "Ann Bcc: x@y.z", id="line break"),
        pytest.param("Ann\x00\x1b[31m\x85Lee", "Ann [31m Lee", id="control characters"),
        pytest.param("Ann\u2028Lee\u2029", "Ann Lee", id="line separators"),
        pytest.param("\u202eeeL nnA\u202c", "eeL nnA", id="direction override"),
        pytest.param("\u2067Ann\u2069", "Ann", id="direction isolate"),
        pytest.param("山田\u3000太郎", "山田\u3000太郎", id="wide space kept"),
        pytest.param("👩\u200d🎓", "👩\u200d🎓", id="joined emoji kept"),
        pytest.param("Ann\ud800", "Ann", id="lone surrogate"),
        pytest.param(" \n ", "", id="only white space"),
        pytest.param("Zq7tlearner0name7qZ", "Zq 7tlearner0name7qZ", id="looks like a token"),
        pytest.param("Z\u202eq7tlearner0name7qZ", "Zq 7tlearner0name7qZ", id="hidden token"),
    ],
)
def test_clean(value: str, cleaned: str) -> None:
    assert clean(value) == cleaned


@given(st.text())
def test_cleaning_twice_changes_nothing_more(value: str) -> None:
    once = clean(value)
    assert clean(once) == once
    assert one_line(once) == once
    assert len(f"x{once}x".splitlines()) == 1
    assert once == once.strip()
    assert MARK not in once
    once.encode()


@given(st.text())
def test_escaping_is_that_of_autoescape(value: str) -> None:
    assert escape(value) == str(markupsafe.escape(value))


@given(st.dictionaries(st.sampled_from(FIELDS), st.text(), min_size=len(FIELDS)))
def test_filling_puts_each_value_where_its_token_stands(values: dict[str, str]) -> None:
    marks = {place: "|".join(token(field, place) for field in FIELDS) for place in Place}
    filler = Filler(shape(subject=marks[Place.TEXT], html=f"<b>{marks[Place.HTML]}</b>", text=marks[Place.TEXT]))
    plain = "|".join(clean(values[field]) for field in FIELDS)
    assert filler.subject(values) == plain
    assert filler.text(values) == plain
    assert filler.html(values) == "<b>" + "|".join(escape(clean(values[field])) for field in FIELDS) + "</b>"


@given(st.dictionaries(st.sampled_from(FIELDS), st.text(), min_size=len(FIELDS)))
def test_replacing_by_substitutions_is_filling(values: dict[str, str]) -> None:
    html = " ".join(token(field, Place.HTML) for field in FIELDS)
    text = " ".join(token(field, Place.TEXT) for field in FIELDS)
    filler = Filler(shape(subject="Hello", html=html, text=text))
    for written, value in substitutions(filler, values).items():
        html, text = html.replace(written, value), text.replace(written, value)
    assert html == filler.html(values)
    assert text == filler.text(values)


# What makes the look at all of them at once find something, or should not: edges, the mark, what stands between them.
_PIECES = st.sampled_from(
    ["Ana", "O'Brien & Co", " ", "  ", "|", "| ", " |", "\n", MARK, MARK[:2], "7", "\u202e", "<b>", "é"]
)


@given(st.lists(st.lists(_PIECES, max_size=4).map("".join) | st.text(max_size=5), max_size=6))
def test_many_values_are_cleaned_and_escaped_as_one_by_one(values: list[str]) -> None:
    cleaned = clean_all(values)
    assert list(cleaned) == [clean(value) for value in values]
    assert list(escape_all(cleaned)) == [escape(value) for value in cleaned]


@given(st.lists(st.dictionaries(st.sampled_from(FIELDS), st.text(), min_size=len(FIELDS)), min_size=1, max_size=5))
def test_columns_are_what_each_token_stands_for_in_many(people: list[dict[str, str]]) -> None:
    marks = {place: " ".join(token(field, place) for field in FIELDS) for place in Place}
    filler = Filler(shape(subject="Hello", html=marks[Place.HTML], text=marks[Place.TEXT]))
    columns = filler.columns({field: [values[field] for values in people] for field in FIELDS})
    found = [dict(zip(filler.tokens, words, strict=True)) for words in zip(*columns, strict=True)]
    assert found == [
        {
            token(field, place): escape(clean(values[field])) if place is Place.HTML else clean(values[field])
            for place in Place
            for field in FIELDS
        }
        for values in people
    ]


def test_what_is_written_for_a_trial_is_a_token_again() -> None:
    html, text = token("learner.name", Place.HTML), token("learner.name", Place.TEXT)
    assert with_places(f"a {text} b", Place.HTML) == f"a {html} b"
    assert doubled(f"<b>{html}</b>") == f"<b>{html} {html}</b>"
    assert tokens(without_tokens(html + text)) == []


def test_values_are_filled_in_once() -> None:
    filler = Filler(shape(text=f"{token('learner.name', Place.TEXT)} {token('unsubscribe_url', Place.TEXT)}"))
    name = token("unsubscribe_url", Place.TEXT)
    assert "secret" not in filler.text({"learner.name": name, "unsubscribe_url": "secret"}).split(" secret")[0]


def test_a_missing_value_is_an_error() -> None:
    with pytest.raises(KeyError, match=r"learner\.name"):
        Filler(shape(html=token("learner.name", Place.HTML))).html({})


def test_a_shape_without_tokens_is_left_alone() -> None:
    filler = Filler(shape(subject="S", html="<p>H</p>", text="T\n"))
    assert (filler.subject({}), filler.html({}), filler.text({}), substitutions(filler, {})) == (
        "S",
        "<p>H</p>",
        "T\n",
        {},
    )


def test_what_is_shown_to_others_unsubscribes_nobody() -> None:
    theirs, nobodys = "https://mail.example.org/u/abc?a=1&b=2", "https://mail.example.org/u/preview"
    alone = Shape(digest="", subject="Hello", html=f'<a href="{escape(theirs)}">{theirs}</a>', text=f"Stop: {theirs}")
    values = {"learner.name": "Ann", "unsubscribe_url#abcdefghij": f"<{theirs}>"}
    shown, filled = with_nobodys_link(alone, values, theirs=theirs, nobodys=nobodys)
    assert shown.html == f'<a href="{nobodys}">{nobodys}</a>'
    assert shown.text == f"Stop: {nobodys}"
    assert filled == {"learner.name": "Ann", "unsubscribe_url#abcdefghij": f"<{nobodys}>"}
