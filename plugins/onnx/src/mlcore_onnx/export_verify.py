"""An exported file run by ONNX Runtime, beside the model that it was written from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from mlcore import no_grad
from mlcore.compile.capture import input_names
from mlcore.compile.graph import leaves, mapped
from mlcore.errors import FormatError, PluginError, UnsupportedOpError
from mlcore.host import holds_values
from mlcore.inputs import from_data
from mlcore.tensor import TensorBase

CLOSE: Final = 1e-3  # of the largest output: rounding is far below, and what is wrong is mostly far above
CLOSE_HALF: Final = 3e-2  # where numbers have two bytes


def difference(model: Any, args: Any, kwargs: Mapping[str, Any], path: str | os.PathLike[str]) -> float:
    """The largest difference of any output, divided by the largest output.

    FormatError where it is no rounding, UnsupportedOpError where ONNX Runtime does not run the file. Inputs that are
    shapes only get random numbers, and integers 0 or 1.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise PluginError(
            "the file cannot be run: onnxruntime is not installed", fix="pip install onnxruntime"
        ) from error
    draw = np.random.default_rng(0)
    names = list(input_names(model, tuple(args), kwargs).values())
    args, kwargs = mapped([list(args), dict(kwargs)], TensorBase, lambda _, one: _filled(one, draw))
    tensors = {name: one for one, name in input_names(model, tuple(args), kwargs).items()}
    by_id = {id(one): one for _, one in leaves([args, kwargs], TensorBase)}
    with no_grad():
        wanted = [one for _, one in leaves(model(*args, **kwargs), TensorBase)]
    inputs = [np.asarray(by_id[tensors[name]].detach().numpy()) for name in names]
    worst, half = 0.0, any(one.dtype.kind == "f" and one.dtype.itemsize == 2 for one in wanted)
    for one, got in zip(wanted, _run(onnxruntime, os.fspath(path), inputs), strict=True):
        want = np.asarray(one.detach().numpy(), np.float64)
        largest = float(np.abs(want).max(initial=0.0)) or 1.0
        worst = max(worst, float(np.abs(got - want).max(initial=0.0)) / largest)
    if not worst <= (CLOSE_HALF if half else CLOSE):
        raise FormatError(
            f"{os.fspath(path)}: ONNX Runtime gives something else: {worst:.2g} of the largest output"
        )
    return worst


def _run(onnxruntime: Any, path: str, inputs: list[Any]) -> list[Any]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        given = dict(zip([one.name for one in session.get_inputs()], inputs, strict=True))
        return list(session.run(None, given))
    except Exception as error:  # its classes are no part of what it exports
        raise UnsupportedOpError(
            f"{path}: ONNX Runtime does not run it",
            cause=" ".join(str(error).split())[:300],
            fix="the file keeps to ONNX all the same; another dtype may be known there, as float32",
        ) from error


def _filled(tensor: Any, draw: np.random.Generator) -> Any:
    if holds_values(tensor):
        return tensor
    kind = tensor.dtype.kind
    made = draw.normal(size=tensor.shape) if kind in "fc" else draw.integers(0, 2, tensor.shape)
    return from_data(made.astype(tensor.dtype.numpy), tensor.dtype)
