"""npy and npz against NumPy, both ways; objects, bombs and damage are refused before they can do harm."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import mlcore as ml
from mlcore import dtypes
from mlcore.errors import (
    ArgumentError,
    ArgumentTypeError,
    DTypeError,
    FormatError,
    MlcoreError,
    UnsafeFileError,
)
from mlcore.io import open_weights

NUMPY = [d for d in dtypes.all_dtypes if d is not dtypes.bfloat16]
LAYOUTS: dict[str, Any] = {
    "contiguous": lambda a: a,
    "fortran": np.asfortranarray,
    "sliced": lambda a: a[1:, ::2],
    "0-d": lambda a: a[1, 2],
    "empty": lambda a: a[:0],
    "1-d": lambda a: a[0],
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
}


def values(dtype: dtypes.DType) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(dtype.index)
    bits = rng.integers(0, 256, (4, 6, dtype.itemsize), np.uint8)
    return (bits & 1 if dtype is dtypes.bool_ else bits).view(dtype.numpy).reshape(4, 6)


def same(got: Any, want: np.ndarray[Any, Any]) -> None:
    assert got.shape == want.shape
    assert got.dtype == want.dtype.newbyteorder("=")
    assert got.tobytes() == want.astype(want.dtype.newbyteorder("=")).tobytes()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", NUMPY, ids=str)
def test_we_read_what_numpy_writes(tmp_path: Path, dtype: dtypes.DType, layout: str) -> None:
    array = np.asarray(LAYOUTS[layout](values(dtype)))
    np.save(tmp_path / "x.npy", array)
    same(np.asarray(ml.load(tmp_path / "x.npy")), array)
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "x.npz", array, **{"a/b": array, "c": array[..., None]})
        back = ml.load(tmp_path / "x.npz")
        assert list(back) == ["a/b", "c", "arr_0"]
        same(np.asarray(back["arr_0"]), array)
        same(np.asarray(back["c"]), array[..., None])
        with open_weights(tmp_path / "x.npz") as weights:
            assert weights.info("a/b").dtype == dtype.name
            same(weights["a/b"], array)
            same(weights.read("a/b"), array)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", NUMPY, ids=str)
def test_numpy_reads_what_we_write(tmp_path: Path, dtype: dtypes.DType, layout: str) -> None:
    array = np.asarray(LAYOUTS[layout](values(dtype)))
    ml.save(array, tmp_path / "x.npy")
    back = np.load(tmp_path / "x.npy", allow_pickle=False)
    assert (back.dtype, back.shape, back.tobytes()) == (array.dtype, array.shape, array.tobytes())
    for compress in (False, True):
        ml.save({"a/b": array, "é": array}, tmp_path / "x.npz", compress=compress)
        with np.load(tmp_path / "x.npz", allow_pickle=False) as file:
            assert sorted(file) == ["a/b", "é"]
            assert file["a/b"].tobytes() == file["é"].tobytes() == array.tobytes()
        with zipfile.ZipFile(tmp_path / "x.npz") as zipped:
            assert zipped.testzip() is None


def test_bfloat16_goes_as_numpy_writes_it(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3).astype(ml_dtypes.bfloat16)
    np.savez(tmp_path / "theirs.npz", x=array)
    ml.save({"x": array}, tmp_path / "ours.npz")
    for name in ("theirs", "ours"):
        assert ml.load(tmp_path / f"{name}.npz")["x"].dtype is ml.bfloat16
        with np.load(tmp_path / f"{name}.npz") as file:
            assert file["x"].dtype == np.dtype("V2")
            assert file["x"].tobytes() == array.tobytes()


def test_stored_arrays_are_mapped(tmp_path: Path) -> None:
    array = np.arange(20_000.0)
    np.savez(tmp_path / "x.npz", x=array)
    np.save(tmp_path / "x.npy", array)
    for name, key in (("x.npz", "x"), ("x.npy", "array")):
        with open_weights(tmp_path / name) as weights:
            view = weights[key]
            assert not view.flags.owndata
            assert not view.flags.writeable
            np.testing.assert_array_equal(weights.slice(key, np.s_[5:7]), [5, 6])
        np.testing.assert_array_equal(view, array)


def test_an_empty_archive(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz")
    assert ml.load(tmp_path / "x.npz") == {}
    ml.save({}, tmp_path / "y.npz")
    assert ml.load(tmp_path / "y.npz") == {}


def test_what_cannot_be_saved(tmp_path: Path) -> None:
    with pytest.raises(DTypeError, match="'x' has dtype float8_e5m2"):
        ml.save({"x": np.zeros(2, ml_dtypes.float8_e5m2)}, tmp_path / "x.npz")
    with pytest.raises(ArgumentError, match="holds one array, got 2"):
        ml.save({"x": np.zeros(2), "y": np.zeros(2)}, tmp_path / "x.npy")
    with pytest.raises(ArgumentTypeError, match="an npy file holds an array, got a list"):
        ml.save([1, 2], tmp_path / "x.npy")
    for name in ("../x", "/x", "a//b", "a\\b", "c:/x", "a\0b"):
        with pytest.raises(ArgumentError, match="cannot have a member"):
            ml.save({name: np.zeros(2)}, tmp_path / "x.npz")
    with pytest.raises(ArgumentError, match="NumPy's npz files hold no metadata"):
        ml.save({"x": np.zeros(2)}, tmp_path / "x.npz", {"author": "me"})
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- damaged files


def npy(text: str | bytes, data: bytes = b"", version: int = 1) -> bytes:
    raw = text if isinstance(text, bytes) else text.encode()
    size = struct.pack("<H" if version == 1 else "<I", len(raw))
    return b"\x93NUMPY" + bytes([version, 0]) + size + raw + data


def header(descr: str = "'<f4'", fortran: str = "False", shape: str = "(2,)") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}"


OBJECTS = io.BytesIO()
np.save(OBJECTS, np.array([print, None], dtype=object), allow_pickle=True)

DAMAGED: dict[str, tuple[bytes, type[Exception], str]] = {
    "objects": (OBJECTS.getvalue(), UnsafeFileError, "holds Python objects"),
    "records": (npy(header("[('a', '<f4')]"), bytes(8)), DTypeError, "holds records"),
    "text": (npy(header("'<U1'"), bytes(8)), DTypeError, "holds text"),
    "bytes": (npy(header("'|S4'"), bytes(8)), DTypeError, "holds text"),
    "dates": (npy(header("'<M8[ns]'"), bytes(16)), DTypeError, "holds dates"),
    "long double": (npy(header("'<f16'"), bytes(32)), DTypeError, "holds dtype <f16"),
    "void": (npy(header("'|V4'"), bytes(8)), DTypeError, "bytes without a meaning"),
    "code": (npy(header("__import__('os').system('x')")), FormatError, "makes no sense"),
    "code for a shape": (npy(header(shape="(1,) if print(1) else (2,)"), bytes(8)), FormatError, "makes no sense"),
    "no magic": (b"\x93NUMPZ\x01\x00", FormatError, "no format|no npy file"),
    "version 9": (npy(header(), bytes(8), 9), FormatError, "which is no npy file of version"),
    "only magic": (b"\x93NUMPY", FormatError, "the file has 6"),
    "half a header": (npy(header())[:-5], FormatError, "the file has"),
    "a long header": (npy(b" " * 20_000 + header().encode(), bytes(8)), FormatError, "header of 200.. bytes, at most"),
    "a header of gigabytes": (b"\x93NUMPY\x02\x00\xff\xff\xff\xff", FormatError, "header of 4294967295 bytes"),
    "short data": (npy(header(), bytes(7)), FormatError, "takes 8 bytes, 7 follow"),
    "long data": (npy(header(), bytes(9)), FormatError, "takes 8 bytes, 9 follow"),
    "overflow": (npy(header(shape="(4294967296, 4294967296)")), FormatError, "takes 73786976294838206464 bytes"),
    "negative": (npy(header(shape="(-2,)"), bytes(8)), FormatError, "makes no sense"),
    "no tuple": (npy(header(shape="(2)"), bytes(8)), FormatError, "has shape"),
    "huge": (npy(header(shape="(99999999999999999999,)"), bytes(8)), FormatError, "has shape"),
    "impossible empty": (npy(header(shape=f"({2**62}, {2**62}, 0)")), FormatError, "which no array can have"),
    "deep": (npy(header(shape="(" + "1," * 65 + ")"), bytes(4)), FormatError, "has shape"),
    "twice": (npy("{'descr': '<f4', 'descr': '<f8', 'shape': (2,), }"), FormatError, "makes no sense"),
    "more": (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'x': 1}"), FormatError, "makes no sense"),
    "nested": (npy("{" * 5000), FormatError, "makes no sense"),
    "no text": (npy(b"\xff\xfe" * 10, version=3), FormatError, "no text"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_arrays(tmp_path: Path, name: str) -> None:
    content, kind, text = DAMAGED[name]
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(kind, match=text) as caught:
        ml.load(tmp_path / "x.npy")
    assert "x.npy" in str(caught.value)
    if name in ("no magic",):
        return
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(tmp_path / "x.npz", "w", method) as zipped:
            zipped.writestr("x.npy", content)
        with pytest.raises((kind, FormatError)):
            ml.load(tmp_path / "x.npz")


def test_a_bomb_is_refused_unopened(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("x.npy", npy(header("'|u1'", shape="(100000000,)")) + bytes(100_000_000))
    assert (tmp_path / "x.npz").stat().st_size < 200_000
    with pytest.raises(FormatError, match="compressed members would become 1000000"):
        ml.load(tmp_path / "x.npz")


def test_a_member_that_lies_about_its_size(tmp_path: Path) -> None:
    good = npy(header("'|u1'", shape="(1000,)")) + bytes(range(250)) * 4
    for change in (-1, 1):
        with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as zipped:
            zipped.writestr("x.npy", good)
        data = bytearray((tmp_path / "x.npz").read_bytes())
        for sign, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
            place = data.find(sign) + at
            size = int.from_bytes(data[place : place + 4], "little")
            data[place : place + 4] = (size + change).to_bytes(4, "little")
        (tmp_path / "x.npz").write_bytes(data)
        with pytest.raises(FormatError, match=r"takes 1000 bytes|does not decompress"):
            ml.load(tmp_path / "x.npz")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_wrong_crc(tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w", method) as zipped:
        zipped.writestr("x.npy", npy(header("'|u1'", shape="(1000,)")) + bytes(1000))
    data = (tmp_path / "x.npz").read_bytes()
    crc = zlib.crc32(npy(header("'|u1'", shape="(1000,)")) + bytes(1000)).to_bytes(4, "little")
    (tmp_path / "x.npz").write_bytes(data.replace(crc, b"\1\2\3\4"))
    with pytest.raises(FormatError, match=r"member 'x.npy' is damaged\n.*offset(.|\n)*CRC-32 04030201"):
        ml.load(tmp_path / "x.npz")
    with open_weights(tmp_path / "x.npz") as weights, pytest.raises(FormatError, match="is damaged"):
        weights["x"]


def test_names_that_lead_out_and_members_that_are_none(tmp_path: Path) -> None:
    for name, kind in (
        ("../x.npy", UnsafeFileError),
        ("/x.npy", UnsafeFileError),
        ("readme.txt", FormatError),
    ):
        with zipfile.ZipFile(tmp_path / "x.npz", "w") as zipped:
            zipped.writestr("a.npy", npy(header(), bytes(8)))
            zipped.writestr(name, npy(header(), bytes(8)))
        with pytest.raises(kind):
            ml.load(tmp_path / "x.npz")
    one = npy(header(), bytes(8))
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as zipped:
        zipped.writestr("a.npy", one)
        zipped.writestr("b.npy", one)
    (tmp_path / "x.npz").write_bytes((tmp_path / "x.npz").read_bytes().replace(b"b.npy", b"a.npy"))
    with pytest.raises(FormatError, match=r"'a\.npy' twice"):
        ml.load(tmp_path / "x.npz")


def test_random_damage_gives_our_errors_only(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    refused = count = 0
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "x.npz", a=np.arange(50.0), b=np.ones((3, 2), np.int8), c=np.array(True))
        whole = (tmp_path / "x.npz").read_bytes()
        for _ in range(700):
            damaged = bytearray(whole)
            for _ in range(rng.integers(1, 4)):
                damaged[rng.integers(0, len(damaged))] = rng.integers(0, 256)
            if rng.random() < 0.2:
                del damaged[rng.integers(0, len(damaged)) :]
            (tmp_path / "y.npz").write_bytes(damaged)
            count += 1
            try:
                ml.load(tmp_path / "y.npz")
            except MlcoreError:
                refused += 1
    assert count == 1400
    assert refused > 1000
