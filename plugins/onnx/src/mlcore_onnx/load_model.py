"""load: an ONNX file as a Module that runs on any device and can be trained."""

from __future__ import annotations

import re
from typing import Any, Final

import numpy as np
import onnx
from onnx import helper

import mlcore as ml
from mlcore import nn
from mlcore.backends import detect
from mlcore.dtypes import from_numpy
from mlcore.errors import ArgumentTypeError, FormatError, MlcoreError
from mlcore.host import holds_values
from mlcore.tensor import TensorBase
from mlcore_onnx import ops
from mlcore_onnx.load_file import Source, open_model
from mlcore_onnx.load_function import Functions
from mlcore_onnx.load_graph import compile_graph
from mlcore_onnx.load_plan import Held, Plan
from mlcore_onnx.load_scope import Scope
from mlcore_onnx.values import HELD, move, on_host

_FEW: Final = 64  # whole numbers up to which a stored tensor is a part of the plan, like a shape
_DEEP: Final = 24  # parts of a name


class Holder(nn.Module):
    """The tensors whose names begin alike."""


class OnnxModule(nn.Module):
    """A model that came from an ONNX file. Call it with the inputs in order, or by name.

    Inputs are tensors, NumPy arrays or numbers (lists for sequences). One output is returned as it is, several as a
    tuple in the order of `output_names`; `outputs_of(...)` gives a dict by name.
    """

    def __init__(self) -> None:
        super().__init__()
        self.input_names: tuple[str, ...] = ()
        self.output_names: tuple[str, ...] = ()
        self.opsets: dict[str, int] = {}
        self.metadata: dict[str, str] = {}
        self.renamed: dict[str, str] = {}
        self._plan = Plan("")
        self._kinds: list[np.dtype[Any] | None] = []  # of the inputs, as far as the file says
        self._held: list[tuple[int, Held]] = []
        self._places: tuple[Any, list[tuple[int, dict[str, Any], str]]] | None = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The outputs for inputs given by position or by name."""
        made = self.run(self._inputs(args, kwargs))
        return made[0] if len(made) == 1 else tuple(made)

    def outputs_of(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The outputs by name."""
        return dict(zip(self.output_names, self.run(self._inputs(args, kwargs))))

    def run(self, inputs: Any) -> list[Any]:
        """The list of outputs for the list of inputs."""
        slots: list[Any] = [None] * self._plan.size
        device: Any = None
        for slot, holder, name in self._found():
            slots[slot] = one = holder[name]
            if device is None:
                device = one.device
        given = next((one for one in inputs if isinstance(one, TensorBase)), None)
        if given is not None and (device is None or not holds_values(given)):
            device = given.device  # while a graph around this one is captured, everything goes there
        if device is None:
            device = detect.resolve(None)
        for place, name, value, kind in zip(self._plan.inputs, self.input_names, inputs, self._kinds):
            slots[place] = _taken_in(name, value, kind, device)
        for place, constant in self._plan.constants:
            slots[place] = constant.value
        return [move(one, device) for one in self._plan.go(slots, device)]

    def _found(self) -> list[tuple[int, dict[str, Any], str]]:
        """(slot, the dictionary that has its tensor, the name there), looked up again in a copy."""
        held = self._places
        if held is None or held[0] is not self.__dict__:
            places = [(slot, self.get_submodule(one.path).__dict__, one.name) for slot, one in self._held]
            self._places = held = (self.__dict__, places)
        return held[1]

    def _inputs(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        names = self.input_names
        if not kwargs and len(args) == len(names):
            return list(args)
        wrong = [name for name in kwargs if name not in names]
        if len(args) > len(names) or wrong or any(name in kwargs for name in names[: len(args)]):
            raise ArgumentTypeError(
                f"the model takes {', '.join(names) or 'nothing'}",
                got=f"{len(args)} by position" + (f" and {', '.join(kwargs)}" if kwargs else ""),
            )
        rest = names[len(args) :]
        missing = [name for name in rest if name not in kwargs]
        if missing:
            raise ArgumentTypeError(f"missing inputs: {', '.join(missing)}", expects=", ".join(names))
        return [*args, *(kwargs[name] for name in rest)]

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_places": None}  # a copy looks up its own tensors

    def extra_repr(self) -> str:
        """The inputs and outputs, and how much there is to do."""
        return (f"inputs=({', '.join(self.input_names)}), outputs=({', '.join(self.output_names)}), "
                f"{len(self._plan.steps)} steps")  # fmt: skip


def _taken_in(name: str, value: Any, kind: np.dtype[Any] | None, device: Any) -> Any:
    """What a caller gives, as a value: small arrays that are no floats stay on the host.

    Python's numbers and lists take the input's type; arrays and tensors have theirs.
    """
    if isinstance(value, TensorBase) or value is None:
        return value
    sequence = isinstance(value, (list, tuple))
    if sequence and (kind is None or any(isinstance(one, (TensorBase, np.ndarray)) for one in value)):
        return [_taken_in(name, one, None, device) for one in value]
    if isinstance(value, np.ndarray):
        array = value
    else:
        try:
            array = np.asarray(value, np.float32 if kind is None and isinstance(value, float) else kind)
        except (TypeError, ValueError, OverflowError) as error:
            raise ArgumentTypeError(f"the input {name!r} cannot be a {type(value).__name__}", cause=str(error),
                                    fix=f"give a tensor or an array of {kind or 'numbers'}") from None  # fmt: skip
    if array.dtype not in HELD:
        return array
    if array.dtype.kind in "biu" and array.size <= 16:
        return on_host(array)
    return ml.asarray(array, device=device)


def _kind_of(source: Source, one: Any) -> np.dtype[Any] | None:
    """The type of an input's elements, where the file gives it."""
    code = one.type.tensor_type.elem_type if one.type.HasField("tensor_type") else 0
    if not code:
        return None
    try:
        return np.dtype(helper.tensor_dtype_to_np_dtype(code))
    except (KeyError, TypeError) as error:
        raise source.bad(
            f"the input {one.name!r} has the element type {code}", cause="no such type is known"
        ) from error


def load(path: Any, *, folder: Any = None, device: Any = None) -> OnnxModule:
    """The model in an ONNX file (or its bytes, or a ModelProto) as a Module that runs on any device and can be trained.

    Stored floating tensors are Parameters under their own names, as far as names can hold (`renamed` has the others);
    running statistics, numbers without a dimension and large whole-number tensors are buffers; what only says how
    (a shape, axes, pads) is part of the plan. Tensor data outside the file must lie in its folder (`folder`: another).
    Nothing of the file is run but the operators of ONNX; one that is not known here is an UnsupportedOpError when
    loading, a damaged file a FormatError, a file that reaches outside its folder an UnsafeFileError.

    Source: the ONNX specification, opsets 7 to 28.

    >>> import mlcore as ml, mlcore_onnx
    >>> from onnx import parser
    >>> text = 'ir_version: 8, opset_import: ["": 17]'
    >>> text = f"<{text}> twice (float[n] x) => (float[n] y) {{ y = Add (x, x) }}"
    >>> net = mlcore_onnx.load(parser.parse_model(text))
    >>> net([1.0, 2.0]).tolist()
    [2.0, 4.0]
    """
    ops.load()
    source = open_model(path, folder)
    try:
        return _module(source, detect.resolve(device))
    except RecursionError as error:
        raise FormatError(f"{source.name}: nested too deeply", cause="no model is") from error
    except (MlcoreError, MemoryError):
        raise
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, OSError) as error:
        raise FormatError(f"{source.name}: cannot be understood",
                          cause=f"{type(error).__name__}: {str(error)[:300]}") from error  # fmt: skip


def _module(source: Source, device: Any) -> OnnxModule:
    model = source.model
    if not 3 <= model.ir_version <= onnx.IR_VERSION:
        raise source.bad(
            f"IR version {model.ir_version}", cause=f"versions 3 to {onnx.IR_VERSION} are known",
            fix="install a newer onnx, or export the model for an older one",
        )  # fmt: skip
    module = OnnxModule()
    plan = Plan(model.graph.name or "graph")
    module.opsets = opsets_of(source, model.opset_import, {})
    scope = Scope(source, plan, module.opsets)
    source.functions = Functions(source, model.functions)
    holding = _Holding(module, device)
    scope.hold = holding.hold
    compile_graph(model.graph, scope, "the graph")
    module._plan = plan
    alive = {i for step in plan.steps for i in step.uses()} | set(plan.outputs)
    module._held = [(place, one) for place, one in scope.held if place in alive]
    stored = {one.name for one in model.graph.initializer}
    module.input_names = tuple(one.name for one in model.graph.input if one.name not in stored)
    module.output_names = tuple(one.name for one in model.graph.output)
    module._kinds = [_kind_of(source, one) for one in model.graph.input if one.name not in stored]
    odd = [one for one in (*module.input_names, *module.output_names) if not isinstance(one, str)]
    if odd:  # protobuf gives bytes for what is no UTF-8
        raise source.bad(f"an input or output is called {odd[0]!r:.80}", cause="a name is text")
    module.metadata = {one.key: one.value for one in model.metadata_props}
    module.renamed = holding.renamed
    return module


def opsets_of(source: Source, imports: Any, known: dict[str, int]) -> dict[str, int]:
    """{domain: version} of what a model or a function imports, over what is known around it."""
    found: dict[str, int] = {}
    for one in imports:
        domain = "" if one.domain == "ai.onnx" else one.domain
        if found.get(domain, one.version) != one.version:
            raise source.bad(
                f"domain {domain or 'ai.onnx'!r} is imported in versions {found[domain]} and {one.version}"
            )
        found[domain] = one.version
    return {**known, **found}


class _Holding:
    """Puts stored tensors into the module, each under a path made of its name."""

    def __init__(self, module: OnnxModule, device: Any) -> None:
        self.module = module
        self.device = device
        self.renamed: dict[str, str] = {}
        self.numbers: dict[str, int] = {}  # how often a name was taken already

    def hold(self, name: str, array: np.ndarray[Any, Any], state: bool) -> Held | None:
        """Where the module holds a tensor; None where it is better a part of the plan."""
        if array.dtype not in HELD or (array.dtype.kind in "biu" and array.size <= _FEW):
            return None
        parts = self._path(name)
        owner: Any = self.module
        for part in parts[:-1]:
            below = owner.__dict__.get(part)
            if below is None:
                below = Holder()
                owner.register_module(part, below)
            owner = below
        tensor = ml.asarray(array, dtype=from_numpy(array.dtype), device=self.device)
        if tensor.dtype.kind in "fc" and array.ndim > 0 and not state:
            owner.register_parameter(parts[-1], nn.Parameter(tensor))
        else:
            owner.register_buffer(parts[-1], tensor)
        path = ".".join(parts)
        if path != name:
            self.renamed[name] = path
        return Held(".".join(parts[:-1]), parts[-1])

    def _path(self, name: str) -> list[str]:
        """The parts of a path for `name` that nothing else takes."""
        clean = re.sub(r"[^0-9A-Za-z_.]", "_", name)[:200]
        parts = [one or "_" for one in clean.split(".")]
        if len(parts) > _DEEP or not self._free(parts):
            parts = [clean.replace(".", "_")]
        first = parts[-1]
        while not self._free(parts):
            self.numbers[first] = number = self.numbers.get(first, 0) + 1
            parts[-1] = f"{first}_{number}"
        return parts

    def _free(self, parts: list[str]) -> bool:
        owner: Any = self.module
        for part in parts[:-1]:
            if owner is not None:
                held = owner.__dict__.get(part)
                if hasattr(type(owner), part) or (held is not None and not isinstance(held, Holder)):
                    return False
                owner = held
            elif hasattr(Holder, part):
                return False
        kind = Holder if owner is None else type(owner)
        return not hasattr(kind, parts[-1]) and (owner is None or parts[-1] not in owner.__dict__)
