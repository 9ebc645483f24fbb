"""What models of text and of time are made of: embedding, gather, scatter-add, dropout, attention, LSTM and GRU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mlcore.bench.libraries import Library
from mlcore.bench.models import set_weights
from mlcore.bench.rows import Array, Inputs, Task, Work, both, elements, normal

GROUP = "sequences"
BOTH_WAYS = "forward + backward"
WORDS, WIDTH, TOKENS = 10_000, 256, (8, 512)
SHAPE = (4096, 1024)
SIZE = elements(SHAPE)
DROPPED = 0.1

Function = Callable[[Any], Any]


# -- picking rows and putting them back --------------------------------------------------------------------------


def _tokens(rng: np.random.Generator) -> Inputs:
    made = normal(table=(WORDS, WIDTH), g=(*TOKENS, WIDTH))(rng)
    return {**made, "ids": rng.integers(0, WORDS, TOKENS)}


def _embedding(lib: Library, data: Inputs) -> Task:
    return lib.forward(lib.functional.embedding, lib.tensor(data["ids"]), lib.tensor(data["table"]))


def _embedding_both_ways(lib: Library, data: Inputs) -> Task:
    inputs = [lib.tensor(data["ids"]), lib.tensor(data["table"], True)]
    return lib.both_ways(lib.functional.embedding, inputs, lib.tensor(data["g"]))


_moved = 4.0 * elements(TOKENS) * WIDTH
both(GROUP, "embedding 10000x256, 8x512 tokens", _embedding, _tokens, Work(0, 2 * _moved), quick=False)
both(GROUP, f"embedding 10000x256, 8x512 tokens, {BOTH_WAYS}", _embedding_both_ways, _tokens,
     Work(0, 3 * _moved + 4 * WORDS * WIDTH))  # fmt: skip


def _scattered(rng: np.random.Generator) -> Inputs:
    made = normal(x=(WORDS, WIDTH), values=(elements(TOKENS), WIDTH))(rng)
    return {**made, "ids": rng.integers(0, WORDS, elements(TOKENS))}


def _scatter_add(lib: Library, data: Inputs) -> Task:
    x, ids, values = (lib.tensor(data[key]) for key in ("x", "ids", "values"))
    return lib.forward(lib.index_add, x, ids, values)


both(GROUP, "scatter-add of 4096 rows into 10000x256", _scatter_add, _scattered,
     Work(elements(TOKENS) * WIDTH, 8 * WORDS * WIDTH + _moved))  # fmt: skip


def _gathered(rng: np.random.Generator) -> Inputs:
    return {**normal(x=SHAPE, g=SHAPE)(rng), "at": rng.integers(0, SHAPE[1], SHAPE)}


def _gather(lib: Library, data: Inputs) -> Task:
    x, at = lib.tensor(data["x"]), lib.tensor(data["at"])
    return lib.forward(lambda x, at: lib.call("take_along_axis", x, at, axis=1), x, at)


def _gather_both_ways(lib: Library, data: Inputs) -> Task:
    inputs = [lib.tensor(data["x"], True), lib.tensor(data["at"])]
    return lib.both_ways(
        lambda x, at: lib.call("take_along_axis", x, at, axis=1), inputs, lib.tensor(data["g"])
    )


both(GROUP, "gather along the last axis, 4096x1024", _gather, _gathered, Work(0, 16 * SIZE), quick=False)
both(GROUP, f"gather along the last axis, 4096x1024, {BOTH_WAYS}", _gather_both_ways, _gathered,
     Work(SIZE, 32 * SIZE), tolerance=1e-4, quick=False)  # fmt: skip


# -- dropout: the libraries draw different masks, so what is compared is what any mask must give -----------------


def _dropout(lib: Library, data: Inputs) -> Task:
    function: Function = lambda x: lib.functional.dropout(x, DROPPED, True)  # noqa: E731
    return lib.both_ways(function, [lib.tensor(data["x"], True)], lib.tensor(data["g"]))


def _of_any_mask(values: list[Array], data: Inputs) -> list[Array]:
    """The share of elements kept, and how far what is kept is from x / (1 - p) and g / (1 - p)."""
    y, grad = values
    kept = (y != 0) | (grad != 0)  # x may be zero itself
    scale = np.float32(1 / (1 - DROPPED))
    wrong = [np.abs(one - data[key] * scale * kept).max() for one, key in ((y, "x"), (grad, "g"))]
    return [np.array([kept.mean(), *(1.0 + float(one) for one in wrong)])]


both(GROUP, f"dropout 4096x1024, {BOTH_WAYS}", _dropout, normal(x=SHAPE, g=SHAPE), Work(30 * SIZE, 16 * SIZE),
     tolerance=1e-3, comparable=_of_any_mask)  # fmt: skip


# -- attention ---------------------------------------------------------------------------------------------------


def _attention(causal: bool, grad: bool) -> Callable[[Library, Inputs], Task]:
    def build(lib: Library, data: Inputs) -> Task:
        def function(q: Any, k: Any, v: Any) -> Any:
            return lib.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)

        inputs = [lib.tensor(data[key], grad) for key in "qkv"]
        return (
            lib.both_ways(function, inputs, lib.tensor(data["g"])) if grad else lib.forward(function, *inputs)
        )

    return build


for _shape in ((8, 8, 128, 32), (1, 8, 1024, 64)):
    for _causal in (False, True):
        _inputs = normal(**dict.fromkeys("qkvg", _shape))
        _name = f"attention {'x'.join(map(str, _shape))}{', causal' if _causal else ''}"
        _pairs = elements(_shape[:3]) * _shape[2] * (0.5 if _causal else 1.0)
        _flops = _pairs * (4 * _shape[3] + 25)  # two products, and the softmax between them
        both(GROUP, _name, _attention(_causal, False), _inputs, Work(_flops, 16 * elements(_shape), "float32"),
             tolerance=1e-4, quick=False)  # fmt: skip
        both(GROUP, f"{_name}, {BOTH_WAYS}", _attention(_causal, True), _inputs,
             Work(3 * _flops, 44 * elements(_shape), "float32"), tolerance=1e-4)  # fmt: skip


# -- recurrent layers --------------------------------------------------------------------------------------------

STEPS, BATCH, IN, HIDDEN = 64, 32, 64, 128


def _recurrent(kind: str, grad: bool) -> Callable[[Library, Inputs], Task]:
    def build(lib: Library, data: Inputs) -> Task:
        layer = getattr(lib.nn, kind)(IN, HIDDEN, batch_first=True)
        set_weights(lib, layer)
        x = lib.tensor(data["x"], grad)
        if grad:
            weights = [one for _, one in sorted(layer.named_parameters())]
            return lib.both_ways(lambda x, *_: layer(x)[0], [x, *weights], lib.tensor(data["g"]))

        def inference(x: Any) -> Any:
            with lib.no_grad():
                return layer(x)[0]

        return lib.forward(inference, x)

    return build


for _kind, _gates in (("LSTM", 4), ("GRU", 3)):
    _inputs = normal(x=(BATCH, STEPS, IN), g=(BATCH, STEPS, HIDDEN))
    _name = f"{_kind} 64 to 128, 64 steps, batch 32"
    _flops = 2.0 * STEPS * BATCH * _gates * HIDDEN * (IN + HIDDEN) + 100 * STEPS * BATCH * HIDDEN
    _moved = 4.0 * STEPS * BATCH * (IN + HIDDEN) + 4.0 * _gates * HIDDEN * (IN + HIDDEN)
    both(GROUP, _name, _recurrent(_kind, False), _inputs, Work(_flops, _moved, "float32"), tolerance=1e-4)
    both(GROUP, f"{_name}, {BOTH_WAYS}", _recurrent(_kind, True), _inputs, Work(3 * _flops, 3 * _moved, "float32"),
         tolerance=1e-4)  # fmt: skip
