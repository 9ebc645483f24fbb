"""What a model does with a batch: its calls with their work, bytes and kernels, from a run on shapes alone."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from mlcore.compile.shape_only import inputs_like, shape_only, twin_of
from mlcore.errors import ArgumentTypeError
from mlcore.nn.module import Module
from mlcore.tensor import TensorBase

VIEWS: Final = frozenset(("reshape", "permute_dims", "broadcast_to", "slice", "narrow", "select"))
"""Operations that only look at the same memory in another way."""


@dataclass(frozen=True, slots=True)
class Call:
    """One operation: its FLOPs in matrix products, the bytes it reads and writes, the kernels it is composed of.

    `bytes` and `kernels` are those of one kernel of its own; `parts_bytes` and `parts` those of its composition.
    """

    op: str
    flops: int
    bytes: int
    parts_bytes: int
    parts: int
    written: int

    def kernels(self, fused: frozenset[str] | None) -> int:
        """How many kernels it is where `fused` have one of their own (None: all)."""
        return self.parts if fused is not None and self.op not in fused else min(self.parts, 1)

    def traffic(self, fused: frozenset[str] | None) -> int:
        """The bytes it moves there."""
        return self.parts_bytes if fused is not None and self.op not in fused else self.bytes


@dataclass(frozen=True, slots=True)
class Workload:
    """One step of a model on a batch: the forward pass, and in training the gradient.

    `signature` is the same for steps that do the same: a model of the same layers and shapes.
    """

    name: str
    calls: tuple[Call, ...]
    parameter_bytes: int
    buffer_bytes: int
    input_bytes: int
    output_bytes: int
    training: bool
    signature: str

    @property
    def passes(self) -> int:
        """How often everything is done: a gradient costs about twice the forward pass."""
        return 3 if self.training else 1

    @property
    def flops(self) -> int:
        """FLOPs in matrix products of the whole step."""
        return self.passes * sum(call.flops for call in self.calls)

    @property
    def bytes(self) -> int:
        """Bytes that the kernels of the whole step move, each operation being one kernel."""
        return self.passes * sum(call.bytes for call in self.calls)

    @property
    def kernels(self) -> int:
        """Kernels of the whole step, each operation being one."""
        return self.passes * sum(call.kernels(None) for call in self.calls)

    @property
    def memory(self) -> int:
        """Bytes that a device must have for it.

        In training: parameters, their gradients and two states of an optimizer, and every result of the forward pass;
        otherwise the parameters and the largest operation's inputs and results.
        """
        held = self.buffer_bytes + self.input_bytes
        if self.training:
            return held + 4 * self.parameter_bytes + sum(call.written for call in self.calls)
        return held + self.parameter_bytes + max((call.bytes for call in self.calls), default=0)


class _Recorder(shape_only):
    """Runs on shapes and notes each operation, and what it would be composed of."""

    def __init__(self) -> None:
        super().__init__(self._done)
        self.calls: list[Call] = []
        self.lines: list[str] = []
        self._depth = 0
        self._open = [0, 0, 0]  # kernels, bytes, FLOPs in products of the operation that is open

    def _done(self, flops: int) -> None:
        """What `shape_only` counts; told per operation below."""

    def _operation(
        self, op: Any, inputs: tuple[Any, ...], params: dict[str, Any], proceed: Callable[[], Any]
    ) -> Any:
        if op.rule is None:
            return proceed()
        if self._depth == 0:
            self._open = [0, 0, 0]
        self._depth += 1
        try:
            made = super()._operation(op, inputs, params, proceed)
        finally:
            self._depth -= 1
        outs = made if isinstance(made, tuple) else (made,)
        read = sum(one.nbytes for one in inputs if one is not None)
        written = sum(one.nbytes for one in outs)
        if op.name in VIEWS:
            read = written = 0
        if op.flops is not None:  # elementary
            self._open[0] += op.name not in VIEWS
            self._open[1] += read + written
            self._open[2] += int(op.flops(outs[0], *inputs)) if op.family == "contraction" else 0
        if self._depth == 0:
            kernels, moved, flops = self._open
            self.calls.append(
                Call(op.name, flops, read + written, max(moved, read + written), kernels, written)
            )
            shapes = [None if one is None else (one.shape, one.dtype.name) for one in inputs]
            self.lines.append(f"{op.name} {shapes} {sorted(params.items(), key=str)}")
        return made


def arguments(model: Any, batch: Any) -> tuple[Any, ...]:
    """The arguments of `forward` in a batch: all of a list or tuple, or as many of the first as forward takes.

    A batch of a loader has the targets behind the inputs, which most models do not take.
    """
    if isinstance(batch, (tuple, list)) and batch and not all(type(one) is int for one in batch):
        many = tuple(batch)
        parameters = inspect.signature(model.forward).parameters.values()
        if any(one.kind is one.VAR_POSITIONAL for one in parameters):
            return many
        places = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
        needed = [one for one in places if one.default is one.empty]
        return many[: max(1, len(needed))] if len(many) > len(needed) else many
    return (batch,)


def tensors(given: Any) -> list[Any]:
    """The tensors in nested lists, tuples and dicts."""
    if isinstance(given, TensorBase):
        return [given]
    if isinstance(given, dict):
        return [one for held in given.values() for one in tensors(held)]
    if isinstance(given, (tuple, list)):
        return [one for held in given for one in tensors(held)]
    return []


def workload(
    model: Any,
    batch: Any,
    *,
    training: bool | None = None,
    loss: Callable[[Any, Any], Any] | None = None,
    dtype: Any = None,
) -> Workload:
    """Count what `model` does with `batch`; nothing is computed, and the model is not touched.

    `batch` is a tensor, an array, a shape, or a tuple of these, of which `forward` gets as many as it takes.
    `training` (None: as the model is) counts the gradient too; with `loss`, the step is `loss(model, batch)`.
    Raises what the model raises where the shapes do not fit, and UnsupportedOpError where it branches on values.

    >>> from mlcore import nn
    >>> found = workload(nn.Sequential(nn.Linear(4, 8), nn.ReLU()), (3, 4), training=False)
    >>> found.kernels, found.flops, found.parameter_bytes
    (2, 192, 160)
    """
    if not isinstance(model, Module):
        raise ArgumentTypeError(f"a workload of a {type(model).__name__}", fix="pass a Module")
    training = model.training if training is None else training
    twin = twin_of(model).train(training)
    given = inputs_like(arguments(model, batch) if loss is None else batch, dtype)
    recorder = _Recorder()
    with recorder:
        result = twin(*given) if loss is None else loss(twin, given)
    return _workload(twin, given, result, training, tuple(recorder.calls), recorder.lines)


def unseen(model: Any, batch: Any, training: bool | None, dtype: Any = None) -> Workload:
    """The workload of a model that must be run to know what it does: its sizes, and no calls."""
    given = inputs_like(arguments(model, batch), dtype)
    shapes = [(one.shape, one.dtype.name) for one in (*tensors(given), *model.parameters(), *model.buffers())]
    lines = [type(one).__qualname__ for one in model.modules()] + [str(one) for one in shapes]
    return _workload(model, given, (), model.training if training is None else training, (), lines)


def _workload(
    model: Any, given: Any, result: Any, training: bool, calls: tuple[Call, ...], lines: list[str]
) -> Workload:
    text = "\n".join([str(training), *lines])
    return Workload(
        type(model).__name__,
        calls,
        sum(one.nbytes for one in model.parameters()),
        sum(one.nbytes for one in model.buffers()),
        sum(one.nbytes for one in tensors(given)),
        sum(one.nbytes for one in tensors(result)),
        training,
        hashlib.sha256(text.encode()).hexdigest()[:24],
    )
