"""einsum, tensordot and their kin against NumPy, over random subscripts and axes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mlcore as ml
from mlcore.errors import ArgumentError, DTypeError, ShapeError
from mlcore.ops.nn import linear
from mlcore.testing import gradgradcheck

SIZES = {"a": 1, "b": 2, "c": 3, "d": 4, "e": 2}


def close(found: Any, expected: Any, rtol: float = 1e-12) -> None:
    assert found.shape == np.shape(expected)
    np.testing.assert_allclose(np.asarray(found), expected, rtol=rtol, atol=1e-12)


def numbers(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


@st.composite
def subscripts(draw: Any) -> str:
    letters = st.text("abcde", min_size=0, max_size=4)
    terms = [draw(letters) for _ in range(draw(st.integers(1, 3)))]
    known = sorted(set("".join(terms)))
    text = ",".join(terms)
    if draw(st.booleans()):
        text += "->" + "".join(draw(st.permutations(known))[: draw(st.integers(0, len(known)))])
    return text


@settings(max_examples=400)
@given(subscripts())
def test_einsum(text: str) -> None:
    terms = text.partition("->")[0].split(",")
    arrays = [numbers(tuple(SIZES[c] for c in term), i) for i, term in enumerate(terms)]
    close(ml.einsum(text, *map(ml.asarray, arrays)), np.einsum(text, *arrays))


@settings(max_examples=200)
@given(
    st.sampled_from(
        [
            "...a,...a->...",
            "...ab,...bc->...ac",
            "a...,a...->...a",
            "...,...",
            "...a,b->...b",
            "a...b->...",
            "...a",
        ]
    ),
    st.lists(st.sampled_from([0, 1, 2, 3]), max_size=2),
    st.booleans(),
)
def test_einsum_with_dots(text: str, lead: list[int], thin: bool) -> None:
    arrays = []
    for i, term in enumerate(text.partition("->")[0].split(",")):
        head, dots, tail = term.partition("...")
        middle = tuple(lead if not (thin and i == 0) else [1] * len(lead)) if dots else ()
        arrays.append(numbers(tuple(SIZES[c] for c in head) + middle + tuple(SIZES[c] for c in tail), i))
    close(ml.einsum(text, *map(ml.asarray, arrays)), np.einsum(text, *arrays))


GRADED = [
    "ij,jk->ik",
    "ij,ij->",
    "ij->ji",
    "ii->i",
    "ii",
    "ij,j",
    "bij,bjk->bik",
    "i,j->ij",
    "ij,jk,kl->il",
    "ijk,ik->j",
    "i,i,i->i",
    "aab,b->a",
]


@pytest.mark.parametrize("text", GRADED)
def test_gradient_of_einsum(text: str) -> None:
    terms = text.partition("->")[0].split(",")
    sizes = {c: 2 + i % 3 for i, c in enumerate(sorted(set(text) - set(",->")))}
    arrays = [numbers(tuple(sizes[c] for c in t), i) for i, t in enumerate(terms)]
    leaves = [ml.asarray(a, requires_grad=True) for a in arrays]
    y = ml.einsum(text, *leaves)
    weight = numbers(y.shape, 9)
    (y * ml.asarray(weight)).sum().backward()
    for i, x in enumerate(leaves):  # the function is linear in each operand: differences are exact
        direction = numbers(arrays[i].shape, 20 + i)
        moved = [a + direction if k == i else a for k, a in enumerate(arrays)]
        slope = ((np.einsum(text, *moved) - np.einsum(text, *arrays)) * weight).sum()
        np.testing.assert_allclose((np.asarray(x.grad) * direction).sum(), slope, rtol=1e-10, atol=1e-10)


@settings(max_examples=300)
@given(st.data())
def test_tensordot(data: Any) -> None:
    shared = data.draw(st.lists(st.sampled_from([0, 1, 2, 3]), max_size=3))
    left = data.draw(st.lists(st.sampled_from([1, 2, 4]), max_size=2))
    right = data.draw(st.lists(st.sampled_from([1, 2, 4]), max_size=2))
    a, b = numbers((*left, *shared)), numbers((*shared, *right), 1)
    close(ml.tensordot(ml.asarray(a), ml.asarray(b), axes=len(shared)), np.tensordot(a, b, axes=len(shared)))
    order_a, order_b = data.draw(st.permutations(range(a.ndim))), data.draw(st.permutations(range(b.ndim)))
    at, bt = a.transpose(order_a), b.transpose(order_b)
    axes = (
        [list(order_a).index(len(left) + i) - (at.ndim if i % 2 else 0) for i in range(len(shared))],
        [list(order_b).index(i) for i in range(len(shared))],
    )
    close(ml.tensordot(ml.asarray(at), ml.asarray(bt), axes=axes), np.tensordot(at, bt, axes=axes))


def test_vecdot_and_outer() -> None:
    a, b = numbers((2, 3, 4)), numbers((3, 4), 1)
    close(ml.vecdot(ml.asarray(a), ml.asarray(b)), (a * b).sum(-1))
    close(ml.vecdot(ml.asarray(a), ml.asarray(b[:, :1]), axis=-2), (a * b[:, :1]).sum(-2))
    c = numbers((3,)) + 1j * numbers((3,), 1)
    close(ml.vecdot(ml.asarray(c), ml.asarray(c[::-1].copy())), np.vdot(c, c[::-1]))
    close(ml.outer(ml.asarray(a[0, 0]), ml.asarray(b[0])), np.outer(a[0, 0], b[0]))


@pytest.mark.parametrize("p", [1, 2, 3, 2.5, float("inf")])
@pytest.mark.parametrize("axis", [None, 0, -1])
def test_norm(p: float, axis: Any) -> None:
    a = numbers((3, 4))
    expected = np.linalg.norm(a.ravel() if axis is None else a, p, axis=axis)
    close(ml.norm(ml.asarray(a), p, axis=axis), expected)


@pytest.mark.parametrize("lead", [(), (3,), (2, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_gradients_of_linear(lead: tuple[int, ...], bias: bool) -> None:
    """To the second order in all three arguments: the fused gradient stands beside a body that the tape sees."""
    shapes = [(*lead, 4), (5, 4), *([(5,)] if bias else [])]
    values = [ml.asarray(numbers(shape, i), requires_grad=True) for i, shape in enumerate(shapes)]

    def tanh_of_linear(*args: Any) -> Any:
        return ml.tanh(linear(*args))

    gradgradcheck(tanh_of_linear, values)


BAD: list[tuple[Any, type[Exception], str]] = [
    (lambda x: ml.einsum("ij,jk", x), ShapeError, "names 2 operands, 1 given"),
    (lambda x: ml.einsum("ijk", x), ShapeError, r"'ijk' does not describe a tensor of shape \(2, 3\)"),
    (lambda x: ml.einsum("i1", x), ShapeError, "bad letter '1'"),
    (lambda x: ml.einsum("ij->k", x), ShapeError, "'k' is in no operand"),
    (lambda x: ml.einsum("ij->ii", x), ShapeError, "stands twice"),
    (lambda x: ml.einsum("ij,jk", x, x), ShapeError, "letter 'j' is 3 in one operand and 2 in another"),
    (lambda x: ml.einsum("ii", x), ShapeError, "letter 'i' is 2 in one operand and 3 in another"),
    (lambda x: ml.tensordot(x, x, axes=3), ArgumentError, "axes=3"),
    (lambda x: ml.tensordot(x, x, axes=1), ShapeError, "differ in size"),
    (lambda x: ml.tensordot(x, x, axes=([0, 1], [0])), ShapeError, "differ"),
    (lambda x: x @ x, ShapeError, r"\(2, 3\) @ \(2, 3\): the inner dimensions differ, 3 vs 2"),
    (lambda x: x @ ml.asarray(2.0), ShapeError, "0-d operand"),
    (lambda x: ml.matmul(x, x.mT, dtype=ml.int32), DTypeError, "only int8 operands have a wider sum"),
    (lambda x: ml.zeros((4, 2, 3)) @ ml.zeros((5, 3, 2)), ShapeError, r"cannot broadcast \(4,\) with \(5,\)"),
]


@pytest.mark.parametrize(("call", "kind", "text"), BAD, ids=[t for _, _, t in BAD])
def test_operands_that_do_not_fit(call: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        call(ml.ones((2, 3)))
