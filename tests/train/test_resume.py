"""A run that is stopped and resumed in another process equals one that was not, bit for bit: 24 configurations.

Weights, optimizer, schedule, averaged weights, the loader in the middle of an epoch, and the random numbers of mlcore,
NumPy and Python, which dropout, augmentation and shuffling draw.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import nn, optim
from mlcore.data import DataLoader, Dataset, WeightedRandomSampler, sample_rng
from mlcore.io import Checkpointer, load_checkpoint
from mlcore.nn import functional as F

ROWS, FEATURES, CLASSES, BATCH, STEPS, STOP = 42, 16, 3, 8, 15, 8  # 6 batches an epoch: stopped in the second


class Rows(Dataset):
    """Rows with noise of the loader's own random stream."""

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, index: int) -> tuple[Any, int]:
        row = np.random.default_rng(index).standard_normal(FEATURES, dtype=np.float32)
        noise = sample_rng().standard_normal(FEATURES, dtype=np.float32)
        return row + 0.1 * noise + index % CLASSES, index % CLASSES


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.LSTM(4, 6, num_layers=2, dropout=0.3, batch_first=True)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x: Any) -> Any:
        return self.head(self.body(x.reshape((-1, 4, 4)))[0][:, -1])


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.2, batch_first=True)
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x: Any) -> Any:
        return self.head(self.body(x.reshape((-1, 4, 4))).reshape((-1, 16)))


def dense() -> nn.Module:
    return nn.Sequential(
        nn.Linear(FEATURES, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.3), nn.Linear(12, CLASSES)
    )


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 4, 4)), nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.GELU(),
        nn.Dropout2d(0.2), nn.Flatten(), nn.Linear(64, CLASSES),
    )  # fmt: skip


MODELS = {"dense": dense, "convolutional": convolutional, "recurrent": Recurrent, "attention": Attention}
OPTIMIZERS = {
    "SGD": lambda p: optim.SGD(p, 0.05, momentum=0.9, nesterov=True, weight_decay=1e-3),
    "AdamW": lambda p: optim.AdamW(p, 0.01, amsgrad=True),
    "RMSprop": lambda p: optim.RMSprop(p, 0.003, momentum=0.5, centered=True),
    "Adafactor": lambda p: optim.Adafactor(p, 0.01),
    "LAMB": lambda p: optim.LAMB(p, 0.01),
    "ASGD": lambda p: optim.ASGD(p, 0.02),
}
lr = optim.lr_scheduler
SCHEDULERS = {
    "cosine": lambda o: lr.CosineAnnealingLR(o, STEPS),
    "one cycle": lambda o: lr.OneCycleLR(
        o, 0.05, STEPS, cycle_momentum=isinstance(o, optim.SGD | optim.AdamW)
    ),
    "plateau": lambda o: lr.ReduceLROnPlateau(o, patience=1, factor=0.5),
    "warmup": lambda o: lr.SequentialLR(
        o, [lr.LinearLR(o, 0.1, total_iters=4), lr.ExponentialLR(o, 0.9)], [5]
    ),
    "lambda": lambda o: lr.LambdaLR(o, lambda n: 0.95**n),
}
WORKERS = {
    "here": {},
    "threads": {"num_workers": 2},
    "processes": {"num_workers": 2, "workers": "processes", "persistent_workers": True},
}
CONFIGURATIONS = [
    (model, optimizer, list(SCHEDULERS)[n % 5], list(WORKERS)[n % 3], n)
    for n, (model, optimizer) in enumerate((m, o) for m in MODELS for o in OPTIMIZERS)
]


class Run:
    """A configuration, its loop written out as a user would."""

    def __init__(
        self, model: str, optimizer: str, scheduler: str, workers: str, number: int, seed: int
    ) -> None:
        ml.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        self.net = MODELS[model]()
        self.optimizer = OPTIMIZERS[optimizer](self.net.parameters())
        self.scheduler = SCHEDULERS[scheduler](self.optimizer)
        self.average = optim.swa_utils.AveragedModel(self.net)
        generator = ml.random.Generator(seed) if number % 2 else None  # else the default stream
        how: dict[str, Any] = {"shuffle": True}
        if number % 4 == 3:
            weights = [1.0 + n % 5 for n in range(ROWS)]
            how = {"sampler": WeightedRandomSampler(weights, ROWS, generator=generator)}
        self.loader = DataLoader(Rows(), BATCH, generator=generator, **how, **WORKERS[workers])
        self.losses: list[str] = []

    def parts(self) -> dict[str, Any]:
        names = ("optimizer", "scheduler", "average", "loader")
        return {"model": self.net, **{name: getattr(self, name) for name in names}}

    def batches(self) -> Iterator[Any]:
        while True:
            yield from self.loader

    def go(self, steps: int) -> None:
        batches = self.batches()
        for _ in range(steps):
            rows, labels = next(batches)
            rows = rows + float(np.random.normal()) * 0.1 + random.gauss(0, 0.1)
            rows = rows + 0.05 * ml.random.normal(rows.shape)
            self.optimizer.zero_grad()
            loss = F.cross_entropy(self.net(rows), labels)
            loss.backward()
            self.optimizer.step()
            plateau = isinstance(self.scheduler, lr.ReduceLROnPlateau)
            self.scheduler.step(loss.item()) if plateau else self.scheduler.step()
            self.average.update_parameters(self.net)
            self.losses.append(float(loss.item()).hex())

    def result(self) -> dict[str, Any]:
        digest = hashlib.sha256()
        for one in (self.net, self.average):
            for name, tensor in one.state_dict().items():
                digest.update(name.encode() + np.asarray(tensor).tobytes())
        rate = float(self.optimizer.param_groups[0]["lr"]).hex()
        after = [ml.random.uniform((1,)).item(), float(np.random.random()), random.random()]
        return {"losses": self.losses, "weights": digest.hexdigest(), "rate": rate, "after": after}


def run(mode: str, folder: str) -> None:
    """What one process does with all configurations; its results are printed."""
    results = []
    for number, configuration in enumerate(CONFIGURATIONS):
        one = Run(*configuration, seed=number + (1000 if mode == "resume" else 0))
        place = Path(folder, str(number))
        if mode == "whole":
            one.go(STEPS)
        elif mode == "stop":
            one.go(STOP)
            with Checkpointer(place) as checkpoints:
                checkpoints.save(step=STOP, metric=0.0, **one.parts())
                one.go(1)  # a step that is lost
            one.losses.pop()
        else:
            found = load_checkpoint(place)
            found.restore(**one.parts())
            one.go(STEPS - found.step)
        results.append(one.result())
    print(json.dumps(results), flush=True)
    os._exit(0)


def results(mode: str, folder: Path) -> list[dict[str, Any]]:
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import {Path(__file__).stem} as t; "
    )
    child = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"{code}t.run({mode!r}, {str(folder)!r})"],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    made: list[dict[str, Any]] = json.loads(child.stdout)
    return made


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Any], list[Any], list[Any]]:
    """The results of a whole run, of one that stops, and of one that goes on from there, each its own process."""
    folder = tmp_path_factory.mktemp("runs")
    return results("whole", folder), results("stop", folder), results("resume", folder)


@pytest.mark.skipif(os.name != "posix", reason="worker processes are forked")
@pytest.mark.parametrize("number", range(24), ids=["-".join(c[:4]) for c in CONFIGURATIONS])
def test_a_resumed_run_is_the_uninterrupted_one(
    runs: tuple[list[Any], list[Any], list[Any]], number: int
) -> None:
    whole, stopped, resumed = (part[number] for part in runs)
    assert len(whole["losses"]) == STEPS
    assert stopped["losses"] == whole["losses"][:STOP]
    assert resumed["losses"] == whole["losses"][STOP:]
    for what in ("weights", "rate", "after"):
        assert resumed[what] == whole[what], what
    assert stopped["weights"] != whole["weights"]
