"""Hooks around an optimizer's step and state; an optimizer without hooks only finds an empty dict here."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from mlcore.errors import ArgumentTypeError
from mlcore.tensor import HookHandle

Hook = Callable[..., Any]


class Hooked:
    """What an optimizer's hooks are registered with. Each method returns a handle with `remove()`."""

    _hooks: dict[str, dict[Any, Hook]]
    _stepping: bool

    def register_step_pre_hook(self, hook: Hook) -> HookHandle:
        """Call `hook(optimizer, args, kwargs)` before each step; it may return the pair (args, kwargs) to use."""
        return self._add_hook("step_pre", hook)

    def register_step_post_hook(self, hook: Hook) -> HookHandle:
        """Call `hook(optimizer, args, kwargs)` after each step."""
        return self._add_hook("step_post", hook)

    def register_state_dict_pre_hook(self, hook: Hook, prepend: bool = False) -> HookHandle:
        """Call `hook(optimizer)` before `state_dict()`."""
        return self._add_hook("state_pre", hook, prepend)

    def register_state_dict_post_hook(self, hook: Hook, prepend: bool = False) -> HookHandle:
        """Call `hook(optimizer, state_dict)` after `state_dict()`; it may return another state_dict."""
        return self._add_hook("state_post", hook, prepend)

    def register_load_state_dict_pre_hook(self, hook: Hook, prepend: bool = False) -> HookHandle:
        """Call `hook(optimizer, state_dict)` before loading; it may return another state_dict to load."""
        return self._add_hook("load_pre", hook, prepend)

    def register_load_state_dict_post_hook(self, hook: Hook, prepend: bool = False) -> HookHandle:
        """Call `hook(optimizer)` after loading."""
        return self._add_hook("load_post", hook, prepend)

    def _add_hook(self, kind: str, hook: Hook, prepend: bool = False) -> HookHandle:
        if not callable(hook):
            raise ArgumentTypeError(
                f"{type(self).__name__}: a hook is a {type(hook).__name__}, not a function"
            )
        hooks = self._hooks.setdefault(kind, {})
        later = dict(hooks) if prepend else {}
        for one in later:
            del hooks[one]
        handle = HookHandle(hooks, hook)
        hooks.update(later)
        return handle

    def _call_hooks(self, kind: str, *args: Any) -> list[Any]:
        return [hook(self, *args) for hook in list(self._hooks.get(kind, {}).values())]


def hooked(step: Callable[..., Any]) -> Callable[..., Any]:
    """The step of a derived class, with the hooks around it; once, although it may call its base's."""

    @wraps(step)
    def inner(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not self._hooks or self._stepping:
            return step(self, *args, **kwargs)
        return around(step, (self, *args), kwargs)

    return inner


def around(step: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A step with the hooks before and after it; the first of `args` is the optimizer, as in PyTorch's hooks."""
    optimizer = args[0]
    for hook in list(optimizer._hooks.get("step_pre", {}).values()):
        changed = hook(optimizer, args, kwargs)
        if changed is None:
            continue
        if not isinstance(changed, tuple) or len(changed) != 2:
            raise ArgumentTypeError(
                f"a step pre-hook returned a {type(changed).__name__}",
                fix="return None, or the pair (args, kwargs)",
            )
        args, kwargs = changed
    optimizer._stepping = True  # so that a base's step does not call them again
    try:
        made = step(*args, **kwargs)
    finally:
        optimizer._stepping = False
    optimizer._call_hooks("step_post", args, kwargs)
    return made
