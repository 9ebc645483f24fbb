"""The core's imports: by the layers, of declared distributions only, and never the package root."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "mlcore").rglob("*.py"))
# The kit runs inside the user's pytest.
ALSO_ALLOWED = {
    "adapters": {"einops"},  # each loads after the library that it adapts
    "testing": {"pytest", "_pytest"},
}


def imports(path: Path) -> list[tuple[str, int]]:
    """Every module that a file imports, at any depth, with the line."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [(name, node.lineno) for name in imported_from(node)]
    return found


def imported_from(node: ast.ImportFrom) -> list[str]:
    """The modules of a `from ... import`: `from mlcore import shapes` imports the file mlcore/shapes.py."""
    module = "." * node.level + (node.module or "")
    if module != "mlcore":
        return [module]
    files = {alias.name: ROOT / "mlcore" / alias.name for alias in node.names}
    return [
        f"mlcore.{n}" if p.is_dir() or p.with_suffix(".py").exists() else "mlcore" for n, p in files.items()
    ]


def names(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_the_layer_contract_holds() -> None:
    command = [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command as c; c()",
        "--no-cache",
    ]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"[1-9]\d* kept, 0 broken", result.stdout), result.stdout


def test_no_module_imports_the_package_root() -> None:
    """The root imports everything, so a module that imported it would stand in every layer at once."""
    offenders = [
        f"{names(path)}:{line} imports {module or 'relatively'}"
        for path in SOURCES
        for module, line in imports(path)
        if module == "mlcore" or module.startswith(".")
    ]
    assert not offenders, "\n".join(offenders)


def test_only_declared_requirements_are_imported() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {re.match(r"[\w-]+", line)[0].replace("-", "_").lower() for line in project["dependencies"]}
    assert declared == {"numpy", "pluggy", "safetensors", "ml_dtypes", "tqdm", "typing_extensions"}
    known = declared | set(sys.stdlib_module_names) | {"mlcore"}
    offenders = []
    for path in SOURCES:
        allowed = known | ALSO_ALLOWED.get(path.relative_to(ROOT / "mlcore").parts[0], set())
        for module, line in imports(path):
            if module.partition(".")[0] not in allowed:
                offenders.append(f"{names(path)}:{line} imports {module}")
    assert not offenders, "\n".join(offenders)


@pytest.mark.parametrize("pyproject", sorted(ROOT.glob("**/pyproject.toml"), key=str), ids=names)
def test_no_requirement_names_a_distribution_that_is_not_ours(pyproject: Path) -> None:
    """On the index, `mlcore` is somebody else's; ours are called mlcore-core, mlcore-cpu and so on."""
    if any(part.startswith((".venv", "build")) for part in pyproject.relative_to(ROOT).parts):
        pytest.skip("belongs to an environment")
    project = tomllib.loads(pyproject.read_text(encoding="utf-8")).get("project", {})
    lists = [project.get("dependencies", []), *project.get("optional-dependencies", {}).values()]
    lines = [line for requirements in lists for line in requirements]
    assert not [line for line in lines if re.match(r"mlcore\s*([\[<>=!~;]|$)", line)]
