"""Dropout layers: of elements, of channels, and the kind for selu. In evaluation they let everything through."""

from __future__ import annotations

from typing import Any

from mlcore.nn import functional as F
from mlcore.nn.functional._common import probability
from mlcore.nn.module import Module


class Dropout(Module):
    """In training, each element 0 with probability `p` and the others divided by `1 - p` (Srivastava et al. 2014).

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> nn.Dropout(0.5).eval()(ml.ones((2,))).tolist()
    [1.0, 1.0]
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        self.p, self.inplace = probability(type(self).__name__, p), inplace

    def forward(self, input: Any) -> Any:
        return F.dropout(input, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class Dropout1d(Dropout):
    """Whole channels of (N, C, L) or (C, L); `functional.dropout1d`."""

    def forward(self, input: Any) -> Any:
        return F.dropout1d(input, self.p, self.training)


class Dropout2d(Dropout):
    """Whole channels of (N, C, H, W); `functional.dropout2d`."""

    def forward(self, input: Any) -> Any:
        return F.dropout2d(input, self.p, self.training)


class Dropout3d(Dropout):
    """Whole channels of (N, C, D, H, W) or (C, D, H, W); `functional.dropout3d`."""

    def forward(self, input: Any) -> Any:
        return F.dropout3d(input, self.p, self.training)


class AlphaDropout(Dropout):
    """For networks of SELU, whose mean and variance it keeps; `functional.alpha_dropout`."""

    def forward(self, input: Any) -> Any:
        return F.alpha_dropout(input, self.p, self.training)


class FeatureAlphaDropout(Dropout):
    """AlphaDropout of whole channels; `functional.feature_alpha_dropout`."""

    def forward(self, input: Any) -> Any:
        return F.feature_alpha_dropout(input, self.p, self.training)
