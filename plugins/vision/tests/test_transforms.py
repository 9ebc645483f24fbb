"""The transforms against Pillow and PyTorch, and their promises about shapes, dtypes, devices and seeds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

import mlcore as ml
from mlcore.errors import ArgumentError, ArgumentTypeError, DTypeError, MlcoreError, ShapeError
from mlcore_vision import transforms as T
from mlcore_vision.transforms import functional as F

RNG = np.random.default_rng(0)
IMAGE = RNG.random((3, 12, 10)).astype(np.float32)
BATCH = RNG.random((6, 2, 9, 11)).astype(np.float32)


# ---------------------------------------------------------------- resize and crop


@pytest.mark.parametrize("size", [(6, 5), (5, 7), (30, 25), (12, 3), (1, 1), (12, 10)])
def test_resize_is_pillows(size: tuple[int, int]) -> None:
    found = F.resize(IMAGE, size)
    for channel, result in zip(IMAGE, found):
        picture = Image.fromarray(channel).resize(size[::-1], Image.Resampling.BILINEAR)
        np.testing.assert_allclose(result, np.asarray(picture), atol=2e-6)


@pytest.mark.parity
@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("size", [(4, 5), (23, 8)])
def test_resize_is_torchs(size: tuple[int, int], antialias: bool) -> None:
    torch = pytest.importorskip("torch")
    wanted = torch.nn.functional.interpolate(
        torch.tensor(BATCH), size=size, mode="bilinear", antialias=antialias
    )
    np.testing.assert_allclose(T.Resize(size, antialias)(BATCH), wanted.numpy(), atol=3e-6)


def test_resize_keeps_proportions_dtype_and_kind() -> None:
    assert T.Resize(6)(IMAGE).shape == (3, 7, 6)
    assert T.Resize(24)(IMAGE).shape == (3, 28, 24)
    assert T.Resize(4)(Image.new("RGB", (10, 12))).size == (4, 4)
    eight = np.full((1, 5, 5), 200, np.uint8)
    assert T.Resize(3)(eight).dtype == np.uint8
    assert (T.Resize((9, 2))(eight) == 200).all()
    tensor = T.Resize((2, 2))(ml.asarray(IMAGE, device="reference"))
    assert tensor.shape == (3, 2, 2)
    assert tensor.device == "reference"


def test_crops() -> None:
    ramp = np.arange(5 * 6).reshape(1, 5, 6)
    np.testing.assert_array_equal(T.CenterCrop((3, 2))(ramp), ramp[:, 1:4, 2:4])
    assert T.CenterCrop(8)(ramp).shape == (1, 8, 8)
    assert T.CenterCrop(8)(ramp).sum() == ramp.sum()
    assert T.CenterCrop(4)(Image.new("RGB", (9, 7))).size == (4, 4)
    np.testing.assert_array_equal(T.Pad((1, 2), fill=7)(ramp)[:, 1:-1, 2:-2], ramp)


# ---------------------------------------------------------------- values


def test_to_tensor() -> None:
    picture = Image.new("RGB", (4, 2), (255, 0, 51))
    tensor = T.ToTensor()(picture)
    assert tensor.shape == (3, 2, 4)
    assert tensor.dtype is ml.float32
    np.testing.assert_allclose(np.asarray(tensor)[:, 0, 0], [1, 0, 0.2], rtol=1e-6)
    assert T.ToTensor()(np.zeros((5, 6), np.uint8)).shape == (1, 5, 6)
    assert T.ToTensor()(np.zeros((5, 6, 3), np.float32)).shape == (3, 5, 6)
    assert T.ToTensor()(tensor) is tensor
    assert np.asarray(T.ToTensor()(Image.new("1", (2, 2), 1))).max() == 1


@pytest.mark.parametrize(
    ("value", "dtype", "wanted"),
    [
        (np.uint8(255), "float32", 1.0),
        (np.uint8(51), "float64", 0.2),
        (np.float32(0.5), "uint8", 128),
        (np.float32(7.0), "uint8", 255),
        (np.float32(-1.0), "uint8", 0),
        (np.uint8(1), "uint16", 257),
        (np.uint16(65535), "uint8", 255),
        (np.float64(0.25), "float16", 0.25),
    ],
)
def test_convert_dtype(value: Any, dtype: str, wanted: float) -> None:
    result = T.ConvertDtype(dtype)(np.full((1, 1, 1), value))
    assert result.dtype == dtype
    assert result.item() == pytest.approx(wanted, rel=1e-6)


def test_normalize_and_gray() -> None:
    result = T.Normalize([0.1, 0.2, 0.3], [1, 2, 4])(IMAGE)
    np.testing.assert_allclose(result[2], (IMAGE[2].astype(float) - 0.3) / 4, atol=1e-7)
    assert result.dtype == np.float32
    gray = T.Grayscale()(np.moveaxis(np.asarray(Image.new("RGB", (2, 2), (10, 200, 90))), -1, 0))
    assert gray[0, 0, 0] == Image.new("RGB", (1, 1), (10, 200, 90)).convert("L").getpixel((0, 0))


# ---------------------------------------------------------------- random


RANDOM = [
    T.RandomHorizontalFlip(),
    T.RandomCrop(7, padding=2),
    T.RandomRotation(30),
    T.RandomAffine(20, (0.2, 0.1), (0.7, 1.3), 10),
    T.RandomErasing(0.9),
]


@pytest.mark.parametrize("transform", RANDOM, ids=repr)
def test_same_seed_same_images(transform: Any) -> None:
    ml.manual_seed(3)
    first, second = transform(BATCH), transform(BATCH)
    ml.manual_seed(3)
    with ml.device("reference"):
        again = transform(BATCH)
    np.testing.assert_array_equal(first, again)  # on another device too
    assert not np.array_equal(first, second)
    assert not np.array_equal(first[0], transform(BATCH[:1])[0])


@pytest.mark.parametrize("transform", RANDOM, ids=repr)
def test_own_generator_leaves_the_default_one_alone(transform: Any) -> None:
    transform.generator = ml.Generator(5)
    try:
        before = ml.random.get_state()
        first = transform(BATCH)
        assert ml.random.get_state() == before
        transform.generator = ml.Generator(5)
        np.testing.assert_array_equal(first, transform(BATCH))
    finally:
        transform.generator = None


@pytest.mark.parametrize("transform", RANDOM, ids=repr)
def test_kinds_and_dtypes_stay(transform: Any) -> None:
    kept = BATCH.copy()
    tensor = transform(ml.asarray(BATCH, device="reference"))
    assert isinstance(tensor, ml.Tensor)
    assert tensor.device == "reference"
    assert transform(BATCH[0]).shape == np.asarray(tensor).shape[1:]
    eight = (BATCH * 255).astype(np.uint8)
    assert transform(eight).dtype == np.uint8
    np.testing.assert_array_equal(BATCH, kept)


def test_every_image_of_a_batch_is_drawn_for_itself() -> None:
    same = np.repeat(BATCH[:1], 40, 0)
    ml.manual_seed(0)
    flipped = (T.RandomHorizontalFlip()(same) != same).any((1, 2, 3))
    assert 5 < flipped.sum() < 35


def test_random_crop_reaches_everything_and_nothing_else() -> None:
    ramp = np.broadcast_to(np.arange(1, 26).reshape(1, 1, 5, 5), (400, 1, 5, 5))
    ml.manual_seed(0)
    corners = {int(v) for v in T.RandomCrop(3)(ramp)[:, 0, 0, 0]}
    assert corners == {1, 2, 3, 6, 7, 8, 11, 12, 13}


@pytest.mark.parity
def test_affine_is_torchs_grid_sample() -> None:
    torch = pytest.importorskip("torch")
    square = RNG.random((5, 2, 13, 13)).astype(np.float32)
    transform = T.RandomAffine(40, (0.3, 0.2), (0.6, 1.5), 20)
    ml.manual_seed(1)
    found = transform(square)
    ml.manual_seed(1)
    matrices = torch.tensor(transform.matrices(5, 13, 13), dtype=torch.float32)
    matrices[:, :, 2] *= 2 / 13  # torch counts from -1 to 1
    grid = torch.nn.functional.affine_grid(matrices, square.shape, align_corners=False)
    wanted = torch.nn.functional.grid_sample(torch.tensor(square), grid, align_corners=False)
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-5)


def test_affine_at_rest_and_by_hand() -> None:
    np.testing.assert_array_equal(T.RandomAffine()(IMAGE), IMAGE)
    dot = np.zeros((1, 1, 5, 5), np.float32)
    dot[0, 0, 2, 3] = 1
    quarter = np.array([[[0.0, -1, 0], [1, 0, 0]]])  # the source of (x, y) is (-y, x)
    turned = F.affine(dot, quarter)
    assert turned[0, 0].argmax() == 1 * 5 + 2
    outside = F.affine(dot, np.array([[[1.0, 0, 99], [0, 1, 0]]]), fill=0.5)
    assert (outside == 0.5).all()


def test_erasing_covers_what_it_says() -> None:
    ones = np.ones((200, 1, 20, 20), np.float32)
    ml.manual_seed(0)
    erased = (T.RandomErasing(0.5, (0.1, 0.2), (0.5, 2))(ones) == 0).mean((1, 2, 3))
    hit = erased[erased > 0]
    assert 60 < len(hit) < 140
    assert 0.07 < hit.min() <= hit.max() < 0.25


# ---------------------------------------------------------------- bad input


BAD: list[tuple[Any, type[MlcoreError], str]] = [
    (lambda: T.Resize(0), ArgumentError, "size 0"),
    (lambda: T.Resize((3, 4, 5)), ArgumentError, r"\(3, 4, 5\)"),
    (lambda: T.Resize(3)(np.zeros((4, 4))), ShapeError, r"got \(4, 4\)"),
    (lambda: T.Resize(3)(np.zeros((1, 0, 4))), ShapeError, "no pixels"),
    (lambda: T.Resize(3)("image.png"), ArgumentTypeError, "got str"),
    (lambda: T.Normalize([0, 0], [1]), ShapeError, "2 means and 1 deviations"),
    (lambda: T.Normalize([0], [0]), ArgumentError, "std above 0"),
    (lambda: T.Normalize([float("nan")], [1]), ArgumentError, "finite"),
    (lambda: T.Normalize([0, 0], [1, 1])(IMAGE), ShapeError, "2 means for 3 channels"),
    (lambda: T.Normalize([0], [1])(IMAGE.astype(np.uint8)), DTypeError, "ConvertDtype"),
    (lambda: T.ConvertDtype("float32")(np.zeros((1, 1, 1), np.int32)), DTypeError, "no scale between int32"),
    (lambda: T.Compose([3]), ArgumentTypeError, "3 is not callable"),
    (lambda: T.ToTensor()(np.zeros(3)), ArgumentTypeError, r"shape \(3,\)"),
    (lambda: T.RandomHorizontalFlip(1.5), ArgumentError, "p=1.5"),
    (lambda: T.RandomCrop(20)(IMAGE), ShapeError, r"\(20, 20\) out of \(12, 10\)"),
    (lambda: T.RandomAffine(scale=(2, 1)), ArgumentError, r"scale=\(2, 1\)"),
    (lambda: T.RandomAffine(translate=(0, 3)), ArgumentError, "two fractions"),
    (lambda: T.RandomRotation(-3), ArgumentError, "degrees=-3"),
    (lambda: T.RandomErasing(scale=(0, 1)), ArgumentError, "0 < least"),
    (lambda: T.Grayscale()(np.zeros((2, 3, 3))), DTypeError, "got 2"),
]


@pytest.mark.parametrize(("call", "kind", "text"), BAD, ids=[text for _, _, text in BAD])
def test_bad_input(call: Any, kind: type[MlcoreError], text: str) -> None:
    with pytest.raises(kind, match=text):
        call()
