"""What a result should be, and how far off it may be.

The oracle evaluates the declaration in higher precision on the same (exactly representable) inputs: in float64
for narrower floats; for float64 in extended precision where the declared reference can, else in float64.

The bound follows from what is declared:

* An elementwise formula: `ulp` units in the last place of the result, plus half of one for the oracle's rounding;
  complex ones four times as many, at least 8.
* Everything that adds or composes: `(ulp + sqrt(n)) * eps * size`. Here n is how many elements may go into one, and
  size the operation applied to the magnitudes of its inputs (so a sum that cancels is held against what was summed).
  The square root is how errors of n roundings add up (n itself where all elements are alike, as in the broadcast
  layout); a kernel that adds in one long row keeps it, a missing or doubled element does not.
* An element that misses this bound has one more chance where `ulp` is not 0: the exact result for inputs that are
  up to `ulp` (at least 4) units in the last place away. What moves that far, no kernel can keep (cancellation).
* `ulp=0` means exact: the same bits as the reference in the same dtype. So are integers and bools.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from mlcore import autograd, dtypes
from mlcore.backends import detect
from mlcore.dtypes import DType
from mlcore.errors import MlcoreError
from mlcore.testing.compare import Host, host, mismatch, spacing, wide
from mlcore.testing.inputs import Case, call, outputs, rng_for

_EXTENDED = {np.dtype(np.float64): np.longdouble, np.dtype(np.complex128): np.clongdouble}


class Expected:
    """The oracle's outputs of a case and how far off each element may be."""

    __slots__ = ("bounds", "case", "dtypes", "plain", "values")

    def __init__(self, case: Case) -> None:
        where = detect.resolve("reference")
        plain = outputs(_run(case, where, precise=False))
        self.dtypes: list[DType] = [one.dtype for one in plain]
        self.case = case
        precise, guard = _precise(case, where, plain)
        self.plain = [np.asarray(host(one)) for one in plain]
        self.values = [np.asarray(_rounded(p, d)) for p, d in zip(precise, self.dtypes, strict=True)]
        self.bounds = [
            _bound(case, p, d, i, guard) for i, (p, d) in enumerate(zip(precise, self.dtypes, strict=True))
        ]

    def judge(self, index: int, got: Host, consistent: bool = False, flushed: bool = False) -> str:
        """What is wrong with output `index`, or nothing; with `flushed`, results smaller than normal ones may be 0.

        `consistent` is for special values: it leaves out the elements where the reference in the case's own dtype
        is not near the oracle, since a formula overflows or underflows on its way there, and it allows four times
        as much.
        """
        want, bound = self.values[index], self.bounds[index]
        if flushed:
            bound = bound + dtypes.finfo(self.dtypes[index]).smallest_normal
        if consistent and got.shape == want.shape:
            bound = bound * 4
            got = np.where(_near(self.plain[index], want, bound), got, want)
        found = mismatch(got, want, bound)
        if not found or got.shape != want.shape or self.dtypes[index].kind not in "fc" or exact(self.case):
            return found
        return mismatch(got, want, bound + self._movable(index))

    def _movable(self, index: int) -> Host:
        """How far the exact result moves when the inputs move by a unit in the last place."""
        where, case = detect.resolve("reference"), self.case
        middle = np.asarray(host(outputs(_run(case, where, precise=True))[index]))
        far, units = np.zeros(middle.shape), max(4, _units(case, self.dtypes[index]))
        rng = rng_for("nearby", str(case))
        for _ in range(4):
            arrays = tuple(None if a is None else _nearby(rng, a, units) for a in case.arrays)
            moved = replace(case, arrays=arrays, layout="contiguous")
            try:
                near = np.asarray(host(outputs(_run(moved, where, precise=True))[index]))
            except MlcoreError:
                continue
            with np.errstate(all="ignore"):
                off = np.abs(near - middle).astype(np.float64)
            far = np.maximum(far, np.where(np.isfinite(off), off, 0))
        if not case.op.elementwise:
            far = np.full(far.shape, far.max() if far.size else 0.0)
        return far * 2


def _near(plain: Host, want: Host, bound: Any) -> Host:
    """Where two results agree."""
    with np.errstate(all="ignore"):
        a, b = wide(plain), wide(want)
        fine = (a == b) | (np.isnan(a) & np.isnan(b))
        if a.dtype.kind in "fc":
            fine |= np.abs(a - b) <= bound
    return np.asarray(fine)


def exact(case: Case) -> bool:
    """Whether the declaration asks for the reference's own bits."""
    return bool(case.op.ulp == 0) and (case.dtype is None or case.dtype.kind != "c")


def _units(case: Case, dtype: DType) -> int:
    """The units in the last place that the declaration allows."""
    return int(case.op.ulp if dtype.kind != "c" else max(8, 4 * case.op.ulp))


def _nearby(rng: np.random.Generator, array: Host, units: int) -> Host:
    """In higher precision: the same values, each moved by some units in the last place."""
    dtype = dtypes.from_numpy(array.dtype)
    if dtype.kind not in "fc":
        return array
    values = wide(array)
    return np.asarray(
        values * (1 + units * dtypes.finfo(dtype).eps * rng.choice([-1.0, 1.0], size=values.shape)),
        dtype=values.dtype,
    )


def _run(case: Case, device: Any, *, precise: bool) -> Any:
    with autograd.no_grad(), np.errstate(all="ignore"):
        inputs = case.on(device, precise=precise)
        return call(case.op, inputs, case.params, device)


def is_inexact(case: Case) -> bool:
    """Whether some input, or a result without inputs, is a float."""
    return any(a is not None and dtypes.from_numpy(a.dtype).kind in "fc" for a in case.arrays)


def _precise(case: Case, device: Any, plain: list[Any]) -> tuple[list[Host], int]:
    """(outputs in higher precision, ulps to allow for the oracle itself)."""
    if not is_inexact(case) or exact(case):
        return [np.asarray(host(one)) for one in plain], 0
    if case.dtype is not None and case.dtype.itemsize >= (16 if case.dtype.kind == "c" else 8):
        extended = _extended(case, plain)
        if extended is not None:
            return extended, 0
        return [np.asarray(host(one)) for one in plain], 2
    made = [np.asarray(host(one)) for one in outputs(_run(case, device, precise=True))]
    # A parameter may fix the result's dtype, as astype does: then nothing was computed in higher precision.
    return made, 0


def _extended(case: Case, plain: list[Any]) -> list[Host] | None:
    """The declared reference in extended precision, or None where NumPy has none for it."""
    op = case.op
    if op.reference is None or not op.elementwise or op.params or any(a is None for a in case.arrays):
        return None
    arrays = [a.astype(_EXTENDED.get(a.dtype, a.dtype)) for a in case.arrays if a is not None]
    try:
        with np.errstate(all="ignore"):
            found = np.asarray(op.reference(*arrays))
    except (TypeError, ValueError):
        return None
    if found.dtype.kind in "fc" and found.dtype not in (np.dtype(np.longdouble), np.dtype(np.clongdouble)):
        return None
    return [found]


def _rounded(precise: Host, dtype: DType) -> Host:
    with np.errstate(all="ignore"):
        return precise.astype(dtype.numpy)


def _bound(case: Case, precise: Host, dtype: DType, index: int, guard: int) -> Any:
    """How far off each element of output `index` may be."""
    if dtype.kind not in "fc" or not is_inexact(case):
        return 0.0
    op = case.op
    ulp = _units(case, dtype)
    near = spacing(_rounded(precise, dtype).astype(np.complex128 if dtype.kind == "c" else np.float64), dtype)
    if op.elementwise:
        bound = (ulp + guard + 0.5) * near
        if op.c is None and op.family == "composite":
            bound = bound + ulp * dtypes.finfo(dtype).eps * _largest(case)
        return np.where(np.isfinite(bound), bound, 0)
    if exact(case):
        return 0.0
    size = _size(case, precise, index)
    terms = _terms(case, precise)
    terms = terms if case.layout == "broadcast" else math.sqrt(terms)
    bound = (ulp + guard + terms) * np.maximum(dtypes.finfo(dtype).eps * size, near)
    return np.where(np.isfinite(bound), bound, 0)


def _largest(case: Case) -> float:
    """The largest finite magnitude among the inputs."""
    found = 0.0
    for array in case.arrays:
        if array is not None and array.size and dtypes.from_numpy(array.dtype).kind in "fc":
            size = np.abs(wide(array))
            found = max(found, float(np.max(np.where(np.isfinite(size), size, 0))))
    return found


def _terms(case: Case, precise: Host) -> float:
    """How many elements of the inputs go into one of the output: k of (m, k) @ (k, n), n of a sum over n."""
    sizes = [a.size for a in case.arrays if a is not None and a.size]
    if not sizes or not precise.size:
        return 1.0
    if case.op.family == "contraction" and len(sizes) == 2:
        return max(1.0, math.sqrt(sizes[0] * sizes[1] / precise.size))
    longest = max(max(a.shape, default=1) for a in case.arrays if a is not None)
    return max(1.0, max(sizes) / precise.size, longest)


def _size(case: Case, precise: Host, index: int) -> Host:
    """The magnitudes that went into each element: the operation applied to the absolute values of its inputs."""
    finite = np.where(np.isfinite(precise), np.abs(precise), 0).astype(np.float64)
    top = finite.max() if finite.size else 0.0
    sizes = [
        abs(a) if a is not None and dtypes.from_numpy(a.dtype).kind in "fc" else a
        for a in map(_wide, case.arrays)
    ]
    try:
        made = outputs(
            _run(
                replace(case, arrays=tuple(sizes), layout="contiguous"),
                detect.resolve("reference"),
                precise=True,
            )
        )
        large = np.abs(np.asarray(host(made[index])).astype(np.complex128)).astype(np.float64)
    except MlcoreError:
        large = finite
    if large.shape != finite.shape:
        large = finite
    large = np.where(np.isfinite(large), large, 0)
    if case.op.family in ("reduction", "contraction"):
        return np.maximum(large, finite)
    return np.full(finite.shape, max(top, float(large.max()) if large.size else 0.0))


def _wide(array: Host | None) -> Host | None:
    return None if array is None else wide(array)
