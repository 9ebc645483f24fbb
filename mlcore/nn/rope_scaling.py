"""How fast each pair of rotary features turns, and how models are stretched to longer texts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from mlcore.errors import ArgumentError, did_you_mean

Rates = np.ndarray[Any, Any]


def rates(dim: int, base: float, scaling: Mapping[str, Any] | None) -> tuple[Rates, float]:
    """Radians a position for each of `dim / 2` pairs, in float64, and what sines and cosines are multiplied by.

    `scaling` is Hugging Face's table, with `rope_type` (or `type`): "default", "linear", "llama3" or "yarn".
    """
    plain = base ** (-np.arange(0, dim, 2, dtype=np.float64) / dim)
    if scaling is None:
        return plain, 1.0
    name = scaling.get("rope_type", scaling.get("type", "default"))
    if name not in _KINDS:
        raise ArgumentError(
            f"rope_scaling: kind {name!r}{did_you_mean(str(name), _KINDS)}", known=", ".join(_KINDS)
        )
    return _KINDS[name](plain, dim, base, scaling)


def _number(scaling: Mapping[str, Any], name: str, default: float | None = None) -> float:
    value = scaling.get(name, default)
    if value is None and default is None:
        value = math.nan
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise ArgumentError(f"rope_scaling: {name} is {scaling.get(name)!r}", fix="give a positive number")
    return float(value)


def _default(plain: Rates, dim: int, base: float, scaling: Mapping[str, Any]) -> tuple[Rates, float]:
    return plain, 1.0


def _linear(plain: Rates, dim: int, base: float, scaling: Mapping[str, Any]) -> tuple[Rates, float]:
    """Positions divided by a factor (Chen et al. 2023)."""
    return plain / _number(scaling, "factor"), 1.0


def _llama3(plain: Rates, dim: int, base: float, scaling: Mapping[str, Any]) -> tuple[Rates, float]:
    """Slow pairs divided, fast ones left, those between blended: Llama 3.1."""
    factor, length = _number(scaling, "factor"), _number(scaling, "original_max_position_embeddings")
    low, high = _number(scaling, "low_freq_factor"), _number(scaling, "high_freq_factor")
    turns = length * plain / (2 * math.pi)  # of each pair in the original length
    if high <= low:
        raise ArgumentError(f"rope_scaling: high_freq_factor {high} is not above low_freq_factor {low}")
    share = np.clip((turns - low) / (high - low), 0, 1)
    return plain * (share + (1 - share) / factor), 1.0


def _yarn(plain: Rates, dim: int, base: float, scaling: Mapping[str, Any]) -> tuple[Rates, float]:
    """Blended by how often a pair turns in the original length, and sharper attention (Peng et al. 2023)."""
    factor, length = _number(scaling, "factor"), _number(scaling, "original_max_position_embeddings")
    fast, slow = _number(scaling, "beta_fast", 32), _number(scaling, "beta_slow", 1)

    def pair_of(turns: float) -> float:
        return dim * math.log(length / (turns * 2 * math.pi)) / (2 * math.log(base))

    low, high = max(math.floor(pair_of(fast)), 0), min(math.ceil(pair_of(slow)), dim - 1)
    share = 1 - np.clip((np.arange(dim // 2) - low) / max(high - low, 0.001), 0, 1)
    sharper = _number(scaling, "attention_factor", 0.1 * math.log(factor) + 1 if factor > 1 else 1.0)
    return plain * (share + (1 - share) / factor), sharper


_KINDS: Final[Mapping[str, Callable[..., tuple[Rates, float]]]] = {
    "default": _default, "linear": _linear, "llama3": _llama3, "yarn": _yarn,
}  # fmt: skip
