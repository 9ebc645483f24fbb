"""Adafactor: second moments of matrices in the memory of vectors."""

from __future__ import annotations

from typing import Any

from mlcore.dtypes import finfo
from mlcore.ops.elementwise import maximum, rsqrt, sqrt
from mlcore.ops.linalg import matmul
from mlcore.ops.reduce import sum as total
from mlcore.optim.hyper import flag, hyper
from mlcore.optim.rule import Group, UpdateRule

_TRIED = dict(lr=0.1, beta2_decay=-0.8, eps=(None, 1e-3), d=1.0, weight_decay=0.01, special=False)


class Adafactor(
    UpdateRule,
    op="adafactor_step",
    ulp=64,
    shapes=[(3, 4), (2, 3, 5), (40, 30)],
    samples=[{**_TRIED, "step": step, "kept": ("variance",), "positive": (0,)} for step in (1, 4)],
):
    """Adafactor (Shazeer and Stern 2018), in the form of `torch.optim.Adafactor`: no momentum, relative steps.

    The second moments of a parameter of two dimensions or more are kept as means of its rows and columns, so the
    state is much smaller than the parameter. `lr` bounds the step relative to the size of the parameter; `eps[0]`
    None means the dtype's eps. `foreach` is accepted, and changes nothing.

    >>> import mlcore as ml
    >>> from mlcore import nn, optim
    >>> p = nn.Parameter(ml.ones((20, 30))); (p * p).sum().backward()
    >>> optimizer = optim.Adafactor([p], lr=0.5); optimizer.step(); round(p[0, 0].item(), 4)
    0.5
    >>> sum(one.size for one in optimizer.state_dict()["state"][0].values())
    51
    """

    lr: float = hyper(default=1e-2)
    beta2_decay: float = hyper(default=-0.8, low=-float("inf"), high=0.0)
    eps: tuple[float | None, float] = hyper(default=(None, 1e-3))
    d: float = hyper(default=1.0, low=1.0)
    weight_decay: float = hyper(default=0.0)
    foreach: bool | None = flag(default=None)
    maximize: bool = flag(default=False)

    def keeps(self, p: Any, group: Group) -> tuple[str, ...]:
        return ("row_var", "col_var") if len(p.shape) > 1 else ("variance",)

    def state_shape(self, name: str, p: Any) -> tuple[int, ...]:
        shape: tuple[int, ...] = p.shape
        if name == "variance":
            return shape
        return (*shape[:-1], 1) if name == "row_var" else (*shape[:-2], 1, shape[-1])

    @staticmethod
    def rule(p: Any, g: Any, row_var: Any = None, col_var: Any = None, variance: Any = None, /, *,
             lr: float, beta2_decay: float, eps: tuple[float | None, float], d: float, weight_decay: float, step: int
             ) -> Any:  # fmt: skip
        smallest = float(finfo(p.dtype).eps) if eps[0] is None else eps[0]
        new = step**beta2_decay
        alpha = maximum(_rms(p), eps[1]) * min(lr, step**-0.5)
        if weight_decay:
            p = p * (1 - lr * weight_decay)
        if variance is None:
            row_var = row_var * (1 - new) + _mean(g * g, -1) * new
            col_var = col_var * (1 - new) + _mean(g * g, -2) * new
            estimate = matmul(row_var, col_var) / maximum(_mean(row_var, -2), smallest)
        else:
            estimate = variance = variance * (1 - new) + g * g * new
        update = rsqrt(maximum(estimate, smallest * smallest)) * g
        return p - update * (alpha / maximum(_rms(update) / d, 1.0)), row_var, col_var, variance


def _mean(x: Any, axis: int) -> Any:
    """The mean along an axis; of nothing, 0."""
    return total(x, axis, keepdims=True) / max(1, x.shape[axis])


def _rms(x: Any) -> Any:
    return sqrt(total(x * x) / max(1, x.size))
