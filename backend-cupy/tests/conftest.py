"""The tests see the stand-in as `cupy`, and a machine with two GPUs; see standin_run.py."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "standin"), str(HERE)]

import emulator  # noqa: E402


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without a compiler nothing here can run; the leg that is for it must have one."""
    if not emulator.compiler() and not os.environ.get("MLCORE_LEG"):
        for item in items:
            item.add_marker(pytest.mark.skip(reason="no C++ compiler"))


@pytest.fixture(scope="session", autouse=True)
def compiled_ahead(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """All kernels in a few libraries: one by one they would take ten times as long to compile."""
    given = os.environ.get("MLCORE_EMULATOR_CACHE")
    if given is None:
        os.environ["MLCORE_EMULATOR_CACHE"] = str(tmp_path_factory.mktemp("emulator"))
    prebuild()
    yield
    if given is None:
        del os.environ["MLCORE_EMULATOR_CACHE"]


def prebuild() -> int:
    """Compile what the backends can ask for; how many kernels that are."""
    from mlcore_cuda.dialect import DIALECT
    from mlcore_cupy import every

    import mlcore.optim  # noqa: F401  (declares the optimizers' steps)

    groups = list(every.groups(DIALECT))
    emulator.compile_ahead([(text, sources) for text, sources, _ in groups])
    return sum(count for _, _, count in groups)


def pose() -> None:
    """The plugin sees two GPUs from now on."""
    import standin_run  # noqa: F401

    from mlcore.backends import detect
    from mlcore.plugin import discovery

    discovery.reset()
    detect.reset()


@pytest.fixture(scope="session")
def cuda() -> Any:
    """The stand-in's first device, opened the way a user's is."""
    pose()
    from mlcore.backends import detect
    from mlcore.plugin import discovery

    record = discovery.find_backend("cuda")
    assert record is not None, "mlcore-cuda is not installed"
    return detect.resolve("cuda:0")


@pytest.fixture(scope="session")
def cuda1(cuda: Any) -> Any:
    """The second one."""
    from mlcore.backends import detect

    return detect.resolve("cuda:1")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20)


@pytest.fixture(autouse=True)
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """No operation may move to the host unnoticed."""
    monkeypatch.setenv("MLCORE_FALLBACK", "error")
