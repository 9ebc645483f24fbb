"""A part of an opened file, under other names or in another dtype: still read one tensor at a time."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from mlcore.dtype import DType
from mlcore.io.opened import Array, Buffer, TensorInfo, Weights

_FLOATS = ("float", "bfloat")


class Selection(Weights):
    """The tensors of `names` (new name: the file's), those of floating kinds cast to `dtype` if one is given."""

    def __init__(self, weights: Weights, names: Mapping[str, str], dtype: DType | None = None) -> None:
        self._weights, self._names, self._dtype = weights, dict(names), dtype
        infos = {name: self._described(name, weights.info(old)) for name, old in names.items()}
        super().__init__(weights.path, infos, weights.metadata)
        self.format = weights.format

    def _cast(self, info: TensorInfo) -> bool:
        return self._dtype is not None and info.dtype.startswith(_FLOATS)

    def _described(self, name: str, info: TensorInfo) -> TensorInfo:
        if self._dtype is None or not self._cast(info):
            return TensorInfo(name, info.dtype, info.shape, info.nbytes, info.stored)
        return TensorInfo(
            name, self._dtype.name, info.shape, math.prod(info.shape) * self._dtype.itemsize, info.stored
        )

    def read(self, name: str, buffer: Buffer = np.empty) -> Array:
        self.info(name)
        old = self._names[name]
        if self._dtype is None or not self._cast(self._weights.info(old)):
            return self._weights.read(old, buffer)
        return self.view(name)

    def view(self, name: str) -> Array:
        self.info(name)
        old = self._names[name]
        array = self._weights.view(old)
        if self._dtype is None or not self._cast(self._weights.info(old)):
            return array
        with np.errstate(all="ignore"):
            return array.astype(self._dtype.numpy)


def plain_text(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Metadata as the text by name that most formats hold: what is no text as JSON, what is too much left out.

    >>> plain_text({"author": "me", "layers": 3, "blob": np.zeros(2)})
    {'author': 'me', 'layers': '3'}
    """
    found = {}
    for key, value in metadata.items():
        if isinstance(value, str):
            found[key] = value
        elif value is None or isinstance(value, bool | int | float | list | tuple | dict):
            try:
                found[key] = json.dumps(value, allow_nan=False)
            except (ValueError, TypeError):
                continue
    return found
