"""Parameters that are computed from others: `module.weight` becomes `f(original)`, and `original` is what is trained.

The module's class is replaced by one derived from it, which has a property of the parameter's name.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

from mlcore import dispatch
from mlcore.errors import ArgumentError, ArgumentTypeError, ShapeError
from mlcore.nn.containers import ModuleDict, ModuleList
from mlcore.nn.module import Module
from mlcore.nn.parameter import Parameter
from mlcore.tensor import TensorBase

_cache: dict[tuple[int, str], Any] | None = None


@contextlib.contextmanager
def cached() -> Iterator[None]:
    """Within it each parametrized tensor is computed once, and kept.

    >>> from mlcore.nn.utils import parametrize
    >>> with parametrize.cached():
    ...     pass
    """
    global _cache
    outermost = _cache is None
    if outermost:
        _cache = {}
    try:
        yield
    finally:
        if outermost:
            _cache = None


class ParametrizationList(ModuleList):
    """The functions that lead from `original` (or `original0`, `original1`, ...) to a parameter, in order."""

    def __init__(self, modules: Any, original: Any, unsafe: bool = False) -> None:
        super().__init__(modules)
        if not len(self):
            raise ArgumentError("ParametrizationList: no modules", fix="give at least one")
        self.unsafe = unsafe
        trained = isinstance(original, Parameter)
        with dispatch.recording(False):
            start = _inverse(self, original.detach())
        self.is_tensor = isinstance(start, TensorBase)
        if self.is_tensor:
            original.rebind(start)
            self._hold("original", original, trained)
        else:
            self.ntensors = len(start)
            for i, one in enumerate(start):
                made = Parameter(one.detach(), original.requires_grad) if trained else one.detach()
                self._hold(f"original{i}", made, trained)
        if not unsafe:
            with dispatch.recording(False):
                _check_same(self, original if self.is_tensor else None, self())

    def _hold(self, name: str, tensor: Any, trained: bool) -> None:
        if trained:
            setattr(self, name, tensor)
        else:
            self.register_buffer(name, tensor)

    def originals(self) -> list[Any]:
        """The tensors that are trained."""
        return (
            [self.original]
            if self.is_tensor
            else [getattr(self, f"original{i}") for i in range(self.ntensors)]
        )

    original: Any

    def right_inverse(self, value: Any) -> None:
        """Set the originals so that the result is `value`."""
        with dispatch.recording(False):
            found = _inverse(self, value.detach())
            given = [found] if self.is_tensor else list(found)
            for one, new in zip(self.originals(), given, strict=True):
                if one.shape != new.shape:
                    raise ShapeError(
                        f"parametrize: a value of shape {new.shape} for an original of {one.shape}"
                    )
                one.rebind(new.to(one.device, one.dtype))

    def forward(self) -> Any:
        first, *others = list(self)
        found = first(*self.originals())
        for one in others:
            found = one(found)
        return found


def _inverse(modules: Any, value: Any) -> Any:
    for module in reversed(list(modules)):
        if hasattr(module, "right_inverse"):
            value = module.right_inverse(value)
    return value


def _check_same(owner: Any, before: Any, after: Any) -> None:
    if not isinstance(after, TensorBase):
        raise ArgumentTypeError(
            f"parametrize: {type(owner).__name__} gave a {type(after).__name__}, not a Tensor"
        )
    if before is not None and (after.shape, after.dtype) != (before.shape, before.dtype):
        raise ShapeError(
            f"parametrize: {before.dtype} {before.shape} became {after.dtype} {after.shape}",
            fix="keep shape and dtype, or pass unsafe=True",
        )


def _derive(module: Module) -> None:
    """Give the module a class of its own, which can have properties."""
    cls = type(module)
    own = {"__reduce_ex__": _refuse_pickle, "__deepcopy__": _copied, "_parametrized_from": cls}
    module.__class__ = type(f"Parametrized{cls.__name__}", (cls,), own)


def _refuse_pickle(self: Any, protocol: Any) -> Any:
    raise ArgumentTypeError(
        f"{type(self).__name__} cannot be pickled",
        cause="its class was made for it",
        fix="save its state_dict(), or call remove_parametrizations first",
    )


def _copied(self: Any, memo: dict[int, Any]) -> Any:
    """A copy has a class of its own too: what is removed from one stays in the other."""
    plain: Any = type(self)._parametrized_from
    made = plain.__new__(plain)
    memo[id(self)] = made
    made.__dict__.update(copy.deepcopy(self.__dict__, memo))
    _derive(made)
    for name in made.parametrizations:
        setattr(type(made), name, _property(name))
    return made


def register_parametrization(
    module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> Module:
    """Make the parameter (or buffer) `tensor_name` of `module` the result of `parametrization`, a Module.

    Its `right_inverse`, if it has one, finds what is trained so that the value stays, and lets the attribute be
    assigned. Shape and dtype must stay unless `unsafe`. The trained tensor is
    `module.parametrizations.<tensor_name>.original`, and that is its name in the state_dict. A second one is
    applied after the first.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> class Symmetric(nn.Module):
    ...     def forward(self, x):
    ...         return (x + x.mT) / 2
    >>> layer = nn.utils.parametrize.register_parametrization(nn.Linear(3, 3), "weight", Symmetric())
    >>> bool((layer.weight == layer.weight.mT).all()), list(layer.state_dict())
    (True, ['bias', 'parametrizations.weight.original'])
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        if not unsafe:
            with dispatch.recording(False):
                now = getattr(module, tensor_name)
                _check_same(parametrization, now, parametrization(now))
        held: Any = module.parametrizations  # type: ignore[attr-defined]  # made by register_parametrization
        held[tensor_name].append(parametrization)
        return module
    original = module.__dict__.get(tensor_name)
    if not isinstance(original, Parameter) and tensor_name not in (module._buffers or ()):
        raise ArgumentError(
            f"register_parametrization: {type(module).__name__} has no parameter or buffer {tensor_name!r}",
            known=", ".join([*(n for n, _ in module._own_parameters()), *(module._buffers or ())]),
        )
    made = ParametrizationList([parametrization], original, unsafe)
    made.train(module.training)
    del module.__dict__[tensor_name]
    if module._buffers:
        module._buffers.pop(tensor_name, None)
    if not is_parametrized(module):
        _derive(module)
        module.parametrizations = ModuleDict()  # type: ignore[attr-defined]  # made by register_parametrization
    module.parametrizations[tensor_name] = made  # type: ignore[attr-defined]  # made by register_parametrization
    setattr(type(module), tensor_name, _property(tensor_name))
    return module


def _property(name: str) -> property:
    def get(self: Any) -> Any:
        if _cache is None:
            return self.parametrizations[name]()
        key = (id(self), name)
        if key not in _cache:
            _cache[key] = self.parametrizations[name]()
        return _cache[key]

    def put(self: Any, value: Any) -> None:
        self.parametrizations[name].right_inverse(value)

    return property(get, put)


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether the module, or one tensor of it, is parametrized."""
    held = module.__dict__.get("parametrizations")
    if not isinstance(held, ModuleDict) or not hasattr(type(module), "_parametrized_from"):
        return False
    return bool(len(held)) if tensor_name is None else tensor_name in held


def remove_parametrizations(module: Module, tensor_name: str, leave_parametrized: bool = True) -> Module:
    """Make `tensor_name` a parameter again: with the value it has now, or (False) with that of its original.

    >>> from mlcore import nn
    >>> layer = nn.utils.parametrizations.weight_norm(nn.Linear(2, 3))
    >>> list(nn.utils.parametrize.remove_parametrizations(layer, "weight").state_dict())
    ['bias', 'weight']
    """
    if not is_parametrized(module, tensor_name):
        raise ArgumentError(
            f"remove_parametrizations: {type(module).__name__}.{tensor_name} is not parametrized"
        )
    held: Any = module.parametrizations  # type: ignore[attr-defined]  # made by register_parametrization
    functions = held[tensor_name]
    first = functions.originals()[0]
    trained = isinstance(first, Parameter)
    if leave_parametrized:
        with dispatch.recording(False):
            value = getattr(module, tensor_name).detach()
        if functions.is_tensor:
            first.rebind(value)
            result = first
        else:
            result = Parameter(value, first.requires_grad) if trained else value
    elif functions.is_tensor:
        result = first
    else:
        raise ArgumentError(
            f"remove_parametrizations: {tensor_name!r} is computed from {functions.ntensors} tensors",
            fix="use leave_parametrized=True",
        )
    delattr(type(module), tensor_name)
    del held[tensor_name]
    if not len(held):
        del module.__dict__["parametrizations"]
        # made by register_parametrization
        module.__class__ = type(module)._parametrized_from  # type: ignore[attr-defined]
    if trained:
        setattr(module, tensor_name, result)
    else:
        module.register_buffer(tensor_name, result)
    return module


def type_before_parametrizations(module: Module) -> type:
    """The module's class, as it was before."""
    return (
        getattr(type(module), "_parametrized_from", type(module)) if is_parametrized(module) else type(module)
    )


def transfer_parametrizations_and_params(
    from_module: Module, to_module: Module, tensor_name: str | None = None
) -> Module:
    """Give `to_module` the parametrizations of `from_module` (of one tensor, or all) with its values."""
    if not is_parametrized(from_module):
        raise ArgumentError(f"transfer_parametrizations_and_params: {type(from_module).__name__} has none")
    held: Any = from_module.parametrizations  # type: ignore[attr-defined]  # made by register_parametrization
    for name in list(held) if tensor_name is None else [tensor_name]:
        if name not in to_module.__dict__ and not is_parametrized(to_module, name):
            with dispatch.recording(False):
                setattr(to_module, name, Parameter(getattr(from_module, name).detach()))
        for one in held[name]:
            register_parametrization(to_module, name, one, unsafe=True)
        target: Any = to_module.parametrizations  # type: ignore[attr-defined]  # made by register_parametrization
        for mine, its in zip(target[name].originals(), held[name].originals(), strict=True):
            mine.rebind(its.detach())
    return to_module
