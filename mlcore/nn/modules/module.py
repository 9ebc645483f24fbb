"""Hooks of all modules at once, called before a module's own; and Module itself, under PyTorch's path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlcore.nn import hooks
from mlcore.nn.hooked import Hooked
from mlcore.nn.module import Module
from mlcore.tensor import HookHandle

__all__ = [
    "Module",
    "register_module_forward_hook",
    "register_module_forward_pre_hook",
    "register_module_full_backward_hook",
    "register_module_full_backward_pre_hook",
]


class _Handle(HookHandle):
    """Also lets modules without hooks be called the short way again, once no hook of all modules is left."""

    __slots__ = ()

    def remove(self) -> None:
        super().remove()
        if not hooks.GLOBAL.own():
            Hooked._hooks = None


def _add(table: dict[Any, Any], entry: Any) -> HookHandle:
    Hooked._hooks = hooks.GLOBAL
    return _Handle(table, entry)


def register_module_forward_pre_hook(hook: Callable[..., Any]) -> HookHandle:
    """`Module.register_forward_pre_hook` for every module."""
    return _add(hooks.GLOBAL.pre, (hook, False))


def register_module_forward_hook(
    hook: Callable[..., Any], *, with_kwargs: bool = False, always_call: bool = False
) -> HookHandle:
    """`Module.register_forward_hook` for every module.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> from mlcore.nn.modules.module import register_module_forward_hook
    >>> with register_module_forward_hook(lambda module, args, output: print(type(module).__name__, output.shape)):
    ...     y = nn.Sequential(nn.Linear(2, 3), nn.ReLU())(ml.ones((1, 2)))
    Linear (1, 3)
    ReLU (1, 3)
    Sequential (1, 3)
    """
    return _add(hooks.GLOBAL.forward, (hook, with_kwargs, always_call))


def register_module_full_backward_pre_hook(hook: Callable[..., Any]) -> HookHandle:
    """`Module.register_full_backward_pre_hook` for every module."""
    return _add(hooks.GLOBAL.backward_pre, hook)


def register_module_full_backward_hook(hook: Callable[..., Any]) -> HookHandle:
    """`Module.register_full_backward_hook` for every module."""
    return _add(hooks.GLOBAL.backward, hook)
