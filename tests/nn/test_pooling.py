"""Pooling, unpooling, patches, resizing and sampling against PyTorch."""

# ruff: noqa: E501  (tables of cases)

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import nn
from mlcore.errors import ArgumentError, DTypeError, MlcoreError, OutOfRangeError, ShapeError
from mlcore.nn import functional as F
from mlcore.testing import gradcheck, gradgradcheck
from tests.nn.layer_parity import close, compare, results

RNG = np.random.default_rng(0)
SIZES = {1: (11,), 2: (9, 11), 3: (6, 7, 5)}


def inputs(rank: int) -> list[tuple[int, ...]]:
    return [(2, 3, *SIZES[rank]), (3, *SIZES[rank])]


def pools() -> list[Any]:
    found: list[Any] = []
    for rank, (how, ceil) in itertools.product((1, 2, 3), itertools.product(
        (dict(kernel_size=2), dict(kernel_size=3, stride=2, padding=1), dict(kernel_size=3, stride=1), dict(kernel_size=2, stride=3)), (False, True),
    )):  # fmt: skip
        for shape in inputs(rank):
            found += [
                pytest.param(f"MaxPool{rank}d", {**how, "ceil_mode": ceil, "return_indices": r}, shape)
                for r in (False, True)
            ]
            found += [
                pytest.param(f"AvgPool{rank}d", {**how, "ceil_mode": ceil, "count_include_pad": c}, shape)
                for c in (False, True)
            ]
        if rank > 1:
            found.append(
                pytest.param(f"AvgPool{rank}d", {**how, "ceil_mode": ceil, "divisor_override": 3}, shape)
            )
        if "padding" not in how:
            found += [
                pytest.param(f"LPPool{rank}d", {**how, "norm_type": p, "ceil_mode": ceil}, shape)
                for p in (2, 3)
            ]
    for rank in (1, 2, 3):
        found.append(
            pytest.param(
                f"MaxPool{rank}d", dict(kernel_size=2, dilation=2, return_indices=True), inputs(rank)[0]
            )
        )
        for size in (1, 2, 4, (3,) if rank == 1 else (None, 3, 2)[:rank]):
            for shape in inputs(rank):
                found.append(pytest.param(f"AdaptiveAvgPool{rank}d", dict(output_size=size), shape))
                found += [
                    pytest.param(f"AdaptiveMaxPool{rank}d", dict(output_size=size, return_indices=r), shape)
                    for r in (False, True)
                ]
    found.append(
        pytest.param(
            "MaxPool2d",
            dict(kernel_size=(2, 3), stride=(1, 2), padding=(0, 1), dilation=(2, 1)),
            inputs(2)[0],
        )
    )
    for how in (dict(kernel_size=3), dict(kernel_size=(2, 3), dilation=2, padding=(1, 2), stride=(2, 1))):
        found.append(pytest.param("Unfold", how, inputs(2)[0]))
        columns = tuple(F.unfold(ml.zeros(inputs(2)[0]), **how).shape)  # type: ignore[arg-type]
        found.append(pytest.param("Fold", {"output_size": SIZES[2], **how}, columns))
        found.append(pytest.param("Fold", {"output_size": SIZES[2], **how}, columns[1:]))
    return found


@pytest.mark.parity
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("name", "how", "shape"), pools())
def test_pool(name: str, how: dict[str, Any], shape: Any, dtype: str, device: str) -> None:
    x = RNG.normal(size=shape)
    x = np.abs(x) + 0.1 if name.startswith("LP") else x
    compare(name, (), how, [x], dtype)


@pytest.mark.parity
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, None, 0), (3, 2, 1), (3, 2, 0)])
def test_unpool(rank: int, kernel: int, stride: int | None, padding: int, device: str) -> None:
    torch = pytest.importorskip("torch")
    for shape in inputs(rank):
        x = RNG.normal(size=shape)
        y, index = getattr(torch.nn.functional, f"max_pool{rank}d")(
            torch.tensor(x), kernel, stride, padding, return_indices=True
        )
        for size in (None, shape[-rank:]):
            theirs, ours = (
                torch.tensor(y.numpy(), requires_grad=True),
                ml.asarray(y.numpy(), requires_grad=True),
            )
            how = (
                getattr(torch.nn, f"MaxUnpool{rank}d")(kernel, stride, padding),
                getattr(nn, f"MaxUnpool{rank}d")(kernel, stride, padding),
            )
            try:
                ty = how[0](theirs, index, output_size=size)
            except (ValueError, RuntimeError) as error:
                wanted = ShapeError if isinstance(error, ValueError) else OutOfRangeError
                with pytest.raises(wanted, match=r"max_unpool"):
                    how[1](ours, ml.asarray(index.numpy()), output_size=size)
                continue
            rows = index.numpy().reshape(int(np.prod(shape[:-rank])), -1)
            if all(len(np.unique(row)) == len(row) for row in rows):  # PyTorch leaves open which one wins
                results(
                    how[1](ours, ml.asarray(index.numpy()), output_size=size),
                    ty,
                    [ours],
                    [theirs],
                    torch,
                    1e-9,
                )
            assert repr(how[0]) == repr(how[1])


@pytest.mark.parity
@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("how", [dict(output_size=3), dict(output_ratio=0.5), dict(output_size=1)])
def test_fractional(rank: int, how: dict[str, Any], device: str) -> None:
    torch = pytest.importorskip("torch")
    for seed in range(5):
        rng = np.random.default_rng(seed)
        shape = inputs(rank)[0]
        x, samples = rng.normal(size=shape), rng.uniform(size=(*shape[:2], rank))
        ours, theirs = ml.asarray(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        name = f"FractionalMaxPool{rank}d"
        y = getattr(nn, name)(2, return_indices=True, _random_samples=ml.asarray(samples), **how)(ours)
        ty = getattr(torch.nn, name)(2, return_indices=True, _random_samples=torch.tensor(samples), **how)(
            theirs
        )
        results(y, ty, [ours], [theirs], torch, 1e-9)
    drawn = getattr(nn, name)(2, **how)(ours)
    assert drawn.shape == y[0].shape


def resizings() -> list[Any]:
    found: list[Any] = []
    modes = {
        1: ("nearest", "nearest-exact", "area", "linear"),
        2: ("nearest", "nearest-exact", "area", "bilinear", "bicubic"),
        3: ("nearest", "nearest-exact", "area", "trilinear"),
    }
    targets = [
        dict(scale_factor=2),
        dict(scale_factor=0.5),
        dict(scale_factor=1.7),
        dict(scale_factor=1.7, recompute_scale_factor=True),
        dict(scale_factor=0.37),
    ]
    for rank in (1, 2, 3):
        for mode, how in itertools.product(
            modes[rank], [*targets, dict(size=7), dict(size=(13, 4, 6)[:rank]), dict(size=1)]
        ):
            for corners in (None, True, False) if mode.endswith(("linear", "cubic")) else (None,):
                found.append((rank, {**how, "mode": mode, "align_corners": corners}))
    for mode, how, corners in itertools.product(
        ("bilinear", "bicubic"), [*targets, dict(size=(3, 20))], (None, True)
    ):
        found.append((2, {**how, "mode": mode, "antialias": True, "align_corners": corners}))
    return found


@pytest.mark.parity
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("rank", "how"), resizings(), ids=str)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_interpolate(rank: int, how: dict[str, Any], dtype: str, device: str) -> None:
    torch = pytest.importorskip("torch")
    x = RNG.normal(size=inputs(rank)[0]).astype(dtype)
    ours, theirs = ml.asarray(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    ty = torch.nn.functional.interpolate(theirs, **how)
    # PyTorch works out where to sample in float32 for float32 inputs.
    results(F.interpolate(ours, **how), ty, [ours], [theirs], torch, 1e-9 if dtype == "float64" else 1e-3)


@pytest.mark.parity
@pytest.mark.parametrize(("name", "how"), [("Upsample", dict(scale_factor=2)), ("Upsample", dict(size=(3, 5), mode="bicubic")), ("UpsamplingNearest2d", dict(scale_factor=3)),
                                           ("UpsamplingBilinear2d", dict(size=(5, 4)))])  # fmt: skip
def test_upsample(name: str, how: dict[str, Any], device: str) -> None:
    compare(name, (), how, [RNG.normal(size=(2, 3, 4, 6))], "float64")


@pytest.mark.parity
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("corners", [False, True])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize(
    ("rank", "mode"), [(2, "bilinear"), (2, "nearest"), (2, "bicubic"), (3, "bilinear"), (3, "nearest")]
)
def test_grid_sample(rank: int, mode: str, padding: str, corners: bool, dtype: str, device: str) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(rank)
    x = rng.normal(size=(2, 3, *SIZES[rank])).astype(dtype)
    grid = rng.uniform(-1.8, 1.8, size=(2, *(4, 5, 3)[:rank], rank)).astype(dtype)
    a, b = ml.asarray(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    g, tg = ml.asarray(grid, requires_grad=True), torch.tensor(grid, requires_grad=True)
    how: dict[str, Any] = dict(mode=mode, padding_mode=padding, align_corners=corners)
    y, ty = F.grid_sample(a, g, **how), torch.nn.functional.grid_sample(b, tg, **how)
    leaves = ([a], [b]) if mode == "nearest" else ([a, g], [b, tg])
    results(y, ty, *leaves, torch, 1e-9 if dtype == "float64" else 2e-3)


@pytest.mark.parity
@pytest.mark.parametrize("corners", [False, True])
@pytest.mark.parametrize("size", [(2, 3, 4, 5), (2, 1, 3, 1, 4), (2, 1, 1, 1)])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_affine_grid(size: Any, corners: bool, device: str) -> None:
    torch = pytest.importorskip("torch")
    theta = RNG.normal(size=(2, len(size) - 2, len(size) - 1))
    a, b = ml.asarray(theta, requires_grad=True), torch.tensor(theta, requires_grad=True)
    results(
        F.affine_grid(a, size, corners),
        torch.nn.functional.affine_grid(b, size, corners),
        [a],
        [b],
        torch,
        1e-9,
    )


def test_outside_places_that_are_no_numbers_give_zeros(device: str) -> None:
    grid = ml.asarray([[[[float("nan"), 0.0], [float("inf"), 0.0]]]])
    assert F.grid_sample(ml.ones((1, 1, 3, 3)), grid, mode="nearest", align_corners=True).tolist() == [
        [[[0.0, 0.0]]]
    ]


SMOOTH: list[tuple[str, Any, Any]] = [
    ("max indices", lambda x: F.max_pool2d(x, 2, return_indices=True)[0], (1, 1, 4, 4)), ("adaptive max", lambda x: F.adaptive_max_pool2d(x, 3), (1, 1, 4, 5)),
    ("adaptive avg", lambda x: F.adaptive_avg_pool3d(x, 2), (1, 1, 3, 3, 3)), ("lp", lambda x: F.lp_pool2d(x * x + 1, 3, 2), (1, 1, 4, 4)),
    ("unfold", lambda x: F.unfold(x, 2, padding=1), (1, 1, 3, 3)), ("fold", lambda x: F.fold(x, (3, 3), 2), (1, 4, 4)),
    ("bicubic", lambda x: F.interpolate(x, size=(5, 3), mode="bicubic"), (1, 1, 4, 4)), ("antialias", lambda x: F.interpolate(x, size=(2, 2), mode="bilinear", antialias=True), (1, 1, 4, 4)),
    ("nearest", lambda x: F.interpolate(x, scale_factor=1.5), (1, 1, 4)), ("unpool", lambda x: F.max_unpool1d(x, ml.asarray([[[0, 3]]]), 2), (1, 1, 2)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "function", "shape"), SMOOTH, ids=[name for name, _, _ in SMOOTH])
def test_gradients(name: str, function: Any, shape: Any) -> None:
    x = ml.asarray(
        np.random.default_rng(3).permutation(int(np.prod(shape))).reshape(shape) / 7.0, requires_grad=True
    )
    assert gradcheck(function, [x])
    assert gradgradcheck(function, [x])


def test_gradients_of_sampling() -> None:
    x, grid = (
        ml.asarray(RNG.normal(size=(1, 1, 4, 4)), requires_grad=True),
        ml.asarray(RNG.uniform(-0.7, 0.7, (1, 2, 2, 2)), requires_grad=True),
    )
    for mode in ("bilinear", "bicubic"):
        assert gradcheck(lambda x, g, mode=mode: F.grid_sample(x, g, mode, align_corners=True), [x, grid])


def test_nan_wins_as_in_pytorch(device: str) -> None:
    torch = pytest.importorskip("torch")
    x = np.array([[1.0, np.nan, 3.0, 0.0]])
    y, i = F.max_pool1d(ml.asarray(x), 2, return_indices=True)
    ty, ti = torch.nn.functional.max_pool1d(torch.tensor(x), 2, return_indices=True)
    close(y, ty, 1e-9, "values")
    close(i, ti, 0, "indices")


def z(*shape: int) -> Any:
    return ml.zeros(shape)


BAD: list[tuple[Any, type[MlcoreError], str]] = [
    (lambda: F.max_pool1d(z(3), 2), ShapeError, r"max_pool1d: expected \(N, C, L\) or \(C, L\), got \(3,\)"),
    (lambda: F.avg_pool3d(z(1, 2, 3), 2), ShapeError, r"avg_pool3d: expected \(N, C, D, H, W\)"),
    (lambda: F.max_pool2d(z(1, 1, 3, 3), 4), ShapeError, "kernel"),
    (lambda: F.avg_pool2d(z(1, 1, 3, 3), 2, divisor_override=0), ArgumentError, "divisor_override is 0"),
    (lambda: F.lp_pool1d(z(1, 4), 0, 2), ArgumentError, "norm_type is 0"),
    (lambda: F.adaptive_max_pool2d(z(1, 1, 3, 3), 0), ArgumentError, "output_size 0"),
    (lambda: F.adaptive_avg_pool1d(z(1, 1, 0), 2), ShapeError, "nothing to pool"),
    (lambda: F.max_unpool1d(z(1, 1, 2), ml.asarray([[[0, 9]]]), 2), OutOfRangeError, r"index 9 for an output of \(4,\)"),
    (lambda: F.max_unpool1d(z(1, 1, 2), z(1, 1, 2), 2), DTypeError, "the indices are float32"),
    (lambda: F.max_unpool1d(z(1, 1, 2), ml.asarray([[[0, 1]]]), 2, output_size=(9,)), ShapeError, r"output_size \(9,\)"),
    (lambda: nn.FractionalMaxPool2d(2), ArgumentError, "give one of them"),
    (lambda: nn.FractionalMaxPool2d(2, output_ratio=1.5), ArgumentError, "output_ratio 1.5"),
    (lambda: F.fractional_max_pool2d(z(1, 1, 3, 3), 2, output_size=3), ShapeError, r"\(3, 3\) windows of \(2, 2\)"),
    (lambda: F.unfold(z(3, 3), 2), ShapeError, r"unfold: \(3, 3\)"),
    (lambda: F.fold(z(1, 4, 5), (3, 3), 2), ShapeError, "that takes 4 patches"),
    (lambda: F.interpolate(z(1, 1, 4)), ArgumentError, "give one of them"),
    (lambda: F.interpolate(z(1, 1, 4), size=2, mode="cubic"), ArgumentError, "mode='cubic'"),
    (lambda: F.interpolate(z(1, 1, 4), size=2, mode="bilinear"), ShapeError, "mode 'bilinear' of"),
    (lambda: F.interpolate(z(1, 1, 4), size=0), ArgumentError, "size 0"),
    (lambda: F.interpolate(z(1, 1, 4), scale_factor=(1.0, 2.0)), ArgumentError, r"scale_factor \(1.0, 2.0\)"),
    (lambda: F.interpolate(z(1, 1, 4), size=2, align_corners=True), ArgumentError, "align_corners with mode 'nearest'"),
    (lambda: F.interpolate(z(1, 1, 4), size=2, antialias=True), ArgumentError, "antialias with mode 'nearest'"),
    (lambda: F.grid_sample(z(1, 1, 3, 3), z(1, 2, 2, 3)), ShapeError, r"grid \(1, 2, 2, 3\)"),
    (lambda: F.grid_sample(z(1, 1, 3, 3), z(1, 2, 2, 2), mode="area"), ArgumentError, "mode='area'"),
    (lambda: F.grid_sample(z(1, 1, 3, 3), z(1, 2, 2, 2), padding_mode="wrap"), ArgumentError, "padding_mode='wrap'"),
    (lambda: F.affine_grid(z(1, 2, 2), (1, 1, 3, 3)), ShapeError, r"theta \(1, 2, 2\)"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "text"), BAD, ids=[text for _, _, text in BAD])
def test_bad_input(call: Any, error: type[MlcoreError], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
