"""Stochastic gradient descent."""

from __future__ import annotations

from typing import Any

from mlcore.errors import ArgumentError
from mlcore.ops.creation import zeros_like
from mlcore.ops.update import sgd_momentum_step, sgd_step
from mlcore.optim.hyper import flag, hyper
from mlcore.optim.rule import Group, Plan, UpdateRule
from mlcore.optim.step import buckets, run

PLAIN = Plan(sgd_step)


class SGD(UpdateRule):
    """`p -= lr * g`, with momentum in PyTorch's form (Sutskever et al. 2013), weight decay and Nesterov's variant.

    All parameters of a group are updated by one operation (`foreach` and `fused` are accepted, and change nothing).

    >>> import mlcore as ml
    >>> from mlcore import nn, optim
    >>> p = nn.Parameter(ml.asarray([1.0])); (p * p).sum().backward()
    >>> optim.SGD([p], lr=0.25).step(); p.tolist()
    [0.5]
    """

    lr: float = hyper(default=1e-3)
    momentum: float = hyper(default=0.0)
    dampening: float = hyper(default=0.0, low=-float("inf"))
    weight_decay: float = hyper(default=0.0)
    nesterov: bool = hyper(default=False)
    maximize: bool = flag(default=False)
    foreach: bool | None = flag(default=None)
    differentiable: bool = flag(default=False)
    fused: bool | None = flag(default=None)

    rule = sgd_momentum_step

    def check(self, group: Group) -> None:
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ArgumentError(f"SGD: nesterov with momentum {group['momentum']} and dampening {group['dampening']}",
                                fix="Nesterov needs momentum > 0 and dampening 0")  # fmt: skip

    def _plan_for(self, group: Group) -> Plan:
        return self._plan if group["momentum"] else PLAIN

    def _update(self, group: Group, parameters: list[Any], gradients: list[Any]) -> None:
        # What UpdateRule does, but the first step starts a parameter's buffer from its gradient.
        lr, decay = float(group["lr"]), float(group["weight_decay"])
        momentum, follow = float(group["momentum"]), bool(group["differentiable"])
        if not momentum:
            for _, owners, grads in buckets(parameters, gradients):
                run(sgd_step, [owners, grads], (lr, decay), follow)
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
            run(sgd_momentum_step, [owners, grads, made], (*how, first), follow)
            if first:
                for one, buffer in zip(states, made, strict=True):
                    one["momentum_buffer"] = buffer
