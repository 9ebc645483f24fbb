"""Random numbers, of mlcore's own generator: a seed gives the same on every device, not in every runtime."""

from __future__ import annotations

import struct
from typing import Any

import mlcore as ml
from mlcore_onnx.ops.cast import as_dtype
from mlcore_onnx.ops.declare import onnx_op


def _generator(seed: float | None) -> Any:
    return None if seed is None else ml.Generator(struct.unpack("<I", struct.pack("<f", seed))[0])


@onnx_op("RandomNormal", 1, random=True, grows=True)
def normal(
    *,
    shape: Any,
    dtype: int = 1,
    mean: float = 0.0,
    scale: float = 1.0,
    seed: float | None = None,
    device: Any,
) -> Any:
    return ml.random.normal(
        tuple(shape), mean, scale, dtype=as_dtype(dtype, None), device=device, generator=_generator(seed)
    )


@onnx_op("RandomUniform", 1, random=True, grows=True)
def uniform(
    *, shape: Any, dtype: int = 1, low: float = 0.0, high: float = 1.0, seed: float | None = None, device: Any
) -> Any:
    return ml.random.uniform(
        tuple(shape), low, high, dtype=as_dtype(dtype, None), device=device, generator=_generator(seed)
    )


@onnx_op("RandomNormalLike", 1, random=True)
def normal_like(
    x: Any, *, dtype: int | None = None, mean: float = 0.0, scale: float = 1.0, seed: float | None = None
) -> Any:
    return ml.random.normal(
        x.shape, mean, scale, dtype=as_dtype(dtype, x.dtype), device=x.device, generator=_generator(seed)
    )


@onnx_op("RandomUniformLike", 1, random=True)
def uniform_like(
    x: Any, *, dtype: int | None = None, low: float = 0.0, high: float = 1.0, seed: float | None = None
) -> Any:
    return ml.random.uniform(
        x.shape, low, high, dtype=as_dtype(dtype, x.dtype), device=x.device, generator=_generator(seed)
    )


@onnx_op("Bernoulli", 15, random=True)
def bernoulli(x: Any, *, dtype: int | None = None, seed: float | None = None) -> Any:
    drawn = ml.random.uniform(x.shape, dtype=x.dtype, device=x.device, generator=_generator(seed))
    return ml.astype(ml.less(drawn, x), as_dtype(dtype, x.dtype))


@onnx_op("Multinomial", 7, random=True)
def multinomial(x: Any, *, dtype: int = 6, sample_size: int = 1, seed: float | None = None) -> Any:
    edges = ml.cumulative_sum(ml.softmax(x, axis=1), axis=1)
    drawn = ml.random.uniform(
        (x.shape[0], sample_size, 1), dtype=x.dtype, device=x.device, generator=_generator(seed)
    )
    passed = ml.greater_equal(drawn * edges[:, None, -1:], edges[:, None, :])
    found = ml.sum(ml.astype(passed, ml.int64), axis=2)
    return ml.astype(ml.minimum(found, x.shape[1] - 1), as_dtype(dtype, ml.int32))
