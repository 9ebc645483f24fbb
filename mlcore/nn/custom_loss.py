"""`@nn.loss`: a loss from what it is for one element."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from mlcore import dispatch
from mlcore.errors import ArgumentError, ArgumentTypeError, ShapeError
from mlcore.host import holds_values
from mlcore.nn.functional._common import check_reduction, reduced
from mlcore.nn.module import Module
from mlcore.ops.elementwise import astype, where
from mlcore.ops.logic import isfinite
from mlcore.ops.reduce import sum as sum_
from mlcore.ops.shape import broadcast_to, reshape
from mlcore.shapes import broadcast
from mlcore.tensor import TensorBase

_ADDED = ("reduction", "weight", "mask")


class LossFunction:
    """What `@nn.loss` makes: call it as a function, or make a module of it with `Module(...)`."""

    def __init__(self, elementwise: Callable[..., Any]) -> None:
        functools.update_wrapper(self, elementwise)
        self.elementwise, self.name = elementwise, getattr(elementwise, "__name__", "loss")
        self.signature = inspect.signature(elementwise)
        if taken := [name for name in _ADDED if name in self.signature.parameters]:
            raise ArgumentError(
                f"nn.loss: {self.name} has an argument {taken[0]!r}",
                cause="reduction, weight and mask are added by nn.loss",
                fix="give it another name",
            )

    def __call__(
        self, *args: Any, reduction: str = "mean", weight: Any = None, mask: Any = None, **how: Any
    ) -> Any:
        """The loss of the arguments of the elementwise function.

        `weight` and `mask` (True counts) broadcast to the losses. 'mean' divides by the sum of the weights that
        count, or by the number of losses that do; a mean over none raises ArgumentError. What is masked may be nan,
        such as a missing label: it adds nothing to the loss or to any gradient.
        """
        check_reduction(self.name, reduction)
        loss = self.elementwise(*args, **how)
        if not isinstance(loss, TensorBase):
            raise ArgumentTypeError(
                f"{self.name}: gave a {type(loss).__name__}, not a Tensor",
                fix="return one loss for each element",
            )
        if weight is None and mask is None:
            return reduced(self.name, loss, reduction)
        found: Any = loss
        weight = None if weight is None else self._fitting("weight", weight, found)
        mask = None if mask is None else astype(self._fitting("mask", mask, found), "bool")
        scale = weight
        if mask is not None:
            scale = astype(mask, found.dtype) if weight is None else where(mask, weight, 0)
            found = where(mask, self._without_holes(found, mask, args, how), 0)
        if weight is not None:
            found = found * weight
        if reduction != "mean":
            return reduced(self.name, found, reduction)
        if mask is not None and holds_values(mask) and not mask.any().item():
            raise ArgumentError(
                f"{self.name}: the mask lets none of {found.size} losses through",
                cause="a mean over none is 0 / 0",
                fix="skip such a batch, or use reduction='sum'",
            )
        return sum_(found) / sum_(scale)

    def _without_holes(self, loss: Any, mask: Any, args: tuple[Any, ...], how: dict[str, Any]) -> Any:
        """The losses, computed anew where some are masked and not finite: their gradients would be 0 * nan.

        There the arguments become those of the first loss that counts, which are sound. Losses that count stay as
        they are; if they do not (the function is not elementwise after all), nothing is changed.
        """
        holes = ~(mask | isfinite(loss))
        if not holes.any().item() or not mask.any().item():
            return loss
        first = int(mask.numpy().argmax())

        def filled(value: Any) -> Any:
            if not isinstance(value, TensorBase) or not _fits(self.name, value.shape, loss.shape):
                return value
            whole: Any = broadcast_to(value, loss.shape)
            return where(holes, reshape(whole.detach(), (-1,))[first], whole)

        again = self.elementwise(*map(filled, args), **{name: filled(value) for name, value in how.items()})
        same = again.shape == loss.shape and where(mask, again == loss, True).all().item()
        return again if same else loss

    def _fitting(self, what: str, given: Any, loss: Any) -> Any:
        tensor: Any = given if isinstance(given, TensorBase) else dispatch.from_data(given, None, loss.device)
        if not _fits(self.name, tensor.shape, loss.shape):
            raise ShapeError(f"{self.name}: {what} {tensor.shape} for losses {loss.shape}")
        return broadcast_to(tensor, loss.shape)

    def Module(self, *, reduction: str = "mean", **how: Any) -> CustomLoss:
        """A module that calls this with these arguments; weight and mask are given in each call."""
        return CustomLoss(self, reduction, how)

    def __reduce__(self) -> str:
        return str(self.elementwise.__qualname__)  # pickled by its name, as functions are

    def __repr__(self) -> str:
        return f"<loss {self.name}{self.signature}>"


def _fits(name: str, shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether a tensor of this shape broadcasts to the wanted one."""
    try:
        return broadcast(name, shape, wanted) == wanted
    except ShapeError:
        return False


class CustomLoss(Module):
    """The module of a loss made by `nn.loss`."""

    def __init__(self, function: LossFunction, reduction: str, how: dict[str, Any]) -> None:
        super().__init__()
        check_reduction(function.name, reduction)
        if unknown := [name for name in how if name not in function.signature.parameters]:
            raise ArgumentTypeError(
                f"{function.name}: no argument {unknown[0]!r}", fix=f"its arguments are {function.signature}"
            )
        self.function, self.reduction, self.how = function, reduction, how

    def forward(self, *args: Any, weight: Any = None, mask: Any = None) -> Any:
        return self.function(*args, reduction=self.reduction, weight=weight, mask=mask, **self.how)

    def extra_repr(self) -> str:
        extra = "".join(f", {name}={value!r}" for name, value in self.how.items())
        return f"{self.function.name}, reduction={self.reduction!r}{extra}"


def loss(elementwise: Callable[..., Any]) -> LossFunction:
    """Make a loss of a function that gives one for each element; reduction, weights and a mask are added.

    The function takes tensors first, e.g. (input, target), and may have settings of its own.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> @nn.loss
    ... def log_cosh(input, target, *, scale=1.0):
    ...     return ml.log(ml.cosh((input - target) * scale))
    >>> x, y = ml.asarray([0.0, 1.0]), ml.asarray([0.0, 0.0])
    >>> round(log_cosh(x, y).item(), 4), round(log_cosh(x, y, mask=x > 0, reduction="sum").item(), 4)
    (0.2169, 0.4338)
    >>> criterion = log_cosh.Module(reduction="sum", scale=2.0)
    >>> round(criterion(x, y, weight=ml.asarray([1.0, 0.5])).item(), 4)
    0.6625
    """
    if not callable(elementwise):
        raise ArgumentTypeError(f"nn.loss: a {type(elementwise).__name__}", fix="decorate a function")
    return LossFunction(elementwise)
