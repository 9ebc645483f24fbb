"""The operations of neural networks against PyTorch: convolution, pooling, norms, attention, losses, activations."""

# ruff: noqa: B023, E731  (each lambda is called before its loop goes on)

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mlcore as ml

torch = pytest.importorskip("torch")
F = torch.nn.functional
pytestmark = pytest.mark.parity

DEVICES = [str(d.id) for d in ml.devices()]
LIMITS = {"float64": 1e-11, "float32": 1e-4}


@pytest.fixture(params=DEVICES, autouse=True)
def _on(request: pytest.FixtureRequest) -> Any:
    with ml.device(request.param):
        yield


def numbers(*shape: int, dtype: str = "float64", seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def compare(ours: Callable[..., Any], theirs: Callable[..., Any], arrays: list[np.ndarray]) -> None:
    """Values, and the gradients of every floating input."""
    tensors = [ml.asarray(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    others = [torch.tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    y, z = ours(*tensors), theirs(*others)
    expected = z.detach().numpy()
    limit = LIMITS[expected.dtype.name]
    assert y.shape == expected.shape
    assert y.dtype.numpy == expected.dtype
    np.testing.assert_allclose(np.asarray(y), expected, rtol=limit, atol=limit)
    weight = numbers(*expected.shape, dtype=expected.dtype.name, seed=9)
    y.backward(ml.asarray(weight))
    z.backward(torch.tensor(weight))
    for n, (mine, other) in enumerate(zip(tensors, others, strict=True)):
        if other.grad is not None:
            scale = max(1.0, float(other.grad.abs().max())) if other.grad.numel() else 1.0
            np.testing.assert_allclose(
                np.asarray(mine.grad),
                other.grad.numpy(),
                rtol=limit,
                atol=limit * scale,
                err_msg=f"input {n}",
            )


def op(name: str) -> Any:
    return ml.registry.get(name)


CONVS: list[tuple[Any, Any, dict[str, Any]]] = [
    ((2, 3, 9), (4, 3, 3), {}),
    ((2, 3, 9), (4, 3, 2), {"stride": 2, "padding": 1}),
    ((1, 4, 10), (6, 2, 3), {"groups": 2, "dilation": 2, "padding": 2}),
    ((2, 4, 7), (4, 1, 3), {"groups": 4}),
    ((2, 3, 8, 7), (4, 3, 3, 3), {"padding": 1}),
    ((2, 3, 8, 7), (4, 3, 3, 2), {"stride": (2, 3), "padding": (1, 0)}),
    ((1, 4, 9, 9), (6, 2, 3, 3), {"groups": 2, "dilation": (2, 1), "padding": (2, 1), "stride": 2}),
    ((2, 3, 5, 5), (4, 3, 1, 1), {}),
    ((2, 3, 5, 5), (4, 3, 1, 1), {"stride": 2}),
    ((2, 4, 6, 6), (8, 1, 3, 3), {"groups": 4, "padding": 1}),
    ((1, 1, 3, 3), (1, 1, 3, 3), {}),
    ((2, 3, 6, 6), (4, 3, 5, 5), {"padding": 2, "stride": 3}),
    ((1, 2, 4, 5, 6), (3, 2, 2, 3, 2), {"padding": (1, 0, 1), "stride": (1, 2, 1)}),
    ((0, 3, 5, 5), (4, 3, 3, 3), {}),
]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("case", range(len(CONVS)))
def test_convolution(case: int, bias: bool, dtype: str) -> None:
    shape, kernel, how = CONVS[case]
    theirs = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[len(shape) - 2]
    arrays = [numbers(*shape, dtype=dtype), numbers(*kernel, dtype=dtype, seed=1)]
    if bias:
        arrays.append(numbers(kernel[0], dtype=dtype, seed=2))
    compare(lambda *t: op("convolution")(*t, **how), lambda *t: theirs(*t, **how), arrays)


def test_convolution_with_uneven_padding() -> None:
    compare(
        lambda x, w: op("convolution")(x, w, padding=((1, 0), (2, 3))),
        lambda x, w: F.conv2d(F.pad(x, (2, 3, 1, 0)), w),
        [numbers(2, 3, 5, 6), numbers(4, 3, 3, 3, seed=1)],
    )


POOLS: list[tuple[Any, dict[str, Any]]] = [
    ((2, 3, 8), {"kernel": (2,)}),
    ((2, 3, 9), {"kernel": (3,), "stride": (2,), "padding": (1,)}),
    ((2, 3, 8, 8), {"kernel": (2, 2)}),
    ((2, 3, 9, 7), {"kernel": (3, 2), "stride": (2, 1), "padding": (1, 1)}),
    ((2, 3, 7, 7), {"kernel": (3, 3), "stride": (1, 1), "padding": (1, 1)}),
    ((1, 2, 5, 6, 4), {"kernel": (2, 3, 2), "stride": (1, 2, 2)}),
    ((2, 3, 5, 5), {"kernel": (5, 5)}),
    ((2, 3, 5, 5), {"kernel": (1, 1)}),
]
MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
AVERAGE = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", range(len(POOLS)))
def test_max_pool(case: int, dtype: str) -> None:
    shape, how = POOLS[case]
    k, s, p = how["kernel"], how.get("stride"), how.get("padding", 0)
    theirs = MAX[len(k)]
    compare(lambda x: op("max_pool")(x, **how), lambda x: theirs(x, k, s, p), [numbers(*shape, dtype=dtype)])
    if len(k) == 2 and shape[-1] > 6:
        compare(
            lambda x: op("max_pool")(x, **how, dilation=2),
            lambda x: theirs(x, k, s, p, 2),
            [numbers(*shape, dtype=dtype)],
        )


def test_max_pool_ties_go_to_the_first() -> None:
    x = np.zeros((1, 1, 4, 4))
    compare(lambda t: op("max_pool")(t, kernel=(2, 2)), lambda t: F.max_pool2d(t, 2), [x])
    compare(
        lambda t: op("max_pool")(t, kernel=(3, 3), stride=(1, 1), padding=(1, 1)),
        lambda t: F.max_pool2d(t, 3, 1, 1),
        [x],
    )


@pytest.mark.parametrize("include", [True, False])
@pytest.mark.parametrize("case", range(len(POOLS)))
def test_avg_pool(case: int, include: bool) -> None:
    shape, how = POOLS[case]
    k, s, p = how["kernel"], how.get("stride"), how.get("padding", 0)
    theirs = AVERAGE[len(k)]
    for dtype in ("float64", "float32"):
        compare(
            lambda x: op("avg_pool")(x, **how, count_include_pad=include),
            lambda x: theirs(x, k, s, p, count_include_pad=include),
            [numbers(*shape, dtype=dtype)],
        )


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("shape", [(4, 6), (2, 3, 5), (2, 3, 4, 5), (1, 1), (3, 0, 4)])
def test_layer_norm(shape: tuple[int, ...], dtype: str) -> None:
    x = numbers(*shape, dtype=dtype)
    for n in range(1, len(shape) + (0 not in shape)):
        tail = shape[-n:]
        w, b = numbers(*tail, dtype=dtype, seed=1), numbers(*tail, dtype=dtype, seed=2)
        if x.size > 1 and np.prod(tail) > 1:
            compare(
                lambda t, u, v: op("layer_norm")(t, u, v, n_axes=n)[0],
                lambda t, u, v: F.layer_norm(t, tail, u, v),
                [x, w, b],
            )
            compare(
                lambda t, u: op("layer_norm")(t, u, n_axes=n, eps=1e-3)[0],
                lambda t, u: F.layer_norm(t, tail, u, eps=1e-3),
                [x, w],
            )
            compare(lambda t: op("layer_norm")(t, n_axes=n)[0], lambda t: F.layer_norm(t, tail), [x])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("shape", [(6, 4), (3, 4, 5), (2, 3, 4, 5), (2, 2, 3, 2, 2)])
def test_batch_norm(shape: tuple[int, ...], dtype: str) -> None:
    x, w, b = (
        numbers(*shape, dtype=dtype),
        numbers(shape[1], dtype=dtype, seed=1),
        numbers(shape[1], dtype=dtype, seed=2),
    )
    normal = lambda t, u=None, v=None: F.batch_norm(t, None, None, u, v, training=True)
    compare(lambda t, u, v: op("batch_norm")(t, u, v)[0], normal, [x, w, b])
    compare(lambda t: op("batch_norm")(t)[0], normal, [x])
    _, mean, rstd = op("batch_norm")(ml.asarray(x))
    axes = (0, *range(2, x.ndim))
    np.testing.assert_allclose(np.asarray(mean), x.mean(axes), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.asarray(rstd), 1 / np.sqrt(x.var(axes) + 1e-5), rtol=1e-5)


ATTENTION: list[tuple[Any, Any, Any]] = [
    ((5, 4), (5, 4), (5, 4)),
    ((2, 5, 4), (2, 7, 4), (2, 7, 3)),
    ((2, 3, 5, 4), (2, 3, 6, 4), (2, 3, 6, 8)),
    ((2, 3, 5, 4), (1, 3, 6, 4), (1, 1, 6, 8)),
    ((1, 1, 4), (1, 1, 4), (1, 1, 4)),
]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", range(len(ATTENTION)))
def test_attention(case: int, dtype: str) -> None:
    shapes = ATTENTION[case]
    arrays = [numbers(*s, dtype=dtype, seed=i) for i, s in enumerate(shapes)]
    attend, theirs = op("scaled_dot_product_attention"), F.scaled_dot_product_attention
    spread = lambda *t: [
        torch.broadcast_to(x, (*np.broadcast_shapes(*[s[:-2] for s in shapes]), *x.shape[-2:])) for x in t
    ]
    compare(lambda *t: attend(*t), lambda *t: theirs(*spread(*t)), arrays)
    compare(lambda *t: attend(*t, scale=0.3), lambda *t: theirs(*spread(*t), scale=0.3), arrays)
    n, m = shapes[0][-2], shapes[1][-2]
    if n == m or n < m:
        compare(lambda *t: attend(*t, is_causal=True), lambda *t: theirs(*spread(*t), is_causal=True), arrays)
    mask = np.random.default_rng(0).random((n, m)) > 0.4
    mask[:, 0] = True
    compare(
        lambda *t: attend(*t, ml.asarray(mask)),
        lambda *t: theirs(*spread(*t), attn_mask=torch.tensor(mask)),
        arrays,
    )
    added = numbers(n, m, dtype=dtype, seed=5)
    compare(
        lambda q, k, v, a: attend(q, k, v, a),
        lambda q, k, v, a: theirs(*spread(q, k, v), attn_mask=a),
        [*arrays, added],
    )


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("lead", [(), (5,), (2, 3), (0,)])
def test_linear(lead: tuple[int, ...], dtype: str) -> None:
    x, w, b = (
        numbers(*lead, 4, dtype=dtype),
        numbers(3, 4, dtype=dtype, seed=1),
        numbers(3, dtype=dtype, seed=2),
    )
    compare(op("linear"), F.linear, [x, w, b])
    compare(op("linear"), F.linear, [x, w])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_cross_entropy_rows(dtype: str) -> None:
    target = np.array([0, 3, 2, 2, 1])
    for scale in (1, 100):
        logits = numbers(5, 4, dtype=dtype) * np.asarray(scale, dtype)
        compare(
            lambda t, y: op("softmax_cross_entropy")(t, y)[0],
            lambda t, y: F.cross_entropy(t, y, reduction="none"),
            [logits, target],
        )


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_softmax_of_large_numbers(dtype: str) -> None:
    x = np.array([[1000.0, 1001.0, 999.0], [-1000.0, 0.0, 1000.0], [3.0, 3.0, 3.0]], dtype=dtype)
    compare(lambda t: ml.softmax(t, axis=1), lambda t: torch.softmax(t, 1), [x])
    compare(lambda t: ml.log_softmax(t, axis=1), lambda t: torch.log_softmax(t, 1), [x])
    compare(lambda t: ml.logsumexp(t, axis=0), lambda t: torch.logsumexp(t, 0), [x])


def second(f: Any, arrays: list[np.ndarray], grad: Any, make: Any) -> list[np.ndarray]:
    leaves = [make(a) for a in arrays]
    first = grad((f(*leaves) ** 2).sum(), leaves, True)
    again = grad(sum((g**2).sum() for g in first), leaves, False)
    return [np.asarray(g.detach().numpy()) for g in again]


SECOND: list[tuple[str, Any, Any, list[Any]]] = [
    (
        "convolution",
        lambda x, w, b: ml.registry.get("convolution")(x, w, b, stride=2, padding=1),
        lambda x, w, b: F.conv2d(x, w, b, 2, 1),
        [(2, 2, 5, 5), (3, 2, 3, 3), (3,)],
    ),
    (
        "grouped",
        lambda x, w: ml.registry.get("convolution")(x, w, groups=2),
        lambda x, w: F.conv1d(x, w, groups=2),
        [(2, 4, 6), (4, 2, 3)],
    ),
    (
        "max_pool",
        lambda x: ml.registry.get("max_pool")(x, kernel=(2, 2)),
        lambda x: F.max_pool2d(x, 2),
        [(1, 2, 4, 4)],
    ),
    (
        "avg_pool",
        lambda x: ml.registry.get("avg_pool")(x, kernel=(2, 2)),
        lambda x: F.avg_pool2d(x, 2),
        [(1, 2, 4, 4)],
    ),
    (
        "layer_norm",
        lambda x, w, b: ml.registry.get("layer_norm")(x, w, b)[0],
        lambda x, w, b: F.layer_norm(x, (5,), w, b),
        [(3, 5), (5,), (5,)],
    ),
    (
        "batch_norm",
        lambda x, w, b: ml.registry.get("batch_norm")(x, w, b)[0],
        lambda x, w, b: F.batch_norm(x, None, None, w, b, True),
        [(4, 3, 2), (3,), (3,)],
    ),
    (
        "attention",
        lambda q, k, v: ml.registry.get("scaled_dot_product_attention")(q, k, v, is_causal=True),
        lambda q, k, v: (
            torch.softmax((q @ k.mT / 2).masked_fill(torch.ones(4, 4).triu(1) > 0, -torch.inf), -1) @ v
        ),
        [(2, 4, 4), (2, 4, 4), (2, 4, 3)],
    ),
    ("linear", lambda x, w, b: ml.registry.get("linear")(x, w, b), F.linear, [(3, 4), (2, 4), (2,)]),
    ("softmax", lambda x: ml.softmax(x, axis=-1), lambda x: torch.softmax(x, -1), [(3, 4)]),
    ("log_softmax", lambda x: ml.log_softmax(x, axis=0), lambda x: torch.log_softmax(x, 0), [(3, 4)]),
    (
        "cross_entropy",
        lambda x: ml.registry.get("softmax_cross_entropy")(x, ml.asarray([1, 0, 3]))[0],
        lambda x: F.cross_entropy(x, torch.tensor([1, 0, 3]), reduction="none"),
        [(3, 4)],
    ),
    ("gelu", ml.gelu, F.gelu, [(3, 4)]),
    ("silu", ml.silu, F.silu, [(3, 4)]),
    ("var", lambda x: ml.var(x, axis=1), lambda x: torch.var(x, 1, correction=0), [(3, 4)]),
]


@pytest.mark.parametrize(
    ("ours", "theirs", "shapes"), [row[1:] for row in SECOND], ids=[row[0] for row in SECOND]
)
def test_second_order(ours: Any, theirs: Any, shapes: list[Any]) -> None:
    arrays = [numbers(*s, seed=i) for i, s in enumerate(shapes)]
    found = second(
        ours,
        arrays,
        lambda y, leaves, more: ml.autograd.grad(y, leaves, create_graph=more),
        lambda a: ml.asarray(a, requires_grad=True),
    )
    expected = second(
        theirs,
        arrays,
        lambda y, leaves, more: torch.autograd.grad(y, leaves, create_graph=more),
        lambda a: torch.tensor(a, requires_grad=True),
    )
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9 * max(1.0, float(np.abs(b).max())))


# -- the functional face ---------------------------------------------------------------------------------------

SCALAR: list[tuple[str, Any, Any]] = [
    ("polynomial", lambda v: (v**3 - 2 * v).sum(), lambda v: (v**3 - 2 * v).sum()),
    ("logsumexp", lambda v: ml.logsumexp(v * v), lambda v: torch.logsumexp(v * v, 0)),
    (
        "quotient",
        lambda v: (ml.sin(v) / (1 + v * v)).sum() * v[0],
        lambda v: (torch.sin(v) / (1 + v * v)).sum() * v[0],
    ),
    (
        "network",
        lambda v: ml.tanh(v.reshape(2, 3) @ v.reshape(3, 2)).sum(),
        lambda v: torch.tanh(v.reshape(2, 3) @ v.reshape(3, 2)).sum(),
    ),
]


@pytest.mark.filterwarnings(
    "ignore:.torch.jit:DeprecationWarning"
)  # PyTorch's own, at its first forward mode
@pytest.mark.parametrize(("ours", "theirs"), [row[1:] for row in SCALAR], ids=[row[0] for row in SCALAR])
def test_func_of_torch(ours: Any, theirs: Any) -> None:
    host, direction = numbers(6), numbers(6, seed=3)
    x, t = ml.asarray(host), torch.tensor(host)
    pairs = [
        (ml.grad(ours)(x), torch.func.grad(theirs)(t)),
        (ml.func.hessian(ours)(x), torch.func.hessian(theirs)(t)),
        (ml.func.jacobian(ml.grad(ours))(x), torch.func.jacrev(torch.func.grad(theirs))(t)),
        (
            ml.func.jvp(ours, (x,), (ml.asarray(direction),))[1],
            torch.func.jvp(theirs, (t,), (torch.tensor(direction),))[1],
        ),
        (
            ml.func.vjp(ml.grad(ours), x)[1](ml.asarray(direction))[0],
            torch.func.vjp(torch.func.grad(theirs), t)[1](torch.tensor(direction))[0],
        ),
        (
            ml.grad(lambda v: (ml.grad(ours)(v) ** 2).sum())(x),
            torch.func.grad(lambda v: (torch.func.grad(theirs)(v) ** 2).sum())(t),
        ),
    ]
    for found, expected in pairs:
        np.testing.assert_allclose(np.asarray(found), expected.detach().numpy(), rtol=1e-10, atol=1e-12)
