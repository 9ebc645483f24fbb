"""MobileNetV2 from torchvision's original file: exported, run by ONNX Runtime, and back; on photographs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlcore_onnx
import numpy as np
import pytest

import mlcore as ml

CLASSES = {"photo_chelsea": 285, "photo_coffee": 967, "photo_china": 698}

pytestmark = pytest.mark.assets


def needs(module: str) -> None:
    """Skip where a library is not installed; the leg that has everything fails at the import instead."""
    if "MLCORE_LEG" not in os.environ:
        pytest.importorskip(module, reason=f"{module} is not installed")


@pytest.fixture(scope="module")
def network(mlcore_asset: Callable[[str], Path]) -> Any:
    needs("mlcore_vision")
    return ml.create_model("vision/mobilenet_v2", weights=mlcore_asset("mobilenet_v2")).eval()


@pytest.fixture(scope="module")
def pictures(mlcore_asset: Callable[[str], Path], network: Any) -> np.ndarray[Any, Any]:
    """As the network wants them: (3, 3, 224, 224)."""
    from mlcore_vision.images import open_image
    from mlcore_vision.transforms import ImageClassification

    prepare = ImageClassification()
    return np.stack([np.asarray(prepare(open_image(mlcore_asset(name)))) for name in CLASSES])


@pytest.fixture(scope="module")
def logits(network: Any, pictures: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    with ml.no_grad():
        found = np.asarray(network(ml.asarray(pictures)))
    assert found.argmax(1).tolist() == list(CLASSES.values())
    return found


@pytest.fixture(scope="module")
def exported(network: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With any number of pictures."""
    path = tmp_path_factory.mktemp("onnx") / "mobilenet_v2.onnx"
    made = mlcore_onnx.export(network, [(1, 3, 224, 224)], path, dynamic_shapes={"x": {0: "batch"}}, opset=17)
    assert sum(node.op_type == "Conv" for node in made.graph.node) == 52
    assert {"features.0.0.weight", "classifier.1.bias"} <= {one.name for one in made.graph.initializer}
    return path


def test_onnx_runtime_gives_the_same(
    exported: Path, pictures: np.ndarray[Any, Any], logits: np.ndarray[Any, Any]
) -> None:
    needs("onnxruntime")
    import onnxruntime

    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    for count in (3, 1):
        (found,) = session.run(None, {"x": pictures[:count]})
        np.testing.assert_allclose(found, logits[:count], rtol=0, atol=1e-4)


@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_it_comes_back(
    device: str, exported: Path, pictures: np.ndarray[Any, Any], logits: np.ndarray[Any, Any]
) -> None:
    with ml.device(device), ml.no_grad():
        back = mlcore_onnx.load(exported).eval()
        found = np.asarray(back(ml.asarray(pictures)))
    np.testing.assert_allclose(found, logits, rtol=0, atol=1e-4)
    assert found.argmax(1).tolist() == list(CLASSES.values())
