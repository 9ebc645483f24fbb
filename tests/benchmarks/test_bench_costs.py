"""What the models of the bench are said to cost is what PyTorch counts; and one definition serves both libraries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlcore import nn
from mlcore.bench.libraries import Mlcore
from mlcore.bench.models import MODELS, Model, set_weights
from mlcore.nn import functional

SMALL = [model for model in MODELS if model.small]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_parameters(model: Model) -> None:
    """A layer of PyTorch's LSTM has two biases; a norm has a scale and a shift."""
    made = model.make(nn, functional)
    assert sum(one.size for one in made.parameters()) == pytest.approx(model.cost.parameters, rel=2e-3)


@pytest.mark.parity
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_arithmetic_is_what_pytorch_counts(model: Model) -> None:
    torch: Any = pytest.importorskip("torch")
    from torch.utils.flop_counter import FlopCounterMode

    if "LSTM" in model.name:
        pytest.skip("PyTorch does not count it")
    made = model.make(torch.nn, torch.nn.functional)
    inputs = torch.from_numpy(model.inputs(np.random.default_rng(0))["inputs"])
    with FlopCounterMode(display=False) as counted:
        made(inputs)
    # Scores above the diagonal are not needed, and PyTorch does not count its attention on this device.
    tolerance = 0.1 if model.name.startswith(("GPT", "transformer")) else 1e-9
    assert model.cost.flops == pytest.approx(counted.get_total_flops(), rel=tolerance)


@pytest.mark.parametrize("model", SMALL, ids=lambda model: model.name)
def test_a_floor_lies_below_what_a_naive_count_says(model: Model) -> None:
    assert model.cost.flops < model.training.flops <= 3 * model.cost.flops
    assert model.inference.bytes < model.training.bytes


def test_weights_depend_on_names_only() -> None:
    lib = Mlcore()
    first, second = (set_weights(lib, MODELS[0].make(nn, functional)).state_dict() for _ in range(2))
    assert {name: np.asarray(one).tolist() for name, one in first.items()} == {
        name: np.asarray(one).tolist() for name, one in second.items()
    }
    assert not np.asarray(first["0.bias"]).any()
