"""Values held between two bounds."""

from __future__ import annotations

from typing import Any

from mlcore.ops.elementwise import maximum, minimum, positive
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
