"""What Python asks of a number or a container: len, iter, bool, int, index, format, repr, copy, pickle."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore.dtypes import all_dtypes
from mlcore.errors import ArgumentTypeError, AutogradError, MlcoreError, ShapeError


def test_facts() -> None:
    x = ml.zeros((2, 3, 4), dtype="float16")
    assert (x.ndim, x.size, x.nbytes, len(x)) == (3, 24, 48, 2)
    assert (x.shape, x.dtype, str(x.device)) == ((2, 3, 4), ml.float16, "reference")
    assert (ml.zeros(()).size, ml.zeros((0, 3)).size, ml.zeros((0, 3)).nbytes) == (1, 0, 0)
    assert x.mT.shape == (2, 4, 3)
    assert ml.zeros((2, 3)).T.shape == (3, 2)
    with pytest.raises(ShapeError, match="T: a tensor of shape"):
        x.T  # noqa: B018


def test_length_and_iteration() -> None:
    x = ml.asarray([[1, 2], [3, 4]])
    assert [row.tolist() for row in x] == [[1, 2], [3, 4]]
    a, b = x
    assert (a + b).tolist() == [4, 6]
    assert list(ml.zeros((0, 2))) == []
    for act in (len, iter, list):
        with pytest.raises(ArgumentTypeError, match="0-d tensor"):
            act(ml.asarray(1.0))
    assert 3 in x
    assert 9 not in x
    assert [v.item() for v in reversed(x[0])] == [2, 1]


def test_truth() -> None:
    assert ml.asarray(2.0)
    assert not ml.asarray([[0]])
    for bad in (ml.asarray([True, False]), ml.zeros((0,))):
        with pytest.raises(ShapeError, match="item: a tensor of shape"):
            bool(bad)


def test_numbers() -> None:
    assert int(ml.asarray(2.7)) == 2
    assert float(ml.asarray([3])) == 3.0
    assert complex(ml.asarray(1j)) == 1j
    assert math.sqrt(ml.asarray(16.0)) == 4.0
    assert [10, 20, 30][ml.asarray(1)] == 20
    assert list(range(5))[ml.asarray(1) : ml.asarray(3)] == [1, 2]
    with pytest.raises(ArgumentTypeError, match="float32 tensor cannot be used as an index"):
        [1, 2][ml.asarray(1.0)]
    with pytest.raises(ArgumentTypeError):
        [1, 2][ml.asarray(True)]
    with pytest.raises(TypeError):
        float(ml.asarray(1j))
    with pytest.raises(ShapeError, match=r"item: a tensor of shape \(2,\) has 2 elements"):
        int(ml.asarray([1, 2]))
    with pytest.raises(ShapeError):
        [1, 2][ml.asarray([0, 1])]


@pytest.mark.parametrize("dtype", all_dtypes, ids=str)
def test_item_and_tolist_give_python_numbers(dtype: Any) -> None:
    x = ml.ones((2,), dtype=dtype)
    kind = {"b": bool, "i": int, "u": int, "f": float, "c": complex}[dtype.kind]
    assert type(x[0].item()) is kind
    assert type(x.tolist()[0]) is kind
    assert x.tolist() == [1, 1]


def test_format() -> None:
    assert f"{ml.asarray(3.14159):.2f}" == "3.14"
    assert f"{ml.asarray(7):>4d}|" == "   7|"
    assert f"{ml.asarray([1.0])}" == str(ml.asarray([1.0])) == repr(ml.asarray([1.0]))
    with pytest.raises((TypeError, ValueError)):
        f"{ml.asarray([1.0, 2.0]):.2f}"


REPRS: list[tuple[Any, str]] = [
    (lambda: ml.asarray([1.0, 2.5]), "Tensor([1. , 2.5], device='reference')"),
    (lambda: ml.asarray([1, 2], dtype="int8"), "Tensor([1, 2], dtype=int8, device='reference')"),
    (lambda: ml.asarray(True), "Tensor(True, device='reference')"),
    (lambda: ml.zeros((0, 3)), "Tensor([], dtype=float32, shape=(0, 3), device='reference')"),
    (lambda: ml.ones(1, requires_grad=True), "Tensor([1.], device='reference', requires_grad=True)"),
    (lambda: ml.ones(1, requires_grad=True) * 2, "Tensor([2.], device='reference', made_by=multiply)"),
    (lambda: ml.asarray([1.5], dtype="bfloat16"), "Tensor([1.5], dtype=bfloat16, device='reference')"),
]


@pytest.mark.parametrize(("make", "text"), REPRS, ids=[t for _, t in REPRS])
def test_repr(make: Any, text: str) -> None:
    assert repr(make()) == text


def test_repr_of_much_is_short() -> None:
    assert len(repr(ml.zeros((1000, 1000)))) < 500


@pytest.mark.parametrize("dtype", all_dtypes, ids=str)
@pytest.mark.parametrize("way", ["copy", "deepcopy", "pickle"])
def test_copies(way: str, dtype: Any) -> None:
    x = ml.asarray(np.array([[1, 0], [1, 1]]), dtype=dtype)
    if dtype.kind in "fc":
        x.requires_grad_()
    twin = {"copy": copy.copy, "deepcopy": copy.deepcopy, "pickle": lambda v: pickle.loads(pickle.dumps(v))}[
        way
    ](x)
    assert twin is not x
    assert (twin.dtype, twin.shape, twin.device, twin.requires_grad) == (
        x.dtype,
        x.shape,
        x.device,
        x.requires_grad,
    )
    assert twin.is_leaf
    twin.detach()
    with ml.no_grad():
        twin[0] = 0
    assert x.tolist() == [[1, 0], [1, 1]]


def test_a_deep_copy_keeps_sharing_and_the_gradient() -> None:
    x = ml.ones((2,), requires_grad=True)
    (x * 3).sum().backward()
    a, b = copy.deepcopy([x, x])
    assert a is b
    assert a.grad.tolist() == [3.0, 3.0]
    assert a.grad is not x.grad


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, pickle.dumps])
def test_no_copy_of_a_history(way: Any) -> None:
    y = ml.ones((2,), requires_grad=True) * 2
    with pytest.raises(AutogradError, match=r"detach\(\)"):
        way(y)
    assert pickle.loads(pickle.dumps(y.detach())).tolist() == [2.0, 2.0]


def test_errors_survive_pickling() -> None:
    with pytest.raises(ShapeError) as caught:
        ml.zeros((2,)) + ml.zeros((3,))
    twin = pickle.loads(pickle.dumps(caught.value))
    assert type(twin) is ShapeError
    assert str(twin) == str(caught.value)
    assert twin.details == caught.value.details


def test_every_operation_survives_pickling() -> None:
    for op in ml.registry.all_ops():
        assert pickle.loads(pickle.dumps(op)) is op
    for function in ml.registry.all_functions():
        assert pickle.loads(pickle.dumps(function.call)) is function.call


def test_hashing_is_by_identity() -> None:
    x, y = ml.ones((2,)), ml.ones((2,))
    assert {x: 1, y: 2}[x] == 1
    assert x in {x}
    assert y not in {x}


def test_a_tensor_is_not_constructed_directly() -> None:
    with pytest.raises(ArgumentTypeError, match=r"use mlcore\.asarray"):
        ml.Tensor([1.0])


def test_attributes_that_do_not_exist() -> None:
    x = ml.ones((2,))
    with pytest.raises(AttributeError):
        x.colour = "red"
    with pytest.raises(AttributeError):
        x.nosuch  # noqa: B018
    with pytest.raises(AttributeError, match="did you mean 'reshape'"):
        ml.reshpae  # noqa: B018
    with pytest.raises(MlcoreError, match="grad must be a Tensor or None"):
        x.grad = 3
    with pytest.raises(ShapeError, match=r"grad of shape \(3,\) assigned to a tensor of shape \(2,\)"):
        x.grad = ml.ones((3,))


def test_conversion_on_the_way() -> None:
    x = ml.asarray([1.5, 2.5])
    assert (
        x.to("float64").dtype
        is x.to(ml.float64).dtype
        is x.to(float, copy=False).to(np.float64).dtype
        is ml.float64
    )
    assert x.to(np.dtype("float64")).dtype is ml.float64
    assert x.to("reference", "int32").tolist() == [1, 2]
    assert x.to(ml.asarray([1], dtype="int8")).dtype is ml.int8
    assert x.to("float32") is x
    assert x.to_device("reference") is x
