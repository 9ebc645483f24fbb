"""Training steps with AdamW: forward, loss, backward, update, from the same initial weights on the same batch.

PyTorch runs twice, with its plain AdamW and with its fused one; the ratio is against the faster.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mlcore_bench.rows import Inputs, Library, Mlcore, Row, Task, Torch, add, library

GROUP = "training steps"
SEED = 0


def mlp(nn: Any) -> Any:
    return nn.Sequential(
        nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10)
    )  # fmt: skip


def tiny_mlp(nn: Any) -> Any:
    return nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))


def lenet(nn: Any) -> Any:
    return nn.Sequential(
        nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * 7 * 7, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip


def transformer(nn: Any) -> Any:
    layer = nn.TransformerEncoderLayer(256, 8, 1024, dropout=0.0, activation="gelu", batch_first=True)
    return nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)


def _weights(model: Callable[[Any], Any]) -> tuple[Any, dict[str, np.ndarray[Any, Any]]]:
    """mlcore's model from a fixed seed, and its weights by their names, which PyTorch has too."""
    ml = library(Mlcore).ml
    ml.manual_seed(SEED)
    made = model(library(Mlcore).nn)
    return made, {name: np.array(one) for name, one in made.state_dict().items()}


def _task(lib: Library, model: Any, loss: str, data: Inputs, **how: Any) -> Task:
    inputs, target = lib.tensor(data["inputs"]), lib.tensor(data["target"])
    compare = getattr(lib.functional, loss)
    optimizer = lib.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01, **how)

    def step() -> Any:
        optimizer.zero_grad()
        found = compare(model(inputs), target)
        found.backward()
        optimizer.step()
        return found

    return lib.task(step)


def _training(name: str, model: Callable[[Any], Any], inputs: Any, loss: str = "cross_entropy") -> Row:
    def mine(data: Inputs) -> Task:
        return _task(library(Mlcore), _weights(model)[0], loss, data)

    def theirs(data: Inputs, **how: Any) -> Task:
        lib = library(Torch)
        made, state = model(lib.nn), _weights(model)[1]
        made.load_state_dict({key: lib.tensor(one) for key, one in state.items()})
        return _task(lib, made, loss, data, **how)

    rivals = {"torch": theirs, "torch (fused AdamW)": lambda data: theirs(data, fused=True)}
    return add(Row(GROUP, name, inputs, mine, rivals, tolerance=1e-3, steps=5))


def _classified(shape: tuple[int, ...], classes: int) -> Callable[[np.random.Generator], Inputs]:
    return lambda rng: {
        "inputs": rng.standard_normal(shape, np.float32),
        "target": rng.integers(0, classes, shape[0]),
    }


def _sequences(rng: np.random.Generator) -> Inputs:
    return {key: rng.standard_normal((8, 128, 256), np.float32) for key in ("inputs", "target")}


_training("MLP 784-256-128-10, batch 64", mlp, _classified((64, 784), 10))
_training("tiny MLP 4-64-64-2, batch 1", tiny_mlp, _classified((1, 4), 2))
_training("LeNet-style CNN, 64x1x28x28", lenet, _classified((64, 1, 28, 28), 10))
_training("transformer d256 x 4, 8x128 tokens", transformer, _sequences, loss="mse_loss")
