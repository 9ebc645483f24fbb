"""An opened GGUF file: metadata as it stands in it, and tensors that are decoded when they are asked for."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from mlcore.errors import DTypeError
from mlcore.io.gguf.blocks import QUANTS, dequantise
from mlcore.io.gguf.header import PLAIN, Entry, Head
from mlcore.io.opened import Array, Buffer, TensorInfo, Weights
from mlcore.io.source import Source


class GGUFFile(Weights):
    """A GGUF file. Quantised tensors are read as float32; those of plain types are mapped by `view`.

    Names, shapes (the fastest dimension last) and order are the file's own; so are the keys of `metadata`, where lists
    of texts are lists and lists of numbers are NumPy arrays.
    """

    def __init__(self, path: Path) -> None:
        self._source = Source(path)
        try:
            self._head = Head(self._source)
        except BaseException:
            self._source.close()
            raise
        self._entries = self._head.entries
        super().__init__(path, {name: _info(one) for name, one in self._entries.items()}, self._head.metadata)

    def read(self, name: str, buffer: Buffer = np.empty) -> Array:
        self.info(name)
        entry = self._entries[name]
        dtype = self._dtype(entry)
        array = buffer(entry.shape, dtype)
        if not array.flags.c_contiguous:
            array = np.empty(entry.shape, dtype)
        if array.size and entry.kind in PLAIN:
            self._source.fill(array.reshape(-1).view(np.uint8), entry.start, f"tensor {name!r}")
            if self._foreign:
                array.reshape(-1).view(f"u{dtype.itemsize}").byteswap(inplace=True)
        elif array.size:
            raw = self._source.mapped(entry.start, entry.nbytes, f"tensor {name!r}")
            dequantise(raw, QUANTS[entry.kind], self._head.order, array.reshape(-1))
        return array

    def view(self, name: str) -> Array:
        self.info(name)
        entry = self._entries[name]
        dtype = self._dtype(entry)
        if entry.kind not in PLAIN or (self._foreign and dtype.itemsize > 1) or entry.start % dtype.itemsize:
            return self.read(name)
        raw = self._source.mapped(entry.start, entry.nbytes, f"tensor {name!r}")
        return raw.view(dtype).reshape(entry.shape)

    def close(self) -> None:
        self._source.close()

    @property
    def _foreign(self) -> bool:
        return (self._head.order == ">") != (sys.byteorder == "big")

    def _dtype(self, entry: Entry) -> np.dtype[Any]:
        if entry.kind in PLAIN:
            return PLAIN[entry.kind]
        quant = QUANTS.get(entry.kind)
        if quant is None or quant.decode is None:
            raise DTypeError(
                f"{self.path}: tensor {entry.name!r} is quantised as {entry.kind}, which mlcore does not decode",
                known=", ".join([*PLAIN, *(kind for kind, one in QUANTS.items() if one.decode)]),
                fix="quantise the model as one of these, such as Q4_K or Q8_0",
            )
        return np.dtype(np.float32)


def _info(entry: Entry) -> TensorInfo:
    quant = QUANTS.get(entry.kind)
    dtype = (
        PLAIN[entry.kind].name if entry.kind in PLAIN else "float32" if quant and quant.decode else entry.kind
    )
    return TensorInfo(entry.name, dtype, entry.shape, entry.nbytes, entry.kind)
