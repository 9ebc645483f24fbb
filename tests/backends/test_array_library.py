"""The array_library adapter: array-api-strict as an installed backend, and NumPy in this process."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import numpy as np
import pytest

from mlcore import dtypes, table
from mlcore.backends.array_library import ArrayLibraryBackend
from mlcore.backends.device import Device
from mlcore.errors import PluginError
from mlcore.ops import registry
from mlcore.testing.kit import conformance

Run = Callable[..., subprocess.CompletedProcess[str]]


def numpy_device() -> Device:
    device = Device("toy")
    device.backend = ArrayLibraryBackend(np, device=device)
    return device


def test_strict_is_found_and_complete(strict: Run) -> None:
    """The command of the issue: level 1, no host fallback, every unit."""
    made = strict("-m", "mlcore", "conformance", "strict", "--quick", "--level", "1")
    assert made.returncode == 0, made.stdout + made.stderr
    assert "level L1" in made.stdout


def test_no_operation_of_strict_runs_on_the_host(strict: Run) -> None:
    made = strict("-m", "mlcore", "coverage", "strict")
    assert made.returncode == 0, made.stderr
    assert ", 0 host" in made.stdout


def test_strict_trains_a_model(strict: Run) -> None:
    code = (
        "from mlcore.backends import detect\n"
        "from mlcore.testing.models import losses\n"
        "print([losses(name, detect.resolve('strict'), 2)[1] > 0 for name in ('mlp', 'cnn', 'transformer')])\n"
    )
    made = strict("-c", code)
    assert made.stdout.strip() == "[True, True, True]", made.stderr


def test_numpy_as_a_library_passes_the_quick_kit() -> None:
    report = conformance(numpy_device(), quick=True)
    assert report.achieved() == 1


def test_dtypes_are_what_the_library_has() -> None:
    held = numpy_device().backend.dtypes
    assert held == dtypes.everything - {dtypes.bfloat16}


def test_everything_runs_native_or_composed() -> None:
    device = numpy_device()
    for op in registry.all_ops():
        if op.rule is not None:
            for dtype in op.accepts & device.backend.dtypes:
                assert table.path(op, dtype, device) in (table.NATIVE, table.COMPOSITE), (op.name, dtype)


def test_a_namespace_that_is_none_is_refused() -> None:
    class Nothing:
        __name__ = "nothing"

    with pytest.raises(PluginError, match="has neither asarray nor array"):
        ArrayLibraryBackend(Nothing(), device=Device("toy"))


def test_an_older_library_is_understood() -> None:
    """Names from before the standard, no stable=, no astype function."""

    class Old:
        __name__ = "old"

        def __getattr__(self, name: str) -> object:
            newer = {"acos", "concat", "permute_dims", "pow", "bitwise_invert", "cumulative_sum", "astype"}
            if name in newer:
                raise AttributeError(name)
            return getattr(np, name)

    device = Device("toy")
    device.backend = ArrayLibraryBackend(Old(), device=device)
    conformance(
        device,
        expression="values/acos/ or values/concat/ or values/permute or values/pow/ or values/scan_sum or astype",
    )
