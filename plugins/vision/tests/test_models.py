"""The networks: by name, against PyTorch, and with its state_dict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore.errors import ArgumentError
from mlcore_vision import models

SIZES = {"vision/digits-cnn": 8, "vision/mnist-cnn": 28, "vision/lenet5": 28}


def test_by_name() -> None:
    assert set(ml.list_models("vision/*")) == {*SIZES, *models.IMAGENET}
    net = ml.create_model("vision/digits-cnn")
    assert isinstance(net, models.SmallCNN)
    assert net(ml.zeros((2, 1, 8, 8))).shape == (2, 10)
    assert ml.create_model("vision/lenet5", num_classes=4)(ml.zeros((1, 1, 28, 28))).shape == (1, 4)


def test_names_of_the_layers_are_a_promise() -> None:
    assert [name for name, _ in models.digits_cnn().named_parameters()] == [
        "features.0.weight", "features.1.weight", "features.1.bias", "features.3.weight", "features.4.weight",
        "features.4.bias", "features.7.weight", "features.8.weight", "features.8.bias", "classifier.2.weight",
        "classifier.2.bias", "classifier.5.weight", "classifier.5.bias",
    ]  # fmt: skip


@pytest.mark.parametrize("name", SIZES)
def test_same_seed_same_weights(name: str) -> None:
    def weights(seed: int) -> list[bytes]:
        ml.manual_seed(seed)
        return [np.asarray(tensor).tobytes() for tensor in ml.create_model(name).state_dict().values()]

    assert weights(1) == weights(1)
    assert weights(1) != weights(2)


def twin(net: Any, torch: Any) -> Any:
    """The same network in PyTorch, from the layers' own attributes."""
    made = {
        "Conv2d": lambda m: torch.nn.Conv2d(
            m.in_channels, m.out_channels, m.kernel_size, padding=m.padding, bias=m.bias is not None
        ),
        "BatchNorm2d": lambda m: torch.nn.BatchNorm2d(m.num_features),
        "ReLU": lambda _: torch.nn.ReLU(),
        "MaxPool2d": lambda _: torch.nn.MaxPool2d(2),
        "Flatten": lambda _: torch.nn.Flatten(),
        "Dropout": lambda m: torch.nn.Dropout(m.p),
        "Linear": lambda m: torch.nn.Linear(m.in_features, m.out_features),
    }
    parts = {
        name: torch.nn.Sequential(*(made[type(layer).__name__](layer) for layer in getattr(net, name)))
        for name in ("features", "classifier")
    }
    whole = torch.nn.Sequential()
    for name, part in parts.items():
        whole.add_module(name, part)
    return whole


@pytest.mark.parity
@pytest.mark.parametrize("name", SIZES)
def test_the_same_numbers_as_in_torch(tmp_path: Path, name: str) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file

    ml.manual_seed(0)
    net = ml.create_model(name)
    images = np.random.default_rng(0).random((4, 1, SIZES[name], SIZES[name])).astype(np.float32)
    labels = np.array([3, 1, 4, 1])
    ml.save(net.state_dict(), tmp_path / "net.safetensors")
    other = twin(net, torch)
    other.load_state_dict(load_file(tmp_path / "net.safetensors"))  # strict: every name and shape
    for mode in ("eval", "train"):
        getattr(net, mode)()
        getattr(other, mode)()
        for module in [*net.modules(), *other.modules()]:
            if type(module).__name__ == "Dropout":
                module.p = 0.0
        loss = ml.nn.functional.cross_entropy(net(ml.asarray(images)), ml.asarray(labels))
        wanted = torch.nn.functional.cross_entropy(other(torch.tensor(images)), torch.tensor(labels))
        assert loss.item() == pytest.approx(wanted.item(), rel=1e-4)
    loss.backward()
    wanted.backward()
    theirs = dict(other.named_parameters())
    for key, parameter in net.named_parameters():
        np.testing.assert_allclose(
            np.asarray(parameter.grad), theirs[key].grad.numpy(), atol=2e-5, err_msg=key
        )
    np.testing.assert_allclose(
        np.asarray(dict(net.named_buffers())["features.1.running_mean"])
        if "lenet" not in name
        else np.zeros(1),
        other.features[1].running_mean.numpy() if "lenet" not in name else np.zeros(1),
        atol=1e-6,
    )


def test_bad_sizes() -> None:
    with pytest.raises(ArgumentError, match="3 halvings leave nothing of 4x4"):
        models.SmallCNN((4, 4), [[(4, 3)], [(4, 3)], [(4, 3)]])
