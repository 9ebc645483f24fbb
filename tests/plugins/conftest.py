"""The test distributions of `dists/`, built into wheels, installed by pip once a session, and run in a Python
of its own with a chosen set of them on its path."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import mlcore

DISTS = Path(__file__).parent / "dists"


def build_wheel(project: Path, folder: Path) -> Path:
    """A wheel of a project that consists of modules: what its build backend would make, in milliseconds."""
    settings = tomllib.loads((project / "pyproject.toml").read_text())
    name, version = settings["project"]["name"], settings["project"]["version"]
    stem = f"{name.replace('-', '_')}-{version}"
    files = {
        f"{m}.py": (project / f"{m}.py").read_bytes() for m in settings["tool"]["setuptools"]["py-modules"]
    }
    points = "".join(
        f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in entries.items())
        for group, entries in settings["project"]["entry-points"].items()
    )
    info = f"{stem}.dist-info"
    files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()
    files[f"{info}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    files[f"{info}/entry_points.txt"] = points.encode()
    rows = []
    for path, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        rows.append(f"{path},sha256={digest},{len(data)}\n")
    files[f"{info}/RECORD"] = ("".join(rows) + f"{info}/RECORD,,\n").encode()
    wheel = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, data in files.items():
            archive.writestr(path, data)
    return wheel


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip has installed every test distribution."""
    wheels, target = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("site")
    built = [str(build_wheel(project.parent, wheels)) for project in sorted(DISTS.glob("*/pyproject.toml"))]
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--no-compile", "--quiet"]
    command += ["--disable-pip-version-check", "--target", str(target), *built]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return target


@dataclass
class Result:
    """How a Python of its own ended."""

    status: int
    out: str
    err: str


def others() -> str:
    """MLCORE_BACKENDS that leaves out whatever else is installed beside the test distributions."""
    points = entry_points(group="mlcore.backends")
    return ",".join(sorted({f"!{point.name}" for point in points}))


@dataclass
class Site:
    """Some of the installed test distributions, on the path of the Pythons that it runs."""

    folder: Path
    home: Path

    def run(self, *arguments: str, **environment: str) -> Result:
        """Run Python with these arguments; warnings are errors, and nothing of this machine's user counts."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith("MLCORE_")}
        source = str(Path(mlcore.__file__).parents[1])
        settings = {
            "PYTHONPATH": os.pathsep.join([str(self.folder), source]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "MLCORE_CACHE_DIR": str(self.home / "cache"),
            "MLCORE_CONFIG": "off",
            "MLCORE_BACKENDS": others(),
            "MLCORE_PROBE_TIMEOUT": "60",
        }
        run = subprocess.run(
            [sys.executable, "-W", "error", *arguments],
            cwd=self.home,
            env={**clean, **settings, **environment},
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        return Result(run.returncode, run.stdout, run.stderr)

    def python(self, code: str, **environment: str) -> str:
        """What a program prints; it must succeed."""
        result = self.run("-c", code, **environment)
        assert result.status == 0, result.err
        return result.out.strip()

    def mlcore(self, *arguments: str, **environment: str) -> Result:
        """Run the command line."""
        return self.run("-m", "mlcore", *arguments, **environment)


@pytest.fixture
def site(installed: Path, tmp_path: Path) -> Callable[..., Site]:
    """``site("healthy", "raises")``: only these of the test distributions, with a fresh cache folder."""

    def choose(*names: str) -> Site:
        folder = tmp_path / "site"
        folder.mkdir()
        for name in names:
            stem = f"mlcore_test_{name.replace('-', '_')}"
            found = [
                path for path in installed.glob(f"{stem}*") if path.name.startswith((f"{stem}.", f"{stem}-"))
            ]
            assert len(found) == 2, f"{name}: {found}"
            for path in found:
                (shutil.copytree if path.is_dir() else shutil.copy)(path, folder / path.name)
        return Site(folder, tmp_path)

    return choose


@pytest.fixture(scope="session")
def everything(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """All of the test distributions at once; later tests find what the first one left in the cache."""
    return Site(installed, tmp_path_factory.mktemp("everything"))
