"""The checks of one operation on one device, each made from the declaration alone.

PYTEST_DONT_REWRITE: pytest would explain a failure by comparing megabytes, line by line.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from mlcore import autograd, dtypes, table
from mlcore.backends import detect
from mlcore.backends.protocol import Device
from mlcore.dtypes import DType
from mlcore.errors import MlcoreError
from mlcore.inputs import prepare
from mlcore.testing.compare import Host, host
from mlcore.testing.gradients import gradcheck
from mlcore.testing.inputs import (
    LAYOUTS,
    Case,
    call,
    cases,
    derived,
    fits,
    flushes,
    in_layout,
    outputs,
    rng_for,
    samples,
    specials,
    specials_on,
)
from mlcore.testing.oracle import Expected
from mlcore.testing.units import Skip, Tally

BIG = (129, 1031)  # enough for kernels that split their work between threads


# -- running a case --------------------------------------------------------------------------------------------


@contextlib.contextmanager
def watched(device: Device) -> Iterator[list[str]]:
    """Lists what passes between host and device in the block, single numbers apart: a kernel moves nothing."""
    seen: list[str] = []
    backend = device.backend
    to_host, from_host = backend.to_host, backend.from_host

    def down(array: Any) -> Any:
        found = to_host(array)
        if found.size > 1:
            seen.append(f"to_host of shape {found.shape}")
        return found

    def up(array: Any) -> Any:
        if array.size > 1:
            seen.append(f"from_host of shape {array.shape}")
        return from_host(array)

    try:
        backend.to_host, backend.from_host = down, up
    except AttributeError:  # a backend with __slots__: nothing to watch
        yield seen
        return
    try:
        yield seen
    finally:
        del backend.to_host, backend.from_host


def attempt(case: Case, device: Device, run: Callable[[Case, Device], Any] | None = None) -> tuple[Any, str]:
    """(outputs, "") of a case, or (None, error): the kind and text of mlcore's own error."""
    try:
        with autograd.no_grad(), np.errstate(all="ignore"):
            inputs = case.on(device)
            return outputs(run(case, device) if run else call(case.op, inputs, case.params, device)), ""
    except MlcoreError as error:
        return None, f"{type(error).__name__}: {error}"


def snapshot(tensors: list[Any]) -> list[bytes]:
    """The bits of some tensors."""
    return [b"" if one is None else np.ascontiguousarray(host(one)).tobytes() for one in tensors]


def verify(tally: Tally, case: Case, device: Device, *, body: bool = False, special: bool = False) -> None:
    """Run a case on the device and hold it against the oracle; the inputs must come out as they went in."""
    with tally.case(case):
        expected = Expected(case)
        with autograd.no_grad(), np.errstate(all="ignore"):
            inputs = case.on(device)
            before = snapshot(inputs)
            table.entry(case.op, device)  # made before we look: a backend may try out its library then
            with watched(device) as moved:
                made = outputs(run_body(case, inputs) if body else call(case.op, inputs, case.params, device))
        assert not moved or table.path(case.op, _path_dtype(case, made), device) == table.HOST, (
            f"a silent detour through the host: {', '.join(moved[:3])}"
        )
        held(
            made,
            expected,
            device,
            tally,
            special and (case.op.elementwise or expected.dtypes[0].itemsize < 4),
        )
        for i, (one, other) in enumerate(zip(before, snapshot(inputs), strict=True)):
            assert one == other, f"input {i} was changed"


def _path_dtype(case: Case, made: list[Any]) -> DType:
    return case.dtype or made[0].dtype


def run_body(case: Case, inputs: list[Any]) -> Any:
    """The composite's body on prepared inputs, with canonical parameters."""
    op = case.op
    prepared, _, _ = prepare(op, (*inputs, *[None] * (0 if op.variadic else op.n_inputs - len(inputs))))
    _, canonical = op.rule(*prepared, **case.params)
    return op.body(*prepared, **dict(zip(op.params, canonical, strict=True)))


def held(made: list[Any], expected: Expected, device: Device, tally: Tally, consistent: bool = False) -> None:
    """Every output against the oracle: device, dtype and shape as declared and as stored, and the values."""
    assert len(made) == len(expected.values), f"{len(made)} outputs, expected {len(expected.values)}"
    for i, (one, want, dtype) in enumerate(zip(made, expected.values, expected.dtypes, strict=True)):
        where = f"output {i}: " if len(made) > 1 else ""
        assert one.device is device, f"{where}on {one.device}, expected {device}"
        assert one.dtype is dtype, f"{where}the tensor says {one.dtype}, expected {dtype}"
        stored = host(one)
        assert stored.dtype == dtype.numpy, f"{where}the array is {stored.dtype}, expected {dtype}"
        assert one.shape == want.shape, f"{where}the tensor says shape {one.shape}, expected {want.shape}"
        assert tuple(one.array.shape) == want.shape, (
            f"{where}the array has shape {tuple(one.array.shape)}, expected {want.shape}"
        )
        tally.compare(want.size)
        found = expected.judge(i, stored, consistent, flushes(device, dtype))
        assert not found, f"{where}{found}"


# -- values ----------------------------------------------------------------------------------------------------


def check_values(op: Any, dtype: DType | None, device: Device, quick: bool) -> Callable[[Tally], None]:
    """Every sample and shape, contiguous."""

    def run(tally: Tally) -> None:
        for case in cases(op, dtype, quick=quick):
            if fits(case, device):
                verify(tally, case, device)
                continue
            with tally.case(f"{case}, refused"):
                _, error = attempt(case, device)
                assert "cannot hold" in error, (
                    f"{error or 'no error'}, expected that the device cannot hold the result"
                )
        assert tally.cases, f"{op.name} declares no sample that it accepts"

    return run


def check_body(op: Any, dtype: DType, device: Device, quick: bool) -> Callable[[Tally], None]:
    """The composite beside a kernel of one's own: both must be what the declaration says."""

    def run(tally: Tally) -> None:
        for case in cases(op, dtype, quick=True, device=device):
            verify(tally, case, device, body=True)

    return run


def check_layouts(op: Any, dtype: DType, device: Device, quick: bool) -> Callable[[Tally], None]:
    """Every sample with its inputs in every memory layout."""

    def run(tally: Tally) -> None:
        for case in cases(op, dtype, quick=quick, device=device):
            if quick and sum(a.size for a in case.arrays if a is not None) > 3000:
                continue
            for layout in LAYOUTS:
                moved = in_layout(case, layout) if layout != "contiguous" else None
                if moved is not None:
                    verify(tally, moved, device)

    return run


# -- special values --------------------------------------------------------------------------------------------


def check_special(op: Any, dtype: DType, device: Device) -> Callable[[Tally], None]:
    """Infinities, nan, subnormals, extremes; for what is not a scalar formula a few of them among ordinary values."""

    def run(tally: Tally) -> None:
        for sample in samples(op):
            if sample.special:
                make = _formula if op.elementwise else _sprinkled
                for case in make(op, dtype, sample, device):
                    if fits(case, device):
                        special_case(tally, case, device)
        if not tally.cases:
            raise Skip("no sample has room for special values")

    return run


def has_special(op: Any, dtype: DType) -> bool:
    """Whether special values of `dtype` mean something to the operation: to formulas always, else to floats."""
    formula = op.elementwise and op.n_inputs < 3
    return (formula or dtype.kind == "f") and any(sample.special for sample in samples(op))


def special_case(tally: Tally, case: Case, device: Device) -> None:
    """One case of special values: the same values as the oracle's, or the same refusal."""
    _, refused = attempt(case, detect.resolve("reference"))
    if refused:
        with tally.case(case):
            _, error = attempt(case, device)
            assert error == refused, f"{error or 'no error'}, expected {refused}"
        return
    verify(tally, case, device, special=True)


def _formula(op: Any, dtype: DType, sample: Any, device: Device) -> Iterator[Case]:
    """All special values, and all pairs of them."""
    if op.n_inputs > 2 or sample.booleans or sample.integers:
        yield from _sprinkled(op, dtype, sample, device)
        return
    values = specials_on(device, dtype)
    if op.n_inputs == 1:
        yield Case(op, dtype, (values,), sample.params, sample, f"{dtype} special")
        return
    seconds = [values]
    if dtype.kind in "iu":  # zeros or negative numbers may be refused as a second operand
        seconds += [values[values != 0], values[(values >= 0) & (values < 8)]]
    for second in seconds:
        case = Case(
            op,
            dtype,
            (values.reshape(-1, 1), second.reshape(1, -1)),
            sample.params,
            sample,
            f"{dtype} special pairs",
        )
        yield case
        if not attempt(case, detect.resolve("reference"))[1]:
            return


def _sprinkled(op: Any, dtype: DType, sample: Any, device: Device) -> Iterator[Case]:
    """Ordinary values with some nan, some infinities, and large ones."""
    if dtype.kind != "f":
        return
    ready = (c for c in cases(op, dtype, only=sample) if any(_roomy(a, dtype) for a in c.arrays))
    case = next(ready, None)
    if case is None:
        return
    at = next(i for i, a in enumerate(case.arrays) if _roomy(a, dtype))
    for label, some in (
        ("nan", [np.nan]),
        ("inf", [np.inf]),
        ("-inf", [-np.inf]),
        ("subnormal", specials(dtype)[6:9]),
        ("large", None),
    ):
        arrays = list(case.arrays)
        array = np.array(arrays[at])
        if label == "subnormal" and flushes(device, dtype):
            continue
        if some is None:
            if dtype.itemsize < 4:
                continue
            array = array * array.dtype.type(1000)
        else:
            flat, rng, count = array.reshape(-1), rng_for(op.name, label), max(1, array.size // 9)
            places = rng.choice(flat.size, size=count, replace=False)
            flat[places] = rng.choice(np.asarray(some, dtype=dtype.numpy), size=count)
        arrays[at] = array
        yield derived(replace(case, arrays=tuple(arrays), text=f"{dtype} with {label}"))


def _roomy(array: Host | None, dtype: DType) -> bool:
    """Whether an input has room for a few special values."""
    return array is not None and array.dtype == dtype.numpy and array.size >= 5


# -- gradients -------------------------------------------------------------------------------------------------


def check_gradient(op: Any, dtype: DType, device: Device, quick: bool) -> Callable[[Tally], None]:
    """Gradients of order 1 and 2 by random projection; what declares none must not pretend to have one."""

    def run(tally: Tally) -> None:
        for case in _small(op, dtype, device, 3 if quick else 8):
            with tally.case(case):
                inputs = case.on(device, requires_grad=True)
                if not op.differentiable:
                    made = outputs(call(op, inputs, case.params, device))
                    assert not any(one.requires_grad for one in made), (
                        "declares no gradient, and its result requires one"
                    )
                    continue
                fixed = dict(case.params)
                made = outputs(call(op, inputs, fixed, device))
                if any(
                    one.dtype.kind in "fc" and one.dtype.name not in ("float64", "complex128") for one in made
                ):
                    continue  # differences of numbers that were rounded say nothing
                if not any(one.dtype.kind in "fc" for one in made):
                    assert not any(one.requires_grad for one in made)
                    continue
                gradcheck(
                    lambda *at, fixed=fixed: call(op, list(at), fixed, device), inputs, order=2, directions=1
                )
                tally.compare(2)
        if not tally.cases:
            raise Skip("no sample is small enough for finite differences")

    return run


def _small(op: Any, dtype: DType, device: Device, count: int) -> Iterator[Case]:
    """A few cases with few, but some, elements: one of each sample first, then others."""
    taken = 0
    for case in cases(op, dtype, device=device):
        sizes = [a.size for a in case.arrays if a is not None]
        if (
            not sizes
            or not case.sample.gradient
            or not 0 < sum(sizes) <= 1600
            or not all(sizes)
            or max(sizes) > 600
        ):
            continue
        if not any(a is not None and dtypes.from_numpy(a.dtype).kind in "fc" for a in case.arrays):
            continue
        yield case
        taken += 1
        if taken >= count:
            return


# -- which dtypes ----------------------------------------------------------------------------------------------


def usable(op: Any, device: Device) -> list[DType]:
    """The dtypes that the operation accepts and the device holds."""
    return [d for d in dtypes.all_dtypes if d in op.accepts and d in device.backend.dtypes]


def main_dtypes(op: Any, device: Device) -> list[DType]:
    """One dtype of each kind: what layouts and repetition are tried on."""
    order = ("float32", "int32", "uint8", "complex64", "bool", "float64", "int64")
    found: dict[str, DType] = {}
    for dtype in sorted(
        usable(op, device), key=lambda d: order.index(d.name) if d.name in order else len(order)
    ):
        found.setdefault(dtype.kind, dtype)
    return list(found.values())


def plain_dtype(op: Any, device: Device) -> DType | None:
    if not op.n_inputs:
        return None
    return main_dtypes(op, device)[0]
