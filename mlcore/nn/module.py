"""Module: parameters, buffers and further modules under names, and a `forward` that uses them.

A module is a plain Python object. Its parameters are those attributes that are a `Parameter`, its children those
that are a `Module`, in the order in which they were first assigned; only buffers are noted by name. So there is
no `__setattr__`, no metaclass, and reading an attribute costs what it costs in Python.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

from mlcore import dispatch
from mlcore.dtype import DType
from mlcore.dtypes import as_dtype, bfloat16, float16, float32, float64
from mlcore.errors import ArgumentError, ArgumentTypeError, did_you_mean
from mlcore.nn import annotated
from mlcore.nn.calling import Called
from mlcore.nn.made import noted
from mlcore.nn.parameter import Buffer, Parameter
from mlcore.nn.stateful import Stateful
from mlcore.ops.creation import empty
from mlcore.tensor import Tensor, TensorBase, assign

M = TypeVar("M", bound="Module")


def _no_forward(self: Module, *args: Any, **kwargs: Any) -> Any:
    """What the module computes; calling the module calls this."""
    raise ArgumentTypeError(f"{type(self).__name__} has no forward method", fix="define forward(self, ...)")


class Module(Stateful):
    """Base of all layers and networks. Derive from it, assign layers in `__init__`, and write `forward`.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> class Net(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.head = nn.Linear(4, 2)
    ...     def forward(self, x):
    ...         return self.head(x)
    >>> net = Net()
    >>> net(ml.ones((3, 4))).shape, [name for name, _ in net.named_parameters()]
    ((3, 2), ['head.weight', 'head.bias'])
    """

    training: bool = True
    _buffers: dict[str, bool] | None = None  # name: whether it belongs to the state_dict

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        annotated.watch(cls)

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        try:
            made = super().__new__(cls)
        except TypeError:  # a base beside this one has a layout of its own, such as dict: it makes the object
            made = super(Called, cls).__new__(cls, *args, **kwargs)
        made.__dict__["_made"] = noted(cls, args, kwargs)
        return made

    def __init__(self) -> None:
        self.training = True

    forward: Callable[..., Any] = _no_forward

    # -- what it holds --------------------------------------------------------------------------------------

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Hold `tensor` as an attribute that moves with the module and, if persistent, is saved, but not trained.

        >>> from mlcore import nn
        >>> import mlcore as ml
        >>> m = nn.Module(); m.register_buffer("mean", ml.zeros((2,))); list(m.state_dict())
        ['mean']
        """
        self._check_name(name, "buffer")
        if tensor is not None and not isinstance(tensor, TensorBase):
            raise ArgumentTypeError(
                f"register_buffer: {name!r} is a {type(tensor).__name__}", fix="pass a Tensor or None"
            )
        if self._buffers is None:
            self._buffers = {}
        self._buffers[name] = persistent
        setattr(self, name, tensor)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """The same as assigning the attribute; None keeps its place for later."""
        self._check_name(name, "parameter")
        if param is not None and not isinstance(param, Parameter):
            raise ArgumentTypeError(
                f"register_parameter: {name!r} is a {type(param).__name__}",
                fix="wrap it: nn.Parameter(tensor)",
            )
        setattr(self, name, param)

    def register_module(self, name: str, module: Module | None) -> None:
        """The same as assigning the attribute, for names that are not identifiers."""
        self._check_name(name, "module")
        if module is not None and not isinstance(module, Module):
            raise ArgumentTypeError(f"register_module: {name!r} is a {type(module).__name__}, not a Module")
        setattr(self, name, module)

    add_module = register_module

    def _check_name(self, name: str, kind: str) -> None:
        if not isinstance(name, str) or "." in name or not name:
            raise ArgumentError(f"a {kind} cannot be called {name!r}", cause="names join to paths with dots",
                                fix="use a name without a dot")  # fmt: skip
        held = self.__dict__.get(name)
        if hasattr(type(self), name) or (held is not None and not isinstance(held, (TensorBase, Module))):
            raise ArgumentError(
                f"{type(self).__name__} has an attribute {name!r} already", fix="choose another name"
            )

    def _members(
        self,
        pick: Callable[[Module], Iterator[tuple[str, Any]]],
        prefix: str,
        recurse: bool,
        remove_duplicate: bool,
    ) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        inside = (
            self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate)
            if recurse
            else [(prefix, self)]
        )
        for path, module in inside:
            for name, one in pick(module):
                if remove_duplicate:
                    if id(one) in seen:
                        continue
                    seen.add(id(one))
                yield (f"{path}.{name}" if path else name), one

    def _own_parameters(self) -> Iterator[tuple[str, Parameter]]:
        return ((name, one) for name, one in list(self.__dict__.items()) if isinstance(one, Parameter))

    def _note_buffers(self) -> None:
        """Keep the names of attributes that are an nn.Buffer: what takes their place is a buffer as well."""
        for name, one in list(self.__dict__.items()):
            if isinstance(one, Buffer) and name not in (self._buffers or ()):
                self._buffers = {**(self._buffers or {}), name: one.persistent}

    def _own_buffers(self) -> Iterator[tuple[str, Tensor]]:
        self._note_buffers()
        held = ((name, self.__dict__.get(name)) for name in self._buffers or ())
        return ((name, one) for name, one in held if one is not None)

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """(dotted name, Parameter), each parameter once."""
        return self._members(Module._own_parameters, prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The parameters, each once: what an optimizer takes."""
        for _, one in self.named_parameters(recurse=recurse):
            yield one

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """(dotted name, Tensor) of the buffers."""
        return self._members(Module._own_buffers, prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """The buffers, each once."""
        for _, one in self.named_buffers(recurse=recurse):
            yield one

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """(name, Module) of the modules that are attributes of this one."""
        seen: set[int] = set()
        for name, one in list(self.__dict__.items()):
            if isinstance(one, Module) and id(one) not in seen:
                seen.add(id(one))
                yield name, one

    def children(self) -> Iterator[Module]:
        """The modules that are attributes of this one."""
        for _, one in self.named_children():
            yield one

    def named_modules(
        self, memo: set[Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """(dotted name, Module) of this module (named `prefix`) and of all below it."""
        memo = set() if memo is None else memo
        if remove_duplicate:
            if self in memo:
                return
            memo.add(self)
        yield prefix, self
        for name, one in list(self.__dict__.items()):
            if isinstance(one, Module):
                yield from one.named_modules(memo, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    def modules(self) -> Iterator[Module]:
        """This module and all below it."""
        for _, one in self.named_modules():
            yield one

    def get_submodule(self, target: str) -> Module:
        """The module at a dotted path; the empty path is the module itself."""
        found: Any = self
        for i, name in enumerate(target.split(".") if target else ()):
            below = found
            found = below.__dict__.get(name)
            if not isinstance(found, Module):
                where = ".".join(target.split(".")[:i]) or "the module"
                known = [one for one, _ in below.named_children()]
                raise ArgumentError(f"get_submodule: {target!r}: {where} ({type(below).__name__}) has no module"
                                    f" {name!r}{did_you_mean(name, known)}", known=", ".join(known))  # fmt: skip
        return found  # type: ignore[no-any-return]  # what it comes from is Any

    def set_submodule(self, target: str, module: Module, strict: bool = False) -> None:
        """Put a module at a dotted path; with strict=True there must be one already."""
        path, _, name = target.rpartition(".")
        if not name:
            raise ArgumentError("set_submodule: an empty path", fix="name the module to replace")
        if not isinstance(module, Module):
            raise ArgumentTypeError(f"set_submodule: a {type(module).__name__} is not a Module")
        owner = self.get_submodule(path)
        if strict or name in owner.__dict__:
            owner.get_submodule(name)
        setattr(owner, name, module)

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at a dotted path."""
        return self._get(target, "parameter", Parameter)  # type: ignore[no-any-return]  # what it comes from is Any

    def get_buffer(self, target: str) -> Tensor:
        """The buffer at a dotted path."""
        return self._get(target, "buffer", TensorBase)  # type: ignore[no-any-return]  # what it comes from is Any

    def _get(self, target: str, kind: str, wanted: type) -> Any:
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        module._note_buffers()
        found = module.__dict__.get(name)
        if not isinstance(found, wanted) or (kind == "buffer" and name not in (module._buffers or ())):
            known = [
                one for one, _ in (module._own_parameters() if kind == "parameter" else module._own_buffers())
            ]
            raise ArgumentError(
                f"get_{kind}: {type(module).__name__} has no {kind} {name!r}{did_you_mean(name, known)}"
            )
        return found

    # -- modes and places ---------------------------------------------------------------------------------------

    def train(self: M, mode: bool = True) -> M:
        """Training mode (dropout drops, batch norm uses the batch), for this module and all below it."""
        if not isinstance(mode, bool):
            raise ArgumentTypeError(f"train: mode is a {type(mode).__name__}, expected True or False")
        for one in self.modules():
            one.training = mode
        return self

    def eval(self: M) -> M:
        """The mode for using a trained network: `train(False)`."""
        return self.train(False)

    def requires_grad_(self: M, requires_grad: bool = True) -> M:
        """Ask for (or stop asking for) the gradients of all parameters."""
        for one in self.parameters():
            one.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters (or set them to zero)."""
        for one in self.parameters():
            if one.grad is not None:
                one.grad = None if set_to_none else one.grad.detach() * 0

    def apply(self: M, fn: Callable[[Module], Any]) -> M:
        """Call `fn` on every module, children first."""
        for one in self.children():
            one.apply(fn)
        fn(self)
        return self

    def _convert(self: M, change: Callable[[Any], Any], recurse: bool = True) -> M:
        """Give every parameter (the same object), its gradient and every buffer the value `change` makes of it.

        Where that fails half-way, such as for want of memory on another device, what has moved goes back.
        """
        done: list[Callable[[], None]] = []
        seen: set[int] = set()
        try:
            for module in self.modules() if recurse else [self]:
                for _, one in module._own_parameters():
                    if id(one) not in seen:
                        seen.add(id(one))
                        _change_parameter(one, change, done)
                for name, held in module._own_buffers():
                    new = change(held)
                    if new.device is not held.device:
                        done.append(partial(setattr, module, name, held))
                    setattr(module, name, new)
        except BaseException:
            for undo in reversed(done):
                undo()
            raise
        return self

    def to(self: M, *args: Any, device: Any = None, dtype: Any = None) -> M:
        """Move the parameters and buffers to a device, and/or its floating ones to a dtype, in place.

        >>> import mlcore as ml
        >>> from mlcore import nn
        >>> nn.Linear(2, 2).to(ml.float64).weight.dtype
        float64
        """
        for one in args:
            if isinstance(one, TensorBase):
                device, dtype = one.device, one.dtype
            elif isinstance(one, DType):
                dtype = one
            else:
                device = one
        if dtype is not None:
            dtype = as_dtype(dtype)
            if dtype.kind not in "fc":
                raise ArgumentError(
                    f"to: {dtype} for a module",
                    cause="only floating parameters and buffers change their dtype",
                    fix="use a floating dtype",
                )

        def change(tensor: Any) -> Any:
            return tensor.to(
                device=device, dtype=dtype if dtype is not None and tensor.dtype.kind in "fc" else None
            )

        with dispatch.recording(False):
            return self._convert(change)

    def to_empty(self: M, *, device: Any, recurse: bool = True) -> M:
        """Move to a device without the values: parameters and buffers hold anything until they are loaded or drawn."""
        return self._convert(lambda one: empty(one.shape, dtype=one.dtype, device=device), recurse)

    def float(self: M) -> M:
        """`to(float32)`."""
        return self.to(float32)

    def double(self: M) -> M:
        """`to(float64)`."""
        return self.to(float64)

    def half(self: M) -> M:
        """`to(float16)`."""
        return self.to(float16)

    def bfloat16(self: M) -> M:
        """`to(bfloat16)`."""
        return self.to(bfloat16)

    # -- text --------------------------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """What stands between the brackets of the module's line in `repr`."""
        return ""

    def _get_name(self) -> str:
        return type(self).__name__

    def _child_lines(self) -> list[str]:
        return [
            f"({name}): {_indent(repr(one))}"
            for name, one in self.__dict__.items()
            if isinstance(one, Module)
        ]

    def __repr__(self) -> str:
        extra, below = self.extra_repr(), self._child_lines()
        if not below and "\n" not in extra:
            return f"{self._get_name()}({extra})"
        lines = [*(extra.split("\n") if extra else ()), *below]
        return f"{self._get_name()}(\n  " + "\n  ".join(lines) + "\n)"

    def __getstate__(self) -> dict[str, Any]:
        return {name: one for name, one in self.__dict__.items() if not (name == "_hooks" and not one)}


def _indent(text: str) -> str:
    first, *rest = text.split("\n")
    return "\n".join([first, *("  " + line for line in rest)])


def _change_parameter(one: Any, change: Callable[[Any], Any], done: list[Callable[[], None]]) -> None:
    """Give a parameter and its gradient what `change` makes of them; how to undo that goes to `done`."""
    gradient, old = one.grad, one.detach()
    new = change(old)
    made = None if gradient is None else change(gradient.detach())
    if new.device is not old.device:  # on the same device the old values would only take memory
        done.append(partial(_take_over, one, old, gradient))
    _take_over(one, new, made)


def _take_over(one: Any, new: Any, gradient: Any) -> None:
    assign(one, new.array, new.device, new.dtype, new.shape, None, one.requires_grad)
    one.grad = gradient
