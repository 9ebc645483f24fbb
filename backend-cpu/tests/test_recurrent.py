"""Recurrent kernels: the ways an input is multiplied, strided inputs, saturated gates, numbers of threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mlcore as ml
import mlcore_cpu
from mlcore_cpu import recurrent
from mlcore_cpu.loader import kernels as K

Array = np.ndarray[Any, Any]
STEPS, BATCH, FEATURES, HIDDEN = 5, 19, 11, 37


def _given(dtype: str = "float32", features: int = FEATURES) -> list[Array]:
    rng = np.random.default_rng(0)
    shapes = [
        (STEPS, BATCH, features),
        (4 * HIDDEN, features),
        (4 * HIDDEN, HIDDEN),
        (4 * HIDDEN,),
        (4 * HIDDEN,),
    ]
    return [rng.uniform(-1, 1, shape).astype(dtype) for shape in (*shapes, (BATCH, HIDDEN), (BATCH, HIDDEN))]


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def _lstm(arrays: list[Array | None], reverse: bool) -> tuple[Array, Array]:
    """(states, the last cell) in float64."""
    x, w_ih, w_hh, b_ih, b_hh, h, c = [None if one is None else np.asarray(one, np.float64) for one in arrays]
    assert x is not None
    assert w_ih is not None
    assert w_hh is not None
    shape = (x.shape[1], w_hh.shape[1])
    h, c = np.zeros(shape) if h is None else h, np.zeros(shape) if c is None else c
    states = np.zeros((x.shape[0], *shape))
    for t in range(x.shape[0])[:: -1 if reverse else 1]:
        gates = x[t] @ w_ih.T + h @ w_hh.T
        for bias in (b_ih, b_hh):
            gates = gates if bias is None else gates + bias
        i, f, g, o = np.split(gates, 4, axis=-1)
        c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
        h = states[t] = _sigmoid(o) * np.tanh(c)
    return states, c


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("left_out", [(), (3,), (3, 4), (5, 6)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("fused", [True, False])
def test_lstm(
    monkeypatch: pytest.MonkeyPatch, fused: bool, dtype: str, left_out: tuple[int, ...], reverse: bool
) -> None:
    """A step multiplies its input itself, or one product has done it for all steps."""
    monkeypatch.setattr(recurrent, "FUSED_BYTES", 1 << 30 if fused else 0)
    given: list[Array | None] = [None if i in left_out else one for i, one in enumerate(_given(dtype))]
    with ml.device("cpu"):
        y = ml.registry.get("lstm_layer")(
            *[None if one is None else ml.asarray(one) for one in given], reverse=reverse
        )
    states, cell = _lstm(given, reverse)
    tolerance = {"float64": 1e-13, "float32": 3e-6, "float16": 4e-3}[dtype]
    np.testing.assert_allclose(np.asarray(y[0])[:-1], states, atol=tolerance)
    np.testing.assert_allclose(np.asarray(y[0])[-1], cell, atol=tolerance)


@pytest.mark.parametrize("layout", ["batch first", "every other step", "backwards", "columns", "no features"])
def test_inputs_where_they_lie(layout: str) -> None:
    given = _given(features=0 if layout == "no features" else FEATURES)
    x = given[0]
    wide = np.repeat(x, 2, axis=0)
    given[0] = {
        "batch first": np.ascontiguousarray(x.swapaxes(0, 1)).swapaxes(0, 1), "every other step": wide[::2],
        "backwards": np.ascontiguousarray(x[::-1])[::-1], "columns": np.asfortranarray(x), "no features": x,
    }[layout]  # fmt: skip
    assert np.array_equal(given[0], x)
    weights = (given[1], given[2], given[3], given[5], given[6])
    found = K.lstm_fused(given[0], *weights, False)
    for a, b in zip(found, K.lstm_fused(np.ascontiguousarray(x), *weights, False), strict=True):
        assert np.array_equal(a, b)
    np.testing.assert_allclose(found[0][:-1], _lstm([x, *given[1:4], None, *given[5:]], False)[0], atol=3e-6)


@pytest.mark.parametrize("value", [40.0, -40.0, 500.0, -500.0, 3e38, -3e38, np.inf, -np.inf, np.nan])
def test_saturated_gates(value: float) -> None:
    """Gates of 0 and 1, and never beyond; a nan stays with its row of the batch."""
    x, w_ih, w_hh, bias = (
        np.zeros((2, 3, 1), np.float32),
        np.ones((8, 1), np.float32),
        np.zeros((8, 2), np.float32),
        None,
    )
    x[0, 1] = value
    y, gates, cells = K.lstm_fused(x, w_ih, w_hh, bias, None, None, False)
    with np.errstate(invalid="ignore", over="ignore"):
        kept = np.asarray(1 / (1 + np.exp(-np.float64(value))), np.float32)
        np.testing.assert_allclose(gates[0, 1, [0, 1, 2, 3, 6, 7]], kept, atol=2e-38)
        np.testing.assert_allclose(gates[0, 1, 4:6], np.tanh(np.float32(value)))
    assert not (np.abs(gates) > 1).any()
    assert np.isfinite(y[:, [0, 2]]).all()
    assert np.isfinite(cells[:, [0, 2]]).all()
    assert np.array_equal(np.isnan(y[:-1, 1]).all(), np.isnan(value))


def test_gates_are_accurate() -> None:
    """tanh and sigmoid of the kernels over their whole range, within 8 units in the last place."""
    at = np.concatenate([np.linspace(-20, 20, 40_000), np.geomspace(1e-30, 1, 3_000)]).astype(np.float32)
    x = at.reshape(1, -1, 1)
    gates = K.lstm_fused(
        x, np.ones((4, 1), np.float32), np.zeros((4, 1), np.float32), None, None, None, False
    )[1][0]
    for column, exact in ((0, _sigmoid(at.astype(np.float64))), (2, np.tanh(at.astype(np.float64)))):
        unit = np.spacing(np.abs(exact).astype(np.float32))
        assert (np.abs(gates[:, column] - exact) / unit).max() <= 8


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_threads_do_not_change_results(kind: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((20, 37, 32)).astype(np.float32)

    def run() -> list[Array]:
        ml.random.manual_seed(0)
        with ml.device("cpu"):
            layer = getattr(ml.nn, kind)(32, 72)
            y = layer(ml.asarray(x))[0]
            (y * y).sum().backward()
        return [np.asarray(y.detach()), *(np.asarray(one.grad) for one in layer.parameters())]

    before, found = mlcore_cpu.get_num_threads(), []
    try:
        for threads in (1, 2, 4):
            mlcore_cpu.set_num_threads(threads)
            found.append(run())
    finally:
        mlcore_cpu.set_num_threads(before)
    for other in found[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(found[0], other, strict=True))
