"""Opening checkpoints beside their own libraries: many small tensors, mapped files, the old container, GGUF.

    python benchmarks/checkpoints.py [--megabytes 500] [--tensors 10000] [--rounds 5] [--gguf FILE]

PyTorch's files are written by PyTorch and read by `mlcore.load` and `torch.load(weights_only=True)` in turns, each
fetching every tensor; with mmap=True by `open_weights(...).view` and `torch.load(mmap=True)`, which fetch none. A GGUF
file is decoded, every tensor of it, by mlcore and by ggml's package. Medians of the rounds, files in the system's
cache; one more round goes before, and is not counted. Memory, and other formats: weights.py.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlcore as ml
from mlcore.io import open_weights


def in_turns(rounds: int, *loaders: Callable[[], Any]) -> list[float]:
    """The median milliseconds of each."""
    taken: list[list[float]] = [[] for _ in loaders]
    for i in range(rounds + 1):
        for times, load in zip(taken, loaders):
            start = time.perf_counter()
            held = load()
            if i:
                times.append(time.perf_counter() - start)
            del held
            gc.collect()
    return [statistics.median(times) * 1e3 for times in taken]


def report(what: str, ours: float, theirs: float) -> None:
    print(f"| {what} | {ours:.1f} ms | {theirs:.1f} ms | {theirs / ours:.2f} |", flush=True)


def views(path: Path) -> dict[str, Any]:
    weights = open_weights(path)
    return {name: weights.view(name) for name in weights}


def of_pytorch(folder: Path, megabytes: int, tensors: int, rounds: int) -> None:
    import torch

    large = {f"layer{i}.weight": torch.rand(megabytes * 10_000, 1) for i in range(25)}
    small = {f"block{i // 10}.layer{i}.weight": torch.rand(8, 16) for i in range(tensors)}
    path = folder / "x.pt"
    for what, state in (
        (f"{megabytes} MB in 25 tensors", large),
        (f"{tensors:,} tensors of 512 bytes", small),
    ):
        torch.save(state, path)
        whole = in_turns(rounds, lambda: ml.load(path), lambda: torch.load(path, weights_only=True))
        report(f"{what}, zip", *whole)
        mapped = in_turns(rounds, lambda: views(path), lambda: torch.load(path, weights_only=True, mmap=True))
        report(f"{what}, zip, mapped", *mapped)
        torch.save(state, path, _use_new_zipfile_serialization=False)
        old = in_turns(rounds, lambda: ml.load(path), lambda: torch.load(path, weights_only=True))
        report(f"{what}, old container", *old)


def of_gguf(path: Path, rounds: int) -> None:
    import gguf

    def ours() -> Any:
        with open_weights(path) as weights:
            return [weights.read(name) for name in weights]

    def theirs() -> Any:
        reader = gguf.GGUFReader(path)
        return [gguf.dequantize(tensor.data, tensor.tensor_type) for tensor in reader.tensors]

    report(
        f"{path.name}, opened", *in_turns(rounds, lambda: open_weights(path), lambda: gguf.GGUFReader(path))
    )
    report(f"{path.name}, opened and decoded", *in_turns(rounds, ours, theirs))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--tensors", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--gguf", type=Path)
    arguments = parser.parse_args()
    ml.zeros(1)
    print("| | mlcore | the other | times as fast |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        of_pytorch(Path(folder), arguments.megabytes, arguments.tensors, arguments.rounds)
    if arguments.gguf:
        of_gguf(arguments.gguf, arguments.rounds)


if __name__ == "__main__":
    main()
