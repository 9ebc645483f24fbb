"""oneDNN by itself, through its C interface, with its own threads: what its matrix product can do at best.

Only the functions used are declared here: oneDNN's developer guide, "Matmul" and "BLAS functions", version 3.
"""

from __future__ import annotations

import ctypes
import timeit
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from mlcore.bench.libraries import Library
from mlcore.bench.processes import onednn
from mlcore.bench.rows import Array, Task

HOST_ENGINE: Final = 1
FLOAT32: Final = 3
SOURCE, WEIGHTS, RESULT = 1, 33, 17

Pointer = ctypes.c_void_p


class _Argument(ctypes.Structure):
    _fields_ = [("index", ctypes.c_int), ("memory", Pointer)]


class OneDnn(Library):
    """Products of two float32 matrices. The faster of its matmul primitive and of its sgemm is taken."""

    name = "onednn"

    def __init__(self) -> None:
        file = onednn()
        if file is None:
            raise OSError("no libdnnl was found")
        self.library = ctypes.CDLL(file)
        self.engine, self.queue = Pointer(), Pointer()
        self._do("engine_create", ctypes.byref(self.engine), HOST_ENGINE, ctypes.c_size_t(0))
        self._do("stream_create", ctypes.byref(self.queue), self.engine, 1)

    def _do(self, name: str, *arguments: Any) -> None:
        status = getattr(self.library, f"dnnl_{name}")(*arguments)
        if status:
            raise RuntimeError(f"dnnl_{name} returned {status}")

    def tensor(self, array: Array, grad: bool = False, dtype: str | None = None) -> Any:
        if array.dtype != np.float32 or dtype not in (None, "float32"):
            raise TypeError(f"only float32 here, got {dtype or array.dtype}")
        return np.array(array)

    def to_host(self, tensor: Any) -> Array:
        return np.asarray(tensor)

    def forward(self, function: Callable[..., Any], *inputs: Any) -> Task:
        a, b = inputs
        out = np.empty((a.shape[0], b.shape[1]), np.float32)
        ways = [self._primitive(a, b, out), self._sgemm(a, b, out)]
        fastest = min(ways, key=lambda way: min(timeit.repeat(way, number=3, repeat=5)))

        def product() -> Array:
            fastest()
            return out

        return self.task(
            product, {"operands": inputs}
        )  # oneDNN knows their addresses only: they must live as long

    def _primitive(self, a: Array, b: Array, out: Array) -> Callable[[], None]:
        described = [self._described(one) for one in (a, b, out)]
        how, made = Pointer(), Pointer()
        source, weights, result = described
        self._do(
            "matmul_primitive_desc_create",
            ctypes.byref(how),
            self.engine,
            source,
            weights,
            Pointer(None),
            result,
            Pointer(None),
        )
        self._do("primitive_create", ctypes.byref(made), how)
        arguments = (_Argument * 3)()
        for i, (index, one, kind) in enumerate(
            zip((SOURCE, WEIGHTS, RESULT), (a, b, out), described, strict=True)
        ):
            memory = Pointer()
            self._do("memory_create", ctypes.byref(memory), kind, self.engine, Pointer(one.ctypes.data))
            arguments[i] = _Argument(index, memory)

        def run() -> None:
            self.library.dnnl_primitive_execute(made, self.queue, 3, arguments)
            self.library.dnnl_stream_wait(self.queue)

        return run

    def _described(self, array: Array) -> Pointer:
        made = Pointer()
        shape, strides = _sizes(array.shape), _sizes([step // array.itemsize for step in array.strides])
        self._do("memory_desc_create_with_strides", ctypes.byref(made), array.ndim, shape, FLOAT32, strides)
        return made

    def _sgemm(self, a: Array, b: Array, out: Array) -> Callable[[], None]:
        (rows, inner), columns = a.shape, b.shape[1]
        (turn_a, lead_a), (turn_b, lead_b) = _order(a), _order(b)
        one, zero = ctypes.c_float(1), ctypes.c_float(0)
        pointers = [Pointer(array.ctypes.data) for array in (a, b, out)]
        m, n, k, lda, ldb, ldc = (
            ctypes.c_int64(size) for size in (rows, columns, inner, lead_a, lead_b, columns)
        )

        def run() -> None:
            self.library.dnnl_sgemm(turn_a, turn_b, m, n, k, one, pointers[0], lda, pointers[1], ldb, zero,
                                    pointers[2], ldc)  # fmt: skip

        return run


def _sizes(values: Sequence[int]) -> Any:
    return (ctypes.c_int64 * 12)(*values)


def _order(matrix: Array) -> tuple[ctypes.c_char, int]:
    """Whether a matrix lies transposed, and the distance of its rows as it lies."""
    turned = matrix.strides[0] < matrix.strides[1]
    return ctypes.c_char(b"T" if turned else b"N"), max(matrix.strides) // matrix.itemsize
