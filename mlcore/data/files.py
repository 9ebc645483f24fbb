"""Arrays in files, read row by row through a memory map."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlcore import dispatch
from mlcore.data.dataset import Dataset, check_index, check_indices
from mlcore.errors import ArgumentError, DataError, FormatError
from mlcore.host import as_numpy

Array = np.ndarray[Any, Any]
PathLike = str | os.PathLike[str]


class _Mapped(Dataset[Any]):
    """Rows of arrays that are opened where they are needed: a copy for a worker carries paths, not values."""

    paths: list[Path]

    def __init__(self) -> None:
        self._arrays: list[Array] | None = None
        sizes = [len(one) for one in self.arrays if one.ndim]
        if len(sizes) < len(self.arrays) or len(set(sizes)) != 1:
            shapes = ", ".join(f"{p.name} {a.shape}" for p, a in zip(self.paths, self.arrays, strict=True))
            raise DataError(
                f"{type(self).__name__}: {shapes}", cause="all need the same first dimension: the samples"
            )
        self._length = sizes[0]

    def _open(self) -> list[Array]:
        raise ArgumentError(f"{type(self).__name__} has no _open")

    @property
    def arrays(self) -> list[Array]:
        """The mapped arrays; nothing is read until an element is."""
        if self._arrays is None:
            self._arrays = self._open()
        return self._arrays

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: Any) -> Any:
        place = check_index(type(self).__name__, index, self._length)
        row = tuple(dispatch.from_data(one[place]) for one in self.arrays)
        return row if len(row) > 1 else row[0]

    def batch(self, indices: Array) -> Any:
        """The rows at these indices, read from the files in their order there."""
        check_indices(type(self).__name__, indices, self._length)
        places = np.where(indices < 0, indices + self._length, indices)
        order = np.argsort(places, kind="stable")
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        rows = tuple(dispatch.from_data(one[places[order]][back]) for one in self.arrays)
        return rows if len(rows) > 1 else rows[0]

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_arrays": None}


class NumpyDataset(_Mapped):
    """Rows of `.npy` files with one first dimension: a tensor a sample, or a tuple of them for several files.

    Files are mapped into memory and not read (`mmap=False` reads them), so that they may be larger than memory and
    workers share them. An `.npz` file gives its arrays, in their order, and is read. Pickled objects are refused.

    >>> from mlcore import data
    >>> np.save("x.npy", np.arange(6.0).reshape(3, 2))
    >>> data.NumpyDataset("x.npy")[1].tolist()
    [2.0, 3.0]
    """

    def __init__(self, *paths: PathLike, mmap: bool = True) -> None:
        if not paths:
            raise ArgumentError("NumpyDataset: no files given", fix="pass at least one path")
        self.paths, self.mmap = [Path(one) for one in paths], mmap
        super().__init__()

    def _open(self) -> list[Array]:
        found: list[Array] = []
        names: list[Path] = []
        for path in self.paths:
            try:
                opened = np.load(
                    path, mmap_mode="r" if self.mmap and path.suffix != ".npz" else None, allow_pickle=False
                )
            except (ValueError, EOFError) as error:
                raise FormatError(f"NumpyDataset: {path} is no NumPy file of numbers: {error}") from error
            if isinstance(opened, np.ndarray):
                found.append(opened)
                names.append(path)
                continue
            with opened:
                for name in opened.files:
                    found.append(opened[name])
                    names.append(path.with_name(f"{path.name}:{name}"))
        if len(names) != len(self.paths):
            self.names = names
        return found


class MemmapDataset(_Mapped):
    """Rows of one raw file of numbers: `shape` is that of the whole, `(-1, ...)` counts the rows by the file's size.

    >>> from mlcore import data
    >>> np.arange(6, dtype=np.int16).tofile("x.bin")
    >>> rows = data.MemmapDataset("x.bin", np.int16, (-1, 2))
    >>> len(rows), rows[2].tolist()
    (3, [4, 5])
    """

    def __init__(self, path: PathLike, dtype: Any, shape: Sequence[int], offset: int = 0) -> None:
        self.paths, self.dtype, self.offset = [Path(path)], np.dtype(dtype), offset
        row = int(np.prod(shape[1:], dtype=np.int64)) * self.dtype.itemsize
        if self.dtype.hasobject or len(shape) < 1 or offset < 0 or row < 1:
            raise ArgumentError(f"MemmapDataset: dtype {self.dtype}, shape {tuple(shape)}, offset {offset}")
        size = self.paths[0].stat().st_size - offset
        rows = size // row if shape[0] == -1 else shape[0]
        if size < rows * row or (shape[0] == -1 and size % row):
            raise DataError(
                f"MemmapDataset: {path} has {size} bytes from {offset} on, rows of {tuple(shape[1:])} {self.dtype}"
                f" have {row}",
                cause=f"{rows} rows need {rows * row} bytes"
                if size < rows * row
                else "the last row is not whole",
            )
        self.shape = (int(rows), *shape[1:])
        super().__init__()

    def _open(self) -> list[Array]:
        return [np.memmap(self.paths[0], self.dtype, "r", self.offset, self.shape)]


def save_arrays(dataset: Any, folder: PathLike, names: Sequence[str] | None = None) -> list[Path]:
    """Write the samples of a dataset, tuples of arrays or numbers of one shape each, to `.npy` files for NumpyDataset.

    Sample by sample, so the dataset may be larger than memory. Gives the paths.

    >>> from mlcore import data
    >>> paths = data.save_arrays([(np.zeros(2), 5), (np.ones(2), 6)], "arrays")
    >>> [path.name for path in paths], data.NumpyDataset(*paths)[1][1].item()
    (['0.npy', '1.npy'], 6)
    """
    size = len(dataset)
    if not size:
        raise DataError("save_arrays: the dataset is empty")
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    first = _parts(dataset[0])
    if names is not None and len(names) != len(first):
        raise ArgumentError(f"save_arrays: {len(names)} names for {len(first)} parts of a sample")
    paths = [target / f"{name}.npy" for name in names or range(len(first))]
    drafts = [path.with_suffix(".npy.tmp") for path in paths]
    files = [
        np.lib.format.open_memmap(draft, "w+", part.dtype, (size, *part.shape))
        for draft, part in zip(drafts, first, strict=True)
    ]
    for i in range(size):
        parts = _parts(dataset[i])
        forms = [(one.shape, one.dtype) for one in parts]
        if forms != [(one.shape, one.dtype) for one in first]:
            raise DataError(
                f"save_arrays: sample {i} has the form {forms}, sample 0 {[(o.shape, o.dtype) for o in first]}",
                fix="crop, pad or convert the samples first",
            )
        for file, part in zip(files, parts, strict=True):
            file[i] = part
    for file, draft, path in zip(files, drafts, paths, strict=True):
        file.flush()
        os.replace(draft, path)
    return paths


def _parts(sample: Any) -> list[Array]:
    parts = sample if isinstance(sample, (tuple, list)) else (sample,)
    return [as_numpy(one) for one in parts]
