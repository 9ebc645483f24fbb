"""Recording elementwise code as a chain of steps: what is written down, and what is refused."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import mlcore as ml
from mlcore import dispatch
from mlcore.compile.chain import Chain, record, record_any_shape
from mlcore.dtypes import bfloat16, bool_, float32, float64
from mlcore.errors import MlcoreError, UnsupportedOpError
from mlcore.ops.elementwise import astype, sqrt, where


def names(chain: Chain) -> list[str]:
    return [step[0].name for step in chain.steps]


def test_numbers_are_data_and_steps_are_the_key() -> None:
    def code(rate: float) -> Any:
        return lambda x: [x[0] - x[1] * rate]

    one, other = (record(code(rate), (float32, float32), (2, 3)) for rate in (0.1, 0.25))
    assert one.key == other.key
    assert (one.numbers, other.numbers) == ([0.1], [0.25])
    assert record(code(0.1), (float64, float64), (2, 3)).key != one.key


def test_dtypes_are_dispatchs_own() -> None:
    chain = record(lambda x: [where(x[0] > 0, x[0], astype(x[1], float32))], (float32, bfloat16), (4,))
    assert names(chain) == ["greater", "astype", "where"]
    assert [step[2] for step in chain.steps] == [bool_, float32, float32]
    mixed = record(lambda x: [x[0] * x[1]], (float32, bfloat16), (4,))
    assert names(mixed) == ["astype", "multiply"]


def test_a_number_is_not_rounded_to_the_dtype() -> None:
    assert record(lambda x: [x[0] * 0.999], (bfloat16,), (4,)).numbers == [0.999]


def test_compositions_are_recorded_in_their_parts() -> None:
    chain = record(lambda x: [ml.clip(x[0], 0.0, 1.0)], (float32,), (4,))
    assert set(names(chain)) <= {"maximum", "minimum", "where", "less", "greater", "clip"}


LOOKS: dict[str, Any] = {
    "shape": lambda x: [x[0] * (1.0 if x[0].shape[0] > 2 else 2.0)],
    "size of a result": lambda x: [x[0] / (x[0] * 2.0).size],
    "equal dimensions": lambda x: [x[0] * 2.0 if x[0].shape[0] == x[0].shape[1] else x[0]],
    "len": lambda x: [x[0] * len(x[0])],
    "a text": lambda x: [x[0] * float(len(str(x[0].shape)))],
    "an error": lambda x: [x[0] * [1.0, 2.0][x[0].shape[0]]],
}


@pytest.mark.parametrize("kind", LOOKS)
def test_who_looks_at_the_shape_is_noticed(kind: str) -> None:
    assert record_any_shape(LOOKS[kind], (float32,), 2) is None
    if kind != "an error":
        assert record(LOOKS[kind], (float32,), (3, 4)).outputs


def test_who_does_not_is_recorded_for_all_shapes() -> None:
    chain = record_any_shape(lambda x: [where(x[0] > 0, 0.5, sqrt(x[0]))], (float32,), 3)
    assert chain is not None
    assert names(chain) == ["greater", "sqrt", "where"]
    by_rank = [record_any_shape(lambda x: [x[0] * x[0].ndim], (float32,), ndim) for ndim in range(4)]
    assert [one.numbers for one in by_rank if one is not None] == [[0], [1], [2], [3]]


REFUSED: dict[str, Any] = {
    "reduction": lambda x: [x[0] * x[0].sum()],
    "item": lambda x: [x[0] * x[0].reshape(-1)[0].item()],
    "branch": lambda x: [x[0] if x[0] else x[0] * 2],
    "view": lambda x: [x[0].reshape(-1)],
    "other tensors": lambda x: [x[0] * ml.ones((3, 4))],
    "no part": lambda x: [ml.ones((3, 4))],
    "a number": lambda x: [1.0],
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_elementwise_is_refused(kind: str) -> None:
    with pytest.raises(MlcoreError):
        record(REFUSED[kind], (float32,), (3, 4))


def test_nobody_watches_and_nothing_is_drawn() -> None:
    seen: list[str] = []

    def watch(op: Any, inputs: Any, params: Any, proceed: Any) -> Any:
        seen.append(op.name)
        return proceed()

    def code(x: list[Any]) -> list[Any]:
        noise = ml.random.uniform((3,))
        return [x[0] * 2.0 + noise]

    ml.manual_seed(1)
    state = ml.random.get_state()
    with dispatch.intercept(watch), pytest.raises(MlcoreError):
        record(code, (float32,), (3,))
    assert seen == []
    assert ml.random.get_state() == state


def test_a_recording_belongs_to_its_thread() -> None:
    found: list[Chain] = []
    inside = threading.Barrier(2, timeout=20)

    def code(factor: float) -> Any:
        def run(x: list[Any]) -> list[Any]:
            half = x[0] * factor
            inside.wait()
            return [half + x[0]]

        return run

    threads = [
        threading.Thread(target=lambda f=f: found.append(record(code(f), (float32,), (3,))))
        for f in (2.0, 3.0)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(one.numbers for one in found) == [[2.0], [3.0]]
    assert found[0].key == found[1].key


def test_refusals_say_why() -> None:
    with pytest.raises(UnsupportedOpError, match="reduce_sum, which is not elementwise"):
        record(lambda x: [x[0] * x[0].sum()], (float32,), (3,))
