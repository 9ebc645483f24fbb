"""Every tuned kernel beside the composition that it stands for, on the same device, and beside the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from mlcore_oneapi.catalog import CATALOG

from mlcore import autograd, dtypes, table
from mlcore.ops import registry
from mlcore.testing.compare import host
from mlcore.testing.inputs import LAYOUTS, call, cases, in_layout, outputs
from mlcore.testing.op_checks import run_body
from mlcore.testing.oracle import Expected

COUNTED: dict[str, int] = {}


def close(one: Any, other: Any, dtype: Any) -> bool:
    a, b = (np.asarray(host(x)).astype(np.float64) for x in (one, other))
    if a.shape != b.shape:
        return False
    bound = 2e-5 if dtype.itemsize == 4 else 1e-11  # a variance of 0 makes 1 / sqrt(eps) of every rounding
    size = max(1.0, float(np.abs(b).max(initial=0)))
    return bool(np.allclose(a, b, rtol=bound, atol=bound * size))


# What has a form for graphics cards too; the others run the same kernels whatever the device is.
FORMS = ("contract", "linear", "linear_grad", "convolution_grad_input", "max_pool", "max_pool_grad", "avg_pool",
         "avg_pool_grad")  # fmt: skip
PAIRS = [(name, "processor") for name in sorted(CATALOG)] + [(name, "graphics") for name in FORMS]


@pytest.mark.parametrize(("name", "kind"), PAIRS, indirect=["kind"])
def test_beside_the_composition_and_the_reference(name: str, device: Any, kind: str) -> None:
    op = registry.get(name)
    count = compared = 0
    for dtype in (dtypes.float32, dtypes.float64):
        if dtype not in device.backend.dtypes:
            continue
        assert table.path(op, dtype, device) == table.NATIVE
        for plain in cases(op, dtype, device=device):
            for layout in LAYOUTS:
                case = plain if layout == "contiguous" else in_layout(plain, layout)
                if case is None:
                    continue
                expected = Expected(case)
                with autograd.no_grad(), np.errstate(all="ignore"):
                    inputs = case.on(device)
                    made = outputs(call(op, inputs, case.params, device))
                    parts = outputs(run_body(case, inputs)) if op.body is not None else made
                for i, (one, other) in enumerate(zip(made, parts, strict=True)):
                    problem = expected.judge(i, host(one))
                    assert not problem, f"{case}: output {i}: {problem}"
                    assert close(one, other, dtype), f"{case}: output {i} differs from the composition"
                    compared += one.size
                count += 1
    assert count >= 8
    COUNTED[f"{name} ({kind})"] = count
    print(f"{name}: {count} cases, {compared} elements beside the composition and the reference")


PRODUCTS = [
    (1, 1, 1), (1, 64, 64), (3, 17, 5), (8, 32, 16), (9, 33, 31), (4, 100, 1), (65, 31, 129), (5, 7, 300),
    (64, 784, 256),    (130, 257, 96),
]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sizes", PRODUCTS)
def test_products_of_any_views(
    sizes: tuple[int, int, int], dtype: str, device: Any, kind: str, rng: np.random.Generator
) -> None:
    """Transposed, sliced, flipped and repeated operands, against NumPy."""
    import mlcore as ml

    if dtypes.as_dtype(dtype) not in device.backend.dtypes:
        pytest.skip(f"the device has no {dtype}")
    m, k, n = sizes
    a, b = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)
    bound = (1e-6 if dtype == "float32" else 1e-15) * k
    wide = rng.standard_normal((m, 2 * k + 3)).astype(dtype)
    views = {
        "plain": (a, b, lambda x, y: (x, y)),
        "left transposed": (np.ascontiguousarray(a.T), b, lambda x, y: (x.mT, y)),
        "right transposed": (a, np.ascontiguousarray(b.T), lambda x, y: (x, y.mT)),
        "both": (np.ascontiguousarray(a.T), np.ascontiguousarray(b.T), lambda x, y: (x.mT, y.mT)),
        "left sliced": (wide, b, lambda x, y: (x[:, 3::2], y)),
        "right flipped": (a, b, lambda x, y: (x, y[::-1, ::-1])),
        "left one row": (a[:1], b, lambda x, y: (x.broadcast_to((m, k)), y)),
    }
    for text, (x, y, view) in views.items():
        left, right = view(ml.asarray(x, device=device), ml.asarray(y, device=device))
        found = np.asarray(left @ right)
        wanted = np.asarray(left).astype(np.float64) @ np.asarray(right).astype(np.float64)
        assert np.abs(found - wanted).max() <= bound * 4, text


def test_batches_of_products(device: Any, kind: str, rng: np.random.Generator) -> None:
    import mlcore as ml

    shapes = [
        ((5, 3, 4), (5, 4, 6)), ((5, 3, 4), (4, 6)), ((3, 4), (5, 4, 6)), ((2, 5, 3, 4), (2, 5, 4, 6)),
        ((2, 1, 3, 4), (1, 5, 4, 6)), ((2, 3, 4, 5, 6), (2, 1, 4, 6, 7)), ((2, 1, 3, 5, 6), (1, 4, 1, 6, 7)),
        ((0, 3, 4), (0, 4, 5)), ((2, 3, 0), (2, 0, 5)), ((2, 0, 4), (4, 5)),
    ]  # fmt: skip
    for one, other in shapes:
        a, b = rng.standard_normal(one).astype(np.float32), rng.standard_normal(other).astype(np.float32)
        found = np.asarray(ml.asarray(a, device=device) @ ml.asarray(b, device=device))
        assert found.shape == (a @ b).shape
        assert np.allclose(found, a @ b, atol=1e-5), (one, other)
        turned = ml.asarray(np.ascontiguousarray(np.moveaxis(a, 0, -1)), device=device)
        again = ml.moveaxis(turned, -1, 0) @ ml.asarray(b, device=device)
        assert np.allclose(np.asarray(again), a @ b, atol=1e-5), (one, other)


CONVOLUTIONS: list[tuple[Any, Any, dict[str, Any]]] = [
    ((2, 3, 17, 19), (5, 3, 3, 3), dict(padding=1)),
    ((1, 1, 28, 28), (6, 1, 5, 5), dict(padding=2)),
    ((3, 4, 9, 9), (8, 4, 1, 1), {}),
    ((3, 4, 9, 9), (8, 4, 1, 1), dict(stride=2)),
    ((2, 6, 11, 10), (6, 1, 3, 3), dict(groups=6)),
    ((2, 6, 11, 10), (4, 3, 3, 2), dict(groups=2, stride=2, padding=1)),
    ((2, 3, 12, 12), (4, 3, 3, 3), dict(dilation=2)),
    ((2, 3, 12, 12), (4, 3, 3, 3), dict(padding=4)),
    ((2, 3, 40), (7, 3, 5), dict(stride=3, padding=2)),
    ((1, 2, 6, 7, 8), (3, 2, 3, 3, 3), dict(padding=1)),
    ((9, 33, 8, 8), (40, 33, 3, 3), dict(padding=1)),
]  # fmt: skip


@pytest.mark.parametrize(("x", "w", "how"), CONVOLUTIONS)
def test_convolutions_and_their_gradients(
    x: Any, w: Any, how: dict[str, Any], device: Any, kind: str, rng: np.random.Generator, monkeypatch: Any
) -> None:
    """Against the reference, channels-last pictures too; and the same in pieces of a few images."""
    from mlcore_oneapi import convolution as module

    import mlcore as ml

    convolution = registry.get("convolution")
    picture, weight = rng.standard_normal(x).astype(np.float32), rng.standard_normal(w).astype(np.float32)
    bias = rng.standard_normal(w[:1]).astype(np.float32)

    def run(where: Any, last: bool) -> list[np.ndarray[Any, Any]]:
        held = ml.asarray(
            np.ascontiguousarray(np.moveaxis(picture, 1, -1)) if last else picture, device=where
        )
        held = (ml.moveaxis(held, -1, 1) if last else held).detach().requires_grad_()
        others = [ml.asarray(one, device=where, requires_grad=True) for one in (weight, bias)]
        y = convolution(held, *others, **how)
        (y * y).sum().backward()
        return [np.asarray(one.detach()) for one in (y, held.grad, others[0].grad, others[1].grad)]

    wanted = run("reference", False)
    for piece in (module.PIECE, 1):
        monkeypatch.setattr(module, "PIECE", piece)
        for last in (False, True):
            for found, want in zip(run(device, last), wanted, strict=True):
                assert np.abs(found - want).max() <= 2e-5 * max(1.0, np.abs(want).max())
