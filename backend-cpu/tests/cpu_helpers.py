"""Helpers of the CPU backend's tests: arrays in every layout, the reference as oracle, child processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np

import mlcore
from mlcore.backends.detect import resolve
from mlcore.ops.registry import get

BF16 = np.dtype(ml_dtypes.bfloat16)
FLOATS = [np.dtype("float32"), np.dtype("float64"), np.dtype("float16"), BF16]
EPS = {"float32": 2**-23, "float64": 2**-52, "float16": 2**-10, "bfloat16": 2**-7}


def layouts(x: np.ndarray[Any, Any]) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """The same values in different memory layouts (and some that show part of them)."""
    yield "contiguous", np.ascontiguousarray(x)
    if x.ndim >= 2:
        order = tuple(range(x.ndim - 1, -1, -1))
        yield "transposed", np.ascontiguousarray(x.transpose(order)).transpose(order)
    if x.ndim >= 3:
        yield "channels-last", np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    wide = np.zeros(tuple(2 * d for d in x.shape), x.dtype)
    wide[tuple(slice(None, None, 2) for _ in x.shape)] = x
    yield "sliced", wide[tuple(slice(None, None, 2) for _ in x.shape)]
    flip = tuple(slice(None, None, -1) for _ in x.shape)
    yield "reversed", np.ascontiguousarray(x[flip])[flip]
    if x.ndim:
        offset = np.zeros(x.size + 3, x.dtype)
        offset[3:] = x.ravel()
        yield "offset", offset[3:].reshape(x.shape)


def kernel(name: str) -> Any:
    """The backend's own kernel of an operation."""
    found = resolve("cpu").backend.kernel(get(name))
    assert found is not None, f"{name} has no kernel"
    assert type(found).__name__ != "NumpyKernel", f"{name} has no own kernel"
    return found


def oracle(name: str, arrays: Any, params: Any) -> Any:
    """The operation on the reference backend in double precision."""
    op = get(name)
    reference = resolve("reference")

    def tensor(a: Any) -> Any:
        if a is None:
            return None
        wide = a.astype(np.float64) if a.dtype in FLOATS else a
        return mlcore.asarray(wide, device=reference)

    with mlcore.no_grad():
        tensors = [tensor(a) for a in arrays]
        found = op(*([tensors] if op.variadic else tensors), **dict(zip(op.params, params, strict=True)))
    if isinstance(found, (tuple, list)):
        return tuple(np.asarray(one) for one in found)
    return np.asarray(found)


def close(got: Any, want: Any, ulp: float, what: str = "") -> None:
    """`got` within `ulp` units of its dtype, relative to the size of the values compared."""
    if isinstance(want, tuple):
        assert len(got) == len(want)
        for one, other in zip(got, want, strict=True):
            close(one, other, ulp, what)
        return
    assert got.shape == want.shape, f"{what}: shape {got.shape}, expected {want.shape}"
    if got.dtype not in FLOATS:
        np.testing.assert_array_equal(got, want, err_msg=what)
        return
    wide = got.astype(np.float64)
    scale = np.abs(want[np.isfinite(want)]).max(initial=1e-30)
    np.testing.assert_allclose(
        wide, want, rtol=ulp * EPS[got.dtype.name], atol=ulp * EPS[got.dtype.name] * scale, err_msg=what
    )


def run_python(code: str, timeout: float = 120, **env: str) -> str:
    """Run a program in a fresh interpreter; its output, or a failure with its errors."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout
