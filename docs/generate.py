"""Writes the pages that come from the code: one for each operation, one for each public module.

Docstrings are Markdown with doctest examples, so a page is the docstring with its examples fenced. An
operation that is only a formula has no example of its own; one is made by running it.
"""

from __future__ import annotations

import importlib
import inspect
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import contract
import numpy as np
import pytorch_names

import mlcore as ml
from mlcore import dtypes
from mlcore.ops import registry

MODULES = {
    "mlcore": "The package itself",
    "mlcore.nn": "Modules",
    "mlcore.nn.functional": "Functions for networks",
    "mlcore.nn.config": "Modules as configuration",
    "mlcore.nn.modules.module": "Hooks of all modules",
    "mlcore.nn.utils": "Helpers for parameters and gradients",
    "mlcore.nn.utils.rnn": "Sequences of different lengths",
    "mlcore.nn.utils.parametrize": "Parameters computed from others",
    "mlcore.nn.utils.parametrizations": "Ready-made parametrizations",
    "mlcore.linalg": "Linear algebra",
    "mlcore.fft": "Fourier transforms",
    "mlcore.inspection": "What the namespace has",
    "mlcore.optim": "Optimizers",
    "mlcore.optim.lr_scheduler": "Learning-rate schedules",
    "mlcore.optim.swa_utils": "Averaged weights",
    "mlcore.data": "Datasets and loaders",
    "mlcore.io": "Weights and checkpoints",
    "mlcore.train": "A training loop",
    "mlcore.random": "Random numbers",
    "mlcore.plugin": "What a plugin author imports",
    "mlcore.backends.protocol": "What a backend provides",
    "mlcore.errors": "Errors",
    "mlcore.dtypes": "Element types",
}


def write(folder: Path) -> None:
    """Write all pages anew."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "ops").mkdir(parents=True)
    (folder / "api").mkdir()
    groups: dict[str, list[tuple[str, str]]] = {}
    for op in registry.all_ops():
        if op.public:
            (folder / "ops" / f"{op.name}.md").write_text(op_page(op), encoding="utf-8")
            groups.setdefault(op.group, []).append((op.name, summary(op.doc)))
    for function in registry.all_functions():
        (folder / "ops" / f"{function.name}.md").write_text(function_page(function), encoding="utf-8")
        groups.setdefault(function.group, []).append((function.name, summary(function.doc)))
    (folder / "ops.md").write_text(ops_index(groups), encoding="utf-8")
    pages = []
    for name, title in MODULES.items():
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
            continue
        (folder / "api" / f"{name}.md").write_text(module_page(module, title), encoding="utf-8")
        pages.append(f"api/{name}")
    (folder / "contract.md").write_text(contract.page(sys.modules[__name__]), encoding="utf-8")
    (folder / "pytorch.md").write_text(pytorch_names.page(), encoding="utf-8")
    (folder / "api.md").write_text(f"# Modules\n\n{toctree(pages)}", encoding="utf-8")


# ------------------------------------------------------------------ pages


def op_page(op: Any) -> str:
    """The page of an operation, all from its declaration."""
    facts = [
        ("Accepts", ", ".join(str(dtype) for dtype in sorted(op.accepts, key=lambda dtype: dtype.index))),
        ("Method", f"`Tensor.{op.method}`" if op.method else ""),
        ("Operators", ", ".join(f"`{one}`" for one in op.operators)),
        ("Gradient", "yes, of any order" if op.differentiable else "none"),
        ("Without a kernel", "composed from other operations" if op.body is not None else ""),
        ("Scalar formula", f"`{op.c}`" if isinstance(op.c, str) else ""),
        ("Tolerance", f"{op.ulp} ulp of the reference" if op.ulp else ""),
    ]
    parts = [f"# {op.name}", fence(f"{op.name}{signature(op)}"), markdown(op.doc)]
    if ">>>" not in op.doc:
        parts += ["## Example", made_example(op)]
    parts += ["## Declaration", table(facts)]
    return "\n\n".join(part for part in parts if part) + "\n"


def function_page(function: Any) -> str:
    """The page of a function that is made of operations."""
    facts = [
        ("Method", f"`Tensor.{function.method}`" if function.method else ""),
        ("Operators", ", ".join(f"`{one}`" for one in function.operators)),
    ]
    head = [f"# {function.name}", fence(f"{function.name}{signature(function)}"), markdown(function.doc)]
    rows = table(facts)
    return "\n\n".join([*head, *(["## Declaration", rows] if rows else [])]) + "\n"


def ops_index(groups: dict[str, list[tuple[str, str]]]) -> str:
    """The list of all operations by group."""
    parts = [
        "# Operations",
        "Every operation is declared once; this list and each page come from the declarations.",
    ]
    for group, entries in groups.items():
        lines = [f"- [{name}](ops/{name}.md): {text}" for name, text in sorted(entries)]
        parts += [f"## {group}", "\n".join(lines)]
    names = sorted(f"ops/{name}" for entries in groups.values() for name, _ in entries)
    return "\n\n".join([*parts, toctree(names, hidden=True)])


def module_page(module: Any, title: str) -> str:
    """A module's docstring and its public names."""
    ops = {name for name, _ in registry.public()}
    parts = [f"# {title}: `{module.__name__}`", markdown(inspect.getdoc(module) or "")]
    for name, value in public_names(module):
        if module is ml and name in ops:
            continue
        if inspect.isclass(value):
            parts += [f"## {name}", *class_parts(name, value)]
        elif callable(value):
            parts += [f"## {name}", fence(f"{name}{signature(value)}"), markdown(inspect.getdoc(value) or "")]
    if module is ml:
        parts.append("The operations have [pages of their own](../ops.md).")
    return "\n\n".join(part for part in parts if part) + "\n"


def class_parts(name: str, cls: type) -> Iterator[str]:
    """A class: its constructor, its docstring, and the methods that it defines and documents itself."""
    if not issubclass(cls, BaseException):
        yield fence(f"{name}{signature(cls)}")
    else:
        yield "Also a " + ", ".join(f"`{base.__name__}`" for base in cls.__bases__) + "."
    yield markdown(inspect.getdoc(cls) or "")
    for method, value in vars(cls).items():
        function = value.__func__ if isinstance(value, classmethod | staticmethod) else value
        doc = inspect.getdoc(function)
        if method.startswith("_") or not doc or not (callable(function) or isinstance(function, property)):
            continue
        call = "" if isinstance(function, property) else signature(function)
        yield f"### {name}.{method}"
        yield fence(f"{method}{call}")
        yield markdown(doc)


def public_names(module: Any) -> Iterable[tuple[str, Any]]:
    """What a module offers: `__all__`, else what it defines itself."""
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return [(name, getattr(module, name)) for name in listed]
    own = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    return [
        (name, value) for name, value in own.items() if getattr(value, "__module__", "") == module.__name__
    ]


# ------------------------------------------------------------------ pieces


def summary(doc: str) -> str:
    """The first sentence of a docstring, on one line."""
    return " ".join(doc.strip().split("\n\n")[0].split())


def signature(value: Any) -> str:
    """The signature as text, or empty parentheses for what has none."""
    try:
        found = value.signature if isinstance(getattr(value, "signature", None), inspect.Signature) else None
        text = re.sub(r"<[\w.]+ object at 0x\w+>", "...", str(found or inspect.signature(value)))
        return re.sub(r"(: |-> )'([^']*)'", r"\1\2", text)
    except (TypeError, ValueError):
        return "(...)"


def fence(code: str) -> str:
    return f"```python\n{code}\n```"


def markdown(doc: str) -> str:
    """A docstring as Markdown, with its doctest examples fenced."""
    parts: list[str] = []
    block: list[str] = []
    inside = False

    def close() -> None:
        if block:
            text = "\n".join(block).strip("\n")
            parts.append(f"```pycon\n{inspect.cleandoc(text)}\n```" if inside else plain(text))
            block.clear()

    for line in inspect.cleandoc(doc).splitlines():
        starts = line.lstrip().startswith(">>>")
        if (starts and not inside) or (inside and not line.strip()):
            close()
            inside = starts
        block.append(line)
    close()
    return "\n\n".join(part for part in parts if part)


def plain(text: str) -> str:
    """Prose as Markdown: an indented list or listing keeps its lines, and a lone `#` is no heading."""
    if any(line.startswith("  ") for line in text.splitlines()):
        return f"```text\n{text}\n```" if text.startswith("  ") else hard_lines(text)
    return re.sub(r"^#", r"\#", text, flags=re.MULTILINE)


def hard_lines(text: str) -> str:
    """Text followed by an indented listing."""
    lines = text.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("  "))
    return "\n".join(lines[:first]) + "\n\n```text\n" + inspect.cleandoc("\n".join(lines[first:])) + "\n```"


def table(facts: list[tuple[str, str]]) -> str:
    rows = [f"| {name} | {text.replace('|', chr(92) + '|')} |" for name, text in facts if text]
    return "\n".join(["| | |", "|---|---|", *rows]) if rows else ""


def toctree(pages: list[str], hidden: bool = False) -> str:
    options = ":hidden:\n" if hidden else ":maxdepth: 1\n"
    return "```{toctree}\n" + options + "\n" + "\n".join(pages) + "\n```\n"


def made_example(op: Any) -> str:
    """An example run now, for a formula of tensors: inputs from inside its domain, and what came out."""
    if op.family not in ("unary", "binary", "reduction"):
        return ""
    dtype = next((d for d in (dtypes.float32, dtypes.int32, dtypes.bool_) if d in op.accepts), None)
    dtype = dtype or min(op.accepts, key=lambda one: one.index)
    domain = op.domain or (-2.0, 2.0)
    domains = domain if isinstance(domain[0], tuple) else (domain,) * op.n_inputs
    lines, values = [], []
    for name, (low, high) in zip(op.inputs, domains, strict=True):
        points = np.linspace(max(low, -2.0), min(high, 2.0), 6)[1:5] * (1.0 if not values else 0.5)
        if dtype.kind in "iu":
            points = np.array([1, 2, 3, 4])
        points = points.reshape(2, 2) if op.family == "reduction" else points
        values.append(ml.asarray(points.astype(dtype.numpy).tolist(), dtype=dtype, device="reference"))
        lines.append(f">>> {name} = ml.asarray({shown(values[-1])}, dtype=ml.{dtype})")
    last = ", axis=1" if op.family == "reduction" else ""
    call = f"ml.{op.name}({', '.join(op.inputs)}{last})"
    result = op(*values, axis=1) if last else op(*values)
    lines += [f">>> {call}", repr(result).replace(", device='reference'", "")]
    return "```pycon\n" + "\n".join(lines) + "\n```"


def shown(value: Any) -> str:
    """A tensor's elements with as many digits as tell float32 apart."""
    return re.sub(r"\d+\.\d{5,}(e[-+]\d+)?", lambda match: f"{float(match[0]):.4g}", str(value.tolist()))
