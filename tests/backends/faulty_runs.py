"""What the tests of the faulty backend run in a Python of their own: training under every fault. Prints JSON.

Usage: faulty_runs.py KIND; the tests read what each scenario came to.
"""

from __future__ import annotations

import json
import sys
import tempfile
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

import mlcore as ml
from mlcore import nn, optim
from mlcore.backends import detect
from mlcore.errors import DeviceError, DeviceLostError, KernelWarning, MlcoreError, OutOfMemoryError
from mlcore.io import load_checkpoint, save_checkpoint
from mlcore.nn import functional as F

RNG = np.random.default_rng(0)
INPUTS = RNG.standard_normal((2, 8, 4)).astype(np.float32)
TARGETS = RNG.integers(0, 3, (2, 8))


def fresh() -> tuple[Any, Any]:
    """The same model and optimizer every time, on the host."""
    ml.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).to("reference")
    return model, lambda: optim.AdamW(model.parameters(), lr=1e-2)


def step(model: Any, optimizer: Any, device: Any, i: int) -> float:
    x, t = ml.asarray(INPUTS[i], device=device), ml.asarray(TARGETS[i], device=device)
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), t)
    value = float(loss.item())  # read before anything changes, so that the step can be tried again
    loss.backward()
    optimizer.step()
    return value


def weights(model: Any) -> list[Any]:
    return [one.numpy().tolist() for one in model.parameters()]


def unharmed(host: Any, before: list[Any]) -> bool:
    """Whether the host's model is as it was, and the host still computes."""
    return weights(host) == before and bool(
        (ml.ones((2, 2), device="reference") @ ml.ones((2, 2), device="reference")).sum().item() == 8
    )


def keep(folder: str, errors: list[Any], **parts: Any) -> None:
    """Save a checkpoint, at the second try where memory was full at the first."""
    try:
        save_checkpoint(folder, **parts)
    except OutOfMemoryError as error:
        errors.append((type(error).__name__, str(error)))
        save_checkpoint(folder, **parts)


def train(fault: str, retry: bool, resume: bool) -> dict[str, Any]:
    """Two steps under a fault. After memory that was full the step is tried again; after a loss the run goes on
    from the last checkpoint on the reference. Tells the error and the final weights."""
    detect.lost.clear()
    detect.failed.clear()
    kept, _ = fresh()
    before = weights(kept)
    device: Any = f"faulty?fault={fault}" if fault else "faulty"
    errors, losses = [], []
    with tempfile.TemporaryDirectory() as folder:
        model, make = fresh()
        optimizer = make()
        save_checkpoint(folder, model=model, optimizer=optimizer, step=0)
        done, moved = 0, False
        for _ in range(12):
            if done == len(INPUTS):
                break
            try:
                if not moved:
                    model.to(device)
                    optimizer = make()
                    moved = True
                loss = step(model, optimizer, device, done)
                keep(folder, errors, model=model, optimizer=optimizer, step=done + 1)
                losses.append(loss)
                done += 1
            except MlcoreError as error:
                errors.append((type(error).__name__, str(error)))
                if isinstance(error, DeviceLostError) or not retry:
                    if not resume:
                        break
                    device, moved = "reference", True
                    model, make = fresh()
                    optimizer = make()
                    found = load_checkpoint(folder, device="reference")
                    if found.step:
                        found.restore(model=model, optimizer=optimizer)
                    done = found.step
                    del losses[done:]
        final = None
        if done == len(INPUTS):  # what the last checkpoint says, read on the host
            model, _ = fresh()
            load_checkpoint(folder, device="reference").restore(model=model)
            final = weights(model)
    return {"errors": errors, "losses": losses, "final": final, "unharmed": unharmed(kept, before)}


def count_kernels() -> int:
    """How many kernels the steps run."""
    counted = 0

    def see(op: Any, inputs: Any, params: Any, proceed: Any) -> Any:
        nonlocal counted
        counted += 1
        return proceed()

    from mlcore.dispatch import intercept

    with intercept(see):
        train("", False, False)
    return counted


def scenarios(kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if kind == "plain":
        yield "", {"count": count_kernels(), **train("", False, False)}
        return
    fault, place = kind.split("@")
    misses = 0
    for n in range(1, 400):
        name = f"{fault}@{place}#{n}"
        found = train(name + ("!" if fault in ("memory", "pool", "broken") else ""), fault != "lost", True)
        if not found["errors"]:
            misses += 1
            if misses == 2:
                return
            continue
        yield name, found


def main() -> None:
    if sys.argv[1] == "uncompiled":
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always", KernelWarning)
            found = {name: train(f"uncompiled@run:{name}", False, False) for name in sys.argv[2:]}
        texts = [str(one.message) for one in told if issubclass(one.category, KernelWarning)]
        print(json.dumps({"found": found, "texts": texts}))
        return
    print(json.dumps({kind: dict(scenarios(kind)) for kind in sys.argv[1:]}))


if __name__ == "__main__":
    assert issubclass(OutOfMemoryError, MemoryError)
    assert issubclass(DeviceLostError, DeviceError)
    main()
