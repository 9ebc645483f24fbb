"""NumPy files and tables as datasets."""

# ruff: noqa: E501  (tables of cases)

from __future__ import annotations

import importlib.util
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

import mlcore as ml
from mlcore import data
from mlcore.errors import DataError

ARROW = importlib.util.find_spec("pyarrow") is not None
PANDAS = importlib.util.find_spec("pandas") is not None
needs_arrow = pytest.mark.skipif(not ARROW, reason="pyarrow is not installed")


def test_numpy_files(tmp_path: Path) -> None:
    x, y = np.arange(40.0).reshape(10, 4), np.arange(10)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    np.savez(tmp_path / "both.npz", x=x, y=y)
    for rows in (
        data.NumpyDataset(tmp_path / "x.npy", tmp_path / "y.npy"),
        data.NumpyDataset(tmp_path / "both.npz"),
        data.NumpyDataset(tmp_path / "x.npy", tmp_path / "y.npy", mmap=False),
    ):
        assert len(rows) == 10
        assert rows[-1][0].tolist() == x[-1].tolist()
        a, b = rows.batch(np.asarray([7, -1, 2, 2]))
        assert (a.tolist(), b.tolist()) == (x[[7, 9, 2, 2]].tolist(), [7, 9, 2, 2])
        assert len(pickle.dumps(rows)) < 1000
        for options in (dict(), dict(num_workers=2), dict(num_workers=2, multiprocessing_context="fork")):
            loader = data.DataLoader(rows, 3, True, generator=ml.random.Generator(1), **options)
            found = [(u.tolist(), v.tolist()) for u, v in loader]
            assert all(u == x[v].tolist() for u, v in found)
            assert sorted(i for _, v in found for i in v) == list(range(10))
    assert isinstance(data.NumpyDataset(tmp_path / "x.npy").arrays[0], np.memmap)
    x.tofile(tmp_path / "x.bin")
    raw = data.MemmapDataset(tmp_path / "x.bin", np.float64, (-1, 4))
    assert (len(raw), raw[9].tolist()) == (10, x[9].tolist())
    assert [b.shape for b in data.DataLoader(raw, 5)] == [(5, 4)] * 2
    assert data.MemmapDataset(tmp_path / "x.bin", np.float64, (3, 4), offset=32)[0].tolist() == x[1].tolist()
    paths = data.save_arrays(data.TensorDataset(x, y), tmp_path / "out", ["x", "y"])
    assert [path.name for path in paths] == ["x.npy", "y.npy"]
    assert (np.load(paths[0]) == x).all()


def test_files_larger_than_what_is_read(tmp_path: Path) -> None:
    """A mapped file of 1 GiB (of holes) costs no memory."""
    np.lib.format.open_memmap(tmp_path / "big.npy", "w+", np.uint8, (1 << 20, 1 << 10))
    rows = data.NumpyDataset(tmp_path / "big.npy")
    assert next(iter(data.DataLoader(rows, 16, True))).shape == (16, 1024)


# -- tables -------------------------------------------------------------------------------------------------------------------

CSV = "x,name,flag,y\n1,a b,true,0.5\n2,c,false,\n-3,d,true,1e3\n"
ENGINES = ["python", *(["pyarrow"] if ARROW else []), *(["pandas"] if PANDAS else []), "auto"]


@pytest.mark.parametrize("engine", ENGINES)
def test_csv(engine: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(CSV, encoding="utf-8")
    table = data.read_csv(path, engine=engine)
    assert len(table) == 3
    assert {**table[0]} == {"x": 1, "name": "a b", "flag": True, "y": 0.5}
    assert np.isnan(table[1]["y"])
    batch = table.batch(np.asarray([2, 0]))
    assert (batch["x"].tolist(), batch["x"].dtype, batch["name"]) == ([-3, 1], ml.int64, ["d", "a b"])
    assert (batch["y"].dtype, batch["flag"].dtype) == (ml.float64, ml.bool)
    (whole,) = data.DataLoader(table, 3)
    assert whole["x"].tolist() == [1, 2, -3]
    assert list(data.read_csv(path, ["y", "x"], engine=engine).columns) == ["y", "x"]
    features, target = table.tensors(["x", "y"], "flag")[2]
    assert (features.tolist(), features.dtype, target.item()) == ([-3.0, 1000.0], ml.float32, True)
    (tmp_path / "n.csv").write_text("1;2\n3;4\n", encoding="utf-8")
    assert data.read_csv(tmp_path / "n.csv", delimiter=";", header=False, engine=engine)[1] == {
        "0": 3,
        "1": 4,
    }


@needs_arrow
def test_parquet_and_arrow(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.feather
    import pyarrow.parquet

    table = pyarrow.table(
        {
            "x": np.arange(100), "name": [f"n{i}" for i in range(100)], "v": [[i, i + 1.0] for i in range(100)],
            "hole": [None if i == 3 else i for i in range(100)],
        }
    )  # fmt: skip
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet", row_group_size=30)
    pyarrow.feather.write_feather(table, tmp_path / "t.arrow", compression="uncompressed")
    for found in (data.read_parquet(tmp_path / "t.parquet"), data.read_arrow(tmp_path / "t.arrow")):
        assert len(found) == 100
        row = found[7]
        assert (row["x"], row["name"], row["v"].tolist(), row["hole"]) == (7, "n7", [7.0, 8.0], 7.0)
        assert np.isnan(found[3]["hole"])
        (batch,) = data.DataLoader(found, 100)
        assert batch["v"].shape == (100, 2)
    assert list(data.read_parquet(tmp_path / "t.parquet", ["v"]).columns) == ["v"]
    assert list(data.read_arrow(tmp_path / "t.arrow", ["x"]).columns) == ["x"]
    stream = data.ParquetStream(tmp_path / "t.parquet", tmp_path / "t.parquet", columns=["x"], rows=7)
    assert [row["x"] for row in stream] == [*range(100)] * 2
    for options in (dict(), dict(num_workers=2), dict(num_workers=2, multiprocessing_context="fork")):
        loader = data.DataLoader(stream, 6, **options)
        seen = []
        for batch in loader:
            seen += batch["x"].tolist()
            if len(seen) >= 120:
                break
        again = data.DataLoader(
            data.ParquetStream(tmp_path / "t.parquet", tmp_path / "t.parquet", columns=["x"]), 6, **options
        )
        again.load_state_dict(loader.state_dict())
        rest = [i for batch in again for i in batch["x"].tolist()]
        assert seen + rest == [*range(100)] * 2
    for i in range(0, 200, 13):
        stream.load_state_dict({"place": i})
        assert [row["x"] for row in stream] == ([*range(100)] * 2)[i:]


def test_without_pyarrow_it_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("pyarrow", "pyarrow.parquet", "pyarrow.feather"):
        monkeypatch.setitem(sys.modules, name, None)
    for call in (data.read_parquet, data.read_arrow, data.ParquetStream):
        with pytest.raises(DataError, match=r"needs pyarrow(.|\n)*pip install pyarrow"):
            call(tmp_path / "x")


# -- transforms ----------------------------------------------------------------------------------------------------------------
