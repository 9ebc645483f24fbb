"""How a device runs an optimizer's step."""

from __future__ import annotations

from typing import Any

from mlcore.optim.rule import UpdateRule
from mlcore.table import entry


def explain(optimizer: Any) -> str:
    """How the steps of an optimizer run, for each of its operations and devices: as one call, or composed, and why.

    A backend may find out with the first step only; what is said is what it knows so far.

    >>> import mlcore as ml
    >>> from mlcore import nn, optim
    >>> p = nn.Parameter(ml.ones((3,), device="reference")); p.grad = p.detach()
    >>> print(optim.explain(optim.Lion([p])))
    Lion on reference: composed from operations, for each parameter
    """
    name = type(optimizer).__name__
    if not isinstance(optimizer, UpdateRule):
        return f"{name}: its step is a function of its own"
    found: dict[str, None] = {}
    for group in optimizer.param_groups:
        op = optimizer._plan_for(group).op
        for device in dict.fromkeys(p.device for p in group["params"]):
            for how in _ways(entry(op, device).kernel):
                found[f"{name} on {device}: {how}"] = None
    return "\n".join(found)


def _ways(kernel: Any) -> list[str]:
    if kernel is None:
        return ["composed from operations, for each parameter"]
    said: list[str] = kernel.report() if hasattr(kernel, "report") else []
    return said or ["a kernel of its own"]
