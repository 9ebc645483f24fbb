"""RNN, LSTM and GRU and their cells against PyTorch: outputs, states, gradients, state_dicts; and their refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import nn
from mlcore.errors import ArgumentError, ShapeError

torch = pytest.importorskip("torch")
torch.set_num_threads(1)
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")]

Array = np.ndarray[Any, Any]
WAYS: list[dict[str, Any]] = [
    {}, dict(bias=False), dict(batch_first=True), dict(bidirectional=True), dict(num_layers=2),
    dict(num_layers=2, bidirectional=True, batch_first=True),
]  # fmt: skip
KINDS = [
    *[(kind, how) for kind in ("RNN", "LSTM", "GRU") for how in WAYS],
    ("RNN", dict(nonlinearity="relu", bidirectional=True)),
    ("LSTM", dict(proj_size=3)),
    ("LSTM", dict(proj_size=2, num_layers=2, bidirectional=True, batch_first=True)),
    ("LSTM", dict(proj_size=6, bias=False)),
]


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


def close(ours: Any, theirs: Any, tolerance: float, what: str) -> None:
    ours, theirs = np.asarray(ours.detach(), np.float64), np.asarray(theirs.detach().numpy(), np.float64)
    assert ours.shape == theirs.shape, what
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance, err_msg=what)


def flat(made: Any) -> list[Any]:
    return [x for one in made for x in flat(one)] if isinstance(made, tuple) else [made]


def pair(kind: str, dtype: str, *sizes: int, **how: Any) -> tuple[Any, Any]:
    """The same layer in both libraries, with the same parameters."""
    torch.manual_seed(0)
    theirs = getattr(torch.nn, kind)(*sizes, dtype=getattr(torch, dtype), **how)
    ours = getattr(nn, kind)(*sizes, dtype=getattr(ml, dtype), **how)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    return ours, theirs


def compare(ours: Any, theirs: Any, x: Array, states: list[Array], dtype: str) -> None:
    """Outputs, and every gradient, with a loss that reads all outputs."""
    tolerance = 1e-10 if dtype == "float64" else 2e-5
    given = [one.astype(dtype) for one in (x, *states)]
    mine = [ml.asarray(one, requires_grad=True) for one in given]
    other = [torch.tensor(one, requires_grad=True) for one in given]
    hx, tx = (
        (None if not rest else rest[0] if len(rest) == 1 else tuple(rest)) for rest in (mine[1:], other[1:])
    )
    y, ty = flat(ours(mine[0], hx)), flat(theirs(other[0], tx))
    assert len(y) == len(ty)
    terms: list[Any] = []
    other_terms: list[Any] = []
    for i, (a, b) in enumerate(zip(y, ty, strict=True)):
        close(a, b, tolerance, f"output {i}")
        cotangent = normal(*b.shape, seed=i + 3).astype(dtype)
        terms.append((a * ml.asarray(cotangent)).sum())
        other_terms.append((b * torch.tensor(cotangent)).sum())
    sum(terms[1:], terms[0]).backward()
    sum(other_terms[1:], other_terms[0]).backward()
    for i, (a, b) in enumerate(zip(mine, other, strict=True)):
        close(a.grad, b.grad, tolerance * 20, f"gradient of input {i}")
    for (name, a), (_, b) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        close(a.grad, b.grad, tolerance * 20, f"gradient of {name}")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("kind", "how"), KINDS, ids=str)
@pytest.mark.parametrize("given", [True, False], ids=["states", "zeros"])
def test_layers(kind: str, how: dict[str, Any], given: bool, dtype: str, device: str) -> None:
    ours, theirs = pair(kind, dtype, 5, 7, **how)
    x = normal(2, 6, 5) if how.get("batch_first") else normal(6, 2, 5)
    count = how.get("num_layers", 1) * (2 if how.get("bidirectional") else 1)
    widths = [how.get("proj_size", 7), 7][: 2 if kind == "LSTM" else 1]
    states = [normal(count, 2, width, seed=i + 1) for i, width in enumerate(widths)] if given else []
    compare(ours, theirs, x, states, dtype)


@pytest.mark.parametrize("shape", [(1, 1, 5), (6, 5), (9, 33, 5), (2, 70, 5)], ids=str)
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_sizes(kind: str, shape: tuple[int, ...], device: str) -> None:
    """One step, no batch, batches that are cut into several pieces with a tail; widths that fill no vector."""
    for hidden in (3, 37):
        ours, theirs = pair(kind, "float32", 5, hidden)
        states = [normal(1, *shape[1:-1], hidden, seed=i + 1) for i in range(2 if kind == "LSTM" else 1)]
        compare(ours, theirs, normal(*shape), states, "float32")


@pytest.mark.parametrize("batch", [(), (3,)], ids=str)
@pytest.mark.parametrize("kind", ["RNNCell", "LSTMCell", "GRUCell"])
def test_cells(kind: str, batch: tuple[int, ...], device: str) -> None:
    for how in ({}, dict(bias=False)):
        ours, theirs = pair(kind, "float64", 5, 7, **how)
        compare(ours, theirs, normal(*batch, 5), [], "float64")
        states = [normal(*batch, 7, seed=i + 1) for i in range(2 if kind == "LSTMCell" else 1)]
        compare(ours, theirs, normal(*batch, 5), states, "float64")


def test_only_the_output_is_read(device: str) -> None:
    """The usual loss, of the last step alone, with an input that wants no gradient."""
    ours, theirs = pair("LSTM", "float64", 5, 7, batch_first=True)
    x = normal(3, 6, 5)
    ours(ml.asarray(x))[0][:, -1].sum().backward()
    theirs(torch.tensor(x))[0][:, -1].sum().backward()
    for (name, a), (_, b) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        close(a.grad, b.grad, 1e-10, name)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_narrow_floats(kind: str, dtype: str, device: str) -> None:
    """Of the parameters as rounded; a step's state is rounded to the dtype, the arithmetic at most as coarse."""
    ours, theirs = pair(kind, "float32", 6, 8)
    ours = ours.to(getattr(ml, dtype))
    theirs.load_state_dict(
        {k: torch.tensor(np.asarray(v.to(ml.float32))) for k, v in ours.state_dict().items()}
    )
    x = ml.asarray(normal(5, 3, 6).astype("float32")).to(getattr(ml, dtype))
    y, ty = flat(ours(x)), flat(theirs(torch.tensor(np.asarray(x.to(ml.float32)))))
    eps = float(ml.finfo(getattr(ml, dtype)).eps)
    for a, b in zip(y, ty, strict=True):
        assert a.dtype is getattr(ml, dtype)
        np.testing.assert_allclose(np.asarray(a.detach().to(ml.float32)), b.detach().numpy(), atol=16 * eps)


def test_an_empty_batch(device: str) -> None:
    lstm = nn.LSTM(4, 3)
    x = ml.zeros((5, 0, 4), requires_grad=True)
    y, (h, c) = lstm(x)
    assert (y.shape, h.shape, c.shape) == ((5, 0, 3), (1, 0, 3), (1, 0, 3))
    y.sum().backward()
    assert x.grad.shape == x.shape
    assert not np.asarray(lstm.weight_hh_l0.grad).any()


def test_dropout_between_layers(device: str) -> None:
    """It drops between the layers while training, and never after the last."""
    ml.random.manual_seed(0)
    rnn = nn.GRU(4, 64, num_layers=2, dropout=0.5)
    x = ml.ones((3, 2, 4))
    first, second = rnn(x)[0], rnn(x)[0]
    assert not np.array_equal(np.asarray(first.detach()), np.asarray(second.detach()))
    assert np.asarray(first.detach()).all()
    rnn.eval()
    assert np.array_equal(np.asarray(rnn(x)[0].detach()), np.asarray(rnn(x)[0].detach()))


def test_init_and_order_of_arguments() -> None:
    ml.random.manual_seed(0)
    layers = (nn.LSTM(10, 16, 2, True, True, 0.5, True), nn.RNN(10, 16, 2, "relu", True, True, 0.5, True))
    for layer in layers:
        assert (layer.num_layers, layer.batch_first, layer.dropout, layer.bidirectional) == (
            2,
            True,
            0.5,
            True,
        )
        values = np.concatenate([np.asarray(p.detach()).ravel() for p in layer.parameters()])
        assert np.abs(values).max() <= 0.25
        assert values.std() == pytest.approx(0.25 / np.sqrt(3), rel=0.1)
        assert len(layer.all_weights) == 4
        layer.flatten_parameters()


def test_gradients_by_differences_to_the_second_order() -> None:
    from mlcore.testing import gradcheck

    for kind in ("lstm", "gru", "rnn"):
        op = ml.registry.get(f"{kind}_layer")
        gates = {"lstm": 4, "gru": 3, "rnn": 1}[kind]
        shapes = [(3, 2, 2), (gates * 3, 2), (gates * 3, 3), (gates * 3,), (gates * 3,), (2, 3)]
        shapes += [(2, 3)] if kind == "lstm" else []
        inputs = [ml.asarray(normal(*s, seed=i) * 0.5, requires_grad=True) for i, s in enumerate(shapes)]

        def first(*at: Any, op: Any = op) -> Any:
            made = op(*at, reverse=True)
            return made[0] if isinstance(made, tuple) else made

        gradcheck(first, inputs, order=2)


def test_the_gradient_of_the_first_state_has_gradients(device: str) -> None:
    from mlcore.testing import gradgradcheck

    for kind in ("RNN", "GRU", "LSTM"):
        layer = getattr(nn, kind)(2, 3, bidirectional=True, dtype=ml.float64)
        x, h = (ml.asarray(normal(*shape), requires_grad=True) for shape in ((2, 2, 2), (2, 2, 3)))

        def run(x: Any, h: Any, kind: str = kind, layer: Any = layer) -> Any:
            return (layer(x, (h.sin(), h.cos()) if kind == "LSTM" else h.sin())[0] * 2).sin()

        assert gradgradcheck(run, [x, h])


def test_refusals() -> None:
    with pytest.raises(ArgumentError, match="hidden_size 0"):
        nn.LSTM(4, 0)
    with pytest.raises(ArgumentError, match="proj_size=8 with hidden_size=8"):
        nn.LSTM(4, 8, proj_size=8)
    with pytest.raises(ArgumentError, match="mode='lstm'"):
        nn.RNNBase("lstm", 4, 8)
    with pytest.warns(UserWarning, match="drops nothing with one layer"):
        nn.GRU(4, 8, dropout=0.5)
    with pytest.raises(ArgumentError, match="nonlinearity='sin'"):
        nn.RNN(4, 8, nonlinearity="sin")
    lstm = nn.LSTM(4, 8)
    with pytest.raises(ShapeError, match=r"got \(3, 2, 5\)"):
        lstm(ml.zeros((3, 2, 5)))
    with pytest.raises(ShapeError, match="length 0"):
        lstm(ml.zeros((0, 2, 4)))
    with pytest.raises(ShapeError, match=r"\(1, 3, 8\), expected \(1, 2, 8\)"):
        lstm(ml.zeros((3, 2, 4)), (ml.zeros((1, 3, 8)), ml.zeros((1, 2, 8))))
    with pytest.raises(ArgumentError, match="expected a pair"):
        lstm(ml.zeros((3, 2, 4)), ml.zeros((1, 2, 8)))
    with pytest.raises(ShapeError, match="GRUCell"):
        nn.GRUCell(4, 8)(ml.zeros((2, 5)))
