"""mlcore's DataLoader beside PyTorch's on the same decoding work: python benchmarks/data_loader.py [--rounds N]

A sample is a file that is read, inflated (zlib), unfiltered as PNG's rows are, cropped, flipped and normalised, with
NumPy, by one function for both. Each measurement is a program of its own; the libraries take turns. What is compared
are medians of the samples per second of an epoch after the first (the workers are kept), the seconds until the first
batch, and the memory of the program and its workers together, at its highest between two batches (PSS: what is shared
counts once).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from typing import Any

import numpy as np

SIDE, CROP, COUNT, BATCH, WORKERS = 256, 224, 384, 32, 2
MEAN, STD = np.float32([0.485, 0.456, 0.406]) * 255, np.float32([0.229, 0.224, 0.225]) * 255
ROWS = {  # the name, and which loader each side uses
    "2 processes": ("processes", "processes"),
    "2 threads (PyTorch: 2 processes)": ("threads", "processes"),
    "2 spawned processes": ("spawn", "spawn"),
    "no workers": ("none", "none"),
}


def write_files(folder: str) -> None:
    """Images of smooth colour with noise, filtered and deflated as a PNG file's are."""
    rng = np.random.default_rng(0)
    for number in range(COUNT):
        y, x = np.mgrid[0:SIDE, 0:SIDE]
        waves = rng.random((3, 3)) * 0.1
        planes = [127 + 100 * np.sin(a * x + b * y + 10 * c) for a, b, c in waves]
        image = (np.stack(planes, -1) + rng.normal(0, 4, (SIDE, SIDE, 3))).clip(0, 255).astype(np.uint8)
        filtered = np.diff(image, axis=1, prepend=np.uint8(0))
        with open(os.path.join(folder, str(number)), "wb") as file:
            file.write(zlib.compress(filtered.tobytes(), 6))


def decode(content: bytes, rng: np.random.Generator) -> Any:
    """The image again; a random crop of it, perhaps flipped, as float32 (C, H, W)."""
    filtered = np.frombuffer(zlib.decompress(content), np.uint8).reshape(SIDE, SIDE, 3)
    image = np.add.accumulate(filtered, axis=1, dtype=np.uint8)
    top, left = rng.integers(0, SIDE - CROP + 1, 2)
    crop = image[top : top + CROP, left : left + CROP]
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    return np.ascontiguousarray(((crop - MEAN) / STD).transpose(2, 0, 1))


def ours(kind: str) -> Any:
    """mlcore's loader."""
    from mlcore import data

    loader = {"none": {}, "threads": {"num_workers": WORKERS}}.get(kind)
    if loader is None:
        context = None if kind == "processes" else kind
        loader = {"num_workers": WORKERS, "workers": "processes", "multiprocessing_context": context}
    return data.DataLoader(OurImages(), BATCH, shuffle=True, persistent_workers=bool(loader), **loader)


def theirs(kind: str) -> Any:
    """PyTorch's loader."""
    import torch
    from torch.utils import data

    torch.set_num_threads(2)
    loader: dict[str, Any] = {}
    if kind != "none":
        context = None if kind == "processes" else kind
        loader = {"num_workers": WORKERS, "multiprocessing_context": context, "persistent_workers": True}
    return data.DataLoader(TheirImages(), BATCH, shuffle=True, **loader)


class Images:
    """What both datasets share: files in a folder."""

    def __len__(self) -> int:
        return COUNT

    @staticmethod
    def read(index: int) -> bytes:
        with open(os.path.join(os.environ["LOADER_FILES"], str(index)), "rb") as file:
            return file.read()


class OurImages(Images):
    def __getitem__(self, index: int) -> Any:
        from mlcore import data

        return decode(self.read(index), data.sample_rng()), index % 10


class TheirImages(Images):
    def __getitem__(self, index: int) -> Any:
        import torch

        rng = np.random.default_rng(int(torch.randint(1 << 60, ())))
        return torch.from_numpy(decode(self.read(index), rng)), index % 10


def memory() -> float:
    """MB of this process and its descendants, what is shared divided among those that share it."""
    pending, total = [os.getpid()], 0
    while pending:
        pid = pending.pop()
        try:
            with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as file:
                total += next(int(line.split()[1]) for line in file if line.startswith("Pss:"))
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/children", encoding="utf-8") as file:
                    pending += map(int, file.read().split())
        except (OSError, StopIteration):
            continue
    return total / 1e3


def measure(side: str, kind: str) -> dict[str, float]:
    """One program's numbers."""
    loader = (ours if side == "mlcore" else theirs)(kind)
    began = time.perf_counter()
    first = 0.0
    for batch in loader:
        first = first or time.perf_counter() - began
        assert tuple(batch[0].shape[1:]) == (3, CROP, CROP)
    rates = []
    for _ in range(2):
        began = time.perf_counter()
        seen = 0
        for batch in loader:
            seen += len(batch[1])
        rates.append(seen / (time.perf_counter() - began))
    highest = 0.0
    for number, _ in enumerate(loader):
        if number % 3 == 2:
            highest = max(highest, memory())
    return {"rate": max(rates), "first": first, "memory": highest}


def compared(name: str, rounds: int) -> dict[str, dict[str, float]]:
    """The medians of both sides, which take turns."""
    found: dict[str, list[dict[str, float]]] = {"mlcore": [], "torch": []}
    for turn in range(rounds):
        for side in ("mlcore", "torch") if turn % 2 == 0 else ("torch", "mlcore"):
            kind = ROWS[name][side == "torch"]
            command = [sys.executable, os.path.abspath(__file__), "--one", side, kind]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found[side].append(json.loads(done.stdout))
    return {
        side: {key: statistics.median(one[key] for one in ones) for key in ones[0]}
        for side, ones in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rows", nargs="*", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(*arguments.one)))
        return
    with tempfile.TemporaryDirectory() as folder:
        write_files(folder)
        os.environ["LOADER_FILES"] = folder
        results = {name: compared(name, arguments.rounds) for name in arguments.rows}
    if arguments.json:
        print(json.dumps(results, indent=1))
        return
    print(f"{COUNT} images, batches of {BATCH}, {WORKERS} workers, medians of {arguments.rounds} programs")
    print(f"{'':<34}{'samples/s':>20}{'ratio':>7}{'MB':>16}{'ratio':>7}{'first batch, s':>18}")
    for name, sides in results.items():
        a, b = sides["mlcore"], sides["torch"]
        print(
            f"{name:<34}{a['rate']:>9.0f} : {b['rate']:<8.0f}{a['rate'] / b['rate']:>7.2f}"
            f"{a['memory']:>7.0f} : {b['memory']:<6.0f}{a['memory'] / b['memory']:>7.2f}"
            f"{a['first']:>9.2f} : {b['first']:<6.2f}"
        )


if __name__ == "__main__":
    main()
