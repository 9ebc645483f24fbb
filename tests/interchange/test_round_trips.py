"""Every dtype through every format that has it, bit by bit; what a format has not is refused by name.

The formats come from the registry, the dtypes from mlcore's list and ml_dtypes' float8 kinds: nothing is listed here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import mlcore as ml
from mlcore import dtypes
from mlcore.errors import DTypeError
from mlcore.io import formats, open_weights, save_checkpoint

FLOAT8 = sorted(name for name in dir(ml_dtypes) if name.startswith("float8_"))
DTYPES = [*(d.numpy for d in dtypes.all_dtypes), *(np.dtype(getattr(ml_dtypes, name)) for name in FLOAT8)]
WRITABLE = [one.name for one in formats.core_formats() if one.writer]
SHAPES = [(), (0,), (7,), (3, 5), (2, 0, 3), (2, 3, 4)]
LACKS = {  # what a format has no code for; everything else must come back
    "safetensors": {"complex128", "float8_e3m4", "float8_e4m3", "float8_e4m3b11fnuz"},
    "folder": {"complex128", "float8_e3m4", "float8_e4m3", "float8_e4m3b11fnuz"},
    "pytorch": {"float8_e3m4", "float8_e4m3", "float8_e4m3b11fnuz"},
    "npz": set(FLOAT8),
    "npy": set(FLOAT8),
    "gguf": {"bool", "uint8", "uint16", "uint32", "uint64", "complex64", "complex128", *FLOAT8},
}
_done: Counter[str] = Counter()


@pytest.fixture(scope="module", autouse=True)
def count() -> Iterator[None]:
    yield
    print(f"\nround trips compared bit by bit: {sum(_done.values())}: {dict(_done)}")


def example(dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(len(shape))
    bits = rng.integers(0, 256, (*shape, dtype.itemsize), np.uint8)
    if dtype == np.bool_:
        bits &= 1
    return bits.view(dtype).reshape(shape)


@pytest.mark.parametrize("name", WRITABLE)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_bit_comes_back(tmp_path: Path, name: str, dtype: np.dtype[Any]) -> None:
    for i, shape in enumerate(SHAPES):
        array = example(dtype, shape)
        path = tmp_path / f"x{i}"
        if dtype.name in LACKS[name]:
            with pytest.raises(DTypeError, match=dtype.name):
                ml.save({"x": array}, path, format=name)
            assert not path.exists()
            continue
        ml.save({"x": array}, path, format=name)
        assert formats.recognise(path).name == name
        with open_weights(path) as weights:
            key = next(iter(weights))
            info = weights.info(key)
            assert (info.dtype, tuple(info.shape)) == (dtype.name, shape)
            for found in (weights.read(key), weights.view(key)):
                assert (found.dtype, found.shape) == (dtype, shape)
                assert found.tobytes() == array.tobytes()
                _done[name] += 1
        if dtype.name not in FLOAT8:
            loaded = ml.load(path)
            tensor = loaded if name == "npy" else loaded["x"]
            assert tensor.dtype.numpy == dtype
            assert np.asarray(tensor).tobytes() == array.tobytes()
            again = tmp_path / f"y{i}"
            ml.save({"x": tensor}, again, format=name)
            with open_weights(again) as weights:
                assert weights.read(key).tobytes() == array.tobytes()
            _done[name] += 2


@pytest.mark.parametrize("dtype", list(dtypes.all_dtypes), ids=str)
def test_every_bit_comes_back_from_a_checkpoint(tmp_path: Path, dtype: dtypes.DType) -> None:
    state = {str(i): ml.asarray(example(dtype.numpy, shape)) for i, shape in enumerate(SHAPES)}
    path = save_checkpoint(tmp_path, model=state, rng=False)
    back = ml.load(path)["model"]
    for i, tensor in state.items():
        assert back[i].dtype is tensor.dtype
        assert np.asarray(back[i]).tobytes() == np.asarray(tensor).tobytes()
        _done["checkpoint"] += 1


def test_the_list_of_gaps_names_every_format() -> None:
    assert set(LACKS) == set(WRITABLE)


@pytest.mark.parametrize("target", WRITABLE)
@pytest.mark.parametrize("source", WRITABLE)
def test_convert_between_any_two(tmp_path: Path, source: str, target: str) -> None:
    from mlcore.cli import main

    state = {"w": example(np.dtype(np.float32), (3, 4))}
    if "npy" not in (source, target):
        state |= {"b": example(np.dtype(ml_dtypes.bfloat16), (5,)), "n": example(np.dtype(np.int64), (2, 2))}
    ml.save(state, tmp_path / "a", format=source)
    assert main(["weights", "convert", str(tmp_path / "a"), str(tmp_path / "b"), "--format", target]) == 0
    with open_weights(tmp_path / "b") as weights:
        for (name, array), found in zip(state.items(), weights, strict=True):
            assert name == found or "npy" in (source, target)
            assert weights[found].tobytes() == array.tobytes()
            _done["converted"] += 1
