"""The page of the contract between the core and a plugin: all of it read from the code, so that it says what is so."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from mlcore.backends import protocol
from mlcore.backends.kernel_library import Runtime
from mlcore.codegen import Dialect
from mlcore.plugin import api, hooks, probes
from mlcore.testing.stamp import LEVELS

HEAD = """# The contract of a backend

What the core asks of a plugin, written from the code as this site is built. The plugin API is version **{version}**;
[what may change in it](../compatibility.md) is a promise. [Write a backend](../write-a-backend.md) is the way in.
"""


def page(pages: ModuleType) -> str:
    """The page; `pages` is docs/generate.py, which knows how a docstring becomes Markdown."""
    parts = [
        HEAD.format(version=api.PLUGIN_API),
        "## The plugin: a light object",
        pages.markdown(inspect.getdoc(api) or ""),
        *classes(pages, api.BackendPlugin, api.Probe, api.ProbeContext, api.DeviceInfo, api.DomainPlugin),
        "## States",
        "What a probe answers, or what mlcore finds out. `mlcore doctor` shows each plugin's state, its reason and its "
        "fix.",
        listing(api.MEANINGS, "state"),
        "## Facts for a probe",
        pages.markdown(inspect.getdoc(probes) or ""),
        *functions(pages, probes),
        "## The backend: a device's arrays and kernels",
        pages.markdown(inspect.getdoc(protocol) or ""),
        *classes(pages, protocol.Backend, protocol.Extras, protocol.MemoryStats),
        "## Own memory and generated kernels",
        "A backend whose device has a compiler for a C-like language gives a runtime and a dialect to "
        "`mlcore.backends.kernel_library.KernelLibraryBackend`, and has every operation.",
        *classes(pages, Runtime, Dialect),
        "## Hooks",
        pages.markdown(inspect.getdoc(hooks) or ""),
        *classes(pages, hooks.Specs, hooks.Check),
        "## Adoption levels",
        listing({f"L{level}": text for level, text in LEVELS.items()}, "level"),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def listing(facts: Any, head: str) -> str:
    """A table of names and what they mean."""
    rows = [f"| `{name}` | {text} |" for name, text in facts.items()]
    return "\n".join([f"| {head} | |", "|---|---|", *rows])


def classes(pages: ModuleType, *found: type) -> Iterator[str]:
    """Each class with its docstring, its attributes and its methods."""
    for cls in found:
        yield f"### {cls.__name__}"
        yield pages.markdown(inspect.getdoc(cls) or "")
        yield attributes(cls)
        yield from members(pages, cls)


def attributes(cls: type) -> str:
    """The names that the class annotates, with their types and defaults."""
    rows = []
    for name, kind in inspect.get_annotations(cls).items():
        default = cls.__dict__.get(name, inspect.Parameter.empty)
        shown = (
            "" if default is inspect.Parameter.empty or inspect.ismemberdescriptor(default) else repr(default)
        )
        shown = "" if shown.startswith("<") else shown
        rows.append(
            f"| `{name}` | `{str(kind).replace('|', chr(92) + '|')}` | {f'`{shown}`' if shown else ''} |"
        )
    return "\n".join(["| attribute | type | default |", "|---|---|---|", *rows]) if rows else ""


def members(pages: ModuleType, cls: type) -> Iterator[str]:
    """Each documented method with its signature."""
    for name, value in vars(cls).items():
        function = value.__func__ if isinstance(value, classmethod | staticmethod) else value
        function = function.fget if isinstance(function, property) else function
        doc = inspect.getdoc(function) if inspect.isfunction(function) else None
        if doc and not name.startswith("_"):
            yield f"#### {cls.__name__}.{name}"
            yield pages.fence(f"{name}{pages.signature(function)}")
            yield pages.markdown(doc)


def functions(pages: ModuleType, module: ModuleType) -> Iterator[str]:
    """Each public function of a module."""
    for name, value in vars(module).items():
        own = getattr(value, "__module__", "") == module.__name__
        if own and callable(value) and not name.startswith("_") and inspect.getdoc(value):
            yield f"### probes.{name}"
            yield pages.fence(f"{name}{pages.signature(value)}")
            yield pages.markdown(inspect.getdoc(value) or "")
