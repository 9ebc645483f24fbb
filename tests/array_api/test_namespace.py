"""The namespace as a whole: every name, every signature, the object that tells what there is."""

from __future__ import annotations

import inspect
from typing import Any

import array_api_compat
import array_api_strict as strict
import numpy as np
import pytest
from standard import CONSTANTS, DTYPES, FUNCTIONS, VERSION, ours, parameters

import mlcore as ml

P = inspect.Parameter


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_every_call_that_the_standard_allows_is_taken(name: str) -> None:
    wanted, mine = parameters(name), dict(inspect.signature(ours(name)).parameters)
    positional = [p for p in wanted.values() if p.kind in (P.POSITIONAL_ONLY, P.POSITIONAL_OR_KEYWORD)]
    taken = [p for p in mine.values() if p.kind in (P.POSITIONAL_ONLY, P.POSITIONAL_OR_KEYWORD)]
    variadic = [p for p in mine.values() if p.kind is P.VAR_POSITIONAL]
    assert variadic or [p.name for p in taken[: len(positional)]] == [p.name for p in positional]
    for one in wanted.values():
        if one.kind is P.VAR_POSITIONAL:
            assert variadic
            continue
        if one.name not in mine:
            raise AssertionError(f"{name} takes no {one.name!r}")
        other = mine[one.name]
        if one.kind is not P.POSITIONAL_ONLY:
            assert other.kind in (P.POSITIONAL_OR_KEYWORD, P.KEYWORD_ONLY), (
                f"{one.name} has to go by name too"
            )
        if one.default is not P.empty and "UNDEF" not in repr(one.default):
            assert other.default == one.default, one.name
    for extra in set(mine) - set(wanted):
        if mine[extra].kind is not P.VAR_POSITIONAL:
            assert mine[extra].default is not P.empty, (
                f"{extra} is needed, and the standard has no such argument"
            )
            assert mine[extra].kind is P.KEYWORD_ONLY, extra


def test_dtypes_and_constants_have_their_names() -> None:
    assert len(DTYPES) >= 13
    for name in DTYPES:
        assert getattr(ml, name).name == name
    for name in CONSTANTS:
        assert getattr(ml, name) is None or np.array_equal(
            getattr(ml, name), getattr(strict, name), equal_nan=True
        )


def test_the_tensor_has_what_an_array_has() -> None:
    public = [
        name for name in dir(strict._array_object.Array) if not name.startswith("_") or name.endswith("__")
    ]
    missing = [name for name in public if not hasattr(ml.Tensor, name)]
    assert not missing


def test_the_namespace_of_a_tensor() -> None:
    x = ml.asarray([1.0])
    assert x.__array_namespace__() is ml
    assert x.__array_namespace__(api_version=VERSION) is ml
    assert x.__array_namespace__(api_version="2024.12") is ml
    with pytest.raises(ValueError, match=r"version '1999\.12' of the Array API is unknown"):
        x.__array_namespace__(api_version="1999.12")


def test_array_api_compat_recognises_us() -> None:
    x = ml.asarray([1.0, 2.0])
    assert array_api_compat.is_array_api_obj(x)
    assert array_api_compat.array_namespace(x) is ml
    assert array_api_compat.array_namespace(x, x + 1, api_version="2024.12") is ml
    assert array_api_compat.device(x) == x.device
    assert array_api_compat.size(x) == 2
    assert array_api_compat.to_device(x, "reference").device == "reference"
    assert not array_api_compat.is_lazy_array(x)
    assert array_api_compat.is_writeable_array(x)


def test_inspection() -> None:
    info = ml.__array_namespace_info__()
    assert info.default_device() is ml.asarray(0).device
    assert info.default_device() in info.devices()
    for device in info.devices():
        assert ml.zeros(1, device=device).device is device
    defaults = info.default_dtypes()
    assert defaults["real floating"] is ml.asarray(0.5).dtype
    assert defaults["integral"] is ml.asarray(1).dtype
    assert defaults["complex floating"] is ml.asarray(1j).dtype
    assert defaults["indexing"] is ml.argmax(ml.asarray([1])).dtype
    assert sorted(info.dtypes()) == sorted(DTYPES)
    kinds = ("bool", "signed integer", "unsigned integer", "real floating", "complex floating")
    assert sorted(info.dtypes(kind=kinds)) == sorted(DTYPES)
    theirs = strict.__array_namespace_info__()
    for kind in (*kinds, "integral", "numeric"):
        assert sorted(info.dtypes(kind=kind)) == sorted(theirs.dtypes(kind=kind))
    assert set(info.capabilities()) == set(theirs.capabilities())


def test_promotion_is_the_standards() -> None:
    """Every pair of dtypes, through result_type, operators and array_api_strict."""
    compared = 0
    for a in DTYPES:
        for b in DTYPES:
            x, y = ml.ones(1, dtype=a), ml.ones(1, dtype=b)
            try:
                wanted = str(strict.result_type(getattr(strict, a), getattr(strict, b))).rpartition(".")[2]
            except TypeError:
                continue  # undefined in the standard
            assert ml.result_type(getattr(ml, a), getattr(ml, b)).name == wanted
            assert ml.result_type(x, y).name == wanted
            assert ml.can_cast(getattr(ml, a), getattr(ml, wanted))
            if a != "bool":
                assert (x * y).dtype.name == wanted
            compared += 1
    assert compared > 70
    print(compared, "pairs of dtypes")


@pytest.mark.parametrize("dtype", DTYPES)
def test_limits_of_dtypes(dtype: str) -> None:
    name = "iinfo" if "int" in dtype else "finfo"
    if dtype == "bool":
        for one in ("iinfo", "finfo"):
            with pytest.raises(TypeError):
                ours(one)(ml.bool)
        return
    wanted = getattr(strict, name)(getattr(strict, dtype))
    for value in (getattr(ml, dtype), ml.ones(1, dtype=dtype)):
        found = getattr(ml, name)(value)
        fields = [f for f in ("bits", "eps", "max", "min", "smallest_normal") if hasattr(wanted, f)]
        assert fields
        for field in fields:
            assert getattr(found, field) == getattr(wanted, field), field
            assert type(getattr(found, field)) is type(getattr(wanted, field)), field
        assert found.dtype.name == str(wanted.dtype).rpartition(".")[2]


def _raises(call: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        call()


def test_python_numbers_are_weak_and_must_fit() -> None:
    x = ml.ones(2, dtype=ml.int8)
    assert (x + 1).dtype is ml.int8
    assert (1 - x).dtype is ml.int8
    assert (ml.ones(2, dtype=ml.float32) * 2).dtype is ml.float32
    assert (ml.ones(2, dtype=ml.complex64) + 1.5).dtype is ml.complex64
    assert (ml.ones(2, dtype=ml.float32) + 1j).dtype is ml.complex64
    _raises(lambda: x + 1000, OverflowError)
    _raises(lambda: ml.asarray([True]) + True, TypeError)
    _raises(lambda: ml.asarray([1.5]) & 1, TypeError)


def test_conversions_to_python() -> None:
    assert complex(ml.asarray(1 + 2j)) == 1 + 2j
    assert complex(ml.asarray(2.5)) == 2.5
    assert float(ml.asarray(3)) == 3.0
    assert int(ml.asarray(-2.7)) == -2
    assert bool(ml.asarray(0.0)) is False
    assert [10, 20, 30][ml.asarray(1)] == 20
    for call in (
        lambda: float(ml.asarray(1j)), lambda: int(ml.asarray(1j)), lambda: [0][ml.asarray(0.0)],
        lambda: [0][ml.asarray(False)],
    ):  # fmt: skip
        _raises(call, TypeError)
    _raises(lambda: int(ml.asarray(float("inf"))), OverflowError)
    _raises(lambda: int(ml.asarray(float("nan"))), ValueError)


def test_copies() -> None:
    x = ml.asarray([1.0, 2.0])
    assert ml.asarray(x, copy=False) is x
    assert ml.astype(x, x.dtype, copy=False) is x
    twin, other = ml.asarray(x, copy=True), ml.astype(x, x.dtype)
    x += 1
    assert twin.tolist() == other.tolist() == [1.0, 2.0]
    _raises(lambda: ml.asarray(x, dtype=ml.float64, copy=False), ValueError)
    _raises(lambda: ml.asarray(x, device="reference", copy=False), ValueError)
    _raises(lambda: ml.asarray(np.zeros(2), copy=False), ValueError)
    _raises(lambda: ml.asarray([1.0], copy=False), ValueError)


def test_devices() -> None:
    x = ml.asarray([1.5])
    moved = x.to_device("reference")
    assert moved.device == "reference"
    assert moved.to_device(x.device).tolist() == [1.5]
    assert ml.astype(x, ml.int32, device="reference").device == "reference"
    for make in (ml.zeros_like, ml.ones_like, ml.empty_like, lambda y, **more: ml.full_like(y, 2, **more)):
        assert make(moved).device == "reference"
        assert make(moved, device=x.device).device is x.device
    _raises(lambda: x + moved, RuntimeError)


def test_transposes_refuse_other_ranks() -> None:
    _raises(lambda: ml.zeros(3).mT, ValueError)
    _raises(lambda: ml.zeros((1, 2, 3)).T, ValueError)
    assert ml.zeros((1, 2, 3)).mT.shape == (1, 3, 2)


def test_shapes_may_be_lists() -> None:
    assert ml.reshape(ml.arange(6), [2, -1]).shape == (2, 3)
    assert ml.zeros([2, 3]).shape == (2, 3)
    assert ml.broadcast_to(ml.zeros(3), [2, 3]).shape == (2, 3)
    assert ml.permute_dims(ml.zeros((2, 3)), [1, 0]).shape == (3, 2)
