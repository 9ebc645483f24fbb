"""Every function of the standard beside array_api_strict, over dtypes, shapes and special values."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from calls import derived, uncovered
from hypothesis import given, settings
from hypothesis import strategies as st
from standard import FUNCTIONS, TOLD, call_strict, compare, ours

CASES: Counter[str] = Counter()
# Functions that add up, compose or iterate: units in the last place of the largest magnitude.
ADDING = {
    "sum": 64, "prod": 64, "mean": 64, "var": 64, "std": 64, "cumulative_sum": 64, "cumulative_prod": 64,
    "matmul": 64, "vecdot": 64, "tensordot": 64, "linspace": 4, "logaddexp": 16,
}  # fmt: skip


def loose(name: str) -> float:
    return float(ADDING.get(name.rpartition(".")[2], 4096 if "." in name else 0))


def test_every_function_is_called() -> None:
    assert uncovered() == []


@pytest.mark.parametrize("name", sorted(set(FUNCTIONS) - set(TOLD)))
def test_function(name: str) -> None:
    make = derived(name)
    assert make is not None, f"no call of {name} is made in calls.py"

    @settings(max_examples=40)
    @given(st.data())
    def check(data: Any) -> None:
        args, kwargs = make(data.draw)
        try:
            wanted = call_strict(name, args, kwargs)
        except Exception as error:
            kind = type(error)
            with pytest.raises(Exception) as found:
                ours(name)(*args, **kwargs)
            CASES["refused by both"] += 1
            assert isinstance(found.value, kind | ValueError | TypeError | IndexError)
            return
        found = ours(name)(*args, **kwargs)
        if name.startswith("empty"):  # whose values say nothing
            assert (found.shape, found.dtype.name) == (wanted.shape, str(wanted.dtype).rpartition(".")[2])
            return
        CASES["elements"] += compare(found, wanted, loose(name))
        CASES["calls"] += 1

    check()


def test_how_much_was_compared() -> None:
    print(dict(CASES))
    assert CASES["calls"] > 0
