"""Averaged stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from mlcore.optim.hyper import hyper, number
from mlcore.optim.rule import Group, UpdateRule, scalar


class ASGD(
    UpdateRule,
    op="asgd_step",
    samples=[dict(lambd=1e-4, weight_decay=0.01, eta=0.1, mu=mu) for mu in (1.0, 0.25)],
):
    """SGD that also keeps the average of the parameters, in the state "ax" (Polyak and Juditsky 1992).

    The average begins at step `t0`; before, "ax" is the parameter. `foreach` and `capturable` are accepted, and
    change nothing.

    >>> import mlcore as ml
    >>> from mlcore import nn, optim
    >>> p = nn.Parameter(ml.asarray([1.0])); (p * p).sum().backward()
    >>> optim.ASGD([p], lr=0.25, lambd=0.0).step(); p.tolist()
    [0.5]
    """

    lr: float = hyper(default=1e-2)
    lambd: float = hyper(default=1e-4, low=-float("inf"))
    alpha: float = hyper(default=0.75, low=-float("inf"))
    t0: float = hyper(default=1e6, low=-float("inf"))
    weight_decay: float = hyper(default=0.0)
    foreach: bool | None = hyper(default=None)
    maximize: bool = hyper(default=False)
    differentiable: bool = hyper(default=False)
    capturable: bool = hyper(default=False)

    start: ClassVar = {
        "step": 0,
        "eta": lambda p, group: scalar(number("ASGD", "lr", group["lr"])),
        "mu": 1.0,
    }

    def numbers(self, group: Group, scalars: dict[str, Any]) -> Mapping[str, Any]:
        given = {**group, **scalars}  # with the rate and weight that the step before left
        lr, step = float(group["lr"]), scalars["step"]
        scalars["eta"] = scalar(lr / (1 + group["lambd"] * lr * step) ** group["alpha"])
        scalars["mu"] = scalar(1 / max(1, step - group["t0"]))
        return given

    @staticmethod
    def rule(p: Any, g: Any, ax: Any, /, *, lambd: float, weight_decay: float, eta: float, mu: float) -> Any:
        if weight_decay:
            g = g + p * weight_decay
        p = p * (1 - lambd * eta) - g * eta
        return p, p if mu == 1 else ax + (p - ax) * mu
