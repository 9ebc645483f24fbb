"""Calls of every function of the standard: derived from the signature where that says enough, else made here.

A function of array_api_strict that neither covers fails a test, so nothing is forgotten when the standard grows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from standard import DTYPES, FUNCTIONS, TOLD, accepted, parameters, xps

import mlcore as ml

Call = tuple[tuple[Any, ...], dict[str, Any]]
Draw = Any

FLOATS = ["float32", "float64"]
COMPLEX = ["complex64", "complex128"]
INTEGERS = [d for d in DTYPES if "int" in d]
SIGNED = [d for d in INTEGERS if d[0] == "i"]
REAL = INTEGERS + FLOATS
INEXACT = FLOATS + COMPLEX
NUMERIC = REAL + COMPLEX


def shapes(low: int = 0, high: int = 3, side: int = 0) -> st.SearchStrategy[tuple[int, ...]]:
    """Shapes of few and small dimensions, 0-d and empty ones among them."""
    return xps.array_shapes(min_dims=low, max_dims=high, min_side=side, max_side=4)


def elements(dtype: str, calm: bool) -> Any:
    """Which values: all there are, or those that sums and products do not lose themselves in."""
    if "complex" in dtype:
        width = 64 if dtype == "complex64" else 128
        return st.complex_numbers(max_magnitude=8 if calm else 1e3, allow_subnormal=False, width=width)
    if dtype == "bool" or not calm:
        return {}
    if "float" in dtype:
        return {"min_value": -8, "max_value": 8, "allow_subnormal": False, "allow_nan": False}
    return {"min_value": 0 if dtype[0] == "u" else -5, "max_value": 5}


def arrays(dtype: Any, shape: Any, calm: bool = False) -> st.SearchStrategy[Any]:
    """Tensors of a dtype, made by hypothesis through mlcore's own functions."""
    if not isinstance(dtype, str):
        return dtype.flatmap(lambda one: arrays(one, shape, calm))  # type: ignore[no-any-return]
    return xps.arrays(getattr(ml, dtype), shape, elements=elements(dtype, calm))  # type: ignore[no-any-return]


def among(dtypes: list[str]) -> st.SearchStrategy[str]:
    return st.sampled_from(dtypes)


def axes_of(draw: Draw, ndim: int, none: bool = True) -> Any:
    """None, an axis from either end, or several."""
    options: list[Any] = [None] if none or not ndim else []
    if ndim:
        options += [draw(st.integers(-ndim, ndim - 1))]
        options += [tuple(draw(st.permutations(range(ndim)))[: draw(st.integers(0, ndim))])] if none else []
    return draw(st.sampled_from(options))


def axis_of(draw: Draw, ndim: int) -> int:
    return int(draw(st.integers(-ndim, ndim - 1)))


MAKERS: dict[str, Callable[[Draw], Call]] = {}


def makes(*names: str) -> Callable[[Callable[..., Call]], Callable[..., Call]]:
    """The maker of calls of these functions; it is told which where it takes two arguments."""

    def put(maker: Callable[..., Call]) -> Callable[..., Call]:
        for name in names:
            MAKERS[name] = (lambda draw, n=name: maker(draw, n)) if maker.__code__.co_argcount > 1 else maker
        return maker

    return put


# -- derived from the signature ---------------------------------------------------------------------------------

_ACCEPTED: dict[str, list[str]] = {}


def _dtypes(name: str, count: int, shape: tuple[int, ...] = (1,)) -> list[str]:
    if name not in _ACCEPTED:
        _ACCEPTED[name] = accepted(name, count, shape)
    return _ACCEPTED[name]


def unary(draw: Draw, name: str) -> Call:
    """One tensor of any values and shape."""
    return (draw(arrays(among(_dtypes(name, 1)), shapes())),), {}


def binary(draw: Draw, name: str) -> Call:
    """Two tensors that broadcast, of one dtype or of two that promote; or one and a Python number."""
    dtype = draw(among(_dtypes(name, 2)))
    calm = name in ("pow", "floor_divide", "remainder") or name.endswith("shift")
    pair = draw(xps.mutually_broadcastable_shapes(2, max_dims=3, max_side=4)).input_shapes
    x = draw(arrays(dtype, pair[0], calm))
    other = draw(among([d for d in _dtypes(name, 2) if _promotes(dtype, d)]))
    y = draw(arrays(other, pair[1], calm))
    if "int" in other and (name in ("pow", "floor_divide", "remainder") or name.endswith("shift")):
        y = ml.where(y <= 0, ml.ones_like(y), y)  # undefined otherwise
    if dtype == other and "complex" not in dtype and draw(st.integers(0, 4)) == 0:
        number = ml.reshape(y, (-1,))[0].item() if y.size else (True if dtype == "bool" else 1)
        return ((x, number), {})
    return (x, y), {}


def _promotes(a: str, b: str) -> bool:
    kinds = [
        next(k for k in ("bool", "uint", "int", "float", "complex") if one.startswith(k)) for one in (a, b)
    ]
    whole = [kind in ("uint", "int") for kind in kinds]
    if kinds[0] == "bool" or kinds[1] == "bool":
        return kinds[0] == kinds[1]
    if all(whole):
        return kinds[0] == kinds[1] or "uint64" not in (a, b)
    return whole[0] == whole[1]


def reduction(draw: Draw, name: str) -> Call:
    """A tensor, axes, keepdims, and what else the signature has: dtype, correction, which norm."""
    loud = name in ("max", "min", "any", "all", "count_nonzero", "argmax", "argmin")
    dtypes = _dtypes(name, 1)
    shape = draw(shapes(side=1 if name in ("max", "min", "argmax", "argmin") else 0))
    x = draw(arrays(among(dtypes), shape, calm=not loud))
    kwargs: dict[str, Any] = {}
    asked = parameters(name)
    if draw(st.booleans()):
        axis = axes_of(draw, x.ndim)
        kwargs["axis"] = (
            (axis[0] if axis else None) if name.startswith("arg") and isinstance(axis, tuple) else axis
        )
    if draw(st.booleans()):
        kwargs["keepdims"] = draw(st.booleans())
    if "correction" in asked and draw(st.booleans()):
        kwargs["correction"] = draw(st.sampled_from([0, 1, 0.5]))
    if "dtype" in asked and draw(st.booleans()) and x.dtype.kind == "f":
        kwargs["dtype"] = ml.float64
    return (x,), kwargs


def derived(name: str) -> Callable[[Draw], Call] | None:
    """The maker that the signature alone gives."""
    asked = parameters(name)
    if name in MAKERS or "." in name:
        return MAKERS.get(name)
    if list(asked) == ["x"]:
        return lambda draw: unary(draw, name)
    if list(asked) == ["x1", "x2"]:
        return lambda draw: binary(draw, name)
    if {"x", "axis", "keepdims"} <= set(asked):
        return lambda draw: reduction(draw, name)
    return None


# -- creation ---------------------------------------------------------------------------------------------------


@makes("zeros", "ones", "empty")
def _made(draw: Draw) -> Call:
    return (draw(shapes()),), {"dtype": getattr(ml, draw(among(DTYPES)))}


@makes("zeros_like", "ones_like", "empty_like")
def _made_like(draw: Draw) -> Call:
    dtype = draw(st.none() | among(DTYPES))
    return (draw(arrays(among(DTYPES), shapes())),), {} if dtype is None else {"dtype": getattr(ml, dtype)}


def _number(draw: Draw, dtype: str) -> Any:
    return ml.reshape(draw(arrays(dtype, (1,))), ())[()].item()


@makes("full")
def _full(draw: Draw) -> Call:
    dtype = draw(among(DTYPES))
    return (draw(shapes()), _number(draw, dtype)), {"dtype": getattr(ml, dtype)}


@makes("full_like")
def _full_like(draw: Draw) -> Call:
    dtype = draw(among(DTYPES))
    return (draw(arrays(dtype, shapes())), _number(draw, dtype)), {}


@makes("arange")
def _arange(draw: Draw) -> Call:
    dtype = draw(among(SIGNED + FLOATS))
    step = draw(st.integers(-3, 3).filter(bool))
    start, stop = draw(st.integers(-20, 20)), draw(st.integers(-20, 20))
    args = draw(st.sampled_from([(abs(start),), (start, stop), (start, stop, step)]))
    if "float" in dtype:
        args = tuple(one / 4 for one in args)
    return args, {"dtype": getattr(ml, dtype)}


@makes("linspace")
def _linspace(draw: Draw) -> Call:
    ends = (draw(st.integers(-20, 20)) / 4, draw(st.integers(-20, 20)) / 4)
    kwargs = {"dtype": getattr(ml, draw(among(INEXACT))), "endpoint": draw(st.booleans())}
    return (*ends, draw(st.integers(0, 9))), kwargs


@makes("eye")
def _eye(draw: Draw) -> Call:
    args = (draw(st.integers(0, 4)), *draw(st.sampled_from([(), (None,), (3,), (0,)])))
    return args, {"k": draw(st.integers(-5, 5)), "dtype": getattr(ml, draw(among(NUMERIC)))}


@makes("asarray")
def _asarray(draw: Draw) -> Call:
    dtype = draw(among(DTYPES))
    x = draw(arrays(dtype, shapes()))
    return (draw(st.sampled_from([x, x.tolist()])),), {"dtype": x.dtype}


@makes("tril", "triu")
def _triangle(draw: Draw) -> Call:
    return (draw(arrays(among(DTYPES), shapes(2))),), {"k": draw(st.integers(-4, 4))}


@makes("meshgrid")
def _meshgrid(draw: Draw) -> Call:
    dtype = draw(among(NUMERIC))
    one = [draw(arrays(dtype, shapes(1, 1))) for _ in range(draw(st.integers(1, 3)))]
    return tuple(one), {"indexing": draw(st.sampled_from(["xy", "ij"]))}


# -- dtypes and shapes ------------------------------------------------------------------------------------------


@makes("astype")
def _astype(draw: Draw) -> Call:
    x = draw(arrays(among(DTYPES), shapes(), calm=True))
    wanted = [d for d in DTYPES if x.dtype.kind != "c" or "complex" in d]
    target = draw(among(wanted))
    if target[0] == "u" and x.dtype.kind in "if":
        x = ml.abs(x)
    return (x, getattr(ml, target)), {"copy": draw(st.booleans())}


@makes("can_cast")
def _can_cast(draw: Draw) -> Call:
    a = draw(among(DTYPES))
    return (getattr(ml, a), getattr(ml, draw(among([d for d in DTYPES if _promotes(a, d)])))), {}


@makes("result_type")
def _result_type(draw: Draw) -> Call:
    dtype = draw(among(DTYPES))
    some: list[Any] = [getattr(ml, dtype), draw(arrays(dtype, (2,)))]
    some += {"b": [True], "i": [1], "u": [1], "f": [1, 2.5], "c": [1, 2.5, 1j]}[some[0].kind]
    return tuple(some[: draw(st.integers(1, len(some)))]), {}


@makes("isdtype")
def _isdtype(draw: Draw) -> Call:
    kinds = (
        "bool",
        "signed integer",
        "unsigned integer",
        "integral",
        "real floating",
        "complex floating",
        "numeric",
    )
    kind = draw(st.sampled_from([*kinds, kinds[:2], getattr(ml, draw(among(DTYPES)))]))
    return (getattr(ml, draw(among(DTYPES))), kind), {}


@makes("broadcast_shapes")
def _broadcast_shapes(draw: Draw) -> Call:
    return tuple(draw(xps.mutually_broadcastable_shapes(draw(st.integers(1, 3)))).input_shapes), {}


@makes("broadcast_arrays")
def _broadcast_arrays(draw: Draw) -> Call:
    some = draw(xps.mutually_broadcastable_shapes(2, max_dims=3, max_side=3)).input_shapes
    return tuple(draw(arrays(among(DTYPES), one)) for one in some), {}


@makes("broadcast_to")
def _broadcast_to(draw: Draw) -> Call:
    found = draw(xps.mutually_broadcastable_shapes(2, max_dims=3, max_side=3))
    return (draw(arrays(among(DTYPES), found.input_shapes[0])), found.result_shape), {}


@makes("reshape")
def _reshape(draw: Draw) -> Call:
    x = draw(arrays(among(DTYPES), shapes()))
    target = list(draw(st.permutations(x.shape)))
    if target and x.size and draw(st.booleans()):
        target[0] = -1
    return (x, tuple(target)), {"copy": draw(st.sampled_from([None, True]))}


@makes("permute_dims")
def _permute_dims(draw: Draw) -> Call:
    x = draw(arrays(among(DTYPES), shapes()))
    return (x, tuple(draw(st.permutations(range(x.ndim))))), {}


@makes("expand_dims")
def _expand_dims(draw: Draw) -> Call:
    x = draw(arrays(among(DTYPES), shapes()))
    return (x, draw(st.integers(-x.ndim - 1, x.ndim))), {}


@makes("squeeze")
def _squeeze(draw: Draw) -> Call:
    x = draw(arrays(among(DTYPES), shapes()))
    ones = [i for i, d in enumerate(x.shape) if d == 1]
    return (x, tuple(ones[: draw(st.integers(0, 3))]) if len(ones) != 1 else ones[0]), {}


@makes("flip")
def _flip(draw: Draw) -> Call:
    x = draw(arrays(among(DTYPES), shapes()))
    return (x,), {"axis": axes_of(draw, x.ndim)}


@makes("roll")
def _roll(draw: Draw) -> Call:
    x = draw(arrays(among(DTYPES), shapes()))
    axis = axes_of(draw, x.ndim)
    if isinstance(axis, tuple):
        return (x, tuple(draw(st.integers(-9, 9)) for _ in axis)), {"axis": axis}
    return (x, draw(st.integers(-9, 9))), {"axis": axis}


@makes("moveaxis")
def _moveaxis(draw: Draw) -> Call:
    x = draw(arrays(among(DTYPES), shapes(1)))
    count = draw(st.integers(1, x.ndim))
    pick = [tuple(draw(st.permutations(range(x.ndim)))[:count]) for _ in "ab"]
    return (x, *(draw(st.sampled_from([pick, [axis_of(draw, x.ndim) for _ in "ab"]])))), {}


@makes("tile")
def _tile(draw: Draw) -> Call:
    return (draw(arrays(among(DTYPES), shapes(0, 2))), draw(shapes(0, 3))), {}


@makes("repeat")
def _repeat(draw: Draw) -> Call:
    x = draw(arrays(among(DTYPES), shapes()))
    axis = draw(st.sampled_from([None, *range(-x.ndim, x.ndim)]))
    size = x.size if axis is None else x.shape[axis]
    counts = ml.asarray(draw(st.lists(st.integers(0, 3), min_size=size, max_size=size)), dtype=ml.int64)
    return (x, draw(st.sampled_from([draw(st.integers(0, 3)), counts]))), {"axis": axis}


@makes("concat", "stack")
def _joined(draw: Draw, name: str) -> Call:
    shape = draw(shapes(1 if name == "concat" else 0))
    dtype = draw(among(DTYPES))
    kinds = [d for d in DTYPES if _promotes(dtype, d)]
    some = [
        draw(arrays(among(kinds[:2] if name == "stack" else [dtype]), shape))
        for _ in range(draw(st.integers(1, 3)))
    ]
    axis = draw(st.integers(-len(shape), len(shape) - (name == "concat")))
    if name == "stack":
        axis = draw(st.integers(-len(shape) - 1, len(shape)))
    return (some,), {"axis": axis}


@makes("unstack")
def _unstack(draw: Draw) -> Call:
    x = draw(arrays(among(DTYPES), shapes(1)))
    return (x,), {"axis": axis_of(draw, x.ndim)}


# -- elementwise, with more than tensors ------------------------------------------------------------------------


@makes("where")
def _where(draw: Draw) -> Call:
    some = draw(xps.mutually_broadcastable_shapes(3, max_dims=3, max_side=3)).input_shapes
    dtype = draw(among(DTYPES))
    x, y = (draw(arrays(dtype, one)) for one in some[1:])
    return (draw(arrays("bool", some[0])), x, y), {}


@makes("clip")
def _clip(draw: Draw) -> Call:
    some = draw(xps.mutually_broadcastable_shapes(2, max_dims=3, max_side=3)).input_shapes
    dtype = draw(among(REAL))
    x, low = draw(arrays(dtype, some[0], calm=True)), draw(arrays(dtype, some[1], calm=True))
    top = low + ml.ones_like(low)
    bounds = [(low, top), (low, None), (None, top), (None, None), (1, 3)]
    chosen = draw(st.sampled_from(bounds))
    shape = [one.shape for one in chosen if isinstance(one, ml.Tensor)]
    if shape and ml.broadcast_shapes(x.shape, *shape) != x.shape:
        chosen = (1, 3)
    return (x, *chosen), {}


@makes("diff")
def _diff(draw: Draw) -> Call:
    x = draw(arrays(among(NUMERIC), shapes(1, side=1), calm=True))
    kwargs: dict[str, Any] = {"axis": axis_of(draw, x.ndim), "n": draw(st.integers(0, 2))}
    for end in ("prepend", "append"):
        if draw(st.booleans()):
            kwargs[end] = x
    return (x,), kwargs


@makes("isin")
def _isin(draw: Draw) -> Call:
    dtype = draw(among(INTEGERS))
    some = (draw(arrays(dtype, shapes(), calm=True)), draw(arrays(dtype, shapes(), calm=True)))
    return some, {}  # array_api_strict does not look at invert


@makes("cumulative_sum", "cumulative_prod")
def _scan(draw: Draw) -> Call:
    x = draw(arrays(among(NUMERIC), shapes(1), calm=True))
    kwargs: dict[str, Any] = {"axis": axis_of(draw, x.ndim) if x.ndim > 1 or draw(st.booleans()) else None}
    return (x,), {**kwargs, "include_initial": draw(st.booleans())}


# -- searching and sorting --------------------------------------------------------------------------------------


@makes("sort", "argsort")
def _sort(draw: Draw) -> Call:
    x = draw(arrays(among(INTEGERS + FLOATS), shapes(1), calm=True))
    return (x,), {"axis": axis_of(draw, x.ndim), "descending": draw(st.booleans()), "stable": True}


@makes("argmax", "argmin")
def _place(draw: Draw, name: str) -> Call:
    x = draw(arrays(among(REAL), shapes(side=1), calm=True))
    axis = draw(st.sampled_from([None, *range(-x.ndim, x.ndim)]))
    return (x,), {"axis": axis, "keepdims": draw(st.booleans())}


@makes("searchsorted")
def _searchsorted(draw: Draw) -> Call:
    dtype = draw(among(REAL))
    x = draw(arrays(dtype, shapes(1, 1), calm=True))
    side = draw(st.sampled_from(["left", "right"]))
    wanted = draw(arrays(dtype, shapes(), calm=True))
    if draw(st.booleans()):
        return (x, wanted), {"side": side, "sorter": ml.argsort(x)}
    return (ml.sort(x), draw(st.sampled_from([wanted, 2]))), {"side": side}


@makes("nonzero")
def _nonzero(draw: Draw) -> Call:
    return (draw(arrays(among(DTYPES), shapes(1))),), {}


@makes("take")
def _take(draw: Draw) -> Call:
    x = draw(arrays(among(DTYPES), shapes(1, side=1)))
    axis = axis_of(draw, x.ndim)
    places = st.integers(-x.shape[axis], x.shape[axis] - 1)
    indices = ml.asarray(draw(st.lists(places, max_size=5)), dtype=ml.int64)
    return (x, indices), {"axis": axis}


@makes("take_along_axis")
def _take_along_axis(draw: Draw) -> Call:
    x = draw(arrays(among(DTYPES), shapes(1, side=1)))
    axis = axis_of(draw, x.ndim)
    shape = list(x.shape)
    shape[axis] = draw(st.integers(0, 4))
    size = x.shape[axis]
    return (x, draw(xps.arrays(ml.int64, tuple(shape), elements=st.integers(-size, size - 1)))), {
        "axis": axis
    }


# -- products ---------------------------------------------------------------------------------------------------


@makes("matmul", "linalg.matmul")
def _matmul(draw: Draw) -> Call:
    dtype, (n, k, m) = draw(among(NUMERIC)), (draw(st.integers(0, 4)) for _ in range(3))
    batch = draw(xps.mutually_broadcastable_shapes(2, max_dims=1, max_side=3)).input_shapes
    left = draw(st.sampled_from([(k,), (*batch[0], n, k)]))
    right = draw(st.sampled_from([(k,), (*batch[1], k, m)]))
    return (draw(arrays(dtype, left, calm=True)), draw(arrays(dtype, right, calm=True))), {}


@makes("matrix_transpose", "linalg.matrix_transpose")
def _matrix_transpose(draw: Draw) -> Call:
    return (draw(arrays(among(DTYPES), shapes(2))),), {}


@makes("vecdot", "linalg.vecdot")
def _vecdot(draw: Draw) -> Call:
    dtype, size = draw(among(NUMERIC)), draw(st.integers(0, 4))
    rest = draw(xps.mutually_broadcastable_shapes(2, max_dims=2, max_side=3)).input_shapes
    axis = draw(st.sampled_from([-1, -2])) if min(map(len, rest)) else -1

    def put(shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape, size) if axis == -1 else (*shape[:-1], size, shape[-1])

    return tuple(draw(arrays(dtype, put(one), calm=True)) for one in rest), {"axis": axis}


@makes("tensordot", "linalg.tensordot")
def _tensordot(draw: Draw) -> Call:
    dtype = draw(among(NUMERIC))
    shared = draw(shapes(0, 2))
    a, b = draw(shapes(0, 2)), draw(shapes(0, 2))
    x, y = draw(arrays(dtype, a + shared, calm=True)), draw(arrays(dtype, shared + b, calm=True))
    n = len(shared)
    lists = (tuple(range(-n, 0)), tuple(range(n)))
    return (x, y), {"axes": draw(st.sampled_from([n, lists]))}


@makes("linalg.outer")
def _outer(draw: Draw) -> Call:
    dtype = draw(among(NUMERIC))
    return tuple(draw(arrays(dtype, shapes(1, 1), calm=True)) for _ in "ab"), {}


@makes("linalg.cross")
def _cross(draw: Draw) -> Call:
    dtype = draw(among(NUMERIC))
    rest = draw(xps.mutually_broadcastable_shapes(2, max_dims=2, max_side=3)).input_shapes
    return tuple(draw(arrays(dtype, (*one, 3), calm=True)) for one in rest), {}


# -- matrices ---------------------------------------------------------------------------------------------------


def matrices(draw: Draw, dtypes: list[str], square: bool = False) -> Any:
    """A stack of matrices, empty ones among them."""
    rows, columns = draw(st.integers(0, 4)), draw(st.integers(0, 4))
    batch = draw(shapes(0, 1))
    return draw(arrays(among(dtypes), (*batch, rows, rows if square else columns), calm=True))


def heavy(x: Any) -> Any:
    """With a diagonal that keeps a matrix far from singular."""
    return x + ml.eye(x.shape[-2], x.shape[-1], dtype=x.dtype) * 40


def hermitian(x: Any) -> Any:
    return x + (ml.conj(x.mT) if x.dtype.kind == "c" else x.mT)


@makes("linalg.det", "linalg.inv", "linalg.slogdet")
def _square(draw: Draw) -> Call:
    x = matrices(draw, INEXACT, square=True)
    return (draw(st.sampled_from([x, heavy(x)])),), {}


@makes("linalg.cholesky")
def _definite(draw: Draw) -> Call:
    x = hermitian(matrices(draw, INEXACT, square=True))
    return (draw(st.sampled_from([x, heavy(x)])),), {"upper": draw(st.booleans())}


@makes("linalg.eigh", "linalg.eigvalsh")
def _hermitian(draw: Draw) -> Call:
    return (hermitian(matrices(draw, INEXACT, square=True)),), {}


@makes("linalg.svdvals", "linalg.svd", "linalg.qr", "linalg.pinv", "linalg.matrix_rank")
def _any_matrix(draw: Draw, name: str) -> Call:
    kwargs: dict[str, Any] = {}
    if name == "linalg.svd":
        kwargs["full_matrices"] = draw(st.booleans())
    if name == "linalg.qr":
        kwargs["mode"] = draw(st.sampled_from(["reduced", "complete"]))
    if name in ("linalg.pinv", "linalg.matrix_rank"):
        kwargs["rtol"] = draw(st.sampled_from([None, 1e-3]))
    x = heavy(matrices(draw, INEXACT))
    if name == "linalg.matrix_rank" and not x.shape[-1] * x.shape[-2]:  # which array_api_strict refuses
        x = ml.ones((2, 3))
    return (x,), kwargs


@makes("linalg.solve")
def _solve(draw: Draw) -> Call:
    x = heavy(matrices(draw, INEXACT, square=True))
    shape = draw(st.sampled_from([x.shape[-1:], (x.shape[-1], 2), (*x.shape[:-1], 3)]))
    return (x, draw(arrays(x.dtype.name, shape, calm=True))), {}


@makes("linalg.diagonal", "linalg.trace")
def _diagonal(draw: Draw, name: str) -> Call:
    return (matrices(draw, DTYPES if name.endswith("diagonal") else NUMERIC),), {
        "offset": draw(st.integers(-3, 3))
    }


@makes("linalg.matrix_power")
def _power(draw: Draw) -> Call:
    return (heavy(matrices(draw, FLOATS, square=True)), draw(st.integers(-3, 4))), {}


ORDERS = [1, -1, 2, -2, math.inf, -math.inf]


@makes("linalg.matrix_norm")
def _matrix_norm(draw: Draw) -> Call:
    order = draw(st.sampled_from(["fro", "nuc", *ORDERS]))
    x = draw(arrays(among(INEXACT), xps.array_shapes(min_dims=2, max_dims=3, max_side=4), calm=True))
    return (x,), {"ord": order, "keepdims": draw(st.booleans())}


@makes("linalg.vector_norm")
def _vector_norm(draw: Draw) -> Call:
    order = draw(st.sampled_from([0, 0.5, 3, *ORDERS]))
    x = draw(arrays(among(INEXACT), shapes(0, side=1), calm=True)) + 9
    return (x,), {"ord": order, "axis": axes_of(draw, x.ndim), "keepdims": draw(st.booleans())}


# -- Fourier transforms -----------------------------------------------------------------------------------------

NORMS = st.sampled_from(["backward", "ortho", "forward"])


@makes("fft.fft", "fft.ifft", "fft.rfft", "fft.irfft", "fft.hfft", "fft.ihfft")
def _transform(draw: Draw, name: str) -> Call:
    real = name in ("fft.rfft", "fft.ihfft")
    low = 2 if name in ("fft.irfft", "fft.hfft") else 1
    x = draw(arrays(among(FLOATS if real else COMPLEX), shapes(1, side=low), calm=True))
    n = draw(st.sampled_from([None, 1, 2, 5, 6]))
    return (x,), {"n": n, "axis": axis_of(draw, x.ndim), "norm": draw(NORMS)}


@makes("fft.fftn", "fft.ifftn", "fft.rfftn", "fft.irfftn")
def _transforms(draw: Draw, name: str) -> Call:
    low = 2 if name == "fft.irfftn" else 1
    x = draw(arrays(among(FLOATS if name == "fft.rfftn" else COMPLEX), shapes(1, side=low), calm=True))
    axes = draw(
        st.sampled_from([None, tuple(draw(st.permutations(range(x.ndim)))[: draw(st.integers(1, x.ndim))])])
    )
    s = None if axes is None else draw(st.sampled_from([None, tuple(draw(st.integers(1, 5)) for _ in axes)]))
    return (x,), {"axes": axes, "s": s, "norm": draw(NORMS)}


@makes("fft.fftfreq", "fft.rfftfreq")
def _frequencies(draw: Draw) -> Call:
    d = draw(st.sampled_from([1.0, 0.25, 3.0]))
    return (draw(st.integers(1, 9)),), {"d": d, "dtype": getattr(ml, draw(among(FLOATS)))}


@makes("fft.fftshift", "fft.ifftshift")
def _shift(draw: Draw) -> Call:
    x = draw(arrays(among(INEXACT), shapes(1)))
    return (x,), {"axes": axes_of(draw, x.ndim)}


def uncovered() -> list[str]:
    """Functions of the standard that no call is made of."""
    return [name for name in FUNCTIONS if derived(name) is None and name not in TOLD]
