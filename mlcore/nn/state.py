"""state_dict and load_state_dict: all or nothing, and every mismatch in one error."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import numpy as np

from mlcore import dispatch
from mlcore.errors import ArgumentTypeError, StateDictError
from mlcore.ops.elementwise import astype
from mlcore.plugin.records import table
from mlcore.tensor import TensorBase, assign

_SHOWN = 20  # names listed of each kind before "and n more"


class Stored(NamedTuple):
    """A tensor that is still in a file: `load` compares its shape, and reads it last, onto the device it is for."""

    shape: tuple[int, ...]
    kind: str
    read: Callable[[Any], Any]


class Loaded(NamedTuple):
    """What `load_state_dict(strict=False)` passed over."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def entries(module: Any, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Any, str, Any]]:
    """(dotted name, its module, its attribute, the tensor) in the order of PyTorch's state_dict."""
    for name, one in module._own_parameters():
        yield prefix + name, module, name, one
    for name, one in module._own_buffers():
        if module._buffers[name]:
            yield prefix + name, module, name, one
    for name, one in _children(module) if recurse else ():
        yield from entries(one, f"{prefix}{name}.")


EXTRA: Final = "_extra_state"


def _children(module: Any) -> Iterator[tuple[str, Any]]:
    return ((name, one) for name, one in list(module.__dict__.items()) if hasattr(one, "_own_parameters"))


def _has(module: Any, method: str) -> bool:
    """Whether a class defines extra state; the base's methods only say that there is none."""
    return bool(getattr(type(module), method).__module__ != "mlcore.nn.stateful")


def collect(module: Any, destination: dict[str, Any], prefix: str, keep_vars: bool) -> dict[str, Any]:
    """Fill `destination`: a module's own entries, those below, and its hooks before and after."""
    hooks = module._hooks
    for hook in hooks.all("state_pre") if hooks else ():
        hook(module, prefix, keep_vars)
    for name, _, _, tensor in entries(module, prefix, recurse=False):
        destination[name] = tensor if keep_vars else tensor.detach()
    if _has(module, "get_extra_state"):
        destination[prefix + EXTRA] = module.get_extra_state()
    for name, one in _children(module):
        collect(one, destination, f"{prefix}{name}.", keep_vars)
    for hook in hooks.all("state_post") if hooks else ():
        if hook(module, destination, prefix, {}) is not None:
            raise ArgumentTypeError(
                "a state_dict post-hook returned something", fix="change the dict in place, and return None"
            )
    return destination


def _paths(module: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(prefix, module) from the top down, a shared module at each of its places."""
    yield prefix, module
    for name, one in _children(module):
        yield from _paths(one, f"{prefix}{name}.")


def load(module: Any, given: Any, strict: bool, take_over: bool, source: str = "") -> Loaded:
    """Check everything, then change everything. `source` names the file that `given` is, whose tensors are `Stored`."""
    if not isinstance(given, Mapping):
        raise ArgumentTypeError(
            f"load_state_dict: expected a mapping of names to tensors, got a {type(given).__name__}",
            fix="pass what state_dict() or mlcore.load() returned",
        )
    places = list(_paths(module))
    wrong: list[str] = []
    seen = Loaded([], [])
    if any(one._hooks and one._hooks.all("load_pre") for _, one in places):
        given = dict(given)
        for prefix, one in places:
            for hook in one._hooks.all("load_pre") if one._hooks else ():
                hook(one, given, prefix, {}, strict, *seen, wrong)
    extras = {prefix + EXTRA: one for prefix, one in places if _has(one, "get_extra_state")}
    mine = {name: (owner, attribute, tensor) for name, owner, attribute, tensor in entries(module)}
    lacking = [name for name in [*mine, *extras] if name not in given]
    if source:  # one tensor under two names is in a file once
        there = {id(tensor) for name, (_, _, tensor) in mine.items() if name in given}
        lacking = [name for name in lacking if name not in mine or id(mine[name][2]) not in there]
    missing = [*seen.missing_keys, *lacking]
    unexpected = [*seen.unexpected_keys, *(name for name in given if name not in mine and name not in extras)]
    ready = []
    for name, (owner, attribute, tensor) in mine.items():
        if name in given:
            value, trouble = _value(given[name], tensor)
            if trouble:
                wrong.append(f"{name}: {trouble}")
            ready.append((owner, attribute, tensor, value))
    after = [(one, hook) for _, one in reversed(places) if one._hooks for hook in one._hooks.all("load_post")]
    if wrong or (strict and not after and (missing or unexpected)):
        raise _error(
            module, mine, given, missing if strict else [], unexpected if strict else [], wrong, source
        )
    with dispatch.recording(False):
        for owner, attribute, tensor, value in ready:
            _put(owner, attribute, tensor, value, take_over)
    for name, one in extras.items():
        if name in given:
            one.set_extra_state(given[name])
    loaded = Loaded(missing, unexpected)
    for one, hook in after:
        if hook(one, loaded) is not None:
            raise ArgumentTypeError(
                "a load_state_dict post-hook returned something",
                fix="change the lists in place, and return None",
            )
    if strict and (missing or unexpected):  # a hook after loading may have taken them away
        raise _error(module, mine, given, missing, unexpected, [], source)
    return loaded


def _value(value: Any, tensor: Any) -> tuple[Any, str]:
    """The given value, and what is wrong with it."""
    if isinstance(value, Stored):
        shape, kind = value.shape, value.kind
    elif isinstance(value, TensorBase):
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
    if isinstance(value, Stored):
        value = value.read(tensor.device)
    elif not isinstance(value, TensorBase):
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
    module: Any,
    mine: dict[str, Any],
    given: Any,
    missing: list[str],
    unexpected: list[str],
    wrong: list[str],
    source: str,
) -> StateDictError:
    counts = [
        f"{len(names)} {kind}"
        for kind, names in (("missing", missing), ("unexpected", unexpected), ("mismatched", wrong))
        if names
    ]
    fix = "load into the architecture that was saved"
    if missing and unexpected and not wrong:
        fix = "rename the keys, or pass strict=False to skip them"
    elif not wrong:
        fix += ", or pass strict=False"
    if source:
        rows = _rows(mine, given, missing, unexpected, wrong)
        fix = prefix_hint(list(given), list(mine)) or fix
        what = f"load_weights: {source} does not fit {type(module).__name__}: {', '.join(counts)}"
        return StateDictError(what, keys=table(rows).replace("\n", "\n" + " " * 9), fix=fix)
    details = {
        "missing": _listed([name + _near(name, unexpected) for name in missing]),
        "unexpected": _listed([name + _near(name, missing) for name in unexpected]),
        "mismatched": _listed(wrong),
    }
    return StateDictError(f"load_state_dict: the state_dict does not fit {type(module).__name__}: {', '.join(counts)}",
                          **details, fix=fix)  # fmt: skip


def _rows(
    mine: dict[str, Any], given: Any, missing: list[str], unexpected: list[str], wrong: list[str]
) -> Iterator[tuple[str, str, str]]:
    """The lines of one table: what is wrong, with which key, and what there is to know of it."""
    kinds = {
        "missing": [(n, _shape(mine.get(n, ())[2:]) + _near(n, unexpected)) for n in missing],
        "unexpected": [(n, _shape([given[n]] if n in given else []) + _near(n, missing)) for n in unexpected],
        "mismatched": [text.partition(": ")[::2] for text in wrong],
    }
    for kind, lines in kinds.items():
        yield from ((kind, *line) for line in lines[:_SHOWN])
        if len(lines) > _SHOWN:
            yield kind, f"and {len(lines) - _SHOWN} more", ""


def _shape(tensors: Iterable[Any]) -> str:
    return "".join(str(tensor.shape) for tensor in tensors if hasattr(tensor, "shape"))


def prefix_hint(given: list[str], mine: list[str]) -> str:
    """How to rename when all the names differ by the same beginning, or ''.

    >>> prefix_hint(["module.a", "module.b.c"], ["a", "b.c"]), prefix_hint(["a"], ["net.a"])
    ("rename={'module': ''}", "rename={'': 'net'}")
    """
    for names, others, rename in (
        (given, mine, "rename={{{0!r}: ''}}"),
        (mine, given, "rename={{'': {0!r}}}"),
    ):
        known = set(others)
        for prefix in {name.partition(".")[0] for name in names}:
            stripped = [name[len(prefix) + 1 :] for name in names if name.startswith(prefix + ".")]
            if known and len(known.intersection(stripped)) > max(len(known) // 2, len(known & set(names))):
                return rename.format(prefix)
    return ""


def _near(name: str, others: list[str]) -> str:
    near = difflib.get_close_matches(name, others, n=1, cutoff=0.7)
    return f" (near {near[0]!r})" if near else ""


def _listed(names: list[str]) -> str:
    shown = names[:_SHOWN]
    if len(names) > _SHOWN:
        shown.append(f"and {len(names) - _SHOWN} more")
    return ("\n" + " " * 15).join(shown)
