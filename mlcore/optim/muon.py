"""Muon: momentum whose matrices are made orthogonal."""

from __future__ import annotations

import math
from typing import Any

from mlcore import dtypes
from mlcore.errors import ShapeError
from mlcore.ops.elementwise import astype, maximum, sqrt
from mlcore.ops.linalg import matmul
from mlcore.ops.reduce import sum as total
from mlcore.ops.shape import matrix_transpose
from mlcore.optim.hyper import hyper
from mlcore.optim.rule import Group, UpdateRule


class Muon(UpdateRule):
    """Momentum, made orthogonal by Newton-Schulz iterations (Jordan et al. 2024); for matrices only.

    Give it the weights of hidden layers, and an AdamW the other parameters. The iterations round to bfloat16, as in
    PyTorch, where the device has it. `adjust_lr_fn` scales the rate by the matrix's shape: "original" (the default) by
    `sqrt(max(1, rows / columns))`, "match_rms_adamw" by `0.2 * sqrt(max(rows, columns))`, so that rates of AdamW can
    be used.

    >>> import mlcore as ml
    >>> from mlcore import nn, optim
    >>> p = nn.Parameter(ml.zeros((2, 2))); p.grad = ml.asarray([[3.0, 0.0], [0.0, -0.1]])
    >>> optim.Muon([p], lr=1.0).step(); [round(one) for one in p.reshape(-1).tolist()]
    [-1, 0, 0, 1]
    """

    lr: float = hyper(default=1e-3)
    weight_decay: float = hyper(default=0.1)
    momentum: float = hyper(default=0.95)
    nesterov: bool = hyper(default=True)
    ns_coefficients: tuple[float, float, float] = hyper(default=(3.4445, -4.775, 2.0315), low=-float("inf"))
    eps: float = hyper(default=1e-7)
    ns_steps: int = hyper(default=5)
    adjust_lr_fn: str | None = hyper(default=None, choices=(None, "original", "match_rms_adamw"))

    def check(self, group: Group) -> None:
        for i, p in enumerate(group["params"]):
            if len(p.shape) != 2:
                raise ShapeError(
                    f"Muon: parameter {i} has shape {p.shape}, not two dimensions",
                    fix="give it matrices only, and the other parameters to another optimizer such as AdamW",
                )

    @staticmethod
    def rule(p: Any, g: Any, momentum_buffer: Any, /, *,
             lr: float, weight_decay: float, momentum: float, nesterov: bool,
             ns_coefficients: tuple[float, float, float], eps: float, ns_steps: int, adjust_lr_fn: str | None
             ) -> Any:  # fmt: skip
        buffer = momentum_buffer * momentum + g * (1 - momentum)
        update = g * (1 - momentum) + buffer * momentum if nesterov else buffer
        rows, columns = p.shape
        scale = math.sqrt(max(1, rows / max(1, columns)))
        if adjust_lr_fn == "match_rms_adamw":
            scale = 0.2 * math.sqrt(max(rows, columns))
        move = orthogonal(update, ns_coefficients, ns_steps, eps)
        return p * (1 - lr * weight_decay) - move * (lr * scale), buffer


def orthogonal(x: Any, coefficients: tuple[float, float, float], steps: int, eps: float) -> Any:
    """A matrix with the singular vectors of `x` and singular values near 1: an odd polynomial, applied repeatedly.

    Products are added up in float32, and each is rounded to bfloat16 with what is added to it: PyTorch's numbers.
    """
    a, b, c = coefficients
    dtype = x.dtype
    low = dtypes.bfloat16 in x.device.backend.dtypes

    def rounded(one: Any) -> Any:
        return astype(astype(one, dtypes.bfloat16), dtypes.float32) if low else one

    tall = x.shape[0] > x.shape[1]
    x = rounded(matrix_transpose(x) if tall else x)
    x = rounded(x / maximum(rounded(sqrt(total(x * x))), eps))
    for _ in range(steps):
        gram = rounded(matmul(x, matrix_transpose(x)))
        change = rounded(gram * b + matmul(gram, gram) * c)
        x = rounded(x * a + matmul(change, x))
    return astype(matrix_transpose(x) if tall else x, dtype)
