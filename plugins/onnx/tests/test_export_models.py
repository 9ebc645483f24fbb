"""Whole models: exported at every opset, and run by ONNX Runtime beside mlcore."""

import os

import mlcore_onnx
import numpy as np
import pytest

import mlcore as ml


def runtime():
    if "MLCORE_LEG" not in os.environ:
        pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    import onnxruntime

    return onnxruntime


def outputs_of(path, *inputs):
    ort = runtime()
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    return session.run(None, dict(zip(names, map(np.asarray, inputs), strict=True)))


@pytest.mark.parametrize("opset", range(17, 22))
@pytest.mark.parametrize(("name", "size"), [("digits-cnn", 8), ("mnist-cnn", 28), ("lenet5", 28)])
def test_the_small_networks_of_vision(tmp_path, name, size, opset) -> None:
    if "MLCORE_LEG" not in os.environ:
        pytest.importorskip("mlcore_vision", reason="mlcore-vision is not installed")
    model = ml.create_model(f"vision/{name}").eval()
    path = tmp_path / "net.onnx"
    made = mlcore_onnx.export(
        model, (2, 1, size, size), path, dynamic_shapes={"x": {0: "batch"}}, opset=opset
    )
    assert made.opset_import[0].version == opset
    held = {one.name for one in made.graph.initializer}
    assert {name for name in model.state_dict() if not name.endswith("num_batches_tracked")} <= held
    for count in (1, 3):
        x = ml.random.normal((count, 1, size, size))
        with ml.no_grad():
            wanted = model(x)
        (found,) = outputs_of(path, x)
        np.testing.assert_allclose(found, np.asarray(wanted), rtol=1e-5, atol=1e-6)
