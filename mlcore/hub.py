"""Models by name: `mlcore.create_model("vision/digits-cnn")`. The names come from the installed plugins."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from typing import Any

from mlcore.errors import ArgumentError, PluginError, did_you_mean
from mlcore.plugin import discovery, hooks


def _factories() -> tuple[dict[str, Callable[..., Any]], dict[str, list[str]]]:
    """The factories by name, and the plugins of each name that several provide."""
    discovery.load_hooks()
    found: dict[str, Callable[..., Any]] = {}
    sources: dict[str, list[str]] = {}
    for plugin, models in hooks.call("mlcore_models"):
        for name, factory in models.items():
            found[name] = factory
            sources.setdefault(name, []).append(plugin)
    return found, {name: who for name, who in sources.items() if len(who) > 1}


def list_models(pattern: str = "*") -> list[str]:
    """The names of the models that the installed plugins provide, sorted; `pattern` selects, e.g. "vision/*".

    >>> import mlcore as ml
    >>> ml.list_models("no-such-domain/*")
    []
    """
    return sorted(fnmatch.filter(_factories()[0], pattern))


def create_model(name: str, **options: Any) -> Any:
    """A new model by its name, such as "vision/digits-cnn"; `options` go to its factory.

    Raises ArgumentError for a name that no plugin provides, PluginError for one that several do.
    """
    found, rivals = _factories()
    if name in rivals:
        raise PluginError(f"create_model: several plugins provide {name!r}: {', '.join(rivals[name])}",
                          fix="uninstall one of them")  # fmt: skip
    if name not in found:
        near = did_you_mean(name, found)
        domains = discovery.domains()
        unusable = [f"{one.name} ({one.state})" for one in domains if one.state not in ("ready", "found")]
        raise ArgumentError(
            f"create_model: no model is called {name!r}{near}",
            known=", ".join(sorted(found)[:20]) or "none: no installed plugin provides models",
            unusable=", ".join(unusable) or None,
            fix=None if found else "install the domain plugin that provides it",
        )
    return found[name](**options)
