"""Training steps of mlcore and of PyTorch eager on one card, the same models from the same weights, in alternation:

    python backend-cuda/tools/beside_torch.py                       # mlcore's cuda beside PyTorch's cuda
    python backend-cuda/tools/beside_torch.py --device cpu --torch cpu

The losses of the first steps are compared before anything is timed; a row whose losses differ is INVALID. Times are
medians of steps that end in a synchronisation. TF32 is off in both unless --tf32.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import mlcore as ml

Step = Callable[[], float]
TOLERANCE = 2e-3  # of the losses, relative


def mlp(nn: Any) -> Any:
    return nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10))


def cnn(nn: Any) -> Any:
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64 * 7 * 7, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip


def wide_cnn(nn: Any) -> Any:
    layers: list[Any] = []
    for into, out, stride in (
        (3, 64, 1),
        (64, 64, 1),
        (64, 128, 2),
        (128, 128, 1),
        (128, 256, 2),
        (256, 256, 1),
    ):
        layers += [
            nn.Conv2d(into, out, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(out),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 10))


def transformer(nn: Any) -> Any:
    layers = [
        nn.TransformerEncoderLayer(
            256, 8, 1024, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        for _ in range(4)
    ]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(256 * 128, 10))


ROWS: dict[str, tuple[Callable[[Any], Any], tuple[int, ...]]] = {
    "MLP 784-256-128-10, batch 64": (mlp, (64, 784)),
    "CNN 32-64, batch 64, 28 x 28": (cnn, (64, 1, 28, 28)),
    "CNN 64-256, batch 32, 32 x 32": (wide_cnn, (32, 3, 32, 32)),
    "transformer d256 x 4, 8 x 128": (transformer, (8, 128, 256)),
}


def of_mlcore(make: Any, x: Any, t: Any, device: str) -> tuple[Step, Callable[[], None], Any]:
    from mlcore import nn, optim
    from mlcore.nn import functional as F

    with ml.device(device):
        model = make(nn)
        optimizer = optim.AdamW(model.parameters(), lr=1e-3)
        inputs, target = ml.asarray(x), ml.asarray(t)
    chosen = inputs.device

    def step(read: bool = True) -> float:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(inputs), target)
        loss.backward()
        optimizer.step()
        return float(loss.item()) if read else 0.0

    return step, chosen.synchronize, model


def of_torch(
    make: Any, x: Any, t: Any, device: str, weights: dict[str, Any]
) -> tuple[Step, Callable[[], None]]:
    import torch

    model = make(torch.nn)
    model.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    model = model.to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01, foreach=True)
    inputs, target = torch.from_numpy(x).to(device), torch.from_numpy(t).to(device)

    def step(read: bool = True) -> float:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(inputs), target)
        loss.backward()
        optimizer.step()
        return float(loss.item()) if read else 0.0

    return step, torch.cuda.synchronize if device.startswith("cuda") else lambda: None


def median(step: Any, wait: Callable[[], None], count: int) -> float:
    times = []
    for _ in range(count):
        started = time.perf_counter()
        step(False)
        wait()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def compare(name: str, device: str, torch_device: str, steps: int) -> tuple[str, bool]:
    make, shape = ROWS[name]
    rng = np.random.default_rng(0)
    x, t = rng.standard_normal(shape).astype(np.float32), rng.integers(0, 10, shape[0])
    ml.manual_seed(0)
    ours, wait, model = of_mlcore(make, x, t, device)
    weights = {key: np.array(value.to("reference")) for key, value in model.state_dict().items()}
    theirs, wait_for_them = of_torch(make, x, t, torch_device, weights)
    pairs = [(ours(), theirs()) for _ in range(3)]
    valid = all(abs(a - b) <= TOLERANCE * max(1.0, abs(b)) for a, b in pairs)
    a = [median(ours, wait, steps) for _ in range(3)]
    b = [median(theirs, wait_for_them, steps) for _ in range(3)]
    one, other = statistics.median(a) * 1e3, statistics.median(b) * 1e3
    note = "" if valid else f" INVALID: losses {pairs}"
    return f"| {name} | {one:.3f} | {other:.3f} | {other / one:.2f} |{note}", valid


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--torch", default="cuda")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rows", default="")
    parser.add_argument("--tf32", action="store_true")
    arguments = parser.parse_args()
    import torch

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = arguments.tf32
    device = arguments.device + ("?tf32=1" if arguments.tf32 else "")
    print(
        f"| AdamW step, float32 | mlcore {device}, ms | PyTorch {torch.__version__} {arguments.torch}, ms | ratio |"
    )
    print("|---|---|---|---|")
    good = True
    for name in ROWS:
        if arguments.rows in name:
            line, valid = compare(name, device, arguments.torch, arguments.steps)
            print(line, flush=True)
            good &= valid
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
