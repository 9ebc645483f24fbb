"""PyTorch's checkpoints beside PyTorch: what either writes the other reads, bit for bit."""

from __future__ import annotations

import collections
import zipfile
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import mlcore as ml
from mlcore import assets, dtypes
from mlcore.errors import ArgumentError, ArgumentTypeError, DTypeError
from mlcore.io import open_weights
from tests.io.torch_layouts import LAYOUTS, NAMES, row

torch = pytest.importorskip("torch", reason="PyTorch is the oracle")
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore::UserWarning")]
OLD = [name for name in NAMES if not name.startswith(("float8", "uint16", "uint32", "uint64"))]


def bits(tensor: Any) -> bytes:
    """The elements of a tensor of PyTorch's, in order, as bytes."""
    tensor = tensor.detach().resolve_conj().resolve_neg().contiguous().clone()
    return tensor.reshape(-1).view(torch.uint8).numpy().tobytes()


def same(got: np.ndarray[Any, Any], want: Any) -> None:
    assert got.dtype.name == str(want.dtype).removeprefix("torch.")
    assert got.shape == tuple(want.shape)
    assert np.ascontiguousarray(got).tobytes() == bits(want)


def names_and_values(value: Any, path: tuple[str, ...] = ()) -> dict[str, Any]:
    """The tensors of PyTorch's nested data by path."""
    if isinstance(value, torch.Tensor):
        return {".".join(path): value}
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list | tuple)
        else ()
    )
    found = {}
    for key, item in items:
        found |= names_and_values(item, (*path, str(key)))
    return found


@pytest.mark.parametrize("container", ["zip", "legacy"])
def test_every_layout_of_every_dtype_is_read(tmp_path: Path, container: str) -> None:
    compared = 0
    for name in NAMES if container == "zip" else OLD:
        saved = {layout: make(row(torch, name), torch) for layout, make in LAYOUTS.items()}
        torch.save(saved, tmp_path / "x.pt", _use_new_zipfile_serialization=container == "zip")
        with open_weights(tmp_path / "x.pt") as weights:
            assert list(weights) == list(saved)
            for layout, want in saved.items():
                same(weights.read(layout), want)
                same(weights.view(layout), want)
                compared += 2
    print(f"{compared} tensors read from {container} files and compared")
    assert compared == 2 * len(LAYOUTS) * len(NAMES if container == "zip" else OLD)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("container", ["zip", "legacy"])
def test_nested_data_of_every_kind(tmp_path: Path, container: str, protocol: int) -> None:
    w = torch.arange(6.0)
    odd = torch.nn.Parameter(torch.ones(2))
    odd.note = "an attribute"
    saved = {
        "tensor": w, "view": w[2:4], "same": w, "parameter": torch.nn.Parameter(torch.ones(2, 3).t()),
        "list": [1, -1, 255, 256, 65536, -(2**31), 2**40, 2**70, -(2**70), 2.5, float("inf"), "é", "\ud800", None],
        "tuple": (1, (2,), (3, 4), (), (5, 6, 7), (1, 2, 3, 4)), "dtype": torch.float16, "size": torch.Size([1, 2]),
        "device": torch.device("cuda:0"), "cpu": torch.device("cpu"), "ordered": collections.OrderedDict(x=w + 1, y=[]),
        "counter": collections.Counter("aab"), "set": {1, 2}, "frozen": frozenset({"a"}), "bytes": b"\xff\0b",
        "bytearray": bytearray(b"z"), "no bytes": bytearray(), "complex": 1 - 2j, "conj": w.to(torch.complex64).conj(),
        "neg": (w.to(torch.complex64) * 1j).conj().imag, "grad": torch.ones(2, requires_grad=True), "noted": odd,
        "storage": torch.arange(3, dtype=torch.int16).untyped_storage(), 3: "three", (1, "a"): 1.5, None: 0, 1.5: False,
        "empty": {}, "long text": "x" * 300, "qint": torch.qint8,
    }  # fmt: skip
    path = tmp_path / "x.pt"
    torch.save(saved, path, pickle_protocol=protocol, _use_new_zipfile_serialization=container == "zip")
    got = ml.load(path)
    assert list(got) == list(saved)
    want = dict(saved, dtype=dtypes.float16, size=(1, 2), device="cuda:0", cpu="cpu", qint="torch.qint8",
                counter={"a": 2, "b": 1}, ordered={"x": None, "y": []})  # fmt: skip
    for key, value in want.items():
        if isinstance(value, torch.Tensor):
            same(np.asarray(got[key]), value)
        elif key == "storage":
            assert np.asarray(got[key]).tobytes() == bytes(value)
        elif key == "ordered":
            same(np.asarray(got[key]["x"]), saved[key]["x"])
            assert list(got[key]) == ["x", "y"]
        else:
            assert got[key] == value
            assert type(got[key]) is type(value)
    assert np.shares_memory(np.asarray(got["same"]), np.asarray(got["tensor"]))
    assert np.shares_memory(np.asarray(got["view"]), np.asarray(got["tensor"]))


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_numbers_of_numpy(tmp_path: Path, protocol: int) -> None:
    saved = {
        "best": np.float64(0.1), "score": np.float32(0.5), "half": np.float16(2),
        "count": np.int64(-3), "byte": np.uint8(255),
        "yes": np.bool_(True), "wave": np.complex128(1 - 2j), "swapped": np.array([1.5], ">f8")[0],
    }  # fmt: skip
    torch.save(saved, tmp_path / "x.pt", pickle_protocol=protocol)
    got = ml.load(tmp_path / "x.pt")
    assert got == {key: value.item() for key, value in saved.items()}
    assert [type(value) for value in got.values()] == [float, float, float, int, int, bool, complex, float]


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"])
@pytest.mark.parametrize("container", ["zip", "legacy"])
def test_a_training_checkpoint(tmp_path: Path, container: str, optimizer: str) -> None:
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten(), torch.nn.Linear(16, 2)
    )
    net.to(memory_format=torch.channels_last)
    more = {"momentum": 0.9} if optimizer == "SGD" else {}
    steps = getattr(torch.optim, optimizer)(net.parameters(), lr=0.1, **more)
    for _ in range(2):
        net(torch.randn(5, 3, 4, 4)).sum().backward()
        steps.step()
    saved = {
        "epoch": 3,
        "model": net.state_dict(),
        "optimizer": steps.state_dict(),
        "rng": torch.get_rng_state(),
    }
    torch.save(saved, tmp_path / "x.ckpt", _use_new_zipfile_serialization=container == "zip")
    with open_weights(tmp_path / "x.ckpt") as weights:
        tensors = names_and_values(saved)
        assert set(weights) == set(tensors)
        for name, want in tensors.items():
            same(weights.read(name), want)
    got = ml.load(tmp_path / "x.ckpt")
    assert got["epoch"] == 3
    assert got["optimizer"]["param_groups"] == saved["optimizer"]["param_groups"]
    assert list(got["model"]) == list(saved["model"])


def _swapped(path: Path, target: Path, width: dict[str, int]) -> None:
    """The file as a big-endian machine writes it: each storage's bytes swapped, and the mark that says so."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            raw = old.read(name)
            if name.endswith("/byteorder"):
                raw = b"big"
            elif "/data/" in name:
                raw = np.frombuffer(raw, f"u{width[name.rpartition('/')[2]]}").byteswap().tobytes()
            new.writestr(name, raw)


def test_big_endian_files(tmp_path: Path) -> None:
    compared = 0
    for name in NAMES:
        one = row(torch, name)
        width = one.dtype.itemsize // (2 if one.dtype.is_complex else 1)
        saved = {layout: make(one, torch) for layout, make in LAYOUTS.items()}
        torch.save(saved, tmp_path / "little.pt")
        widths = {str(key): width for key in range(len(saved) + 1)}
        _swapped(tmp_path / "little.pt", tmp_path / "big.pt", widths)
        with open_weights(tmp_path / "big.pt") as weights:
            for layout, want in saved.items():
                same(weights.read(layout), want)
                same(weights.view(layout), want)
                compared += 2
    print(f"{compared} tensors read from big-endian files and compared")


def test_half_precision_complex_numbers_widen(tmp_path: Path) -> None:
    x = torch.view_as_complex(torch.randn(4, 6, 2).half())
    torch.save({"x": x, "t": x.t(), "c": x.t().conj()}, tmp_path / "x.pt")
    with open_weights(tmp_path / "x.pt") as weights:
        assert weights.info("x").stored == "complex32"
        same(weights.read("x"), x.to(torch.complex64))
        same(weights.read("t"), x.t().to(torch.complex64))
        same(weights.view("c"), x.t().to(torch.complex64).conj())


def _ours(name: str) -> np.ndarray[Any, Any]:
    dtype = np.dtype(getattr(ml_dtypes, name)) if "float8" in name or name == "bfloat16" else np.dtype(name)
    return np.frombuffer(bits(row(torch, name)), dtype)


WRITTEN = {
    "flat": lambda x: x, "matrix": lambda x: x.reshape(6, 8), "transposed": lambda x: x.reshape(6, 8).T,
    "rows": lambda x: x.reshape(6, 8)[2:5], "columns": lambda x: x.reshape(6, 8)[:, 1::3], "steps": lambda x: x[::2],
    "backwards": lambda x: x[::-1], "offset": lambda x: x[7:], "scalar": lambda x: x[5], "empty": lambda x: x[:0],
    "expanded": lambda x: np.broadcast_to(x[:4, None], (4, 5)), "empty rows": lambda x: x.reshape(6, 8)[:, 3:3],
    "permuted": lambda x: x.reshape(2, 4, 6).transpose(2, 0, 1), "cube": lambda x: x.reshape(4, 3, 2, 2),
    "big endian": lambda x: x.astype(x.dtype.newbyteorder(">")),
    "channels last": lambda x: np.ascontiguousarray(x.reshape(2, 3, 4, 2).transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
    "diagonal": lambda x: np.diagonal(x[:36].reshape(6, 6)), "ones": lambda x: x.reshape(1, 6, 1, 8, 1),
    "windows": lambda x: np.lib.stride_tricks.sliding_window_view(x, 5)[::2],
    "six axes": lambda x: x.reshape(2, 2, 3, 1, 2, 2).T,
    "column order": lambda x: np.asfortranarray(x.reshape(6, 8)), "mirrored": lambda x: x.reshape(6, 8)[:, ::-1],
}  # fmt: skip


@pytest.mark.parametrize("mmap", [False, True])
def test_pytorch_reads_every_layout_of_every_dtype(tmp_path: Path, mmap: bool) -> None:
    compared = 0
    for name in NAMES:
        dtype = _ours(name).dtype
        known = dtype.type.__module__ == "numpy"  # NumPy's tricks with strides take its own dtypes only
        plain = _ours(name) if known else _ours(name).view(f"u{dtype.itemsize}")
        arrays = {layout: make(plain) for layout, make in WRITTEN.items() if known or layout != "big endian"}
        arrays = {layout: array if known else array.view(dtype) for layout, array in arrays.items()}
        ml.save(arrays, tmp_path / "x.pt")
        got = torch.load(tmp_path / "x.pt", weights_only=True, mmap=mmap)
        assert list(got) == list(arrays)
        for layout, array in arrays.items():
            assert str(got[layout].dtype) == f"torch.{name}"
            assert tuple(got[layout].shape) == array.shape
            native = np.ascontiguousarray(array.astype(dtype))
            assert bits(got[layout]) == native.tobytes(), (name, layout)
            compared += 1
    print(f"{compared} tensors written, read by PyTorch and compared")
    assert compared == len(NAMES) * len(WRITTEN) - 5


@pytest.mark.parametrize("dtype", dtypes.all_dtypes, ids=str)
def test_tensors_survive_both_ways(tmp_path: Path, dtype: dtypes.DType) -> None:
    x = ml.asarray(_ours(dtype.name).reshape(6, 8))
    saved = {"x": x, "t": x.T, "part": x[1:3], "none": x[:0], "one": x[2, 3]}
    ml.save(saved, tmp_path / "a.pt")
    ml.save(ml.load(tmp_path / "a.pt"), tmp_path / "b.pt")
    torch.save(torch.load(tmp_path / "b.pt", weights_only=True), tmp_path / "c.pt")
    for path in "abc":
        got = ml.load(tmp_path / f"{path}.pt")
        for name, want in saved.items():
            assert got[name].dtype is dtype
            assert got[name].shape == want.shape
            assert np.asarray(got[name]).tobytes() == np.ascontiguousarray(np.asarray(want)).tobytes()


def test_nested_data_is_written(tmp_path: Path) -> None:
    x = ml.arange(6.0).reshape((2, 3))
    saved = {
        "model": {"w": x, "tied": x, "same values": x + 0}, "epoch": 3,
        "list": [1, -1, 2**31, -(2**40), 2**64, 2.5, "é", None],
        "tuple": (True, (), (x,)), "bytes": b"\xff\0", "bytearray": bytearray(b"ab"), "complex": 1 - 2j, "set": {1, 2},
        "dtype": ml.bfloat16, 3: "three", (1, "a"): 1.5, None: False, "empty": {}, "none": [],
        "scalar": np.float32(2.5), "many": list(range(3000)), "keys": {str(i): i for i in range(500)},
    }  # fmt: skip
    ml.save(saved, tmp_path / "x.pt")
    got = torch.load(tmp_path / "x.pt", weights_only=True)
    assert list(got) == list(saved)
    assert torch.equal(got["model"]["w"], torch.arange(6.0).reshape(2, 3))
    assert got["model"]["w"].data_ptr() == got["model"]["tied"].data_ptr() == got["tuple"][2][0].data_ptr()
    assert got["model"]["w"].data_ptr() != got["model"]["same values"].data_ptr()
    assert got["dtype"] is torch.bfloat16
    assert got["scalar"].item() == 2.5
    for key in saved.keys() - {"model", "tuple", "dtype", "scalar"}:
        assert got[key] == saved[key]
        assert type(got[key]) is type(saved[key])
    back = ml.load(tmp_path / "x.pt")
    assert np.shares_memory(np.asarray(back["model"]["w"]), np.asarray(back["model"]["tied"]))
    assert back["list"] == saved["list"]
    assert back["dtype"] is ml.bfloat16


def test_what_is_written_is_aligned_and_always_the_same(tmp_path: Path) -> None:
    tree = {f"layer{i}": np.full(i, i, np.float32) for i in range(40)}
    ml.save(tree, tmp_path / "a.pt")
    ml.save(tree, tmp_path / "b.pt")
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.pt") as file:
        assert file.testzip() is None
        for info in file.infolist():
            raw = (tmp_path / "a.pt").read_bytes()[info.header_offset :]
            start = 30 + int.from_bytes(raw[26:28], "little") + int.from_bytes(raw[28:30], "little")
            assert (info.header_offset + start) % 64 == 0
    with open_weights(tmp_path / "a.pt") as weights:
        view = weights.view("layer39")
        assert not view.flags.owndata
        assert not view.flags.writeable


def test_a_file_of_one_tensor(tmp_path: Path) -> None:
    torch.save(torch.arange(3), tmp_path / "x.pt")
    assert np.asarray(ml.load(tmp_path / "x.pt")).tolist() == [0, 1, 2]
    ml.save(ml.arange(4), tmp_path / "y.pt")
    assert torch.load(tmp_path / "y.pt", weights_only=True).tolist() == [0, 1, 2, 3]


def test_files_without_checksums(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"x": torch.arange(3)}, tmp_path / "x.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    assert np.asarray(ml.load(tmp_path / "x.pt")["x"]).tolist() == [0, 1, 2]


def test_files_that_were_zipped_again(tmp_path: Path) -> None:
    saved = {"x": torch.arange(3000), "y": torch.zeros(1000)}
    torch.save(saved, tmp_path / "x.pt")
    with (
        zipfile.ZipFile(tmp_path / "x.pt") as old,
        zipfile.ZipFile(tmp_path / "y.pt", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
    assert (tmp_path / "y.pt").stat().st_size < (tmp_path / "x.pt").stat().st_size / 2
    with open_weights(tmp_path / "y.pt") as weights:
        for name, want in saved.items():
            same(weights.read(name), want)
            same(weights.view(name), want)


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        ({"a": [object()]}, ArgumentTypeError, "a.0 is a object"),
        ({"net": ml.nn.Linear(1, 1)}, ArgumentTypeError, r"(?s)net is a Linear.*state_dict"),
        ({b"k": 1}, ArgumentTypeError, "b'k' is a key"),
        ({"a": np.array(["x"])}, DTypeError, "'a' has dtype <U1"),
        ({"a": 1 << 3000}, ArgumentError, "376 bytes"),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_written(tmp_path: Path, value: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        ml.save(value, tmp_path / "x.pt")
    assert not list(tmp_path.iterdir())


def test_what_holds_itself_cannot_be_written(tmp_path: Path) -> None:
    value: list[Any] = []
    value.append({"again": value})
    with pytest.raises((ArgumentError, RecursionError), match=r"deeper|recursion"):
        ml.save(value, tmp_path / "x.pt")


@pytest.mark.assets
def test_mobilenet_v2_as_torchvision_published_it() -> None:
    if not assets.is_here("mobilenet_v2"):
        pytest.skip("mobilenet_v2 is not here: mlcore assets get mobilenet_v2")
    path = assets.get("mobilenet_v2")
    got, want = ml.load(path), torch.load(path, weights_only=True)
    assert list(got) == list(want)
    assert len(got) == 314
    assert sum(value.size for value in got.values()) == 3_539_036
    for name, value in want.items():
        same(np.asarray(got[name]), value)
