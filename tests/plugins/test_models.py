"""Models by name, from healthy plugins beside broken ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

CODE = """
import mlcore as ml
print(ml.list_models(), ml.list_models("other/*"), ml.create_model("toys/one", a=1))
try:
    ml.create_model("toys/won")
except ValueError as error:
    print(str(error).splitlines()[0])
"""


def test_models_by_name(site: Callable[..., Any]) -> None:
    result = site("toys", "brokendomain", "misspelt").run("-c", CODE)
    assert result.status == 0, result.err
    first, second = result.out.splitlines()
    assert "'toys/one'" in first
    assert first.endswith(" [] {'a': 1}")
    assert second == "create_model: no model is called 'toys/won'; did you mean 'toys/one'?"
    assert "no models today" in result.err


def test_a_model_that_two_plugins_offer(site: Callable[..., Any]) -> None:
    code = """
from mlcore.plugin import hookimpl, hooks
import mlcore as ml
class Rival:
    @hookimpl
    def mlcore_models(self):
        return {"toys/one": list}
hooks.register(Rival(), "rival")
try:
    ml.create_model("toys/one")
except RuntimeError as error:
    print(error)
"""
    lines = site("toys").python(code).splitlines()
    assert lines[0].startswith("create_model: several plugins provide 'toys/one': ")
    assert "rival" in lines[0]
    assert "mlcore-test-toys/toys" in lines[0]
