"""Sequences of different lengths, padded and packed, and recurrent layers over packed batches, against PyTorch."""

# ruff: noqa: E501  (tables of cases)

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import nn
from mlcore.errors import ArgumentError, ArgumentTypeError, MlcoreError, OutOfRangeError, ShapeError
from mlcore.nn.utils import rnn
from mlcore.testing import gradcheck, gradgradcheck
from tests.nn.layer_parity import results, shared_weights

RNG = np.random.default_rng(0)
LENGTHS = [[5, 3, 3, 1], [2, 5, 1, 5, 4], [1], [4, 4, 4], [1, 2, 3, 4, 5, 6], [7, 1]]
WAYS: list[dict[str, Any]] = [
    {},
    dict(bidirectional=True),
    dict(num_layers=2, bidirectional=True, bias=False),
    dict(batch_first=True, num_layers=2),
]
KINDS = [
    *[(kind, how) for kind in ("RNN", "LSTM", "GRU") for how in WAYS], ("RNN", dict(nonlinearity="relu")),
    ("LSTM", dict(proj_size=3)), ("LSTM", dict(proj_size=2, bidirectional=True, num_layers=2)),
]  # fmt: skip


def padded(lengths: list[int], tail: tuple[int, ...], batch_first: bool, extra: int = 0) -> Any:
    steps = max(lengths) + extra
    return RNG.normal(size=(len(lengths), steps, *tail) if batch_first else (steps, len(lengths), *tail))


def same(ours: Any, theirs: Any) -> None:
    if theirs is None:
        assert ours is None
        return
    assert str(ours.dtype) == str(theirs.dtype).removeprefix("torch.")
    np.testing.assert_array_equal(ours.detach().numpy(), theirs.detach().numpy())


@pytest.mark.parity
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("tail", [(), (3,), (2, 3)], ids=str)
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_packing(lengths: list[int], tail: tuple[int, ...], batch_first: bool, device: str) -> None:
    """Packed, and padded again to two lengths: every field and both gradients."""
    torch = pytest.importorskip("torch")
    theirs_rnn = torch.nn.utils.rnn
    ordered = lengths == sorted(lengths, reverse=True)
    for extra, enforce in ((0, ordered), (2, False)):
        x = padded(lengths, tail, batch_first, extra)
        a, b = ml.asarray(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        given: Any = lengths if extra else ml.asarray(lengths)
        for total in (None, max(lengths) + 3):
            ours = rnn.pack_padded_sequence(a, given, batch_first, enforce)
            theirs = theirs_rnn.pack_padded_sequence(b, torch.tensor(lengths), batch_first, enforce)
            for one, other in zip(ours, theirs, strict=True):
                same(one, other)
            how: dict[str, Any] = dict(batch_first=batch_first, padding_value=-2.5, total_length=total)
            y, counts = rnn.pad_packed_sequence(ours, **how)
            ty, tcounts = theirs_rnn.pad_packed_sequence(theirs, **how)
            same(counts, tcounts)
            a.grad = b.grad = None
            results(y, ty, [a], [b], torch, 1e-12)


@pytest.mark.parity
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("tail", [(), (3,)], ids=str)
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_lists_of_sequences(
    lengths: list[int], tail: tuple[int, ...], batch_first: bool, device: str
) -> None:
    torch = pytest.importorskip("torch")
    theirs_rnn = torch.nn.utils.rnn
    hosts = [RNG.normal(size=(n, *tail)) for n in lengths]
    ours, theirs = (
        [ml.asarray(h, requires_grad=True) for h in hosts],
        [torch.tensor(h, requires_grad=True) for h in hosts],
    )
    for side in ("right", "left"):
        y, ty = (
            rnn.pad_sequence(ours, batch_first, 1.5, side),
            theirs_rnn.pad_sequence(theirs, batch_first, 1.5, side),
        )
        for one in (*ours, *theirs):
            one.grad = None
        results(y, ty, ours, theirs, torch, 1e-12)
    for one, host in zip(
        rnn.unpad_sequence(rnn.pad_sequence(ours, batch_first), lengths, batch_first), hosts, strict=True
    ):
        np.testing.assert_array_equal(one.detach().numpy(), host)
    packed, other = (
        rnn.pack_sequence(ours, enforce_sorted=False),
        theirs_rnn.pack_sequence(theirs, enforce_sorted=False),
    )
    for one, its in zip(packed, other, strict=True):
        same(one, its)
    for one, its in zip(rnn.unpack_sequence(packed), theirs_rnn.unpack_sequence(other), strict=True):
        same(one, its)
    whole, its_whole = [ml.asarray(np.arange(n)) for n in lengths], [torch.arange(n) for n in lengths]
    same(rnn.pad_sequence(whole, padding_value=7), theirs_rnn.pad_sequence(its_whole, padding_value=7))
    packed, other = (
        rnn.pack_sequence(whole, enforce_sorted=False),
        theirs_rnn.pack_sequence(its_whole, enforce_sorted=False),
    )
    same(
        rnn.pad_packed_sequence(packed, padding_value=-1.0)[0],
        theirs_rnn.pad_packed_sequence(other, padding_value=-1.0)[0],
    )


@pytest.mark.parity
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("lengths", LENGTHS[:4], ids=str)
@pytest.mark.parametrize(("kind", "how"), KINDS, ids=str)
@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")
def test_layers_over_packed_batches(
    kind: str, how: dict[str, Any], lengths: list[int], dtype: str, device: str
) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = getattr(nn, kind)(4, 5, **how), getattr(torch.nn, kind)(4, 5, **how)
    ours, theirs = ours.to(dtype=dtype), theirs.to(getattr(torch, dtype))
    shared_weights(ours, theirs, torch)
    x = padded(lengths, (4,), True).astype(dtype)
    count = how.get("num_layers", 1) * (2 if how.get("bidirectional") else 1)
    widths = [how.get("proj_size", 5), 5][: 2 if kind == "LSTM" else 1]
    for given in (False, True):
        leaves = [
            x,
            *(RNG.normal(size=(count, len(lengths), width)).astype(dtype) for width in widths if given),
        ]
        a, b = (
            [ml.asarray(one, requires_grad=True) for one in leaves],
            [torch.tensor(one, requires_grad=True) for one in leaves],
        )
        states = [None if not given else one[1] if kind != "LSTM" else tuple(one[1:]) for one in (a, b)]
        y, last = ours(rnn.pack_padded_sequence(a[0], lengths, True, enforce_sorted=False), states[0])
        ty, tlast = theirs(
            torch.nn.utils.rnn.pack_padded_sequence(b[0], torch.tensor(lengths), True, enforce_sorted=False),
            states[1],
        )
        assert isinstance(y, rnn.PackedSequence)
        for one, other in zip(y[1:], ty[1:], strict=True):
            same(one, other)
        for module in (ours, theirs):
            module.zero_grad()
        flat, other = (last, tlast) if kind == "LSTM" else ((last,), (tlast,))
        results(
            [y.data, *flat],
            [ty.data, *other],
            [*a, *ours.parameters()],
            [*b, *theirs.parameters()],
            torch,
            1e-9 if dtype == "float64" else 2e-4,
        )


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_padding_is_never_seen(kind: str, device: str) -> None:
    """What a sequence gives alone, it gives among others, whatever stands in the padding."""
    ml.random.manual_seed(0)
    layer = getattr(nn, kind)(3, 4, num_layers=2, bidirectional=True, batch_first=True, dtype=ml.float64)
    lengths = [2, 6, 1]
    x = RNG.normal(size=(3, 6, 3))
    for i, n in enumerate(lengths):
        x[i, n:] = np.nan
    y, last = layer(rnn.pack_padded_sequence(ml.asarray(x), lengths, True, enforce_sorted=False))
    for i, (one, n) in enumerate(zip(rnn.unpack_sequence(y), lengths, strict=True)):
        alone, state = layer(ml.asarray(x[i : i + 1, :n]))
        np.testing.assert_allclose(one.detach().numpy(), alone[0].detach().numpy(), rtol=1e-12)
        for a, b in zip(*((found if kind == "LSTM" else (found,)) for found in (last, state)), strict=True):
            np.testing.assert_allclose(a[:, i].detach().numpy(), b[:, 0].detach().numpy(), rtol=1e-12)


def test_a_packed_batch_is_a_tuple_that_moves_and_pickles() -> None:
    packed = rnn.pack_sequence([ml.asarray([1.0]), ml.asarray([2.0, 3.0])], enforce_sorted=False)
    data, sizes, order, back = packed
    assert (data.tolist(), sizes.tolist(), order.tolist(), back.tolist()) == (
        [2.0, 1.0, 3.0],
        [2, 1],
        [1, 0],
        [1, 0],
    )
    assert packed.to(ml.float64).data.dtype is ml.float64
    assert packed.to(data.dtype) is packed
    names = ["double", "half", "long", "int", "short", "char", "byte"]
    assert [str(getattr(packed, one)().data.dtype) for one in names] == [
        "float64",
        "float16",
        "int64",
        "int32",
        "int16",
        "int8",
        "uint8",
    ]
    again = pickle.loads(pickle.dumps(packed))
    assert isinstance(again, rnn.PackedSequence)
    assert [one.tolist() for one in again] == [one.tolist() for one in packed]
    assert packed.to("reference").unsorted_indices.device == packed.to("reference").data.device
    assert rnn.PackedSequence((data, sizes)).batch_sizes is sizes
    assert rnn.pad_packed_sequence(rnn.pack_sequence([ml.asarray([True, True]), ml.asarray([True])]))[
        0
    ].tolist() == [[True, True], [True, False]]


def test_gradients_by_differences() -> None:
    x = ml.asarray(RNG.normal(size=(3, 2, 2)), requires_grad=True)
    lengths = [1, 3]
    for kind, how in (("RNN", {}), ("LSTM", {}), ("GRU", {}), ("LSTM", dict(proj_size=1))):
        layer: Any = getattr(nn, kind)(2, 2, bidirectional=True, dtype=ml.float64, **how)

        def run(x: Any, layer: Any = layer) -> Any:
            packed = rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
            return rnn.pad_packed_sequence(layer(packed)[0])[0]

        assert gradcheck(run, [x])
        assert gradgradcheck(run, [x])
    h, c = (ml.asarray(RNG.normal(size=(1, 2, n)), requires_grad=True) for n in (1, 2))
    lstm = nn.LSTM(2, 2, proj_size=1, dtype=ml.float64)
    assert gradgradcheck(lambda x, h, c: lstm(x, (h, c))[0], [x, h, c])


def z(*shape: int) -> Any:
    return ml.zeros(shape)


BAD: list[tuple[Any, type[MlcoreError], str]] = [
    (lambda: rnn.pack_padded_sequence(z(4, 2), [1, 3]), ArgumentError, r"lengths \[1, 3\] are not sorted.*(\n.*)*enforce_sorted=False"),
    (lambda: rnn.pack_padded_sequence(z(4, 2), [5, 3]), OutOfRangeError, r"lengths \[5, 3\].*(\n.*)*4 steps"),
    (lambda: rnn.pack_padded_sequence(z(4, 2), [3, 0]), OutOfRangeError, r"lengths \[3, 0\]"),
    (lambda: rnn.pack_padded_sequence(z(4, 2), [3]), ShapeError, r"shape \(1,\) for a batch of 2"),
    (lambda: rnn.pack_padded_sequence(z(4, 2), [3.0, 1.0]), ArgumentTypeError, "lengths are float64"),
    (lambda: rnn.pack_padded_sequence(z(4), [4]), ShapeError, r"input of shape \(4,\)"),
    (lambda: rnn.pack_padded_sequence(z(4, 0), []), ShapeError, r"no sequence"),
    (lambda: rnn.pack_sequence([]), ArgumentError, "no sequence"),
    (lambda: rnn.pad_sequence([z(2, 3), z(2, 4)]), ShapeError, r"sequence 1 has shape \(2, 4\)"),
    (lambda: rnn.pad_sequence([z(2), 3]), ArgumentTypeError, "sequence 1 is a int"),
    (lambda: rnn.pad_sequence(3), ArgumentTypeError, "a int"),
    (lambda: rnn.pad_sequence([z(2)], padding_side="top"), ArgumentError, "padding_side='top'"),
    (lambda: rnn.pad_packed_sequence(z(2)), ArgumentTypeError, "expected a PackedSequence"),
    (lambda: rnn.pad_packed_sequence(rnn.pack_sequence([z(3)]), total_length=2), ArgumentError, "total_length=2"),
    (lambda: rnn.unpad_sequence(z(3, 2), [1, 4]), OutOfRangeError, r"lengths \[1, 4\]"),
    (lambda: rnn.invert_permutation(ml.asarray([0, 0])), ArgumentError, r"\[0, 0\]"),
    (lambda: rnn.PackedSequence(z(3)), ArgumentTypeError, "without batch_sizes"),
    (lambda: nn.GRU(3, 4)(rnn.PackedSequence(z(5, 3), ml.asarray([2, 2]))), ArgumentError, r"batch_sizes \[2, 2\] for data of 5 rows"),
    (lambda: nn.GRU(3, 4)(rnn.PackedSequence(z(5, 3), ml.asarray([2, 3]))), ArgumentError, r"batch_sizes \[2, 3\]"),
    (lambda: nn.GRU(3, 4)(rnn.pack_sequence([z(2, 5)])), ShapeError, r"packed data of shape \(2, 5\)"),
    (lambda: nn.LSTM(3, 4)(rnn.pack_sequence([z(2, 3)]), (z(1, 2, 4), z(1, 2, 4))), ShapeError, r"\(1, 2, 4\), expected \(1, 1, 4\)"),
    (lambda: nn.LSTM(3, 4, proj_size=2)(z(2, 1, 3), (z(1, 1, 4), z(1, 1, 4))), ShapeError, r"\(1, 1, 4\), expected \(1, 1, 2\)"),
    (lambda: nn.GRUCell(3, 4)(z(2, 3), z(3, 4)), ShapeError, r"\(3, 4\), expected \(2, 4\)"),
    (lambda: nn.LSTMCell(3, 4)(z(2, 3), z(2, 4)), ArgumentError, "expected a pair"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "text"), BAD, ids=[text for _, _, text in BAD])
def test_bad_input(call: Any, error: type[MlcoreError], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
