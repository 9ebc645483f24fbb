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


class Rearrange(RearrangeMixin, nn.Module):
    """`einops.rearrange` with a fixed pattern, as a module."""

    def forward(self, input: Any) -> Any:
        """The rearranged tensor."""
        apply: Any = self._apply_recipe
        return apply(input)


class Reduce(ReduceMixin, nn.Module):
    """`einops.reduce` with a fixed pattern, as a module."""

    def forward(self, input: Any) -> Any:
        """The reduced tensor."""
        apply: Any = self._apply_recipe
        return apply(input)


class EinMix(_EinmixMixin, nn.Module):
    """An einsum with a weight of its own, and a bias if asked for; see einops' documentation."""

    def _create_parameters(
        self, weight_shape: Any, weight_bound: float, bias_shape: Any, bias_bound: float
    ) -> None:
        self.weight = nn.Parameter(uniform(tuple(weight_shape), low=-weight_bound, high=weight_bound))
        self.bias = None
        if bias_shape is not None:
            self.bias = nn.Parameter(uniform(tuple(bias_shape), low=-bias_bound, high=bias_bound))

    def _create_rearrange_layers(
        self,
        before: str | None,
        before_lengths: Mapping[str, int] | None,
        after: str | None,
        after_lengths: Any,
    ) -> None:
        self.pre_rearrange = None if before is None else Rearrange(before, **(before_lengths or {}))
        self.post_rearrange = None if after is None else Rearrange(after, **(after_lengths or {}))

    def forward(self, input: Any) -> Any:
        """The mixed tensor."""
        x = input if self.pre_rearrange is None else self.pre_rearrange(input)
        found = einsum(self.einsum_pattern, x, self.weight)
        if self.bias is not None:
            found = found + self.bias
        return found if self.post_rearrange is None else self.post_rearrange(found)
