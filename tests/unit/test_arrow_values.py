"""Values made of their bytes are the ones pyarrow makes in its own way."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcampaign.arrow_values import array, empty_table, from_numpy, scalar, to_numpy

VALUES: dict[Any, st.SearchStrategy[Any]] = {
    pa.string(): st.text(),
    pa.int16(): st.integers(-(2**15), 2**15 - 1),
    pa.int32(): st.integers(-(2**31), 2**31 - 1),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.float64(): st.floats(allow_nan=False),
    pa.bool_(): st.booleans(),
}
kinds = pytest.mark.parametrize("kind", VALUES, ids=str)


@kinds
@given(data=st.data())
def test_an_array_is_that_of_arrow(kind: Any, data: st.DataObject):
    values = data.draw(st.lists(st.none() | VALUES[kind]))
    made = array(values, kind)
    made.validate(full=True)
    assert made.equals(pa.array(values, kind))
    assert [scalar(value, kind).as_py() for value in values] == values


@kinds
@given(data=st.data())
def test_numbers_go_to_numpy_and_back(kind: Any, data: st.DataObject):
    if pa.types.is_string(kind):
        return
    values, cut = data.draw(st.lists(VALUES[kind])), data.draw(st.integers(0, 3))
    made = pa.array(values, kind)
    pieces = pa.chunked_array([made[:cut], made[cut:]], kind)
    for found in (made, made[cut:], pieces, pieces.slice(cut), pa.chunked_array([], kind)):
        there = to_numpy(found)
        assert there.tolist() == found.to_pylist()
        assert from_numpy(there).equals(pa.array(found.to_pylist(), kind))


def test_what_is_not_present_is_null():
    assert from_numpy(np.array([1, 2, 3]), np.array([True, False, True])).to_pylist() == [1, None, 3]


def test_a_table_without_rows_has_its_columns():
    schema = pa.schema([("student_id", pa.int64()), ("email", pa.string())])
    assert empty_table(schema).equals(schema.empty_table())
