"""What a call costs when there is nothing to compute: tiny tensors, with and without recording."""

from __future__ import annotations

from typing import Any

from mlcore_bench.rows import Inputs, Task, both, normal, tensors

GROUP = "overhead"

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


def _statement(statement: str, grad: tuple[str, ...]) -> Any:
    def build(lib: Any, data: Inputs) -> Task:
        return lib.task(statement, tensors(lib, data, grad))  # type: ignore[no-any-return]

    return build


for _name, _code in STATEMENTS:
    _inputs = normal(x=(8,), y=(8,), a=(8, 8), b=(8, 8))
    both(GROUP, _name, _statement(_code, ()), _inputs)
    both(GROUP, f"{_name}, recording", _statement(_code, ("x", "y", "a", "b")), _inputs)


def _chain(lib: Any, data: Inputs) -> Task:
    x, w, b = (lib.tensor(data[key], True) for key in "xwb")

    def step() -> Any:
        x.grad = w.grad = b.grad = None
        y = x
        for _ in range(10):
            y = (y * w + b).tanh() - x
        total = y.sum()
        total.backward()
        return total, x.grad, w.grad, b.grad

    return lib.task(step)  # type: ignore[no-any-return]


both(GROUP, "41 small ops, forward + backward", _chain, normal(x=(8,), w=(8,), b=(8,)))
