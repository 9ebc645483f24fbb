"""Random streams: known bits, statistics, state, and numbers that no split of the work changes."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import scipy.stats

import mlcore as ml
from mlcore.errors import ArgumentError, DTypeError, MlcoreError
from mlcore.ops.random import threefry

# Known answers of Threefry-2x32 with 20 rounds, from the Random123 distribution: counter, key, output.
KNOWN = [
    ((0x00000000, 0x00000000), (0x00000000, 0x00000000), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
]

# jax.random.bits(the key with the seed's two halves, (6,), "uint32") of JAX 0.10.2, threefry2x32, partitionable.
JAX_BITS: dict[int, list[int]] = {
    0: [0xF29A4FA7, 0xFA843692, 0x55110E28, 0x77FAA835, 0x91E43BB7, 0x2A5E6943],
    1: [0x704A38B7, 0x88A4083E, 0x7227B57A, 0x703ABFF1, 0xE5B993A4, 0x8F1716BC],
    7: [0xAC91290B, 0xF9807E00, 0x4D8729AA, 0x71A74530, 0xBB1B6386, 0xA1849B6B],
    4294967295: [0x84B8C06F, 0x8C00439D, 0x775A4FAB, 0xECD658CD, 0x5053B998, 0x5ED6C9A1],
    0x123456789ABCDEF0: [0x4D9370BA, 0x2510C99E, 0xC940ECB8, 0x8BFF39D1, 0x1B5D82B4, 0xC4597E52],
}


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_known_blocks(counter: Any, key: Any, expected: Any) -> None:
    assert threefry(key, *counter) == expected
    arrays = threefry(key, *(np.array([c], dtype=np.uint32) for c in counter))
    assert tuple(int(a[0]) for a in arrays) == expected


def bits(key: tuple[int, int], offset: int, shape: Any) -> np.ndarray:
    return np.asarray(ml.registry.get("random_bits")(key=key, offset=offset, shape=shape))


@pytest.mark.parametrize("seed", JAX_BITS)
def test_bits_of_jax(seed: int) -> None:
    g = ml.random.Generator(seed)
    assert bits(g.key, 0, (6,)).tolist() == JAX_BITS[seed]
    assert bits(g.key, 0, (2, 3)).ravel().tolist() == JAX_BITS[seed]
    unit = ml.random.uniform((6,), generator=g)
    assert unit.tolist() == [(b >> 8) * 2.0**-24 for b in JAX_BITS[seed]]


def by_hand(key: tuple[int, int], counter: int) -> int:
    a, b = threefry(key, counter >> 32, counter & 0xFFFFFFFF)
    return int(a) ^ int(b)


@pytest.mark.parametrize("offset", [0, 1, 2**32 - 3, 2**40 + 5])
def test_element_i_is_the_block_of_its_counter(offset: int) -> None:
    found = bits((5, 6), offset, (7,))
    assert found.dtype == np.uint32
    assert found.tolist() == [by_hand((5, 6), offset + i) for i in range(7)]


def test_numbers_do_not_depend_on_how_the_work_is_split() -> None:
    whole = bits((1, 2), 10, (60,))
    for cuts in ([30, 30], [1] * 60, [7, 13, 40]):
        start, parts = 10, []
        for n in cuts:
            parts.append(bits((1, 2), start, (n,)))
            start += n
        np.testing.assert_array_equal(np.concatenate(parts), whole)
    for shape in [(6, 10), (2, 5, 6), (60, 1)]:
        np.testing.assert_array_equal(bits((1, 2), 10, shape).ravel(), whole)
        a, b = ml.random.Generator(3), ml.random.Generator(3)
        assert (
            ml.random.normal(shape, generator=a).reshape(-1).tolist()
            == ml.random.normal((60,), generator=b).tolist()
        )


def test_seed_and_state() -> None:
    ml.manual_seed(11)
    first = [ml.random.uniform((3,)).tolist() for _ in range(3)]
    assert len({tuple(f) for f in first}) == 3
    ml.manual_seed(11)
    ml.random.uniform((3,))
    state = ml.random.get_state()
    assert ml.random.uniform((3,)).tolist() == first[1]
    ml.random.set_state(state)
    assert ml.random.uniform((3,)).tolist() == first[1]
    assert ml.random.default_generator().seed == 11
    assert repr(ml.random.Generator(7)) == "Generator(seed=7, counter=0)"
    assert ml.random.Generator().seed != ml.random.Generator().seed


def test_a_draw_of_another_size_does_not_move_the_next() -> None:
    draws = []
    for n in (1, 5, 1000):
        g = ml.random.Generator(4)
        ml.random.uniform((n,), generator=g)
        draws.append(ml.random.uniform((4,), generator=g).tolist())
    assert draws[0] == draws[1] == draws[2]


def test_generators_do_not_disturb_each_other() -> None:
    ml.manual_seed(1)
    expected = ml.random.uniform((3,)).tolist()
    ml.manual_seed(1)
    ml.random.uniform((3,), generator=ml.random.Generator(9))
    assert ml.random.uniform((3,)).tolist() == expected


def test_spawned_generators_are_independent() -> None:
    parent = ml.random.Generator(42)
    children = [parent.spawn(i) for i in range(200)]
    assert len({c.key for c in children} | {parent.key}) == 201
    assert parent.spawn(3).key == children[3].key
    assert parent.counter == 0
    assert parent.spawn(2**32 + 3).key != children[3].key
    draws = np.stack([np.asarray(ml.random.uniform((500,), generator=c)) for c in children[:20]])
    off = np.corrcoef(draws)[~np.eye(20, dtype=bool)]
    assert np.abs(off).max() < 0.2


def test_uniform() -> None:
    g = ml.random.Generator(0)
    x = np.asarray(ml.random.uniform((100_000,), generator=g))
    assert x.dtype == np.float32
    assert x.min() >= 0
    assert x.max() < 1
    assert scipy.stats.kstest(x, "uniform").pvalue > 0.001
    y = np.asarray(ml.random.uniform((10_000,), -3.0, 5.0, generator=g, dtype="float64"))
    assert scipy.stats.kstest((y + 3) / 8, "uniform").pvalue > 0.001
    for dtype in ("float16", "bfloat16"):
        z = ml.random.uniform((1000,), dtype=dtype, generator=g)
        assert z.dtype.name == dtype
        assert (np.asarray(z).astype(np.float32) >= 0).all()


def test_normal() -> None:
    g = ml.random.Generator(0)
    x = np.asarray(ml.random.normal((100_001,), generator=g))
    assert np.isfinite(x).all()
    assert scipy.stats.kstest(x, "norm").pvalue > 0.001
    y = np.asarray(ml.random.normal((20_000,), 3.0, 2.0, generator=g, dtype="float64"))
    assert scipy.stats.kstest((y - 3) / 2, "norm").pvalue > 0.001
    assert ml.random.normal((3,), 1.0, 0.0, generator=g).tolist() == [1.0, 1.0, 1.0]
    assert ml.random.normal((3,), dtype="float16", generator=g).dtype is ml.float16
    assert abs(np.corrcoef(x[:-1], x[1:])[0, 1]) < 0.02


def test_integers() -> None:
    g = ml.random.Generator(0)
    x = np.asarray(ml.random.integers(-3, 7, (50_000,), generator=g))
    assert x.dtype == np.int64
    counts = np.bincount(x + 3, minlength=10)
    assert len(counts) == 10
    assert scipy.stats.chisquare(counts).pvalue > 0.001
    assert ml.random.integers(5, shape=(3,), dtype="int8", generator=g).dtype is ml.int8
    wide = np.asarray(ml.random.integers(0, 2**32, (1000,), generator=g))
    assert wide.max() > 2**31


def test_permutation() -> None:
    g = ml.random.Generator(0)
    seen = set()
    for n in (0, 1, 2, 5, 1000):
        p = ml.random.permutation(n, generator=g)
        assert p.dtype is ml.int64
        assert sorted(p.tolist()) == list(range(n))
    for _ in range(600):
        seen.add(tuple(ml.random.permutation(3, generator=g).tolist()))
    assert len(seen) == 6
    firsts = np.bincount([ml.random.permutation(4, generator=g)[0].item() for _ in range(800)])
    assert scipy.stats.chisquare(firsts).pvalue > 0.001


def test_bernoulli_choice_and_dropout() -> None:
    g = ml.random.Generator(0)
    x = np.asarray(ml.random.bernoulli(0.3, (50_000,), generator=g))
    assert x.dtype == bool
    assert abs(x.mean() - 0.3) < 0.01
    picked = np.asarray(ml.random.choice(ml.asarray([1.0, 0.0, 3.0]), 20_000, generator=g))
    assert not (picked == 1).any()
    assert abs((picked == 2).mean() - 0.75) < 0.015
    y = np.asarray(ml.random.dropout(ml.ones((50_000,)), 0.2, generator=g))
    assert set(np.unique(y)) == {0.0, np.float32(1.25)}
    assert abs((y == 0).mean() - 0.2) < 0.01
    assert not ml.any(ml.random.dropout(ml.ones((9,)), 1.0)).item()


def test_dropout_draws_its_mask_again_for_the_gradient() -> None:
    x = ml.ones((100,), requires_grad=True)
    y = ml.random.dropout(x, 0.5)
    ml.random.uniform((5,))
    y.sum().backward()
    assert x.grad.tolist() == y.tolist()


def test_threads_share_a_stream_without_repeating() -> None:
    g = ml.random.Generator(0)
    draws: list[float] = []
    lock = threading.Lock()

    def work() -> None:
        for _ in range(100):
            value = ml.random.uniform((), generator=g, device="reference").item()
            with lock:
                draws.append(value)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    alone = ml.random.Generator(0)
    expected = [ml.random.uniform((), generator=alone).item() for _ in range(800)]
    assert sorted(draws) == sorted(expected)
    assert g.counter == alone.counter


BAD: list[tuple[Any, type[Exception], str]] = [
    (lambda: ml.manual_seed(-1), ArgumentError, "seed -1"),
    (lambda: ml.manual_seed(2**64), ArgumentError, "seed 18446744073709551616"),
    (lambda: ml.manual_seed(1.5), ArgumentError, r"seed 1\.5"),
    (lambda: ml.random.Generator("a"), ArgumentError, "seed 'a'"),
    (lambda: ml.random.uniform((2,), 1.0, 0.0), ArgumentError, r"low 1\.0, high 0\.0"),
    (lambda: ml.random.uniform((2,), float("nan")), ArgumentError, "low nan"),
    (lambda: ml.random.uniform((-1,)), MlcoreError, "negative dimension -1"),
    (lambda: ml.random.uniform((2,), dtype="int32"), DTypeError, "int32 is not a floating dtype"),
    (lambda: ml.random.normal((2,), 0.0, -1.0), ArgumentError, r"std is -1\.0"),
    (lambda: ml.random.normal((2,), std=float("nan")), ArgumentError, "std is nan"),
    (lambda: ml.random.integers(3, 3), ArgumentError, "from 3 to 3"),
    (lambda: ml.random.integers(0, 2**33), ArgumentError, "at most 2"),
    (lambda: ml.random.bernoulli(1.5), ArgumentError, r"p is 1\.5"),
    (lambda: ml.random.dropout(ml.ones(2), 2), ArgumentError, "p is 2"),
    (lambda: ml.random.dropout(ml.ones(2), float("nan")), ArgumentError, "p is nan"),
    (lambda: ml.random.permutation(-1), MlcoreError, "negative dimension -1"),
]


@pytest.mark.parametrize(("call", "kind", "text"), BAD, ids=[t for _, _, t in BAD])
def test_arguments_that_make_no_sense(call: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        call()
