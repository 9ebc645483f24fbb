"""Running code on shapes alone: every operation's own rule says what comes out, and nothing is computed or allocated.

A device without memory stands in for the real one. Its tensors have a shape and a dtype; whoever asks for a value is
told where. The work of each operation is counted on the way: declared for what is elementary, and for a composite the
sum of its parts.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from mlcore.backends import detect
from mlcore.backends.device import Device
from mlcore.backends.protocol import MemoryStats
from mlcore.dispatch import intercept, new_plan, recording
from mlcore.dtype import DType
from mlcore.dtypes import as_dtype, everything, float32
from mlcore.errors import ArgumentTypeError, UnsupportedOpError
from mlcore.ops import random
from mlcore.shapes import Shape
from mlcore.tensor import Tensor, TensorBase, assign, wrap


class _Nothing:
    """The array of every tensor that has no values."""

    def __repr__(self) -> str:
        return "<no values>"


_NOTHING: Final = _Nothing()


def _refuse(*args: Any) -> Any:
    raise UnsupportedOpError(
        "a value was asked for, where only shapes are known",
        cause="the code reads a tensor: item(), bool(), numpy(), or a branch on what it holds",
        fix="let it depend on shapes alone, or run it on a real input",
    )


class ShapeBackend:
    """A backend whose arrays hold nothing. Kernels are for what runs outside `shape_only`, such as copies."""

    without_values = True  # what mlcore.host.holds_values asks

    def __init__(self, device: Device) -> None:
        self.device = device
        self.dtypes = everything
        self.to_host = _refuse

    def from_host(self, array: Any) -> Any:
        return _NOTHING

    def synchronize(self) -> None:
        """There is nothing to wait for."""

    def memory_stats(self) -> MemoryStats:
        return MemoryStats(in_use=0)

    def kernel(self, op: Any) -> Callable[..., Any] | None:
        return None if op.body is not None else lambda *args: _NOTHING


def _device() -> Device:
    made = Device("shapes")
    made.backend = ShapeBackend(made)
    return made


SHAPES: Final = _device()


def blank(shape: Any, dtype: Any = None) -> Any:
    """A tensor of a shape and dtype, without values.

    >>> blank((2, 3)).shape, blank((2, 3)).dtype
    ((2, 3), float32)
    """
    return wrap(_NOTHING, SHAPES, float32 if dtype is None else as_dtype(dtype), tuple(map(int, shape)))


class shape_only:
    """Context manager: operations give shapes; `count(flops)` is told the work of each.

    >>> with shape_only():
    ...     (blank((1000000, 20)) @ blank((20, 1000000))).shape
    (1000000, 1000000)
    """

    def __init__(self, count: Callable[[int], None] | None = None, device: Device = SHAPES) -> None:
        self.count = count
        self._counting = True
        self._inside: list[Any] = [detect.device(device), recording(False), intercept(self._operation)]
        self._seed: Any = None

    def __enter__(self) -> shape_only:
        self._seed = random.get_state()
        for one in self._inside:
            one.__enter__()
        return self

    def __exit__(self, *exc: Any) -> None:
        for one in reversed(self._inside):
            one.__exit__(*exc)
        random.set_state(self._seed)

    def _operation(
        self, op: Any, inputs: tuple[Any, ...], params: dict[str, Any], proceed: Callable[[], Any]
    ) -> Any:
        first = next((one for one in inputs if one is not None), None)
        if op.rule is None or first is None or first.device is not SHAPES:
            return proceed()
        plan = new_plan(op, inputs, params, SHAPES, first.dtype)
        made = tuple(_result(op, shape, dtype) for shape, dtype in plan.outs)
        if self.count is not None and self._counting:
            if op.flops is not None:
                self.count(int(op.flops(made[0], *inputs)))
            else:
                self._parts(op, inputs, dict(zip(op.params, plan.values, strict=True)))
        return made[0] if plan.single else made

    def _parts(self, op: Any, inputs: tuple[Any, ...], params: dict[str, Any]) -> None:
        """Count what a composite's parts come to; a body that would look at values counts as one formula."""
        made = 0
        outer = self.count

        def add(flops: int) -> None:
            nonlocal made
            made += flops

        self.count = add
        try:
            op.body(*inputs, **params)
        except UnsupportedOpError:
            made = max(made, *(one.size for one in inputs if one is not None))
        finally:
            self.count = outer
        if outer is not None:
            outer(made)


def _result(op: Any, shape: Shape | None, dtype: DType) -> Tensor:
    if shape is None:
        raise UnsupportedOpError(
            f"{op.name}: the shape of its result depends on values, where only shapes are known",
            fix="run the model on a real input",
        )
    return wrap(_NOTHING, SHAPES, dtype, shape)


def like(tensor: Any, array: Any, device: Device) -> Any:
    """The same tensor, class and all, with another array on another device."""
    kind: Any = type(tensor)
    twin = kind.__new__(kind)
    assign(twin, array, device, tensor.dtype, tensor.shape, None, tensor.requires_grad)
    return twin


def _blanked(tensor: Any) -> Any:
    return like(tensor, _NOTHING, SHAPES)


def _tensors(held: Any, depth: int = 3) -> Iterator[Any]:
    if isinstance(held, TensorBase):
        yield held
    elif depth and isinstance(held, (dict, list, tuple)):
        for one in held.values() if isinstance(held, dict) else held:
            yield from _tensors(one, depth - 1)


def twin_of(module: Any, blanked: Callable[[Any], Any] = _blanked) -> Any:
    """A copy of a module whose tensors have no values: no memory is taken, and the module is not touched.

    `blanked(tensor)` makes what stands for a tensor.
    """
    memo: dict[int, Any] = {}
    for one in module.modules():
        for tensor in _tensors(one.__dict__):
            if id(tensor) not in memo:
                memo[id(tensor)] = blanked(tensor)
    try:
        return copy.deepcopy(module, memo)
    except (TypeError, ValueError) as error:
        raise ArgumentTypeError(
            f"{type(module).__name__} cannot be copied: {error}",
            cause="its shapes are worked out on a copy, so that it stays as it is",
            fix="define __deepcopy__ for what it holds, or give up what cannot be copied",
        ) from error


def inputs_like(given: Any, dtype: Any = None) -> Any:
    """Shapes, tensors and whatever holds them, as tensors without values; other arguments as they are.

    >>> [one.shape for one in inputs_like([(2, 3), (4,)])]
    [(2, 3), (4,)]
    """
    if isinstance(given, TensorBase):
        return _blanked(given)
    if isinstance(given, (tuple, list)) and given and all(type(one) is int for one in given):
        if math.prod(given) < 0 or min(given) < 0:
            raise ArgumentTypeError(
                f"an input of shape {tuple(given)}", fix="give sizes that are not negative"
            )
        return blank(given, dtype)
    if isinstance(given, dict):
        return {name: inputs_like(one, dtype) for name, one in given.items()}
    if isinstance(given, (tuple, list)):
        return type(given)(inputs_like(one, dtype) for one in given)
    if hasattr(given, "__array__"):
        return blank(given.shape, as_dtype(given.dtype))
    return given


@contextmanager
def watched(root: Any, before: Callable[..., Any], after: Callable[..., Any]) -> Iterator[None]:
    """Call `before(path, module, args, kwargs)` and `after(path, module, result)` around each module in `root`."""
    handles = []
    try:
        for path, module in list(root.named_modules()):

            def enter(one: Any, args: Any, kwargs: Any, path: str = path) -> None:
                before(path, one, args, kwargs)

            def leave(one: Any, args: Any, result: Any, path: str = path) -> None:
                after(path, one, result)

            handles.append(module.register_forward_pre_hook(enter, with_kwargs=True))
            handles.append(module.register_forward_hook(leave))
        yield
    finally:
        for handle in handles:
            handle.remove()
