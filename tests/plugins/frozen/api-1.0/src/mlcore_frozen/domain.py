"""A domain as plugin API 1.0 had it."""

from mlcore.plugin import DomainPlugin, hookimpl


class FrozenModels(DomainPlugin):
    name, api, core, module = "frozen_models", "1.0", ">=0.1", "mlcore_frozen"
    requires, conflicts, summary, homepage = ("numpy>=2.0",), (), "models for tests", ""

    @hookimpl
    def mlcore_models(self):
        from mlcore import nn

        return {"frozen/linear": lambda features: nn.Linear(features, 1)}


plugin = FrozenModels()
