"""Losses as modules; the functions of `nn.functional` do the work."""

from __future__ import annotations

from typing import Any

from mlcore.nn import functional as F
from mlcore.nn.functional._common import check_reduction
from mlcore.nn.module import Module


class _Loss(Module):
    weight: Any = None

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__()
        check_reduction(type(self).__name__, reduction)
        self.reduction = reduction


class MSELoss(_Loss):
    """Mean squared error."""

    def forward(self, input: Any, target: Any) -> Any:
        return F.mse_loss(input, target, reduction=self.reduction)


class L1Loss(_Loss):
    """Mean absolute error."""

    def forward(self, input: Any, target: Any) -> Any:
        return F.l1_loss(input, target, reduction=self.reduction)


class _ClassLoss(_Loss):
    """A loss with a weight for each class, which moves with the module and is saved with it."""

    def __init__(self, weight: Any = None, *, ignore_index: int = -100, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self._buffers = {"weight": True}
        self.weight, self.ignore_index = weight, ignore_index


class CrossEntropyLoss(_ClassLoss):
    """Cross-entropy of logits with classes or with probabilities; see `functional.cross_entropy`.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> round(nn.CrossEntropyLoss()(ml.zeros((2, 4)), ml.asarray([0, 3])).item(), 4)
    1.3863
    """

    def __init__(
        self,
        weight: Any = None,
        *,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(weight, ignore_index=ignore_index, reduction=reduction)
        self.label_smoothing = label_smoothing

    def forward(self, input: Any, target: Any) -> Any:
        return F.cross_entropy(input, target, self.weight, ignore_index=self.ignore_index,
                               reduction=self.reduction, label_smoothing=self.label_smoothing)  # fmt: skip


class NLLLoss(_ClassLoss):
    """Negative log-likelihood of log-probabilities."""

    def forward(self, input: Any, target: Any) -> Any:
        return F.nll_loss(
            input, target, self.weight, ignore_index=self.ignore_index, reduction=self.reduction
        )


class BCEWithLogitsLoss(_Loss):
    """Binary cross-entropy of `sigmoid(input)`."""

    def __init__(self, weight: Any = None, *, reduction: str = "mean", pos_weight: Any = None) -> None:
        super().__init__(reduction=reduction)
        self._buffers = {"weight": True, "pos_weight": True}
        self.weight, self.pos_weight = weight, pos_weight

    def forward(self, input: Any, target: Any) -> Any:
        return F.binary_cross_entropy_with_logits(
            input, target, self.weight, reduction=self.reduction, pos_weight=self.pos_weight
        )
