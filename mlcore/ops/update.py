"""Optimizer steps: one operation over all parameters, so that a backend can do each in a single call.

Inputs are the flattened lists (parameters, then gradients, then each state), all of one length n; outputs are the
new parameters, then the new states. Hyperparameters are plain numbers. The rule of one parameter is all that is
written; `step_of_all` makes the operation of it. Further rules are in `mlcore.optim`.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlcore.dispatch import Op
from mlcore.dtypes import floating
from mlcore.ops.cases import Sample, sample
from mlcore.ops.elementwise import sqrt
from mlcore.ops.spec import Outs, _declare, _split, outs

SHAPES: list[tuple[int, ...]] = [(3, 4), (5,), (), (0, 2), (1029,)]
KEPT = "kept"
"""The parameter that says which of its optional states a rule has."""


class Rule:
    """The rule for one parameter, as an operation's numbers say it: with all its states, or those that are `kept`."""

    __slots__ = ("call", "optional", "params", "states")

    def __init__(
        self, call: Callable[..., Any], states: tuple[str, ...], params: tuple[str, ...], optional: bool
    ) -> None:
        self.call, self.states, self.params, self.optional = call, states, params, optional

    def columns(self, given: Mapping[str, Any]) -> int:
        """How many tensors there are for each parameter: itself, its gradient and its states."""
        return 2 + len(given[KEPT] if self.optional else self.states)

    def __call__(self, tensors: Sequence[Any], given: Mapping[str, Any]) -> list[Any]:
        """The new value of the parameter, and those of its states, from (parameter, gradient, *states)."""
        kept = given[KEPT] if self.optional else self.states
        held = dict(zip(kept, tensors[2:]))
        numbers = {name: one for name, one in given.items() if name != KEPT} if self.optional else given
        new = self.call(tensors[0], tensors[1], *[held.get(state) for state in self.states], **numbers)
        if not self.states:
            return [new]
        return [one for one, state in zip(new, ("", *self.states), strict=True) if not state or state in held]


def rule_of(op: Any) -> Rule:
    """The rule that an operation of `step_of_all` applies."""
    found: Rule = op.body.rule
    return found


def update_step(**how: Any) -> Callable[[Callable[..., Any]], Op]:
    """`step_of_all` as a decorator."""
    return lambda rule: step_of_all(rule, **how)


def step_of_all(
    rule: Callable[..., Any],
    *,
    name: str | None = None,
    ulp: int = 16,
    samples: Any = None,
    shapes: list[tuple[int, ...]] = SHAPES,
    registered: bool = True,
    doc: str = "",
) -> Op:
    """The operation that applies a rule, `(p, g, *states, /, *, numbers) -> (new p, *new states)`, to all parameters.

    A state with the default None is one that not every parameter has: the operation gets a parameter `kept`, the
    names of the states that there are. `samples` are dicts of numbers to be tried on parameters of `shapes`.
    """
    inputs, params, optional = _split(rule)
    states = inputs[2:]
    if optional:
        params = (KEPT, *params)

    one_of_all = Rule(rule, states, params, bool(optional))

    def body(*tensors: Any, **given: Any) -> Any:
        n = len(tensors) // one_of_all.columns(given)
        made = [one_of_all(tensors[i::n], given) for i in range(n)]
        return tuple([one for column in zip(*made, strict=True) for one in column])

    def outputs(*tensors: Any, **given: Any) -> Outs:
        n = len(tensors) // one_of_all.columns(given)
        same = [(one.shape, one.dtype) for one in (*tensors[:n], *tensors[2 * n :])]
        return outs(same, *given.values())

    tried = [_as_sample(one, len(states), shapes) for one in samples or []]
    body.rule = one_of_all  # type: ignore[attr-defined]  # for who runs the rule of one parameter on all of them
    return _declare(
        Op(), name or rule.__name__, doc or inspect.getdoc(rule) or "", outputs, ("tensors",), params, body=body,
        signature=rule, family="composite", group="update", accepts=floating, public=False, variadic=True, promote=(),
        listed=True, ulp=ulp, samples=lambda: tried, registered=registered,
    )  # fmt: skip


def _as_sample(given: dict[str, Any], states: int, shapes: list[tuple[int, ...]]) -> Sample:
    """A case of a rule: its numbers, on parameters of a few shapes; states that are sums of squares are positive."""
    given = dict(given)
    states = len(given[KEPT]) if KEPT in given else states
    positive = given.pop("positive", ())
    n = len(shapes)

    def squares(tensors: list[Any]) -> list[Any]:
        return [one * one if i // n - 2 in positive else one for i, one in enumerate(tensors)]

    derive = given.pop("derive", {"tensors": squares} if positive else None)
    special = given.pop("special", True)
    return sample(shapes * (2 + states), derive=derive, special=special, **given)


_PLAIN = dict(lr=0.1, weight_decay=0.0)
_MOMENTUM = dict(lr=0.1, momentum=0.9, dampening=0.0, weight_decay=0.0, nesterov=False, first=False)
_ADAM = dict(lr=0.1, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0, decoupled=True, step=3)


@update_step(
    ulp=8,
    samples=[
        _MOMENTUM,
        {**_MOMENTUM, "first": True},
        {**_MOMENTUM, "weight_decay": 0.01, "nesterov": True},
        {**_MOMENTUM, "dampening": 0.1},
    ],
)
def sgd_momentum_step(
    p: Any, g: Any, momentum_buffer: Any, /, *,
    lr: float, momentum: float, dampening: float, weight_decay: float, nesterov: bool, first: bool,
) -> Any:  # fmt: skip
    """SGD with momentum (Sutskever et al. 2013, PyTorch's form); `first` starts the buffers from the gradient."""
    if weight_decay:
        g = g + p * weight_decay
    b = g if first else momentum_buffer * momentum + g * (1 - dampening)
    step = g + b * momentum if nesterov else b
    return p - step * lr, b


@update_step(ulp=8, samples=[_PLAIN, {**_PLAIN, "weight_decay": 0.01}])
def sgd_step(p: Any, g: Any, /, *, lr: float, weight_decay: float) -> Any:
    """Plain SGD."""
    return p - (g + p * weight_decay if weight_decay else g) * lr


def decayed(p: Any, g: Any, lr: float, weight_decay: float, decoupled: bool) -> tuple[Any, Any]:
    """The parameter and gradient with weight decay: of the weights themselves, or as part of the gradient."""
    if not weight_decay:
        return p, g
    return (p * (1 - lr * weight_decay), g) if decoupled else (p, g + p * weight_decay)


@update_step(
    samples=[
        {**_ADAM, "positive": (1,)},
        {**_ADAM, "weight_decay": 0.01, "positive": (1,)},
        {**_ADAM, "weight_decay": 0.01, "decoupled": False, "step": 1, "positive": (1,)},
    ]
)
def adam_step(
    p: Any, g: Any, exp_avg: Any, exp_avg_sq: Any, /, *,
    lr: float, beta1: float, beta2: float, eps: float, weight_decay: float, decoupled: bool, step: int,
) -> Any:  # fmt: skip
    """Adam (Kingma and Ba 2015); `decoupled` weight decay makes it AdamW (Loshchilov and Hutter 2019)."""
    p, g = decayed(p, g, lr, weight_decay, decoupled)
    m = exp_avg * beta1 + g * (1 - beta1)
    v = exp_avg_sq * beta2 + g * g * (1 - beta2)
    scale = sqrt(v) / math.sqrt(1 - beta2**step) + eps
    return p - m * (lr / (1 - beta1**step)) / scale, m, v
