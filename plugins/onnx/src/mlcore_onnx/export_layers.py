"""Layers: matrix products, convolutions, pools, norms, softmax, attention, recurrent layers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mlcore.compile.graph import Node
from mlcore.compile.sizes import Size, is_fixed
from mlcore.dtypes import int64
from mlcore_onnx.export_build import Builder, handles, refuse


@handles("contract")
def _contract(b: Builder, node: Node, x: str, y: str) -> Any:
    return b.make("MatMul", [x, y])


@handles("contract_wide", accepts=lambda inputs, params: inputs[0].shape[-1] > 0)
def _contract_wide(b: Builder, node: Node, x: str, y: str) -> Any:
    return b.make("MatMulInteger", [x, y])


@handles("linear")
def _linear(b: Builder, node: Node, x: str, weight: str, bias: str = "") -> Any:
    given = node.inputs[0]
    assert given is not None
    if len(given.dims) == 2:
        return b.make("Gemm", [x, weight, *([bias] if bias else [])], transB=1)
    product = b.make("MatMul", [x, b.make("Transpose", [weight], perm=[1, 0])])
    return b.make("Add", [product, bias]) if bias else product


@handles("softmax", "log_softmax")
def _softmax(b: Builder, node: Node, x: str) -> Any:
    return b.make("Softmax" if node.op.name == "softmax" else "LogSoftmax", [x], axis=node.params["axis"])


# -- convolutions and pools ----------


def _pads(padding: Any) -> list[int]:
    return [one[0] for one in padding] + [one[1] for one in padding]


@handles("convolution")
def _convolution(b: Builder, node: Node, x: str, weight: str, bias: str = "") -> Any:
    how, kernel = node.params, node.inputs[1]
    assert kernel is not None
    return b.make(
        "Conv", [x, weight, *([bias] if bias else [])], strides=list(how["stride"]), pads=_pads(how["padding"]),
        dilations=list(how["dilation"]), group=how["groups"], kernel_shape=list(kernel.shape[2:]),
    )  # fmt: skip


def _rest(inputs: Any, params: Any) -> list[int]:
    """What a transposed convolution's size has beyond the least, per dimension."""
    grad, weight = inputs
    sizes = zip(
        params["input_shape"][2:], grad.shape[2:], weight.shape[2:], params["stride"], params["padding"],
        params["dilation"], strict=True,
    )  # fmt: skip
    return [want - ((n - 1) * s + (k - 1) * d + 1 - sum(p)) for want, n, k, s, p, d in sizes]


def _is_transposed(inputs: Any, params: Any) -> bool:
    return all(
        0 <= one < max(s, d)
        for one, s, d in zip(_rest(inputs, params), params["stride"], params["dilation"], strict=True)
    )


@handles("convolution_grad_input", accepts=_is_transposed, sized=("input_shape",))
def _transposed(b: Builder, node: Node, grad: str, weight: str) -> Any:
    how, kernel, given = node.params, node.inputs[1], node.inputs[0]
    assert kernel is not None
    assert given is not None
    for want, have, step in zip(node.sizes["input_shape"][2:], given.dims[2:], how["stride"], strict=True):
        grows = isinstance(want, Size) and isinstance(have, Size) and want.names == have.names
        if isinstance(want, Size) and not (grows and want.factor == step * have.factor):  # type: ignore[union-attr]
            raise refuse(node, b.opset, f"its size is {want} where the input's is {have}")
    return b.make(
        "ConvTranspose", [grad, weight], strides=list(how["stride"]), pads=_pads(how["padding"]),
        dilations=list(how["dilation"]), group=how["groups"], kernel_shape=list(kernel.shape[2:]),
        output_padding=_rest(node.inputs, how),
    )  # fmt: skip


def _pools(inputs: Any, params: Any) -> bool:
    """Images (N, C, ...) of floats, also without N, or without both."""
    return bool(inputs[0].dtype.kind == "f" and inputs[0].ndim - len(params["kernel"]) <= 2)


def _pooled(b: Builder, node: Node, kind: str, x: str, **more: Any) -> Any:
    given, how = node.inputs[0], node.params
    assert given is not None
    if tuple(node.sizes["kernel"]) == tuple(given.dims[2:]) and not any(map(any, how["padding"])):
        return b.make(f"Global{kind}", [x])
    if not is_fixed(node.sizes["kernel"]):
        raise refuse(node, b.opset, f"its kernel is {node.sizes['kernel']} for an input of {given.dims}")
    missing = list(range(2 - (len(given.dims) - len(how["kernel"]))))
    wide = b.make("Unsqueeze", [x, b.ints(*missing)]) if missing else x
    made = b.make(
        kind, [wide], kernel_shape=list(how["kernel"]), strides=list(how["stride"]), pads=_pads(how["padding"]), **more
    )  # fmt: skip
    return b.make("Squeeze", [made, b.ints(*missing)]) if missing else made


@handles("max_pool", accepts=_pools, sized=("kernel", "stride"))
def _max_pool(b: Builder, node: Node, x: str) -> Any:
    return _pooled(b, node, "MaxPool", x, dilations=list(node.params["dilation"]))


@handles("avg_pool", accepts=_pools, sized=("kernel", "stride"))
def _avg_pool(b: Builder, node: Node, x: str) -> Any:
    return _pooled(b, node, "AveragePool", x, count_include_pad=int(node.params["count_include_pad"]))


# -- norms ----------


def _activated(b: Builder, node: Node, y: str) -> Any:
    how = node.params["activation"]
    if how == "relu6":
        return b.make("Clip", [y, b.like(0, node.outputs[0]), b.like(6, node.outputs[0])])
    return b.make("Relu", [y]) if how == "relu" else y


@handles("batch_norm_scale", accepts=lambda inputs, params: inputs[0].ndim >= 2 and inputs[0].shape[1] > 0)
def _batch_norm(b: Builder, node: Node, x: str, mean: str, var: str, weight: str = "", bias: str = "") -> Any:
    held = node.inputs[1]
    assert held is not None
    weight = weight or b.constant(np.ones(held.shape), held.dtype)
    bias = bias or b.constant(np.zeros(held.shape), held.dtype)
    made = b.make("BatchNormalization", [x, weight, bias, mean, var], epsilon=node.params["eps"])
    return _activated(b, node, made)


@handles("layer_norm")
def _layer_norm(b: Builder, node: Node, x: str, weight: str = "", bias: str = "") -> Any:
    given, n = node.inputs[0], node.params["n_axes"]
    assert given is not None
    weight = weight or b.expand(b.like(1, given), (), given.dims[-n:])
    inputs = [x, weight, *([bias] if bias else [])]
    found = b.make("LayerNormalization", inputs, outputs=3, axis=-n, epsilon=node.params["eps"])
    return tuple(found)


# -- attention ----------


@handles("scaled_dot_product_attention", "attention")
def _attention(b: Builder, node: Node, q: str, k: str, v: str, mask: str = "") -> Any:
    out, left, right, seen = node.outputs[0], node.inputs[0], node.inputs[1], node.inputs[3]
    assert left is not None
    assert right is not None
    rank = len(right.dims)
    turned = b.make("Transpose", [k], perm=[*range(rank - 2), rank - 1, rank - 2])
    scores = b.make("Mul", [b.make("MatMul", [q, turned]), b.like(node.params["scale"], out)])
    low = b.like(-math.inf, out)
    if node.params["is_causal"]:
        rows = _count(b, left.dims[-2])
        hidden = b.make("Greater", [_count(b, right.dims[-2]), b.make("Unsqueeze", [rows, b.ints(1)])])
        scores = b.make("Where", [hidden, low, scores])
    if seen is not None and seen.dtype.kind == "b":
        scores = b.make("Where", [mask, scores, low])
    elif seen is not None:
        scores = b.make("Add", [scores, mask if seen.dtype is out.dtype else b.cast(mask, out.dtype)])
    weights = b.make("Softmax", [scores], axis=-1)
    if seen is not None:  # a row that may attend to nothing gives zeros
        weights = b.make("Where", [b.make("Equal", [scores, low]), b.like(0, out), weights])
    y = b.make("MatMul", [weights, v])
    if node.op.name != "attention":
        return y
    wide = scores if node.outputs[1].dtype is out.dtype else b.cast(scores, node.outputs[1].dtype)
    return y, b.reduce("ReduceLogSumExp", wide, [len(out.dims) - 1], False)


def _count(b: Builder, dim: Any) -> str:
    """0, 1, ... below a size."""
    if isinstance(dim, Size):
        end = b.make("Squeeze", [b.size(dim), b.ints(0)])
        return str(b.make("Range", [b.constant(0, int64), end, b.constant(1, int64)]))
    return b.constant(np.arange(dim), int64)


# -- recurrent layers ----------


def _runs(inputs: Any, params: Any) -> bool:
    return inputs[0].dtype.name in ("float32", "float64", "float16") and inputs[0].shape[1] > 0


def _gates(b: Builder, tensor: str, order: tuple[int, ...], hidden: int) -> str:
    """Rows of gates in ONNX's order, with its leading dimension of directions."""
    if order != tuple(range(len(order))):
        parts = [b.slices(tensor, [(0, i * hidden, (i + 1) * hidden, 1)]) for i in order]
        tensor = b.make("Concat", parts, axis=0)
    return str(b.make("Unsqueeze", [tensor, b.ints(0)]))


def _recurrent(
    b: Builder, node: Node, kind: str, order: tuple[int, ...], inputs: Any, states: Any, **more: Any
) -> Any:
    x, w_ih, w_hh, b_ih, b_hh = inputs
    held = node.inputs[2]
    assert held is not None
    hidden = held.shape[1]
    given = [x, _gates(b, w_ih, order, hidden), _gates(b, w_hh, order, hidden), "", ""]
    if b_ih or b_hh:
        zeros = b.constant(np.zeros(len(order) * hidden), held.dtype)
        both = [_gates(b, one or zeros, order, hidden) for one in (b_ih, b_hh)]
        given[3] = b.make("Concat", both, axis=1)
    given += [b.make("Unsqueeze", [one, b.ints(0)]) if one else "" for one in states]
    while not given[-1]:
        given.pop()
    outputs = 3 if kind == "LSTM" else 2
    direction = "reverse" if node.params["reverse"] else "forward"
    found = b.make(kind, given, outputs=outputs, hidden_size=hidden, direction=direction, **more)
    return [b.make("Squeeze", [found[0], b.ints(1)]), *found[1:]]


@handles("lstm_layer", accepts=_runs)
def _lstm(
    b: Builder,
    node: Node,
    x: str,
    w_ih: str,
    w_hh: str,
    b_ih: str = "",
    b_hh: str = "",
    h0: str = "",
    c0: str = "",
) -> Any:
    """ONNX's gates are i, o, f, c; the last row of the result is the last cell."""
    y, _, cell = _recurrent(b, node, "LSTM", (0, 3, 1, 2), (x, w_ih, w_hh, b_ih, b_hh), (h0, c0))
    return b.make("Concat", [y, cell], axis=0)


@handles("gru_layer", accepts=_runs)
def _gru(
    b: Builder, node: Node, x: str, w_ih: str, w_hh: str, b_ih: str = "", b_hh: str = "", h0: str = ""
) -> Any:
    """ONNX's gates are z, r, h; the reset gate comes after the product."""
    y, _ = _recurrent(b, node, "GRU", (1, 0, 2), (x, w_ih, w_hh, b_ih, b_hh), (h0,), linear_before_reset=1)
    return y


@handles("rnn_layer", accepts=_runs)
def _rnn(
    b: Builder, node: Node, x: str, w_ih: str, w_hh: str, b_ih: str = "", b_hh: str = "", h0: str = ""
) -> Any:
    bend = "Tanh" if node.params["nonlinearity"] == "tanh" else "Relu"
    y, _ = _recurrent(b, node, "RNN", (0,), (x, w_ih, w_hh, b_ih, b_hh), (h0,), activations=[bend])
    return y
