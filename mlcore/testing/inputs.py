"""Inputs for the kit: values, shapes and memory layouts, made from what the operations declare.

PYTEST_DONT_REWRITE: pytest would explain a failure by comparing megabytes, line by line.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mlcore import autograd, dispatch, dtypes
from mlcore.backends import detect
from mlcore.backends.protocol import Device
from mlcore.dtypes import DType
from mlcore.errors import MlcoreError
from mlcore.inputs import from_data, prepare
from mlcore.ops.cases import Sample, as_sample
from mlcore.testing.compare import Host, host, wide

DOMAIN = (-10.0, 10.0)
LARGE = 1029  # vector bodies and a tail, whatever the vector's width

Shapes = tuple[tuple[int, ...] | None, ...]

ONE: tuple[Shapes, ...] = (
    ((),), ((1,),), ((3,),), ((0,),), ((17,),), ((2, 3, 4),), ((4, 0, 2),), ((5, 1, 7, 2),), ((LARGE,),), ((65, 33),),
)  # fmt: skip
TWO: tuple[Shapes, ...] = (
    ((), ()), ((3,), (3,)), ((3,), ()), ((), (5,)), ((4, 1), (1, 5)), ((2, 3, 4), (4,)), ((3, 1), (2, 3, 4)),
    ((0, 3), (1, 3)), ((LARGE,), (LARGE,)), ((LARGE,), ()), ((9, 65), (65,)), ((9, 1), (9, 65)),
)  # fmt: skip
QUICK = 4  # how many of them a quick run takes


@dataclass(frozen=True)
class Case:
    """One call of an operation: the inputs on the host, and the parameters."""

    op: Any
    dtype: DType | None
    arrays: tuple[Host | None, ...]
    params: Mapping[str, Any]
    sample: Sample
    text: str
    layout: str = "contiguous"

    def on(self, device: Device, *, precise: bool = False, requires_grad: bool = False) -> list[Any]:
        """The inputs as tensors of `device` in this case's layout; `precise` in 64-bit precision."""
        made: list[Any] = []
        for array in self.arrays:
            if array is None:
                made.append(None)
                continue
            tensor = LAYOUTS[self.layout].place(wide(array) if precise else array, device)
            tensor.requires_grad = requires_grad and tensor.dtype.kind in "fc"
            made.append(tensor)
        return made

    def __str__(self) -> str:
        shapes = ", ".join("None" if a is None else str(a.shape) for a in self.arrays)
        params = ", ".join(f"{k}={v}" for k, v in self.params.items())
        parts = [self.text, f"({shapes})" if self.arrays else "", params]
        parts.append("" if self.layout == "contiguous" else self.layout)
        return " ".join(part for part in parts if part)


def call(op: Any, inputs: list[Any], params: Mapping[str, Any], device: Device) -> Any:
    """Apply an operation as a caller does: an optional input that is not given is None."""
    if not op.variadic:
        inputs = [*inputs, *[None] * (op.n_inputs - len(inputs))]
    return dispatch.apply(op, tuple(inputs), dict(params), device)


def outputs(made: Any) -> list[Any]:
    """The results as a list."""
    return list(made) if isinstance(made, (tuple, list)) else [made]


# -- cases -----------------------------------------------------------------------------------------------------


def samples(op: Any) -> list[Sample]:
    """The declared samples; without any, one with no parameters."""
    return [as_sample(one) for one in op.samples()] if op.samples is not None else [Sample({})]


def shapes_for(op: Any, sample: Sample, quick: bool) -> tuple[Shapes, ...]:
    """What shapes to try: the sample's own, or those of the kit for one or two inputs."""
    if sample.shapes is not None:
        return (sample.shapes,)
    if op.n_inputs == 0:
        return ((),)
    chosen = (
        ONE if op.n_inputs == 1 else TWO if op.elementwise else tuple((one[0],) * op.n_inputs for one in ONE)
    )
    if op.n_inputs > 2:
        chosen = tuple((one[0],) * op.n_inputs for one in ONE)
    return (*chosen[:QUICK], *chosen[-3:]) if quick else chosen


def rng_for(*key: Any) -> np.random.Generator:
    """Numbers that depend on the case alone, so that a single case can be run again."""
    import zlib

    return np.random.default_rng(zlib.crc32(repr(key).encode()))


def domain_of(op: Any, i: int) -> tuple[float, float]:
    """The declared domain of input `i`."""
    if op.domain is None:
        return DOMAIN
    if isinstance(op.domain[0], tuple):
        return op.domain[min(i, len(op.domain) - 1)]  # type: ignore[no-any-return]  # what it comes from is Any
    return op.domain  # type: ignore[no-any-return]  # what it comes from is Any


def values(
    rng: np.random.Generator, shape: tuple[int, ...], dtype: DType, domain: tuple[float, float]
) -> Host:
    """Random values of `dtype` inside `domain`."""
    low, high = domain
    if dtype.kind == "b":
        return rng.random(shape) < 0.5
    if dtype.kind in "iu":
        info = dtypes.iinfo(dtype)
        first, last = max(info.min, math.floor(low)), min(info.max, math.ceil(high))
        return rng.integers(first, last, size=shape, endpoint=True).astype(dtype.numpy)
    found = rng.uniform(low, high, shape)
    if dtype.kind == "c":
        return (found + 1j * rng.uniform(-1, 1, shape) * min(1.0, 0.3 * abs(high - low))).astype(dtype.numpy)
    return found.astype(dtype.numpy)


def input_name(op: Any, i: int) -> str:
    """The declared name of input `i`."""
    return op.inputs[0] if op.variadic else op.inputs[i]  # type: ignore[no-any-return]  # what it comes from is Any


def build(op: Any, dtype: DType | None, sample: Sample, shapes: Shapes, scale: float = 1.0) -> Case:
    """A case with random values; derived inputs are computed on the reference device."""
    rng = rng_for(op.name, None if dtype is None else dtype.name, shapes, sorted(sample.params))
    arrays: list[Host | None] = []
    for i, shape in enumerate(shapes):
        name = input_name(op, i)
        if shape is None:
            arrays.append(None)
        elif name in sample.integers:
            arrays.append(rng.integers(0, max(1, sample.integers[name]), size=shape).astype(np.int64))
        elif name in sample.booleans:
            arrays.append(rng.random(shape) < 0.6)
        else:
            assert dtype is not None
            made = values(rng, shape, dtype, domain_of(op, i))
            arrays.append(made if scale == 1.0 else (made * np.asarray(scale, dtype=made.dtype)))
    case = Case(op, dtype, tuple(arrays), sample.params, sample, "" if dtype is None else dtype.name)
    return derived(case)


def derived(case: Case) -> Case:
    """The case with the inputs that its sample makes from others."""
    if not case.sample.derive:
        return case
    where, op = detect.resolve("reference"), case.op
    tensors: list[Any] = [None if a is None else from_data(a, None, where) for a in case.arrays]
    with autograd.no_grad():
        for name, make in case.sample.derive.items():
            if op.variadic:
                tensors = list(make(tensors))
                continue
            asked = [p.name for p in inspect.signature(make).parameters.values() if p.default is p.empty]
            tensors[op.inputs.index(name)] = make(*[tensors[op.inputs.index(one)] for one in asked])
    arrays = tuple(
        None if t is None or a is None else np.asarray(host(t)).astype(a.dtype)
        for t, a in zip(tensors, case.arrays, strict=True)
    )
    return replace(case, arrays=arrays)


def cases(
    op: Any, dtype: DType | None, *, quick: bool = False, device: Device | None = None, only: Any = None
) -> Iterator[Case]:
    """Every case of an operation in one dtype that the operation accepts, and whose results the device can hold.

    `only` names the one of its samples to make them from.
    """
    for sample in samples(op) if only is None else [only]:
        for shapes in shapes_for(op, sample, quick):
            case = build(op, dtype, sample, shapes)
            if accepted(case) and (device is None or fits(case, device)):
                yield case


def accepted(case: Case) -> bool:
    """Whether the operation's own rule takes the case: a reduction over an axis takes no 0-d tensor."""
    where = detect.resolve("reference")
    try:
        inputs, _, _ = prepare(case.op, tuple(case.on(where)))
        if case.op.rule is not None:
            case.op.rule(*inputs, **case.params)
    except MlcoreError:
        return False
    return True


def fits(case: Case, device: Device) -> bool:
    """Whether the device holds the dtypes of the results."""
    try:
        inputs, _, _ = prepare(case.op, tuple(case.on(detect.resolve("reference"))))
        outs, _ = case.op.rule(*inputs, **case.params)
    except MlcoreError:  # it is refused everywhere
        return True
    return all(dtype in device.backend.dtypes for _, dtype in outs)


# -- layouts ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layout:
    """How the elements lie in memory: `place(array, device)` is a tensor of the array's values laid out so."""

    name: str
    place: Callable[[Host, Device], Any]
    change: Callable[[Host], Host] = lambda array: array


def upload(array: Host, device: Device) -> Any:
    """A tensor off the tape of a host array."""
    return from_data(array, None, device)


def _transposed(array: Host, device: Device) -> Any:
    if array.ndim < 2:
        return _sliced(array, device)
    return upload(np.ascontiguousarray(array.T), device).permute_dims(tuple(range(array.ndim))[::-1])


def _rotated(array: Host, device: Device) -> Any:
    """The second dimension innermost: what a channels-last picture looks like."""
    if array.ndim < 3:
        return _transposed(array, device)
    order = (0, *range(2, array.ndim), 1)
    back = (0, array.ndim - 1, *range(1, array.ndim - 1))
    return upload(np.ascontiguousarray(array.transpose(order)), device).permute_dims(back)


def _junk(shape: tuple[int, ...], dtype: Any) -> Host:
    """What lies between the elements of a slice: values that no result may show."""
    rng = rng_for("junk", shape, str(dtype))
    return rng.integers(90, 120, size=shape).astype(dtype)


def _sliced(array: Host, device: Device) -> Any:
    if not array.ndim:
        return upload(array, device)
    big = _junk(tuple(2 * d + 1 for d in array.shape), array.dtype)
    key = tuple(slice(1, None, 2) for _ in array.shape)
    big[key] = array
    return upload(big, device)[key]


def _backwards(array: Host, device: Device) -> Any:
    key = tuple(slice(None, None, -1) for _ in array.shape)
    return upload(np.ascontiguousarray(array[key]), device)[key] if key else upload(array, device)


def _offset(array: Host, device: Device) -> Any:
    if not array.ndim:
        return upload(np.stack([array + array.dtype.type(1), array]).astype(array.dtype), device)[1]
    big = _junk(tuple(d + 3 for d in array.shape), array.dtype)
    key = tuple(slice(2, 2 + d) for d in array.shape)
    big[key] = array
    return upload(big, device)[key]


def _first(array: Host) -> Host:
    """The array with all elements along its first dimension equal to the first one."""
    if not array.ndim or not array.shape[0]:
        return array
    return np.ascontiguousarray(np.broadcast_to(array[:1], array.shape))


def _repeated(array: Host, device: Device) -> Any:
    if not array.ndim or not array.shape[0]:
        return upload(array, device)
    return upload(np.ascontiguousarray(array[:1]), device).broadcast_to(array.shape)


LAYOUTS: dict[str, Layout] = {
    one.name: one
    for one in (
        Layout("contiguous", upload),
        Layout("transposed", _transposed),
        Layout("channels last", _rotated),
        Layout("sliced", _sliced),
        Layout("negative step", _backwards),
        Layout("offset", _offset),
        Layout("broadcast", _repeated, _first),
    )
}


def in_layout(case: Case, layout: str) -> Case | None:
    """The same case with every input in another layout; None where that changes nothing."""
    if not any(a is not None and a.ndim for a in case.arrays) and layout != "offset":
        return None
    arrays = tuple(None if a is None else LAYOUTS[layout].change(a) for a in case.arrays)
    moved = derived(replace(case, arrays=arrays, layout=layout))
    if layout == "broadcast" and case.sample.derive:
        same = all(
            a is None or np.array_equal(_first(a), a, equal_nan=a.dtype.kind in "fc") for a in moved.arrays
        )
        return moved if same else None
    return moved


# -- special values --------------------------------------------------------------------------------------------


def specials(dtype: DType) -> Host:
    """Values at which formulas break: zeros, infinities, nan, subnormals, extremes, halves, whole numbers."""
    if dtype.kind == "b":
        return np.asarray([True, False])
    if dtype.kind in "iu":
        info = dtypes.iinfo(dtype)
        some = [0, 1, 2, 3, 7, info.max, info.max - 1, info.min, info.min + 1] + (
            [-1, -2, -7] if dtype.kind == "i" else []
        )
        return np.asarray(some, dtype=dtype.numpy)
    if dtype.kind == "c":  # infinite and huge complex numbers mean something else in every library
        parts = [0.0, 1.0, -1.0, 0.5, -2.0, 1e-3]
        return np.asarray([complex(a, b) for a in parts for b in parts], dtype=dtype.numpy)
    found = dtypes.finfo(dtype)
    tiny = float(np.nextafter(dtype.numpy.type(0), dtype.numpy.type(1)))
    normal = found.smallest_normal
    sizes = [
        0.0,
        1.0,
        0.5,
        1.5,
        2.5,
        3.0,
        tiny,
        3 * tiny,
        normal / 2,
        normal,
        found.eps,
        found.max,
        found.max / 2,
    ]
    sizes += [1 + found.eps, 10.0, 88.0, 100.0, float("inf")]
    return np.asarray([*sizes, *(-v for v in sizes), float("nan")], dtype=dtype.numpy)


def flushes(device: Device, dtype: DType) -> bool:
    """Whether the backend says that subnormal numbers of `dtype` count as 0 there."""
    return dtype in getattr(device.backend, "flushes", ())


def specials_on(device: Device, dtype: DType) -> Host:
    """The special values that formulas have to cope with on a device: without subnormals where those count as 0."""
    found = specials(dtype)
    if dtype.kind != "f" or not flushes(device, dtype):
        return found
    return np.asarray(found[(found == 0) | ~(np.abs(found) < dtypes.finfo(dtype).smallest_normal)])
