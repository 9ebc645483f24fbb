"""Libraries that have to be told about mlcore's tensors: our adapter loads when the library does, or at once.

Nothing here imports such a library: a person who imports both, in any order, can use them together.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

# The module after whose import an adapter of ours loads.
AFTER = {"einops._backends": "mlcore.adapters.einops"}


class _ThenOurs(Loader):
    """Runs a module as its own loader does, then imports the adapter."""

    def __init__(self, loader: Loader, adapter: str) -> None:
        self.loader, self.adapter = loader, adapter

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = module.__loader__ = self.loader  # nobody need know that we were here
        self.loader.exec_module(module)
        importlib.import_module(self.adapter)


class _Watch(MetaPathFinder):
    """Finds the modules of AFTER as Python does, and has the adapter imported behind each."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        adapter = AFTER.get(fullname)
        if adapter is None:
            return None
        sys.meta_path.remove(self)
        try:
            spec = find_spec(fullname)
        finally:
            sys.meta_path.insert(0, self)
        if spec is not None and spec.loader is not None:
            spec.loader = _ThenOurs(spec.loader, adapter)
        return spec


def watch() -> None:
    """Load the adapters of libraries that are imported already, and the others when theirs are."""
    for module, adapter in AFTER.items():
        if module in sys.modules:
            importlib.import_module(adapter)
    if not any(isinstance(one, _Watch) for one in sys.meta_path):
        sys.meta_path.insert(0, _Watch())
