"""A layer of ours beside PyTorch's: the same arguments, weights and input; values, gradients, keys, repr compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import nn

Tensors = dict[str, Any]


def shared_weights(ours: Any, theirs: Any, torch: Any, seed: int = 0) -> None:
    """Random weights for both, PyTorch's keys and shapes; loaded both ways."""
    rng = np.random.default_rng(seed)
    state = {}
    for key, value in theirs.state_dict().items():
        made = rng.normal(size=tuple(value.shape)) * 0.5 if value.dtype.is_floating_point else value.numpy()
        state[key] = np.abs(made) + 0.5 if key.endswith("running_var") else np.asarray(made)
    theirs.load_state_dict({k: torch.tensor(v, dtype=theirs.state_dict()[k].dtype) for k, v in state.items()})
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    theirs.load_state_dict({k: torch.tensor(v.numpy()) for k, v in ours.state_dict().items()})


def compare(
    name: str, args: tuple[Any, ...], how: dict[str, Any], inputs: list[Any], dtype: str, *,
    train: bool = True, tolerance: float | None = None, prepare: Callable[[Any], None] | None = None,
    texts: bool = True,
) -> int:  # fmt: skip
    """Values and gradients of `nn.<name>(*args, **how)` on the inputs; how many arrays were compared."""
    torch = pytest.importorskip("torch")
    tolerance = tolerance or (1e-9 if dtype == "float64" else 2e-4)
    ours, theirs = getattr(nn, name)(*args, **how), getattr(torch.nn, name)(*args, **how)
    if texts:
        assert repr(ours) == repr(theirs)
    ours, theirs = ours.to(dtype=dtype), theirs.to(getattr(torch, dtype))
    shared_weights(ours, theirs, torch)
    ours.train(train)
    theirs.train(train)
    for module in (ours, theirs):
        if prepare is not None:
            prepare(module)
    hosts = [one.astype(dtype) if one.dtype.kind == "f" else one for one in map(np.asarray, inputs)]
    x = [ml.asarray(h, requires_grad=h.dtype.kind == "f") for h in hosts]
    t = [torch.tensor(h, requires_grad=h.dtype.kind == "f") for h in hosts]
    return results(
        ours(*x), theirs(*t), [*x, *ours.parameters()], [*t, *theirs.parameters()], torch, tolerance
    )


def results(y: Any, ty: Any, leaves: list[Any], others: list[Any], torch: Any, tolerance: float) -> int:
    """Compare one result or several, then the gradients of a random combination of them."""
    ys, tys = (list(one) if isinstance(one, (tuple, list)) else [one] for one in (y, ty))
    assert len(ys) == len(tys)
    rng, count = np.random.default_rng(1), 0
    total: Any = None
    other: Any = None
    for a, b in zip(ys, tys, strict=True):
        assert a.shape == tuple(b.shape)
        assert str(a.dtype) == str(b.dtype).removeprefix("torch.")
        close(a, b, tolerance, "value")
        count += 1
        if not b.requires_grad:
            continue
        weight = rng.normal(size=tuple(b.shape))
        mine, its = (
            (a * ml.asarray(weight, dtype=a.dtype)).sum(),
            (b * torch.tensor(weight, dtype=b.dtype)).sum(),
        )
        total, other = (mine, its) if total is None else (total + mine, other + its)
    if total is None:
        return count
    total.backward()
    other.backward()
    for i, (a, b) in enumerate(zip(leaves, others, strict=True)):
        if b.grad is not None:
            close(a.grad, b.grad, tolerance, f"gradient {i}")
            count += 1
    return count


def close(a: Any, b: Any, tolerance: float, what: str) -> None:
    """Relative to the largest value, since sums of many terms are."""
    wanted = b.detach().numpy()
    finite = np.abs(wanted[np.isfinite(wanted)])
    scale = max(1.0, float(finite.max(initial=0.0)))
    np.testing.assert_allclose(
        a.detach().numpy(), wanted, rtol=tolerance, atol=tolerance * scale, err_msg=what
    )
