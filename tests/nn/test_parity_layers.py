"""Every layer against PyTorch: outputs, gradients of inputs and parameters, buffers, and state_dicts both ways."""

# ruff: noqa: E501  (tables of cases)

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import nn

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # the cases are small, and other tests want the cores
pytestmark = pytest.mark.parity

Array = np.ndarray[Any, Any]


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


def integers(high: int, *shape: int) -> Array:
    return np.random.default_rng(1).integers(0, high, shape)


def close(ours: Any, theirs: Any, tolerance: float, what: str) -> None:
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs.detach().numpy(), np.float64)
    assert ours.shape == theirs.shape, what
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance, err_msg=what)


# (name, how to build it in either library, the inputs): each runs in training and in eval mode, in float64 and float32.
CONV2D = [
    dict(kernel_size=3), dict(kernel_size=3, padding=1), dict(kernel_size=3, stride=2, padding=1), dict(kernel_size=(3, 2), padding=(1, 0)),
    dict(kernel_size=3, dilation=2, padding=2), dict(kernel_size=1), dict(kernel_size=3, groups=2), dict(kernel_size=3, groups=4, padding=1),
    dict(kernel_size=3, bias=False), dict(kernel_size=5, padding="same"), dict(kernel_size=4, padding="same"), dict(kernel_size=3, padding="valid"),
    dict(kernel_size=3, padding=2, padding_mode="circular"), dict(kernel_size=3, padding=1, padding_mode="reflect"),
    dict(kernel_size=3, padding=(2, 1), padding_mode="replicate"), dict(kernel_size=3, padding="same", padding_mode="reflect"),
    dict(kernel_size=3, stride=(1, 3), padding=(0, 2), dilation=(2, 1), groups=2),
]  # fmt: skip

LAYERS: list[tuple[str, Any, list[Array]]] = [
    *[(f"Conv2d {how}", lambda nn, how=how: nn.Conv2d(4, 8, **how), [normal(2, 4, 9, 8)]) for how in CONV2D],
    ("Conv2d unbatched", lambda nn: nn.Conv2d(4, 6, 3), [normal(4, 7, 7)]),
    *[
        (f"Conv1d {how}", lambda nn, how=how: nn.Conv1d(4, 6, **how), [normal(2, 4, 11)])
        for how in (dict(kernel_size=3), dict(kernel_size=5, stride=2, padding=2), dict(kernel_size=3, groups=2, dilation=2),
                    dict(kernel_size=2, padding="same"), dict(kernel_size=3, padding=2, padding_mode="circular"))
    ],
    *[
        (f"ConvTranspose2d {how}", lambda nn, how=how: nn.ConvTranspose2d(4, 6, **how), [normal(2, 4, 5, 6)])
        for how in (dict(kernel_size=3), dict(kernel_size=3, stride=2, padding=1, output_padding=1), dict(kernel_size=(3, 2), stride=(2, 1), groups=2),
                    dict(kernel_size=2, stride=3, bias=False), dict(kernel_size=3, dilation=2, padding=2), dict(kernel_size=2, dilation=3, output_padding=2),
                    dict(kernel_size=3, dilation=3, stride=2, padding=1, output_padding=2))
    ],
    ("ConvTranspose2d unbatched", lambda nn: nn.ConvTranspose2d(4, 6, 3), [normal(4, 5, 5)]),
    ("ConvTranspose2d no batch", lambda nn: nn.ConvTranspose2d(4, 6, 3), [normal(0, 4, 5, 5)]),
    ("ConvTranspose1d", lambda nn: nn.ConvTranspose1d(4, 6, 5, stride=3, padding=2, output_padding=1), [normal(2, 4, 7)]),
    ("ConvTranspose3d", lambda nn: nn.ConvTranspose3d(2, 4, 3, stride=2, padding=1, groups=2), [normal(2, 2, 3, 4, 3)]),
    ("Conv1d unbatched", lambda nn: nn.Conv1d(4, 6, 3), [normal(4, 7)]),
    *[
        (f"Conv3d {how}", lambda nn, how=how: nn.Conv3d(2, 4, **how), [normal(2, 2, 5, 6, 4)])
        for how in (dict(kernel_size=3), dict(kernel_size=3, padding=1, stride=2), dict(kernel_size=(1, 3, 2), groups=2, bias=False))
    ],
    *[
        (f"Linear {shape} {bias}", lambda nn, bias=bias: nn.Linear(5, 7, bias=bias), [normal(*shape)])
        for shape in ((5,), (3, 5), (2, 3, 5), (0, 5)) for bias in (True, False)
    ],
    ("Linear of no features", lambda nn: nn.Linear(0, 3), [normal(2, 4, 0)]),
    ("Linear to no features", lambda nn: nn.Linear(3, 0), [normal(4, 3)]),
    *[
        (f"BatchNorm2d {how}", lambda nn, how=how: nn.BatchNorm2d(3, **how), [normal(4, 3, 5, 6) * 2 + 1])
        for how in ({}, dict(affine=False), dict(track_running_stats=False), dict(momentum=None), dict(momentum=0.5, eps=1e-3), dict(bias=False))
    ],
    ("BatchNorm1d (N, C)", lambda nn: nn.BatchNorm1d(3), [normal(6, 3)]),
    ("BatchNorm1d (N, C, L)", lambda nn: nn.BatchNorm1d(3), [normal(2, 3, 5)]),
    ("BatchNorm3d", lambda nn: nn.BatchNorm3d(3), [normal(2, 3, 2, 3, 4)]),
    *[
        (f"LayerNorm {shape} {how}", lambda nn, shape=shape, how=how: nn.LayerNorm(shape, **how), [normal(3, 4, 5) * 3 + 2])
        for shape in (5, (4, 5), (3, 4, 5)) for how in ({}, dict(elementwise_affine=False), dict(bias=False), dict(eps=1e-2))
    ],
    *[
        (f"RMSNorm {shape} {how}", lambda nn, shape=shape, how=how: nn.RMSNorm(shape, **how), [normal(3, 4, 5) * 3 + 2])
        for shape in (5, (4, 5), (3, 4, 5)) for how in ({}, dict(elementwise_affine=False), dict(eps=1e-2))
    ],
    ("RMSNorm long rows", lambda nn: nn.RMSNorm(1029), [normal(70, 1029)]),
    ("RMSNorm no rows", lambda nn: nn.RMSNorm(5), [normal(0, 5)]),
    *[
        (f"MaxPool2d {how}", lambda nn, how=how: nn.MaxPool2d(**how), [normal(2, 3, 9, 8)])
        for how in (dict(kernel_size=2), dict(kernel_size=3, stride=2, padding=1), dict(kernel_size=(3, 2), stride=1),
                    dict(kernel_size=3, stride=2, ceil_mode=True), dict(kernel_size=2, dilation=2), dict(kernel_size=3, stride=3, padding=1, ceil_mode=True))
    ],
    ("MaxPool2d ties", lambda nn: nn.MaxPool2d(2), [np.ones((1, 1, 4, 4))]),
    ("MaxPool2d unbatched", lambda nn: nn.MaxPool2d(2), [normal(3, 4, 4)]),
    *[
        (f"AvgPool2d {how}", lambda nn, how=how: nn.AvgPool2d(**how), [normal(2, 3, 9, 8)])
        for how in (dict(kernel_size=2), dict(kernel_size=3, stride=2, padding=1), dict(kernel_size=3, padding=1, count_include_pad=False),
                    dict(kernel_size=3, stride=2, ceil_mode=True), dict(kernel_size=3, stride=2, padding=1, ceil_mode=True, count_include_pad=False),
                    dict(kernel_size=2, divisor_override=3))
    ],
    *[
        (f"AdaptiveAvgPool2d {size}", lambda nn, size=size: nn.AdaptiveAvgPool2d(size), [normal(2, 3, 9, 8)])
        for size in (1, (3, 4), (2, 3), 5, (None, 1), (9, 8), 12)
    ],
    ("ReLU", lambda nn: nn.ReLU(), [normal(4, 5)]),
    ("GELU", lambda nn: nn.GELU(), [normal(4, 5) * 3]),
    ("GELU tanh", lambda nn: nn.GELU(approximate="tanh"), [normal(4, 5) * 3]),
    ("ReLU6", lambda nn: nn.ReLU6(), [normal(4, 5) * 6]),
    ("SiLU", lambda nn: nn.SiLU(), [normal(4, 5) * 3]),
    ("Sigmoid", lambda nn: nn.Sigmoid(), [normal(4, 5) * 3]),
    ("Tanh", lambda nn: nn.Tanh(), [normal(4, 5)]),
    ("Softplus", lambda nn: nn.Softplus(), [normal(4, 5) * 10]),
    ("Softplus beta", lambda nn: nn.Softplus(beta=2.0, threshold=5.0), [normal(4, 5) * 3]),
    *[(f"Softmax {dim}", lambda nn, dim=dim: nn.Softmax(dim=dim), [normal(3, 4, 5) * 3]) for dim in (0, 1, -1)],
    *[(f"LogSoftmax {dim}", lambda nn, dim=dim: nn.LogSoftmax(dim=dim), [normal(3, 4, 5) * 3]) for dim in (0, 1, -1)],
    ("Identity", lambda nn: nn.Identity(), [normal(3)]),
    ("Dropout p=0", lambda nn: nn.Dropout(0.0), [normal(3, 4)]),
    ("Dropout p=1", lambda nn: nn.Dropout(1.0), [normal(3, 4)]),
    ("Flatten", lambda nn: nn.Flatten(), [normal(2, 3, 4)]),
    ("Flatten 0..1", lambda nn: nn.Flatten(0, 1), [normal(2, 3, 4)]),
    ("Unflatten", lambda nn: nn.Unflatten(1, (2, 3)), [normal(2, 6, 4)]),
    ("Embedding", lambda nn: nn.Embedding(10, 4), [integers(10, 2, 5)]),
    ("Embedding padding", lambda nn: nn.Embedding(10, 4, padding_idx=3), [np.array([[3, 1], [3, 9]])]),
    ("Embedding padding -1", lambda nn: nn.Embedding(10, 4, padding_idx=-1), [np.array([9, 0, 9, 0])]),
    ("Sequential", lambda nn: nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 5)), [normal(3, 1, 8, 8)]),
    *[
        (f"MultiheadAttention {how}", lambda nn, how=how: nn.MultiheadAttention(8, 2, **how), [normal(3, 3, 8)] * 3)
        for how in ({}, dict(bias=False), dict(batch_first=True), dict(add_bias_kv=True), dict(add_zero_attn=True))
    ],
    ("MultiheadAttention cross", lambda nn: nn.MultiheadAttention(8, 4), [normal(3, 2, 8), normal(5, 2, 8, seed=1), normal(5, 2, 8, seed=2)]),
    ("MultiheadAttention kdim", lambda nn: nn.MultiheadAttention(8, 4, kdim=6, vdim=5, batch_first=True),
     [normal(2, 3, 8), normal(2, 5, 6, seed=1), normal(2, 5, 5, seed=2)]),
    ("MultiheadAttention unbatched", lambda nn: nn.MultiheadAttention(8, 4), [normal(3, 8)] * 3),
    *[
        (f"TransformerEncoderLayer {how}", lambda nn, how=how: nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, **how), [normal(4, 3, 8)])
        for how in ({}, dict(batch_first=True), dict(norm_first=True), dict(activation="gelu"), dict(bias=False), dict(layer_norm_eps=1e-3))
    ],
    ("TransformerEncoder", lambda nn: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True), 2, nn.LayerNorm(8)), [normal(2, 5, 8)]),
]  # fmt: skip


@pytest.mark.filterwarnings(
    "ignore:.*nested.*",
    "ignore:Initializing zero-element",
    "ignore:.*even kernel lengths.*",
    "ignore:.*padding='same'.*",
)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize(("name", "build", "inputs"), LAYERS, ids=[name for name, _, _ in LAYERS])
def test_layer(name: str, build: Any, inputs: list[Array], training: bool, dtype: str, device: str) -> None:
    torch.manual_seed(0)
    tolerance = 1e-9 if dtype == "float64" else 2e-5
    theirs = build(torch.nn).to(getattr(torch, dtype)).train(training)
    ours = build(nn).to(getattr(ml, dtype)).train(training)
    with torch.no_grad():  # PyTorch's state, moved through NumPy; buffers with something in them
        for index, one in enumerate(theirs.parameters()):
            one.copy_(torch.from_numpy(normal(*one.shape, seed=index + 10)) * 0.5)
        for name_, one in theirs.named_buffers():
            if one.dtype.is_floating_point:
                one.copy_(
                    torch.from_numpy(np.abs(normal(*one.shape, seed=5)) + (0.5 if "var" in name_ else 0))
                )
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})

    given: dict[int, tuple[Any, Any]] = {}
    for one in inputs:  # the same array is the same tensor
        if id(one) not in given:
            whole = one.dtype.kind == "i"
            host = one if whole else one.astype(dtype)
            given[id(one)] = (
                ml.asarray(host, requires_grad=not whole),
                torch.tensor(host, requires_grad=not whole),
            )
    x, tx = [given[id(one)][0] for one in inputs], [given[id(one)][1] for one in inputs]
    y, ty = ours(*x), theirs(*tx)
    if isinstance(ty, tuple):
        close(y[1], ty[1], tolerance, "weights")
        y, ty = y[0] + y[1].sum() ** 2, ty[0] + ty[1].sum() ** 2
    close(y, ty, tolerance, "output")
    cotangent = normal(*ty.shape, seed=3)
    if ty.requires_grad:
        ty.backward(torch.tensor(cotangent, dtype=ty.dtype))
        y.backward(ml.asarray(cotangent.astype(dtype)))
    for a, b in given.values():
        if b.grad is not None:
            close(a.grad, b.grad, tolerance * 10, "gradient of the input")
    for (path, a), (_, b) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        close(a.grad, b.grad, tolerance * 10, f"gradient of {path}")
    for key, value in theirs.state_dict().items():
        close(ours.state_dict()[key], value, tolerance, key)
    theirs.load_state_dict({k: torch.tensor(np.asarray(v)) for k, v in ours.state_dict().items()})  # and back


@pytest.mark.parametrize("mask", ["bool", "float", "bool per head"])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("need_weights", [False, True])
def test_attention_masks(mask: str, padded: bool, need_weights: bool, device: str) -> None:
    theirs = torch.nn.MultiheadAttention(8, 2, batch_first=True, dtype=torch.float64)
    ours = nn.MultiheadAttention(8, 2, batch_first=True, dtype=ml.float64)
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    x = normal(2, 4, 8)
    shape = (4, 4, 4) if mask == "bool per head" else (4, 4)
    hidden = np.triu(np.ones(shape, bool), 1)
    given: Array = np.where(hidden, -np.inf, 0.25) if mask == "float" else hidden
    padding: Array | None = None
    if padded:
        padding = np.array([[False, False, False, True], [False, False, True, True]])
        if mask == "float":
            padding = np.where(padding, -np.inf, 0.0)
    how = dict(need_weights=need_weights, average_attn_weights=False)
    a, wa = ours(ml.asarray(x), ml.asarray(x), ml.asarray(x), attn_mask=ml.asarray(given),
                 key_padding_mask=None if padding is None else ml.asarray(padding), **how)  # fmt: skip
    t = torch.tensor(x)
    b, wb = theirs(
        t,
        t,
        t,
        attn_mask=torch.tensor(given),
        key_padding_mask=None if padding is None else torch.tensor(padding),
        **how,
    )
    close(a, b, 1e-9, "output")
    if need_weights:
        close(wa, wb, 1e-9, "weights")
    else:
        assert wa is wb is None


def test_names_and_defaults_of_signatures() -> None:
    """What can be given by position in both libraries is at the same place, with the same default."""
    import inspect

    compared = 0
    for name in nn.__all__:
        theirs = getattr(torch.nn, name, None)
        ours = getattr(nn, name)
        if (
            not inspect.isclass(ours)
            or theirs is None
            or name in ("Module", "Parameter", "Sequential", "Identity")
        ):
            continue
        a, b = inspect.signature(ours.__init__).parameters, inspect.signature(theirs.__init__).parameters
        place = list(b)
        mine = [p for p in a.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
        if "args" in place:  # the recurrent layers hide theirs; tests/nn/test_recurrent.py has them
            continue
        for i, one in enumerate(mine):
            assert one.name == place[i], (name, one.name, place[i])
        for key, one in a.items():
            compared += key in b
            if key in b and one.default is not one.empty:
                same = one.default == b[key].default or getattr(one.default, "__name__", 1) == getattr(
                    b[key].default, "__name__", 2
                )
                assert same, (name, key, one.default, b[key].default)
        missing = [p.name for p in b.values() if p.name not in a and p.kind is not p.VAR_KEYWORD]
        assert not missing, (name, missing)
    assert compared > 400


@pytest.mark.filterwarnings("ignore:Initializing zero-element")
def test_repr_is_pytorchs() -> None:
    builds = [build for _, build, _ in LAYERS]
    for build in builds:
        assert repr(build(nn)) == repr(build(torch.nn)).replace("NonDynamicallyQuantizableLinear", "Linear")
