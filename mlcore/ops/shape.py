"""Shape operations: results may share storage with their input, since tensors are values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mlcore import engine, shapes
from mlcore.direct import call_one
from mlcore.dispatch import from_data
from mlcore.errors import ArgumentError, OutOfRangeError, ShapeError
from mlcore.modes import is_recording
from mlcore.ops.cases import sample
from mlcore.ops.spec import Outs, composite, function, out, primitive
from mlcore.shapes import Key, key_slices, normalize_axes, normalize_axis
from mlcore.tensor import TensorBase


@primitive(
    reference=lambda x, shape: x.reshape(shape),
    vjp=lambda g, x_shape: reshape(g, x_shape),
    ignores=("copy",),
    samples=lambda: [dict(shape=(-1,)), dict(shape=(1, -1, 1))],
)
def reshape(x: Any, /, shape: Any, *, copy: bool | None = None) -> Outs:
    """`x` with another shape of as many elements; one dimension may be -1.

    >>> import mlcore as ml
    >>> ml.reshape(ml.arange(6), (2, -1)).shape
    (2, 3)
    """
    return out(*(lambda target: (target, x.dtype, target))(shapes.resolve_reshape(x.shape, shape)))


@primitive(
    reference=lambda x, axes: x.transpose(axes),
    vjp=lambda g, axes: permute_dims(g, tuple(int(i) for i in np.argsort(axes))),
    samples=lambda: [dict(axes="reversed")],
)
def permute_dims(x: Any, /, axes: Any) -> Outs:
    """`x` with its dimensions in the order `axes`.

    >>> import mlcore as ml
    >>> ml.permute_dims(ml.zeros((2, 3, 4)), (2, 0, 1)).shape
    (4, 2, 3)
    """
    if isinstance(axes, str) and axes == "reversed":
        axes = tuple(range(x.ndim))[::-1]
    order = tuple(normalize_axis("permute_dims", a, x.ndim) for a in axes)
    if sorted(order) != list(range(x.ndim)):
        raise ShapeError(
            f"permute_dims: axes {tuple(axes)} for a {x.ndim}-d tensor", fix="name every axis once"
        )
    return out(tuple(x.shape[i] for i in order), x.dtype, order)


@primitive(
    reference=lambda x, shape: np.broadcast_to(x, shape),
    vjp=lambda g, x_shape: engine.unbroadcast(g, x_shape),
    method=True,
    samples=lambda: [dict(shape="wider")],
)
def broadcast_to(x: Any, /, shape: Any) -> Outs:
    """`x` repeated along dimensions of size 1 and new leading ones, to `shape`.

    >>> import mlcore as ml
    >>> ml.broadcast_to(ml.ones((3, 1)), (2, 3, 4)).shape
    (2, 3, 4)
    """
    target = (2, *x.shape) if isinstance(shape, str) else shapes.as_shape(shape, "broadcast_to")
    if len(target) < x.ndim or any(
        have not in (1, want) for have, want in zip(x.shape, target[len(target) - x.ndim :], strict=True)
    ):
        raise ShapeError(
            f"broadcast_to: {x.shape} does not broadcast to {target}",
            cause="each dimension, aligned from the right, must be equal or 1",
            fix="reshape first, or choose another target",
        )
    return out(target, x.dtype, target)


@primitive(
    reference=lambda x, key: x[key_slices(key)],
    vjp=lambda g, x_shape, key: _slice_grad(g, x_shape, key),
    public=False,
    samples=lambda: [
        dict(key="inner"),
        dict(key="backwards"),
        sample([(6, 7)], key=((1, 6, 2), (5, None, -1))),
        sample([(6, 7)], key=((4, 1, -1), (0, 0, 1))),
    ],
)
def slice_(x: Any, /, key: Any) -> Outs:
    """The elements that `key`, a canonical (start, stop, step) per axis, selects."""
    key = _sample_key(key, x.shape)
    return out(shapes.sliced(x.shape, key), x.dtype, key)


class _InZeros:
    """The gradient of a tensor of `shape` of which a slice was taken, from that of the slice."""

    __slots__ = ("g", "key", "shape")

    def __init__(self, g: Any, shape: shapes.Shape, key: Key) -> None:
        self.g, self.shape, self.key = g, shape, key

    def __call__(self) -> Any:
        return slice_update(_zeros_like(self.g, self.shape), self.g, key=self.key)


def _slice_grad(g: Any, shape: shapes.Shape, key: Key) -> Any:
    """A piece of a gradient, where the slice leaves out parts of one axis only; other pieces may complete it."""
    whole = _InZeros(g, shape, key)
    cut = [i for i, one in enumerate(key) if one != (0, shape[i], 1)]
    if len(cut) != 1 or is_recording() or g.dtype.kind == "c":
        return whole()
    start, stop, step = key[cut[0]]
    return engine.Piece(g, cut[0], start, stop, whole) if step == 1 and stop is not None else whole()


def _whole_but(shape: shapes.Shape, axis: int, start: int, stop: int) -> Key:
    """The key that selects [start, stop) along one axis and everything along the others."""
    return tuple((start, stop, 1) if i == axis else (0, d, 1) for i, d in enumerate(shape))


def _narrow_rule(x: Any, /, axis: Any, start: Any, stop: Any) -> Outs:
    axis = normalize_axis("narrow", axis, x.ndim)
    if not 0 <= start < stop <= x.shape[axis]:
        raise OutOfRangeError(f"narrow: [{start}, {stop}) of dim {axis} of {x.shape}")
    return out((*x.shape[:axis], stop - start, *x.shape[axis + 1 :]), x.dtype, axis, start, stop)


@composite(
    _narrow_rule,
    vjp=lambda g, x_shape, axis, start, stop: _slice_grad(
        g, x_shape, _whole_but(x_shape, axis, start, stop)
    ),
    public=False,
    samples=lambda: [
        sample([(6, 7)], axis=0, start=1, stop=4), sample([(6, 7)], axis=-1, start=5, stop=7),
        sample([(5,)], axis=0, start=0, stop=1),
    ],
)  # fmt: skip
def narrow(x: Any, /, axis: Any, start: Any, stop: Any) -> Any:
    """The elements from `start` to before `stop` along `axis`: what `x[start:stop]` is."""
    return slice_(x, _whole_but(x.shape, normalize_axis("narrow", axis, x.ndim), start, stop))


def _select_rule(x: Any, /, axis: Any, index: Any) -> Outs:
    axis = normalize_axis("select", axis, x.ndim)
    if not 0 <= index < x.shape[axis]:
        raise OutOfRangeError(f"select: index {index} of dim {axis} of {x.shape}")
    return out((*x.shape[:axis], *x.shape[axis + 1 :]), x.dtype, axis, index)


@composite(
    _select_rule,
    vjp=lambda g, x_shape, axis, index: _slice_grad(
        reshape(g, (*x_shape[:axis], 1, *x_shape[axis + 1 :])),
        x_shape,
        _whole_but(x_shape, axis, index, index + 1),
    ),
    public=False,
    samples=lambda: [
        sample([(6, 7)], axis=0, index=2), sample([(6, 7)], axis=1, index=6), sample([(5,)], axis=0, index=0),
    ],
)  # fmt: skip
def select(x: Any, /, axis: Any, index: Any) -> Any:
    """The elements at `index` along `axis`, which goes: what `x[index]` is."""
    axis = normalize_axis("select", axis, x.ndim)
    picked = slice_(x, _whole_but(x.shape, axis, index, index + 1))
    return reshape(picked, (*x.shape[:axis], *x.shape[axis + 1 :]))


@primitive(
    reference=lambda x, v, key: _slice_update(x, v, key),
    vjp=(
        lambda g, v_shape, key: slice_update(g, _zeros_like(g, v_shape), key=key),
        lambda g, key: slice_(g, key),
    ),
    public=False,
    samples=lambda: [
        sample([(5,), (4,)], key="inner"),
        sample([(4, 5), (3, 4)], key="inner"),
        sample([(4, 5, 3), (2, 3, 2)], key="backwards"),
        sample([(6, 7), (3, 0)], key=((0, 6, 2), (0, 0, 1))),
        sample([(1029,), (515,)], key="backwards"),
        sample([(), ()], key=()),
    ],
)
def slice_update(x: Any, v: Any, /, key: Any) -> Outs:
    """A copy of `x` with the elements that `key` selects replaced by `v` (of the slice's shape)."""
    key = _sample_key(key, x.shape)
    if v.shape != shapes.sliced(x.shape, key):
        raise ShapeError(
            f"slice_update: a value of shape {v.shape} for a slice of shape {shapes.sliced(x.shape, key)}"
        )
    return out(x.shape, x.dtype, key)


def _slice_update(x: np.ndarray[Any, Any], v: np.ndarray[Any, Any], key: Key) -> np.ndarray[Any, Any]:
    y = x.copy()
    y[key_slices(key)] = v
    return y


def _sample_key(key: Any, shape: shapes.Shape) -> Key:
    """A key as given; the words are what the conformance kit asks for, whatever the shape."""
    if key == "inner":
        return tuple(shapes.slice_key(slice(1, None), d) for d in shape)
    if key == "backwards":
        return tuple(shapes.slice_key(slice(None, None, -2), d) for d in shape)
    return tuple(key)


def _zeros_like(x: Any, shape: shapes.Shape) -> Any:
    from mlcore.ops.creation import zeros

    return zeros(shape, dtype=x.dtype, device=x.device)


def _concat_split(g: Any, arrays_shape: Any, axis: int) -> list[Any]:
    pieces, start = [], 0
    for shape in arrays_shape:
        stop = start + shape[axis]
        pieces.append(g[(slice(None),) * axis + (slice(start, stop),)])
        start = stop
    return pieces


@primitive(
    reference=lambda *arrays_axis: np.concatenate(arrays_axis[:-1], axis=arrays_axis[-1]),
    vjp=_concat_split,
    variadic=True,
    cacheable=True,
    samples=lambda: [
        sample([(2, 3), (4, 3)], axis=0),
        sample([(2, 3), (2, 1), (2, 5)], axis=-1),
        sample([(0, 3), (2, 3)], axis=0),
        sample([(4,)], axis=0),
        sample([(2, 3, 4), (2, 3, 4)], axis=1),
        sample([(65, 9), (65, 8)], axis=1),
    ],
)
def concat(arrays: Any, /, *rest: Any, axis: int = 0) -> Outs:
    """Tensors joined along an existing axis.

    >>> import mlcore as ml
    >>> ml.concat([ml.zeros((2, 3)), ml.ones((1, 3))]).shape
    (3, 3)
    """
    tensors = (arrays, *rest)
    if not tensors[0].shape:
        raise ShapeError("concat: 0-d tensors have no axis to join", fix="use stack")
    index = normalize_axis("concat", axis, tensors[0].ndim)
    first = tensors[0].shape
    total = 0
    for i, one in enumerate(tensors):
        if len(one.shape) != len(first) or any(
            a != b for k, (a, b) in enumerate(zip(one.shape, first, strict=True)) if k != index
        ):
            raise ShapeError(f"concat: tensor {i} has shape {one.shape}, the first {first}, joined along axis {index}",
                             fix="all dimensions but the joined one must be equal")  # fmt: skip
        total += one.shape[index]
    return out((*first[:index], total, *first[index + 1 :]), tensors[0].dtype, index)


def same(x: Any) -> Any:
    """The value of `x` in a tensor of its own, where a function has nothing to do: `x` may change later."""
    return reshape(x, x.shape)


# -- functions ------------------------------------------------------------------------------------------------


@function(method=True)
def expand_dims(x: Any, /, axis: Any = 0) -> Any:
    """`x` with a new dimension of size 1 at `axis` (an int, or a tuple of places in the result).

    >>> import mlcore as ml
    >>> ml.expand_dims(ml.zeros((2, 3)), axis=1).shape
    (2, 1, 3)
    """
    count = len(axis) if isinstance(axis, Sequence) else 1
    axes = normalize_axes("expand_dims", axis, x.ndim + count)
    rest = iter(x.shape)
    return reshape(x, tuple(1 if i in axes else next(rest) for i in range(x.ndim + count)))


@function(method=True)
def squeeze(x: Any, /, axis: Any = None) -> Any:
    """`x` without the dimensions `axis`, which must have size 1 (None: all of size 1).

    >>> import mlcore as ml
    >>> ml.squeeze(ml.zeros((1, 3, 1)), axis=0).shape
    (3, 1)
    """
    axes = (
        tuple(i for i, d in enumerate(x.shape) if d == 1)
        if axis is None
        else normalize_axes("squeeze", axis, x.ndim)
    )
    for i in axes:
        if x.shape[i] != 1:
            raise ShapeError(
                f"squeeze: dim {i} of {x.shape} has size {x.shape[i]}, not 1", fix="index it instead"
            )
    return reshape(x, tuple(d for i, d in enumerate(x.shape) if i not in axes))


@function(method=True)
def flip(x: Any, /, *, axis: Any = None) -> Any:
    """`x` in reverse order along `axis` (None: all).

    >>> import mlcore as ml
    >>> ml.flip(ml.arange(3)).tolist()
    [2, 1, 0]
    """
    axes = normalize_axes("flip", axis, x.ndim)
    return slice_(
        x,
        tuple(shapes.slice_key(slice(None, None, -1 if i in axes else 1), d) for i, d in enumerate(x.shape)),
    )


@function()
def stack(arrays: Sequence[Any], /, *, axis: int = 0) -> Any:
    """Tensors of one shape joined along a new axis.

    >>> import mlcore as ml
    >>> ml.stack([ml.zeros((3,)), ml.ones((3,))], axis=-1).shape
    (3, 2)
    """
    tensors: list[Any] = [one if isinstance(one, TensorBase) else from_data(one) for one in arrays]
    if not tensors:
        raise ArgumentError("stack: no tensors given", fix="pass at least one")
    for i, one in enumerate(tensors):
        if one.shape != tensors[0].shape:
            raise ShapeError(f"stack: tensor {i} has shape {one.shape}, the first {tensors[0].shape}",
                             fix="all shapes must be equal; use concat to join along an existing axis")  # fmt: skip
    place = normalize_axis("stack", axis, tensors[0].ndim + 1)
    shape = tensors[0].shape
    wide = (*shape[:place], 1, *shape[place:])
    return concat([call_one(reshape, one, (wide,)) for one in tensors], axis=place)


@function(method=True)
def swapaxes(x: Any, axis1: int, axis2: int, /) -> Any:
    """`x` with two dimensions exchanged.

    >>> import mlcore as ml
    >>> ml.swapaxes(ml.zeros((2, 3, 4)), 0, 2).shape
    (4, 3, 2)
    """
    order = list(range(x.ndim))
    a, b = normalize_axis("swapaxes", axis1, x.ndim), normalize_axis("swapaxes", axis2, x.ndim)
    order[a], order[b] = b, a
    return permute_dims(x, tuple(order))


def as_rows(x: Any) -> Any:
    """A tensor as a matrix of its last dimensions, also where there are none of them, or none in them."""
    return reshape(x, (math.prod(x.shape[:-1]), x.shape[-1]))


@function(method=True)
def matrix_transpose(x: Any, /) -> Any:
    """The last two dimensions exchanged.

    >>> import mlcore as ml
    >>> ml.matrix_transpose(ml.zeros((5, 2, 3))).shape
    (5, 3, 2)
    """
    if x.ndim < 2:
        raise ShapeError(f"matrix_transpose: needs at least 2 dimensions, got shape {x.shape}")
    return permute_dims(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


@function(method=True)
def flatten(x: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    """Dimensions `start_dim` to `end_dim` merged into one.

    >>> import mlcore as ml
    >>> ml.flatten(ml.zeros((2, 3, 4)), 1).shape
    (2, 12)
    """
    if x.ndim == 0:
        return reshape(x, (1,))
    first, last = normalize_axis("flatten", start_dim, x.ndim), normalize_axis("flatten", end_dim, x.ndim)
    if first > last:
        raise ArgumentError(
            f"flatten: start_dim {start_dim} comes after end_dim {end_dim} of shape {x.shape}"
        )
    return reshape(x, (*x.shape[:first], math.prod(x.shape[first : last + 1]), *x.shape[last + 1 :]))


@function()
def pad(x: Any, pad_width: Any, /, *, value: float = 0) -> Any:
    """`x` with `value` around it: `pad_width` is an int, or one (before, after) pair per dimension.

    >>> import mlcore as ml
    >>> ml.pad(ml.ones((2,)), ((1, 2),)).tolist()
    [0.0, 1.0, 1.0, 0.0, 0.0]
    """
    from mlcore.ops.creation import full

    pairs = [(pad_width, pad_width)] * x.ndim if isinstance(pad_width, int) else [tuple(p) for p in pad_width]
    if len(pairs) != x.ndim or any(len(p) != 2 or min(p) < 0 for p in pairs):
        raise ArgumentError(f"pad: widths {pad_width} for a tensor of shape {x.shape}",
                            fix="give one (before, after) pair of non-negative ints per dimension")  # fmt: skip
    if not any(a or b for a, b in pairs):
        return same(x)
    shape = tuple(d + a + b for d, (a, b) in zip(x.shape, pairs, strict=True))
    key = tuple(
        shapes.slice_key(slice(a, a + d), n) for d, (a, _), n in zip(x.shape, pairs, shape, strict=True)
    )
    return slice_update(full(shape, value, dtype=x.dtype, device=x.device), x, key=key)


engine.RESHAPE.append(reshape)
engine.CONCAT.append(concat)
