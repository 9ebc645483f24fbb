"""The one table that says which tuned kernel serves which operation; float32 and float64, other dtypes are generated
or composed. A kernel is called with the tools, the arrays, and the operation's parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from mlcore_oneapi import convolution, pooling, products, recurrent, rows, steps
from mlcore_oneapi import rows_source as source
from mlcore_oneapi.tools import Tools


def _along(kernel: Any) -> Callable[..., Any]:
    return lambda tools, x, axis: rows.along(tools, kernel, x, axis)


def _along_grad(kernel: Any) -> Callable[..., Any]:
    return lambda tools, g, y, axis: rows.along(tools, kernel, y, axis, g)


def _max_pool(tools: Tools, x: Any, *how: Any) -> Any:
    return pooling.max_pool(tools, x, how)


def _max_pool_grad(tools: Tools, grad: Any, x: Any, y: Any, *how: Any) -> Any:
    return pooling.max_pool_grad(tools, grad, x, y, how)


def _avg_pool(tools: Tools, x: Any, kernel: Any, stride: Any, padding: Any, counted: bool) -> Any:
    return pooling.avg_pool(tools, x, (kernel, stride, padding, (1,) * len(kernel)), counted)


def _avg_pool_grad(
    tools: Tools, grad: Any, shape: Any, kernel: Any, stride: Any, padding: Any, counted: bool
) -> Any:
    return pooling.avg_pool_grad(tools, grad, shape, (kernel, stride, padding, (1,) * len(kernel)), counted)


CATALOG: Final[dict[str, Callable[..., Any]]] = {
    "contract": products.contract,
    "linear": products.linear,
    "linear_grad": products.linear_grad,
    "convolution": convolution.convolution,
    "convolution_grad_input": convolution.convolution_grad_input,
    "convolution_grad_weight": convolution.convolution_grad_weight,
    "max_pool": _max_pool,
    "max_pool_grad": _max_pool_grad,
    "avg_pool": _avg_pool,
    "avg_pool_grad": _avg_pool_grad,
    "softmax": _along(source.softmax),
    "softmax_grad": _along_grad(source.softmax_grad),
    "log_softmax": _along(source.log_softmax),
    "log_softmax_grad": _along_grad(source.log_softmax_grad),
    "softmax_cross_entropy": rows.softmax_cross_entropy,
    "softmax_cross_entropy_grad": rows.softmax_cross_entropy_grad,
    "layer_norm": rows.layer_norm,
    "layer_norm_grad": rows.layer_norm_grad,
    "batch_norm": rows.batch_norm,
    "batch_norm_grad": rows.batch_norm_grad,
    "lstm_layer": recurrent.lstm_layer,
    "lstm_layer_grad": recurrent.lstm_layer_grad,
    "dropout_mask": steps.dropout_mask,
    "adam_step": steps.adam_step,
    "sgd_momentum_step": steps.sgd_momentum_step,
    "sgd_step": steps.sgd_step,
}
