"""Python's and NumPy's values as Arrow's and back, made of their bytes.

pyarrow's own ways (``pa.array``, ``pa.scalar``, ``to_numpy``, a plain value given to a function of ``pyarrow.compute``)
ask of every value whether it is one of pandas', and load pandas to ask: 0.2 seconds of each ingest, for nothing.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_DTYPES = {
    pa.bool_(): np.bool_,
    pa.int16(): np.int16,
    pa.int32(): np.int32,
    pa.int64(): np.int64,
    pa.float64(): np.float64,
}


def array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Texts, whole numbers or booleans; None is null."""
    present = np.array([value is not None for value in values], bool)
    if pa.types.is_string(kind):
        return _texts(["" if value is None else value for value in values], present)
    return from_numpy(np.array([0 if value is None else value for value in values], _DTYPES[kind]), present)


def scalar(value: str | int | float | bool | None, kind: pa.DataType) -> pa.Scalar:
    """One value, for functions of ``pyarrow.compute``."""
    return array([value], kind)[0]


def from_numpy(values: npt.NDArray[Any], present: npt.NDArray[np.bool_] | None = None) -> pa.Array:
    """Numbers or booleans; null where one is not ``present``."""
    validity = None if present is None or present.all() else _bits(present)
    data = _bits(values) if values.dtype == bool else pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [validity, data])


def to_numpy(values: pa.Array | pa.ChunkedArray) -> npt.NDArray[Any]:
    """Numbers or booleans without a null, not copied unless they are in several pieces; only to be read."""
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks() if values.num_chunks else pa.nulls(0, values.type)
    if pa.types.is_boolean(values.type):
        return to_numpy(values.cast(pa.uint8())).view(bool)
    return np.from_dlpack(values)


def empty_table(schema: pa.Schema) -> pa.Table:
    """Of one empty piece: of none, Arrow makes one by way of ``pa.array``."""
    return pa.table([pa.nulls(0, field.type) for field in schema], schema=schema)


def _texts(values: Sequence[str], present: npt.NDArray[np.bool_]) -> pa.Array:
    encoded = [value.encode() for value in values]
    ends = np.array([0, *accumulate(map(len, encoded))], np.int32)
    buffers = [_bits(present), pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.string(), len(encoded), buffers)


def _bits(flags: npt.NDArray[np.bool_]) -> pa.Buffer:
    return pa.py_buffer(np.packbits(flags, bitorder="little"))
