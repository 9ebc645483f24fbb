"""The test backends, really installed by pip into a folder of their own."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import mlcore

DISTS = Path(__file__).parent / "dists"

Run = Callable[..., subprocess.CompletedProcess[str]]


def install(name: str, target: Path) -> Path:
    """A folder with an installed distribution."""
    project = DISTS / name
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
    command += ["--disable-pip-version-check", "--target", str(target), str(project)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    for leftover in (project / "build", project / f"{name.replace('-', '_')}.egg-info"):
        shutil.rmtree(leftover, ignore_errors=True)  # setuptools builds beside the source
    return target


def runner(site: Path, folder: Path) -> Run:
    """Runs Python with what is installed in `site`; warnings are errors."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        paths = [str(site), *sources()]
        return subprocess.run(
            [sys.executable, "-W", "error", *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "MLCORE_FALLBACK": "error"},
            capture_output=True,
            text=True,
            check=False,
            timeout=280,
        )

    return run


def sources() -> list[str]:
    """Where the packages under test are imported from."""
    found = [str(Path(mlcore.__file__).parents[1])]
    spec = importlib.util.find_spec("mlcore_cpu")
    if spec is not None and spec.origin is not None:
        found.append(str(Path(spec.origin).parents[1]))
    return found


@pytest.fixture(scope="session")
def strict_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("array_api_strict")
    return install("mlcore-strict", tmp_path_factory.mktemp("strict"))


@pytest.fixture
def strict(strict_site: Path, tmp_path: Path) -> Run:
    """The test backend made of array-api-strict."""
    return runner(strict_site, tmp_path)


@pytest.fixture(scope="session")
def hostc_source() -> Path:
    """The folder of the package mlcore_hostc."""
    return DISTS / "mlcore-hostc"


@pytest.fixture
def hostc(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Run:
    """The test backend of generated kernels, compiled by g++."""
    pytest.importorskip("mlcore_cpu")
    return runner(install("mlcore-hostc", tmp_path_factory.mktemp("hostc")), tmp_path)
