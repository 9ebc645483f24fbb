"""What the declarations owe their readers."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import mlcore as ml
from mlcore.ops import registry

ROOT = Path(__file__).resolve().parents[2]
PUBLIC = [(op.name, op.doc) for op in registry.all_ops() if op.public]
PUBLIC += [(function.name, function.doc) for function in registry.all_functions()]
# A formula of tensors gets its example made on its page of documentation.
FORMULAS = {op.name for op in registry.all_ops() if op.family in ("unary", "binary", "reduction")}


@pytest.mark.parametrize(("name", "doc"), PUBLIC, ids=[name for name, _ in PUBLIC])
def test_every_public_operation_says_what_it_does(name: str, doc: str) -> None:
    assert doc.strip(), f"{name} has no description"
    assert ">>>" in doc or name in FORMULAS, f"{name} has no example"


@pytest.mark.parametrize(
    ("name", "value"), list(registry.public()), ids=[name for name, _ in registry.public()]
)
def test_every_public_operation_is_exported(name: str, value: Any) -> None:
    assert getattr(ml, name) is value
    assert inspect.signature(value) is not None


def test_generated_files_are_fresh() -> None:
    result = subprocess.run(
        [sys.executable, "tools/generate.py", "--check"],
        cwd=ROOT,
        env={"PYTHONPATH": ".:backend-cpu/src", "PYTHONDONTWRITEBYTECODE": "1", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, f"run: make generate\n{result.stdout}{result.stderr}"
