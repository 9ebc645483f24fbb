"""Writes mlcore/tensor.pyi and mlcore/__init__.pyi from the registry: ``python -m mlcore.ops.stubgen [--check]``.

Methods and functions are attached when mlcore is imported, so editors and type checkers need to be told. With
``--check`` nothing is written: a stale file is named, and the exit status is 1.
"""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from typing import Any

import mlcore.ops  # fills the registry  # noqa: F401
from mlcore.dispatch import BinaryOp, Op, UnaryOp
from mlcore.dtypes import all_dtypes
from mlcore.ops import registry
from mlcore.tensor import Tensor

PACKAGE = Path(__file__).resolve().parent.parent
NOTE = (
    "# Written by `make generate` (mlcore/ops/stubgen.py) from the operations' declarations. Do not edit.\n"
)

# What a parameter of a given name takes; anything else keeps its own annotation.
BY_NAME = {
    "axis": "Axis", "axes": "Axes", "dtype": "DTypeLike", "device": "DeviceLike", "shape": "Shape", "sizes": "Shape",
    "low": "float", "high": "float | None", "indices": "Tensor", "condition": "Tensor", "operands": "Tensor",
    "arrays": "Sequence[Tensor]", "weight": "Tensor", "fill_value": "complex",
    "start": "float", "stop": "float | None", "step": "float",
}  # fmt: skip

ALIASES = """
Number: TypeAlias = complex
TensorLike: TypeAlias = "Tensor | complex | np.ndarray[Any, Any]"
Axis: TypeAlias = int | Sequence[int] | None
Axes: TypeAlias = Any
Shape: TypeAlias = int | Sequence[int]
DTypeLike: TypeAlias = DType | str | type | np.dtype[Any] | None
DeviceLike: TypeAlias = Device | str | None
"""

# What no declaration gives. Lines of a stub may be long: nobody reads them in an editor window.
# ruff: noqa: E501
TENSOR = """
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any, Self, TypeAlias
import numpy as np
from mlcore.backends.protocol import Device
from mlcore.dtypes import DType
{aliases}
class Node:
    op: Any
    device: Device
    edges: tuple[Any, ...]
    saved: tuple[Any, ...]
    params: tuple[Any, ...]
    shapes: tuple[Any, ...] | None
    out: Any
    extra: tuple[Any, ...] | None
    where: Any
    hooks: dict[Any, Any] | None
    retains: Any
    checkpoint: Any
    freed: bool
    serial: int

class TensorBase:
    array: Any
    device: Device
    dtype: DType
    shape: tuple[int, ...]
    node: Node | None
    requires_grad: bool
    _grad: Any
    _hooks: Any
    @property
    def grad(self) -> Tensor | None: ...
    @grad.setter
    def grad(self, value: Tensor | None) -> None: ...

class AfterGradient:
    hook: Callable[..., Any]
    def __init__(self, hook: Callable[..., Any]) -> None: ...

class HookHandle:
    hooks: dict[Any, Any]
    def __init__(self, hooks: dict[Any, Any], hook: Callable[..., Any]) -> None: ...
    def remove(self) -> None: ...
    def __enter__(self) -> HookHandle: ...
    def __exit__(self, *exc: object) -> None: ...

class Tensor(TensorBase):
    @property
    def ndim(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def is_leaf(self) -> bool: ...
    @property
    def T(self) -> Tensor: ...
    @property
    def mT(self) -> Tensor: ...
    def __len__(self) -> int: ...
    def __bool__(self) -> bool: ...
    def __int__(self) -> int: ...
    def __float__(self) -> float: ...
    def __complex__(self) -> complex: ...
    def __index__(self) -> int: ...
    def __array_namespace__(self, *, api_version: str | None = None) -> ModuleType: ...
    def __iter__(self) -> Iterator[Tensor]: ...
    def __contains__(self, value: TensorLike) -> bool: ...
    def __dlpack__(self, *, stream: Any = None, max_version: tuple[int, int] | None = None, dl_device: tuple[Any, int] | None = None, copy: bool | None = None) -> Any: ...
    def __dlpack_device__(self) -> tuple[int, int]: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]: ...
    def __getitem__(self, index: Any) -> Tensor: ...
    def __setitem__(self, index: Any, value: TensorLike) -> None: ...
    def __copy__(self) -> Self: ...
    def __deepcopy__(self, memo: dict[int, Any]) -> Self: ...
    def numpy(self) -> np.ndarray[Any, Any]: ...
    def item(self) -> Any: ...
    def tolist(self) -> Any: ...
    def detach(self) -> Tensor: ...
    def requires_grad_(self, flag: bool = True) -> Self: ...
    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> HookHandle: ...
    def register_post_accumulate_grad_hook(self, hook: Callable[[Tensor], Any]) -> HookHandle: ...
    def retain_grad(self) -> None: ...
    def rebind(self, other: Tensor) -> Self: ...
    def backward(self, gradient: Tensor | None = None, retain_graph: bool | None = None, create_graph: bool = False) -> None: ...
    def to(self, *targets: Any, device: DeviceLike = None, dtype: DTypeLike = None, copy: bool = False) -> Tensor: ...
    def to_device(self, device: DeviceLike, /, *, stream: Any = None) -> Tensor: ...
    def reshape(self, *shape: Any) -> Tensor: ...
    def permute_dims(self, *axes: Any) -> Tensor: ...
    def transpose(self, *axes: Any) -> Tensor: ...
{methods}
def new_node(op: Any, device: Device, edges: tuple[Any, ...], saved: tuple[Any, ...], params: tuple[Any, ...]) -> Node: ...
def assign(tensor: TensorBase, array: Any, device: Device, dtype: DType, shape: tuple[int, ...], node: Node | None, requires_grad: bool) -> None: ...
def wrap(array: Any, device: Device, dtype: DType, shape: tuple[int, ...]) -> Tensor: ...
def wrap_recorded(array: Any, device: Device, dtype: DType, shape: tuple[int, ...], node: Node) -> Tensor: ...
"""

ROOT = """
import builtins
from collections.abc import Sequence
from typing import Any, TypeAlias

from mlcore import autograd as autograd, cli as cli, data as data, errors as errors, func as func, io as io
from mlcore import nn as nn, optim as optim, testing as testing, train as train
from mlcore._version import __version__ as __version__
from mlcore.autograd import enable_grad as enable_grad, no_grad as no_grad
from mlcore.checkpointing import checkpoint as checkpoint
from mlcore.backends.detect import default_device as default_device, device as device, devices as devices
from mlcore.backends.detect import empty_cache as empty_cache, explain_device as explain_device
from mlcore.backends.protocol import Device as Device
from mlcore.dispatch import is_recording as is_recording
from mlcore.choosing import best_device as best_device
from mlcore.dtypes import DType as DType, {dtypes}
from mlcore.dtypes import bool_ as bool, default_float as default_float, finfo as finfo, iinfo as iinfo
from mlcore.dtypes import isdtype as isdtype, set_default_dtype as set_default_dtype
from mlcore.errors import MlcoreError as MlcoreError
from mlcore.func import grad as grad, value_and_grad as value_and_grad
from mlcore.inspection import __array_api_version__ as __array_api_version__, __array_namespace_info__ as __array_namespace_info__
from mlcore.inspection import broadcast_shapes as broadcast_shapes, can_cast as can_cast, result_type as result_type
from mlcore.hub import create_model as create_model, list_models as list_models
from mlcore.io import load as load, save as save
from mlcore.ops import random as random, registry as registry
from mlcore.ops.creation import asarray as asarray
from mlcore.ops.random import Generator as Generator, manual_seed as manual_seed
from mlcore.ops.sets import UniqueAll, UniqueCounts, UniqueInverse
from mlcore.plugin.discovery import backends as backends, domains as domains
from mlcore.tensor import Axes, Axis, DeviceLike, DTypeLike, Shape, Tensor as Tensor, TensorLike

_bool: TypeAlias = builtins.bool
tensor = asarray
pi: float
e: float
inf: float
nan: float
newaxis: None

{functions}"""


def _annotation(name: str, parameter: inspect.Parameter, tensors: tuple[str, ...], elementwise: bool) -> str:
    if name in tensors:
        return "TensorLike" if elementwise else BY_NAME.get(name, "Tensor")
    if name in BY_NAME:
        return BY_NAME[name]
    written = parameter.annotation
    if written is inspect.Parameter.empty:
        return "Any"
    return written if isinstance(written, str) else getattr(written, "__name__", "Any")


def _parameters(
    signature: inspect.Signature, tensors: tuple[str, ...], elementwise: bool, optional: frozenset[str]
) -> list[str]:
    """The parameter list as text, with its `/` and `*`."""
    texts: list[str] = []
    last = None
    for name, p in signature.parameters.items():
        if last is p.POSITIONAL_ONLY and p.kind is not p.POSITIONAL_ONLY:
            texts.append("/")
        if p.kind is p.KEYWORD_ONLY and last not in (p.KEYWORD_ONLY, p.VAR_POSITIONAL):
            texts.append("*")
        kind = _annotation(name, p, tensors, elementwise)
        star = "*" if p.kind is p.VAR_POSITIONAL else ""
        kind += (
            " | None"
            if name in optional or (p.default is None and "None" not in kind and kind not in _open)
            else ""
        )
        texts.append(f"{star}{name}: {kind}" + ("" if p.default is p.empty else f" = {p.default!r}"))
        last = p.kind
    if last is inspect.Parameter.POSITIONAL_ONLY:
        texts.append("/")
    return texts


_open = ("Any", "Axis", "Axes", "DTypeLike", "DeviceLike")
_RESULTS = {"Any": "Tensor", "tuple[Any, ...]": "tuple[Tensor, ...]", "tuple[Any, Any]": "tuple[Tensor, Tensor]",
            "list[Any]": "list[Tensor]"}  # fmt: skip


def _facts(target: Any) -> tuple[str, inspect.Signature, tuple[str, ...], bool, frozenset[str], str, str]:
    """(name, signature, tensor parameters, elementwise, optional ones, result, first line of the documentation)."""
    summary = target.doc.splitlines()[0].replace('"', "'").replace("\\", "\\\\")
    if isinstance(target, Op):
        result = "Tensor" if not target.multiple and not target.listed else "tuple[Tensor, ...]"
        return (
            target.name,
            target.signature,
            target.inputs,
            target.elementwise,
            target.optional,
            result,
            summary,
        )
    signature = target.signature
    tensors = tuple(
        n
        for n, p in signature.parameters.items()
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and n in ("x", "x1", "x2")
    )
    result = _RESULTS.get(str(signature.return_annotation), str(signature.return_annotation))
    return target.name, signature, tensors, False, frozenset(), result, summary


def _definition(target: Any, name: str, method: bool, indent: str) -> str:
    _, signature, tensors, elementwise, optional, result, summary = _facts(target)
    parameters = _parameters(signature, tensors, elementwise, optional)
    if method:
        parameters = ["self", *parameters[1:]]
        if len(parameters) > 1 and parameters[1] == "/":
            del parameters[1]
        if name.startswith("__"):
            parameters = [p for p in parameters if p != "/"]
    note = " # type: ignore[override]" if name in ("__eq__", "__ne__") else ""
    head = f"{indent}def {name}({', '.join(parameters)}) -> {result}:"
    if name.startswith("__"):
        return f"{head} ...{note}"
    return f'{head}\n{indent}    """{summary}"""'


def _methods() -> str:
    lines = []
    for target in registry.everything():
        if target.method and target.method not in ("reshape", "permute_dims"):
            lines.append(_definition(target, target.method, True, "    "))
        for name in target.operators:
            lines.append(_operator(target, name))
    for name in sorted(
        n
        for n in vars(Tensor)
        if n.startswith("__i") and n.endswith("__") and f"__{n[3:-2]}__" in vars(Tensor)
    ):
        if name not in ("__init__", "__int__", "__iter__", "__index__", "__invert__"):
            lines.append(f"    def {name}(self, other: TensorLike) -> Self: ...")
    return "\n".join(lines)


def _operator(target: Any, name: str) -> str:
    two = not isinstance(target, UnaryOp) and (isinstance(target, BinaryOp) or len(_facts(target)[2]) == 2)
    note = "  # type: ignore[override]" if name in ("__eq__", "__ne__") else ""
    return f"    def {name}(self{', other: TensorLike' if two else ''}) -> Tensor: ...{note}"


def _functions() -> str:
    lines = []
    for target in registry.everything():
        if isinstance(target, Op) and not target.public:
            continue
        lines.append(re.sub(r"\bbool\b", "_bool", _definition(target, target.name, False, "")))
    return "\n".join(lines) + "\n"


def render() -> dict[Path, str]:
    """The text of each generated file."""
    names = ", ".join(f"{d.name} as {d.name}" for d in all_dtypes if d.name != "bool")
    return {
        PACKAGE / "tensor.pyi": NOTE + TENSOR.format(aliases=ALIASES, methods=_methods()),
        PACKAGE / "__init__.pyi": NOTE + ROOT.format(dtypes=names, functions=_functions()),
    }


def main(arguments: list[str] | None = None) -> int:
    """Write the files, or with --check say which are stale."""
    check = "--check" in (sys.argv[1:] if arguments is None else arguments)
    stale = []
    for path, text in render().items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(path.name)
            if not check:
                path.write_text(text, encoding="utf-8")
    if check and stale:
        print(f"stale: {', '.join(stale)}; run `make generate`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
