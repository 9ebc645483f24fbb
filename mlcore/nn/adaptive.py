"""AdaptiveLogSoftmaxWithLoss: a softmax over very many classes, the rare ones in clusters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mlcore import dispatch
from mlcore.errors import ArgumentError, ShapeError
from mlcore.nn import functional as F
from mlcore.nn.containers import ModuleList, Sequential
from mlcore.nn.functional._common import valid_indices
from mlcore.nn.linear import Linear
from mlcore.nn.module import Module
from mlcore.ops.creation import zeros
from mlcore.ops.index import gather, index_add, take_along_axis
from mlcore.ops.reduce import argmax, mean
from mlcore.ops.shape import concat, expand_dims, squeeze


class ASMoutput(NamedTuple):
    """The log-probability of each target, and the loss."""

    output: Any
    loss: Any


class AdaptiveLogSoftmaxWithLoss(Module):
    """Log-probabilities of `n_classes` classes sorted by frequency, cheap for the frequent ones (Grave et al. 2017).

    `cutoffs` are where clusters begin: classes below the first are in the head, cluster i has its own matrix over
    `in_features / div_value**(i + 1)` features. `head` and `tail` have PyTorch's names.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> layer = nn.AdaptiveLogSoftmaxWithLoss(16, 100, cutoffs=[10, 50])
    >>> layer(ml.ones((4, 16)), ml.asarray([1, 20, 60, 99])).output.shape, layer.log_prob(ml.ones((2, 16))).shape
    ((4,), (2, 100))
    """

    def __init__(
        self, in_features: int, n_classes: int, cutoffs: Sequence[int], div_value: float = 4.0, head_bias: bool = False,
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        bounds = list(cutoffs)
        if not bounds or bounds != sorted(set(bounds)) or bounds[0] <= 0 or bounds[-1] > n_classes - 1:
            raise ArgumentError(
                f"AdaptiveLogSoftmaxWithLoss: cutoffs {bounds} for {n_classes} classes",
                fix=f"increasing integers from 1 to {n_classes - 1}",
            )
        self.in_features, self.n_classes, self.div_value, self.head_bias = (
            in_features,
            n_classes,
            div_value,
            head_bias,
        )
        self.cutoffs = [*bounds, n_classes]
        self.shortlist_size, self.n_clusters = bounds[0], len(bounds)
        self.head_size = self.shortlist_size + self.n_clusters
        self.head = Linear(in_features, self.head_size, head_bias, device, dtype)
        self.tail = ModuleList()
        for i in range(self.n_clusters):
            hidden, size = int(in_features // div_value ** (i + 1)), self.cutoffs[i + 1] - self.cutoffs[i]
            self.tail.append(
                Sequential(
                    Linear(in_features, hidden, False, device, dtype),
                    Linear(hidden, size, False, device, dtype),
                )
            )

    def reset_parameters(self) -> None:
        """Draw the parameters again."""
        self.head.reset_parameters()
        for first, second in self.tail:
            first.reset_parameters()
            second.reset_parameters()

    def forward(self, input: Any, target: Any) -> ASMoutput:
        single = input.ndim == 1
        if input.ndim not in (1, 2) or target.ndim != input.ndim - 1 or input.shape[:-1] != target.shape:
            raise ShapeError(
                f"AdaptiveLogSoftmaxWithLoss: input {input.shape} with target {target.shape}",
                fix="(N, F) and (N,)",
            )
        rows, wanted = (
            (expand_dims(input, axis=0), expand_dims(target, axis=0)) if single else (input, target)
        )
        found, _ = valid_indices(
            "AdaptiveLogSoftmaxWithLoss", "target", wanted, self.n_classes, "classes", rows.device
        )
        host, device = found.numpy(), rows.device
        in_head = host.copy()
        output = zeros((rows.shape[0],), dtype=rows.dtype, device=device)
        for i in range(self.n_clusters):
            low, high = self.cutoffs[i], self.cutoffs[i + 1]
            members = np.flatnonzero((host >= low) & (host < high))
            if not members.size:
                continue
            in_head[members] = self.shortlist_size + i
            places = dispatch.from_data(members, None, device)
            scores = F.log_softmax(self.tail[i](gather(rows, places, axis=0)), dim=1)
            classes = dispatch.from_data((host[members] - low)[:, None], None, device)
            output = index_add(output, places, squeeze(take_along_axis(scores, classes, axis=1), 1), axis=0)
        head = F.log_softmax(self.head(rows), dim=1)
        output = output + squeeze(
            take_along_axis(head, dispatch.from_data(in_head[:, None], None, device), axis=1), 1
        )
        return ASMoutput(squeeze(output, 0) if single else output, mean(-output))

    def log_prob(self, input: Any) -> Any:
        """Log-probabilities of all classes: (N, n_classes)."""
        head = F.log_softmax(self.head(input), dim=1)
        parts = [head[:, : self.shortlist_size]]
        for i, cluster in enumerate(self.tail):
            place = self.shortlist_size + i
            parts.append(F.log_softmax(cluster(input), dim=1) + head[:, place : place + 1])
        return concat(parts, axis=1)

    def predict(self, input: Any) -> Any:
        """The likeliest class of each row: (N,) int64."""
        return argmax(self.log_prob(input), axis=1)
