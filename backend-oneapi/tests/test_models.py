"""Networks trained on the device, with no host fallback, beside the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import nn, optim
from mlcore.backends import fallback
from mlcore.nn import functional as F


def lstm() -> Any:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.LSTM(6, 10, num_layers=2, batch_first=True)
            self.head = nn.Linear(10, 4)

        def forward(self, x: Any) -> Any:
            return self.head(self.body(x)[0][:, -1])

    return Model(), (5, 7, 6)


def cnn() -> Any:
    body = nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3, stride=2),
        nn.GELU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(8, 4),
    )  # fmt: skip
    return body, (5, 1, 12, 12)


def transformer() -> Any:
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    return nn.Sequential(layer, nn.Flatten(), nn.Linear(48, 4)), (5, 6, 8)


def mlp() -> Any:
    return nn.Sequential(nn.Linear(9, 16), nn.Tanh(), nn.Dropout(0.2), nn.LayerNorm(16), nn.Linear(16, 4)), (
        5,
        9,
    )


def losses(make: Any, where: Any) -> list[float]:
    """Of eight steps, the same start and data on every device."""
    ml.manual_seed(3)
    with ml.device("reference"):
        model, shape = make()
    model = model.to(where)
    optimizer = optim.AdamW(model.parameters(), lr=1e-2)
    x = ml.asarray(np.random.default_rng(1).standard_normal(shape).astype(np.float32), device=where)
    y = ml.asarray(np.arange(shape[0]) % 4, device=where)
    found = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        found.append(loss.item())
    return found


@pytest.mark.parametrize("make", [mlp, cnn, lstm, transformer], ids=lambda one: one.__name__)
def test_training_without_the_host(make: Any, device: Any) -> None:
    before = dict(fallback.ledger)
    with fallback.policy("error"):
        found = losses(make, device)
    wanted = losses(make, "reference")
    assert fallback.ledger == before
    assert found[-1] < found[0]
    assert np.allclose(found, wanted, rtol=2e-3, atol=2e-4), (found, wanted)
