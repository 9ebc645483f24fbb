"""The libraries shown beside PyTorch where installed: NumPy, oneDNN by itself, JAX, torch.compile, ONNX Runtime.

They run the builders they can; a row names them in `also`. What mlcore is held against is PyTorch eager.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final

import numpy as np

from mlcore.bench.libraries import Library, Torch
from mlcore.bench.onednn import OneDnn
from mlcore.bench.rows import Array, Task


class NumPy(Library):
    """NumPy as it comes: one thread but in products of matrices, and no gradients."""

    name = "numpy"

    def tensor(self, array: Array, grad: bool = False, dtype: str | None = None) -> Any:
        return np.array(array, dtype=dtype)

    def to_host(self, tensor: Any) -> Array:
        return np.asarray(tensor)

    def call(self, name: str, *args: Any, **how: Any) -> Any:
        match name:
            case "sigmoid":
                return 1 / (1 + np.exp(-args[0]))
            case "gelu":
                raise TypeError("NumPy has no erf")
            case "astype":
                return args[0].astype(args[1])
        return getattr(np, name)(*args, **how)

    def dtype(self, name: str) -> Any:
        return np.dtype(name)


class Jax(Library):
    """JAX with jit: functions are compiled by their first call, outside of what is timed."""

    name = "jax"

    def __init__(self) -> None:
        self.jax = importlib.import_module("jax")
        self.jnp = importlib.import_module("jax.numpy")

    def tensor(self, array: Array, grad: bool = False, dtype: str | None = None) -> Any:
        return self.jnp.asarray(np.array(array), dtype=dtype)

    def to_host(self, tensor: Any) -> Array:
        return np.asarray(tensor)

    def call(self, name: str, *args: Any, **how: Any) -> Any:
        match name:
            case "sigmoid":
                return self.jax.nn.sigmoid(*args)
            case "gelu":
                return self.jax.nn.gelu(*args, approximate=how.get("approximate") == "tanh")
        return getattr(self.jnp, name)(*args, **how)

    def forward(self, function: Callable[..., Any], *inputs: Any) -> Task:
        compiled = self.jax.jit(function)
        return self.task(lambda: self.jax.block_until_ready(compiled(*inputs)))

    def both_ways(self, function: Callable[..., Any], inputs: Sequence[Any], incoming: Any = None) -> Task:
        raise TypeError("JAX runs no rows with gradients here")


class Compiled(Torch):
    """PyTorch with torch.compile: models are compiled by their first call, outside of what is timed."""

    name = "torch.compile"

    def compiled(self, model: Any) -> Any:
        return self.torch.compile(model)


class OnnxRuntime(Torch):
    """ONNX Runtime: a model is exported by PyTorch, and run without it."""

    name = "onnxruntime"
    OPSET: ClassVar = 17

    def threads(self, count: int) -> None:
        super().threads(count)
        self.runtime = importlib.import_module("onnxruntime")
        self.options = self.runtime.SessionOptions()
        self.options.intra_op_num_threads = count
        self.options.inter_op_num_threads = 1

    def inference(self, model: Any, inputs: Any) -> Task:
        import io

        file = io.BytesIO()
        self.torch.onnx.export(model, (inputs,), file, opset_version=self.OPSET, dynamo=False)
        session = self.runtime.InferenceSession(file.getvalue(), self.options)
        feed = {session.get_inputs()[0].name: inputs.numpy()}
        return Task(lambda: session.run(None, feed)[0], np.asarray)


OTHERS: Final[dict[str, Callable[[], Library]]] = {
    "numpy": NumPy,
    "jax": Jax,
    "torch.compile": Compiled,
    "onnxruntime": OnnxRuntime,
    "onednn": OneDnn,
}
