"""What mlcore loads to learn about this package: light, nothing of it is imported before it is used."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mlcore.config import Variable
from mlcore.plugin import DomainPlugin, hookimpl


class Vision(DomainPlugin):
    """Images: data sets, transforms, networks; the commands `mlcore train`, `predict` and `classify`."""

    name, api, module = "vision", "1.0", "mlcore_vision"
    summary = "images: data sets, transforms, networks; mlcore train, predict, classify"
    requires = ("pillow>=10.1",)

    @hookimpl
    def mlcore_cli_commands(self, subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
        from mlcore_vision import cli

        cli.add_commands(subparsers)

    @hookimpl
    def mlcore_models(self) -> Mapping[str, Callable[..., Any]]:
        from mlcore_vision.models import FACTORIES

        return FACTORIES

    @hookimpl
    def mlcore_config_variables(self) -> Iterable[Variable[Any]]:
        from mlcore_vision.settings import DATA_DIR

        return (DATA_DIR,)


plugin = Vision()
