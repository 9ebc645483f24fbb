"""What the tests of worker processes share: a dataset of everything, and what may be left when a test ends."""

from __future__ import annotations

import gc
import multiprocessing
import os
import random
import sys
import time
from collections.abc import Iterator
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import data

LINUX = sys.platform == "linux"
# Forked, so that datasets may be defined inside the tests.
KINDS: dict[str, Any] = {"threads": {}, "processes": {"multiprocessing_context": "fork"}}


class Mixed(data.Dataset):
    """Arrays, tensors, numbers, text and every kind of random number."""

    def __init__(self, size: int = 22) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Any:
        return {
            "array": np.full((3, 5), index, np.float32),
            "bytes": np.arange(index, index + 4, dtype=np.uint8),
            "tensor": ml.full((2,), float(index)),
            "half": ml.full((2,), float(index), dtype=ml.bfloat16),
            "number": index,
            "text": "x" * index,
            "python": random.random(),
            "numpy": np.random.rand(2),
            "rng": data.sample_rng().random(),
            "default": ml.random.normal((2,)),
            "own": ml.random.uniform((2,), generator=data.sample_generator()),
        }


def plain(batch: Any) -> Any:
    if isinstance(batch, dict):
        return {key: plain(one) for key, one in batch.items()}
    if isinstance(batch, (list, tuple)):
        return [plain(one) for one in batch]
    return (str(batch.dtype), batch.shape, batch.tolist()) if hasattr(batch, "tolist") else batch


def epochs(count: int = 2, **options: Any) -> Any:
    loader = data.DataLoader(
        Mixed(), 4, shuffle=True, multiprocessing_context="fork", generator=ml.random.Generator(3), **options
    )
    return [[plain(batch) for batch in loader] for _ in range(count)]


def children() -> list[Any]:
    return [one for one in multiprocessing.active_children() if one.name.startswith("mlcore-loader")]


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) if LINUX else 0


def gone(pid: int, seconds: float = 10.0) -> bool:
    """Whether a process ends in time; a zombie that nobody collects has ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if (
                LINUX
                and Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z"
            ):
                return True
            os.kill(pid, 0)
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.02)
    return False


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    resource_tracker.ensure_running()  # multiprocessing's own, one a program, from its first spawned process on
    gc.collect()
    before = descriptors()
    yield
    gc.collect()
    assert not children()
    assert descriptors() <= before
