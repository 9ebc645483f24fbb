"""Bad input gets a clear error of the right class with the actual values, and nothing is lost."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import config
from mlcore.errors import (
    ArgumentError,
    ArgumentTypeError,
    DataError,
    DTypeError,
    FormatError,
    MlcoreError,
    OutOfRangeError,
    ShapeError,
    StateDictError,
)
from tests.unit.bad_rows import (
    ARITHMETIC,
    AXES,
    CALLS,
    DATA,
    DEVICES,
    DTYPES,
    GRADIENTS,
    INDICES,
    INF,
    KERNELS,
    NAN,
    RANDOM,
    SHAPES,
    SIZES,
    Row,
    x,
)


def setting(name: str, text: str) -> Any:
    return getattr(config, name).read(text)


SETTINGS: list[Row] = [
    (lambda: setting("FALLBACK", "maybe"), MlcoreError, "'maybe'"),
    (lambda: setting("NUM_THREADS", "-2"), MlcoreError, "-2"),
    (lambda: setting("NUM_THREADS", "many"), MlcoreError, "many"),
    (lambda: setting("PLUGINS", "perhaps"), MlcoreError, "perhaps"),
    (lambda: setting("PROBE_TIMEOUT", "nan"), MlcoreError, "nan"),
]


def nn() -> Any:
    return importlib.import_module("mlcore.nn")


def functional() -> Any:
    return importlib.import_module("mlcore.nn.functional")


def optim() -> Any:
    return importlib.import_module("mlcore.optim")


def data() -> Any:
    return importlib.import_module("mlcore.data")


def parameters() -> list[Any]:
    return [nn().Parameter(ml.ones((2,)))]


def linear() -> Any:
    return nn().Linear(3, 4)


MODULES: list[Row] = [
    (lambda: nn().Linear(-1, 2), MlcoreError, "-1"),
    (lambda: linear()(ml.ones((2, 5))), ShapeError, r"expected a last dimension of 3, got \(2, 5\)"),
    (lambda: nn().Conv2d(3, 4, 0), ArgumentError, r"kernel_size \(0, 0\)"),
    (lambda: nn().Conv2d(3, 4, 3, groups=2), ArgumentError, "3 to 4 channels in 2 groups"),
    (lambda: nn().Conv2d(3, 4, 3)(ml.ones((1, 2, 8, 8))), ShapeError, "input has 2 channels"),
    (lambda: nn().Dropout(2), ArgumentError, "p is 2"),
    (lambda: nn().Dropout(NAN), ArgumentError, "p is nan"),
    (lambda: nn().Embedding(3, 2)(ml.asarray([5])), OutOfRangeError, "index 5"),
    (lambda: nn().Embedding(3, 2)(x()), DTypeError, "float32"),
    (lambda: nn().LayerNorm(3)(ml.ones((2, 4))), ShapeError, r"\(2, 4\)"),
    (lambda: nn().BatchNorm2d(3)(ml.ones((2, 4, 2, 2))), ShapeError, r"3 channels, got \(2, 4, 2, 2\)"),
    (lambda: nn().Sequential(3), ArgumentTypeError, "member 0 is a int"),
    (lambda: linear().load_state_dict({}), StateDictError, "weight.*bias"),
    (
        lambda: linear().load_state_dict({"weight": ml.ones((1,)), "spare": x()}),
        StateDictError,
        r"bias.*spare.*\(1,\)",
    ),
    (lambda: linear().load_state_dict(3), ArgumentTypeError, "got a int"),
    (
        lambda: functional().cross_entropy(x(), ml.asarray([0, 7])),
        OutOfRangeError,
        "target 7 at row 1 out of range for 3 classes",
    ),
    (lambda: functional().cross_entropy(x(), ml.asarray([0])), ShapeError, r"\(2, 3\) with target \(1,\)"),
    (
        lambda: functional().cross_entropy(x(), ml.asarray([0, 1]), reduction="avg"),
        ArgumentError,
        "reduction='avg'",
    ),
    (lambda: functional().mse_loss(x(), ml.ones((2, 4))), ShapeError, r"\(2, 4\)"),
    (lambda: nn().utils.clip_grad_norm_(linear().parameters(), NAN), ArgumentError, "max_norm nan"),
    (lambda: nn().Module()(x()), ArgumentTypeError, "has no forward method"),
    (lambda: optim().SGD(parameters(), lr=NAN), ArgumentError, "lr is nan"),
    (lambda: optim().SGD(parameters(), lr=-1), ArgumentError, "lr is -1"),
    (lambda: optim().SGD(parameters(), lr="a"), ArgumentTypeError, "lr is a str"),
    (lambda: optim().SGD([], lr=0.1), ArgumentError, "no parameters"),
    (lambda: optim().SGD(ml.ones(2), lr=0.1), ArgumentTypeError, "params is one tensor"),
    (lambda: optim().SGD([3], lr=0.1), ArgumentTypeError, "parameter 0 is a int"),
    (lambda: optim().SGD(parameters(), lr=0.1, momentum=-1), ArgumentError, "momentum is -1"),
    (lambda: optim().SGD(parameters(), lr=0.1, nesterov=True), ArgumentError, "nesterov"),
    (lambda: optim().AdamW(parameters(), lr=INF), ArgumentError, "lr is inf"),
    (lambda: optim().AdamW(parameters(), betas=(1.5, 0.9)), ArgumentError, r"1\.5"),
    (lambda: optim().AdamW(parameters(), eps=-1), ArgumentError, "eps is -1"),
    (lambda: optim().AdamW(parameters(), weight_decay=NAN), ArgumentError, "weight_decay is nan"),
    (
        lambda: optim().SGD(parameters(), lr=0.1).load_state_dict({}),
        StateDictError,
        "not an optimizer's state",
    ),
    (
        lambda: optim().lr_scheduler.CosineAnnealingLR(optim().SGD(parameters(), lr=0.1), T_max=0),
        ArgumentError,
        "T_max is 0",
    ),
    (lambda: data().TensorDataset(), ArgumentError, "no tensors"),
    (lambda: data().TensorDataset(x(), ml.ones((5,))), DataError, r"\(2, 3\), \(5,\)"),
    (lambda: data().DataLoader(data().TensorDataset(x()), batch_size=0), ArgumentError, "batch_size is 0"),
    (
        lambda: data().DataLoader(data().TensorDataset(x()), num_workers=-1),
        ArgumentError,
        "num_workers is -1",
    ),
    (lambda: data().DataLoader(3), ArgumentTypeError, "a int is no dataset"),
    (lambda: data().TensorDataset(x())[9], OutOfRangeError, "index 9"),
    (lambda: ml.save({"a": 3}, "never.safetensors"), ArgumentTypeError, "'a' is a int"),
    (lambda: ml.save(3, "never.safetensors"), ArgumentTypeError, "got a int"),
    (lambda: ml.load("no-such-file.safetensors"), MlcoreError, "no-such-file.safetensors"),
]
TABLE = {
    "sizes": SIZES,
    "data": DATA,
    "dtypes": DTYPES,
    "devices": DEVICES,
    "calls": CALLS,
    "arithmetic": ARITHMETIC,
    "shapes": SHAPES,
    "axes": AXES,
    "indices": INDICES,
    "kernels": KERNELS,
    "gradients": GRADIENTS,
    "random": RANDOM,
    "settings": SETTINGS,
    "modules": MODULES,
}
ROWS = [pytest.param(*row, id=f"{area}-{n}") for area, rows in TABLE.items() for n, row in enumerate(rows)]


def test_the_table_is_long() -> None:
    print(f"{len(ROWS)} rows of bad input")
    assert len(ROWS) >= 250


@pytest.mark.parametrize(("call", "kind", "text"), ROWS)
def test_bad_input(call: Callable[[], Any], kind: type[Exception], text: str) -> None:
    state = ml.random.get_state()
    with pytest.raises(kind, match=re.compile(text, re.DOTALL)) as caught:
        call()
    lines = str(caught.value).splitlines()
    assert len(lines) < 8, lines
    assert max(map(len, lines)) < 420
    # Nothing is lost: the modes, the device and the library work on.
    assert ml.is_recording()
    assert ml.default_device() == "reference"
    assert (x() + 1).tolist() == [[2.0] * 3] * 2
    ml.random.set_state(state)


MOST = [
    row
    for area in ("sizes", "data", "dtypes", "shapes", "axes", "indices", "arithmetic")
    for row in TABLE[area]
]


def test_most_messages_say_what_to_do() -> None:
    told = 0
    for call, kind, _ in MOST:
        with pytest.raises(kind) as caught:
            call()
        told += bool(getattr(caught.value, "details", {}).keys() & {"fix", "expects", "known", "accepts"})
    assert told / len(MOST) > 0.85


WORKS = {
    "big-endian": lambda: np.arange(6, dtype=">f8"),
    "big-endian int": lambda: np.arange(6, dtype=">i4"),
    "negative step": lambda: np.arange(6.0)[::-1],
    "every other": lambda: np.arange(12.0)[::2],
    "unaligned": lambda: np.frombuffer(b"\0" + np.arange(6.0).tobytes(), dtype=np.uint8)[1:].view(np.float64),
}


@pytest.mark.parametrize("name", WORKS)
def test_odd_arrays_work_by_copying(name: str) -> None:
    host = WORKS[name]()
    x = ml.asarray(host)
    np.testing.assert_array_equal(np.asarray(x * 2), np.asarray(host, dtype=host.dtype.newbyteorder("=")) * 2)
    assert x.dtype.numpy.isnative


def test_read_only_arrays_stay_untouched() -> None:
    host = np.arange(3.0)
    host.flags.writeable = False
    x = ml.asarray(host)
    x += 1
    x[0] = 9
    assert host.tolist() == [0.0, 1.0, 2.0]
    assert x.tolist() == [9.0, 2.0, 3.0]


def test_shifts_and_the_smallest_integer_have_a_rule() -> None:
    assert (ml.asarray([1, 2]) << 64).tolist() == [0, 0]
    assert (ml.asarray([-5, 5]) >> 70).tolist() == [-1, 0]
    smallest = ml.asarray([-(2**63)])
    assert (smallest // -1).tolist() == [-(2**63)]  # wraps, as in NumPy
    assert (smallest % -1).tolist() == [0]
    assert ml.abs(smallest).tolist() == [-(2**63)]


def test_casts_out_of_range_do_not_crash() -> None:
    for dtype in ("int8", "uint8", "int64", "uint64", "bool"):
        found = ml.asarray([NAN, INF, -INF, 1e30, -1e30]).astype(dtype)
        assert found.shape == (5,)
        assert found.dtype.name == dtype


@pytest.mark.parametrize("content", [b"", b"1234", b"\xff" * 64, b"\x08\0\0\0\0\0\0\0{}      " + b"x" * 9])
def test_corrupt_files(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(FormatError) as caught:
        ml.load(path)
    assert "bad.safetensors" in str(caught.value)
    assert len(str(caught.value).splitlines()) < 8


def test_a_truncated_file_and_a_failed_save(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    ml.save({"a": ml.arange(100)}, path)
    whole = path.read_bytes()
    with pytest.raises(ArgumentTypeError):
        ml.save({"a": ml.ones(2), "b": object()}, path)
    assert path.read_bytes() == whole  # the good file is still there
    path.write_bytes(whole[:-9])
    with pytest.raises(FormatError, match=r"w\.safetensors"):
        ml.load(path)
