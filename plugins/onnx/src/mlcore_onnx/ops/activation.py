"""Activations with attributes."""

from __future__ import annotations

import math
from typing import Any

import mlcore as ml
from mlcore.dtypes import bool_
from mlcore.nn import functional as F
from mlcore_onnx.ops.declare import onnx_op


@onnx_op("LeakyRelu", 6)
def leaky_relu(x: Any, *, alpha: float = 0.01) -> Any:
    return F.leaky_relu(x, alpha)


@onnx_op("PRelu", 7)
def prelu(x: Any, slope: Any) -> Any:
    return ml.where(ml.less(x, 0), slope * x, x)


@onnx_op("Elu", 6)
def elu(x: Any, *, alpha: float = 1.0) -> Any:
    return F.elu(x, alpha)


@onnx_op("Selu", 6)
def selu(x: Any, *, alpha: float = 1.6732631921768188, gamma: float = 1.0507010221481323) -> Any:
    return F.elu(x, alpha) * gamma


@onnx_op("Celu", 12)
def celu(x: Any, *, alpha: float = 1.0) -> Any:
    return F.celu(x, alpha)


@onnx_op("ThresholdedRelu", 10)
def thresholded_relu(x: Any, *, alpha: float = 1.0) -> Any:
    return ml.where(ml.greater(x, alpha), x, ml.zeros_like(x))


@onnx_op("HardSigmoid", 6)
def hard_sigmoid(x: Any, *, alpha: float = 0.2, beta: float = 0.5) -> Any:
    return ml.minimum(ml.maximum(x * alpha + beta, 0), 1)


@onnx_op("HardSwish", 14)
def hard_swish(x: Any) -> Any:
    return F.hardswish(x)


@onnx_op("Shrink", 9)
def shrink(x: Any, *, bias: float = 0.0, lambd: float = 0.5) -> Any:
    zero = ml.zeros_like(x)
    return ml.where(ml.less(x, -lambd), x + bias, ml.where(ml.greater(x, lambd), x - bias, zero))


@onnx_op("Softsign", 1)
def softsign(x: Any) -> Any:
    return F.softsign(x)


@onnx_op("Mish", 18)
def mish(x: Any) -> Any:
    return F.mish(x)


@onnx_op("Gelu", 20)
def gelu(x: Any, *, approximate: str = "none") -> Any:
    return ml.gelu(x, approximate)


@onnx_op("Swish", 24)
def swish(x: Any, *, alpha: float = 1.0) -> Any:
    return ml.silu(x) if alpha == 1.0 else x * ml.sigmoid(x * alpha)


@onnx_op("SwiGLU", 28)
def swiglu(a: Any, b: Any, *, alpha: float = 1.0) -> Any:
    return swish(a, alpha=alpha) * b


@onnx_op("Softmax", 13)
def softmax(x: Any, *, axis: int = -1) -> Any:
    return ml.softmax(x, axis=axis)


@onnx_op("LogSoftmax", 13)
def log_softmax(x: Any, *, axis: int = -1) -> Any:
    return ml.log_softmax(x, axis=axis)


@onnx_op("Hardmax", 13)
def hardmax(x: Any, *, axis: int = -1) -> Any:
    axis = axis % x.ndim
    best = ml.argmax(x, axis=axis, keepdims=True)
    places = ml.reshape(ml.arange(x.shape[axis], device=x.device), (-1, *(1,) * (x.ndim - 1 - axis)))
    return ml.astype(ml.equal(best, places), x.dtype)


def rows(x: Any, axis: int) -> Any:
    """A matrix of what comes before `axis` by what follows."""
    axis = axis % x.ndim if axis < 0 else axis
    return ml.reshape(x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))


@onnx_op("Softmax", 1, 12)
def softmax_1(x: Any, *, axis: int = 1) -> Any:
    return ml.reshape(ml.softmax(rows(x, axis), axis=1), x.shape)


@onnx_op("LogSoftmax", 1, 12)
def log_softmax_1(x: Any, *, axis: int = 1) -> Any:
    return ml.reshape(ml.log_softmax(rows(x, axis), axis=1), x.shape)


@onnx_op("Hardmax", 1, 12)
def hardmax_1(x: Any, *, axis: int = 1) -> Any:
    return ml.reshape(hardmax(rows(x, axis), axis=1), x.shape)


@onnx_op("Dropout", 12, host=("ratio", "training_mode"), random=True)
def dropout(
    x: Any, ratio: Any = None, training_mode: Any = None, *, seed: int | None = None, outputs: int
) -> Any:
    """The file says whether values are dropped, not the module's mode."""
    kept = None
    part = 0.5 if ratio is None else float(ratio)
    if training_mode is not None and bool(training_mode) and part > 0:
        generator = None if seed is None else ml.Generator(seed)
        kept = ml.greater_equal(ml.random.uniform(x.shape, device=x.device, generator=generator), part)
        x = x * ml.astype(kept, x.dtype) / (1 - part)
    if outputs == 1:
        return x
    return x, ml.ones(x.shape, dtype=bool_, device=x.device) if kept is None else kept


@onnx_op("Dropout", 7, 11)
def dropout_7(x: Any, *, ratio: float = 0.5, outputs: int, since: int) -> Any:
    return x if outputs == 1 else (x, ml.ones(x.shape, dtype=bool_, device=x.device))
