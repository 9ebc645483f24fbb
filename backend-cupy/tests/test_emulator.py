"""The emulator itself: it computes what a device would, and refuses what a device would suffer from."""

from __future__ import annotations

from typing import Any

import emulator
import numpy as np
import pytest

HEAD = '#include "emulator.h"\n'
REVERSE = (
    HEAD
    + """
extern "C" __global__ void reverse(const float* x, float* y, int n) {
  __shared__ float held[256];
  held[threadIdx.x] = x[blockIdx.x * blockDim.x + threadIdx.x];
  BARRIER
  y[blockIdx.x * blockDim.x + threadIdx.x] = held[blockDim.x - 1 - threadIdx.x];
}
"""
)


def run(
    text: str, name: str, grid: tuple[int, ...], block: tuple[int, ...], *values: Any, backwards: bool = False
) -> None:
    kernel = emulator.Module(text).kernel(name)
    kernel.backwards = backwards
    given = [
        np.array(v.ctypes.data, np.uint64) if isinstance(v, np.ndarray) else np.asarray(v) for v in values
    ]
    kernel(grid, block, given)


@pytest.mark.parametrize("backwards", [False, True])
def test_threads_of_a_block_wait_for_each_other(rng: np.random.Generator, backwards: bool) -> None:
    x = rng.standard_normal(512).astype(np.float32)
    y = np.zeros_like(x)
    text = REVERSE.replace("BARRIER", "__syncthreads();")
    run(text, "reverse", (2,), (256,), x, y, np.int32(512), backwards=backwards)
    assert np.array_equal(y.reshape(2, 256), x.reshape(2, 256)[:, ::-1])


def test_a_missing_barrier_shows_in_the_order_of_the_threads(rng: np.random.Generator) -> None:
    """What the kernels are tested for by running them in both orders."""
    x = rng.standard_normal(512).astype(np.float32)
    forwards, backwards = np.zeros_like(x), np.zeros_like(x)
    text = REVERSE.replace("BARRIER", "")
    run(text, "reverse", (2,), (256,), x, forwards, np.int32(512))
    run(text, "reverse", (2,), (256,), x, backwards, np.int32(512), backwards=True)
    assert not np.array_equal(forwards, backwards)


def test_a_barrier_that_only_some_threads_reach_is_an_error() -> None:
    text = (
        HEAD
        + """
extern "C" __global__ void split(float* y) {
  if (threadIdx.x < 16) __syncthreads();
  else {
    __syncthreads();
  }
}
"""
    )
    with pytest.raises(emulator.EmulatorError, match="wait at lines"):
        run(text, "split", (1,), (32,), np.zeros(1, np.float32))


def test_a_shuffle_needs_the_whole_warp() -> None:
    text = (
        HEAD
        + """
extern "C" __global__ void lonely(float* y) {
  if (threadIdx.x >= 16) return;
  y[threadIdx.x] = SHUFFLE_XOR((float)threadIdx.x, 16);
}
"""
    )
    with pytest.raises(emulator.EmulatorError, match="a thread that has left"):
        run(text, "lonely", (1,), (32,), np.zeros(32, np.float32))


def test_shuffles_exchange_values_of_lanes() -> None:
    text = (
        HEAD
        + """
extern "C" __global__ void swap(double* y) { y[threadIdx.x] = SHUFFLE_XOR((double)threadIdx.x, 5); }
"""
    )
    y = np.zeros(64)
    run(text, "swap", (1,), (64,), y)
    assert np.array_equal(y, np.arange(64) ^ 5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((np.int32(1),), "2 parameters"),
        ((np.zeros(4, np.float32), np.int64(1)), "argument 1 has 8 bytes, the parameter 4"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(values: tuple[Any, ...], message: str) -> None:
    text = HEAD + 'extern "C" __global__ void k(float* y, int n) { y[0] = n; }\n'
    with pytest.raises(emulator.EmulatorError, match=message):
        run(text, "k", (1,), (1,), *values)


@pytest.mark.parametrize(("grid", "block"), [((1,), (2048,)), ((1, 70000), (1,)), ((0,), (1,))])
def test_launches_that_no_device_takes_are_refused(grid: tuple[int, ...], block: tuple[int, ...]) -> None:
    text = HEAD + 'extern "C" __global__ void k(float* y) { y[0] = 1; }\n'
    with pytest.raises(emulator.EmulatorError, match="a launch of"):
        run(text, "k", grid, block, np.zeros(1, np.float32))


def test_every_half_goes_to_float_and_back() -> None:
    """All 65,536 of them, against NumPy; and floats around the midpoints between them."""
    text = (
        HEAD
        + """
extern "C" __global__ void both(const unsigned short* h, float* f, unsigned short* back, const float* g,
                                unsigned short* to, int n) {
  for (int i = threadIdx.x; i < n; i += blockDim.x) {
    f[i] = emulated_half_to_float(h[i]);
    back[i] = emulated_float_to_half(f[i]);
    to[i] = emulated_float_to_half(g[i]);
  }
}
"""
    )
    h = np.arange(65536, dtype=np.uint16)
    wanted = h.view(np.float16).astype(np.float32)
    with np.errstate(all="ignore"):
        around = [np.nextafter(wanted, np.float32(9e9)), np.nextafter(wanted, np.float32(-9e9))]
        g = np.concatenate(around)[::2].copy()
        middle = (wanted[:-1] + wanted[1:]) / 2
        g[: middle.size // 2] = middle[::2][: middle.size // 2]
        to_wanted = g.astype(np.float16)
    f, back, to = np.zeros(65536, np.float32), np.zeros(65536, np.uint16), np.zeros(65536, np.uint16)
    run(text, "both", (1,), (64,), h, f, back, g, to, np.int32(65536))
    assert np.array_equal(f, wanted, equal_nan=True)
    numbers = ~np.isnan(wanted)
    assert np.array_equal(back[numbers], h[numbers])
    assert np.array_equal(to.view(np.float16), to_wanted, equal_nan=True)


def test_a_source_that_does_not_compile_says_why() -> None:
    with pytest.raises(emulator.EmulatorError, match="tanhq"):
        emulator.Module(HEAD + 'extern "C" __global__ void k(float* y) { y[0] = tanhq(1.0f); }\n')
