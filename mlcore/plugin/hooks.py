"""The hooks a plugin may implement, for start-up and other cold paths (a hook call costs microseconds).

A plugin object's methods marked with `hookimpl` are its implementations. Each is called on its own: one that
raises is logged and left out, and the others still run.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import pluggy

from mlcore.config import Variable, log
from mlcore.plugin.api import DeviceInfo

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from mlcore.distributed.protocol import Offer
    from mlcore.io.formats import Format

PROJECT: Final = "mlcore"
hookspec: Final = pluggy.HookspecMarker(PROJECT)
hookimpl: Final = pluggy.HookimplMarker(PROJECT)


@dataclass(frozen=True, slots=True)
class Check:
    """One line of `mlcore doctor`: what was looked at, how it stands, and what to do about it."""

    name: str
    status: Literal["ok", "warning"]
    text: str
    fix: str = ""


class Specs:
    """The hooks, by name."""

    @hookspec
    def mlcore_cli_commands(self, subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
        """Add commands: ``parser = subparsers.add_parser("train")``, then
        ``parser.set_defaults(run=function)``, where ``function(arguments) -> int`` is the exit status."""

    @hookspec
    def mlcore_models(self) -> Mapping[str, Callable[..., Any]]:  # type: ignore[empty-body]  # a hook's specification
        """Model factories by name, such as ``{"toys/small-cnn": small_cnn}``; for `mlcore.create_model`."""

    @hookspec
    def mlcore_choose_device(self, devices: Sequence[DeviceInfo]) -> str | None:
        """The site's policy: the id of the device to use by default, or None for no opinion. Asked only when
        neither the program, nor MLCORE_DEVICE, nor the user's configuration names one."""

    @hookspec
    def mlcore_doctor_checks(self) -> Iterable[Check]:  # type: ignore[empty-body]  # a hook's specification
        """Further lines for `mlcore doctor`."""

    @hookspec
    def mlcore_fallback(self, op: str, device: str, reason: str, where: str) -> None:
        """An operation ran on the host: told once an operation and device. `where` is the user's line."""

    @hookspec
    def mlcore_collectives(self) -> Iterable[Offer]:  # type: ignore[empty-body]  # a hook's specification
        """Libraries of collectives: how processes of one job work together (see mlcore.distributed)."""

    @hookspec
    def mlcore_formats(self) -> Iterable[Format]:  # type: ignore[empty-body]  # a hook's specification
        """File formats of weights: what `mlcore.load` recognises and `mlcore.save` writes (see mlcore.io.formats)."""

    @hookspec
    def mlcore_assets(self) -> Iterable[Traversable]:  # type: ignore[empty-body]  # a hook's specification
        """Manifests of files that are fetched by name: TOML files in the plugin's package, in the form of the core's
        own (mlcore/assets/manifest.toml); for `mlcore.assets` and `mlcore assets`."""

    @hookspec
    def mlcore_config_variables(self) -> Iterable[Variable[Any]]:  # type: ignore[empty-body]  # a hook's specification
        """The plugin's own MLCORE_* variables."""


_manager: Final = pluggy.PluginManager(PROJECT)
_manager.add_hookspecs(Specs)


def register(plugin: object, name: str) -> None:
    """Make a plugin's hook implementations known. Registering the same name twice keeps the first.

    Raises pluggy.PluginValidationError where an implementation does not fit its specification.
    """
    if _manager.get_plugin(name) is None and not _manager.is_registered(plugin):
        _manager.register(plugin, name)
        try:
            _manager.check_pending()  # refuses a misspelt hook, which would silently never be called
        except pluggy.PluginValidationError:
            _manager.unregister(plugin)
            raise


def unregister(name: str) -> None:
    """Forget a plugin's hook implementations, if it has any."""
    if _manager.get_plugin(name) is not None:
        _manager.unregister(name=name)


def call(hook: str, **arguments: Any) -> list[tuple[str, Any]]:
    """(plugin, result) of every implementation of `hook` that neither raised nor returned None.

    >>> isinstance(call("mlcore_models"), list)
    True
    """
    results = []
    for implementation in getattr(_manager.hook, hook).get_hookimpls():
        try:
            result = implementation.function(*(arguments[name] for name in implementation.argnames))
            if isinstance(result, Iterator):  # a generator runs here, where it may fail
                result = list(result)
        except (Exception, SystemExit) as error:
            log.warning(
                "%s of plugin %s failed and is left out: %s: %s",
                hook,
                implementation.plugin_name,
                type(error).__name__,
                error,
            )
            log.debug("traceback of %s", hook, exc_info=True)
            continue
        if result is not None:
            results.append((implementation.plugin_name, result))
    return results
