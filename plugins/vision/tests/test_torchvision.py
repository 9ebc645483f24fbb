"""The large networks beside torchvision's: names, shapes, initialisation, values; and how pictures are prepared."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import mlcore as ml
from mlcore import nn
from mlcore.compile.shape_only import shape_only
from mlcore.errors import ArgumentError, StateDictError
from mlcore_vision import models, transforms
from plugins.vision.tests import torchvision_oracle as oracle

KEPT = json.loads(oracle.FILE.read_text(encoding="utf-8"))["models"]
NAMES = [name.removeprefix("vision/") for name in models.IMAGENET]


@pytest.fixture(scope="module")
def torchvision() -> Any:
    pytest.importorskip("torch")
    try:
        return oracle.models()
    except ImportError as error:
        pytest.skip(f"torchvision is not installed: {error}")


def entries(net: Any) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}


def light(name: str) -> dict[str, Any]:
    """The quickest way to a network whose weights will be replaced."""
    return {"init_weights": False} if name.startswith("vgg") else {}


def test_all_that_are_kept_are_here() -> None:
    assert set(NAMES) == set(KEPT)
    assert len(NAMES) == 19


@pytest.mark.parametrize("name", NAMES)
def test_names_and_shapes(name: str) -> None:
    with shape_only():
        net = ml.create_model(f"vision/{name}")
        found = entries(net)
        assert net(ml.zeros((2, 3, 224, 224))).shape == (2, 1000)
    assert len(found) == KEPT[name]["entries"]
    assert sum(parameter.size for parameter in net.parameters()) == KEPT[name]["parameters"]
    assert oracle.digest(found.items()) == KEPT[name]["digest"]


@pytest.mark.parametrize("name", oracle.FORWARD)
def test_values(name: str) -> None:
    with shape_only():  # VGG's 130 million other parameters are not needed
        net = ml.create_model(f"vision/{name}")
        net = net.features if name.startswith("vgg") else net
    state = {key: ml.asarray(value) for key, value in oracle.state(entries(net)).items()}
    net.load_state_dict(state, assign=True)
    with ml.no_grad():
        got = oracle.some(np.asarray(net.eval()(ml.asarray(oracle.picture()))))
    wanted = np.asarray([row.split() for row in KEPT[name]["logits"]], np.float64)
    assert got.shape == wanted.shape
    assert got.shape[1] >= 20
    assert np.abs(wanted).max() > 0.01
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parity
@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_values_beside_torchvision(name: str, torchvision: Any) -> None:
    """With the weights that torchvision itself starts from."""
    import torch

    torch.manual_seed(0)
    other = getattr(torchvision, name)().eval()
    net = ml.create_model(f"vision/{name}", **light(name)).eval()
    net.load_state_dict({key: ml.asarray(value.numpy()) for key, value in other.state_dict().items()})
    with torch.no_grad(), ml.no_grad():
        wanted = other(torch.as_tensor(oracle.picture())).numpy()
        got = np.asarray(net(ml.asarray(oracle.picture())))
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize(
    ("name", "layer", "deviation"),
    [
        ("resnet18", "conv1", math.sqrt(2 / (64 * 49))),
        ("resnet18", "layer4.1.conv2", math.sqrt(2 / (512 * 9))),
        ("resnet18", "fc", 1 / math.sqrt(3 * 512)),
        ("mobilenet_v2", "features.0.0", math.sqrt(2 / (32 * 9))),
        ("mobilenet_v2", "features.18.0", math.sqrt(2 / 1280)),
        ("mobilenet_v2", "features.2.conv.1.0", math.sqrt(2 / (96 * 9))),
        ("mobilenet_v2", "classifier.1", 0.01),
        pytest.param("vgg11", "classifier.6", 0.01, marks=pytest.mark.slow),
    ],
)
def test_how_weights_start(name: str, layer: str, deviation: float) -> None:
    """As torchvision's: normal with variance 2 / fan_out, its own rule for the last layer."""
    ml.manual_seed(0)
    net = ml.create_model(f"vision/{name}")
    weight = np.asarray(net.get_submodule(layer).weight)
    assert weight.std() == pytest.approx(deviation, rel=4 / math.sqrt(weight.size))
    if name == "vgg11":  # whose convolutions have a bias
        assert not np.asarray(net.features[3].bias).any()
    assert abs(weight.mean()) < 5 * deviation / math.sqrt(weight.size)


@pytest.mark.parity
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "resnext50_32x4d"])
def test_weights_start_as_torchvision_s(name: str, torchvision: Any) -> None:
    import torch

    torch.manual_seed(0)
    ml.manual_seed(0)
    other = getattr(torchvision, name)().state_dict()
    compared = 0
    for key, tensor in ml.create_model(f"vision/{name}").state_dict().items():
        ours, theirs = np.asarray(tensor, np.float64), other[key].double().numpy()
        if ours.size >= 1000:
            assert ours.std() == pytest.approx(theirs.std(), rel=8 / math.sqrt(ours.size)), key
            compared += 1
        elif ours.std() == 0 or theirs.std() == 0:
            np.testing.assert_array_equal(ours, theirs, err_msg=key)
            compared += 1
    assert compared > 60


def test_zero_init_residual() -> None:
    net = ml.create_model("vision/resnet50", zero_init_residual=True, num_classes=2)
    assert float(net.layer2[1].bn3.weight.sum().item()) == 0
    assert float(net.layer2[1].bn2.weight.sum().item()) == 128


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_other_classes_and_channels_train(name: str) -> None:
    ml.manual_seed(0)
    net = ml.create_model(f"vision/{name}", num_classes=3, in_channels=1)
    optimizer = ml.optim.SGD(net.parameters(), lr=0.02)
    images, labels = ml.random.normal((6, 1, 32, 32)), ml.asarray([0, 1, 2, 0, 1, 2])
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    assert net.eval()(images).shape == (6, 3)


def test_bad_arguments(tmp_path: Path) -> None:
    for options, text in [
        ({"weights": "IMAGENET1K_V9"}, "no weights 'IMAGENET1K_V9'"),
        ({"weights": "DEFAULT"}, "known: none that can be fetched"),
        (
            {"weights": models.WEIGHTS["vision/mobilenet_v2"]["IMAGENET1K_V1"]},
            "are those of vision/mobilenet_v2",
        ),
    ]:
        with pytest.raises(ArgumentError, match=text):
            ml.create_model("vision/resnet18", **options)
    with pytest.raises(ArgumentError, match="depth 12"):
        models.VGG(12)
    with pytest.raises(ArgumentError, match="Bottleneck has them"):
        models.ResNet(models.BasicBlock, [1, 1, 1, 1], groups=2)
    with pytest.raises(ArgumentError, match="did you mean 'vision/resnet18'"):
        ml.create_model("vision/resnet19")
    ml.save(
        ml.create_model("vision/mobilenet_v2", width_mult=0.25).state_dict(), tmp_path / "other.safetensors"
    )
    with pytest.raises(StateDictError, match=r"conv1\.weight"):
        ml.create_model("vision/resnet18", weights=tmp_path / "other.safetensors")


def test_weights_from_a_file(tmp_path: Path) -> None:
    ml.manual_seed(0)
    net = ml.create_model("vision/mobilenet_v2", width_mult=0.25, num_classes=4)
    ml.save(net.state_dict(), tmp_path / "net.safetensors")
    same = ml.create_model(
        "vision/mobilenet_v2", width_mult=0.25, num_classes=4, weights=tmp_path / "net.safetensors"
    )
    for (name, ours), theirs in zip(net.state_dict().items(), same.state_dict().values()):
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs), err_msg=name)


# ---------------------------------------------------------------- pictures


def a_picture(height: int, width: int) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(0)
    return np.kron(rng.integers(0, 256, (3, height // 6, width // 6)), np.ones((6, 6))).astype(np.uint8)


def test_pictures_of_any_kind_are_prepared() -> None:
    prepare = transforms.ImageClassification()
    pixels = a_picture(300, 450)
    picture = Image.fromarray(np.moveaxis(pixels, 0, -1))
    wanted = np.asarray(prepare(picture))
    assert wanted.shape == (3, 224, 224)
    # Pillow rounds to bytes after resizing across and after resizing down; a step of a byte is 1 / 255 / 0.225.
    for given in (pixels, ml.asarray(pixels), pixels.astype(np.float32) / 255):
        np.testing.assert_allclose(np.asarray(prepare(given)), wanted, atol=1.1 / 255 / 0.224)
    batch = np.asarray(prepare(np.stack([pixels, pixels[:, ::-1]])))
    np.testing.assert_array_equal(batch[0], np.asarray(prepare(pixels)))
    gray = np.asarray(prepare(picture.convert("L")))
    np.testing.assert_allclose(gray[0] * 0.229 + 0.485, gray[2] * 0.225 + 0.406, atol=1e-6)
    assert np.asarray(prepare(picture.convert("RGBA"))).tobytes() == wanted.tobytes()


@pytest.mark.parity
@pytest.mark.parametrize("size", [(300, 450), (450, 300), (96, 120), (258, 258)])
def test_pictures_are_prepared_as_by_torchvision(size: tuple[int, int], torchvision: Any) -> None:
    from torchvision.transforms._presets import ImageClassification

    pixels = a_picture(*size)
    picture = Image.fromarray(np.moveaxis(pixels, 0, -1))
    ours, theirs = transforms.ImageClassification(), ImageClassification(crop_size=224)
    np.testing.assert_allclose(np.asarray(ours(picture)), theirs(picture).numpy(), atol=1e-6)


def test_names_of_the_classes() -> None:
    names = models.imagenet_classes()
    assert (len(names), len(set(names))) == (1000, 1000)
    assert [names[index] for index in (0, 285, 698, 967, 999)] == [
        "tench", "Egyptian cat", "palace", "espresso", "toilet tissue",
    ]  # fmt: skip
