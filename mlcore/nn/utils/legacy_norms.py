"""`weight_norm` and `spectral_norm` by hooks, with the names that older PyTorch models are saved with.

New models do better with `nn.utils.parametrizations`.
"""

from __future__ import annotations

from typing import Any

from mlcore.errors import ArgumentError
from mlcore.nn.module import Module
from mlcore.nn.parameter import Parameter
from mlcore.nn.utils.parametrizations import SpectralNorm, WeightNorm, norm_except, transposed


class _Computed:
    """A forward pre-hook that sets the weight; `handle` takes it away."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.handle: Any = None

    def __call__(self, module: Any, args: Any) -> None:
        setattr(module, self.name, self.compute(module))

    def compute(self, module: Any) -> Any:
        raise ArgumentError(f"{type(self).__name__} does not compute {self.name!r}")


class _Weight(_Computed):
    def __init__(self, name: str, dim: int | None) -> None:
        super().__init__(name)
        self.function = WeightNorm(dim)

    def compute(self, module: Any) -> Any:
        return self.function(getattr(module, f"{self.name}_g"), getattr(module, f"{self.name}_v"))


class _Spectral(_Computed):
    def __init__(self, name: str, function: SpectralNorm) -> None:
        super().__init__(name)
        self.function = function
        function.v_first = True

    def compute(self, module: Any) -> Any:
        function = self.function
        function.training = module.training
        function._u, function._v = getattr(module, f"{self.name}_u"), getattr(module, f"{self.name}_v")
        found = function(getattr(module, f"{self.name}_orig"))
        setattr(module, f"{self.name}_u", function._u)
        setattr(module, f"{self.name}_v", function._v)
        return found


def _hook_of(module: Module, kind: type[_Computed], name: str) -> Any:
    hooks: list[Any] = [hook for hook, _ in module._hooks.pre.values()] if module._hooks else []
    return next((hook for hook in hooks if isinstance(hook, kind) and hook.name == name), None)


def _take(module: Module, name: str, what: str, kind: type[_Computed]) -> Parameter:
    weight = module.__dict__.get(name)
    if not isinstance(weight, Parameter):
        raise ArgumentError(f"{what}: {type(module).__name__} has no parameter {name!r}")
    if _hook_of(module, kind, name) is not None:
        raise ArgumentError(f"{what}: {type(module).__name__}.{name} has one already")
    return weight


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """`parametrizations.weight_norm` with the parameters `<name>_g` and `<name>_v`, computed before each forward.

    >>> from mlcore import nn
    >>> sorted(nn.utils.weight_norm(nn.Linear(2, 3)).state_dict())
    ['bias', 'weight_g', 'weight_v']
    """
    weight = _take(module, name, "weight_norm", _Weight)
    hook = _Weight(name, dim)
    del module.__dict__[name]
    setattr(module, f"{name}_g", Parameter(norm_except(weight.detach(), dim)))
    setattr(module, f"{name}_v", Parameter(weight.detach()))
    hook(module, ())
    hook.handle = module.register_forward_pre_hook(hook)
    return module


def remove_weight_norm(module: Module, name: str = "weight") -> Module:
    """Make the weight a parameter again."""
    hook = _hook_of(module, _Weight, name)
    if hook is None:
        raise ArgumentError(f"remove_weight_norm: {type(module).__name__}.{name} has none")
    value = hook.compute(module).detach()
    hook.handle.remove()
    for part in (f"{name}_g", f"{name}_v", name):
        del module.__dict__[part]
    setattr(module, name, Parameter(value))
    return module


def spectral_norm(
    module: Module,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
) -> Module:
    """`parametrizations.spectral_norm` with the parameter `<name>_orig` and the buffers `<name>_u` and `<name>_v`.

    >>> from mlcore import nn
    >>> sorted(nn.utils.spectral_norm(nn.Linear(2, 3)).state_dict())
    ['bias', 'weight_orig', 'weight_u', 'weight_v']
    """
    weight = _take(module, name, "spectral_norm", _Spectral)
    place = (1 if transposed(module) else 0) if dim is None else dim
    hook = _Spectral(name, SpectralNorm(weight, n_power_iterations, place, eps))
    del module.__dict__[name]
    setattr(module, f"{name}_orig", weight)
    module.register_buffer(f"{name}_u", hook.function._u)
    module.register_buffer(f"{name}_v", hook.function._v)
    setattr(module, name, weight.detach())
    hook.handle = module.register_forward_pre_hook(hook)
    return module


def remove_spectral_norm(module: Module, name: str = "weight") -> Module:
    """Make the weight a parameter again, with the value it has in evaluation."""
    hook = _hook_of(module, _Spectral, name)
    if hook is None:
        raise ArgumentError(f"remove_spectral_norm: {type(module).__name__}.{name} has none")
    was, module.training = module.training, False
    value = hook.compute(module).detach()
    module.training = was
    hook.handle.remove()
    for part in (f"{name}_orig", f"{name}_u", f"{name}_v", name):
        module.__dict__.pop(part, None)
        (module._buffers or {}).pop(part, None)
    setattr(module, name, Parameter(value))
    return module
