"""Losses made by @nn.loss, what is masked, and what every loss refuses."""

# ruff: noqa: E501  (tables of cases)

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import nn
from mlcore.errors import (
    ArgumentError,
    ArgumentTypeError,
    DTypeError,
    MlcoreError,
    OutOfRangeError,
    ShapeError,
)
from mlcore.nn import functional as F

RNG = np.random.default_rng(0)


def normal(*shape: int) -> Any:
    return np.asarray(RNG.normal(size=shape) * 2)


def uniform(*shape: int) -> Any:
    return np.asarray(RNG.uniform(0.05, 0.95, size=shape))


@nn.loss
def relative(input: Any, target: Any, *, floor: float = 1.0) -> Any:
    """Error relative to the target."""
    return abs(input - target) / ml.maximum(abs(target), floor)


def test_a_loss_of_ones_own(device: str) -> None:
    x, y = normal(3, 4), normal(3, 4)
    mine, want = (ml.asarray(x), ml.asarray(y)), np.abs(x - y) / np.maximum(np.abs(y), 1.0)
    w, m = uniform(3, 1), RNG.integers(0, 2, 4).astype(bool)
    m[0] = True
    full, mask = np.broadcast_to(w, (3, 4)), np.broadcast_to(m, (3, 4))
    np.testing.assert_allclose(relative(*mine).item(), want.mean(), rtol=1e-12)
    np.testing.assert_allclose(
        relative(*mine, reduction="none", weight=ml.asarray(w)).numpy(), want * w, rtol=1e-12
    )
    np.testing.assert_allclose(
        relative(*mine, weight=ml.asarray(w)).item(), (want * w).sum() / full.sum(), rtol=1e-12
    )
    np.testing.assert_allclose(relative(*mine, mask=ml.asarray(m)).item(), want[mask].mean(), rtol=1e-12)
    np.testing.assert_allclose(
        relative(*mine, mask=m, weight=w).item(), (want * w)[mask].sum() / full[mask].sum(), rtol=1e-12
    )
    np.testing.assert_allclose(relative(*mine, mask=m, reduction="sum").item(), want[mask].sum(), rtol=1e-12)
    module = relative.Module(reduction="sum", floor=2.0)
    np.testing.assert_allclose(
        module(*mine).item(), (np.abs(x - y) / np.maximum(np.abs(y), 2.0)).sum(), rtol=1e-12
    )
    assert repr(module) == "CustomLoss(relative, reduction='sum', floor=2.0)"
    again = pickle.loads(pickle.dumps(module))
    assert again(*mine).item() == module(*mine).item()
    hole = ml.asarray(np.where(m, x, np.nan), requires_grad=True)
    relative(hole, mine[1], mask=m).backward()
    assert np.isfinite(hole.grad.numpy()).all()
    assert relative.__doc__ == "Error relative to the target."


@nn.loss
def log_ratio(input: Any, target: Any) -> Any:
    return abs(ml.log(input) - ml.log(target))


@nn.loss
def likelihood(input: Any, target: Any) -> Any:
    return -target * ml.log_softmax(input, axis=-1)  # not elementwise: the classes belong together


def test_what_is_masked_reaches_no_gradient(device: str) -> None:
    labels = ml.asarray(
        [[2.0, float("nan")], [0.0, -1.0], [5.0, 3.0]]
    )  # a missing one, and two without a logarithm
    known = labels > 0
    guess = ml.asarray([1.0, 2.0], requires_grad=True)
    loss = log_ratio(guess, labels, mask=known, weight=ml.asarray([[3.0], [1.0], [1.0]]))
    loss.backward()
    np.testing.assert_allclose(loss.item(), (3 * np.log(2) + np.log(5) + np.log(1.5)) / 5, rtol=1e-6)
    np.testing.assert_allclose(guess.grad.numpy(), [-4 / 5, -1 / 10], rtol=1e-6)
    logits = ml.asarray([[0.0, 1.0, -float("inf")]], requires_grad=True)
    allowed = ml.asarray([[True, True, False]])
    loss = likelihood(logits, ml.asarray([[0.5, 0.5, 0.0]]), mask=allowed, reduction="sum")
    np.testing.assert_allclose(loss.item(), np.log(1 + np.e) - 0.5, rtol=1e-6)


def _ones(*shape: int) -> Any:
    return ml.ones(shape)


BAD: list[tuple[Any, type[MlcoreError], str]] = [
    (lambda: F.smooth_l1_loss(_ones(2), _ones(2), beta=-1.0), ArgumentError, "beta is -1.0"),
    (lambda: F.huber_loss(_ones(2), _ones(2), delta=0.0), ArgumentError, "delta is 0.0"),
    (lambda: F.smooth_l1_loss(_ones(2), _ones(3)), ShapeError, r"input \(2,\) with target \(3,\)"),
    (lambda: F.mse_loss(_ones(2), _ones(2), weight=_ones(3)), ShapeError, r"weight \(3,\) for a loss \(2,\)"),
    (lambda: F.binary_cross_entropy(ml.asarray([0.5, 1.5]), _ones(2)), ArgumentError, "the input has 1.5"),
    (lambda: F.binary_cross_entropy(ml.asarray([float("nan")]), _ones(1)), ArgumentError, "the input has nan"),
    (lambda: F.binary_cross_entropy(_ones(2), ml.asarray([0, 1])), DTypeError, "expected probabilities"),
    (lambda: F.kl_div(_ones(2), _ones(2), reduction="batch"), ArgumentError, "reduction='batch'"),
    (lambda: nn.MSELoss(reduction="batchmean"), ArgumentError, "reduction='batchmean'"),
    (lambda: F.gaussian_nll_loss(_ones(2), _ones(2), ml.asarray([1.0, -2.0])), ArgumentError, "var has -2.0"),
    (lambda: F.gaussian_nll_loss(_ones(2, 3), _ones(2, 3), _ones(4)), ShapeError, r"var \(4,\) with input \(2, 3\)"),
    (lambda: F.gaussian_nll_loss(_ones(2), _ones(2), _ones(2), eps=0.0), ArgumentError, "eps is 0.0"),
    (lambda: F.multi_margin_loss(_ones(2, 3), ml.asarray([0, 3])), OutOfRangeError, "target 3 at row 1 out of range for 3 classes"),
    (lambda: F.multi_margin_loss(_ones(2, 3), ml.asarray([0])), ShapeError, r"input \(2, 3\) with target \(1,\)"),
    (lambda: F.multi_margin_loss(_ones(2, 3), ml.asarray([0, 1]), p=3), ArgumentError, "p is 3"),
    (lambda: F.multi_margin_loss(_ones(2, 3), ml.asarray([0, 1]), weight=_ones(2)), ShapeError, r"weight \(2,\) for 3 classes"),
    (lambda: F.multilabel_margin_loss(_ones(1, 3), ml.asarray([[0, 5, -1]])), OutOfRangeError, "target 5 out of range for 3 classes"),
    (lambda: F.multilabel_margin_loss(_ones(1, 3), _ones(1, 3)), DTypeError, "expected classes"),
    (lambda: F.cosine_embedding_loss(_ones(2, 3), _ones(2, 3), ml.asarray([1])), ShapeError, r"with target \(1,\)"),
    (lambda: F.triplet_margin_loss(_ones(2, 3), _ones(2, 3), _ones(2, 3), margin=0.0), ArgumentError, "margin is 0.0"),
    (lambda: F.triplet_margin_loss(_ones(2, 3), _ones(3), _ones(2, 3)), ShapeError, r"positive \(3,\)"),
    (lambda: F.margin_ranking_loss(_ones(2), _ones(2, 1), _ones(2)), ShapeError, r"inputs \(2,\) and \(2, 1\)"),
    (lambda: F.pairwise_distance(_ones(2), _ones(2), -1.0), ArgumentError, "p is -1.0"),
    (lambda: F.pdist(_ones(2)), ShapeError, r"input \(2,\)"),
    (lambda: F.cosine_similarity(_ones(2), _ones(2)), ShapeError, r"dim=1 for inputs of shape \(2,\)"),
    (lambda: F.ctc_loss(_ones(4, 1, 3), ml.asarray([[0]]), [4], [1]), OutOfRangeError, "target 0 in sequence 0"),
    (lambda: F.ctc_loss(_ones(4, 1, 3), ml.asarray([[1]]), [5], [1]), ArgumentError, "input_lengths has 5, log_probs has 4 steps"),
    (lambda: F.ctc_loss(_ones(4, 1, 3), ml.asarray([[1]]), [4, 4], [1]), ArgumentError, r"input_lengths is \[4, 4\]"),
    (lambda: F.ctc_loss(_ones(4, 1, 3), ml.asarray([1, 2]), [4], [1]), ShapeError, "2 targets in one row"),
    (lambda: F.ctc_loss(_ones(4, 1, 3), ml.asarray([[1]]), [4], [1], blank=3), OutOfRangeError, "blank is 3"),
    (lambda: F.ctc_loss(_ones(4), ml.asarray([[1]]), [4], [1]), ShapeError, r"log_probs \(4,\)"),
    (lambda: F.focal_loss(_ones(2, 3), ml.asarray([0, 1]), gamma=-1.0), ArgumentError, "gamma is -1.0"),
    (lambda: F.focal_loss(_ones(2, 3), ml.asarray([0, 1]), alpha=_ones(2)), ShapeError, r"alpha \(2,\)"),
    (lambda: F.dice_loss(_ones(2, 3), ml.asarray([0])), ShapeError, r"logits \(2, 3\) with classes \(1,\)"),
    (lambda: F.dice_loss(_ones(2, 3), ml.asarray([0, 3])), OutOfRangeError, "target 3"),
    (lambda: relative(_ones(2), _ones(2), mask=ml.asarray([False, False])), ArgumentError, "the mask lets none of 2"),
    (lambda: relative(_ones(2), _ones(2), weight=_ones(3)), ShapeError, r"weight \(3,\) for losses \(2,\)"),
    (lambda: relative(_ones(2), _ones(2), reduction="max"), ArgumentError, "reduction='max'"),
    (lambda: relative.Module(ceiling=1.0), ArgumentTypeError, "no argument 'ceiling'"),
    (lambda: nn.loss(lambda input, mask: input), ArgumentError, "has an argument 'mask'"),
    (lambda: nn.loss(3), ArgumentTypeError, "nn.loss: a int"),
    (lambda: nn.loss(lambda x, y: 3.0)(_ones(2), _ones(2)), ArgumentTypeError, "gave a float, not a Tensor"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "text"), BAD, ids=[text for _, _, text in BAD])
def test_bad_input(call: Any, error: type[MlcoreError], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
