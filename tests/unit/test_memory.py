"""What the tape keeps alive, and when it lets go: watched through weak references to the arrays."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import autograd


@pytest.fixture(autouse=True)
def _without_the_collector() -> Iterator[None]:
    """References alone must free everything: a cycle would wait for the collector."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def leaf(n: int = 8) -> Any:
    return ml.asarray(np.linspace(0.5, 1.5, n), requires_grad=True)


def test_a_dropped_graph_is_freed_at_once() -> None:
    x = leaf()
    h = ml.exp(x)
    y = ml.tanh(h * h).sum()
    watched = [weakref.ref(one) for one in (h.array, y.array, h.node, y.node)]
    del h, y
    assert [one() for one in watched] == [None] * 4


def test_backward_frees_saved_values_as_it_passes() -> None:
    x = leaf()
    stages = [x]
    for _ in range(5):
        stages.append(ml.exp(stages[-1] * 0.1))
    watched = [weakref.ref(one.array) for one in stages[1:]]
    alive: list[list[bool]] = []
    for one in stages[1:]:
        one.register_hook(lambda g: alive.append([w() is not None for w in watched]))
    y = (stages[-1] * stages[-1]).sum()
    del stages, one
    assert all(w() is not None for w in watched)
    y.backward()
    # The hooks ran from the last stage to the first; by then everything behind them was gone.
    assert [sum(one) for one in alive] == [5, 4, 3, 2, 1]
    assert not any(w() is not None for w in watched)


def test_retain_graph_keeps_them() -> None:
    x = leaf()
    h = ml.exp(x)
    y = (h * h).sum()
    watched = weakref.ref(h.array)
    del h
    y.backward(retain_graph=True)
    assert watched() is not None
    y.backward()
    assert watched() is None


SAVES: list[tuple[str, Any, bool]] = [
    ("add", lambda h: h + 1.0, False), ("subtract", lambda h: 1.0 - h, False), ("negative", lambda h: -h, False),
    ("sum", lambda h: ml.sum(h), False), ("mean", lambda h: ml.mean(h), False), ("tanh", lambda h: ml.tanh(h), False),
    ("exp", lambda h: ml.exp(h), False), ("sigmoid", lambda h: ml.sigmoid(h), False),
    ("relu", lambda h: ml.relu(h), False), ("softmax", lambda h: ml.softmax(h), False),
    ("scale", lambda h: h * 2.0, False), ("sqrt", lambda h: ml.sqrt(h), False), ("slice", lambda h: h[1:], False),
    ("reshape", lambda h: h.reshape(2, 4) * 3.0, False), ("where", lambda h: ml.where(h > 0, h, 0.0), False),
    ("concat", lambda h: ml.concat([h, h]), False), ("dropout", lambda h: ml.random.dropout(h, 0.5), False),
    ("sin", lambda h: ml.sin(h), True), ("square", lambda h: h * h, True), ("log", lambda h: ml.log(h), True),
    ("gelu", lambda h: ml.gelu(h), True), ("max", lambda h: ml.max(h), True), ("var", lambda h: ml.var(h), True),
]  # fmt: skip


@pytest.mark.parametrize(("name", "f", "kept"), SAVES, ids=[name for name, _, _ in SAVES])
def test_only_what_the_gradient_names_is_saved(name: str, f: Any, kept: bool) -> None:
    x = leaf()
    h = x + 0.25  # saves nothing itself
    y = f(h)
    watched = weakref.ref(h.array)
    assert not np.shares_memory(h.array, x.array)
    base = h.array.base is None
    del h
    alive = watched() is not None
    assert base
    if name not in ("slice", "reshape"):  # those share storage with their result
        assert alive is kept
    assert y.requires_grad


def test_an_input_that_needs_no_gradient_saves_less() -> None:
    x, constant = leaf(), ml.asarray(np.ones(8))
    h = x + 1.0
    y = h * constant  # only the constant is needed
    watched = weakref.ref(h.array)
    del h
    assert watched() is None
    assert y.requires_grad


def test_no_grad_saves_nothing() -> None:
    x = leaf()
    with ml.no_grad():
        h = ml.sin(x)
        y = h * h
    watched = weakref.ref(h.array)
    del h
    assert watched() is None
    assert y.node is None


def test_a_training_loop_does_not_grow() -> None:
    w = leaf(32)

    def step() -> None:
        w.grad = None
        h = ml.tanh(w * w)
        (h * h).sum().backward()
        with ml.no_grad():
            w.__isub__(w.grad * 0.01)

    for _ in range(5):
        step()
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(50):
        step()
    assert len(gc.get_objects()) - before < 20


def test_an_error_in_the_middle_frees_everything() -> None:
    x = leaf()
    h = ml.exp(x)
    watched = weakref.ref(h.array)

    def fail(g: Any) -> None:
        raise RuntimeError("stop")

    h.register_hook(fail)
    y = (h * h).sum()
    with pytest.raises(RuntimeError, match="stop"):
        y.backward()
    del h, y
    gc.collect()
    assert watched() is None


def test_higher_orders_are_freed_too() -> None:
    x = leaf()
    h = ml.exp(x)
    (first,) = autograd.grad((h * h * h).sum(), x, create_graph=True)
    watched = [weakref.ref(h.array), weakref.ref(first.array)]
    del h, first
    gc.collect()
    assert [one() for one in watched] == [None, None]
