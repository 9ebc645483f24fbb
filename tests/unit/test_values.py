"""Tensors are values: assignment and in-place operators change one object, and nothing else can tell."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore.errors import AutogradError, DTypeError, ShapeError

VIEWS: dict[str, Callable[[Any], Any]] = {
    "whole": lambda x: x[...],
    "colon": lambda x: x[:],
    "row": lambda x: x[0],
    "slice": lambda x: x[:, 1:],
    "reversed": lambda x: x[::-1],
    "reshape": lambda x: x.reshape(6),
    "same shape": lambda x: x.reshape(2, 3),
    "permute": lambda x: x.permute_dims(1, 0),
    "T": lambda x: x.T,
    "mT": lambda x: x.mT,
    "detach": lambda x: x.detach(),
    "broadcast": lambda x: ml.broadcast_to(x, (2, 2, 3)),
    "same broadcast": lambda x: ml.broadcast_to(x, (2, 3)),
    "expand": lambda x: ml.expand_dims(x, axis=0),
    "squeeze": lambda x: ml.squeeze(x),
    "positive": lambda x: +x,
    "unstack": lambda x: ml.unstack(x)[0],
    "split": lambda x: ml.split(x, 2)[0],
    "flip": lambda x: ml.flip(x, axis=()),
    "pad": lambda x: ml.pad(x, 0),
    "roll": lambda x: ml.roll(x, 0),
    "tile": lambda x: ml.tile(x, 1),
    "einsum": lambda x: ml.einsum("ij->ij", x),
    "astype": lambda x: x.astype(x.dtype),
    "real part": lambda x: ml.conj(x),
    "moveaxis": lambda x: ml.moveaxis(x, 0, 0),
    "flatten": lambda x: ml.flatten(x),
    "concat": lambda x: ml.concat([x]),
    "dropout": lambda x: ml.random.dropout(x, 0.0),
    "mean of nothing": lambda x: ml.mean(x, axis=()),
    "sum of nothing": lambda x: ml.sum(x, axis=()),
    "max of nothing": lambda x: ml.max(x, axis=()),
    "round": lambda x: ml.round(x),
    "triu": lambda x: ml.triu(x, k=-9),
    "sorted": lambda x: ml.sort(x),
    "broadcast_arrays": lambda x: ml.broadcast_arrays(x)[0],
    "repeat": lambda x: ml.repeat(x, 1, axis=0),
    "numpy": lambda x: ml.asarray(x.numpy()),
    "deep": lambda x: __import__("copy").deepcopy(x),
    "empty mask": lambda x: ml.where(ml.asarray(True), x, x),
    "meshgrid": lambda x: ml.meshgrid(x[0])[0],
    "take all": lambda x: x[[0, 1]],
    "swapaxes": lambda x: ml.swapaxes(x, 0, 0),
    "round trip": lambda x: x.to("reference")[...],
}

CHANGES: dict[str, Callable[[Any], Any]] = {
    "one element": lambda x: operator.setitem(x, (0,) * x.ndim, 9.0),
    "all": lambda x: operator.setitem(x, ..., 9.0),
    "mask": lambda x: operator.setitem(x, x == x, 9.0),
    "list": lambda x: operator.setitem(x, [0], 9.0),
    "add": lambda x: operator.iadd(x, 1),
    "multiply": lambda x: operator.imul(x, x + 2),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("view", VIEWS)
def test_a_view_taken_earlier_keeps_its_values(view: str, change: str) -> None:
    host = np.arange(6, dtype=np.float32).reshape(2, 3)
    x = ml.asarray(host)
    y = VIEWS[view](x)
    assert y is not x
    before = np.array(y)
    CHANGES[change](x)
    assert not np.array_equal(np.asarray(x), host)
    np.testing.assert_array_equal(np.asarray(y), before)
    # and the other way round
    x = ml.asarray(host)
    y = VIEWS[view](x)
    CHANGES[change](y)
    np.testing.assert_array_equal(np.asarray(x), host)


IN_PLACE: list[tuple[str, Any, str]] = [
    ("iadd", 2, "add"),
    ("isub", 2, "sub"),
    ("imul", 3, "mul"),
    ("ifloordiv", 2, "floordiv"),
    ("imod", 3, "mod"),
    ("ipow", 2, "pow"),
    ("iand", 6, "and_"),
    ("ior", 8, "or_"),
    ("ixor", 5, "xor"),
    ("ilshift", 1, "lshift"),
    ("irshift", 1, "rshift"),
]


@pytest.mark.parametrize(("name", "value", "plain"), IN_PLACE)
def test_in_place_operators(name: str, value: Any, plain: str) -> None:
    host = np.arange(1, 7)
    x = same = ml.asarray(host)
    twin = x[...]
    x = getattr(operator, name)(x, value)
    assert x is same
    np.testing.assert_array_equal(np.asarray(x), getattr(operator, plain)(host, value))
    np.testing.assert_array_equal(np.asarray(twin), host)


def test_in_place_with_floats() -> None:
    x = same = ml.asarray([[1.0, 2.0], [3.0, 4.0]])
    x /= 2
    x @= ml.asarray([[0.0, 1.0], [1.0, 0.0]])
    assert x is same
    assert x.tolist() == [[1.0, 0.5], [2.0, 1.5]]


def test_in_place_may_not_change_shape_or_dtype() -> None:
    x = ml.ones((3,))
    with pytest.raises(
        ShapeError, match=r"in-place add: the result is \(2, 3\) float32, the tensor \(3,\) float32"
    ):
        x += ml.ones((2, 3))
    i = ml.asarray([1, 2])
    with pytest.raises(DTypeError, match="in-place truediv: the result is"):
        i /= 2
    with pytest.raises(DTypeError, match="float32"):
        i += 0.5
    assert x.tolist() == [1, 1, 1]
    assert i.tolist() == [1, 2]


def test_a_saved_value_is_safe() -> None:
    x = ml.asarray([1.0, 2.0], requires_grad=True)
    h = x * 3
    y = h * h  # saves h
    h[0] = 100.0
    h += 5
    y.sum().backward()
    assert x.grad.tolist() == [18.0, 36.0]


def test_changing_the_leaf_after_use_keeps_its_gradient() -> None:
    x = ml.asarray([1.0, 2.0], requires_grad=True)
    y = (x * x).sum()
    with ml.no_grad():
        x -= 10
    y.backward()
    assert x.grad.tolist() == [2.0, 4.0]  # at the value it had
    assert x.tolist() == [-9.0, -8.0]
    assert x.is_leaf
    assert x.requires_grad


def test_updating_a_leaf_under_no_grad() -> None:
    x = kept = ml.asarray([1.0, 2.0], requires_grad=True)
    (x * x).sum().backward()
    with ml.no_grad():
        x -= 0.1 * x.grad
        x[1] = 5.0
    assert x is kept
    np.testing.assert_allclose(x.tolist(), [0.8, 5.0], rtol=1e-6)
    (x * 2).sum().backward()
    assert x.grad.tolist() == [4.0, 6.0]


def test_a_leaf_takes_constants_while_recording() -> None:
    """As API.md shows: `x[0, 1:] = 0.0` on a leaf that requires a gradient gives it a new value."""
    x = ml.ones((2, 3), requires_grad=True)
    x[0, 1:] = 0.0
    x *= 2.0
    assert x.is_leaf
    assert x.requires_grad
    assert x.tolist() == [[2.0, 0.0, 0.0], [2.0, 2.0, 2.0]]
    (x * x).sum().backward()
    np.testing.assert_array_equal(np.asarray(x.grad), 2 * np.asarray(x))


def test_a_leaf_refuses_a_value_with_another_history() -> None:
    x, w = ml.ones((2,), requires_grad=True), ml.ones((2,), requires_grad=True)
    for change in (lambda: operator.iadd(x, w), lambda: operator.setitem(x, 0, w[1])):
        with pytest.raises(AutogradError, match="in-place change of a leaf that requires a gradient"):
            change()
    assert x.tolist() == [1.0, 1.0]


def test_an_intermediate_takes_the_history_of_its_new_value() -> None:
    x, w = ml.asarray([1.0, 2.0], requires_grad=True), ml.asarray(3.0, requires_grad=True)
    h = x * 2
    h[0] = w
    h *= w
    h.sum().backward()
    assert x.grad.tolist() == [0.0, 6.0]
    assert w.grad.item() == 3 + 3 + 4  # d(w*w)/dw + d(2*x1*w)/dw


def test_a_plain_tensor_takes_a_history() -> None:
    x, w = ml.zeros((2,)), ml.asarray(3.0, requires_grad=True)
    x[1] = w
    assert x.requires_grad
    x.sum().backward()
    assert w.grad.item() == 1.0


def test_a_tensor_inside_itself() -> None:
    x = ml.asarray([1.0, 2.0, 3.0])
    x[1:] = x[:-1]
    assert x.tolist() == [1.0, 1.0, 2.0]
    x[::-1] = x
    assert x.tolist() == [2.0, 1.0, 1.0]
    x += x
    x[x > 2] = x.sum()
    assert x.tolist() == [8.0, 2.0, 2.0]
