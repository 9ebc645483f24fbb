"""JAX's arrays come in and go out: through the host's memory, and on the device that is JAX itself."""

from __future__ import annotations

import gc
import os
from typing import Any

import numpy as np
import pytest

import mlcore as ml

jax = pytest.importorskip("jax") if "MLCORE_LEG" not in os.environ else __import__("jax")
import jax.numpy as jnp  # noqa: E402  (after it is known to be there)

NAMES = [
    "bool",
    "int8",
    "int16",
    "int32",
    "uint8",
    "uint16",
    "uint32",
    "float16",
    "bfloat16",
    "float32",
    "complex64",
]
SHAPES: list[tuple[int, ...]] = [(), (0, 3), (5,), (2, 3, 4)]


def values(name: str, shape: tuple[int, ...]) -> Any:
    return jnp.asarray(np.arange(np.prod(shape, dtype=int)).reshape(shape) % 50, dtype=name)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("device", ["reference", "cpu", "jax"])
def test_both_ways(device: str, name: str, shape: tuple[int, ...]) -> None:
    source = values(name, shape)
    tensor = ml.from_dlpack(source, device=device)
    assert (tensor.dtype.name, tensor.shape, tensor.device) == (name, shape, device)
    assert np.asarray(tensor).tobytes() == np.asarray(source).tobytes()
    back = jax.dlpack.from_dlpack(tensor)
    assert back.dtype == source.dtype
    assert np.asarray(back).tobytes() == np.asarray(source).tobytes()
    assert ml.asarray(source, device=device).tolist() == tensor.tolist()


def test_memory_is_shared() -> None:
    source = jnp.arange(1000.0)
    tensor = ml.from_dlpack(source, device="reference", copy=False)
    assert np.shares_memory(np.asarray(tensor), np.asarray(source))
    tensor[0] = 7
    assert source[0] == 0
    del source
    gc.collect()
    assert tensor.sum().item() == 499_507


def test_a_tensor_on_the_device_goes_to_numpy_and_jax() -> None:
    x = ml.asarray([[1.0, 2.0], [3.0, 4.0]], device="jax") * 2
    assert x.__dlpack_device__() == (1, 0)
    assert np.from_dlpack(x).tolist() == [[2, 4], [6, 8]]
    assert jax.dlpack.from_dlpack(x).tolist() == [[2, 4], [6, 8]]
    assert ml.from_dlpack(x, device="reference").tolist() == [[2, 4], [6, 8]]
    with pytest.raises(BufferError):
        x.__dlpack__(dl_device=(2, 0))
