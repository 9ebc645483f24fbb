"""Bad calls of an operation: mlcore's own error, naming the operation and the value, the same on every device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from mlcore import autograd, dtypes
from mlcore.backends import detect
from mlcore.backends.protocol import Device
from mlcore.errors import MlcoreError
from mlcore.inputs import from_data
from mlcore.testing.inputs import Case, accepted, call, cases
from mlcore.testing.op_checks import plain_dtype
from mlcore.testing.units import Tally


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
            good = next(iter(cases(op, plain_dtype(op, where), quick=True, device=device)))
        params = dict(good.params)
        refused(
            tally, "unknown argument", lambda d: call(op, good.on(d), {**params, "no_such": 1}, d), "no_such"
        )
        if "axis" in op.params:
            high = max(a.ndim for a in good.arrays if a is not None) + 4
            for axis in (high, -high - 1):
                refused(
                    tally,
                    "axis out of range",
                    lambda d, axis=axis: call(op, good.on(d), {**params, "axis": axis}, d),
                    str(axis),
                )
            refused(tally, "axis of text", lambda d: call(op, good.on(d), {**params, "axis": "x"}, d), "'x'")
        if not good.arrays:
            return
        _bad_inputs(op, good, params, refused, tally)

    return run


def _bad_inputs(op: Any, good: Case, params: dict[str, Any], refused: Any, tally: Tally) -> None:
    rest = lambda d: good.on(d)[1:]  # noqa: E731
    refused(
        tally, "an object instead of a tensor", lambda d: call(op, [object(), *rest(d)], params, d), "object"
    )
    refused(tally, "None instead of a tensor", lambda d: call(op, [None, *rest(d)], params, d), "None")
    if not op.casts_integers:
        for dtype in dtypes.all_dtypes:
            promotes = op.promoted is None or 0 in op.promoted
            if dtype not in op.accepts and promotes and good.arrays[0] is not None and dtype.kind not in "fc":
                odd = np.zeros(good.arrays[0].shape, dtype=dtype.numpy)
                every = [odd if a is not None else None for a in good.arrays]
                refused(tally, f"dtype {dtype}", lambda d, every=every: call(op, [None if a is None else from_data(a, None, d) for a in every], params, d),
                        op.name, dtype.name, must=op.promoted is None)  # fmt: skip
    if op.elementwise and op.n_inputs == 2:
        shape = lambda d, s: from_data(np.ones(s, dtype=good.arrays[0].dtype), None, d)  # type: ignore[union-attr] # noqa: E731
        refused(
            tally,
            "shapes that do not broadcast",
            lambda d: call(op, [shape(d, (2, 3)), shape(d, (4,))], params, d),
            "(2, 3)",
            "(4,)",
            op.name,
        )
    for i, array in enumerate(good.arrays):  # another rank or size: right or refused, but the same everywhere
        if array is None:
            continue
        last = array[..., :-1] if array.ndim else array
        single = array.reshape(-1)[:1].reshape(()) if array.size else array[:0]
        for text, bent in (("one dimension more", array[None]), ("one element less", last), ("0-d", single)):
            changed = replace(good, arrays=tuple(bent if k == i else a for k, a in enumerate(good.arrays)))
            # What only the core calls may trust it, beyond what its rule looks at.
            if bent.size and (op.public or _rule_refuses(changed)):
                refused(
                    tally,
                    f"input {i} with {text}",
                    lambda d, changed=changed: call(op, changed.on(d), params, d),
                    must=False,
                )


def _rule_refuses(case: Case) -> bool:
    """Whether the operation's rule, which sees shapes and dtypes only, refuses a case with one of mlcore's errors."""
    try:
        return not accepted(case)
    except (TypeError, ValueError, IndexError):
        return False
