"""A new operation touches one file: in a copy of the tree, one declaration is added and everything else follows."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DECLARATION = """
softsign = unary(
    "softsign", "`x / (1 + |x|)`, element by element.",
    reference=lambda x: x / (1 + np.abs(x)), c="x / (T(1) + fabs(x))",
    accepts=floating, domain=(-10, 10), ulp=2,
    vjp=lambda g, x: g / (1 + abs(x)) ** 2,
)
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The copy, with the declaration added and the generators run."""
    copy = tmp_path_factory.mktemp("tree")
    ignored = shutil.ignore_patterns("__pycache__", "*.so", "_generated", "_build")
    for folder in ("mlcore", "backend-cpu/src", "docs", "tools"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=ignored)
    with (copy / "mlcore" / "ops" / "elementwise.py").open("a", encoding="utf-8") as file:
        file.write(DECLARATION)
    run(copy, "tools/generate.py")
    return copy


def run(tree: Path, *arguments: str) -> str:
    """Run Python on the copy of the tree, uncompiled."""
    path = os.pathsep.join(str(tree / folder) for folder in (".", "backend-cpu/src", "docs"))
    result = subprocess.run(
        [sys.executable, *arguments],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": path, "MLCORE_PLUGINS": "0", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_it_has_a_function_a_method_and_a_gradient(tree: Path) -> None:
    code = (
        "import mlcore as ml\n"
        "x = ml.asarray([1.0, -3.0], requires_grad=True)\n"
        "x.softsign().sum().backward()\n"
        "print(ml.softsign(x).tolist(), x.grad.tolist())"
    )
    assert run(tree, "-c", code).strip() == "[0.5, -0.75] [0.25, 0.0625]"


def test_it_has_an_entry_in_the_stub(tree: Path) -> None:
    stub = ast.parse((tree / "mlcore" / "tensor.pyi").read_text(encoding="utf-8"))
    methods = {node.name for node in ast.walk(stub) if isinstance(node, ast.FunctionDef)}
    assert "softsign" in methods


def test_it_has_a_page(tree: Path) -> None:
    run(tree, "-c", "import generate, pathlib; generate.write(pathlib.Path('pages'))")
    page = (tree / "pages" / "ops" / "softsign.md").read_text(encoding="utf-8")
    assert "element by element" in page
    assert ">>> ml.softsign(x)" in page
    assert "ops/softsign.md" in (tree / "pages" / "ops.md").read_text(encoding="utf-8")


def test_it_has_a_generated_kernel(tree: Path) -> None:
    table = (tree / "backend-cpu" / "src" / "mlcore_cpu" / "csrc" / "generated_ops.inc").read_text(
        encoding="utf-8"
    )
    assert any("softsign" in line and "fabs(x)" in line for line in table.splitlines())


def test_no_other_file_was_touched(tree: Path) -> None:
    """What differs from the real tree is the declaration's file and the committed generated files, nothing else."""
    made = {"mlcore/tensor.pyi", "mlcore/__init__.pyi", "backend-cpu/src/mlcore_cpu/csrc/generated_ops.inc"}
    copied = [
        path for folder in ("mlcore", "backend-cpu/src", "tools") for path in (tree / folder).rglob("*")
    ]
    changed = set()
    for path in copied:
        name = path.relative_to(tree)
        if path.is_file() and (not (ROOT / name).exists() or (ROOT / name).read_bytes() != path.read_bytes()):
            changed.add(name.as_posix())
    assert changed == made | {"mlcore/ops/elementwise.py"}
