"""Calls on tensors that are refused: (the call, the error, what its text says), by area."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import mlcore as ml
from mlcore.errors import (
    ArgumentError,
    ArgumentTypeError,
    AutogradError,
    DeviceError,
    DivisionError,
    DTypeError,
    MlcoreError,
    OutOfMemoryError,
    OutOfRangeError,
    ShapeError,
    UnsupportedOpError,
    ValueRangeError,
)

Row = tuple[Callable[[], Any], type[Exception], str]
INF, NAN = float("inf"), float("nan")


def x() -> Any:
    return ml.ones((2, 3))


def v() -> Any:
    return ml.ones((3,))


def i() -> Any:
    return ml.asarray([1, 2, 3])


def conv(**how: Any) -> Any:
    return ml.registry.get("convolution")(ml.ones((1, 2, 5)), ml.ones((3, 2, 3)), **how)


def run(name: str, *args: Any, **how: Any) -> Any:
    return ml.registry.get(name)(*args, **how)


SIZES: list[Row] = [
    (lambda: ml.zeros(-1), ShapeError, r"negative dimension -1 in \(-1,\)"),
    (lambda: ml.ones((2, -3)), ShapeError, r"negative dimension -3 in \(2, -3\)"),
    (lambda: ml.zeros("ab"), ArgumentTypeError, "expected ints, got 'ab'"),
    (lambda: ml.zeros(2.5), ArgumentTypeError, r"expected ints, got 2\.5"),
    (lambda: ml.zeros((2**32, 2**32)), ShapeError, r"element count of \(4294967296, 4294967296\) overflows"),
    (lambda: ml.zeros((2**33, 2**31)), ShapeError, "overflows"),
    (
        lambda: ml.zeros((2**44,)),
        OutOfMemoryError,
        r"70,368,744,177,664 bytes for shape \(17592186044416,\), float32",
    ),
    (lambda: ml.tile(v(), 2**60), MlcoreError, "bytes for shape|overflows"),
    (lambda: ml.tile(x(), (2**40, 2**40)), ShapeError, "overflows"),
    (lambda: ml.repeat(v(), 2**62), ShapeError, "overflows"),
    (
        lambda: ml.broadcast_to(v(), (2**40, 3)),
        OutOfMemoryError,
        r"broadcast_to: cannot allocate 13,194,139,533,312 bytes",
    ),
    (lambda: ml.eye(2**33), ShapeError, "overflows"),
    (lambda: ml.linspace(0, 1, 2**45), OutOfMemoryError, "linspace: .*35184372088832"),
    (lambda: ml.random.normal((2**45,)), OutOfMemoryError, "35184372088832"),
    (lambda: ml.random.permutation(2**50), OutOfMemoryError, "1125899906842624"),
    (lambda: ml.pad(v(), 2**62), MlcoreError, "overflows"),
    (lambda: ml.arange(2**63), ShapeError, "overflows"),
    (lambda: ml.eye(-2), ShapeError, r"negative dimension -2 in \(-2, -2\)"),
    (lambda: ml.eye(2.5), ArgumentTypeError, r"eye: .*given: +n_rows=2\.5"),
    (lambda: ml.linspace(0, 1, -1), ArgumentError, "num is -1"),
    (lambda: ml.linspace(0, 1, 2.5), ArgumentTypeError, r"num=2\.5"),
    (lambda: ml.arange(0, 10, 0), ArgumentError, "step is 0"),
    (lambda: ml.arange(0, INF), ArgumentError, "stop inf"),
    (lambda: ml.arange("a"), ArgumentTypeError, "start='a'"),
]
DATA: list[Row] = [
    (lambda: ml.asarray([[1, 2], [3]]), ShapeError, "rows of different lengths: 1, 2"),
    (lambda: ml.asarray([[1, [2]], [3, 4]]), ShapeError, "rows of different lengths: 0, 1"),
    (lambda: ml.asarray([ml.ones(2), ml.ones(3)]), ShapeError, "cannot make a tensor from nested data"),
    (lambda: ml.asarray("abc"), DTypeError, "NumPy dtype <U3"),
    (lambda: ml.asarray(["a", "bc"]), DTypeError, "NumPy dtype <U2"),
    (lambda: ml.asarray(b"ab"), DTypeError, r"NumPy dtype \|S2"),
    (lambda: ml.asarray([None]), DTypeError, "NumPy dtype object"),
    (lambda: ml.asarray({1: 2}), DTypeError, "NumPy dtype object"),
    (lambda: ml.asarray(np.array([object()])), DTypeError, "NumPy dtype object"),
    (lambda: ml.asarray(np.array(["2020-01-01"], dtype="M8[D]")), DTypeError, r"datetime64\[D\]"),
    (lambda: ml.asarray(np.zeros(2, dtype=[("a", int)])), DTypeError, "'a'"),
    (lambda: ml.asarray(np.longdouble(1)), DTypeError, "float128|longdouble|no mlcore counterpart"),
    (
        lambda: ml.asarray([300], dtype="uint8"),
        ValueRangeError,
        r"values from 300 to 300 do not fit uint8 \(0 to 255\)",
    ),
    (lambda: ml.asarray(-1, dtype="uint8"), ValueRangeError, "the number -1 does not fit uint8"),
    (lambda: ml.asarray([NAN], dtype="int32"), ValueRangeError, "nan to nan do not fit int32"),
    (lambda: ml.asarray(np.array([1e30]), dtype="int8"), ValueRangeError, r"1e\+30 do not fit int8"),
    (lambda: ml.asarray(2**70), ValueRangeError, "1180591620717411303424 does not fit int64"),
    (lambda: ml.asarray(10**400, dtype="float32"), ValueRangeError, "does not fit float32"),
    (lambda: ml.asarray([1j], dtype="float32"), DTypeError, "complex data is no float32"),
    (lambda: ml.full((2,), 1j, dtype="float32"), DTypeError, "complex number 1j is no float32"),
    (lambda: ml.full((2,), 300, dtype="uint8"), ValueRangeError, "the number 300 does not fit uint8"),
    (lambda: ml.full((2,), NAN, dtype="int32"), ValueRangeError, "the number nan does not fit int32"),
    (lambda: ml.full((2,), "a"), ArgumentTypeError, "fill_value must be a number, got str"),
    (lambda: ml.asarray([1.0], copy=False), ArgumentError, "copy=False"),
    (lambda: ml.asarray(), ArgumentTypeError, "asarray: missing a required argument: 'obj'"),
    (lambda: ml.asarray(1, float), ArgumentTypeError, "asarray: too many positional arguments"),
]
DTYPES: list[Row] = [
    (lambda: ml.zeros((2,), dtype="flaot32"), DTypeError, "unknown dtype 'flaot32'; did you mean 'float32'"),
    (lambda: ml.zeros((2,), dtype=object), DTypeError, "object has no mlcore counterpart"),
    (lambda: x().astype("flat"), DTypeError, "unknown dtype 'flat'"),
    (lambda: x().astype(3), DTypeError, "not a dtype: 3"),
    (lambda: x().astype(), ArgumentTypeError, "astype: missing argument 'dtype'"),
    (
        lambda: ml.asarray([1j]).astype("float32"),
        DTypeError,
        "complex64 to float32 would drop the imaginary part",
    ),
    (
        lambda: ml.asarray([1], dtype="uint64") + ml.asarray([1]),
        DTypeError,
        "uint64 and int64 do not promote",
    ),
    (lambda: ml.asarray([True]) + ml.asarray([True]), DTypeError, "add: bool is not accepted"),
    (lambda: ml.bitwise_and(x(), x()), DTypeError, "bitwise_and: float32 is not accepted"),
    (lambda: i() << 1.5, DTypeError, "bitwise_left_shift: float32 is not accepted"),
    (lambda: ml.asarray([1j]) < 1j, DTypeError, "less: complex64 is not accepted"),
    (lambda: ml.floor(ml.asarray([1j])), DTypeError, "floor: complex64 is not accepted"),
    (lambda: ml.atan2(ml.asarray([1j]), 1.0), DTypeError, "atan2: complex64"),
    (lambda: ml.sort(ml.asarray([1j])), DTypeError, "sort: complex64 is not accepted"),
    (
        lambda: ml.matmul(ml.asarray([[True]]), ml.asarray([[True]])),
        DTypeError,
        "matmul: bool is not accepted",
    ),
    (lambda: ml.imag(x()), DTypeError, "imag: float32 is not accepted"),
    (lambda: ml.where(x(), x(), x()), DTypeError, "condition is float32, expected bool"),
    (lambda: ml.asarray([1], dtype="uint8") + 300, ValueRangeError, "the number 300 does not fit uint8"),
    (lambda: ml.asarray([1], dtype="uint8") * -1, ValueRangeError, "the number -1 does not fit uint8"),
    (lambda: ml.set_default_dtype("int8"), DTypeError, "expected a floating dtype, got int8"),
    (lambda: ml.isdtype("float32", "floating"), DTypeError, "unknown kind 'floating'"),
    (lambda: ml.finfo("int8"), DTypeError, "int8 is not a floating dtype"),
]
DEVICES: list[Row] = [
    (
        lambda: ml.zeros((2,), device="refrence"),
        DeviceError,
        "unknown device 'refrence'; did you mean 'reference'",
    ),
    (lambda: ml.zeros((2,), device="nosuchchip"), DeviceError, "unknown device 'nosuchchip'"),
    (lambda: ml.zeros((2,), device=3), ArgumentTypeError, "got int: 3"),
    (
        lambda: ml.zeros((2,), device="reference:7"),
        DeviceError,
        "'reference:7' was requested .* does not exist",
    ),
    (lambda: x().to("reference?fast=1"), DeviceError, "'reference' has no option 'fast'"),
    (lambda: x().to(3), ArgumentTypeError, "got int: 3"),
    (lambda: x().to_device("nosuchchip"), DeviceError, "'nosuchchip'"),
    (lambda: ml.device("").__enter__(), DeviceError, "'' does not name a device"),
]
CALLS: list[Row] = [
    (lambda: x() + ml.ones((4,)), ShapeError, r"add: cannot broadcast \(2, 3\) with \(4,\) at dim 1: 3 vs 4"),
    (
        lambda: ml.where(x() > 0, ml.ones((5,)), x()),
        ShapeError,
        r"where: cannot broadcast \(2, 3\) with \(5,\)",
    ),
    (lambda: x() + "a", TypeError, "unsupported operand"),
    (lambda: ml.add(x()), ArgumentTypeError, "add: missing argument 'x2'"),
    (lambda: ml.add(x(), x(), x()), ArgumentTypeError, "add: 3 positional arguments, at most 2"),
    (lambda: ml.exp(), ArgumentTypeError, "exp: missing argument 'x'"),
    (lambda: ml.exp([1.0]), ArgumentTypeError, "exp: argument 'x' is a list, expected a Tensor"),
    (lambda: ml.exp(x(), out=x()), ArgumentTypeError, "exp: unknown argument 'out'"),
    (lambda: ml.concat([x(), None]), ArgumentTypeError, "concat: argument 'arrays' is None"),
    (lambda: ml.sum([1, 2]), ArgumentTypeError, "sum: argument 'x' is a list, expected a Tensor"),
    (lambda: ml.sum(x(), keepdim=True), ArgumentTypeError, "unexpected keyword argument 'keepdim'"),
    (lambda: x().sum(keepdim=True), ArgumentTypeError, "unexpected keyword argument 'keepdim'"),
    (lambda: ml.sum(), ArgumentTypeError, "sum: missing a required argument: 'x'"),
    (lambda: ml.zeros((2,), dtpye="int8"), ArgumentTypeError, "unexpected keyword argument 'dtpye'"),
    (lambda: ml.softmax(v(), 1), ArgumentTypeError, "softmax: 2 positional arguments, at most 1"),
    (lambda: ml.gelu(x(), "sigmoid"), ArgumentError, "approximate='sigmoid'"),
    (lambda: ml.gelu(x(), approx="tanh"), ArgumentTypeError, "gelu: unknown argument 'approx'"),
    (lambda: ml.meshgrid(v(), indexing="zz"), ArgumentError, "indexing='zz'"),
    (lambda: ml.searchsorted(v(), v(), side="middle"), ArgumentError, "side='middle'"),
    (lambda: ml.searchsorted(x(), v()), ShapeError, r"x1 must be 1-d, got shape \(2, 3\)"),
    (lambda: ml.matmul(x(), 3.0), ArgumentTypeError, "argument 'x2' is a float"),
    (lambda: ml.einsum(3, x()), ArgumentTypeError, "einsum"),
    (lambda: ml.zeros_like([1.0]), ArgumentTypeError, "zeros_like: argument 'x' is a list"),
    (lambda: ml.outer(x(), v()), ShapeError, r"outer: shapes \(2, 3\) and \(3,\)"),
    (lambda: ml.norm(x(), 0), ArgumentError, "norm: ord is 0"),
    (lambda: ml.norm(x(), -1), ArgumentError, "norm: ord is -1"),
    (lambda: ml.var(v(), correction="a"), ArgumentTypeError, "correction is a str"),
    (lambda: run("nope"), UnsupportedOpError, "no operation is called 'nope'"),
    (lambda: ml.nosuch, AttributeError, "module 'mlcore' has no attribute 'nosuch'"),
    (lambda: ml.Tensor([1]), ArgumentTypeError, "not constructed directly"),
]
ARITHMETIC: list[Row] = [
    (lambda: i() // 0, DivisionError, r"divisor of shape \(\), int64, contains 0"),
    (lambda: i() % ml.asarray([1, 0, 1]), DivisionError, r"divisor of shape \(3,\), int64, contains 0"),
    (lambda: 5 // ml.asarray([0]), DivisionError, r"divisor of shape \(1,\)"),
    (
        lambda: ml.asarray([2**7 - 1], dtype="int8") // ml.asarray([0], dtype="int8"),
        DivisionError,
        "int8, contains 0",
    ),
    (lambda: i() ** -1, ArgumentError, "integers to negative powers"),
    (lambda: 2 ** ml.asarray([-1]), ArgumentError, "integers to negative powers"),
]
SHAPES: list[Row] = [
    (lambda: x().reshape(4), ShapeError, r"reshape: \(2, 3\) \(6 elements\) does not fit \(4,\)"),
    (lambda: x().reshape(-1, -1), ShapeError, r"more than one -1 in \(-1, -1\)"),
    (lambda: x().reshape(-1, 4), ShapeError, r"cannot infer -1 in \(-1, 4\) for a tensor of shape \(2, 3\)"),
    (lambda: ml.zeros((0, 3)).reshape(-1, 0), ShapeError, r"cannot infer -1 in \(-1, 0\)"),
    (lambda: x().reshape(-2, 3), ShapeError, "negative dimension -2"),
    (lambda: x().reshape("a"), ArgumentTypeError, "expected ints, got 'a'"),
    (lambda: ml.broadcast_to(x(), (3, 3)), ShapeError, r"\(2, 3\) does not broadcast to \(3, 3\)"),
    (lambda: ml.permute_dims(x(), (0,)), ShapeError, r"axes \(0,\) for a 2-d tensor"),
    (lambda: ml.permute_dims(x(), 3), ArgumentTypeError, "permute_dims"),
    (lambda: ml.concat([x(), v()]), ShapeError, r"tensor 1 has shape \(3,\), the first \(2, 3\)"),
    (lambda: ml.concat([]), ArgumentTypeError, "concat"),
    (lambda: ml.concat([ml.asarray(1.0)]), ShapeError, "0-d tensors have no axis to join"),
    (lambda: ml.concat([x(), x()], axis=2), OutOfRangeError, r"concat: axis 2 out of range \[-2, 1\]"),
    (lambda: ml.stack([]), ArgumentError, "stack: no tensors given"),
    (lambda: ml.stack([x(), v()]), ShapeError, r"stack: tensor 1 has shape \(3,\), the first \(2, 3\)"),
    (lambda: ml.squeeze(x(), 0), ShapeError, r"dim 0 of \(2, 3\) has size 2, not 1"),
    (lambda: ml.expand_dims(x(), axis=4), OutOfRangeError, r"axis 4 out of range \[-3, 2\]"),
    (lambda: ml.split(x(), 0), ArgumentError, "pieces of size 0"),
    (lambda: ml.split(x(), [1, 2]), ShapeError, r"sizes \[1, 2\] add up to 3, dim 0 of \(2, 3\) is 2"),
    (lambda: ml.split(x(), [-1, 3]), ShapeError, r"sizes \[-1, 3\]"),
    (lambda: ml.roll(x(), (1, 2), axis=(0,)), ArgumentError, "2 shifts for 1 axes"),
    (lambda: ml.moveaxis(x(), (0, 1), (0,)), ArgumentError, "2 sources but 1 destinations"),
    (lambda: ml.moveaxis(x(), (0, 0), (0, 1)), ShapeError, "name every axis once"),
    (lambda: ml.swapaxes(x(), 0, 2), OutOfRangeError, "swapaxes: axis 2 out of range"),
    (lambda: ml.tile(x(), (-1,)), ShapeError, "negative dimension -1"),
    (lambda: ml.repeat(x(), -2), ShapeError, "repeat: negative dimension"),
    (lambda: ml.repeat(x(), 1.5), ArgumentTypeError, "repeats must be an int, got float"),
    (lambda: ml.pad(x(), -1), ArgumentError, "widths -1 for a tensor of shape"),
    (lambda: ml.pad(x(), ((1, 1),)), ArgumentError, r"widths \(\(1, 1\),\)"),
    (lambda: ml.flatten(x(), 1, 0), ArgumentError, "start_dim 1 comes after end_dim 0"),
    (lambda: ml.matrix_transpose(v()), ShapeError, r"at least 2 dimensions, got shape \(3,\)"),
    (lambda: v().T, ShapeError, r"shape \(3,\) is not 2-d"),
    (lambda: ml.tril(v()), ShapeError, r"at least 2 dimensions, got shape \(3,\)"),
    (lambda: ml.unstack(x(), axis=2), OutOfRangeError, "axis 2 out of range"),
    (lambda: x() @ x(), ShapeError, r"\(2, 3\) @ \(2, 3\): the inner dimensions differ, 3 vs 2"),
    (lambda: x().item(), ShapeError, r"item: a tensor of shape \(2, 3\) has 6 elements"),
]
AXES: list[Row] = [
    (lambda: ml.sum(x(), axis=2), OutOfRangeError, r"sum: axis 2 out of range \[-2, 1\]"),
    (lambda: ml.sum(x(), axis=(0, -2)), ArgumentError, r"sum: repeated axis in \(0, -2\)"),
    (lambda: ml.sum(x(), axis="a"), ArgumentTypeError, "axis must be an int, got 'a'"),
    (lambda: ml.mean(x(), axis=1.0), ArgumentTypeError, r"axis must be an int, got 1\.0"),
    (lambda: ml.mean(x(), -3), OutOfRangeError, "mean: axis -3 out of range"),
    (lambda: ml.var(x(), axis=3), OutOfRangeError, "var: axis 3"),
    (lambda: ml.softmax(x(), axis=2), OutOfRangeError, "softmax: axis 2"),
    (lambda: ml.softmax(ml.asarray(1.0)), OutOfRangeError, "a 0-d tensor has no axes"),
    (lambda: ml.sort(x(), axis=2), OutOfRangeError, "sort: axis 2"),
    (lambda: ml.flip(x(), axis=2), OutOfRangeError, "flip: axis 2"),
    (lambda: ml.argmax(x(), axis=(0, 1)), ArgumentTypeError, r"axis must be an int, got \(0, 1\)"),
    (
        lambda: ml.cumulative_sum(x()),
        ArgumentError,
        r"cumulative_sum: axis is needed for a tensor of shape \(2, 3\)",
    ),
    (lambda: ml.max(ml.zeros((0,))), ArgumentError, r"max: dim 0 of shape \(0,\) is empty"),
    (lambda: ml.min(ml.zeros((2, 0)), axis=1), ArgumentError, r"min: dim 1 of shape \(2, 0\) is empty"),
    (lambda: ml.argmin(ml.zeros((0,))), ArgumentError, r"argmin: dim 0 of shape \(0,\) is empty"),
    (lambda: ml.topk(v(), 4), ArgumentError, "k is 4 for dim 0 of size 3"),
    (lambda: ml.topk(v(), -1), ArgumentError, "k is -1"),
    (lambda: ml.nonzero(ml.asarray(1)), ShapeError, "a 0-d tensor has no indices"),
]
INDICES: list[Row] = [
    (lambda: v()[3], OutOfRangeError, "index 3 out of range for dim 0 of size 3"),
    (lambda: v()[-4], OutOfRangeError, "index -4 out of range"),
    (lambda: ml.zeros((0,))[0], OutOfRangeError, "index 0 out of range for dim 0 of size 0"),
    (lambda: x()[0, 0, 0], OutOfRangeError, "3 indices for a tensor of 2 dimensions"),
    (lambda: x()[[0, 2]], OutOfRangeError, "index 2 out of range for dim 0 of size 2"),
    (lambda: x()[..., ...], OutOfRangeError, "more than one ellipsis"),
    (lambda: v()[[True, False]], OutOfRangeError, r"mask of shape \(2,\) for dimensions \(3,\)"),
    (lambda: v()[1.5], ArgumentTypeError, r"float 1\.5 is no index"),
    (lambda: v()["a"], ArgumentTypeError, "str 'a' is no index"),
    (lambda: v()[::0], ArgumentError, "step is 0"),
    (lambda: v().__setitem__(9, 1.0), OutOfRangeError, "index 9 out of range"),
    (lambda: v().__setitem__(0, "a"), DTypeError, "<U1"),
    (lambda: v().__setitem__(0, 1j), DTypeError, "complex number 1j is no float32"),
    (lambda: ml.zeros((1,), dtype="uint8").__setitem__(0, 300), ValueRangeError, "300 does not fit uint8"),
    (
        lambda: v().__setitem__(slice(0, 2), [1.0, 2.0, 3.0]),
        ShapeError,
        r"shape \(3,\) does not fit the selection of shape \(2,\)",
    ),
    (lambda: ml.take(v(), [7]), OutOfRangeError, "take: index 7 out of range for dim 0 of size 3"),
    (lambda: ml.take(v(), [1.5]), DTypeError, "indices are float32, expected an integer dtype"),
    (lambda: ml.take(x(), [0]), ArgumentTypeError, "axis is needed"),
    (
        lambda: ml.take_along_axis(x(), [0]),
        ShapeError,
        r"indices of shape \(1,\) for a tensor of shape \(2, 3\)",
    ),
    (lambda: ml.take_along_axis(x(), [[0, 3]]), OutOfRangeError, "index 3 out of range for dim 1 of size 3"),
]
KERNELS: list[Row] = [
    (lambda: run("convolution", x(), x()), ShapeError, r"input \(2, 3\) with weight \(2, 3\)"),
    (
        lambda: run("convolution", ml.ones((1, 2, 5)), ml.ones((3, 2, 7))),
        ShapeError,
        "kernel of 7 .* larger than the input of 5",
    ),
    (lambda: run("convolution", ml.ones((1, 2, 5)), ml.ones((3, 1, 3))), ShapeError, "input has 2 channels"),
    (lambda: conv(stride=0), ArgumentError, "stride 0"),
    (lambda: conv(dilation=-1), ArgumentError, "dilation -1"),
    (lambda: conv(padding=-1), ArgumentError, r"negative padding \(-1, -1\)"),
    (lambda: conv(padding=2**62), ShapeError, "overflows"),
    (lambda: conv(padding="same"), ArgumentError, "'same' for 1 dimensions"),
    (lambda: conv(stride=(1, 2)), ArgumentError, r"\(1, 2\) for 1 dimensions"),
    (lambda: conv(groups=3), ArgumentError, "groups=3 does not divide 2"),
    (lambda: conv(groups=0), ArgumentError, "groups=0"),
    (lambda: run("max_pool", v(), kernel=9), ShapeError, "kernel of 9"),
    (
        lambda: run("avg_pool", ml.ones((1, 1, 4)), kernel=(2,), padding=2),
        ArgumentError,
        r"padding \(2, 2\) is more than half of the kernel 2",
    ),
    (lambda: run("layer_norm", x(), n_axes=3), ShapeError, "3 trailing dimensions"),
    (lambda: run("layer_norm", x(), ml.ones(4)), ShapeError, r"weight of shape \(4,\)"),
    (lambda: run("batch_norm", v()), ShapeError, r"expected \(N, C, ...\), got shape \(3,\)"),
    (
        lambda: run("linear", x(), ml.ones((4, 5))),
        ShapeError,
        r"expected a last dimension of 5, got \(2, 3\)",
    ),
    (lambda: run("scaled_dot_product_attention", x(), ml.ones((2, 4)), x()), ShapeError, r"k \(2, 4\)"),
]
GRADIENTS: list[Row] = [
    (lambda: v().backward(), AutogradError, "no history and requires no gradient"),
    (
        lambda: (ml.ones(2, requires_grad=True) * 2).backward(),
        AutogradError,
        r"shape \(2,\) needs a gradient",
    ),
    (lambda: i().requires_grad_(), AutogradError, "int64 has no gradient"),
    (lambda: v().register_hook(print), AutogradError, "does not require a gradient"),
    (lambda: ml.grad(3), ArgumentTypeError, "expected a function, got int"),
    (lambda: ml.grad(lambda t: t)(v()), AutogradError, r"returned \(3,\), expected one number"),
    (lambda: ml.checkpoint(3), ArgumentTypeError, "expected a function, got int"),
    (lambda: ml.func.jvp(lambda t: t, (v(),), ()), ArgumentError, "1 primals but 0 tangents"),
    (lambda: ml.func.vjp(lambda t: 3, v()), ArgumentTypeError, "returned int, expected a Tensor"),
    (lambda: ml.func.jacobian(lambda t: [t])(v()), ArgumentTypeError, "returned list, expected a Tensor"),
]
RANDOM: list[Row] = [
    (lambda: ml.manual_seed(-1), ArgumentError, "seed -1"),
    (lambda: ml.manual_seed("a"), ArgumentError, "seed 'a'"),
    (lambda: ml.random.set_state(3), ArgumentError, "state 3"),
    (lambda: ml.random.set_state((1,)), ArgumentError, r"state \(1,\)"),
    (lambda: ml.random.set_state((1, "a")), ArgumentError, "'a'"),
    (lambda: ml.random.Generator(1).spawn("a"), ArgumentError, "index 'a'"),
    (lambda: ml.random.Generator(1).spawn(-1), ArgumentError, "index -1"),
    (lambda: ml.random.uniform("a"), ArgumentTypeError, "expected ints, got 'a'"),
    (lambda: ml.random.uniform((2,), "a"), ArgumentTypeError, "low='a'"),
    (lambda: ml.random.uniform((2,), generator=7), ArgumentTypeError, "generator=7"),
    (lambda: ml.random.integers(1.5, 3), ArgumentError, r"from 1\.5 to 3"),
    (lambda: ml.random.permutation(2.5), ArgumentTypeError, r"2\.5"),
    (lambda: ml.random.bernoulli(NAN), ArgumentError, "p is nan"),
    (lambda: ml.random.choice(ml.asarray([-1.0, 2.0]), 2), ArgumentError, r"smallest weight is -1\.0"),
    (lambda: ml.random.choice(ml.asarray([0.0, 0.0]), 2), ArgumentError, r"their sum 0\.0"),
    (lambda: ml.random.choice(x(), 2), ShapeError, r"weights of shape \(2, 3\)"),
    (lambda: ml.random.dropout(v(), 2), ArgumentError, "p is 2"),
]
