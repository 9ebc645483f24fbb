"""Whole models on the device, with no host fallback: an LSTM beside the reference; the kit has the other three."""

import os

import numpy as np
import pytest

import mlcore as ml
from mlcore import nn, optim
from mlcore.backends import fallback
from mlcore.nn import functional as F
from mlcore.testing import conformance

STEPS = 12


class Tagger(nn.Module):
    """Embedding, two LSTM layers both ways, a linear layer."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(11, 6)
        self.body = nn.LSTM(6, 7, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(14, 5)

    def forward(self, x):
        return self.head(self.body(self.words(x))[0])


def losses(device):
    ml.manual_seed(3)
    rng = np.random.default_rng(0)
    with ml.device(str(device)):
        model = Tagger()
        optimizer = optim.AdamW(model.parameters(), lr=0.02)
        words = ml.asarray(rng.integers(0, 11, (4, 9)))
        tags = ml.asarray(rng.integers(0, 5, (36,)))
        found = []
        for _ in range(STEPS):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(words).reshape((-1, 5)), tags)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            found.append(loss.item())
    return found


def test_an_lstm_trains_as_on_the_reference(device):
    with fallback.policy("error"):
        found, wanted = losses(device), losses("reference")
    assert found[-1] < found[0]
    assert np.allclose(found, wanted, rtol=2e-4)


@pytest.mark.skipif(bool(os.environ.get("MLCORE_LEG")), reason="the leg runs all of the kit")
@pytest.mark.parametrize(
    "expression", ["model/", "device/", "values/attention/float32", "values/contract/int"]
)
def test_the_kit_passes(device, expression):
    conformance(device, quick=True, expression=expression)
