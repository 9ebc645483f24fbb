"""state_dict and load_state_dict: all or nothing, and every mismatch in one error."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from mlcore import dispatch
from mlcore.errors import ArgumentTypeError, StateDictError
from mlcore.ops.elementwise import astype
from mlcore.tensor import TensorBase, assign

_SHOWN = 20  # names listed of each kind before "and n more"


class Loaded(NamedTuple):
    """What `load_state_dict(strict=False)` passed over."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def entries(module: Any, prefix: str = "") -> Iterator[tuple[str, Any, str, Any]]:
    """(dotted name, its module, its attribute, the tensor) in the order of PyTorch's state_dict."""
    for name, one in module._own_parameters():
        yield prefix + name, module, name, one
    for name, one in module._own_buffers():
        if module._buffers[name]:
            yield prefix + name, module, name, one
    for name, one in list(module.__dict__.items()):
        if hasattr(one, "_own_parameters"):
            yield from entries(one, f"{prefix}{name}.")


def collect(module: Any, destination: dict[str, Any], prefix: str, keep_vars: bool) -> dict[str, Any]:
    """Fill `destination`."""
    for name, _, _, tensor in entries(module, prefix):
        destination[name] = tensor if keep_vars else tensor.detach()
    return destination


def load(module: Any, given: Any, strict: bool, take_over: bool) -> Loaded:
    """Check everything, then change everything."""
    if not isinstance(given, Mapping):
        raise ArgumentTypeError(
            f"load_state_dict: expected a mapping of names to tensors, got a {type(given).__name__}",
            fix="pass what state_dict() or mlcore.load() returned",
        )
    mine = {name: (owner, attribute, tensor) for name, owner, attribute, tensor in entries(module)}
    missing = [name for name in mine if name not in given]
    unexpected = [name for name in given if name not in mine]
    ready, wrong = [], []
    for name, (owner, attribute, tensor) in mine.items():
        if name in given:
            value, trouble = _value(given[name], tensor)
            if trouble:
                wrong.append(f"{name}: {trouble}")
            ready.append((owner, attribute, tensor, value))
    if wrong or (strict and (missing or unexpected)):
        raise _error(module, mine, given, missing if strict else [], unexpected if strict else [], wrong)
    with dispatch.recording(False):
        for owner, attribute, tensor, value in ready:
            _put(owner, attribute, tensor, value, take_over)
    return Loaded(missing, unexpected)


def _value(value: Any, tensor: Any) -> tuple[Any, str]:
    """The given value, and what is wrong with it."""
    if isinstance(value, TensorBase):
        shape, kind = value.shape, value.dtype.kind
    elif hasattr(value, "__array__") or isinstance(value, (int, float, complex)):
        value = np.asarray(value)
        shape, kind = value.shape, value.dtype.kind if value.dtype.kind != "V" else "f"
    else:
        return None, f"a {type(value).__name__} instead of a tensor or array"
    if shape != tensor.shape and not hasattr(tensor, "materialize"):  # what is lazy takes any shape
        return None, f"shape {shape} given, {tensor.shape} expected"
    if kind == "c" and tensor.dtype.kind != "c":
        return None, f"complex values given, {tensor.dtype} expected"
    return value, ""


def _put(owner: Any, attribute: str, tensor: Any, value: Any, take_over: bool) -> None:
    if not isinstance(value, TensorBase):
        value = dispatch.from_data(value, None, tensor.device)
    if not take_over:
        value = value.to(device=tensor.device)
        if value.dtype is not tensor.dtype:
            value = astype(value, tensor.dtype)
    if hasattr(tensor, "materialize"):
        tensor.become(value.detach())
    elif attribute in (owner._buffers or ()):
        setattr(owner, attribute, value.detach())
    else:
        assign(tensor, value.array, value.device, value.dtype, value.shape, None, tensor.requires_grad)


def _error(
    module: Any, mine: dict[str, Any], given: Any, missing: list[str], unexpected: list[str], wrong: list[str]
) -> StateDictError:
    counts = [
        f"{len(names)} {kind}"
        for kind, names in (("missing", missing), ("unexpected", unexpected), ("mismatched", wrong))
        if names
    ]
    details = {
        "missing": _listed([name + _near(name, unexpected) for name in missing]),
        "unexpected": _listed([name + _near(name, missing) for name in unexpected]),
        "mismatched": _listed(wrong),
    }
    fix = "load into the architecture that was saved"
    if missing and unexpected and not wrong:
        fix = "rename the keys, or pass strict=False to skip them"
    elif not wrong:
        fix += ", or pass strict=False"
    return StateDictError(f"load_state_dict: the state_dict does not fit {type(module).__name__}: {', '.join(counts)}",
                          **details, fix=fix)  # fmt: skip


def _near(name: str, others: list[str]) -> str:
    near = difflib.get_close_matches(name, others, n=1, cutoff=0.7)
    return f" (near {near[0]!r})" if near else ""


def _listed(names: list[str]) -> str:
    shown = names[:_SHOWN]
    if len(names) > _SHOWN:
        shown.append(f"and {len(names) - _SHOWN} more")
    return ("\n" + " " * 15).join(shown)
