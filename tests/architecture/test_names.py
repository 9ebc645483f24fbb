"""The core names no backend: what there is comes from entry points, so nobody's backend is special."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted([*(ROOT / "mlcore").rglob("*.py"), *(ROOT / "mlcore").rglob("*.pyi")])
BACKEND = re.compile(r"(?<![a-z])(cpu|cuda|rocm|hip|metal|mps|oneapi|opencl|xpu|tpu)(?![a-z])", re.IGNORECASE)
# Words of the operating system, not of a backend.
INNOCENT = {"cpu_count", "process_cpu_count", "cpu_name"}


def words(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Every identifier and string of a file that is not a comment or a docstring."""
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.value, line
        elif isinstance(node, ast.Name):
            yield node.id, line
        elif isinstance(node, ast.Attribute):
            yield node.attr, line
        elif isinstance(node, ast.arg | ast.keyword):
            yield node.arg or "", line
        elif isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef | ast.alias):
            yield node.name, line


def backends(tree: ast.Module) -> list[tuple[str, int]]:
    return [(word, line) for word, line in words(tree) if BACKEND.search(word) and word not in INNOCENT]


def test_the_scan_finds_a_name() -> None:
    tree = ast.parse('"on cpu"\nx = y.cpu  # cuda\nz = os.cpu_count()\nf(metal=f"{x} on cuda:0")\n')
    assert sorted(word for word, _ in backends(tree)) == [" on cuda:0", "cpu", "metal"]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_backend_is_named(path: Path) -> None:
    found = [f"line {line}: {word!r}" for word, line in backends(ast.parse(path.read_text(encoding="utf-8")))]
    assert not found, f"{path.relative_to(ROOT)} names a backend\n" + "\n".join(found)
