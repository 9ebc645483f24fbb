"""The core's wheel, built from a copy of the tree in every way a machine may force.

No compiler, no Cython, uncompiled on purpose, editable. Nothing is fetched: the installed setuptools builds.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HAS_CYTHON = importlib.util.find_spec("Cython") is not None
BUILD = "from setuptools import build_meta; print(build_meta.build_{kind}({folder!r}))"


def copied(tmp_path: Path) -> Path:
    """A folder with what the core's build reads beside the package itself."""
    copy = tmp_path / "tree with a space"
    copy.mkdir()
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "LICENSE", "README.md"):
        shutil.copy2(ROOT / name, copy / name)
    return copy


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the core, and nothing that a build in the real tree has left."""
    copy = copied(tmp_path)
    shutil.copytree(
        ROOT / "mlcore", copy / "mlcore", ignore=shutil.ignore_patterns("__pycache__", "*.so", "*.c")
    )
    return copy


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """The core's build, with a package of two compiled files in place of the core: quick to compile."""
    package = copied(tmp_path) / "mlcore"
    package.mkdir()
    (package / "__init__.py").write_text("")
    shutil.copy2(ROOT / "mlcore" / "_version.py", package)
    (package / "first.py").write_text("class First:\n    def __init__(self):\n        self.x = 1\n")
    (package / "first.pxd").write_text("cdef class First:\n    cdef public int x\n")
    (package / "second.py").write_text(
        "from mlcore.first import First\n\ndef twice(first):\n    return first.x * 2\n"
    )
    (package / "second.pxd").write_text("from mlcore.first cimport First\n\ncpdef twice(First first)\n")
    return package.parent


def build(tree: Path, kind: str = "wheel", **environment: str) -> tuple[list[str], str]:
    """Build a distribution; the names of the files in it, and what the build said."""
    target = tree.parent / "built"
    target.mkdir(exist_ok=True)
    clean = {
        key: value for key, value in os.environ.items() if key not in ("MLCORE_PURE", "PYTHONPATH", "CC")
    }
    result = subprocess.run(
        [sys.executable, "-c", BUILD.format(kind=kind, folder=str(target))],
        cwd=tree,
        env={**clean, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    said = result.stdout + result.stderr
    assert result.returncode == 0, said
    [made] = target.iterdir()
    with zipfile.ZipFile(made) as archive:
        return archive.namelist(), said


def compiled(names: list[str]) -> list[str]:
    return [name for name in names if name.endswith((".so", ".pyd"))]


def test_uncompiled_on_purpose(tree: Path) -> None:
    names, said = build(tree, MLCORE_PURE="1")
    assert not compiled(names)
    assert "installed uncompiled" not in said
    assert {"mlcore/py.typed", "mlcore/tensor.pxd", "mlcore/tensor.pyi", "mlcore/dispatch.py"} <= set(names)
    assert not [name for name in names if not name.startswith(("mlcore/", "mlcore_core-"))]
    assert not list(tree.rglob("*.so"))


@pytest.mark.skipif(not HAS_CYTHON, reason="Cython is not installed")
def test_without_a_compiler_it_warns_and_is_pure(small: Path) -> None:
    names, said = build(small, CC="/nonexistent/compiler")
    assert not compiled(names)
    assert "mlcore-core is installed uncompiled" in said


def test_without_cython_it_warns_and_is_pure(tree: Path) -> None:
    # A Cython that cannot be imported hides the installed one.
    blocked = tree.parent / "blocked" / "Cython"
    blocked.mkdir(parents=True)
    (blocked / "__init__.py").write_text("raise ImportError('no Cython here')\n")
    names, said = build(tree, PYTHONPATH=str(blocked.parent))
    assert not compiled(names)
    assert "uncompiled, as pure Python: Cython is not installed" in said


def test_the_templates_of_new_packages_are_in_wheel_and_source_distribution(tree: Path) -> None:
    """They are data in folders that are no packages: easily left out."""
    templates = {
        path.relative_to(tree).as_posix() for path in (tree / "mlcore").rglob("*") if path.suffix == ".tmpl"
    }
    assert len(templates) > 20
    names, _ = build(tree, MLCORE_PURE="1")
    assert not templates - set(names)

    folder = tree.parent / "source"
    folder.mkdir()
    code = f"from setuptools import build_meta; build_meta.build_sdist({str(folder)!r})"
    subprocess.run(
        [sys.executable, "-c", code],
        cwd=tree,
        check=True,
        capture_output=True,
        env={**os.environ, "MLCORE_PURE": "1"},
    )
    [made] = folder.iterdir()
    with tarfile.open(made) as archive:
        kept = {name.partition("/")[2] for name in archive.getnames()}
    assert not templates - kept


def test_an_editable_install_leaves_no_extension_in_the_tree(tree: Path) -> None:
    build(tree, "editable")
    assert not [path for path in (tree / "mlcore").rglob("*") if path.suffix in (".so", ".pyd", ".c")]


def test_a_stale_build_is_not_packed(tree: Path) -> None:
    stale = tree / "build" / "lib" / "mlcore"
    stale.mkdir(parents=True)
    (stale / "removed_long_ago.py").write_text("")
    names, _ = build(tree, MLCORE_PURE="1")
    assert "mlcore/removed_long_ago.py" not in names


@pytest.mark.skipif(not HAS_CYTHON, reason="Cython is not installed")
def test_compiled_files_stand_beside_their_sources(small: Path) -> None:
    names, _ = build(small, MLCORE_PURE="0")
    assert len(compiled(names)) == 2
    assert {"mlcore/first.py", "mlcore/first.pxd", "mlcore/second.py"} <= set(names)
    assert not list((small / "mlcore").rglob("*.c"))


@pytest.mark.skipif(not HAS_CYTHON, reason="Cython is not installed")
def test_compiled_all_or_nothing(small: Path) -> None:
    """One file that does not compile leaves none compiled: the others were built against it."""
    compiler = small.parent / "compiler"
    compiler.write_text('#!/bin/sh\ncase "$*" in *second.c*) exit 1;; esac\nexec cc "$@"\n')
    compiler.chmod(0o755)
    names, said = build(small, CC=str(compiler))
    assert not compiled(names)
    assert "mlcore-core is installed uncompiled" in said
