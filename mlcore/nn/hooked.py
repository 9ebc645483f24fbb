"""Registering hooks on a module: around forward, in backward, and around its state_dict."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlcore.nn import hooks as hooks_
from mlcore.nn.calling import Called
from mlcore.tensor import HookHandle


class Hooked(Called):
    """Base of Module. Every method returns a handle with `remove()`."""

    _hooks: hooks_.Hooks | None = None

    def _hooked(self) -> hooks_.Hooks:
        found = self.__dict__.get("_hooks")
        if found is None:
            found = self._hooks = hooks_.Hooks()
        return found

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> HookHandle:
        """Call `hook(module, args)` before forward; what it returns replaces the arguments (None: no change)."""
        return hooks_.add(self._hooked().pre, (hook, with_kwargs), prepend)

    def register_forward_hook(
        self,
        hook: Callable[..., Any],
        *,
        prepend: bool = False,
        with_kwargs: bool = False,
        always_call: bool = False,
    ) -> HookHandle:
        """Call `hook(module, args, output)` after forward; what it returns replaces the output (None: no change)."""
        return hooks_.add(self._hooked().forward, (hook, with_kwargs, always_call), prepend)

    def register_full_backward_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> HookHandle:
        """Call `hook(module, grad_output)` when backward comes to the module; what it returns replaces grad_output."""
        return hooks_.add(self._hooked().backward_pre, hook, prepend)

    def register_full_backward_hook(self, hook: Callable[..., Any], prepend: bool = False) -> HookHandle:
        """Call `hook(module, grad_input, grad_output)` in backward; what it returns replaces grad_input."""
        return hooks_.add(self._hooked().backward, hook, prepend)

    def register_state_dict_pre_hook(self, hook: Callable[..., Any]) -> HookHandle:
        """Call `hook(module, prefix, keep_vars)` before the module's part of a state_dict is made."""
        return hooks_.add(self._hooked().state_pre, hook, False)

    def register_state_dict_post_hook(self, hook: Callable[..., Any]) -> HookHandle:
        """Call `hook(module, state_dict, prefix, local_metadata)` once it is made; the hook may change it in place."""
        return hooks_.add(self._hooked().state_post, hook, False)

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any]) -> HookHandle:
        """Call `hook(module, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)`
        before loading; it may change a copy of the state_dict in place, for example rename keys."""
        return hooks_.add(self._hooked().load_pre, hook, False)

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any]) -> HookHandle:
        """Call `hook(module, incompatible_keys)` after loading; it may empty `missing_keys` and `unexpected_keys`,
        which strict loading looks at afterwards."""
        return hooks_.add(self._hooked().load_post, hook, False)
