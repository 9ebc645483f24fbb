"""Which kernel serves which operation: one table, from an operation's name or family to a maker.

A maker gets the operation and its NumPy reference kernel (or None) and returns a kernel with `codes()`, the
dtype codes it covers, or None. A kernel with a reference hands other dtypes to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mlcore_cpu import fallback
from mlcore_cpu import recurrent as recurrent_
from mlcore_cpu.loader import kernels as K
from mlcore_cpu.rules import CHAINS, FusedRule

Maker = Callable[[Any, Any], Any]

I8, F16, BF16, F32, F64 = 1, 9, 10, 11, 12
REAL = tuple(range(13))
FLOATS = (F16, BF16, F32, F64)
ALL = tuple(range(15))
VIEWS = ("reshape", "permute_dims", "broadcast_to", "narrow", "select")
FUSED = (
    "softmax", "softmax_grad", "log_softmax", "log_softmax_grad", "logsumexp", "softmax_cross_entropy",
    "softmax_cross_entropy_grad", "squared_error", "squared_error_grad", "layer_norm", "layer_norm_grad",
    "batch_norm", "batch_norm_grad", "max_pool", "max_pool_grad", "avg_pool", "avg_pool_grad",
    "batch_norm_running", "batch_norm_scale",
    "attention", "attention_grad", "rms_norm", "rms_norm_grad",
)  # fmt: skip


class Native:
    """A Python function over kernels, with what the core asks of a kernel."""

    __slots__ = ("_codes", "call", "dtypes", "name", "origin", "update")

    def __init__(
        self, name: str, call: Callable[..., Any], codes: tuple[int, ...], origin: str = "native"
    ) -> None:
        self.name, self.call, self._codes, self.origin = name, call, codes, origin
        self.update: Any = None
        self.dtypes: Any = None

    def codes(self) -> tuple[int, ...]:
        return self._codes

    def __call__(self, *args: Any) -> Any:
        return self.call(*args)

    def __repr__(self) -> str:
        return f"<cpu kernel {self.name}>"


def unary(op: Any, reference: Any) -> Any:
    kernel = K.Unary(op.name, op.name, reference)
    return kernel if kernel.codes() else None


def binary(op: Any, reference: Any) -> Any:
    halves = op.name != "nextafter"  # a step of float32 is none of float16: NumPy knows those
    kernel = K.Binary(op.name, op.name, reference, None, halves)
    return kernel if kernel.codes() else None


def reduction(op: Any, reference: Any) -> Any:
    kernel = K.Reduction(op.name, op.name, reference)
    return kernel if kernel.codes() else None


def gelu(op: Any, reference: Any) -> Any:
    kind = K.Unary if op.name == "gelu" else K.Binary
    variants = {how: kind(f"{op.name}_{how}", f"{op.name}_{how}", reference) for how in ("none", "tanh")}
    return kind(op.name, f"{op.name}_none", reference, variants)


def mean(op: Any, reference: Any) -> Any:
    return K.Reduction(op.name, "reduce_sum", reference, True)


def var(op: Any, reference: Any) -> Any:
    return K.Reduction(op.name, "var", reference, True, True)


def arg(op: Any, reference: Any) -> Any:
    return K.ArgReduction(op.name, op.name, reference)


def where(op: Any, reference: Any) -> Any:
    return K.Where(op.name)


def astype(op: Any, reference: Any) -> Any:
    return K.Astype(op.name, reference)


def _wide(x: Any) -> Any:
    return x if x is None or x.dtype == np.float32 else K.cast(x, F32)


def contract(op: Any, reference: Any) -> Any:
    return K.Contract(op.name, reference)


def contract_wide(op: Any, reference: Any) -> Any:
    return Native(op.name, K.matmul_int8, (I8,))


def linear(op: Any, reference: Any) -> Any:
    return K.Linear(op.name)


def linear_grad(op: Any, reference: Any) -> Any:
    return K.LinearGrad(op.name)


def convolution(op: Any, reference: Any) -> Any:
    return _convolution(op.name)


def _convolution(name: str) -> Native:
    """oneDNN and our own ways for float32, oneDNN for bfloat16, float16 through float32, im2col for the rest."""
    ours: Callable[..., Any] = getattr(K, name)
    other: Callable[..., Any] = {
        "convolution": fallback.convolution,
        "convolution_grad_input": fallback.grad_input,
        "convolution_grad_weight": fallback.grad_weight,
    }[name]
    arrays = 3 if name == "convolution" else 2

    def call(*args: Any) -> Any:
        found = ours(*args)
        if found is not None:
            return found
        code = K.dtype_code(args[0])
        if code in (F16, BF16):
            args = (*map(_wide, args[:arrays]), *args[arrays:])
            found = ours(*args)
        if found is None:
            found = other(*args)
        return K.cast(found, code) if code in (F16, BF16) else found

    return Native(name, call, FLOATS, "onednn" if K.onednn_version else "im2col")


def convolution_norm(op: Any, reference: Any) -> Any:
    """One kernel for float32; else the convolution, then batch norm with its activation."""
    convolve = _convolution("convolution")

    def call(*args: Any) -> Any:
        found = K.convolution_norm(*args)
        if found is None:
            made = convolve(*args[:3], *args[7:11])
            found = K.batch_norm_scale(made, *args[3:7], *args[11:])
        return found

    return Native(op.name, call, FLOATS, convolve.origin)


def fused(op: Any, reference: Any) -> Any:
    """A kernel of the same name and signature, for floating dtypes."""
    return Native(op.name, getattr(K, op.name), FLOATS)


def view(op: Any, reference: Any) -> Any:
    """A kernel that takes any dtype: it looks at strides only."""
    return getattr(K, op.name)


def dropout(op: Any, reference: Any) -> Any:
    return Native(op.name, K.dropout, FLOATS)


def recurrent(op: Any, reference: Any) -> Any:
    """A layer over a whole sequence, or its gradient."""
    if op.name.endswith("_grad"):
        return Native(op.name, getattr(recurrent_, op.name.replace("_layer", "")), FLOATS)
    make = getattr(recurrent_, op.name.removesuffix("_layer"))
    return Native(op.name, make(linear(op, reference)), FLOATS)


def order(op: Any, reference: Any) -> Any:
    return Native(op.name, getattr(K, op.name), REAL)


def anything(op: Any, reference: Any) -> Any:
    """A kernel that moves or adds elements: our dtypes here, complex numbers through NumPy."""
    ours = getattr(K, op.name)

    def call(x: Any, *args: Any) -> Any:
        return reference(x, *args) if x.dtype.kind == "c" else ours(x, *args)

    return Native(op.name, call, ALL)


def slice_update(op: Any, reference: Any) -> Any:
    def call(x: Any, v: Any, key: Any) -> Any:
        if x.dtype.kind == "c":
            return reference(x, v, key)
        return K.slice_update(x, v, tuple([slice(*one) for one in key]))

    def update(arrays: Any, key: Any) -> int:
        """See mlcore.optim.step: over the first array, where only the list and its tensor hold it; else -1."""
        written: int = K.slice_write(arrays, tuple([slice(*one) for one in key]))
        return written

    kernel = Native(op.name, call, ALL)
    kernel.update = update
    return kernel


def concat(op: Any, reference: Any) -> Any:
    def call(*args: Any) -> Any:
        return reference(*args) if args[0].dtype.kind == "c" else K.concat(args[:-1], args[-1])

    return Native(op.name, call, ALL)


def fill(op: Any, reference: Any) -> Any:
    known: dict[Any, Any] = {}  # one element each: making it takes longer than filling a small array with it

    def call(shape: Any, value: Any, dtype: Any) -> Any:
        if dtype.kind == "c":
            return reference(shape, value, dtype)
        key = (type(value), value, dtype)
        found = known.get(key)
        if found is None:
            found = np.asarray(reference((), value, dtype))
            if not (type(value) is float and value == 0):  # 0.0 and -0.0 are one key
                if len(known) > 256:
                    known.clear()
                known[key] = found
        return K.full(shape, found)

    return Native(op.name, call, ALL)


def random_bits(op: Any, reference: Any) -> Any:
    return Native(op.name, K.random_bits, ALL)


def rule(op: Any, reference: Any) -> Any:
    """A step of any optimizer: nothing where all its samples would have to be composed."""
    made = FusedRule(op)
    return made if CHAINS != "0" and made.useful() else None


def adam(op: Any, reference: Any) -> Any:
    if CHAINS == "all":
        return FusedRule(op)
    params = len(op.params)
    return FusedRule(op, lambda *args: K.adam_step(args[:-params], *args[-params:]), K.adam_update)


def sgd(op: Any, reference: Any) -> Any:
    def plain(*args: Any) -> Any:
        lr, weight_decay = args[-2:]
        return K.sgd_step(args[:-2], False, lr, 0.0, 0.0, weight_decay, False, False)

    def plain_update(arrays: Any, lr: float, weight_decay: float) -> Any:
        return K.sgd_update(arrays, False, lr, 0.0, 0.0, weight_decay, False, False)

    def momentum(*args: Any) -> Any:
        return K.sgd_step(args[:-6], True, *args[-6:])

    def momentum_update(arrays: Any, *args: Any) -> Any:
        return K.sgd_update(arrays, True, *args)

    if CHAINS == "all":
        return FusedRule(op)
    if op.name == "sgd_step":
        return FusedRule(op, plain, plain_update)
    return FusedRule(op, momentum, momentum_update)


CATALOG: dict[str, Maker] = {
    "family:unary": unary,
    "family:binary": binary,
    "family:reduction": reduction,
    "gelu": gelu,
    "gelu_grad": gelu,
    "mean": mean,
    "var": var,
    "reduce_argmax": arg,
    "reduce_argmin": arg,
    "where": where,
    "astype": astype,
    "contract": contract,
    "contract_wide": contract_wide,
    "linear": linear,
    "linear_grad": linear_grad,
    "convolution": convolution,
    "convolution_norm": convolution_norm,
    "convolution_grad_input": convolution,
    "convolution_grad_weight": convolution,
    "dropout_mask": dropout,
    "random_bits": random_bits,
    "sort_indices": order,
    "ordered": order,
    "searchsorted": order,
    "scan_sum": anything,
    "scan_prod": anything,
    **{f"{kind}_layer{tail}": recurrent for kind in ("lstm", "gru", "rnn") for tail in ("", "_grad")},
    "gather": anything,
    "scatter": anything,
    "index_add": anything,
    "index_sum": anything,
    "take_along": anything,
    "sum_along": anything,
    "where_true": anything,
    "slice_update": slice_update,
    "concat": concat,
    "fill": fill,
    "group:update": rule,
    "adam_step": adam,
    "sgd_step": sgd,
    "sgd_momentum_step": sgd,
    **dict.fromkeys(VIEWS, view),
    **dict.fromkeys(FUSED, fused),
}
