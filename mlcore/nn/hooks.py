"""Forward and backward hooks of a Module: a module without hooks never comes here."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

from mlcore import dispatch, engine
from mlcore.errors import ArgumentTypeError
from mlcore.ops.elementwise import astype
from mlcore.ops.shape import concat, reshape
from mlcore.tensor import HookHandle, TensorBase

_KINDS: Final = (
    "backward", "backward_pre", "forward", "load_post", "load_pre", "pre", "state_post", "state_pre",
)  # fmt: skip


class Hooks:
    """The hooks of one module, each kind in the order of calling."""

    __slots__ = _KINDS

    def __init__(self) -> None:
        self.pre: dict[Any, tuple[Callable[..., Any], bool]] = {}
        self.forward: dict[Any, tuple[Callable[..., Any], bool, bool]] = {}
        self.backward_pre: dict[Any, Callable[..., Any]] = {}
        self.backward: dict[Any, Callable[..., Any]] = {}
        self.state_pre: dict[Any, Callable[..., Any]] = {}
        self.state_post: dict[Any, Callable[..., Any]] = {}
        self.load_pre: dict[Any, Callable[..., Any]] = {}
        self.load_post: dict[Any, Callable[..., Any]] = {}

    def own(self) -> bool:
        """Whether there is a hook of any kind."""
        return any(getattr(self, kind) for kind in _KINDS)

    def __bool__(self) -> bool:
        return self.own() or GLOBAL.own()

    def all(self, kind: str) -> list[Any]:
        """The hooks of a kind: first those of all modules."""
        mine = list(getattr(self, kind).values())
        return mine if self is GLOBAL else [*getattr(GLOBAL, kind).values(), *mine]


GLOBAL: Final = Hooks()  # of all modules; it stands in for a module's own while it has any


def add(hooks: dict[Any, Any], hook: Any, prepend: bool) -> HookHandle:
    """Put a hook last, or first; the handle takes it away."""
    before = list(hooks.items()) if prepend else []
    if prepend:
        hooks.clear()
    handle = HookHandle(hooks, hook)
    hooks.update(before)
    return handle


def call(module: Any, hooks: Hooks, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`module.forward` with its hooks around it."""
    for hook, with_kwargs in hooks.all("pre"):
        if with_kwargs:
            changed = hook(module, args, kwargs)
            if changed is not None:
                if not isinstance(changed, tuple) or len(changed) != 2:
                    raise ArgumentTypeError(
                        f"a forward pre-hook with kwargs returned a {type(changed).__name__}",
                        fix="return None, or the pair (args, kwargs)",
                    )
                args, kwargs = changed
        else:
            changed = hook(module, args)
            if changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
    watch = None
    if (hooks.all("backward") or hooks.all("backward_pre")) and dispatch.is_recording():
        watch = _Watch(module, hooks)
    if watch:
        args = watch.inputs(args)
    done = False
    try:
        result = module.forward(*args, **kwargs)
        done = True
    finally:
        if not done:  # hooks that asked for it are told of a failed call too
            for hook, with_kwargs, always in hooks.all("forward"):
                if always:
                    hook(module, args, kwargs, None) if with_kwargs else hook(module, args, None)
    for hook, with_kwargs, _ in hooks.all("forward"):
        changed = hook(module, args, kwargs, result) if with_kwargs else hook(module, args, result)
        if changed is not None:
            result = changed
    return watch.outputs(result) if watch else result


class _Watch:
    """Calls a module's full backward hooks once, when the gradients of its inputs are known."""

    def __init__(self, module: Any, hooks: Hooks) -> None:
        self.module, self.hooks = module, hooks
        self.grad_output: tuple[Any, ...] = ()
        self.places: list[int] = []
        self.count = 0

    def inputs(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        self.count = len(args)
        self.places = [i for i, one in enumerate(args) if isinstance(one, TensorBase) and one.requires_grad]
        made = list(args)
        for i, one in zip(self.places, _joined([args[i] for i in self.places], self._arrived), strict=True):
            made[i] = one
        return tuple(made)

    def outputs(self, result: Any) -> Any:
        single = isinstance(result, TensorBase)
        if not single and not isinstance(result, (tuple, list)):
            raise ArgumentTypeError(
                f"full backward hook: forward returned a {type(result).__name__}",
                fix="return a tensor or a tuple of tensors",
            )
        made = [result] if single else list(result)
        places = [i for i, one in enumerate(made) if isinstance(one, TensorBase) and one.requires_grad]

        def arrived(gradients: list[Any]) -> list[Any] | None:
            found: list[Any] = [None] * len(made)
            for i, one in zip(places, gradients, strict=True):
                found[i] = one
            changed = self._before(tuple(found))
            if not self.places:  # no input's gradient will come: the output's is the last moment
                self._arrived([])
            return [self.grad_output[i] for i in places] if changed else None

        for i, one in zip(places, _joined([made[i] for i in places], arrived), strict=True):
            made[i] = one
        return made[0] if single else type(result)(made)

    def _before(self, found: tuple[Any, ...]) -> bool:
        """Show the gradients of the outputs to the hooks; whether one changed them."""
        changed_any = False
        for hook in self.hooks.all("backward_pre"):
            changed = hook(self.module, found)
            if changed is not None:
                changed = tuple(changed) if isinstance(changed, (tuple, list)) else (changed,)
                if len(changed) != len(found):
                    raise ArgumentTypeError(
                        f"a full backward pre-hook returned {len(changed)} gradients for {len(found)} outputs",
                        fix="return None, or one gradient (or None) for each output",
                    )
                found, changed_any = changed, True
        self.grad_output = found
        return changed_any

    def _arrived(self, gradients: list[Any]) -> list[Any] | None:
        found: list[Any] = [None] * self.count
        for i, one in zip(self.places, gradients, strict=True):
            found[i] = one
        changed_any = False
        for hook in self.hooks.all("backward"):
            changed = hook(self.module, tuple(found), self.grad_output)
            if changed is not None:
                found = list(changed) if isinstance(changed, (tuple, list)) else [changed]
                if len(found) != self.count:
                    raise ArgumentTypeError(
                        f"a full backward hook returned {len(found)} gradients for {self.count} inputs",
                        fix="return None, or one gradient (or None) for each input",
                    )
                changed_any = True
        return [found[i] for i in self.places] if changed_any else None


def _joined(tensors: list[Any], arrived: Callable[[list[Any]], list[Any] | None]) -> list[Any]:
    """The same tensors through one place of the tape, at which all their gradients are known together."""
    if not tensors:
        return []
    if len(tensors) == 1:
        twin = dispatch.unary(engine.IDENTITY[0], tensors[0])

        def one(gradient: Any) -> Any:
            changed = arrived([gradient])
            return None if changed is None else changed[0]

        twin.register_hook(one)
        return [twin]
    shapes = [t.shape for t in tensors]
    flat = concat([reshape(t, (-1,)) for t in tensors], axis=0)

    def apart(row: Any) -> list[Any]:
        parts, start = [], 0
        for shape in shapes:
            size = math.prod(shape)
            parts.append(reshape(row[start : start + size], shape))
            start += size
        return parts

    def several(gradient: Any) -> Any:
        changed = arrived(apart(gradient))
        return None if changed is None else concat([reshape(one, (-1,)) for one in changed], axis=0)

    flat.register_hook(several)
    parts = apart(flat)
    return [p if p.dtype is t.dtype else astype(p, t.dtype) for p, t in zip(parts, tensors, strict=True)]
