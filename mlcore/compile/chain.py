"""Chains: elementwise code as a short list of steps, which a backend runs block by block, without intermediates.

The code runs once, on tensors of a device that holds nothing: its kernels write down what they are asked for, so that
checks, promotion and compositions are dispatch's own. Python numbers are inputs of the chain: they may differ from one
recording to the next, and the steps stay the same. What is not elementwise, or looks at a value, is refused.
"""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from mlcore.backends.device import Device
from mlcore.dtypes import DType, everything
from mlcore.errors import UnsupportedOpError
from mlcore.modes import MODES
from mlcore.ops import random
from mlcore.tensor import TensorBase, wrap

Step = tuple[Any, tuple[Any, ...], DType, tuple[int, ...]]
"""(operation, its further parameters, the dtype of its result, its operands)"""


class Chain:
    """A recording: values 0, 1, ... are the inputs, then what each step makes; -1, -2, ... are the numbers.

    `inputs` are the dtypes of the inputs, `steps` what is done, `outputs` the values that come out; `kinds` are the
    dtypes of the numbers. These four say what a backend has to prepare, and hash as `key`; `numbers` are data.
    """

    __slots__ = ("inputs", "key", "numbers", "outputs", "steps")

    def __init__(
        self,
        inputs: tuple[DType, ...],
        steps: tuple[Step, ...],
        numbers: list[float],
        kinds: tuple[DType, ...],
        outputs: tuple[int, ...],
    ) -> None:
        self.inputs, self.steps, self.numbers, self.outputs = inputs, steps, numbers, outputs
        self.key = (inputs, steps, kinds, outputs)

    @property
    def kinds(self) -> tuple[DType, ...]:
        """The dtypes of the numbers."""
        return self.key[2]

    def __repr__(self) -> str:
        def named(value: int) -> str:
            return f"v{value}" if value >= 0 else f"{self.numbers[-1 - value]:g}"

        lines = [f"inputs {', '.join(f'v{i}: {one}' for i, one in enumerate(self.inputs))}"]
        for i, (op, more, dtype, operands) in enumerate(self.steps, len(self.inputs)):
            given = ", ".join([*map(named, operands), *map(str, more)])
            lines.append(f"v{i}: {dtype} = {op.name}({given})")
        return "\n".join([*lines, f"outputs {', '.join(map(named, self.outputs))}"])


def record(
    code: Callable[[list[Any]], Sequence[Any]], inputs: tuple[DType, ...], shape: tuple[int, ...]
) -> Chain:
    """What `code(tensors)`, which returns a list of tensors, does to each element of inputs of these dtypes.

    All have one shape. Raises UnsupportedOpError where the code is not elementwise; any other error is the code's own.

    >>> from mlcore.dtypes import float32
    >>> record(lambda x: [x[0] * 0.5 + x[1]], (float32, float32), (3,))
    inputs v0: float32, v1: float32
    v2: float32 = multiply(v0, 0.5)
    v3: float32 = add(v2, v1)
    outputs v3
    """
    return _mine().record(code, inputs, shape)


def record_any_shape(
    code: Callable[[list[Any]], Sequence[Any]], inputs: tuple[DType, ...], ndim: int
) -> Chain | None:
    """The same for all shapes of `ndim` dimensions; None where the code looks at the shape."""
    recorder = _mine()
    shape = recorder.unknown(ndim)
    for _ in range(2):  # what dispatch asks about a shape, it asks once
        recorder.looked = False
        try:
            chain = recorder.record(code, inputs, shape)
        except Exception:
            if recorder.looked:
                return None
            raise
        if not recorder.looked:
            return chain
    return None


class _Number:
    """A Python number on the recording device."""

    __slots__ = ("dtype", "value")

    def __init__(self, value: float, dtype: DType) -> None:
        self.value, self.dtype = value, dtype


class _Dim:
    """The size of a dimension that is not known: whoever looks is noted, and gets a number to go on with."""

    __slots__ = ("recorder",)

    def __init__(self, recorder: _Recorder) -> None:
        self.recorder = recorder

    def look(self) -> int:
        self.recorder.looked = True
        return 2

    def __eq__(self, other: object) -> bool:
        return self is other or self.look() == other

    def __hash__(self) -> int:
        return id(self)


def _looking(call: Callable[..., Any], reflected: bool = False) -> Any:
    def method(self: _Dim, *other: Any) -> Any:
        known = [one.look() if isinstance(one, _Dim) else one for one in (self, *other)]
        return call(*(reversed(known) if reflected else known))

    return method


_call: Any
for _call in (operator.index, int, float, bool, str, repr, format, round, abs, operator.neg, operator.pos,
              operator.lt, operator.le, operator.gt, operator.ge):  # fmt: skip
    setattr(_Dim, f"__{_call.__name__}__", _looking(_call))
for _call in (
    operator.add,
    operator.sub,
    operator.mul,
    operator.floordiv,
    operator.truediv,
    operator.mod,
    pow,
):
    setattr(_Dim, f"__{_call.__name__}__", _looking(_call))
    setattr(_Dim, f"__r{_call.__name__}__", _looking(_call, reflected=True))


class _Recorder:
    """One thread's recording device and the recording that is under way. It is a Backend, without memory."""

    without_values = True  # what mlcore.host.holds_values asks

    def __init__(self) -> None:
        self.device = Device("chain")
        self.device.backend = self
        self.dtypes = everything
        self.dims: tuple[Any, ...] = ()
        self.looked = False
        self.values: list[DType] = []
        self.steps: list[Step] = []
        self.numbers: list[float] = []
        self.kinds: list[DType] = []

    def unknown(self, ndim: int) -> tuple[Any, ...]:
        """The shape of `ndim` unknown dimensions."""
        if len(self.dims) < ndim:
            self.dims += tuple([_Dim(self) for _ in range(len(self.dims), ndim)])
        return self.dims[:ndim]  # the same ones for all, since shapes are compared dimension by dimension

    def record(
        self, code: Callable[[list[Any]], Sequence[Any]], inputs: tuple[DType, ...], shape: tuple[int, ...]
    ) -> Chain:
        for held in (self.values, self.steps, self.numbers, self.kinds):
            held.clear()
        self.values += inputs
        tensors = [wrap(i, self.device, dtype, shape) for i, dtype in enumerate(inputs)]
        drawn = random.get_state()
        try:
            if MODES.special == 0:
                made = code(tensors)
            else:
                with alone():
                    made = code(tensors)
        finally:
            if random.get_state() != drawn:
                random.set_state(drawn)
        outputs: list[int] = []
        for one in made:
            if not isinstance(one, TensorBase) or one.device is not self.device:
                raise UnsupportedOpError("a result that the inputs have no part in")
            if type(one.array) is not int or one.shape != shape:
                raise UnsupportedOpError("a result that is not of the inputs' shape")
            outputs.append(one.array)
        return Chain(inputs, tuple(self.steps), self.numbers[:], tuple(self.kinds), tuple(outputs))

    # -- a Backend ----------------------------------------------------------------------------------------------

    def number(self, value: float, dtype: DType) -> _Number:
        """A Python number as a 0-d array, not rounded to the dtype: that is for whoever computes."""
        return _Number(value, dtype)

    def from_host(self, array: Any) -> NoReturn:
        raise UnsupportedOpError("data from the host")

    def to_host(self, array: Any) -> NoReturn:
        raise UnsupportedOpError("a value that is looked at")

    def kernel(self, op: Any) -> Callable[..., int] | None:
        """What writes a step down; None where the operation's parts are to be recorded instead."""
        if op.name == "astype":
            return self._cast(op)
        if op.name == "where" or (op.family in ("unary", "binary") and op.c is not None):
            return self._step(op)
        if op.body is not None:
            return None

        def refuse(*args: Any) -> NoReturn:
            raise UnsupportedOpError(f"{op.name}, which is not elementwise")

        return refuse

    def _step(self, op: Any) -> Callable[..., int]:
        """What a rule's recording mostly consists of, and so written out: a step of a unary or binary operation."""
        results, known, values, steps = op.result, op.n_inputs, self.values, self.steps

        def one(x: Any, *more: Any) -> int:
            x = x if type(x) is int else self._number(x)
            dtype = results[values[x].index if x >= 0 else self.kinds[-1 - x].index]
            steps.append((op, more, dtype, (x,)))
            values.append(dtype)
            return len(values) - 1

        def two(x: Any, y: Any, *more: Any) -> int:
            x = x if type(x) is int else self._number(x)
            y = y if type(y) is int else self._number(y)
            dtype = results[values[y].index if y >= 0 else self.kinds[-1 - y].index]
            steps.append((op, more, dtype, (x, y)))
            values.append(dtype)
            return len(values) - 1

        def select(c: Any, x: Any, y: Any) -> int:
            operands = tuple([v if type(v) is int else self._number(v) for v in (c, x, y)])
            dtype = values[operands[2]] if operands[2] >= 0 else self.kinds[-1 - operands[2]]
            steps.append((op, (), dtype, operands))
            values.append(dtype)
            return len(values) - 1

        return (one, two, select)[known - 1]

    def _cast(self, op: Any) -> Callable[..., int]:
        values, steps = self.values, self.steps

        def cast(x: Any, dtype: DType) -> int:
            steps.append((op, (), dtype, (x if type(x) is int else self._number(x),)))
            values.append(dtype)
            return len(values) - 1

        return cast

    def _number(self, array: _Number) -> int:
        self.numbers.append(array.value)
        self.kinds.append(array.dtype)
        return -len(self.numbers)


class _Local(threading.local):
    recorder: _Recorder | None = None


_LOCAL = _Local()


def _mine() -> _Recorder:
    if _LOCAL.recorder is None:
        _LOCAL.recorder = _Recorder()
    return _LOCAL.recorder


@contextmanager
def alone() -> Iterator[None]:
    """Nobody watches, casts or records meanwhile."""
    local = MODES.local
    before = local.interceptors, local.recording, local.autocast
    local.interceptors, local.recording, local.autocast = (), False, None
    try:
        yield
    finally:
        local.interceptors, local.recording, local.autocast = before
