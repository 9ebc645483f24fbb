"""Optimizer steps beside PyTorch's: its default form, `foreach=True` and `fused=True`, on three sets of parameters.

    python benchmarks/optimizers.py [NAME ...] [--threads 1 2] [--seconds 0.15]

All forms run in one process, taking turns, and the median step of each is printed in microseconds; the ratio is to the
fastest of PyTorch's. `MLCORE_CPU_CHAINS=0` composes the rules that have no kernel of their own, `all` runs even those
that have one as a chain.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import mlcore as ml
import mlcore_cpu
from mlcore import nn, optim

SETS: dict[str, list[tuple[int, ...]]] = {
    "tiny": [(64, 4), (64,), (64, 64), (64,), (2, 64), (2,)],
    "many small": [shape for _ in range(40) for shape in ((64, 32), (64,), (32, 16), (32,))],
    "few large": [(2048, 1024), (2048,), (1024, 2048), (1024,)],
}
MATRICES = {
    "tiny": [(64, 4), (64, 64), (2, 64)],
    "many small": [(64, 32)] * 40,
    "few large": [(512, 256)] * 4,
}
HOW: dict[str, dict[str, Any]] = {
    "SGD": dict(lr=1e-3), "SGD momentum": dict(lr=1e-3, momentum=0.9, weight_decay=1e-4), "Adam": {}, "AdamW": {},
    "Adam amsgrad": dict(amsgrad=True), "NAdam": {}, "RAdam": {}, "Adamax": {}, "Adagrad": {}, "Adadelta": {},
    "RMSprop": {}, "RMSprop centered": dict(centered=True, momentum=0.9), "Rprop": {}, "ASGD": {}, "Adafactor": {},
    "Muon": {}, "Lion": {}, "LAMB": {}, "LARS": {},
}  # fmt: skip


def values(shapes: list[tuple[int, ...]], seed: int) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype("f") for shape in shapes]


def ours(name: str, how: dict[str, Any], shapes: list[tuple[int, ...]]) -> Callable[[], Any]:
    made = [nn.Parameter(ml.asarray(one, device="cpu")) for one in values(shapes, 0)]
    for p, g in zip(made, values(shapes, 1), strict=True):
        p.grad = ml.asarray(g, device="cpu")
    step: Callable[[], Any] = getattr(optim, name)(made, **how).step
    return step


def theirs(name: str, how: dict[str, Any], shapes: list[tuple[int, ...]]) -> Callable[[], Any] | None:
    made = [torch.nn.Parameter(torch.tensor(one)) for one in values(shapes, 0)]
    for p, g in zip(made, values(shapes, 1), strict=True):
        p.grad = torch.tensor(g)
    try:
        step: Callable[[], Any] = getattr(torch.optim, name)(made, **how).step
        step()
    except (AttributeError, TypeError, RuntimeError):
        return None  # it does not have this optimizer, or not in this form
    return step


def medians(forms: dict[str, Callable[[], Any]], seconds: float) -> dict[str, float]:
    """The median step of each form, in microseconds; they take turns, in bursts that the clock can see."""
    bursts: dict[str, int] = {}
    times: dict[str, list[float]] = {name: [] for name in forms}
    for name, step in forms.items():
        for _ in range(3):
            step()
        begun = time.perf_counter()
        step()
        bursts[name] = max(1, int(2e-4 / max(1e-7, time.perf_counter() - begun)))
    gc.disable()
    until = time.perf_counter() + seconds * len(forms)
    while time.perf_counter() < until or min(map(len, times.values())) < 5:
        for name, step in forms.items():
            begun = time.perf_counter()
            for _ in range(bursts[name]):
                step()
            times[name].append((time.perf_counter() - begun) / bursts[name])
    gc.enable()
    return {name: statistics.median(found) * 1e6 for name, found in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(HOW))
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=0.15)
    parser.add_argument("--sets", nargs="*", default=list(SETS))
    arguments = parser.parse_args()
    print("| optimizer | parameters | threads | mlcore µs | default | foreach | fused | ratio |")
    print("|---|---|---|---|---|---|---|---|")
    for shown in arguments.names:
        name, how = shown.split()[0], HOW[shown]
        for kind in arguments.sets:
            shapes = (MATRICES if name == "Muon" else SETS)[kind]
            for threads in arguments.threads:
                torch.set_num_threads(threads)
                mlcore_cpu.set_num_threads(threads)
                forms = {"mlcore": ours(name, how, shapes)}
                for form, more in (
                    ("default", {}),
                    ("foreach", {"foreach": True}),
                    ("fused", {"fused": True}),
                ):
                    step = theirs(name, {**how, **more}, shapes)
                    if step is not None:
                        forms[form] = step
                found = medians(forms, arguments.seconds)
                rivals = [one for form, one in found.items() if form != "mlcore"]
                ratio = f"**{found['mlcore'] / min(rivals):.2f}**" if rivals else ""
                cells = [
                    f"{found[form]:.1f}" if form in found else ""
                    for form in ("mlcore", "default", "foreach", "fused")
                ]
                print(f"| {shown} | {kind} | {threads} | {' | '.join(cells)} | {ratio} |", flush=True)


if __name__ == "__main__":
    main()
