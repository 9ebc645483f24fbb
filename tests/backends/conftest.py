"""The test backends, really installed by pip into a folder of their own."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
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
    # New versions of pip refuse constraints for builds together with --no-build-isolation.
    environment = {key: value for key, value in os.environ.items() if key != "PIP_BUILD_CONSTRAINT"}
    made = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
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
            timeout=850,
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


# ---------------------------------------------------------------- the faulty backend

FAULTY = Path(__file__).parent / "dists" / "mlcore-faulty"


@pytest.fixture(scope="session")
def faulty_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the faulty backend installed: a wheel's content, as pip would unpack it."""
    target = tmp_path_factory.mktemp("faulty")
    settings = tomllib.loads((FAULTY / "pyproject.toml").read_text(encoding="utf-8"))
    name, version = settings["project"]["name"], settings["project"]["version"]
    (module,) = settings["tool"]["setuptools"]["py-modules"]
    shutil.copy(FAULTY / f"{module}.py", target)
    info = target / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    points = settings["project"]["entry-points"]["mlcore.backends"]
    (info / "entry_points.txt").write_text(
        "[mlcore.backends]\n" + "".join(f"{key} = {value}\n" for key, value in points.items())
    )
    return target


@dataclass
class Faulty:
    """Pythons with the faulty backend on their path, and a cache folder and a log of faults of their own."""

    site: Path
    home: Path

    def run(self, code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a program; only the reference and the faulty backend are there."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("MLCORE_", "FAULTY"))}
        settings = {
            "PYTHONPATH": os.pathsep.join([str(self.site), str(Path(mlcore.__file__).parents[1])]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "MLCORE_CACHE_DIR": str(self.home / "cache"),
            "MLCORE_CONFIG": "off",
            "MLCORE_BACKENDS": "faulty",
            "MLCORE_PROBE_TIMEOUT": "60",
            "FAULTY_LOG": str(self.home / "faults"),
        }
        return subprocess.run(
            [sys.executable, "-c", code, *arguments], cwd=self.home, env={**clean, **settings, **environment},
            capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip

    def faults(self) -> list[str]:
        """The faults that really happened, in order."""
        file = self.home / "faults"
        return file.read_text().split() if file.exists() else []


@pytest.fixture
def faulty(faulty_site: Path, tmp_path: Path) -> Faulty:
    """Runs programs with the faulty backend installed."""
    return Faulty(faulty_site, tmp_path)
