"""Gradients against finite differences, by random projection: one number per direction instead of a Jacobian."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mlcore import autograd
from mlcore.errors import ArgumentError, AutogradError
from mlcore.inputs import from_data
from mlcore.tensor import TensorBase
from mlcore.testing.compare import Host, host

Function = Callable[..., Any]

passed: Counter[int] = Counter()
"""How many checks of order 1 and of order 2 (gradients, and gradients of gradients) have passed in this process."""


def gradcheck(fn: Function, inputs: Sequence[Any], *, eps: float = 1e-6, rtol: float = 1e-3, atol: float = 1e-5,
              order: int = 1, directions: int = 2, seed: int = 0, what: str = "") -> bool:  # fmt: skip
    """Compare the gradients of `fn(*inputs)` with central differences along random directions.

    Every input tensor that requires a gradient must be float64 or complex128. `order=2` also checks the gradient
    of the gradient. `fn` returns a tensor, or a tuple of which the floating ones count. Returns True, or raises
    AssertionError that names the input and both numbers.

    >>> import mlcore as ml
    >>> x = ml.asarray([0.3, 0.7], dtype=ml.float64, requires_grad=True)
    >>> gradcheck(lambda v: (v * v).sum(), [x])
    True
    """
    places = [i for i, one in enumerate(inputs) if isinstance(one, TensorBase) and one.requires_grad]
    if not places:
        raise AutogradError("gradcheck: no input requires a gradient", fix="pass requires_grad=True")
    for i in places:
        if inputs[i].dtype.name not in ("float64", "complex128"):
            raise ArgumentError(f"gradcheck: input {i} is {inputs[i].dtype}", cause="differences need float64",
                                fix="pass float64 or complex128 tensors")  # fmt: skip
    rng = np.random.default_rng(seed)
    _check(fn, inputs, places, rng, eps, rtol, atol, directions, f"{what}order 1")
    passed[1] += 1
    if order > 1:
        slope = _slope(fn, inputs, places, rng)
        if slope is not None:
            _check(slope, inputs, places, rng, eps, rtol, atol, directions, f"{what}order 2")
        passed[2] += 1
    return True


def gradgradcheck(fn: Function, inputs: Sequence[Any], **options: Any) -> bool:
    """`gradcheck` of order 2: the gradient, and the gradient of the gradient.

    >>> import mlcore as ml
    >>> gradgradcheck(lambda v: (v ** 3).sum(), [ml.asarray([0.3, 0.7], dtype=ml.float64, requires_grad=True)])
    True
    """
    return gradcheck(fn, inputs, order=2, **options)


def _outputs(made: Any) -> list[Any]:
    many = made if isinstance(made, (tuple, list)) else (made,)
    return [one for one in many if isinstance(one, TensorBase) and one.dtype.kind in "fc"]


def _leaves(inputs: Sequence[Any], places: Sequence[int], values: Sequence[Host]) -> list[Any]:
    fresh = list(inputs)
    for i, value in zip(places, values, strict=True):
        fresh[i] = from_data(value, inputs[i].dtype, inputs[i].device)
        fresh[i].requires_grad_()
    return fresh


def _random(rng: np.random.Generator, like: Host) -> Host:
    value = rng.standard_normal(like.shape)
    if like.dtype.kind != "c":
        return np.asarray(value, dtype=like.dtype)
    return np.asarray(value + 1j * rng.standard_normal(like.shape), dtype=like.dtype)


def _dot(a: Host, b: Host) -> float:
    """The real inner product, also of complex arrays: what a small step adds to a real function."""
    return float(np.sum(np.conj(a) * b).real)


def _check(
    fn: Function,
    inputs: Sequence[Any],
    places: Sequence[int],
    rng: np.random.Generator,
    eps: float,
    rtol: float,
    atol: float,
    directions: int,
    what: str,
) -> None:
    values = [np.array(host(inputs[i].detach())) for i in places]
    leaves = _leaves(inputs, places, values)
    outs = _outputs(fn(*leaves))
    weights = [_random(rng, host(one)) for one in outs]
    counted = [one.requires_grad for one in outs]

    def projected(at: Sequence[Host]) -> float:
        with autograd.no_grad():
            found = _outputs(fn(*_leaves(inputs, places, at)))
        return sum(_dot(w, host(one)) for w, one, yes in zip(weights, found, counted, strict=True) if yes)

    pairs = [(one, w) for one, w in zip(outs, weights, strict=True) if one.requires_grad]
    if not pairs:
        raise AssertionError(f"{what}: the result does not require a gradient, although an input does")
    seeds = [from_data(w, one.dtype, one.device) for one, w in pairs]
    targets = [leaves[i] for i in places]
    grads = autograd.grad([one for one, _ in pairs], targets, seeds, allow_unused=True)
    for turn in range(directions):
        for k, i in enumerate(places):
            step = _random(rng, values[k])
            up, down = list(values), list(values)
            up[k], down[k] = values[k] + eps * step, values[k] - eps * step
            numeric = (projected(up) - projected(down)) / (2 * eps)
            gradient = grads[k]
            _fits(gradient, leaves[i], f"{what}: gradient of input {i}")
            analytic = 0.0 if gradient is None else _dot(host(gradient), step)
            size = 1.0 if gradient is None else max(1.0, float(np.sqrt(np.sum(np.abs(host(gradient)) ** 2))))
            if not abs(numeric - analytic) <= atol * size + rtol * abs(numeric):
                place = f"{what}: gradient of input {i} along direction {turn}"
                raise AssertionError(f"{place}: {analytic:.8g}, by differences {numeric:.8g}")


def _fits(gradient: Any, leaf: Any, what: str) -> None:
    """A gradient has its input's shape and dtype."""
    if gradient is None:
        return
    if gradient.shape != leaf.shape:
        raise AssertionError(f"{what} has shape {gradient.shape}, the input {leaf.shape}")
    if gradient.dtype is not leaf.dtype:
        raise AssertionError(f"{what} is {gradient.dtype}, the input {leaf.dtype}")


def _slope(
    fn: Function, inputs: Sequence[Any], places: Sequence[int], rng: np.random.Generator
) -> Function | None:
    """The gradients of a projection of `fn`, as a function of the same inputs; None where they are constant."""
    values = [np.array(host(inputs[i].detach())) for i in places]
    made = _outputs(fn(*_leaves(inputs, places, values)))
    weights = [_random(rng, host(one)) for one in made]

    def slope(*at: Any) -> Any:
        with autograd.enable_grad():
            fresh = list(at)
            outs = _outputs(fn(*fresh))
            pairs = [(one, w) for one, w in zip(outs, weights, strict=True) if one.requires_grad]
            seeds = [from_data(w, one.dtype, one.device) for one, w in pairs]
            targets = [fresh[i] for i in places]
            found = autograd.grad(
                [one for one, _ in pairs], targets, seeds, create_graph=True, allow_unused=True
            )
        return tuple(one for one in found if one is not None)

    first = slope(*_leaves(inputs, places, values))
    return slope if any(one.requires_grad for one in first) else None
