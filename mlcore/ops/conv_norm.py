"""A convolution with what follows it in a trained network: batch norm by known statistics, and an activation."""

from __future__ import annotations

from typing import Any

from mlcore.dtypes import floating
from mlcore.errors import ShapeError
from mlcore.ops.cases import Sample, sample
from mlcore.ops.conv import convolution
from mlcore.ops.norm import batch_norm_scale, checked_activation
from mlcore.ops.spec import Outs, composite, out

_CASES: tuple[tuple[Any, Any, dict[str, Any]], ...] = (
    ((2, 4, 9, 8), (6, 4, 3, 3), dict(padding=1, activation="relu")),
    ((3, 5, 4, 4), (7, 5, 1, 1), dict(activation="relu6")),
    ((2, 40, 13, 9), (70, 40, 1, 1), dict(activation="relu")),
    ((2, 19, 9, 8), (19, 1, 3, 3), dict(groups=19, padding=1, stride=2, activation="relu6")),
    ((2, 4, 7, 8), (6, 2, 3, 3), dict(groups=2, stride=(2, 1), eps=1e-3)),
    ((2, 3, 11), (4, 3, 4), dict(stride=3, padding=2, activation="relu")),
    ((1, 49, 19, 14), (50, 49, 3, 3), dict(padding=1, activation="relu")),
    ((0, 3, 5, 5), (2, 3, 3, 3), {}),
)


def _samples() -> list[Sample]:
    # The gradient is that of the body's operations; finite differences would step over the activations' corners.
    how_: dict[str, Any] = dict(derive={"var": lambda var: var * var + 0.5}, gradient=False)
    full = [sample([x, w, *(w[:1],) * 5], **how_, **how) for x, w, how in _CASES]
    bare = [sample([x, w, None, w[:1], w[:1], None, None], **how_, **how) for x, w, how in _CASES[:4]]
    return [*full, *bare]


def _rule(
    x: Any, weight: Any, bias: Any = None, mean: Any = None, var: Any = None, gain: Any = None,
    offset: Any = None, /, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1,
    eps: float = 1e-5, activation: str = "none",
) -> Outs:  # fmt: skip
    ((shape, dtype),), how = convolution.rule(
        x, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    for name, one in (("mean", mean), ("var", var), ("gain", gain), ("offset", offset)):
        if one.shape != (shape[1],) if one is not None else name in ("mean", "var"):
            found = None if one is None else one.shape
            raise ShapeError(f"convolution_norm: {name} of shape {found} for {shape[1]} channels")
    return out(shape, dtype, *how, float(eps), checked_activation("convolution_norm", activation))


@composite(_rule, accepts=floating, public=False, ulp=64, samples=_samples)
def convolution_norm(
    x: Any, weight: Any, bias: Any = None, mean: Any = None, var: Any = None, gain: Any = None,
    offset: Any = None, /, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1,
    eps: float = 1e-5, activation: str = "none",
) -> Any:  # fmt: skip
    """A convolution, its channels normalised by `mean` and `var`, times `gain` plus `offset`; then an `activation`.

    Backends finish a piece of the result where they make it, so that it goes through memory once.
    """
    y = convolution(x, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups)
    return batch_norm_scale(y, mean, var, gain, offset, eps=eps, activation=activation)
