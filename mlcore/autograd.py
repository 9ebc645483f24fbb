"""The tape read backwards: backward, gradients of any order, checkpoint.

It knows Op.vjp and nothing else of an operation: each rule is written in operations, so recording while the tape
is read gives the next order.
"""

from __future__ import annotations

from typing import Any

from mlcore import dispatch
from mlcore.dispatch import apply
from mlcore.engine import RESHAPE, run_backward
from mlcore.errors import ArgumentTypeError, AutogradError, ShapeError
from mlcore.inputs import constant
from mlcore.modes import enable_grad, no_grad
from mlcore.tensor import TensorBase, wrap

__all__ = ["backward", "enable_grad", "grad", "no_grad"]

# -- the engine ------------------------------------------------------------------------------------------


def backward(
    tensor: Any, gradient: Any = None, retain_graph: bool | None = None, create_graph: bool = False
) -> None:
    """Add the gradients of `tensor` to `.grad` of every leaf that it was computed from.

    `gradient` is needed where the tensor has more than one element. The values saved on the tape are freed on the
    way unless `retain_graph`; `create_graph` records the backward pass itself.
    """
    seed = _seed(tensor, gradient)
    if create_graph and retain_graph is None:
        retain_graph = True
    run_backward([tensor], [seed], None, bool(retain_graph), create_graph)


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Any, ...]:
    """The gradients of `outputs` with respect to `inputs`, as a tuple; nothing is accumulated in `.grad`.

    An input that the outputs do not depend on raises, or gives None with `allow_unused`.
    """
    outputs, inputs = _several(outputs), _several(inputs)
    seeds = [None] * len(outputs) if grad_outputs is None else grad_outputs
    seeds = [seeds] if isinstance(seeds, TensorBase) else list(seeds)
    if len(seeds) != len(outputs):
        raise ShapeError(f"grad: {len(outputs)} outputs but {len(seeds)} grad_outputs")
    for one in inputs:
        if not one.requires_grad:
            raise AutogradError(
                "grad: an input does not require a gradient", fix="set requires_grad=True on it first"
            )
    if create_graph and retain_graph is None:
        retain_graph = True
    seeds = [_seed(tensor, seed) for tensor, seed in zip(outputs, seeds)]
    targets = [one if one.node is None else one.node for one in inputs]
    found = run_backward(outputs, seeds, targets, bool(retain_graph), create_graph)
    for i, one in enumerate(found):
        if one is None and not allow_unused:
            raise AutogradError(
                f"grad: the outputs do not depend on input {i}",
                fix="pass allow_unused=True to get None for it",
            )
    return tuple(found)


def _several(given: Any) -> list[Any]:
    """One tensor or a sequence of tensors, as a list."""
    kind: Any = TensorBase
    found = list(given) if isinstance(given, (list, tuple)) else [given]
    for one in found:
        if not isinstance(one, kind):
            raise ArgumentTypeError(f"grad: expected a Tensor, got {type(one).__name__}")
    return found


def _seed(tensor: Any, gradient: Any) -> Any:
    kind: Any = TensorBase
    if not isinstance(tensor, kind):
        raise ArgumentTypeError(f"backward: expected a Tensor, got {type(tensor).__name__}")
    if not tensor.requires_grad:
        raise AutogradError(
            "backward: this tensor has no history and requires no gradient",
            cause="no input required a gradient, or it was made under no_grad or detached",
            fix="set requires_grad=True on what you differentiate by",
        )
    if gradient is None:
        if tensor.size != 1:
            raise AutogradError(
                f"backward: a tensor of shape {tensor.shape} needs a gradient of the same shape",
                cause="only a tensor of one element has the default gradient 1",
                fix="reduce it first, e.g. .sum().backward(), or pass gradient=",
            )
        one = constant(1, tensor.dtype, tensor.device)
        seed = wrap(one.array, one.device, one.dtype, ())  # a twin: a hook may change what it is given
        return seed if not tensor.shape else apply(RESHAPE[0], (seed,), {"shape": tensor.shape})
    if not isinstance(gradient, TensorBase):
        raise ArgumentTypeError(f"backward: gradient is a {type(gradient).__name__}, expected a Tensor")
    if gradient.shape != tensor.shape:
        raise ShapeError(f"backward: gradient of shape {gradient.shape} for a tensor of shape {tensor.shape}")
    return gradient if gradient.dtype is tensor.dtype else dispatch.cast(gradient, tensor.dtype)
