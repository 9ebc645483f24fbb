"""checkpoint: keep nothing of what a function saved, and run it again when the backward pass needs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlcore import engine
from mlcore.errors import ArgumentTypeError, AutogradError
from mlcore.modes import is_recording, recording, saving
from mlcore.tensor import Node, TensorBase, new_node, wrap


class Checkpoint:
    """Forgets what a function saved, and runs it again when the backward pass first needs it."""

    __slots__ = ("args", "function", "kept", "kwargs", "nodes", "states")

    def __init__(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], states: Any
    ) -> None:
        self.function = function
        self.args = [_snapshot(one) for one in args]
        self.kwargs = {name: _snapshot(one) for name, one in kwargs.items()}
        self.states = states
        self.nodes = 0
        self.kept: dict[int, Any] | None = None

    def forget(self, node: Node) -> None:
        """Drop a new node's saved values and remember its place in the order of recording."""
        node.checkpoint = Slot(self, self.nodes)
        self.nodes += 1
        node.saved = tuple([None] * len(node.edges))
        node.out = None
        node.extra = None

    def values(self, index: int) -> Any:
        """What node number `index` had saved."""
        if self.kept is None:
            kept: dict[int, Any] = {}
            count = [0]

            def keep(node: Node) -> None:
                kept[count[0]] = (node.saved, node.out, node.extra)
                count[0] += 1

            with recording(True), saving(keep), _replayed(self.states):
                self.function(*self.args, **self.kwargs)
            if count[0] != self.nodes:
                raise AutogradError(
                    f"checkpoint: the function recorded {self.nodes} operations at first and {count[0]} when run again",
                    cause="it depends on something that changed in between",
                    fix="make the function depend on its arguments only",
                )
            self.kept = kept
        return self.kept.pop(index)


class Slot:
    """One node's place in a Checkpoint."""

    __slots__ = ("checkpoint", "index")

    def __init__(self, checkpoint: Checkpoint, index: int) -> None:
        self.checkpoint = checkpoint
        self.index = index

    def restore(self, node: Node) -> None:
        """Give the node its saved values back."""
        node.saved, node.out, node.extra = self.checkpoint.values(self.index)
        node.checkpoint = None


def _snapshot(value: Any) -> Any:
    """A tensor argument as it is now: on the tape at the same place, but safe from later assignment."""
    if not isinstance(value, TensorBase):
        return value
    twin = wrap(value.array, value.device, value.dtype, value.shape)
    twin.requires_grad = value.requires_grad
    if value.requires_grad:
        edge = value if value.node is None else value.node
        twin.node = new_node(engine.IDENTITY[0], value.device, (edge,), (None,), ())
    return twin


_random_state: list[
    tuple[Callable[[], Any], Callable[[Any], Any]]
] = []  # (get, replay) of the default random stream, put here by mlcore.ops.random


def _replayed(state: Any) -> Any:
    return _random_state[0][1](state)


def checkpoint(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Run `function` keeping none of its intermediate values; the backward pass runs it again to get them.

    Memory for time (Chen et al. 2016, "Training deep nets with sublinear memory cost"). Random numbers repeat.

    >>> import mlcore as ml
    >>> x = ml.asarray([1.0, 2.0], requires_grad=True)
    >>> ml.checkpoint(lambda v: (v.exp() * v).sum(), x).backward()
    >>> x.grad.shape
    (2,)
    """
    if not callable(function):
        raise ArgumentTypeError(f"checkpoint: expected a function, got {type(function).__name__}")
    if not is_recording():
        return function(*args, **kwargs)
    keeper = Checkpoint(function, args, kwargs, _random_state[0][0]())
    with saving(keeper.forget):
        return function(*args, **kwargs)
