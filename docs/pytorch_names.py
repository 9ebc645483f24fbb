"""PyTorch's public names and which of them are here: the table of the documentation, and its check.

The names are facts kept in `pytorch_names.json`; with PyTorch installed, `python docs/pytorch_names.py` writes them
anew. Why a name is not here stands in `pytorch_missing.toml`. What is here is looked up in the code.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
import tomllib
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
NAMES, REASONS = FOLDER / "pytorch_names.json", FOLDER / "pytorch_missing.toml"

# PyTorch's namespace: ours
NAMESPACES = {
    "torch.nn": "mlcore.nn",
    "torch.nn.functional": "mlcore.nn.functional",
    "torch.nn.init": "mlcore.nn.init",
    "torch.nn.utils": "mlcore.nn.utils",
    "torch.nn.utils.rnn": "mlcore.nn.utils.rnn",
    "torch.nn.utils.parametrize": "mlcore.nn.utils.parametrize",
    "torch.nn.utils.parametrizations": "mlcore.nn.utils.parametrizations",
    "torch.optim": "mlcore.optim",
    "torch.optim.lr_scheduler": "mlcore.optim.lr_scheduler",
    "torch.optim.swa_utils": "mlcore.optim.swa_utils",
    "torch.utils.data": "mlcore.data",
}
# What PyTorch's modules import for themselves.
_TOOLS = {
    "assert_int_or_pair", "boolean_dispatch", "factory_kwargs", "handle_torch_function", "has_torch_function",
    "has_torch_function_unary", "has_torch_function_variadic", "ScalingType", "SwizzleType", "Tensor",
}  # fmt: skip


def collect() -> dict[str, Any]:
    """PyTorch's public names, from the PyTorch that is installed."""
    import torch

    found: dict[str, Any] = {"version": torch.__version__.split("+")[0]}
    for namespace in NAMESPACES:
        module = importlib.import_module(namespace)
        names = getattr(module, "__all__", None) or dir(module)
        found[namespace] = sorted({name for name in names if _public(name, getattr(module, name, None))})
    return found


def _public(name: str, value: Any) -> bool:
    if name.startswith("_") or name in _TOOLS or inspect.ismodule(value) or not callable(value):
        return False
    return str(getattr(value, "__module__", "")).startswith("torch")


def names() -> dict[str, list[str]]:
    """The kept names by namespace."""
    held = json.loads(NAMES.read_text(encoding="utf-8"))
    return {namespace: held[namespace] for namespace in NAMESPACES}


def reasons() -> dict[str, dict[str, str]]:
    """Why names are not here, by namespace."""
    return tomllib.loads(REASONS.read_text(encoding="utf-8"))


def here(namespace: str, name: str) -> bool:
    """Whether mlcore's namespace has the name."""
    try:
        module = importlib.import_module(NAMESPACES[namespace])
    except ModuleNotFoundError:
        return False
    return hasattr(module, name)


def page() -> str:
    """The table as Markdown."""
    held, why = names(), reasons()
    version = json.loads(NAMES.read_text(encoding="utf-8"))["version"]
    counts = {space: sum(here(space, name) for name in some) for space, some in held.items()}
    total, present = sum(map(len, held.values())), sum(counts.values())
    lines = [
        "# PyTorch's names",
        f"Of the {total} public names of PyTorch {version} in these namespaces {present} are here"
        f" ({present / total:.1%}), with the same arguments in the same order. The table is made from the code.",
        "| PyTorch | mlcore | here |\n|---|---|---:|\n"
        + "\n".join(
            f"| `{space}` | `{NAMESPACES[space]}` | {counts[space]} of {len(held[space])} |" for space in held
        ),
    ]
    for space, some in held.items():
        lines.append(f"## {space}")
        missing = [name for name in some if not here(space, name)]
        lines.append(", ".join(f"`{name}`" for name in some if name not in missing) or "None.")
        if missing:
            told = why.get(space, {})
            rows = [f"| `{name}` | {told.get(name, '')} |" for name in missing]
            lines.append("Not here:\n\n| name | why |\n|---|---|\n" + "\n".join(rows))
    return "\n\n".join(lines) + "\n"


if __name__ == "__main__":
    NAMES.write_text(json.dumps(collect(), indent=1) + "\n", encoding="utf-8")
    absent = {space: [n for n in some if not here(space, n)] for space, some in names().items()}
    for space, some in absent.items():
        sys.stdout.write(f"{space}: {len(some)} not here: {' '.join(some)}\n")
