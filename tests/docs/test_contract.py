"""The contract's page is made from the code and leaves nothing out that the core looks for."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from pathlib import Path

import pytest

from mlcore.backends import protocol
from mlcore.plugin import api, hooks

ROOT = Path(__file__).resolve().parents[2]
# Attributes of our own: an attribute of a backend for shapes only, which is no plugin's.
INTERNAL = {"without_values", "number", "captures"}  # of stand-ins that only write down what is called


@pytest.fixture(scope="module")
def page() -> str:
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        import contract
        import generate
    finally:
        sys.path.remove(str(ROOT / "docs"))
    made: str = contract.page(generate)
    return made


def test_it_names_every_part(page: str) -> None:
    names = [f"{cls.__name__}.{name}" for cls in (protocol.Backend, protocol.Extras, api.BackendPlugin, hooks.Specs)
             for name, value in vars(cls).items() if inspect.isfunction(value) and name[0] != "_"]  # fmt: skip
    assert len(names) > 15
    assert not [name for name in names if f"#### {name}\n" not in page]
    assert not [state for state in api.STATES if f"| `{state}` |" not in page]
    assert "### Runtime\n" in page
    assert "### Dialect\n" in page


def test_every_state_has_a_meaning() -> None:
    assert tuple(api.MEANINGS) == api.STATES


def asked(path: Path) -> set[str]:
    """What a file asks a backend for that it need not have: `getattr(x.backend, "name", ...)`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "getattr":
            whose, name = node.args[0], node.args[1]
            if re.search(r"\bbackend$", ast.unparse(whose)) and isinstance(name, ast.Constant):
                found.add(str(name.value))
    return found


def test_what_the_core_looks_for_is_declared() -> None:
    """A backend's optional parts stand in `Extras`: no plugin author has to read the core for them."""
    found = set().union(*(asked(path) for path in (ROOT / "mlcore").rglob("*.py")))
    assert {"explain", "buffer", "fork_safe"} <= found
    declared = {*vars(protocol.Extras), *inspect.get_annotations(protocol.Extras), *vars(protocol.Backend)}
    assert not found - declared - INTERNAL
