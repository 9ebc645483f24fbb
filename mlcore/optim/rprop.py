"""Rprop: steps from the signs of the gradients alone, for whole batches."""

from __future__ import annotations

from typing import Any, ClassVar

from mlcore.errors import ArgumentError
from mlcore.ops.elementwise import maximum, minimum, sign, where
from mlcore.optim.hyper import flag, hyper, number
from mlcore.optim.rule import Group, UpdateRule


class Rprop(
    UpdateRule,
    op="rprop_step",
    samples=[dict(etas=(0.5, 1.2), step_sizes=(1e-3, 2.0), positive=(1,), special=False)],
):
    """Each element has a step of its own: longer while the gradient's sign stays, shorter when it turns.

    Riedmiller and Braun (1993), in the form that takes no step where the sign has turned. For gradients of the whole
    data set. `foreach` and `capturable` are accepted, and change nothing.

    >>> import mlcore as ml
    >>> from mlcore import nn, optim
    >>> p = nn.Parameter(ml.asarray([1.0])); (p * p).sum().backward()
    >>> optim.Rprop([p], lr=0.5).step(); p.tolist()
    [0.5]
    """

    lr: float = hyper(default=1e-2)
    etas: tuple[float, float] = hyper(default=(0.5, 1.2))
    step_sizes: tuple[float, float] = hyper(default=(1e-6, 50.0))
    capturable: bool = flag(default=False)
    foreach: bool | None = flag(default=None)
    maximize: bool = flag(default=False)
    differentiable: bool = flag(default=False)

    start: ClassVar = {"step": 0, "step_size": lambda p, group: number("Rprop", "lr", group["lr"])}

    def check(self, group: Group) -> None:
        low, high = group["etas"]
        if not 0 < low < 1 < high:
            raise ArgumentError(f"Rprop: etas is {group['etas']}", fix="use 0 < etas[0] < 1 < etas[1]")

    @staticmethod
    def rule(p: Any, g: Any, prev: Any, step_size: Any, /, *,
             etas: tuple[float, float], step_sizes: tuple[float, float]) -> Any:  # fmt: skip
        turned = g * prev
        size = where(turned > 0, step_size * etas[1], where(turned < 0, step_size * etas[0], step_size))
        size = minimum(maximum(size, step_sizes[0]), step_sizes[1])
        g = where(turned < 0, 0.0, g)
        return p - sign(g) * size, g, size
