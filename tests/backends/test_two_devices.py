"""Two devices in one operation: an error that names both and the way out, wherever they meet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import nn, optim
from mlcore.backends.protocol import Device
from mlcore.backends.reference import ReferenceBackend
from mlcore.errors import DeviceError
from mlcore.nn import functional as F


class Steps(ReferenceBackend):
    """Whose optimizer steps write in place, as fast backends' do: they would take anybody's memory for their own."""

    def kernel(self, op: Any) -> Any:
        inner = super().kernel(op)
        if not op.name.endswith("_step"):
            return inner

        class Step:
            def __call__(self, *args: Any) -> Any:
                raise AssertionError("a step over two devices got as far as the kernel")

            def update(self, arrays: Any, *values: Any) -> int:
                raise AssertionError("a step over two devices got as far as the kernel")

        return Step()


OTHER = Device("other")
OTHER.backend = Steps(OTHER)


def a(*shape: int, **facts: Any) -> Any:
    return ml.ones(shape, device="reference", **facts)


def b(*shape: int, **facts: Any) -> Any:
    return ml.ones(shape, device=OTHER, **facts)


def ints(x: Any) -> Any:
    return ml.astype(x, "int64")


def in_place() -> None:
    x = a(2)
    x += b(2)


def assigned() -> None:
    x = a(3)
    x[0:2] = b(2)


def masked() -> None:
    x = a(2)
    x[b(2) > 0] = 0.0


def on_other(module: nn.Module) -> nn.Module:
    return module.to(OTHER)


def moved_late(make: Callable[[Any], optim.Optimizer]) -> None:
    """The model is moved after the optimizer has made its states."""
    model = nn.Linear(2, 2).to("reference")
    optimizer = make(list(model.parameters()))
    model(a(1, 2)).sum().backward()
    optimizer.step()
    on_other(model)
    before = [one.numpy().copy() for one in model.parameters()]
    optimizer.zero_grad()
    model(b(1, 2)).sum().backward()
    try:
        optimizer.step()
    finally:
        for one, value in zip(model.parameters(), before, strict=True):
            np.testing.assert_array_equal(one.numpy(), value)


def foreign_gradient() -> None:
    p = a(2, requires_grad=True)
    p.grad = b(2)
    optim.SGD([p], lr=0.1).step()


MIXED: dict[str, Callable[[], Any]] = {
    "add": lambda: a(2) + b(2),
    "a scalar tensor": lambda: a(2) - b(),
    "pow": lambda: a(2) ** b(2),
    "a comparison": lambda: a(2) < b(2),
    "a product of matrices": lambda: a(2, 2) @ b(2, 2),
    "a condition": lambda: ml.where(a(2) > 0, b(2), b(2)),
    "a branch": lambda: ml.where(a(2) > 0, a(2), b(2)),
    "concat": lambda: ml.concat([a(2), b(2)]),
    "stack": lambda: ml.stack([a(2), b(2)]),
    "an index": lambda: a(4)[ints(b(2))],
    "a mask": lambda: a(2)[b(2) > 0],
    "take": lambda: ml.take(a(4), ints(b(2))),
    "an assignment": assigned,
    "a masked assignment": masked,
    "in place": in_place,
    "rebind": lambda: a(2).rebind(b(2)),
    "clip": lambda: ml.clip(a(2), b(), b()),
    "tensordot": lambda: ml.tensordot(a(2, 2), b(2, 2)),
    "searchsorted": lambda: ml.searchsorted(a(3), b(2)),
    "backward": lambda: (a(2, requires_grad=True) * 2).backward(b(2)),
    "Linear": lambda: on_other(nn.Linear(2, 2))(a(1, 2)),
    "Conv2d": lambda: on_other(nn.Conv2d(1, 1, 1))(a(1, 1, 2, 2)),
    "BatchNorm1d": lambda: on_other(nn.BatchNorm1d(2))(a(3, 2)),
    "LayerNorm": lambda: on_other(nn.LayerNorm(2))(a(3, 2)),
    "Embedding": lambda: on_other(nn.Embedding(3, 2))(ints(a(2))),
    "LSTM": lambda: on_other(nn.LSTM(2, 2))(a(3, 1, 2)),
    "GRUCell": lambda: on_other(nn.GRUCell(2, 2))(a(1, 2)),
    "MultiheadAttention": lambda: on_other(nn.MultiheadAttention(4, 2))(a(3, 1, 4), a(3, 1, 4), a(3, 1, 4)),
    "a part elsewhere": lambda: nn.Sequential(
        nn.Conv2d(1, 1, 1).to(OTHER), nn.BatchNorm2d(1).to("reference")
    )(b(1, 1, 2, 2)),
    "cross_entropy": lambda: F.cross_entropy(a(2, 3), ints(b(2))),
    "mse_loss": lambda: F.mse_loss(a(2), b(2)),
    "attention": lambda: F.scaled_dot_product_attention(a(1, 2, 2), b(1, 2, 2), a(1, 2, 2)),
    "a gradient": foreign_gradient,
    "SGD with momentum": lambda: moved_late(lambda p: optim.SGD(p, lr=0.1, momentum=0.9)),
    "AdamW": lambda: moved_late(lambda p: optim.AdamW(p, lr=0.1)),
    "Adagrad": lambda: moved_late(lambda p: optim.Adagrad(p, lr=0.1)),
    "RMSprop": lambda: moved_late(lambda p: optim.RMSprop(p, lr=0.1)),
}


@pytest.mark.parametrize("case", MIXED)
def test_both_devices_and_the_fix_are_named(case: str) -> None:
    with pytest.raises(DeviceError) as raised:
        MIXED[case]()
    text = str(raised.value)
    assert "reference" in text
    assert "other" in text
    assert "fix:" in text
    assert len(text.splitlines()) < 8
    if case[0].isupper() and case in vars(nn):
        assert f"in:  {case}" in text


WORKS: dict[str, Callable[[], bool]] = {
    "state_dict": lambda: bool(
        on_other(nn.Linear(2, 2)).load_state_dict(nn.Linear(2, 2).to("reference").state_dict()) is not None
    ),
    "a moved operand": lambda: (a(2) + b(2).to("reference")).tolist() == [2.0, 2.0],
    "a list of tensors": lambda: ml.asarray([a(), b()]).tolist() == [1.0, 1.0],
    "a gradient through a move": lambda: gradient_through_a_move() == [2.0, 2.0],
}


def gradient_through_a_move() -> list[float]:
    x = a(2, requires_grad=True)
    (x.to(OTHER) * 2).sum().backward()
    assert x.grad is not None
    assert x.grad.device == "reference"
    found: list[float] = x.grad.tolist()
    return found


@pytest.mark.parametrize("case", WORKS)
def test_what_moves_on_its_own(case: str) -> None:
    assert WORKS[case]()
