"""Neighbours in a Sequential that one operation computes: batch norm and relu, and in evaluation a convolution before.

Only layers as they are defined here take part: a subclass, a layer with hooks or with a `forward` of its own is
called like any other module. What is computed is what the layers would compute one after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from mlcore.modes import MODES, is_recording
from mlcore.nn.activation import ReLU, ReLU6
from mlcore.nn.conv import Conv1d, Conv2d, Conv3d
from mlcore.nn.locate import locate
from mlcore.nn.module import Module
from mlcore.nn.normalization import BatchNorm1d, BatchNorm2d, BatchNorm3d
from mlcore.ops.conv_norm import convolution_norm

_ACTIVATIONS: Final[dict[type, str]] = {ReLU: "relu", ReLU6: "relu6"}
_NORMS: Final = frozenset((BatchNorm1d, BatchNorm2d, BatchNorm3d))
_CONVOLUTIONS: Final = frozenset((Conv1d, Conv2d, Conv3d))
_CALL: Final = Module.__call__


def run(members: list[Any], input: Any) -> Any:
    """Call `members` one after the other, some of them together."""
    i, count = 0, len(members)
    while i < count:
        one = members[i]
        kind = type(one)
        taken = 0
        if kind in _NORMS:
            taken = _norm(members, i)
        elif kind in _CONVOLUTIONS and not is_recording():
            taken = _convolution(members, i, input)
        if taken == 0:
            input = one(input)
            i += 1
        elif kind in _NORMS:
            activation = _ACTIVATIONS[type(members[i + 1])]
            input = _located(one, one.followed, input, activation)
            i += taken
        else:
            input = _located(one, _convolve, members[i : i + taken], input)
            i += taken
    return input


def _located(module: Any, function: Callable[..., Any], *args: Any) -> Any:
    """The call, whose error says that it comes from `module`."""
    try:
        return function(*args)
    except Exception as error:
        locate(error, module)
        raise


def _plain(module: Any) -> bool:
    """Whether calling `module` is calling its class's forward, and nobody watches."""
    return not module._hooks and "forward" not in module.__dict__ and Module.__call__ is _CALL


def _norm(members: list[Any], i: int) -> int:
    """2, where the batch norm at place i is followed by an activation that can be a part of it."""
    if i + 1 == len(members) or type(members[i + 1]) not in _ACTIVATIONS:
        return 0
    return 2 if _plain(members[i]) and _plain(members[i + 1]) else 0


def _convolution(members: list[Any], i: int, input: Any) -> int:
    """How many layers from the convolution at place i on are one operation: it, batch norm, an activation; or 0."""
    if i + 1 == len(members) or type(members[i + 1]) not in _NORMS:
        return 0
    conv, norm = members[i], members[i + 1]
    if not (_plain(conv) and _plain(norm) and norm.evaluates() and conv.padding_mode == "zeros"):
        return 0
    if isinstance(conv.padding, str) or conv.out_channels != norm.num_features:
        return 0
    rank = len(conv.kernel_size)
    if (
        getattr(input, "ndim", 0) != rank + 2
        or rank + 2 not in norm._ranks
        or MODES.local.autocast is not None
    ):
        return 0
    held = (conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.weight, norm.bias)
    if any(
        one is not None and (one.dtype is not input.dtype or one.device is not input.device) for one in held
    ):
        return 0
    after = members[i + 2] if i + 2 < len(members) else None
    return 3 if type(after) in _ACTIVATIONS and _plain(after) else 2


def _convolve(layers: list[Any], input: Any) -> Any:
    conv, norm = layers[0], layers[1]
    return convolution_norm(
        input, conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.weight, norm.bias,
        stride=conv.stride, padding=conv.padding, dilation=conv.dilation, groups=conv.groups, eps=norm.eps,
        activation=_ACTIVATIONS[type(layers[2])] if len(layers) > 2 else "none",
    )  # fmt: skip
