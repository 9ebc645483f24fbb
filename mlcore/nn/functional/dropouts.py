"""Dropout of whole channels, and the kind that keeps mean and variance; plain dropout is in `dense`."""

from __future__ import annotations

import math
from typing import Any

from mlcore.errors import ShapeError
from mlcore.nn.functional._common import probability
from mlcore.ops import random
from mlcore.ops.elementwise import where
from mlcore.ops.shape import reshape


def _channels(name: str, input: Any, p: float, training: bool, leads: dict[int, int], shape: str) -> Any:
    """What shares its first `leads[rank]` indices is kept or dropped together."""
    probability(name, p)
    if input.ndim not in leads:
        raise ShapeError(f"{name}: {input.shape}", fix=f"use {shape}")
    if not training or p == 0:
        return input
    if p == 1:
        return input * 0
    return where(_kept(input, p, input.shape[: leads[input.ndim]]), input * (1 / (1 - p)), 0)


def _kept(input: Any, p: float, lead: tuple[int, ...]) -> Any:
    kept = random.bernoulli(1 - p, lead, device=input.device)
    return reshape(kept, (*lead, *(1,) * (input.ndim - len(lead))))


def dropout1d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """Whole channels of (N, C, L) or (C, L) are 0 with probability `p` (Tompson et al. 2015)."""
    return _channels("dropout1d", input, p, training, {2: 1, 3: 2}, "(N, C, L) or (C, L)")


def dropout2d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """Whole channels of (N, C, H, W) or (N, C) are 0 with probability `p` (Tompson et al. 2015).

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.dropout2d(ml.ones((2, 3, 4, 4)), 0.5, training=False).sum().item()
    96.0
    """
    return _channels("dropout2d", input, p, training, {2: 2, 3: 2, 4: 2}, "(N, C, H, W), (N, C, L) or (N, C)")


def dropout3d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """Whole channels of (N, C, D, H, W) or (C, D, H, W) are 0 with probability `p`."""
    return _channels("dropout3d", input, p, training, {4: 1, 5: 2}, "(N, C, D, H, W) or (C, D, H, W)")


_FLOOR = -1.7580993408473766  # -scale * alpha of selu: the value of its left end


def _alpha(input: Any, p: float, lead: tuple[int, ...]) -> Any:
    if p == 0:
        return input
    if p == 1:
        return input * 0
    scale = 1 / math.sqrt((1 - p) * (1 + p * _FLOOR**2))
    shift = -scale * p * _FLOOR
    return where(_kept(input, p, lead), input, _FLOOR) * scale + shift


def alpha_dropout(input: Any, p: float = 0.5, training: bool = False, inplace: bool = False) -> Any:
    """Elements become selu's least value with probability `p`; mean 0 and variance 1 stay (Klambauer 2017).

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.alpha_dropout(ml.ones((2,)), 0.5).tolist()
    [1.0, 1.0]
    """
    probability("alpha_dropout", p)
    return _alpha(input, p, input.shape) if training else input


def feature_alpha_dropout(input: Any, p: float = 0.5, training: bool = False, inplace: bool = False) -> Any:
    """`alpha_dropout` of whole channels of (N, C, *sizes)."""
    probability("feature_alpha_dropout", p)
    if input.ndim < 2:
        raise ShapeError(f"feature_alpha_dropout: {input.shape}", fix="use (N, C, *sizes)")
    return _alpha(input, p, input.shape[:2]) if training else input
