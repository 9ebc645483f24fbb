"""One function in both libraries: values, gradients, on every device of this machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mlcore as ml

torch = pytest.importorskip("torch")

DEVICES = [str(d.id) for d in ml.devices()]
TOLERANCE = {"float64": 1e-12, "float32": 2e-5, "complex128": 1e-12, "complex64": 2e-5}


@pytest.fixture(params=DEVICES, autouse=True)
def _on(request: pytest.FixtureRequest) -> Any:
    with ml.device(request.param):
        yield


def compare(
    ours: Callable[..., Any],
    theirs: Callable[..., Any],
    arrays: list[Any],
    *,
    rtol: float | None = None,
    grad: bool = True,
) -> None:
    """The same function of the same arrays: values, and gradients for one random direction of the output."""
    tensors = [ml.asarray(a, requires_grad=grad and a.dtype.kind in "fc") for a in arrays]
    others = [torch.tensor(a, requires_grad=grad and a.dtype.kind in "fc") for a in arrays]
    y, z = ours(*tensors), theirs(*others)
    assert tuple(y.shape) == tuple(z.shape)
    host = z.detach().resolve_conj().numpy()
    assert y.dtype.numpy == host.dtype
    limit = rtol or TOLERANCE.get(host.dtype.name, 0)
    np.testing.assert_allclose(np.asarray(y), host, rtol=limit, atol=limit)
    if not grad or not z.requires_grad:
        assert not y.requires_grad or not grad or host.dtype.kind not in "fc"
        return
    rng = np.random.default_rng(7)
    weight = rng.standard_normal(host.shape).astype(host.real.dtype)
    if host.dtype.kind == "c":
        weight = (weight + 1j * rng.standard_normal(host.shape)).astype(host.dtype)
    y.backward(ml.asarray(weight))
    z.backward(torch.tensor(weight))
    for mine, other in zip(tensors, others, strict=True):
        if (
            other.grad is None or mine.grad is None
        ):  # no gradient, said as None here and perhaps as zeros there
            assert other.grad is None or not other.grad.any()
            assert mine.grad is None or not np.asarray(mine.grad).any()
            continue
        expected = other.grad.resolve_conj().numpy()
        assert mine.grad.dtype.numpy == expected.dtype
        scale = max(1.0, float(np.abs(expected).max(initial=0)))
        np.testing.assert_allclose(np.asarray(mine.grad), expected, rtol=limit, atol=limit * scale)


def sample(shape: Any, low: float, high: float, dtype: str = "float64", seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.uniform(low, high, shape)
    if dtype.startswith("complex"):
        x = x + 1j * rng.uniform(low, high, shape)
    return np.asarray(x, dtype=dtype)
