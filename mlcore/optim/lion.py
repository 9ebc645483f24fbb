"""Lion: the sign of a momentum."""

from __future__ import annotations

from typing import Any

from mlcore.ops.elementwise import sign
from mlcore.optim.hyper import flag, hyper
from mlcore.optim.rule import UpdateRule


class Lion(
    UpdateRule,
    op="lion_step",
    samples=[dict(lr=0.1, betas=(0.9, 0.99), weight_decay=0.01, special=False)],
):
    """Lion (Chen et al. 2023, algorithm 2): steps of one size, the sign of a mean of gradients; one state.

    Its rate is usually a third to a tenth of AdamW's, and its decoupled weight decay that much larger.
    `foreach` is accepted, and changes nothing.

    >>> import mlcore as ml
    >>> from mlcore import nn, optim
    >>> p = nn.Parameter(ml.asarray([1.0, -2.0])); (p * p).sum().backward()
    >>> optim.Lion([p], lr=0.25).step(); p.tolist()
    [0.75, -1.75]
    """

    lr: float = hyper(default=1e-4)
    betas: tuple[float, float] = hyper(default=(0.9, 0.99), high=1.0, below_high=True)
    weight_decay: float = hyper(default=0.0)
    foreach: bool | None = flag(default=None)
    maximize: bool = flag(default=False)
    differentiable: bool = flag(default=False)

    @staticmethod
    def rule(p: Any, g: Any, exp_avg: Any, /, *,
             lr: float, betas: tuple[float, float], weight_decay: float) -> Any:  # fmt: skip
        beta1, beta2 = betas
        direction = sign(exp_avg * beta1 + g * (1 - beta1))
        return p * (1 - lr * weight_decay) - direction * lr, exp_avg * beta2 + g * (1 - beta2)
