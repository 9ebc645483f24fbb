"""The functional face of the gradients: grad, value_and_grad, vjp, jvp, jacobian, hessian, functional_call."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from mlcore import autograd, dispatch, engine
from mlcore.errors import ArgumentError, ArgumentTypeError, AutogradError
from mlcore.ops.creation import ones_like, zeros, zeros_like
from mlcore.ops.shape import reshape, stack
from mlcore.tensor import TensorBase


class _Depth(threading.local):
    value = 0


_depth = _Depth()


def _variables(args: tuple[Any, ...], argnums: tuple[int, ...]) -> tuple[list[Any], list[Any]]:
    """Stand-ins for the arguments to differentiate by: connected to them when they are on the tape themselves."""
    call, chosen = list(args), []
    for i in argnums:
        if not -len(args) <= i < len(args):
            raise ArgumentError(f"grad: argument {i} of a call with {len(args)} arguments", fix="set argnums")
        one = args[i]
        if not isinstance(one, TensorBase) or one.dtype.kind not in "fc":
            what = f"a {one.dtype} tensor" if isinstance(one, TensorBase) else type(one).__name__
            raise ArgumentTypeError(f"grad: argument {i} is {what}, expected a floating tensor")
        if one.requires_grad and dispatch.is_recording():
            variable = dispatch.unary(engine.IDENTITY[0], one)
        else:
            variable = one.detach().requires_grad_()  # type: ignore[attr-defined]  # the methods are attached to Tensor
        call[i] = variable
        chosen.append(variable)
    return call, chosen


def value_and_grad(function: Callable[..., Any], argnums: int | tuple[int, ...] = 0) -> Callable[..., Any]:
    """A function that returns (value, gradient) of a scalar-valued `function`; `argnums` picks the arguments.

    The gradient is a tensor, or a tuple where `argnums` is one. Nested calls give higher orders.

    >>> import mlcore as ml
    >>> value, g = ml.value_and_grad(lambda v: (v * v).sum())(ml.asarray([1.0, 2.0]))
    >>> value.item(), g.tolist()
    (5.0, [2.0, 4.0])
    """
    if not callable(function):
        raise ArgumentTypeError(f"grad: expected a function, got {type(function).__name__}")
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)

    @wraps(function)
    def inner(*args: Any, **kwargs: Any) -> Any:
        outer = _depth.value > 0 or any(isinstance(a, TensorBase) and a.requires_grad for a in args)
        create = outer and dispatch.is_recording()
        _depth.value += 1
        try:
            with dispatch.recording(True):
                call, chosen = _variables(args, numbers) if create else _fresh(args, numbers)
                value = function(*call, **kwargs)
                # the methods are attached to Tensor
                if not isinstance(value, TensorBase) or value.size != 1:  # type: ignore[attr-defined]
                    shape = getattr(value, "shape", type(value).__name__)
                    raise AutogradError(f"grad: the function returned {shape}, expected one number",
                                        fix="reduce it, or use jacobian")  # fmt: skip
                found = _gradients(value, chosen, create)
        finally:
            _depth.value -= 1
        grads = tuple(found)
        # the methods are attached to Tensor
        return (value if create else value.detach()), (grads[0] if isinstance(argnums, int) else grads)  # type: ignore[attr-defined]

    return inner


def _fresh(args: tuple[Any, ...], numbers: tuple[int, ...]) -> tuple[list[Any], list[Any]]:
    # the methods are attached to Tensor
    detached = tuple(a.detach() if isinstance(a, TensorBase) and i in [n % len(args) for n in numbers] else a  # type: ignore[attr-defined]
                     for i, a in enumerate(args))  # fmt: skip
    return _variables(detached, numbers)


def _gradients(value: Any, chosen: list[Any], create: bool) -> list[Any]:
    if not value.requires_grad:
        return [zeros_like(one) for one in chosen]
    found = autograd.grad(value, chosen, create_graph=create, retain_graph=create, allow_unused=True)
    return [zeros_like(one) if g is None else g for one, g in zip(chosen, found, strict=True)]


def grad(function: Callable[..., Any], argnums: int | tuple[int, ...] = 0) -> Callable[..., Any]:
    """A function that returns the gradient of a scalar-valued `function`; apply it again for higher orders.

    >>> import mlcore as ml
    >>> f = lambda v: (v ** 3).sum()
    >>> ml.grad(f)(ml.asarray([2.0])).tolist(), ml.grad(lambda v: ml.grad(f)(v).sum())(ml.asarray([2.0])).tolist()
    ([12.0], [12.0])
    """
    both = value_and_grad(function, argnums)

    @wraps(function)
    def inner(*args: Any, **kwargs: Any) -> Any:
        return both(*args, **kwargs)[1]

    return inner


def _tensor(name: str, value: Any) -> Any:
    if not isinstance(value, TensorBase):
        raise ArgumentTypeError(f"{name}: the function returned {type(value).__name__}, expected a Tensor")
    return value


def vjp(function: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[[Any], tuple[Any, ...]]]:
    """`function(*primals)` and the map from a cotangent of its output to the gradients of the primals.

    >>> import mlcore as ml
    >>> y, pull = ml.func.vjp(lambda v: v * v, ml.asarray([3.0]))
    >>> pull(ml.ones((1,)))[0].tolist()
    [6.0]
    """
    with dispatch.recording(True):
        call, chosen = _variables(primals, tuple(range(len(primals))))
        value = _tensor("vjp", function(*call))

    def pull(cotangent: Any) -> tuple[Any, ...]:
        if not value.requires_grad:
            return tuple(zeros_like(one) for one in chosen)
        found = autograd.grad(
            value,
            chosen,
            cotangent,
            retain_graph=True,
            create_graph=dispatch.is_recording() and _depth.value > 0,
            allow_unused=True,
        )
        return tuple(zeros_like(one) if g is None else g for one, g in zip(chosen, found, strict=True))

    return value.detach() if _depth.value == 0 else value, pull


def jvp(function: Callable[..., Any], primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
    """`function(*primals)` and its directional derivative along `tangents`, by differentiating the vjp once more.

    >>> import mlcore as ml
    >>> [t.tolist() for t in ml.func.jvp(lambda v: v * v, (ml.asarray([3.0]),), (ml.asarray([1.0]),))]
    [[9.0], [6.0]]
    """
    if len(primals) != len(tangents):
        raise ArgumentError(
            f"jvp: {len(primals)} primals but {len(tangents)} tangents", fix="give one tangent for each"
        )
    with dispatch.recording(True):
        call, chosen = _variables(primals, tuple(range(len(primals))))
        value = _tensor("jvp", function(*call))
        if not value.requires_grad:
            return value, zeros_like(value)
        dummy = ones_like(value).requires_grad_()
        pulled = autograd.grad(value, chosen, dummy, create_graph=True, allow_unused=True)
        total = None
        for one, tangent in zip(pulled, tangents, strict=True):
            if one is not None:
                term = (one * tangent).sum()
                total = term if total is None else total + term
        if total is None or not total.requires_grad:
            return value.detach(), zeros_like(value)
        (pushed,) = autograd.grad(total, dummy, allow_unused=True, create_graph=_depth.value > 0)
    return value.detach(), zeros_like(value) if pushed is None else pushed


def jacobian(function: Callable[..., Any], argnum: int = 0) -> Callable[..., Any]:
    """A function that returns the matrix of derivatives, of shape (*output, *input), one row per backward pass.

    >>> import mlcore as ml
    >>> ml.func.jacobian(lambda v: v * v)(ml.asarray([1.0, 2.0])).tolist()
    [[2.0, 0.0], [0.0, 4.0]]
    """

    @wraps(function)
    def inner(*args: Any) -> Any:
        create = _depth.value > 0 and dispatch.is_recording()
        _depth.value += 1
        try:
            with dispatch.recording(True):
                call, (variable,) = _variables(args, (argnum,))
                value = _tensor("jacobian", function(*call))
                rows = []
                flat = reshape(value, (-1,))
                for i in range(flat.shape[0] if value.requires_grad else 0):
                    (row,) = autograd.grad(
                        flat[i], variable, retain_graph=True, create_graph=create, allow_unused=True
                    )
                    rows.append(zeros_like(variable) if row is None else row)
        finally:
            _depth.value -= 1
        if not rows:
            return zeros((*value.shape, *variable.shape), dtype=variable.dtype, device=variable.device)
        return reshape(stack(rows), (*value.shape, *variable.shape))

    return inner


def hessian(function: Callable[..., Any], argnum: int = 0) -> Callable[..., Any]:
    """A function that returns the matrix of second derivatives of a scalar-valued `function`.

    >>> import mlcore as ml
    >>> ml.func.hessian(lambda v: (v ** 3).sum())(ml.asarray([1.0, 2.0])).tolist()
    [[6.0, 0.0], [0.0, 12.0]]
    """
    return jacobian(grad(function, argnum), argnum)


def functional_call(module: Any, values: Mapping[str, Any], args: Any = (), kwargs: Mapping[str, Any] | None = None, *,
                    strict: bool = False) -> Any:  # fmt: skip
    """Call a module with other parameters and buffers than its own, which stay as they are (as `torch.func` has it).

    `values` maps dotted names to tensors; what it leaves out is the module's own, or an error with `strict`. Gradients
    flow to the given tensors: what `grad` and `jacobian` need to differentiate by a network's weights. A parameter
    that the module holds under two names is given under each of them, or stays what it is under the other.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> layer = nn.Linear(2, 1)
    >>> def loss(weight):
    ...     return ml.func.functional_call(layer, {"weight": weight}, ml.asarray([[3.0, 4.0]])).sum()
    >>> ml.grad(loss)(ml.ones((1, 2))).tolist()
    [[3.0, 4.0]]
    """
    own = dict(module.named_parameters(remove_duplicate=False)) | dict(
        module.named_buffers(remove_duplicate=False)
    )
    unknown, missing = sorted(values.keys() - own.keys()), sorted(own.keys() - values.keys())
    if unknown or (strict and missing):
        what = [f"unknown: {', '.join(unknown)}"] * bool(unknown) + [f"missing: {', '.join(missing)}"] * bool(
            strict and missing
        )
        raise ArgumentError(f"functional_call: the names do not fit {type(module).__name__}", cause="; ".join(what),
                            fix=f"its own are {', '.join(own) or 'none'}")  # fmt: skip
    places = []
    for name, value in values.items():
        if not isinstance(value, TensorBase):
            raise ArgumentTypeError(f"functional_call: {name} is {type(value).__name__}, expected a Tensor")
        path, _, leaf = name.rpartition(".")
        places.append((module.get_submodule(path).__dict__, leaf, value))
    before = [(held, leaf, held[leaf]) for held, leaf, _ in places]
    try:
        for held, leaf, value in places:
            held[leaf] = value
        return module(*(args if isinstance(args, tuple) else (args,)), **(kwargs or {}))
    finally:
        for held, leaf, value in before:
            held[leaf] = value
