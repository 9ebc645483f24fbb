"""Elementwise functions that are made of others: values held between two bounds, real parts."""

from __future__ import annotations

from typing import Any

from mlcore.dtypes import complexes
from mlcore.ops.elementwise import maximum, minimum, positive, real_
from mlcore.ops.spec import function


@function(method=True)
def clip(x: Any, /, min: Any = None, max: Any = None) -> Any:
    """`x` held between `min` and `max`: numbers, or tensors that broadcast; None leaves that side open.

    Where min is above max the result is max. nan stays nan.

    >>> import mlcore as ml
    >>> ml.clip(ml.asarray([-2.0, 0.5, 3.0]), 0, 1).tolist()
    [0.0, 0.5, 1.0]
    """
    held = x if min is None else maximum(x, min)
    return (positive(held) if held is x else held) if max is None else minimum(held, max)


@function(method=True)
def real(x: Any, /) -> Any:
    """Real part of a complex tensor; the same values where `x` is real.

    >>> import mlcore as ml
    >>> ml.real(ml.asarray([1 + 2j, 3j])).tolist()
    [1.0, 0.0]
    """
    return real_(x) if x.dtype in complexes else positive(x)
