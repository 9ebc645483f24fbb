"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mlcore.errors import ArgumentError
from mlcore.ops.creation import zeros_like
from mlcore.ops.update import sgd_momentum_step, sgd_step
from mlcore.optim.optimizer import Optimizer, number
from mlcore.optim.step import buckets, run


class SGD(Optimizer):
    """`p -= lr * g`, with momentum in PyTorch's form (Sutskever et al. 2013), weight decay and Nesterov's variant.

    All parameters of a group are updated by one operation (`foreach` and `fused` are accepted, and change nothing).

    >>> import mlcore as ml
    >>> from mlcore import nn, optim
    >>> p = nn.Parameter(ml.asarray([1.0])); (p * p).sum().backward()
    >>> optim.SGD([p], lr=0.25).step(); p.tolist()
    [0.5]
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        fused: bool | None = None,
    ) -> None:
        super().__init__(params, dict(lr=lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay,
                                      nesterov=nesterov, maximize=maximize, foreach=foreach, fused=fused))  # fmt: skip

    def _check(self, group: dict[str, Any]) -> None:
        for name in ("lr", "momentum", "weight_decay"):
            number("SGD", name, group[name])
        number("SGD", "dampening", group["dampening"], low=-float("inf"))
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ArgumentError(f"SGD: nesterov with momentum {group['momentum']} and dampening {group['dampening']}",
                                fix="Nesterov needs momentum > 0 and dampening 0")  # fmt: skip

    def _update(self, group: dict[str, Any], parameters: list[Any], gradients: list[Any]) -> None:
        lr, decay = float(group["lr"]), float(group["weight_decay"])
        momentum = float(group["momentum"])
        if not momentum:
            for _, owners, grads in buckets(parameters, gradients):
                run(sgd_step, [owners, grads], (lr, decay))
            return
        held = [self.state[p] for p in parameters]
        starts = [one.get("momentum_buffer") is None for one in held]
        how = lr, momentum, float(group["dampening"]), decay, bool(group["nesterov"])
        for first, owners, grads in buckets(parameters, gradients, starts):
            states = held if len(owners) == len(held) else [self.state[p] for p in owners]
            made = [
                zeros_like(p) if first else one["momentum_buffer"]
                for p, one in zip(owners, states, strict=True)
            ]
            run(sgd_momentum_step, [owners, grads, made], (*how, first))
            if first:
                for one, buffer in zip(states, made, strict=True):
                    one["momentum_buffer"] = buffer
