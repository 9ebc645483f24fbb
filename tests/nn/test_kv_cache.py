"""The cache of keys and values: what is given out stays as it is, and a step costs a step."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import nn

B, H, W = 2, 3, 4


def positions(rng: np.random.Generator, n: int, dtype: str = "float32") -> np.ndarray[Any, Any]:
    return rng.normal(size=(B, H, n, W)).astype(dtype)


@pytest.mark.parametrize("kept", [0, 3, 99], ids=lambda n: f"{n} kept")
@pytest.mark.parametrize("seed", range(5))
def test_any_history(seed: int, kept: int, device: str) -> None:
    """200 drawn calls against plain concatenation; what was given out is looked at again at the end."""
    rng, cache, compared = np.random.default_rng(seed), nn.KVCache(), 0
    k, v = np.zeros((B, H, 0, W), np.float32), np.zeros((B, H, 0, W), np.float32)
    given: list[tuple[Any, Any]] = []
    for _ in range(200):
        what = rng.integers(0, 10)
        if what < 7 or not cache.length:
            new = positions(rng, rng.integers(1, 6)), positions(rng, 1)
            new = new[0], np.repeat(new[1], new[0].shape[2], axis=2)
            if rng.integers(2):  # as attention makes them: another order in memory
                tensors = [
                    ml.asarray(one.transpose(0, 2, 1, 3).copy()).permute_dims((0, 2, 1, 3)) for one in new
                ]
            else:
                tensors = [ml.asarray(one) for one in new]
            k, v = (np.concatenate(pair, axis=2) for pair in zip((k, v), new, strict=True))
            given += zip([*tensors, *cache.extend("a", *tensors)], [*new, k, v], strict=True)
        elif what == 7:
            length = int(rng.integers(0, cache.length + 1))
            cache.truncate(length)
            k, v = k[:, :, :length], v[:, :, :length]
        elif what == 8:
            order = rng.integers(0, B, B)
            cache.reorder(ml.asarray(order))
            k, v = k[order], v[order]
        else:
            given += zip(cache.get("a") or (), (k, v), strict=True)
        assert cache.length == k.shape[2]
        for mine, theirs in given[-4:]:
            assert (mine.numpy() == theirs).all()
            compared += 1
        given = given[len(given) - min(len(given), 4 * kept) :]
    for mine, theirs in given:
        assert (mine.numpy() == theirs).all()
    print(f"{compared + len(given)} compared")


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "complex64", "int64"])
def test_dtypes(dtype: str, device: str) -> None:
    cache = nn.KVCache()
    parts = [
        ml.arange(i * B * H * W, (i + 1) * B * H * W).reshape((B, H, 1, W)).astype(dtype) for i in range(40)
    ]
    for one in parts:
        keys, values = cache.extend("a", one, one)
    wanted = ml.concat(parts, axis=-2)
    assert keys.dtype is values.dtype is wanted.dtype
    assert (keys == wanted).all() and (values == wanted).all()  # noqa: PT018
    mixed = cache.extend("a", parts[0].astype("complex128"), parts[0].astype("complex128"))[0]
    assert (mixed.dtype, mixed.shape) == (ml.complex128, (B, H, 41, W))


def test_nothing_is_copied_but_at_doublings() -> None:
    """On cpu, which writes in place: the memory moves six times in 1,000 steps."""
    with ml.device("cpu"):
        cache, one = nn.KVCache(), ml.ones((B, H, 1, W))
        places, room = [], []
        for _ in range(1000):
            cache.extend("a", one, one)
            keys = cache._grown["a"][0].held
            places.append(keys.array.ctypes.data)
            room.append(keys.shape[-2])
        moves = sum(before != after for before, after in pairwise(places))
        assert sorted(set(room)) == [1, 32, 64, 128, 256, 512, 1024]
        assert moves == 6
        assert cache.nbytes == 2 * B * H * 1024 * W * 4
        assert bool((cache.get("a")[0] == 1).all())  # type: ignore[index]  # there is one


def test_what_somebody_holds_is_not_written_over() -> None:
    with ml.device("cpu"):
        cache = nn.KVCache()
        first = ml.ones((1, 1, 4, 2))
        cache.extend("a", first, first)
        cache.extend("a", ml.zeros((1, 1, 1, 2)), ml.zeros((1, 1, 1, 2)))
        held = cache.get("a")
        assert held is not None
        cache.truncate(2)
        cache.extend("a", ml.full((1, 1, 3, 2), 7.0), ml.full((1, 1, 3, 2), 7.0))
        assert held[0].numpy()[0, 0, :, 0].tolist() == [1, 1, 1, 1, 0]
        assert first.numpy()[0, 0, :, 0].tolist() == [1, 1, 1, 1]
        found = cache.get("a")
        assert found is not None
        assert found[0].numpy()[0, 0, :, 0].tolist() == [1, 1, 7, 7, 7]


def test_gradients_flow_through_a_cache(device: str) -> None:
    rng, cache = np.random.default_rng(0), nn.KVCache()
    parts = [ml.asarray(positions(rng, 2), requires_grad=True) for _ in range(4)]
    for one in parts:
        keys, values = cache.extend("a", one, one * 2)
    (keys.sum() + (values * values).sum()).backward()
    for one in parts:
        np.testing.assert_allclose(one.grad.numpy(), 1 + 8 * one.detach().numpy(), rtol=1e-5)
