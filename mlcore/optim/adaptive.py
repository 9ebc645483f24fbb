"""Rates from the squares of the gradients: Adagrad, Adadelta and RMSprop."""

from __future__ import annotations

from typing import Any, ClassVar

from mlcore.ops.elementwise import sqrt
from mlcore.optim.hyper import flag, hyper
from mlcore.optim.rule import Group, UpdateRule


class Adagrad(
    UpdateRule,
    op="adagrad_step",
    samples=[dict(lr=0.1, lr_decay=0.1, weight_decay=d, eps=1e-6, step=3, positive=(0,))
             for d in (0.0, 0.01)],
):  # fmt: skip
    """Each element's rate over the root of the sum of its squared gradients (Duchi, Hazan and Singer 2011).

    The states are there from the start, as in PyTorch. `foreach` and `fused` are accepted, and change nothing.

    >>> import mlcore as ml
    >>> from mlcore import nn, optim
    >>> p = nn.Parameter(ml.asarray([1.0])); (p * p).sum().backward()
    >>> optim.Adagrad([p], lr=0.5).step(); p.tolist()
    [0.5]
    """

    lr: float = hyper(default=1e-2)
    lr_decay: float = hyper(default=0.0)
    weight_decay: float = hyper(default=0.0)
    initial_accumulator_value: float = hyper(default=0.0)
    eps: float = hyper(default=1e-10)
    foreach: bool | None = hyper(default=None)
    maximize: bool = flag(default=False)
    differentiable: bool = flag(default=False)
    fused: bool | None = flag(default=None)

    start: ClassVar = {"sum": lambda p, group: group["initial_accumulator_value"]}
    eager = True

    @staticmethod
    def rule(p: Any, g: Any, sum: Any, /, *,
             lr: float, lr_decay: float, weight_decay: float, eps: float, step: int) -> Any:  # fmt: skip
        if weight_decay:
            g = g + p * weight_decay
        squares = sum + g * g
        return p - g / (sqrt(squares) + eps) * (lr / (1 + (step - 1) * lr_decay)), squares


class Adadelta(
    UpdateRule,
    op="adadelta_step",
    samples=[dict(lr=0.1, rho=0.9, eps=1e-4, weight_decay=d, positive=(0, 1)) for d in (0.0, 0.01)],
):
    """Steps as large as the recent ones, over the size of the recent gradients (Zeiler 2012).

    `foreach` and `capturable` are accepted, and change nothing.

    >>> import mlcore as ml
    >>> from mlcore import nn, optim
    >>> p = nn.Parameter(ml.asarray([1.0])); (p * p).sum().backward()
    >>> optim.Adadelta([p]).step(); round(p.item(), 5)
    0.99684
    """

    lr: float = hyper(default=1.0)
    rho: float = hyper(default=0.9, high=1.0)
    eps: float = hyper(default=1e-6)
    weight_decay: float = hyper(default=0.0)
    foreach: bool | None = hyper(default=None)
    capturable: bool = flag(default=False)
    maximize: bool = flag(default=False)
    differentiable: bool = flag(default=False)

    start: ClassVar = {"step": 0}

    @staticmethod
    def rule(p: Any, g: Any, square_avg: Any, acc_delta: Any, /, *,
             lr: float, rho: float, eps: float, weight_decay: float) -> Any:  # fmt: skip
        if weight_decay:
            g = g + p * weight_decay
        squares = square_avg * rho + g * g * (1 - rho)
        delta = sqrt(acc_delta + eps) / sqrt(squares + eps) * g
        return p - delta * lr, squares, acc_delta * rho + delta * delta * (1 - rho)


_RMSPROP = dict(lr=0.1, alpha=0.9, eps=1e-4, weight_decay=0.01, momentum=0.0, centered=False)


class RMSprop(
    UpdateRule,
    op="rmsprop_step",
    samples=[
        {**_RMSPROP, "kept": ("square_avg",), "positive": (0,)},
        {**_RMSPROP, "kept": ("square_avg", "momentum_buffer"), "momentum": 0.9, "positive": (0,)},
        {**_RMSPROP, "kept": ("square_avg", "grad_avg"), "centered": True, "weight_decay": 0.0, "positive": (0,),
         "special": False, "derive": {"tensors": lambda tensors: [
             one * one + 4 if 10 <= i < 15 else one * 0.1 if i >= 15 else one for i, one in enumerate(tensors)]}},
    ],
):  # fmt: skip
    """The gradient over the root of the mean of its recent squares (Tieleman and Hinton 2012).

    `centered` takes the recent variance for that. `foreach` and `capturable` are accepted, and change nothing.

    >>> import mlcore as ml
    >>> from mlcore import nn, optim
    >>> p = nn.Parameter(ml.asarray([1.0])); (p * p).sum().backward()
    >>> optim.RMSprop([p], lr=0.05).step(); round(p.item(), 4)
    0.5
    """

    lr: float = hyper(default=1e-2)
    alpha: float = hyper(default=0.99)
    eps: float = hyper(default=1e-8)
    weight_decay: float = hyper(default=0.0)
    momentum: float = hyper(default=0.0)
    centered: bool = hyper(default=False)
    capturable: bool = hyper(default=False)
    foreach: bool | None = hyper(default=None)
    maximize: bool = hyper(default=False)
    differentiable: bool = hyper(default=False)

    start: ClassVar = {"step": 0}

    def keeps(self, p: Any, group: Group) -> tuple[str, ...]:
        has = {"square_avg": True, "momentum_buffer": group["momentum"] > 0, "grad_avg": group["centered"]}
        return tuple(name for name, kept in has.items() if kept)

    @staticmethod
    def rule(p: Any, g: Any, square_avg: Any, momentum_buffer: Any = None, grad_avg: Any = None, /, *,
             lr: float, alpha: float, eps: float, weight_decay: float, momentum: float, centered: bool
             ) -> Any:  # fmt: skip
        if weight_decay:
            g = g + p * weight_decay
        squares = square_avg * alpha + g * g * (1 - alpha)
        variance = squares
        if centered:
            grad_avg = grad_avg * alpha + g * (1 - alpha)
            variance = squares - grad_avg * grad_avg
        move = g / (sqrt(variance) + eps)
        if momentum > 0:
            move = momentum_buffer = momentum_buffer * momentum + move
        return p - move * lr, squares, momentum_buffer, grad_avg
