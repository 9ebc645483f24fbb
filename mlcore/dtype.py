"""DType: one element type. The dtypes and their promotion are in dtypes.py, types for Cython in dtype.pxd."""

from __future__ import annotations

from typing import Any

import numpy as np


class DType:
    """One element type. There is exactly one object of each, so ``is`` compares them.

    >>> from mlcore.dtypes import float32
    >>> float32, float32.itemsize, float32.kind
    (float32, 4, 'f')
    """

    __slots__ = ("index", "itemsize", "kind", "name", "numpy")

    def __init__(self, name: str, kind: str, numpy: Any, index: int) -> None:
        self.name: str = name
        self.kind: str = kind
        self.numpy: np.dtype[Any] = np.dtype(numpy)
        self.itemsize: int = self.numpy.itemsize
        self.index: int = index

    def __repr__(self) -> str:
        return self.name

    __str__ = __repr__

    @property
    def bits(self) -> int:
        """Width in bits, as finfo and iinfo count it."""
        return self.itemsize * 8

    def __reduce__(self) -> str | tuple[Any, ...]:
        from mlcore.dtypes import as_dtype

        return as_dtype, (self.name,)
