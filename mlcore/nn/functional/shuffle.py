"""Channels into pixels and back, and groups of channels among each other."""

from __future__ import annotations

from typing import Any

from mlcore.errors import ArgumentError, ShapeError
from mlcore.ops.shape import permute_dims, reshape


def _factor(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ArgumentError(f"{name} is {value!r}", fix="use an integer of at least 1")
    return value


def pixel_shuffle(input: Any, upscale_factor: int) -> Any:
    """(*, C r r, H, W) to (*, C, H r, W r), r being `upscale_factor` (Shi et al. 2016).

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.pixel_shuffle(ml.arange(4).reshape(4, 1, 1), 2).tolist()
    [[[0, 1], [2, 3]]]
    """
    r = _factor("pixel_shuffle: upscale_factor", upscale_factor)
    if input.ndim < 3 or input.shape[-3] % (r * r):
        raise ShapeError(
            f"pixel_shuffle: {input.shape} with upscale_factor {r}", fix=f"channels in multiples of {r * r}"
        )
    *lead, c, h, w = input.shape
    n = len(lead)
    parts = reshape(input, (*lead, c // (r * r), r, r, h, w))
    order = (*range(n), n, n + 3, n + 1, n + 4, n + 2)
    return reshape(permute_dims(parts, order), (*lead, c // (r * r), h * r, w * r))


def pixel_unshuffle(input: Any, downscale_factor: int) -> Any:
    """(*, C, H r, W r) to (*, C r r, H, W): the inverse of `pixel_shuffle`.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.pixel_unshuffle(ml.arange(4).reshape(1, 2, 2), 2).shape
    (4, 1, 1)
    """
    r = _factor("pixel_unshuffle: downscale_factor", downscale_factor)
    if input.ndim < 3 or input.shape[-1] % r or input.shape[-2] % r:
        raise ShapeError(
            f"pixel_unshuffle: {input.shape} with downscale_factor {r}",
            fix=f"height and width in multiples of {r}",
        )
    *lead, c, h, w = input.shape
    n = len(lead)
    parts = reshape(input, (*lead, c, h // r, r, w // r, r))
    order = (*range(n), n, n + 2, n + 4, n + 1, n + 3)
    return reshape(permute_dims(parts, order), (*lead, c * r * r, h // r, w // r))


def channel_shuffle(input: Any, groups: int) -> Any:
    """(N, C, *sizes) with the channels of `groups` groups dealt out in turn (Zhang et al. 2018).

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.channel_shuffle(ml.arange(4).reshape(1, 4, 1), 2).flatten().tolist()
    [0, 2, 1, 3]
    """
    g = _factor("channel_shuffle: groups", groups)
    if input.ndim < 3 or input.shape[1] % g:
        raise ShapeError(
            f"channel_shuffle: {input.shape} with {g} groups", fix=f"(N, C, *sizes), C in multiples of {g}"
        )
    n, c, *sizes = input.shape
    parts = reshape(input, (n, g, c // g, *sizes))
    return reshape(permute_dims(parts, (0, 2, 1, *range(3, parts.ndim))), input.shape)


native_channel_shuffle = channel_shuffle  # PyTorch has both names
