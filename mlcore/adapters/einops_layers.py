"""einops' layers as modules of mlcore: `Rearrange`, `Reduce` and `EinMix`, with einops' own arguments.

A layer needs einops; mlcore does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from einops.layers import RearrangeMixin, ReduceMixin
from einops.layers._einmix import _EinmixMixin

from mlcore import nn
from mlcore.ops.linalg import einsum
from mlcore.ops.random import uniform


def _set_up(layer: Any, mixin: Any, args: tuple[Any, ...], sizes: dict[str, int]) -> None:
    """What a module's constructor does, then einops'."""
    nn.Module.__init__(layer)
    mixin.__init__(layer, *args, **sizes)


class Rearrange(nn.Module, RearrangeMixin):
    """`einops.rearrange` with a fixed pattern, as a module."""

    __repr__ = RearrangeMixin.__repr__

    def __init__(self, pattern: str, **axes_lengths: int) -> None:
        _set_up(self, RearrangeMixin, (pattern,), axes_lengths)

    def forward(self, input: Any) -> Any:
        """The rearranged tensor."""
        apply: Any = self._apply_recipe
        return apply(input)


class Reduce(nn.Module, ReduceMixin):
    """`einops.reduce` with a fixed pattern, as a module."""

    __repr__ = ReduceMixin.__repr__

    def __init__(self, pattern: str, reduction: str, **axes_lengths: int) -> None:
        _set_up(self, ReduceMixin, (pattern, reduction), axes_lengths)

    def forward(self, input: Any) -> Any:
        """The reduced tensor."""
        apply: Any = self._apply_recipe
        return apply(input)


class EinMix(nn.Module, _EinmixMixin):
    """An einsum with a weight of its own, and a bias if asked for; see einops' documentation."""

    __repr__ = _EinmixMixin.__repr__

    def __init__(
        self, pattern: str, weight_shape: str, bias_shape: str | None = None, **axes_lengths: int
    ) -> None:
        _set_up(self, _EinmixMixin, (pattern, weight_shape, bias_shape), axes_lengths)

    def _create_parameters(
        self, weight_shape: Any, weight_bound: float, bias_shape: Any, bias_bound: float
    ) -> None:
        self.weight = nn.Parameter(uniform(tuple(weight_shape), low=-weight_bound, high=weight_bound))
        self.bias = None
        if bias_shape is not None:
            self.bias = nn.Parameter(uniform(tuple(bias_shape), low=-bias_bound, high=bias_bound))

    def _create_rearrange_layers(
        self,
        pre_reshape_pattern: str | None,
        pre_reshape_lengths: Mapping[str, int] | None,
        post_reshape_pattern: str | None,
        post_reshape_lengths: Mapping[str, int] | None,
    ) -> None:
        before, after = pre_reshape_pattern, post_reshape_pattern
        self.pre_rearrange = None if before is None else Rearrange(before, **(pre_reshape_lengths or {}))
        self.post_rearrange = None if after is None else Rearrange(after, **(post_reshape_lengths or {}))

    def forward(self, input: Any) -> Any:
        """The mixed tensor."""
        x = input if self.pre_rearrange is None else self.pre_rearrange(input)
        found = einsum(self.einsum_pattern, x, self.weight)
        if self.bias is not None:
            found = found + self.bias
        return found if self.post_rearrange is None else self.post_rearrange(found)
