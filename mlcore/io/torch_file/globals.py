"""The list of names that a checkpoint may use, and what each means here. Nothing else is ever looked up.

`VALUES` are names that stand for something plain, such as a dtype. `CALLS` are names that a checkpoint applies to
arguments; each has a function here that makes plain data of them, or says why it cannot be read.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NoReturn, TypeVar

import numpy as np

from mlcore.errors import DTypeError, FormatError
from mlcore.io.torch_file.machine import SCALARS, Names, Reader
from mlcore.io.torch_file.opcodes import CONTAINER, Symbol, put
from mlcore.io.torch_file.parts import (
    KINDS,
    MAX_RANK,
    STORAGES,
    Kind,
    Storage,
    StorageKind,
    Strided,
    brief,
    problem,
)

Call = Callable[[Reader, tuple[Any, ...]], Any]
Made = TypeVar("Made", bound=Call)

VALUES: Final[dict[str, Any]] = {
    **{f"torch.{name}": kind for name, kind in KINDS.items()},
    **{f"torch.{name}Storage": StorageKind(KINDS[kind]) for name, kind in STORAGES.items()},
    **{f"{module}.UntypedStorage": StorageKind(KINDS["uint8"]) for module in ("torch", "torch.storage")},
}
CALLS: Final[dict[str, Call]] = {}
STATES: Final[dict[type, Callable[[Reader, Any, Any], None]]] = {
    dict: lambda *_: None
}  # an OrderedDict's attributes
NAMES: Final = Names(CALLS, VALUES, STATES)
_TENSORS: Final = ("torch.Tensor", "torch._tensor.Tensor", "torch.nn.parameter.Parameter")


def call(*names: str) -> Callable[[Made], Made]:
    """Declare what applying these names gives."""

    def declare(made: Made) -> Made:
        CALLS.update(dict.fromkeys(names, made))
        return made

    return declare


# ---------------------------------------------------------------- tensors


def _tensor(reader: Reader, storage: Any, offset: Any, size: Any, stride: Any, kind: Kind | None) -> Strided:
    if type(storage) is not Storage or type(size) is not tuple or type(stride) is not tuple:
        reader.fail(f"a tensor is made of a {type(storage).__name__}, and no storage, shape and strides")
    made = Strided(storage, kind or storage.kind, offset, size, stride)
    if made.kind.refused:
        reader.fail(f"a tensor of dtype {made.kind.name}", kind=DTypeError, cause=made.kind.refused, fix="")
    wrong = problem(made)
    if wrong:
        reader.fail(wrong)
    reader.spend(2 * CONTAINER)
    return made


@call("torch._utils._rebuild_tensor")
def _rebuild_tensor(reader: Reader, arguments: tuple[Any, ...]) -> Strided:
    storage, offset, size, stride = arguments
    return _tensor(reader, storage, offset, size, stride, None)


@call("torch._utils._rebuild_tensor_v2")
def _rebuild_tensor_v2(reader: Reader, arguments: tuple[Any, ...]) -> Strided:
    storage, offset, size, stride, _requires_grad, _hooks, *more = arguments
    return _flagged(reader, _tensor(reader, storage, offset, size, stride, None), more)


@call("torch._utils._rebuild_tensor_v3")
def _rebuild_tensor_v3(reader: Reader, arguments: tuple[Any, ...]) -> Strided:
    storage, offset, size, stride, _requires_grad, _hooks, kind, *more = arguments
    if type(kind) is not Kind:
        reader.fail(f"a tensor's dtype is a {type(kind).__name__}")
    return _flagged(reader, _tensor(reader, storage, offset, size, stride, kind), more)


def _flagged(reader: Reader, tensor: Strided, more: list[Any]) -> Strided:
    """Take over the bits that PyTorch sets in place of computing conj() and the negative."""
    if more and more[0] is not None:
        flags = more[0]
        if type(flags) is not dict or len(more) > 1:
            reader.fail(f"a tensor's metadata is a {type(flags).__name__}")
        tensor.conjugated, tensor.negated = flags.get("conj") is True, flags.get("neg") is True
    return tensor


@call("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state")
def _rebuild_parameter(reader: Reader, arguments: tuple[Any, ...]) -> Strided:
    if not 3 <= len(arguments) <= 4 or type(arguments[0]) is not Strided:
        reader.fail(f"a parameter is made of {len(arguments)} arguments, and no tensor")
    tensor: Strided = arguments[0]
    return tensor


@call("torch._tensor._rebuild_from_type_v2")
def _rebuild_from_type(reader: Reader, arguments: tuple[Any, ...]) -> Strided:
    """A tensor that has attributes of its own, which are left out."""
    function, kind, inner, _state = arguments
    if not (type(function) is Symbol and function.name.startswith("torch._utils._rebuild_")):
        reader.fail("a tensor with attributes is made of no tensor")
    if type(kind) is not Symbol or kind.name not in _TENSORS or type(inner) is not tuple:
        reader.fail("a tensor is of a type of its own")
    made = CALLS[function.name](reader, inner)
    return _rebuild_parameter(reader, (made, None, None))


@call(*_TENSORS)
def _bare_tensor(reader: Reader, _arguments: tuple[Any, ...]) -> NoReturn:
    reader.fail(
        "a tensor is made from its class alone",
        cause="it was pickled by a PyTorch before 0.2, or with a pickler of its own",
        fix="in PyTorch, load it and torch.save it again",
    )


def _refuse(name: str, what: str, fix: str) -> None:
    @call(f"torch._utils.{name}")
    def refuse(reader: Reader, _arguments: tuple[Any, ...]) -> NoReturn:
        reader.fail(
            f"it holds {what}", cause=f"the tensor was saved through {name}", fix=fix, kind=FormatError
        )


_refuse("_rebuild_sparse_tensor", "a sparse tensor", "in PyTorch, save tensor.to_dense()")
_refuse("_rebuild_qtensor", "a quantised tensor", "in PyTorch, save tensor.dequantize()")
_refuse("_rebuild_nested_tensor", "a nested tensor", "in PyTorch, save the list tensor.unbind()")
_META = "in PyTorch, give it values (to_empty, then load them) before it is saved"
_refuse("_rebuild_meta_tensor_no_storage", "a tensor of device meta, which has no values", _META)
_refuse("_rebuild_wrapper_subclass", "a tensor of a wrapping class", "in PyTorch, save what it wraps")

# ---------------------------------------------------------------- containers and plain values


@call("collections.OrderedDict", "collections.Counter")
def _ordered(reader: Reader, arguments: tuple[Any, ...]) -> dict[Any, Any]:
    reader.spend(4 * CONTAINER)
    made: dict[Any, Any] = {}
    for content in arguments:
        pairs = list(content.items()) if type(content) is dict else content
        if type(pairs) is not list:
            reader.fail(f"a dictionary is made of a {type(content).__name__}")
        reader.spend(100 * len(pairs))
        put(reader, made, pairs, len(pairs))
    return made


@call("builtins.frozenset")
def _frozenset(reader: Reader, arguments: tuple[Any, ...]) -> frozenset[Any]:
    made = _set(reader, arguments)
    reader.spend(4 * CONTAINER + 100 * len(made))
    return frozenset(made)


@call("builtins.set")
def _set(reader: Reader, arguments: tuple[Any, ...]) -> set[Any]:
    (members,) = arguments or ([],)
    if type(members) not in (list, tuple):
        reader.fail(f"a set is made of a {type(members).__name__}")
    reader.spend(4 * CONTAINER + 100 * len(members))
    return set(map(reader.key, members))


@call("builtins.complex")
def _complex(reader: Reader, arguments: tuple[Any, ...]) -> complex:
    real, imaginary = arguments
    if type(real) is not float or type(imaginary) is not float:
        reader.fail("a complex number is made of something else than two numbers")
    return complex(real, imaginary)


@call("_codecs.encode")
def _bytes(reader: Reader, arguments: tuple[Any, ...]) -> bytes:
    """Bytes as protocol 2 has them."""
    text, *encoding = arguments
    if type(text) is not str or encoding not in (["latin1"], ["latin-1"]):
        reader.fail(f"bytes are made of a {type(text).__name__} in an encoding of its own")
    reader.spend(CONTAINER + len(text))
    return text.encode("latin-1")


@call("builtins.bytes", "builtins.bytearray")
def _bytearray(reader: Reader, arguments: tuple[Any, ...]) -> bytearray:
    if arguments and type(arguments[0]) is str:
        return bytearray(_bytes(reader, arguments))
    if arguments and type(arguments[0]) is not bytes:  # a number would be a size
        reader.fail(f"bytes are made of a {type(arguments[0]).__name__}")
    reader.spend(CONTAINER + sum(map(len, arguments[:1])))
    return bytearray(*arguments[:1])


@call("torch.Size")
def _size(reader: Reader, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    (shape,) = arguments
    if type(shape) not in (tuple, list) or len(shape) > MAX_RANK or not all(type(n) is int for n in shape):
        reader.fail(f"a torch.Size is made of {brief(shape)}")
    return tuple(shape)


@call("torch.device")
def _device(reader: Reader, arguments: tuple[Any, ...]) -> str:
    """A device's name, as text: it is the writer's."""
    if not 1 <= len(arguments) <= 2 or not all(type(one) in (str, int) for one in arguments):
        reader.fail(f"a torch.device is made of {brief(arguments)}")
    return ":".join(map(str, arguments))


@call("torch.serialization._get_layout")
def _layout(reader: Reader, arguments: tuple[Any, ...]) -> Any:
    if len(arguments) != 1 or type(arguments[0]) not in SCALARS:
        reader.fail("a layout has no name")
    return arguments[0]


# ---------------------------------------------------------------- NumPy's numbers become Python's


_NUMBER: Final = re.compile(r"b1|[iu][1248]|f[248]|c8|c16")


@dataclass(eq=False, slots=True)
class NumberType:
    """A NumPy dtype of numbers."""

    dtype: np.dtype[Any]


@call("numpy.dtype")
def _number_type(reader: Reader, arguments: tuple[Any, ...]) -> NumberType:
    code = arguments[0] if arguments else None
    if type(code) is not str or not _NUMBER.fullmatch(code):
        reader.fail(f"it holds something of NumPy's dtype {brief(code)}", cause="only plain numbers are read",
                    fix="in PyTorch, save torch.from_numpy(array), or text")  # fmt: skip
    return NumberType(np.dtype(code))


def _byte_order(reader: Reader, target: NumberType, state: Any) -> None:
    order = state[1] if type(state) is tuple and len(state) > 1 else None
    if order not in ("<", ">", "|", "="):
        reader.fail(f"a dtype of NumPy's has the byte order {brief(order)}")
    target.dtype = target.dtype.newbyteorder(order)


STATES[NumberType] = _byte_order


@call("numpy.core.multiarray.scalar")
def _number(reader: Reader, arguments: tuple[Any, ...]) -> Any:
    kind, raw = arguments
    if type(kind) is not NumberType or type(raw) is not bytes or len(raw) != kind.dtype.itemsize:
        reader.fail(f"a number of NumPy's is made of {brief(kind)} and {brief(raw)}")
    return np.frombuffer(raw, kind.dtype)[0].item()
