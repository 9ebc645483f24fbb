"""mlcore: a machine-learning library with a core small enough to read, and backends as plugins.

>>> import mlcore as ml
>>> x = ml.asarray([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
>>> (x * x).sum().backward()
>>> x.grad.tolist()
[[2.0, 4.0], [6.0, 8.0]]
"""

from __future__ import annotations

from typing import Any

from mlcore import after_import, autograd, errors, exchange, func  # noqa: F401  (exchange gives Tensor DLPack)
from mlcore._version import __version__
from mlcore.autograd import enable_grad, no_grad
from mlcore.backends.detect import default_device, device, devices, empty_cache, explain_device
from mlcore.backends.protocol import Device
from mlcore.checkpointing import checkpoint
from mlcore.dispatch import is_recording
from mlcore.dtypes import (
    DType,
    bfloat16,
    complex64,
    complex128,
    default_float,
    finfo,
    float16,
    float32,
    float64,
    iinfo,
    int8,
    int16,
    int32,
    int64,
    isdtype,
    set_default_dtype,
    uint8,
    uint16,
    uint32,
    uint64,
)
from mlcore.dtypes import bool_ as bool
from mlcore.errors import MlcoreError
from mlcore.func import grad, value_and_grad
from mlcore.inspection import (
    __array_api_version__,
    __array_namespace_info__,
    broadcast_shapes,
    can_cast,
    result_type,
)
from mlcore.ops import random, registry
from mlcore.ops.creation import asarray
from mlcore.ops.random import Generator, manual_seed
from mlcore.plugin.discovery import backends, domains, load_ops
from mlcore.tensor import Tensor

tensor = asarray
pi, e, inf, nan, newaxis = 3.141592653589793, 2.718281828459045, float("inf"), float("nan"), None

globals().update(registry.public())
after_import.watch()

_lazy = ("amp", "assets", "choosing", "cli", "data", "distributed", "fft", "io", "linalg", "nn",
         "optim", "testing", "train")  # fmt: skip
_lazy_names = {"save": "io", "load": "io", "create_model": "hub", "list_models": "hub"}
_lazy_names |= {"autocast": "amp", "GradScaler": "amp", "best_device": "choosing"}


def __getattr__(name: str) -> Any:
    """Subpackages load when first used; functions of operations that plugins add appear here too."""
    import importlib

    if name in _lazy:
        return importlib.import_module(f"mlcore.{name}")
    if name in _lazy_names:
        return getattr(importlib.import_module(f"mlcore.{_lazy_names[name]}"), name)
    if not name.startswith("_"):
        load_ops()
        for known, target in registry.public():
            if known == name:
                return target
    raise AttributeError(f"module 'mlcore' has no attribute {name!r}{errors.did_you_mean(name, __dir__())}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_lazy, *_lazy_names})


__all__ = [
    "DType",
    "Device",
    "Generator",
    "MlcoreError",
    "Tensor",
    "__array_api_version__",
    "__array_namespace_info__",
    "__version__",
    "asarray",
    "autograd",
    "backends",
    "bfloat16",
    "bool",
    "broadcast_shapes",
    "can_cast",
    "checkpoint",
    "complex64",
    "complex128",
    "default_device",
    "default_float",
    "device",
    "devices",
    "domains",
    "empty_cache",
    "enable_grad",
    "errors",
    "explain_device",
    "finfo",
    "float16",
    "float32",
    "float64",
    "func",
    "grad",
    "iinfo",
    "int8",
    "int16",
    "int32",
    "int64",
    "is_recording",
    "isdtype",
    "manual_seed",
    "no_grad",
    "random",
    "registry",
    "result_type",
    "set_default_dtype",
    "tensor",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "value_and_grad",
]
