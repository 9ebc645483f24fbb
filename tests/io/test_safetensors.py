"""The safetensors reader and writer against the reference implementation, and against damaged files."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors

from mlcore import dtypes
from mlcore.errors import ArgumentError, ArgumentTypeError, DTypeError, FormatError, MlcoreError
from mlcore.io import safetensors as ours
from mlcore.io.files import FileError, MissingFileError


def example(dtype: dtypes.DType, shape: tuple[int, ...] = (3, 4)) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(dtype.index)
    bits = rng.integers(0, 256, (*shape, dtype.itemsize), np.uint8)
    if dtype is dtypes.bool_:
        bits &= 1
    return bits.view(dtype.numpy).reshape(shape)


def same_bits(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@pytest.mark.parametrize("dtype", ours.CODES, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (1,), (3, 4), (2, 1, 3, 1)])
def test_every_bit_of_every_dtype_survives(
    tmp_path: Path, dtype: dtypes.DType, shape: tuple[int, ...]
) -> None:
    array = example(dtype, shape)
    ours.write_arrays({"x": array}, tmp_path / "x.safetensors")
    back, metadata = ours.read_arrays(tmp_path / "x.safetensors")
    assert same_bits(back["x"], array)
    assert metadata == {"format": "pt"}
    assert back["x"].flags.writeable


@pytest.mark.parametrize("dtype", ours.CODES, ids=str)
def test_the_reference_reads_what_we_write(tmp_path: Path, dtype: dtypes.DType) -> None:
    array = example(dtype)
    path = tmp_path / "x.safetensors"
    ours.write_arrays(
        {"b": array, "a": np.ones(3, np.int8), "c": np.zeros((0, 2), np.float64)}, path, {"k": "é"}
    )
    found = dict(safetensors.deserialize(path.read_bytes()))
    assert found.keys() == {"a", "b", "c"}
    assert found["b"]["dtype"] == ours.CODES[dtype]
    assert found["b"]["shape"] == [3, 4]
    assert bytes(found["b"]["data"]) == array.tobytes()
    with safetensors.safe_open(path, "np") as file:
        assert file.metadata() == {"format": "pt", "k": "é"}


def test_we_read_what_the_reference_writes(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    path = tmp_path / "x.safetensors"
    arrays = {
        "f": np.arange(6.0).reshape(2, 3),
        "i": np.arange(4, dtype=np.int16),
        "e": np.zeros((0, 5), np.float32),
    }
    save_file(arrays, path, {"note": "from outside"})
    back, metadata = ours.read_arrays(path)
    assert metadata == {"note": "from outside"}
    assert back.keys() == arrays.keys()
    assert all(same_bits(back[name], arrays[name]) for name in arrays)


@pytest.mark.parity
def test_torch_reads_ours_and_we_read_torchs(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file, save_file

    weights = {"w": torch.randn(3, 5).to(torch.bfloat16), "h": torch.randn(4).half(), "n": torch.tensor(7)}
    save_file(weights, tmp_path / "torch.safetensors")
    arrays, _ = ours.read_arrays(tmp_path / "torch.safetensors")
    assert str(arrays["w"].dtype) == "bfloat16"
    ours.write_arrays(arrays, tmp_path / "ours.safetensors")
    back = load_file(tmp_path / "ours.safetensors")
    assert all(torch.equal(back[name], weights[name]) for name in weights)


def test_the_order_of_saving_is_the_order_of_loading(tmp_path: Path) -> None:
    names = ["z", "a", "m"]
    arrays = {
        name: np.zeros(index + 1, kind) for index, (name, kind) in enumerate(zip(names, ["i1", "f8", "f4"]))
    }
    ours.write_arrays(arrays, tmp_path / "x")
    assert list(ours.read_arrays(tmp_path / "x")[0]) == names
    entries = ours.describe(tmp_path / "x").entries
    assert [entry.name for entry in sorted(entries, key=lambda entry: entry.start)] == [
        "a",
        "m",
        "z",
    ]  # aligned


@pytest.mark.parametrize(
    "make",
    [
        lambda a: a.T,
        lambda a: a[::-1, ::2],
        lambda a: np.broadcast_to(a[:1], (5, 4)),
        lambda a: a.astype(">f4"),
        lambda a: np.asfortranarray(a),
    ],
    ids=["transposed", "negative step", "broadcast", "big-endian", "fortran"],
)
def test_layout_does_not_matter(tmp_path: Path, make: Any) -> None:
    array = make(np.arange(12, dtype=np.float32).reshape(3, 4))
    ours.write_arrays({"x": array}, tmp_path / "x")
    back = ours.read_arrays(tmp_path / "x")[0]["x"]
    np.testing.assert_array_equal(back, array)
    assert back.dtype == np.float32


def test_what_cannot_be_saved(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with pytest.raises(DTypeError, match=r"'z' has dtype complex128.*\n.*real and imag"):
        ours.write_arrays({"z": np.zeros(2, complex)}, path)
    with pytest.raises(DTypeError, match="'o' has dtype object"):
        ours.write_arrays({"o": np.array([None])}, path)
    with pytest.raises(ArgumentError, match="__metadata__"):
        ours.write_arrays({"__metadata__": np.zeros(2)}, path)
    with pytest.raises(ArgumentTypeError, match="metadata maps str to str, got 'epoch': 3"):
        ours.write_arrays({}, path, {"epoch": 3})  # type: ignore[dict-item]
    with pytest.raises(ArgumentTypeError, match="names of tensors are strings, got 1"):
        ours.write_arrays({1: np.zeros(2)}, path)  # type: ignore[dict-item]
    assert not list(tmp_path.iterdir())


def test_missing_and_unreadable(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"cannot read .*net: no such file.*\n.*it exists") as caught:
        ours.read_arrays(tmp_path / "net")
    assert isinstance(caught.value, FileNotFoundError)
    with pytest.raises(MissingFileError, match="it does not exist"):
        ours.read_arrays(tmp_path / "nowhere" / "net")
    with pytest.raises(FileError, match="is a directory"):
        ours.read_arrays(tmp_path)


# ---------------------------------------------------------------- damaged files


def container(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(start: int, stop: int, shape: Any = None, dtype: Any = "U8") -> dict[str, Any]:
    return {
        "dtype": dtype,
        "shape": [stop - start] if shape is None else shape,
        "data_offsets": [start, stop],
    }


DAMAGED = {
    "empty file": (b"", "it has 0 bytes"),
    "seven bytes": (b"1234567", "it has 7 bytes"),
    "header over the cap": (struct.pack("<Q", 100_000_001) + b"{}", "claims 100000001 bytes"),
    "absurd header": (b"\xff" * 16, "claims 18446744073709551615 bytes"),
    "truncated header": (struct.pack("<Q", 50) + b"{}", "header ends at byte 58, the file at byte 10"),
    "not an object": (container(b"[]"), r"starts with b'\['"),
    "no header": (container(b""), "starts with b''"),
    "bad JSON": (container(b'{"a":'), "not valid JSON"),
    "bad UTF-8": (container(b'{"\xff":1}'), "not valid JSON"),
    "trailing JSON": (container(b"{}{}"), "not valid JSON"),
    "deep JSON": (container(b'{"a":' + b"[" * 200_000), "not valid JSON"),
    "huge integer": (container(b'{"a":' + b"9" * 9_999 + b"}"), "not valid JSON"),
    "NaN": (container(b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,4]}}', b"0000"), "holds NaN"),
    "duplicate tensor": (
        container(b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],'
                  b'"data_offsets":[0,1]}}', b"0"), "'a' stands twice"),
    "duplicate field": (container(b'{"a":{"dtype":"U8","dtype":"I8"}}'), "'dtype' stands twice"),
    "metadata of numbers": (container({"__metadata__": {"a": 1}}), "not a table of strings"),
    "metadata list": (container({"__metadata__": []}), "not a table of strings"),
    "entry is a list": (container({"a": [1]}), r"tensor 'a' has \[1\]"),
    "missing field": (container({"a": {"dtype": "U8", "shape": []}}), "tensor 'a'"),
    "unknown field": (container({"a": {**entry(0, 1), "x": 1}}, b"0"), "tensor 'a'"),
    "dtype is a number": (container({"a": entry(0, 1, dtype=3)}, b"0"), "'a' has dtype 3"),
    "negative size": (container({"a": entry(0, 1, shape=[-1])}, b"0"), r"shape \[-1\]"),
    "fractional size": (container({"a": entry(0, 1, shape=[1.0])}, b"0"), r"shape \[1.0\]"),
    "boolean size": (container({"a": entry(0, 1, shape=[True])}, b"0"), r"shape \[True\]"),
    "too many axes": (container({"a": entry(0, 1, shape=[1] * 65)}, b"0"), "has shape"),
    "size over 2**63": (container({"a": entry(0, 1, shape=[2**63])}, b"0"), "has shape"),
    "three offsets": (container({"a": {**entry(0, 1), "data_offsets": [0, 1, 2]}}, b"0"), "data_offsets"),
    "negative offset": (container({"a": {**entry(0, 1), "data_offsets": [-1, 0]}}, b"0"), "data_offsets"),
    "backward offsets": (container({"a": {**entry(0, 1), "data_offsets": [4, 0]}}, b"0000"), r"\[4, 0\]"),
    "size mismatch": (container({"a": entry(0, 4, shape=[3])}, b"0000"), "takes 3 bytes, its"),
    "overflowing size": (
        container({"a": entry(0, 4, shape=[2**32, 2**32], dtype="F32")}, b"0000"),
        "takes 73786976294838206464",
    ),
    "overlap": (
        container({"a": entry(0, 3), "b": entry(2, 4)}, b"0000"), "'b' at .* overlaps tensor 'a', which"),
    "same place twice": (container({"a": entry(0, 2), "b": entry(0, 2)}, b"00"), "overlaps"),
    "hole": (container({"a": entry(0, 1), "b": entry(2, 3)}, b"000"), "hole of 1 bytes between tensor"),
    "hole at the start": (container({"a": entry(1, 2)}, b"00"), "hole of 1 bytes between the header"),
    "truncated data": (container({"a": entry(0, 9)}, b"0000"), r"'a' lies at \[0, 9\], the data has 4"),
    "trailing bytes": (container({"a": entry(0, 1)}, b"0PK"), "2 bytes follow tensor 'a', which ends at 1"),
    "only trailing bytes": (container({}, b"xyz"), "3 bytes follow the header"),
    "impossible empty": (container({"a": entry(0, 0, shape=[2**62, 2**62, 0])}), "which no array can have"),
}  # fmt: skip


# What the reference reader lets pass: a key that stands twice hides one of its values from some readers.
STRICTER = {"unknown field", "duplicate field", "duplicate tensor", "impossible empty", "too many axes"}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_files_are_refused(tmp_path: Path, name: str) -> None:
    content, text = DAMAGED[name]
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=text) as caught:
        ours.read_arrays(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value).splitlines()) < 8
    if name not in STRICTER:
        with pytest.raises(safetensors.SafetensorError):
            safetensors.deserialize(content)


def test_unknown_dtype_is_named(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(container({"a": entry(0, 2, dtype="F4", shape=[4])}, b"00"))
    with pytest.raises(DTypeError, match="tensor 'a' has dtype F4, which mlcore does not have"):
        ours.read_arrays(tmp_path / "x")


def test_a_bool_is_one_of_two(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(container({"a": entry(0, 3, dtype="BOOL")}, b"\x00\x01\x02"))
    assert ours.read_arrays(tmp_path / "x")[0]["a"].view(np.uint8).tolist() == [0, 1, 1]


def test_a_large_file_is_read_in_pieces(tmp_path: Path) -> None:
    array = np.arange(5 << 20, dtype=np.float32)  # 20 MiB: more than one piece
    ours.write_arrays({"x": array, "y": array[:3]}, tmp_path / "x")
    back, _ = ours.read_arrays(tmp_path / "x")
    assert same_bits(back["x"], array)
    assert same_bits(back["y"], array[:3])


def test_random_damage_gives_our_errors_only(tmp_path: Path) -> None:
    path = tmp_path / "x"
    ours.write_arrays({"w": np.arange(6, dtype=np.float32), "b": np.ones((2, 2), np.int16)}, path, {"k": "v"})
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(1500):
        damaged = bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            damaged[rng.integers(0, len(damaged) - 28)] = rng.integers(0, 256)
        if rng.random() < 0.3:
            del damaged[rng.integers(0, len(damaged)) :]
        path.write_bytes(damaged)
        try:
            ours.read_arrays(path)
        except MlcoreError:
            refused += 1
    assert refused > 1000
