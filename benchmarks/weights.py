"""Loading weights: time and peak memory beside safetensors' own NumPy loader, and PyTorch's for its own files.

    python benchmarks/weights.py [--megabytes 500] [--tensors 64] [--repeats 7] [--formats safetensors pytorch npz]

Times: in one process the loaders take turns (the file is in the system's cache), and each once in processes of their
own, again in turns; medians. Memory: how far a process's greatest resident size (Linux's VmHWM, mapped pages of files
counted) rises while it loads, over the file's size.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

LOADERS: dict[str, dict[str, str]] = {
    "safetensors": {
        "mlcore": "import mlcore as ml; ml.zeros(1); load = ml.load",
        "safetensors": "from safetensors.numpy import load_file as load",
    },
    "pytorch": {
        "mlcore": "import mlcore as ml; ml.zeros(1); load = ml.load",
        "torch": "import torch; load = lambda path: torch.load(path, weights_only=True)",
    },
    "npz": {
        "mlcore": "import mlcore as ml; ml.zeros(1); load = ml.load",
        "numpy": "import numpy; load = lambda path: dict(numpy.load(path))",
    },
}
SUFFIX = {"safetensors": ".safetensors", "pytorch": ".pt", "npz": ".npz"}
ONCE = """
import json, sys, time
{setup}
def status(name):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(name))
before = status("VmRSS")
start = time.perf_counter()
held = load(sys.argv[1])
took = time.perf_counter() - start
print(json.dumps([took, status("VmHWM") - before, len(held)]))
"""


def loader(setup: str) -> Callable[[str], Any]:
    space: dict[str, Any] = {}
    exec(setup, space)  # noqa: S102  (the texts above)
    found: Callable[[str], Any] = space["load"]
    return found


def alone(setup: str, path: Path) -> tuple[float, int]:
    words = [sys.executable, "-c", ONCE.format(setup=setup), str(path)]
    took, rise, _ = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    return took, rise


def measure(name: str, path: Path, repeats: int) -> None:
    size = path.stat().st_size
    setups = LOADERS[name]
    together: dict[str, list[float]] = {who: [] for who in setups}
    apart: dict[str, list[tuple[float, int]]] = {who: [] for who in setups}
    loaders = {who: loader(setup) for who, setup in setups.items()}
    for i in range(repeats + 1):
        for who, load in loaders.items():
            start = time.perf_counter()
            held = load(str(path))
            took = time.perf_counter() - start
            del held
            gc.collect()
            if i:  # the first fills the cache
                together[who].append(took)
    for _ in range(repeats):
        for who, setup in setups.items():
            apart[who].append(alone(setup, path))
    print(f"{name}, {size / 1e6:.0f} MB")
    for who in setups:
        one, fresh = statistics.median(together[who]), statistics.median(took for took, _ in apart[who])
        rise = statistics.median(rise for _, rise in apart[who])
        print(
            f"  {who:12} {one * 1e3:6.0f} ms ({min(together[who]) * 1e3:.0f} to {max(together[who]) * 1e3:.0f})"
            f"   own process {fresh * 1e3:6.0f} ms   memory {rise / size:.2f} x"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--tensors", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--formats", nargs="+", default=["safetensors"], choices=list(LOADERS))
    arguments = parser.parse_args()
    import mlcore as ml

    rng = np.random.default_rng(0)
    rows = arguments.megabytes * 10**6 // arguments.tensors // 4 // 1024
    state = {f"layer.{i}.weight": rng.random((rows, 1024), np.float32) for i in range(arguments.tensors)}
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.formats:
            path = Path(folder, f"weights{SUFFIX[name]}")
            ml.save(state, path)
            measure(name, path, arguments.repeats)
            path.unlink()


if __name__ == "__main__":
    main()
