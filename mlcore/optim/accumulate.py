"""Gradients of several batches before each step."""

from __future__ import annotations

from typing import Any

from mlcore import dispatch
from mlcore.optim.hyper import count
from mlcore.optim.optimizer import Optimizer


class Accumulation:
    """Take a step of `optimizer` after every `steps` losses: a batch as large as that many, in the memory of one.

    `backward(loss)` adds the gradient of `loss / steps` (with `mean`, for losses that are means over their batch), and
    after the last of them takes a step and forgets the gradients; it returns whether it did. What remains at the end
    of the data is taken by `flush()`, or by the end of a `with` block, as a batch of as many. `before(optimizer)` is
    called before each step, for example to clip; `scheduler` is stepped after it.

    >>> import mlcore as ml
    >>> from mlcore import nn, optim
    >>> p = nn.Parameter(ml.asarray([0.0]))
    >>> with optim.Accumulation(optim.SGD([p], lr=1.0), steps=2) as batches:
    ...     [batches.backward((p * x).sum()) for x in (1.0, 3.0, 4.0)]
    [False, True, False]
    >>> p.tolist()
    [-6.0]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        steps: int,
        *,
        mean: bool = True,
        before: Any = None,
        scheduler: Any = None,
    ) -> None:
        self.optimizer, self.steps = optimizer, count("Accumulation", "steps", steps)
        self.mean, self.before, self.scheduler = mean, before, scheduler
        self.seen = 0  # losses since the last step

    def backward(self, loss: Any) -> bool:
        """Add a loss's gradient; True where that was the last before a step, which is done."""
        (loss / self.steps if self.mean and self.steps > 1 else loss).backward()
        self.seen += 1
        if self.seen < self.steps:
            return False
        self._step()
        return True

    def flush(self) -> bool:
        """Take a step with what there is, if there is any."""
        if not self.seen:
            return False
        if self.mean:
            with dispatch.recording(False):
                for group in self.optimizer.param_groups:
                    for one in group["params"]:
                        if one.grad is not None:
                            one.grad = one.grad * (self.steps / self.seen)
        self._step()
        return True

    def _step(self) -> None:
        if self.before is not None:
            self.before(self.optimizer)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.seen = 0
        if self.scheduler is not None:
            self.scheduler.step()

    def __enter__(self) -> Accumulation:
        return self

    def __exit__(self, kind: Any, *rest: object) -> None:
        if kind is None:
            self.flush()
