"""CTC against PyTorch and the sum over all paths."""

# ruff: noqa: E501  (tables of cases)

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore.nn import functional as F

RNG = np.random.default_rng(0)
REDUCTIONS = ("mean", "sum", "none")
CTC: list[Any] = [
    (12, 3, 5, [12, 12, 12], [4, 3, 2], 0), (12, 3, 5, [12, 9, 5], [4, 0, 5], 0), (9, 2, 4, [9, 1], [3, 1], 3), (20, 4, 6, [20, 15, 11, 7], [5, 7, 2, 6], 2),
    (5, 2, 3, [5, 2], [2, 4], 0), (6, 1, 2, [6], [3], 0), (7, 2, 4, [7, 7], [0, 0], 1),
]  # fmt: skip


@pytest.mark.parity
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize(("steps", "count", "classes", "inputs", "sizes", "blank"), CTC)
def test_ctc(
    steps: int,
    count: int,
    classes: int,
    inputs: list[int],
    sizes: list[int],
    blank: int,
    flat: bool,
    dtype: str,
    reduction: str,
    device: str,
) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(steps)
    logits = rng.normal(size=(steps, count, classes)).astype(dtype)
    labels = [
        np.array([c for c in range(classes) if c != blank])[rng.integers(0, classes - 1, n)] for n in sizes
    ]
    padded = np.full((count, max(*sizes, 1)), 0)
    for row, label in zip(padded, labels, strict=True):
        row[: len(label)] = label
    targets = np.concatenate(labels).astype(np.int64) if flat else padded
    x, t = ml.asarray(logits, requires_grad=True), torch.tensor(logits, requires_grad=True)
    how: dict[str, Any] = dict(blank=blank, reduction=reduction, zero_infinity=True)
    y = F.ctc_loss(F.log_softmax(x, dim=2), ml.asarray(targets), inputs, ml.asarray(sizes), **how)
    ty = torch.nn.functional.ctc_loss(
        torch.log_softmax(t, 2), torch.tensor(targets), torch.tensor(inputs), torch.tensor(sizes), **how
    )
    tolerance = 1e-9 if dtype == "float64" else 2e-4
    np.testing.assert_allclose(y.detach().numpy(), ty.detach().numpy(), rtol=tolerance, atol=tolerance)
    y.sum().backward()
    ty.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), t.grad.numpy(), rtol=tolerance, atol=tolerance)
    infinite = F.ctc_loss(
        F.log_softmax(x, dim=2), ml.asarray(targets), inputs, sizes, blank=blank, reduction="none"
    )
    wanted = torch.nn.functional.ctc_loss(
        torch.log_softmax(t, 2),
        torch.tensor(targets),
        torch.tensor(inputs),
        torch.tensor(sizes),
        blank=blank,
        reduction="none",
    )
    np.testing.assert_allclose(infinite.detach().numpy(), wanted.detach().numpy(), rtol=max(tolerance, 1e-6))


def test_ctc_of_one_sequence(device: str) -> None:
    x = F.log_softmax(ml.asarray(RNG.normal(size=(8, 4))), dim=1)
    one = F.ctc_loss(x, ml.asarray([1, 2]), [8], [2], reduction="none")
    many = F.ctc_loss(x.reshape((8, 1, 4)), ml.asarray([[1, 2]]), [8], [2], reduction="none")
    assert one.shape == ()
    assert one.item() == many.item()


def _enumerated(p: Any, label: tuple[int, ...], blank: int) -> float:
    total = 0.0
    for path in itertools.product(range(p.shape[1]), repeat=p.shape[0]):
        kept = [c for i, c in enumerate(path) if (i == 0 or c != path[i - 1]) and c != blank]
        if tuple(kept) == label:
            total += float(np.prod([p[i, c] for i, c in enumerate(path)]))
    return total


@pytest.mark.parametrize("label", [(), (1,), (1, 1), (2, 1), (1, 2, 1)])
def test_ctc_is_the_sum_over_all_paths(label: tuple[int, ...], device: str) -> None:
    p = np.random.default_rng(0).dirichlet(np.ones(3), size=5)
    found = F.ctc_loss(
        ml.log(ml.asarray(p)), ml.asarray(np.array(label, dtype=np.int64)), [5], [len(label)], reduction="sum"
    )
    np.testing.assert_allclose(np.exp(-found.item()), _enumerated(p, label, 0), rtol=1e-9)
