"""Training steps with AdamW: forward, loss, backward, update, from the same weights on the same batch; and inference.

PyTorch trains twice, with its plain AdamW and with its fused one; the ratio is against the faster.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlcore.bench.libraries import Library
from mlcore.bench.models import MODELS, Model, set_weights
from mlcore.bench.rows import CHANNELS_LAST, Inputs, Task, both

GROUP = "training steps"
INFERENCE = "inference"
EAGER = {"torch": {}, "torch (fused AdamW)": {"fused": True}}


def _made(lib: Library, model: Model, data: Inputs, channels_last: bool) -> tuple[Any, Any]:
    """The model with its weights, and its inputs."""
    made, inputs = set_weights(lib, model.make(lib.nn, lib.functional)), lib.tensor(data["inputs"])
    return (lib.channels_last(made), lib.channels_last(inputs)) if channels_last else (made, inputs)


def _training(model: Model) -> Callable[..., Task]:
    def build(lib: Library, data: Inputs, fused: bool = False, channels_last: bool = False) -> Task:
        made, inputs = _made(lib, model, data, channels_last)
        target = lib.tensor(data["target"])
        loss = getattr(lib.functional, model.loss)
        # What is shown beside the rivals gets the better of their two optimizers.
        how = {"fused": True} if fused or channels_last or lib.name == "torch.compile" else {}
        optimizer = lib.optim.AdamW(made.parameters(), lr=model.rate, weight_decay=0.01, **how)
        run = lib.compiled(made)

        def step() -> Any:
            optimizer.zero_grad()
            found = loss(run(inputs), target)
            found.backward()
            optimizer.step()
            return found

        return lib.task(step)

    return build


def _inference(model: Model) -> Callable[..., Task]:
    def build(lib: Library, data: Inputs, channels_last: bool = False) -> Task:
        made, inputs = _made(lib, model, data, channels_last)
        return lib.inference(made.eval(), inputs)

    return build


for _model in MODELS:
    _also = ("torch.compile", *((CHANNELS_LAST,) if _model.images else ()))
    both(GROUP, _model.name, _training(_model), _model.inputs, _model.training, rivals=EAGER, also=_also,
         tolerance=1e-3, steps=5, quick=_model.small, memory=True)  # fmt: skip
for _model in MODELS:
    _also = ("torch.compile", "onnxruntime", *((CHANNELS_LAST,) if _model.images else ()))
    both(INFERENCE, _model.name, _inference(_model), _model.inputs, _model.inference, also=_also, tolerance=1e-4,
         quick=_model.small, memory=True)  # fmt: skip
