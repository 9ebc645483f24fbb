"""The kernels in the emulator: in both orders of the threads of a block they give the same bits, so that no result
hangs on a barrier that is missing. What the values are is for the conformance suite; see test_conformance.py."""

from __future__ import annotations

from typing import Any

import emulator
import numpy as np
import pytest
from mlcore_cupy.attention import MEMORY, Call
from mlcore_cupy.catalog import FUNCTIONS
from mlcore_cupy.update import STEPS

import mlcore.optim  # noqa: F401  (declares the optimizers' steps)
from mlcore.dtypes import bfloat16, float32, float64
from mlcore.ops import registry
from mlcore.testing.inputs import accepted, cases, fits
from mlcore.testing.op_checks import attempt, snapshot

GROUPED = (
    "reduce_sum",
    "max",
    "reduce_argmax",
    "scan_sum",
    "contract",
)  # generated, with threads that work together


def bits(case: Any, device: Any, backwards: bool, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    monkeypatch.setattr(emulator.Kernel, "backwards", backwards)
    found, error = attempt(case, device)
    assert not error, error
    return snapshot(found)


@pytest.mark.parametrize("name", [*FUNCTIONS, *STEPS, *GROUPED])
def test_the_order_of_threads_changes_nothing(cuda: Any, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    op, count = registry.get(name), 0
    for dtype in (float32, bfloat16) if float32 in op.accepts else (float32,):
        for case in cases(op, dtype, quick=True):
            if not accepted(case) or not fits(case, cuda):
                continue
            forwards = bits(case, cuda, False, monkeypatch)
            assert bits(case, cuda, True, monkeypatch) == forwards, f"{case}"
            count += 1
    assert count >= 2


@pytest.mark.parametrize("width", [100, 300])
@pytest.mark.parametrize("causal", [False, True])
def test_attention_of_any_width(cuda: Any, rng: np.random.Generator, width: int, causal: bool) -> None:
    """Where tiles do not fit into a block's memory, products and a softmax do the same."""
    import mlcore as ml
    from mlcore.nn import functional as F

    arrays = [rng.standard_normal((2, 19, width)) for _ in range(3)]
    found = {}
    for device in ("cuda", "reference"):
        q, k, v = (ml.asarray(one, dtype=float64, device=device, requires_grad=True) for one in arrays)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        (y * y).sum().backward()
        found[device] = [np.asarray(one.to("cpu")) for one in (y.detach(), q.grad, k.grad, v.grad)]
    if width == 300:
        tensor = ml.asarray(arrays[0], device="cuda").array
        assert Call(cuda.backend.runtime, tensor, tensor, tensor, None, causal, 1.0).memory(False) > MEMORY
    for one, other in zip(found["cuda"], found["reference"], strict=True):
        assert np.allclose(one, other, rtol=1e-9, atol=1e-9)


def test_long_rows_take_a_whole_block(cuda: Any, rng: np.random.Generator) -> None:
    import mlcore as ml

    x = rng.standard_normal((3, 5000)).astype(np.float32)
    y = np.asarray(ml.softmax(ml.asarray(x, device="cuda"), axis=1).to("cpu"))
    e = np.exp(x.astype(np.float64) - x.max(1, keepdims=True))
    assert np.allclose(y, e / e.sum(1, keepdims=True), rtol=1e-5)


def test_a_channel_is_summed_in_pieces(cuda: Any, rng: np.random.Generator) -> None:
    """More values than one block takes, and far from zero: the variance is not that of the squares."""
    import mlcore as ml
    from mlcore import ops

    x = (rng.standard_normal((5, 3, 70, 71)) + 1000).astype(np.float32)
    _, mean, rstd = ops.norm.batch_norm(ml.asarray(x, device="cuda"), None, None, eps=1e-5)
    wide = x.astype(np.float64)
    assert np.allclose(np.asarray(mean.to("cpu")), wide.mean((0, 2, 3)), rtol=1e-6)
    assert np.allclose(np.asarray(rstd.to("cpu")), 1 / np.sqrt(wide.var((0, 2, 3)) + 1e-5), rtol=1e-3)
