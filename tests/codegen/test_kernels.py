"""Every generated kernel, compiled by g++ in one go, on NumPy's memory against the operations' references."""

from __future__ import annotations

import ast
import ctypes
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlcore.codegen
from mlcore import dtypes
from mlcore.codegen import KernelSource, chain, combined, elementwise, expression
from mlcore.codegen.catalog import dtypes_of, every, forms, source_of
from mlcore.codegen.elementwise import cast
from mlcore.codegen.layout import bits, broadcast_strides, collapse, launches, row_major
from mlcore.dtypes import DType
from mlcore.errors import ArgumentError, DTypeError
from mlcore.ops import registry
from mlcore.testing.compare import ulps
from mlcore.testing.inputs import domain_of, rng_for, specials, values

pytest.importorskip("mlcore_cpu")
from mlcore_cpu.dialect import DIALECT, FLAGS

Array = np.ndarray[Any, Any]
OPS = sorted((op for op in registry.all_ops() if op.elementwise and op.c is not None), key=lambda op: op.name)
MINE: list[KernelSource] = []  # the tests' own kernels, compiled with the others


def mine(source: KernelSource) -> KernelSource:
    MINE.append(source)
    return source


SWIGLU = {
    form: mine(
        chain(
            DIALECT, "swiglu",
            [("t", registry.get("silu"), ("a",)), ("y", registry.get("multiply"), ("t", "b"))],
            dtypes.float32, form,
        )
    )
    for form in ("flat", "strided")
}  # fmt: skip
STEP = {
    dtype: mine(
        expression(
            DIALECT, "momentum", [("p", dtype), ("g", dtype), ("m", dtype)],
            [("p2", dtype, "p - lr * v"), ("m2", dtype, "v")], dtype=dtype,
            lines=[("v", "mu * m + g")], scalars=("lr", "mu"),
        )
    )
    for dtype in (dtypes.float32, dtypes.float64, dtypes.bfloat16)
}  # fmt: skip


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """All kernels of all operations in one library."""
    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed")
    folder = tmp_path_factory.mktemp("kernels")
    text = combined([*every(DIALECT, registry.all_ops()), *MINE])
    (folder / "kernels.cpp").write_text(text)
    made = subprocess.run(
        ["g++", *FLAGS, str(folder / "kernels.cpp"), "-o", str(folder / "kernels.so")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr[:3000]
    return ctypes.CDLL(str(folder / "kernels.so"))


def launch(library: ctypes.CDLL, source: KernelSource, arrays: Sequence[Array], words: Sequence[int]) -> None:
    assert len(words) == len(source.words), f"{len(words)} words for {source.words}"
    pointers = [ctypes.c_void_p(array.ctypes.data) for array in arrays]
    library[source.name](*pointers, (ctypes.c_int64 * len(words))(*words))


def laid_out(array: Array, how: str) -> tuple[Array, int, tuple[int, ...]]:
    """(memory, offset and strides in elements of a view with the values of `array`)."""
    if how == "plain":
        return np.array(array, order="C"), 0, row_major(array.shape)
    room = np.zeros([2 * d + 3 for d in reversed(array.shape)], dtype=array.dtype)
    view = room.T[(*(slice(2 * d, 0, -2) for d in array.shape), ...)]  # permuted, apart, and backwards
    view[...] = array
    start = (view.ctypes.data - room.ctypes.data) // array.itemsize
    return room, start, tuple(step // array.itemsize for step in view.strides)


def walk(
    library: ctypes.CDLL,
    make: Callable[[str], KernelSource],
    inputs: Sequence[Array],
    result: DType,
    how: str,
) -> Array:
    """The kernel on inputs that broadcast, in a layout."""
    shape = np.broadcast_shapes(*(x.shape for x in inputs))
    placed = [laid_out(x, how) for x in inputs]
    y, offset, strides = laid_out(np.zeros(shape, dtype=result.numpy), how)
    views = [(o, broadcast_strides(x.shape, s, shape)) for x, (_, o, s) in zip(inputs, placed, strict=True)]
    used = set()
    for form, words in launches(shape, [*views, (offset, strides)]):
        launch(library, make(form), [*(memory for memory, _, _ in placed), y], words)
        used.add(form)
    assert used <= {"flat", "strided"}
    flat = y.reshape(-1)
    return np.lib.stride_tricks.as_strided(flat[offset:], shape, [s * y.itemsize for s in strides]).copy()


def examples(op: Any, dtype: DType, shapes: Sequence[tuple[int, ...]]) -> list[Array]:
    rng = rng_for("generated", op.name, dtype.name)
    made = []
    for i, shape in enumerate(shapes):
        kind = dtypes.bool_ if op.promoted and i not in op.promoted else dtype
        low, high = domain_of(op, i)
        if kind.kind in "iu" and op.name in ("pow", "floor_divide", "remainder"):
            low, high = (1, 5) if i else (-5, 5)
        made.append(values(rng, shape, kind, (low, high)))
    return made


SHAPES = {
    1: [((7, 5),), ((1029,),), ((),), ((2, 3, 4, 5),)],
    2: [((7, 5), (5,)), ((129,), ()), ((4, 1, 3), (2, 1)), ((6, 4), (6, 4))],
    3: [((7, 5), (5,), ()), ((4, 1), (1, 3), (4, 3))],
}


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_elementwise_kernels_follow_the_reference(op: Any, library: ctypes.CDLL) -> None:
    compared = 0
    for dtype in dtypes_of(op, DIALECT):
        result = op.result[dtype.index] or dtype
        for shapes in SHAPES[len(op.inputs)]:
            inputs = examples(op, dtype, shapes)
            wide = inputs
            if op.ulp and dtype.itemsize < 8:
                wide = [x if x.dtype == np.bool_ else x.astype(np.float64) for x in inputs]
            with np.errstate(all="ignore"):
                want = np.asarray(op.reference(*wide)).astype(result.numpy)
            for how in ("plain", "apart"):
                got = walk(
                    library,
                    lambda form, dtype=dtype: elementwise(DIALECT, op, dtype, form),
                    inputs,
                    result,
                    how,
                )
                assert got.shape == want.shape
                if result.kind == "f":
                    assert ulps(got, want) <= op.ulp + 0.5, f"{dtype} {shapes} {how}"
                else:
                    assert (got == want).all(), f"{dtype} {shapes} {how}"
                compared += got.size
    assert compared > 1000


@pytest.mark.parametrize("source", [d for d in dtypes.all_dtypes if d.kind != "c"], ids=str)
def test_casts_follow_numpy(source: DType, library: ctypes.CDLL) -> None:
    """Values that both dtypes hold, and for floats every special one: infinities, nan, subnormals, ties."""
    for target in (d for d in dtypes.all_dtypes if d.kind != "c" and d is not source):
        x = values(rng_for("cast", source.name), (257,), source, (0, 100))
        if source.kind == "f" and target.kind in "fb":
            halfway = np.linspace(0, 2, 4097).astype(source.numpy)  # many of them between two narrower floats
            x = np.concatenate([x, specials(source).reshape(-1), halfway])
        with np.errstate(all="ignore"):
            want = x.astype(target.numpy)
        for how in ("plain", "apart"):
            got = walk(
                library, lambda form, target=target: cast(DIALECT, source, target, form), [x], target, how
            )
            same = (got == want) | ((got != got) & (want != want))
            assert same.all(), (
                f"{target} {how}: {x[~same][:3]} gave {got[~same][:3]}, expected {want[~same][:3]}"
            )


def test_floats_beyond_an_integer_dtype_saturate(library: ctypes.CDLL) -> None:
    x = np.array([np.nan, np.inf, -np.inf, 3e9, -3e9, 1e30, -1.9, 254.9], dtype=np.float32)
    as_int = walk(
        library, lambda f: cast(DIALECT, dtypes.float32, dtypes.int32, f), [x], dtypes.int32, "plain"
    )
    as_byte = walk(
        library, lambda f: cast(DIALECT, dtypes.float32, dtypes.uint8, f), [x], dtypes.uint8, "plain"
    )
    top, low = 2**31 - 1, -(2**31)
    assert as_int.tolist() == [0, top, low, top, low, top, -1, 254]
    assert as_byte.tolist() == [0, 255, 0, 255, 0, 255, 0, 254]


def test_a_chain_is_its_steps(library: ctypes.CDLL) -> None:
    rng = np.random.default_rng(5)
    a, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((6, 9), (9,)))
    want = (a / (1 + np.exp(-a.astype(np.float64))) * b).astype(np.float32)
    for how in ("plain", "apart"):
        got = walk(library, SWIGLU.__getitem__, [a, b], dtypes.float32, how)
        assert ulps(got, want) <= 4


@pytest.mark.parametrize("dtype", STEP, ids=str)
def test_numbers_travel_in_the_words(dtype: DType, library: ctypes.CDLL) -> None:
    source, n = STEP[dtype], 33
    rng = np.random.default_rng(6)
    p, g, m = (rng.standard_normal(n).astype(dtype.numpy) for _ in range(3))
    p2, m2 = np.empty_like(p), np.empty_like(p)
    words = [n, *[0, 1] * 5, bits(0.1, dtype), bits(0.9, dtype)]
    launch(library, source, [p, g, m, p2, m2], words)
    kind = np.float64 if dtype is dtypes.float64 else np.float32
    lr, mu = kind(0.1), kind(0.9)
    v = mu * m.astype(kind) + g.astype(kind)
    assert (m2 == v.astype(dtype.numpy)).all()
    assert (p2 == (p.astype(kind) - lr * v).astype(dtype.numpy)).all()


def test_a_shape_of_more_dimensions_than_a_kernel_has(library: ctypes.CDLL) -> None:
    """Ten that do not merge: several launches of eight."""
    x = np.arange(2**10, dtype=np.int32).reshape((2,) * 10)
    op = registry.get("negative")
    got = walk(library, lambda form: elementwise(DIALECT, op, dtypes.int32, form), [x], dtypes.int32, "apart")
    assert (got == -x).all()
    assert len(list(launches(x.shape, [(0, tuple(3**i for i in range(10)))]))) == 4


# -- without a compiler ------------------------------------------------------------------------------------------------


def test_every_operation_with_a_body_has_kernels() -> None:
    for op in registry.all_ops():
        if op.c is not None:
            assert forms(op), op.name
            assert dtypes_of(op, DIALECT), op.name


def test_names_are_unique_and_sources_repeat() -> None:
    first, again = ({s.name: s.text for s in every(DIALECT, registry.all_ops())} for _ in range(2))
    assert first == again
    assert len(first) > 1700
    assert all(re.search(rf"\b{name}\(", text) for name, text in first.items())


def test_shapes_stay_arguments() -> None:
    """No size, stride or offset of a call is in a source: the text depends on operation, dtype and form alone."""
    for source in every(DIALECT, [registry.get("add"), registry.get("max"), registry.get("contract")]):
        assert {"n", "outs", "batches"} & set(source.words)
        assert source.text.count("#define") == 0


def test_what_is_asked_wrongly_is_told() -> None:
    tanh, softmax, reshape = (registry.get(name) for name in ("tanh", "softmax", "reshape"))
    with pytest.raises(DTypeError, match=r"tanh has no C\+\+ kernel for int32") as refused:
        source_of(DIALECT, tanh, dtypes.int32)
    assert "float16, bfloat16, float32, float64" in str(refused.value)
    with pytest.raises(ArgumentError, match=r"tanh: no form 'strded'; did you mean 'strided'\?"):
        source_of(DIALECT, tanh, None, "strded")
    with pytest.raises(ArgumentError, match="composed from other operations"):
        source_of(DIALECT, softmax)
    with pytest.raises(ArgumentError, match="it is a view"):
        source_of(DIALECT, reshape)
    with pytest.raises(ArgumentError, match="no form 'tiled'"):
        expression(DIALECT, "mine", [], [], dtype=dtypes.float32, form="tiled")


def test_dimensions_merge_where_all_arrays_allow() -> None:
    assert collapse((4, 5), [(5, 1), (1, 4)]) == ([4, 5], [[5, 1], [1, 4]])
    assert collapse((1, 1), [(7, 9)]) == ([], [[]])
    assert list(launches((3, 4), [(0, (4, 1)), (2, (0, 0))])) == [("flat", [12, 0, 1, 2, 0])]


def test_the_line_of_a_source() -> None:
    source = elementwise(DIALECT, registry.get("exp"), dtypes.float32)
    number = next(i for i, line in enumerate(source.text.splitlines(), 1) if "expf" in line)
    assert source.line(number) == "y[at_y] = (float)(__builtin_expf(a_x));"
    assert source.line(10**6) == ""
    assert Path(f"x{DIALECT.suffix}").suffix == ".cpp"


def test_the_core_has_no_dialect() -> None:
    """A new language touches no file of the core: its table is in a backend's package."""
    made = []
    for path in sorted(Path(mlcore.codegen.__file__).parents[1].rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and getattr(node.func, "id", getattr(node.func, "attr", "")) == "Dialect"
            ):
                made.append(f"{path.name}:{node.lineno}")
    assert not made
