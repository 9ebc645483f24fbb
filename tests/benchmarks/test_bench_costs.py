"""What the models of the bench are said to cost is what PyTorch counts; and one definition serves both libraries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlcore import nn
from mlcore.bench.libraries import Mlcore
from mlcore.bench.models import MODELS, Model, set_weights
from mlcore.bench.rows import Row, load
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
    found = counted.get_total_flops()
    if model.images:  # PyTorch counts the padding
        assert 0.75 * found < model.cost.flops < found
        return
    # Scores above the diagonal are not needed, and PyTorch does not count its attention on this device.
    tolerance = 0.1 if model.name.startswith(("GPT", "transformer")) else 1e-9
    assert model.cost.flops == pytest.approx(found, rel=tolerance)


@pytest.mark.parametrize(
    "row", [row for row in load().values() if row.group == "convolution"], ids=lambda row: row.name
)
def test_arithmetic_of_a_convolution_is_what_ones_add_up_to(row: Row) -> None:
    """Ones convolved with ones: each result is the number of its products, but for the rounding of other ways."""
    data = {key: np.ones_like(value) for key, value in row.data().items()}
    if "w" not in data:
        pytest.skip("a pooling")
    products = np.rint(row.build(Mlcore(), data).values()[0].astype(np.float64)).sum()
    passes = 1 if "backward" not in row.name else 3 if data["x"].shape[1] > 3 else 2
    assert row.work.flops == 2 * products * passes


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
