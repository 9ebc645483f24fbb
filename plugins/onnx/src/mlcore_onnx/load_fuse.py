"""Neighbours that one operation computes: a convolution, its batch norm by known statistics, and an activation.

As in mlcore's own Sequential: only where no gradient is recorded, and with the same result as one after the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from mlcore.modes import is_recording
from mlcore.ops.conv_norm import convolution_norm
from mlcore_onnx.load_plan import Plan, Step
from mlcore_onnx.ops.conv import many, pads_of
from mlcore_onnx.ops.declare import Handler


def fuse(plan: Plan) -> None:
    """Join the steps of a plan that one operation computes."""
    uses = Counter(place for step in plan.steps for place in step.uses())
    uses.update(plan.outputs)
    reader = {place: step for step in plan.steps for place in step.inputs}
    gone: set[int] = set()
    for step in list(plan.steps):
        norm = _next(step, "Conv", reader, uses, "BatchNormalization")
        if norm is None or norm.inputs[0] != step.outputs[0] or norm.keywords.get("training_mode"):
            continue
        if len([one for one in norm.outputs if one >= 0]) != 1 or norm.keywords.get("spatial") == 0:
            continue
        after = _next(norm, "BatchNormalization", reader, uses, "Relu") or _next(
            norm, "BatchNormalization", reader, uses, "Clip"
        )
        kind = _activation(after)
        chain = [step, norm, after] if after is not None and kind else [step, norm]
        last = max(plan.steps.index(one) for one in chain)
        gone |= {id(one) for one in chain}
        plan.steps[last] = _joined(chain, kind)
    plan.steps = [one for one in plan.steps if id(one) not in gone]


def _next(step: Step, name: str, reader: dict[int, Step], uses: Counter[int], wanted: str) -> Step | None:
    """The only step that reads what `step` makes, if it is one of the operator `wanted`."""
    if step.handler.name != name or step.handler.domain or uses[step.outputs[0]] != 1:
        return None
    found = reader.get(step.outputs[0])
    if found is None or found.handler.name != wanted or found.handler.domain:
        return None
    return found if found.inputs[0] == step.outputs[0] else None


def _activation(step: Step | None) -> str:
    """What mlcore calls an activation that can be part of the operation; empty: none."""
    if step is None:
        return ""
    if step.handler.name == "Relu":
        return "relu"
    bounds = [step.keywords.get("min"), step.keywords.get("max")]
    if len(step.inputs) == 3 and set(step.constants) >= {1, 2}:
        bounds = [step.constants[1].array().item(), step.constants[2].array().item()]
    return "relu6" if bounds == [0, 6] else ""


def _joined(chain: list[Step], kind: str) -> Step:
    """One step in place of several."""
    conv, norm = chain[0], chain[1]
    bias = len(conv.inputs) > 2
    places = [*conv.inputs[:2], conv.inputs[2] if bias else -1, *norm.inputs[1:5]]
    run = _runner(chain, kind)
    handler = Handler(
        run, "", "Conv", (), True, frozenset(), frozenset(), frozenset(), frozenset(), frozenset(),
        moves=False, raw=False, random=False, grows=True,
    )  # fmt: skip
    step = Step(handler, conv.label, {}, {})
    step.inputs = places
    step.outputs = chain[-1].outputs
    step.constants = {i: one for i, one in conv.constants.items() if i < 3}
    step.constants |= {i + 2: one for i, one in norm.constants.items() if 0 < i < 5}
    return step


def _runner(chain: list[Step], kind: str) -> Callable[..., Any]:
    conv, norm = chain[0], chain[1]
    how = conv.keywords
    epsilon = norm.keywords.get("epsilon", 1e-5)

    def apart(x: Any, w: Any, b: Any, scale: Any, offset: Any, mean: Any, var: Any) -> Any:
        y = norm.call(conv.call(x, w, b, **how), scale, offset, mean, var, **norm.keywords)
        if len(chain) == 2:
            return y
        after = chain[2]
        return after.call(y, *(one.array() for _, one in sorted(after.constants.items())), **after.keywords)

    def run(x: Any, w: Any, b: Any, scale: Any, offset: Any, mean: Any, var: Any) -> Any:
        rank = w.ndim - 2
        given = [one for one in (w, b, scale, offset, mean, var) if one is not None]
        if is_recording() or any(one.dtype is not x.dtype for one in given):
            return apart(x, w, b, scale, offset, mean, var)
        strides, dilations = many(how.get("strides"), rank), many(how.get("dilations"), rank)
        auto = how.get("auto_pad", "NOTSET")
        pads = pads_of(x.shape[2:], w.shape[2:], strides, dilations, how.get("pads"), auto)
        if min(map(min, pads)) < 0:
            return apart(x, w, b, scale, offset, mean, var)
        return convolution_norm(
            x, w, b, mean, var, scale, offset, stride=strides, padding=pads, dilation=dilations,
            groups=how.get("group", 1), eps=epsilon, activation=kind or "none",
        )  # fmt: skip

    return run
