"""The test backend made of array-api-strict, really installed by pip into a folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import mlcore

PROJECT = Path(__file__).parent / "dists" / "mlcore-strict"

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def strict_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the installed distribution."""
    pytest.importorskip("array_api_strict")
    target = tmp_path_factory.mktemp("strict")
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
        "--quiet",
    ]
    command += ["--disable-pip-version-check", "--target", str(target), str(PROJECT)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    for leftover in (
        PROJECT / "build",
        PROJECT / "mlcore_strict.egg-info",
    ):  # setuptools builds beside the source
        if leftover.exists():
            import shutil

            shutil.rmtree(leftover)
    return target


@pytest.fixture
def strict(strict_site: Path, tmp_path: Path) -> Run:
    """Runs Python with the backend installed; warnings are errors."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        source = str(Path(mlcore.__file__).parents[1])
        return subprocess.run(
            [sys.executable, "-W", "error", *arguments],
            cwd=tmp_path,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(strict_site), source]),
                "MLCORE_FALLBACK": "error",
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=280,
        )

    return run
