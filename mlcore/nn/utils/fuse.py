"""Batch norm worked into the layer before it, for evaluation."""

from __future__ import annotations

import copy
from typing import Any

from mlcore import dispatch
from mlcore.errors import ArgumentError, ShapeError
from mlcore.nn.module import Module
from mlcore.nn.parameter import Parameter
from mlcore.ops.creation import ones_like, zeros_like
from mlcore.ops.elementwise import rsqrt
from mlcore.ops.shape import reshape


def _fused(
    weight: Any, bias: Any, mean: Any, var: Any, eps: float, scale: Any, shift: Any, axis: int
) -> tuple[Parameter, Parameter]:
    if weight.shape[axis] != mean.shape[0]:
        raise ShapeError(f"fuse: a weight {weight.shape} with statistics {mean.shape}")
    trained = weight.requires_grad
    with dispatch.recording(False):
        bias = zeros_like(mean) if bias is None else bias
        scale = ones_like(mean) if scale is None else scale
        shift = zeros_like(mean) if shift is None else shift
        factor = scale.detach() * rsqrt(var + eps)
        wide = [1] * weight.ndim
        wide[axis] = -1
        new = weight.detach() * reshape(factor, tuple(wide)).to(weight.dtype)
        moved = ((bias.detach() - mean) * factor + shift.detach()).to(bias.dtype)
    return Parameter(new, trained), Parameter(moved, trained)


def fuse_conv_bn_weights(
    conv_w: Any,
    conv_b: Any,
    bn_rm: Any,
    bn_rv: Any,
    bn_eps: float,
    bn_w: Any,
    bn_b: Any,
    transpose: bool = False,
) -> tuple[Parameter, Parameter]:
    """Weight and bias of a convolution that does what it and the batch norm after it do in evaluation."""
    return _fused(conv_w, conv_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, 1 if transpose else 0)


def fuse_linear_bn_weights(
    linear_w: Any, linear_b: Any, bn_rm: Any, bn_rv: Any, bn_eps: float, bn_w: Any, bn_b: Any
) -> tuple[Parameter, Parameter]:
    """Weight and bias of a Linear that does what it and the batch norm after it do in evaluation."""
    return _fused(linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, 0)


def _evaluated(name: str, first: Any, bn: Any) -> Any:
    if first.training or bn.training:
        raise ArgumentError(f"{name}: a module is in training mode", fix="call eval() on both first")
    if bn.running_mean is None or bn.running_var is None:
        raise ArgumentError(
            f"{name}: the batch norm has no running statistics", fix="track_running_stats=True"
        )
    return copy.deepcopy(first)


def fuse_conv_bn_eval(conv: Module, bn: Module, transpose: bool = False) -> Module:
    """A copy of `conv` with the batch norm after it worked in; both in evaluation mode. `transpose` for ConvTranspose.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> conv, bn = nn.Conv2d(3, 8, 3).eval(), nn.BatchNorm2d(8).eval()
    >>> x = ml.ones((1, 3, 5, 5))
    >>> bool((abs(nn.utils.fuse_conv_bn_eval(conv, bn)(x) - bn(conv(x))) < 1e-5).all())
    True
    """
    made, norm = _evaluated("fuse_conv_bn_eval", conv, bn), _any(bn)
    made.weight, made.bias = fuse_conv_bn_weights(
        made.weight,
        made.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
        transpose,
    )
    return made  # type: ignore[no-any-return]  # what it comes from is Any


def fuse_linear_bn_eval(linear: Module, bn: Module) -> Module:
    """A copy of `linear` with the batch norm after it worked in; both in evaluation mode."""
    made, norm = _evaluated("fuse_linear_bn_eval", linear, bn), _any(bn)
    made.weight, made.bias = fuse_linear_bn_weights(
        made.weight, made.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    return made  # type: ignore[no-any-return]  # what it comes from is Any


def _any(module: Any) -> Any:
    return module
