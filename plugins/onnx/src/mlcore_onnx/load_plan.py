"""A graph made ready: a list of steps over numbered slots, each emptied after its last use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from mlcore.errors import ArgumentError, MlcoreError, UnsupportedOpError
from mlcore.tensor import Tensor, TensorBase
from mlcore_onnx.ops.declare import Handler
from mlcore_onnx.values import HOST, SMALL, Carrier, move, to_numpy


class Constant:
    """A value that the file has: on the host, and on each device where a step needed it."""

    __slots__ = ("_array", "_moved", "value")

    def __init__(self, value: Any) -> None:
        self.value = value
        self._array: Any = None
        self._moved: dict[Any, Any] = {}

    def on(self, device: Any) -> Any:
        """The value on `device`."""
        if not isinstance(self.value, Tensor) or self.value.device is device:
            return self.value
        found = self._moved.get(device)
        if found is None:
            found = self._moved[device] = move(self.value, device)
        return found

    def array(self) -> Any:
        """The value as NumPy has it."""
        if self._array is None:
            self._array = to_numpy(self.value)
        return self._array


class Held(NamedTuple):
    """A tensor of the module: the path of the module below it that has it, and under which name."""

    path: str
    name: str


class Plan:
    """What a graph, a branch or a function does: `steps` that read and fill `slots`."""

    __slots__ = ("captures", "constants", "inputs", "kinds", "name", "outputs", "size", "steps")

    def __init__(self, name: str) -> None:
        self.name = name
        self.size = 0
        self.inputs: list[int] = []
        self.captures: list[tuple[int, int]] = []  # (slot of the plan around it, slot here)
        self.constants: list[tuple[int, Constant]] = []
        self.steps: list[Step] = []
        self.outputs: list[int] = []
        self.kinds: list[Any] = []  # what the file says of the outputs: (NumPy type, sizes), or None

    def __deepcopy__(self, memo: dict[int, Any]) -> Plan:
        return self  # it does not change, and a copied model does the same

    def slot(self) -> int:
        """A new slot."""
        self.size += 1
        return self.size - 1

    def run(self, inputs: Sequence[Any], captured: Sequence[Any], device: Any) -> list[Any]:
        """The outputs, from the inputs and from the values that are taken from around."""
        slots: list[Any] = [None] * self.size
        for place, value in zip(self.inputs, inputs):
            slots[place] = value
        for (_, place), value in zip(self.captures, captured):
            slots[place] = value
        for place, constant in self.constants:
            slots[place] = constant.value
        return self.go(slots, device)

    def go(self, slots: list[Any], device: Any) -> list[Any]:
        """The outputs, of slots that are filled."""
        step: Any = None
        try:
            for step in self.steps:
                step(slots, device)
        except MlcoreError as error:
            if "node" in error.details:
                raise
            raise type(error)(error.what, **error.details, node=step.label) from error
        except RecursionError:
            raise
        except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as error:
            raise ArgumentError(
                f"{step.label} cannot be computed of these inputs",
                cause=f"{type(error).__name__}: {str(error)[:300]}",
                fix="check the shapes and types that the model is given",
                node=step.label,
            ) from error
        return [slots[place] for place in self.outputs]


class Body:
    """A branch or loop body with what it takes from around it: call it with its inputs."""

    __slots__ = ("captured", "device", "plan")

    def __init__(self, plan: Plan, slots: list[Any], device: Any) -> None:
        self.plan = plan
        self.captured = [slots[outer] for outer, _ in plan.captures]
        self.device = device

    def __call__(self, *inputs: Any) -> list[Any]:
        if len(inputs) != len(self.plan.inputs):
            raise ArgumentError(
                f"the graph {self.plan.name!r} takes {len(self.plan.inputs)} inputs, its node passes {len(inputs)}"
            )
        return self.plan.run(inputs, self.captured, self.device)


class Step:
    """One node: where its inputs lie, what runs it, where its outputs go, and what is not needed after it."""

    __slots__ = (
        "bodies",
        "call",
        "constants",
        "frees",
        "handler",
        "inputs",
        "keywords",
        "label",
        "outputs",
        "plain",
    )

    def __init__(
        self, handler: Handler, label: str, keywords: dict[str, Any], bodies: dict[str, Plan]
    ) -> None:
        self.handler = handler
        self.label = label
        self.call: Callable[..., Any] = handler.call
        self.keywords = keywords
        self.bodies = bodies
        self.inputs: list[int] = []  # -1: left out
        self.constants: dict[int, Constant] = {}  # by the input's place
        self.outputs: list[int] = []
        self.frees: tuple[int, ...] = ()
        self.plain = not (handler.raw or handler.host or bodies or "device" in handler.asks)

    def uses(self) -> list[int]:
        """The slots that it reads, those of its bodies included."""
        return [
            *(i for i in self.inputs if i >= 0),
            *(o for b in self.bodies.values() for o, _ in b.captures),
        ]

    def __call__(self, slots: list[Any], device: Any) -> None:
        made: Any = None
        if self.plain:  # most steps, most of the time: tensors that are where they belong
            values = [slots[i] if i >= 0 else None for i in self.inputs]
            for one in values:
                if one is not None and (not isinstance(one, TensorBase) or one.device is not device):
                    break
            else:
                made = self.call(*values, **self.keywords)
        if made is None:
            made = self.compute(slots, device)
        outputs = self.outputs
        if len(outputs) == 1 and type(made) is not tuple:
            slots[outputs[0]] = made
        else:
            for place, one in zip(outputs, made if type(made) is tuple else (made,)):
                if place >= 0:
                    slots[place] = one
        for place in self.frees:
            slots[place] = None

    def compute(self, slots: list[Any], device: Any) -> Any:
        """What the node makes of the values in the slots."""
        values = [slots[i] if i >= 0 else None for i in self.inputs]
        handler = self.handler
        keywords = self.keywords
        if self.bodies:
            keywords = {**keywords, **{name: Body(one, slots, device) for name, one in self.bodies.items()}}
        if handler.asks and "device" in handler.asks:
            keywords = {**keywords, "device": device}
        if handler.raw:
            return self.call(*values, **keywords)
        return self._placed(values, keywords, device)

    def _placed(self, values: list[Any], keywords: dict[str, Any], device: Any) -> Any:
        """The call, with every input where it belongs."""
        host = self.handler.host
        local, foreign = True, False
        for i, one in enumerate(values):
            if isinstance(one, TensorBase):
                if one.device is not HOST and i not in host:
                    local = False
            elif one is not None:
                foreign = foreign or i not in host
        if foreign:
            return self._carried(values, keywords)
        where = HOST if local else device
        for i, one in enumerate(values):
            if one is None:
                continue
            constant = self.constants.get(i)
            if i in host:
                values[i] = to_numpy(one) if constant is None else constant.array()
            elif one.device is not where:
                values[i] = move(one, where) if constant is None else constant.on(where)
        made = self.call(*values, **keywords)
        if local and device is not HOST:
            return _sent(made, device)
        return made

    def _carried(self, values: list[Any], keywords: dict[str, Any]) -> Any:
        """The call with values that no tensor holds: only where it merely moves them."""
        host = self.handler.host
        arrays = [one for i, one in enumerate(values) if isinstance(one, np.ndarray) and i not in host]
        if not self.handler.moves or len(arrays) != sum(
            isinstance(one, (np.ndarray, list)) for one in values
        ):
            kinds = sorted({str(one.dtype) if isinstance(one, np.ndarray) else "a sequence" for one in values
                            if isinstance(one, (np.ndarray, list))})  # fmt: skip
            raise UnsupportedOpError(
                f"{self.handler.name} of {', '.join(kinds)}"
                f" (domain {self.handler.domain or 'ai.onnx'!r}, {self.label})",
                cause="tensors here have no such elements: they can be moved and cast, not computed with",
                fix="cast them to a wider type first",
            )
        carrier = Carrier(arrays, self.handler.name)
        values = [to_numpy(one) if i in host else carrier.carry(one) for i, one in enumerate(values)]
        return carrier.back(self.call(*[move(one, HOST) for one in values], **keywords))


def _sent(made: Any, device: Any) -> Any:
    """What was made on the host, on the device where it is large."""
    if isinstance(made, TensorBase):
        return move(made, device) if made.size > SMALL and made.device is HOST else made  # type: ignore[attr-defined]
    if type(made) is tuple:
        return tuple(_sent(one, device) for one in made)
    return made
