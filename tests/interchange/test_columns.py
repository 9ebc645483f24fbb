"""Columns of pandas and PyArrow: their values come in, what has no value is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import dtypes
from mlcore.errors import DTypeError, ShapeError

pa = pytest.importorskip("pyarrow")
pd = pytest.importorskip("pandas")

COLUMNS = [d.name for d in dtypes.all_dtypes if d.name not in ("bfloat16", "complex64", "complex128")]


@pytest.mark.parametrize("name", COLUMNS)
def test_arrow_arrays(name: str) -> None:
    values = np.array([0, 1, 3, 2]).astype(name)
    column = pa.array(values)
    tensor = ml.asarray(column)
    assert (tensor.dtype.name, tensor.tolist()) == (name, values.tolist())
    assert ml.asarray(pa.chunked_array([column, column[1:]])).tolist() == [
        *values.tolist(),
        *values[1:].tolist(),
    ]
    assert ml.asarray(column.slice(1, 2)).tolist() == values[1:3].tolist()
    if name != "bool":  # Arrow packs eight of them into a byte
        shared = ml.from_dlpack(column.slice(1), copy=False)
        assert shared.tolist() == values[1:].tolist()
        assert np.shares_memory(np.asarray(shared), column.to_numpy())


@pytest.mark.parametrize("name", COLUMNS)
def test_pandas_columns(name: str) -> None:
    values = np.array([0, 1, 3, 2]).astype(name)
    for series in (pd.Series(values), pd.Series(values)[::2], pd.Series(values).iloc[1:]):
        tensor = ml.asarray(series)
        assert (tensor.dtype.name, tensor.tolist()) == (name, series.tolist())
    assert ml.asarray(pd.DataFrame({"a": values, "b": values})).tolist() == [[v, v] for v in values.tolist()]


@pytest.mark.parametrize("name", ["Int64", "Float32", "boolean", "int64[pyarrow]", "double[pyarrow]"])
def test_dtypes_of_pandas_own(name: str) -> None:
    whole = pd.Series([1, 0, 1], dtype=name)
    assert ml.asarray(whole, dtype="float64").tolist() == [1, 0, 1]
    with pytest.raises(DTypeError, match=r"Series with 1 missing entries(.|\n)*fillna"):
        ml.asarray(pd.Series([1, None, 1], dtype=name))
    with pytest.raises(DTypeError, match="DataFrame with 2 missing entries"):
        ml.asarray(pd.DataFrame({"a": [1, None, None], "b": [1, 2, 3]}).astype({"a": name}))


def test_nan_is_a_value_where_numpy_holds_it() -> None:
    found = ml.asarray(pd.Series([1.0, np.nan])).tolist()
    assert found[0] == 1
    assert found[1] != found[1]


BAD: list[tuple[Any, str]] = [
    (pa.array([1, None, 3]), "Int64Array with 1 missing entries"),
    (pa.array([1.5, None]), "DoubleArray with 1 missing entries"),
    (pa.chunked_array([[1], [None, 2, None]]), "ChunkedArray with 2 missing entries"),
    (pa.table({"a": [1, 2], "b": [None, 2]}), "Table with 1 missing entries"),
    (pa.array(["a", "b"]), "NumPy dtype object"),
    (pa.array([[1], [2, 3]]), "NumPy dtype object"),
    (pd.Series(["a", "b"]), "NumPy dtype|missing entries|str"),
    (pd.Series([1, "b"], dtype=object), "NumPy dtype object"),
    (pd.Series(pd.to_datetime(["2020-01-01"])), "NumPy dtype datetime64"),
    (pd.Series(["a", "b", "a"], dtype="category"), "NumPy dtype"),
    (pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}), "NumPy dtype object"),
]


@pytest.mark.parametrize(("column", "text"), BAD, ids=[text for _, text in BAD])
def test_what_is_refused(column: Any, text: str) -> None:
    with pytest.raises(DTypeError, match=text):
        ml.asarray(column)


def test_tensors_go_out() -> None:
    x = ml.asarray([1.5, 2.5])
    assert pd.Series(np.asarray(x)).tolist() == [1.5, 2.5]
    assert pa.array(np.asarray(x)).to_pylist() == [1.5, 2.5]
    assert pa.array(x).to_pylist() == [1.5, 2.5]
    assert pa.array(x, pa.float64()).type == pa.float64()
    with pytest.raises(ShapeError, match="1-d"):
        pa.array(ml.ones((2, 2)))
    assert np.shares_memory(pa.array(np.asarray(x)).to_numpy(), np.asarray(x))
