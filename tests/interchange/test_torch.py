"""PyTorch's tensors come in and go out: every dtype, layouts, who owns what, what becomes of read-only memory."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import dtypes
from mlcore.errors import ExchangeError

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity

DTYPES = [d.name for d in dtypes.all_dtypes]
LAYOUTS: dict[str, Any] = {
    "contiguous": lambda t: t,
    "transposed": lambda t: t.T,
    "sliced": lambda t: t[1:, ::2],
    "expanded": lambda t: t[:1].expand(5, 6),
    "0-d": lambda t: t[1, 2],
    "empty": lambda t: t[:0],
}


def values(name: str) -> Any:
    generator = torch.Generator().manual_seed(0)
    found = torch.randint(0, 100, (4, 6), generator=generator)
    return found.to(getattr(torch, name))


def bits(t: Any) -> bytes:
    return bytes(t.contiguous().reshape(-1).view(torch.uint8).numpy()) if t.numel() else b""


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", DTYPES)
def test_both_ways_without_a_copy(name: str, layout: str) -> None:
    source = LAYOUTS[layout](values(name))
    tensor = ml.from_dlpack(source)
    assert (tensor.dtype.name, tensor.shape) == (name, tuple(source.shape))
    back = torch.from_dlpack(tensor)
    assert back.dtype == source.dtype
    assert bits(back) == bits(source)
    if source.numel():
        assert back.data_ptr() == source.data_ptr()
    copied = torch.from_dlpack(tensor, copy=True)
    assert bits(copied) == bits(source)
    if source.numel():
        assert copied.data_ptr() != source.data_ptr()
    assert ml.asarray(source).tolist() == tensor.tolist()
    if source.numel():
        assert not np.shares_memory(np.asarray(ml.asarray(source)), np.asarray(tensor))


@pytest.mark.parametrize(
    "name", ["float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu"]
)
def test_float8_comes_in_as_a_wider_dtype(name: str) -> None:
    source = torch.arange(1, 100, dtype=torch.uint8).view(getattr(torch, name))
    tensor = ml.from_dlpack(source)
    assert tensor.dtype in (ml.float16, ml.bfloat16)
    assert tensor.to(ml.float32).tolist() == pytest.approx(
        source.to(torch.float32).tolist(), nan_ok=True, abs=0
    )


def test_torchs_ways_in() -> None:
    x = ml.asarray([[1.0, 2.0], [3.0, 4.0]])
    for take in (torch.from_dlpack, torch.asarray, torch.utils.dlpack.from_dlpack):
        found = take(x)
        assert found.tolist() == x.tolist()
        assert found.dtype == torch.float32
    assert torch.tensor(np.array(x)).tolist() == x.tolist()


def test_a_gradient_is_in_the_way_and_detach_is_the_fix() -> None:
    source = torch.ones(3, requires_grad=True)
    for take in (ml.from_dlpack, ml.asarray):
        with pytest.raises(ExchangeError, match=r"torch Parameter|torch Tensor(.|\n)*detach\(\) it first"):
            take(source)
    assert ml.from_dlpack(source.detach()).tolist() == [1, 1, 1]
    assert torch.from_dlpack(ml.asarray([1.0], requires_grad=True)).tolist() == [1.0]


def test_pytorch_heeds_no_read_only_flag() -> None:
    """What docs/interchange.md warns of: PyTorch writes to memory that it is told not to; a copy is one word away."""
    x = ml.asarray([1.0, 2.0])
    mine = torch.from_dlpack(x, copy=True)
    mine[0] = 9
    assert x.tolist() == [1, 2]
    shared = torch.from_dlpack(x)
    shared[0] = 9
    assert x.tolist() == [9, 2], "PyTorch heeds the flag now: say so in docs/interchange.md"


def test_either_side_may_go_first() -> None:
    source = torch.arange(1000.0)
    alive = weakref.ref(source.untyped_storage())
    tensor = ml.from_dlpack(source)
    del source
    gc.collect()
    assert tensor.sum().item() == 499_500
    back = torch.from_dlpack(tensor)
    del tensor
    gc.collect()
    assert back.sum().item() == 499_500
    del alive


def test_a_model_trains_on_borrowed_weights_and_pytorchs_stay() -> None:
    layer = torch.nn.Linear(3, 2)
    before = layer.weight.detach().clone()
    net = ml.nn.Linear(3, 2)
    net.load_state_dict({name: ml.from_dlpack(value.detach()) for name, value in layer.state_dict().items()})
    optimizer = ml.optim.AdamW(net.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        net(ml.ones((4, 3))).sum().backward()
        optimizer.step()
    assert torch.equal(layer.weight, before)
    assert not np.array_equal(np.asarray(net.weight), before.numpy())
