"""Operations that somebody else declares: they get a function, a method, a gradient, checks and composition."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore.dtypes import floating, numeric
from mlcore.errors import ArgumentError, ArgumentTypeError, DTypeError, ShapeError
from mlcore.ops import registry
from mlcore.ops.attach import attach
from mlcore.ops.spec import binary, composite, function, out, primitive, reduction, unary


@pytest.fixture(scope="module", autouse=True)
def _ops() -> Any:
    before = set(registry._ops), set(registry._functions)
    made = [
        unary(
            "zz_softsign",
            "`x / (1 + |x|)`.",
            reference=lambda x: x / (1 + np.abs(x)),
            c="x / (T(1) + fabs(x))",
            accepts=floating,
            domain=(-10, 10),
            ulp=2,
            vjp=lambda g, x: g / (1 + abs(x)) ** 2,
        ),
        binary(
            "zz_blend",
            "`(x1 + x2) / 2`.",
            reference=lambda a, b: (a + b) / 2,
            c="(x1 + x2) / 2",
            accepts=floating,
            vjp=(lambda g: g * 0.5, lambda g: g * 0.5),
        ),
        reduction(
            "zz_energy",
            "Sum of squares.",
            c="a + x * x",
            c_init="0",
            accepts=numeric,
            method=True,
            reference=lambda x, axis, keepdims: np.asarray(
                np.sum(x * x, axis=axis, keepdims=keepdims, dtype=x.dtype)
            ),
        ),
    ]

    def scale_rule(x: Any, /, by: float = 2.0) -> Any:
        """`x * by`, as a composite without a gradient of its own."""
        if not by > 0:
            raise ArgumentError(f"zz_scale: by is {by}", fix="use a positive number")
        return out(x.shape, x.dtype, float(by))

    @composite(scale_rule, accepts=floating, method=True)
    def zz_scale(x: Any, /, by: float = 2.0) -> Any:
        """`x * by * x`."""
        return x * by * x

    @primitive(reference=lambda x, shift: np.roll(x, shift), vjp=lambda g, shift: zz_rolled(g, shift=-shift))
    def zz_rolled(x: Any, /, *, shift: int) -> Any:
        """Flattened elements moved round."""
        return out(x.shape, x.dtype, int(shift))

    @function(method=True)
    def zz_twice(x: Any, /) -> Any:
        """`x + x`."""
        return x + x

    for op in (*made, zz_scale, zz_rolled, next(f for f in registry.all_functions() if f.name == "zz_twice")):
        attach(op)
    yield
    for table, names in zip((registry._ops, registry._functions), before, strict=True):
        for name in set(table) - names:
            method = getattr(table[name], "method", None)
            if method:
                delattr(ml.Tensor, method)
            # The place in the devices' tables stays taken; only the name is given back.
            del table[name]


def test_function_and_method() -> None:
    x = ml.asarray([1.0, -3.0])
    assert ml.zz_softsign(x).tolist() == x.zz_softsign().tolist() == [0.5, -0.75]
    assert x.zz_blend(3.0).tolist() == ml.zz_blend(x, ml.asarray([3.0, 3.0])).tolist() == [2.0, 0.0]
    assert x.zz_energy().item() == 10.0
    assert ml.zz_energy(x.reshape(1, 2), axis=1, keepdims=True).tolist() == [[10.0]]
    assert x.zz_scale(3.0).tolist() == ml.zz_scale(x, by=3.0).tolist() == [3.0, 27.0]
    assert x.zz_twice().tolist() == [2.0, -6.0]
    assert "zz_softsign" in dir(ml.Tensor)
    assert "x / (1 + |x|)" in ml.zz_softsign.__doc__


def test_gradients_of_two_orders() -> None:
    host = np.array([1.0, -3.0])
    x = ml.asarray(host, requires_grad=True)
    (first,) = ml.autograd.grad(x.zz_softsign().sum(), x, create_graph=True)
    np.testing.assert_allclose(np.asarray(first), 1 / (1 + np.abs(host)) ** 2)
    (second,) = ml.autograd.grad(first.sum(), x)
    np.testing.assert_allclose(np.asarray(second), -2 * np.sign(host) / (1 + np.abs(host)) ** 3)
    assert ml.autograd.grad(x.zz_scale(3.0).sum(), x)[0].tolist() == [6.0, -18.0]
    assert ml.autograd.grad((ml.zz_rolled(x, shift=1) * ml.asarray([1.0, 10.0])).sum(), x)[0].tolist() == [
        10.0,
        1.0,
    ]
    wide = ml.ones((3, 1), requires_grad=True)
    ml.zz_blend(wide, ml.ones((4,))).sum().backward()
    assert wide.grad.tolist() == [[2.0]] * 3
    with pytest.raises(ml.errors.AutogradError):
        ml.ones((2,), requires_grad=True).zz_energy().backward()  # declared without a gradient


def test_checks_come_with_the_declaration() -> None:
    with pytest.raises(ShapeError, match=r"zz_blend: cannot broadcast \(2,\) with \(3,\)"):
        ml.zz_blend(ml.ones((2,)), ml.ones((3,)))
    assert ml.zz_softsign(ml.asarray([1])).dtype is ml.float32  # integers become floats
    with pytest.raises(DTypeError, match="zz_softsign: complex64 is not accepted"):
        ml.zz_softsign(ml.asarray([1j]))
    with pytest.raises(ArgumentError, match=r"zz_scale: by is -1\.0"):
        ml.zz_scale(ml.ones((2,)), -1.0)
    with pytest.raises(ArgumentTypeError, match="zz_scale: unknown argument 'times'"):
        ml.zz_scale(ml.ones((2,)), times=3)
    with pytest.raises(ArgumentTypeError, match="zz_rolled: missing argument 'shift'"):
        ml.zz_rolled(ml.ones((2,)))
    with pytest.raises(ArgumentTypeError, match="zz_softsign: argument 'x' is a str"):
        ml.zz_softsign("text")


def test_it_is_found_by_name() -> None:
    op = registry.get("zz_softsign")
    assert op is ml.zz_softsign
    assert pickle.loads(pickle.dumps(op)) is op
    with pytest.raises(ml.errors.UnsupportedOpError, match="did you mean 'zz_softsign'"):
        registry.get("zz_softsing")


def test_declarations_that_contradict_themselves() -> None:
    with pytest.raises(ValueError, match="an operation named 'tanh' is registered already"):
        unary("tanh", "Twice.", reference=np.tanh)
    with pytest.raises(TypeError, match="needs a reference or a body"):
        unary("zz_nothing", "Nothing.")
    with pytest.raises(TypeError, match="its vjp names 'q'"):
        unary("zz_wrong", "Wrong.", reference=np.tanh, vjp=lambda g, q: g)
    with pytest.raises(TypeError, match="1 gradients for 2 inputs"):
        binary("zz_short", "Short.", reference=np.add, vjp=(lambda g: g,))
    with pytest.raises(TypeError, match="unknown declaration"):
        unary("zz_extra", "Extra.", reference=np.tanh, colour="red")
    assert not [name for name in registry._ops if name in ("zz_nothing", "zz_wrong", "zz_short", "zz_extra")]
