"""Bad calls of an operation: mlcore's own error, naming the operation and the value, the same on every device.

PYTEST_DONT_REWRITE: pytest would explain a failure by comparing megabytes, line by line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from mlcore import autograd, dtypes
from mlcore.backends import detect
from mlcore.backends.protocol import Device
from mlcore.errors import MlcoreError
from mlcore.testing.inputs import Case, accepted, call, cases
from mlcore.testing.op_checks import plain_dtype
from mlcore.testing.units import Skip, Tally


def check_errors(op: Any, device: Device) -> Callable[[Tally], None]:
    """Bad calls: mlcore's own error, naming the operation and the value, the same on every device."""
    where = detect.resolve("reference")

    def refused(
        tally: Tally, text: str, make: Callable[[Device], Any], *words: str, must: bool = True
    ) -> None:
        with tally.case(text):
            found = []
            for one in (where, device):
                try:
                    with autograd.no_grad(), np.errstate(all="ignore"):
                        make(one)
                    found.append("")
                except MlcoreError as error:
                    found.append(f"{type(error).__name__}: {error}".replace(f"on {one}", "on the device"))
                except (TypeError, ValueError, IndexError, OverflowError) as error:
                    if not op.public and not must:
                        return  # what no caller can reach is checked by its callers
                    raise AssertionError(
                        f"{type(error).__name__} is not one of mlcore's errors: {error}"
                    ) from None
            assert found[0] == found[1], (
                f"{found[1] or 'no error'}, on the reference {found[0] or 'no error'}"
            )
            assert found[0] or not must, "no error"
            for word in words if op.public else ():
                assert word in found[0], f"the text does not say {word!r}: {found[0]}"
            assert found[0].count("\n") < 8, "the text is longer than 8 lines"

    def run(tally: Tally) -> None:
        good = next(
            (
                c
                for c in cases(op, plain_dtype(op, where), quick=True, device=device)
                if c.arrays and c.arrays[0] is not None and c.arrays[0].ndim
            ),
            None,
        )
        if good is None:
            good = next(iter(cases(op, plain_dtype(op, where), quick=True, device=device)), None)
        if good is None:
            raise Skip("the device cannot hold its results")
        params = dict(good.params)
        refused(
            tally, "unknown argument", lambda d: call(op, good.on(d), {**params, "no_such": 1}, d), "no_such"
        )
        if "axis" in op.params:
            high = max(a.ndim for a in good.arrays if a is not None) + 4
            for axis in (high, -high - 1):
                bent = {**params, "axis": axis}
                refused(tally, "axis out of range", _caller(op, good, bent), str(axis))
            refused(tally, "axis of text", lambda d: call(op, good.on(d), {**params, "axis": "x"}, d), "'x'")
        if not good.arrays:
            return
        _bad_inputs(op, good, params, refused, tally)

    return run


def _bad_inputs(op: Any, good: Case, params: dict[str, Any], refused: Any, tally: Tally) -> None:
    refused(tally, "an object instead of a tensor", _first(op, good, params, object()), "object")
    refused(tally, "None instead of a tensor", _first(op, good, params, None), "None")
    first = good.arrays[0]
    assert first is not None
    promotes = op.promoted is None or 0 in op.promoted
    for dtype in dtypes.all_dtypes if promotes and not op.casts_integers else ():
        if dtype not in op.accepts and dtype.kind not in "fc":
            zeros = np.zeros(first.shape, dtype=dtype.numpy)
            every = [zeros if a is not None else None for a in good.arrays]
            changed = replace(good, arrays=tuple(every), layout="contiguous")
            make = _caller(op, changed, params)
            refused(tally, f"dtype {dtype}", make, op.name, dtype.name, must=op.promoted is None)
    if op.elementwise and op.n_inputs == 2:
        bad = (np.ones((2, 3), dtype=first.dtype), np.ones((4,), dtype=first.dtype))
        make = _caller(op, replace(good, arrays=bad, layout="contiguous"), params)
        refused(tally, "shapes that do not broadcast", make, "(2, 3)", "(4,)", op.name)
    for i, array in enumerate(good.arrays):  # another rank or size: right or refused, but the same everywhere
        if array is None:
            continue
        last = array[..., :-1] if array.ndim else array
        single = array.reshape(-1)[:1].reshape(()) if array.size else array[:0]
        for text, bent in (("one dimension more", array[None]), ("one element less", last), ("0-d", single)):
            changed = replace(good, arrays=tuple(bent if k == i else a for k, a in enumerate(good.arrays)))
            # What only the core calls may trust it, beyond what its rule looks at.
            if bent.size and (op.public or _rule_refuses(changed)):
                refused(tally, f"input {i} with {text}", _caller(op, changed, params), must=False)


def _caller(op: Any, case: Case, params: dict[str, Any]) -> Callable[[Device], Any]:
    """A call of a case on a device that is named later."""
    return lambda device: call(op, case.on(device), params, device)


def _first(op: Any, case: Case, params: dict[str, Any], odd: Any) -> Callable[[Device], Any]:
    """The same with something else as the first input."""
    return lambda device: call(op, [odd, *case.on(device)[1:]], params, device)


def _rule_refuses(case: Case) -> bool:
    """Whether the operation's rule, which sees shapes and dtypes only, refuses a case with one of mlcore's errors."""
    try:
        return not accepted(case)
    except (TypeError, ValueError, IndexError):
        return False
