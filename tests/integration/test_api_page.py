"""The blocks of the API page, "Tensors and gradients" and "Devices", run as they are written there."""

from __future__ import annotations

import io
from contextlib import redirect_stdout

import numpy as np
import pytest

import mlcore

TENSORS = """
import numpy as np
import mlcore as ml

x = ml.asarray([[1.0, 2.0], [3.0, 4.0]], dtype=ml.float32, requires_grad=True)   # ml.tensor is the same function
y = ml.sum(ml.exp(x) @ x.mT, axis=-1)            # functions and methods carry Array API names: axis, keepdims, permute_dims
y.sum().backward()
x.grad.shape, x.dtype, x.device                  # (2, 2), float32, cpu
np.asarray(x)                                    # to NumPy, zero-copy where legal
with ml.no_grad():
    x -= 0.1 * x.grad                            # the object x takes a new value; no other tensor changes
x[0, 1:] = 0.0

f = lambda v: (v ** 3).sum()
ml.grad(f)(x); ml.grad(lambda v: ml.grad(f)(v).sum())(x)       # any order
value, grads = ml.value_and_grad(f)(x)
ml.manual_seed(0); ml.random.normal((3,)); g = ml.random.Generator(7); ml.random.uniform((2, 3), generator=g)
"""  # noqa: E501
DEVICES = """
import mlcore as ml
ml.devices()                                     # what is usable, fastest first, with the reason for the order
ml.default_device()                              # chosen by MLCORE_DEVICE, else by measurement
x = ml.ones((2, 3), device="reference"); x.to("cpu"); x.to_device("cpu")
with ml.device("reference"):
    z = ml.zeros((3,))
print(ml.explain_device())
"""


def test_tensors_and_gradients() -> None:
    names: dict[str, object] = {}
    exec(TENSORS, names)  # noqa: S102
    x, y, value, grads = (names[n] for n in ("x", "y", "value", "grads"))
    start = np.array([[1.0, 2.0], [3.0, 4.0]])
    e = np.exp(start)
    # d/dx of sum(exp(x) @ x.T): exp(x) times the column sums of x, plus the column sums of exp(x).
    slope = e * start.sum(0) + e.sum(0)
    np.testing.assert_allclose(np.asarray(y), (e @ start.T).sum(1), rtol=1e-5)
    np.testing.assert_allclose(np.asarray(x.grad), slope, rtol=1e-5)
    moved = start - 0.1 * slope
    moved[0, 1:] = 0
    np.testing.assert_allclose(np.asarray(x), moved, rtol=1e-4, atol=1e-5)
    assert x.requires_grad
    assert x.is_leaf
    np.testing.assert_allclose(np.asarray(grads), 3 * np.asarray(x) ** 2, rtol=1e-5)
    np.testing.assert_allclose(value.item(), (np.asarray(x).astype(np.float64) ** 3).sum(), rtol=1e-5)
    assert mlcore.tensor is mlcore.asarray


def test_devices() -> None:
    names: dict[str, object] = {}
    installed = "cpu" in [d.type for d in mlcore.devices()]
    said = io.StringIO()
    with redirect_stdout(said):
        exec(DEVICES if installed else DEVICES.replace('"cpu"', '"reference"'), names)  # noqa: S102
    assert names["z"].device == "reference"
    assert names["x"].device == "reference"
    assert said.getvalue().startswith("default device: ")
    assert "chosen by: " in said.getvalue()
    assert "reference" in said.getvalue()


@pytest.mark.parametrize("name", ["reference", "auto"])
def test_the_environment_chooses(name: str) -> None:
    import os
    import subprocess
    import sys

    code = "import mlcore as ml; print(ml.default_device()); print(ml.zeros((2,)).device)"
    out = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "MLCORE_DEVICE": name},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert out[0] == out[1]
    assert name == "auto" or out[0] == name
