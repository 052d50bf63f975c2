"""Tuples made of columns: as their kind would make them, one by one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcampaign.columns import rows_of
from mmcampaign.model import Outcome, Receipt


@given(st.lists(st.tuples(st.text(), st.sampled_from(Outcome), st.text(), st.text(), st.booleans())))
def test_rows_are_what_their_kind_makes_of_them(given_rows: list[tuple[str, Outcome, str, str, bool]]):
    whole = [(*row, False, None, "") for row in given_rows]
    columns = list(zip(*whole, strict=True)) or [()] * len(Receipt._fields)
    made = rows_of(Receipt, *columns)
    assert made == [Receipt(*row) for row in whole]
    assert all(type(each) is Receipt for each in made)


def test_columns_that_are_not_equally_long_are_refused():
    with pytest.raises(ValueError, match="shorter"):
        rows_of(Receipt, ["a", "b"], [Outcome.ACCEPTED], *([None] * 2 for _ in range(6)))


def test_a_column_that_is_missing_is_noticed():
    with pytest.raises(AssertionError):
        rows_of(Receipt, ["a"])
