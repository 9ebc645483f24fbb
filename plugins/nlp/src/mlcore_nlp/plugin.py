"""What mlcore loads to learn about this package: light, nothing of it is imported before it is used."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

from mlcore.plugin import DomainPlugin, hookimpl


class Nlp(DomainPlugin):
    """Text: tokenizers, BERT and Llama-style models; the commands `mlcore embed` and `mlcore generate`."""

    name, api, module = "nlp", "1.0", "mlcore_nlp"
    summary = "text: tokenizers, sentence embeddings, language models; mlcore embed, mlcore generate"
    requires = ("tokenizers>=0.21",)

    @hookimpl
    def mlcore_cli_commands(self, subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
        from mlcore_nlp import cli

        cli.add_commands(subparsers)

    @hookimpl
    def mlcore_models(self) -> Mapping[str, Callable[..., Any]]:
        from mlcore_nlp.auto import FACTORIES

        return FACTORIES


plugin = Nlp()
