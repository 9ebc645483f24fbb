"""What a call costs when there is nothing to compute: tiny tensors, with and without recording."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlcore.bench.libraries import Library
from mlcore.bench.rows import Inputs, Task, Work, both, normal

GROUP = "overhead"
CHAIN = "41 small ops, forward + backward"

# (name, statement over x, y (8 elements), a, b (8x8) in both libraries): timeit runs the statement as it stands.
STATEMENTS = [
    ("x + y", "x + y"),
    ("x * 2.0", "x * 2.0"),
    ("exp(x)", "x.exp()"),
    ("sum(x)", "x.sum()"),
    ("reshape(x, (2, 4))", "x.reshape((2, 4))"),
    ("x[2:6]", "x[2:6]"),
    ("a[1]", "a[1]"),
    ("a @ b, 8x8", "a @ b"),
]


def _statement(statement: str, grad: str) -> Callable[[Library, Inputs], Task]:
    def build(lib: Library, data: Inputs) -> Task:
        return lib.task(statement, {key: lib.tensor(value, key in grad) for key, value in data.items()})

    return build


for _name, _code in STATEMENTS:
    _inputs = normal(x=(8,), y=(8,), a=(8, 8), b=(8, 8))
    both(GROUP, _name, _statement(_code, ""), _inputs, Work())
    both(GROUP, f"{_name}, recording", _statement(_code, "xyab"), _inputs, Work())


def _chain(lib: Library, data: Inputs) -> Task:
    def chain(x: Any, w: Any, b: Any) -> Any:
        y = x
        for _ in range(10):
            y = (y * w + b).tanh() - x
        return y.sum()

    return lib.both_ways(chain, [lib.tensor(data[key], True) for key in "xwb"])


both(GROUP, CHAIN, _chain, normal(x=(8,), w=(8,), b=(8,)), Work())
