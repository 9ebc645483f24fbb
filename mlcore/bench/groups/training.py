"""Training steps with AdamW: forward, loss, backward, update, from the same weights on the same batch; and inference.

PyTorch trains twice, with its plain AdamW and with its fused one; the ratio is against the faster.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlcore.bench.libraries import Library
from mlcore.bench.models import MODELS, Model, set_weights
from mlcore.bench.rows import Inputs, Task, both

GROUP = "training steps"
INFERENCE = "inference"
EAGER = {"torch": {}, "torch (fused AdamW)": {"fused": True}}


def _training(model: Model) -> Callable[..., Task]:
    def build(lib: Library, data: Inputs, fused: bool = False) -> Task:
        made = set_weights(lib, model.make(lib.nn, lib.functional))
        inputs, target = lib.tensor(data["inputs"]), lib.tensor(data["target"])
        loss = getattr(lib.functional, model.loss)
        how = {"fused": True} if fused else {}
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
    def build(lib: Library, data: Inputs) -> Task:
        made = set_weights(lib, model.make(lib.nn, lib.functional)).eval()
        return lib.inference(made, lib.tensor(data["inputs"]))

    return build


for _model in MODELS:
    both(GROUP, _model.name, _training(_model), _model.inputs, _model.training, rivals=EAGER,
         also=("torch.compile",), tolerance=1e-3, steps=5, quick=_model.small, memory=True)  # fmt: skip
for _model in MODELS:
    both(INFERENCE, _model.name, _inference(_model), _model.inputs, _model.inference,
         also=("torch.compile", "onnxruntime"), tolerance=1e-4, quick=_model.small, memory=True)  # fmt: skip
