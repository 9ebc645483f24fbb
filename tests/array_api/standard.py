"""The Array API standard as array_api_strict has it: its functions, what they accept, and how results compare.

Nothing here lists functions: names and signatures are read from the package.
"""

from __future__ import annotations

import inspect
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import array_api_strict as strict
import numpy as np
from hypothesis.extra.array_api import make_strategies_namespace

import mlcore as ml

VERSION = ml.__array_api_version__
strict.set_array_api_strict_flags(api_version=VERSION)
xps = make_strategies_namespace(ml, api_version=VERSION)
EXTENSIONS = ("linalg", "fft")


def functions() -> dict[str, Callable[..., Any]]:
    """{name, dotted in an extension: the strict function} of everything in the standard that can be called."""
    found = {}
    for name in strict.__all__:
        value = getattr(strict, name)
        if isinstance(value, types.FunctionType) and "strict_flags" not in name:
            found[name] = value
    for extension in EXTENSIONS:
        space = getattr(strict, extension)
        for name in space.__all__:
            if isinstance(value := getattr(space, name), types.FunctionType):
                found[f"{extension}.{name}"] = value
    return found


FUNCTIONS = functions()
# What makes no tensors, held to the standard by tests of its own.
TOLD = ("__array_namespace_info__", "finfo", "iinfo", "from_dlpack")
DTYPES = [name for name in strict.__all__ if isinstance(getattr(strict, name), strict._dtypes.DType)]
CONSTANTS = [name for name in strict.__all__ if isinstance(getattr(strict, name), float | type(None))]


def ours(name: str) -> Any:
    """The function of that name in mlcore."""
    found: Any = ml
    for part in name.split("."):
        found = getattr(found, part)
    return found


def parameters(name: str) -> dict[str, inspect.Parameter]:
    """The parameters of a function of the standard."""
    return dict(inspect.signature(FUNCTIONS[name]).parameters)


# -- calling both -----------------------------------------------------------------------------------------------


def to_strict(value: Any) -> Any:
    """A value as array_api_strict takes it: tensors become its arrays, dtypes its dtypes."""
    if isinstance(value, ml.Tensor):
        return strict.asarray(np.array(np.asarray(value)))
    if isinstance(value, ml.DType):
        return getattr(strict, value.name)
    if isinstance(value, list | tuple):
        return type(value)(to_strict(one) for one in value)
    return value


def call_strict(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What array_api_strict makes of a call, warnings about overflow aside."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's, of what is empty
        return FUNCTIONS[name](*to_strict(args), **{key: to_strict(value) for key, value in kwargs.items()})


def accepted(name: str, count: int = 1, shape: tuple[int, ...] = (1,)) -> list[str]:
    """The dtypes for which array_api_strict runs a function of `count` arrays."""
    found = []
    for dtype in DTYPES:
        one = strict.ones(shape, dtype=getattr(strict, dtype))
        try:
            with np.errstate(all="ignore"):
                FUNCTIONS[name](*[one] * count)
        except TypeError:
            continue
        found.append(dtype)
    return found


# -- comparing --------------------------------------------------------------------------------------------------


def leaves(value: Any) -> Iterator[Any]:
    """The arrays, numbers and dtypes in a result."""
    if isinstance(value, list | tuple) and not (value and all(isinstance(one, int) for one in value)):
        for one in value:
            yield from leaves(one)
    else:
        yield value


def compare(found: Any, wanted: Any, loose: float = 0.0) -> int:
    """Hold a result against array_api_strict's; returns how many elements were compared.

    Integers and bools are equal, shapes and dtypes too; floats agree to 8 units in the last place, and to `loose`
    of them of the largest magnitude where a function adds up.
    """
    if hasattr(wanted, "_fields"):
        assert found._fields == wanted._fields
    mine, theirs = list(leaves(found)), list(leaves(wanted))
    assert len(mine) == len(theirs)
    return sum(_compare_one(a, b, loose) for a, b in zip(mine, theirs, strict=True))


def _compare_one(found: Any, wanted: Any, loose: float) -> int:
    if isinstance(wanted, strict._dtypes.DType):
        assert found.name == str(wanted).rpartition(".")[2]
        return 1
    if not hasattr(wanted, "dtype"):
        assert found == wanted
        return 1
    assert isinstance(found, ml.Tensor), type(found)
    assert found.dtype.name == str(wanted.dtype).rpartition(".")[2]
    assert found.shape == wanted.shape
    a, b = np.asarray(found), np.asarray(wanted._array)
    if a.dtype.kind not in "fc":
        np.testing.assert_array_equal(a, b)
        return a.size
    eps = np.finfo(a.dtype).eps
    sizes = np.abs(b[np.isfinite(b)])
    top = float(sizes.max()) if sizes.size else 0.0
    for x, y in [(a, b)] if a.dtype.kind == "f" else [(a.real, b.real), (a.imag, b.imag)]:
        np.testing.assert_allclose(x, y, rtol=8 * eps, atol=loose * eps * top, equal_nan=True)
        if not loose and a.dtype.kind == "f":
            zero = (x == 0) & (y == 0)
            np.testing.assert_array_equal(np.signbit(x[zero]), np.signbit(y[zero]))
    return a.size
