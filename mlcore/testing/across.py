"""One program on every installed device: the same draws, the main job, and checkpoints that move from one to another.

The devices are those that are found, one of each backend: no list. A backend's own test folder needs two lines:

```python
# tests/test_across.py
from mlcore.testing.across import *
mlcore_backend = "mychip"
```

Then that device is held against each other one; without a name, every device against every other. The job is
`mlcore train digits`, from the package of images, chosen a device by MLCORE_DEVICE alone and with no host fallback.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlcore.backends import detect
from mlcore.backends.protocol import Device
from mlcore.nn import Dropout
from mlcore.ops import random
from mlcore.testing.compare import Host, host
from mlcore.testing.inputs import upload

__all__ = [
    "across_jobs", "pytest_generate_tests", "test_a_checkpoint_resumes_on_another_device", "test_the_main_job",
    "test_the_same_seed_draws_the_same_bits",
]  # fmt: skip

ACCURACY = 0.97  # of the 355 held-out images
LOSSES = 2e-3  # relative: sums in another order, through some dozens of steps
LIMIT = 280.0  # seconds for one run of the job


def installed() -> list[str]:
    """The usable devices, one of each backend."""
    return [one.id for one in detect.devices() if one.id.endswith(":0")]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for a device, one for each ordered pair of two."""
    mine = getattr(metafunc.module, "mlcore_backend", None)
    found = installed()
    chosen = [f"{mine}:0"] if mine else found
    every = [*chosen, *(one for one in found if one not in chosen)]
    if "across_device" in metafunc.fixturenames:
        metafunc.parametrize("across_device", chosen)
    if "across_pair" in metafunc.fixturenames:
        pairs = [(a, b) for a in every for b in every if a != b and (a in chosen or b in chosen)]
        metafunc.parametrize("across_pair", pairs, ids=[f"{a}-{b}" for a, b in pairs])


def opened(name: str) -> Device:
    """The device; one that cannot be used is skipped, but fails where this environment was made for it."""
    if name not in installed() and "MLCORE_LEG" not in os.environ:
        pytest.skip(f"{name} is not usable here: mlcore doctor says why")
    return detect.resolve(name)


# -- the same draws --------------------------------------------------------------------------------------------


def _mask(source: random.Generator, device: Device) -> Any:
    """What a Dropout layer keeps, drawn from the global stream at the generator's seed."""
    before = random.get_state()
    random.manual_seed(source.seed)
    try:
        return Dropout(0.3)(upload(np.ones((31, 17), dtype=np.float32), device))
    finally:
        random.set_state(before)


DRAWS: dict[str, Callable[[random.Generator, Device], Any]] = {
    "uniform": lambda source, device: random.uniform((37, 41), generator=source, device=device),
    "uniform of bounds": lambda source, device: random.uniform(
        (1029,), -2, 3, generator=source, device=device
    ),
    "integers": lambda source, device: random.integers(-9, 1000, (513,), generator=source, device=device),
    "permutation": lambda source, device: random.permutation(777, generator=source, device=device),
    "dropout mask": _mask,
}


def drawn(draw: Callable[[random.Generator, Device], Any], device: Device) -> list[Host]:
    """Two draws in a row for each of three seeds."""
    made = []
    for seed in (0, 7, 2**40 + 1):
        source = random.Generator(seed)
        made += [host(draw(source, device)), host(draw(source, device))]
    return made


def test_the_same_seed_draws_the_same_bits(across_pair: tuple[str, str]) -> None:
    one, other = map(opened, across_pair)
    for name, draw in DRAWS.items():
        for ours, theirs in zip(drawn(draw, one), drawn(draw, other), strict=True):
            assert ours.dtype == theirs.dtype, name
            assert len(np.unique(ours)) > 1, f"{name}: nothing was drawn"
            assert ours.tobytes() == theirs.tobytes(), f"{name}: other bits on {one} than on {other}"


# -- the main job ----------------------------------------------------------------------------------------------


class Jobs:
    """Runs of `mlcore train digits` in processes of their own; a short run is made once for each device."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._quick: dict[str, Path] = {}

    def run(self, device: str, folder: Path, *options: str) -> dict[str, Any]:
        """The figures of a run on a device that MLCORE_DEVICE names, with no host fallback."""
        made = subprocess.run(
            [sys.executable, "-m", "mlcore", "train", "digits", "--quiet", "--out", str(folder), *options],
            env={**os.environ, "MLCORE_DEVICE": device, "MLCORE_FALLBACK": "error"},
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT,
        )
        if "invalid choice: 'train'" in made.stderr and "MLCORE_LEG" not in os.environ:
            pytest.skip("no installed package has the command `mlcore train`")
        assert made.returncode == 0, made.stdout + made.stderr
        figures: dict[str, Any] = json.loads((folder / "figures.json").read_text())
        assert detect.resolve(figures["device"]) == detect.resolve(device), figures["device"]
        return figures

    def quick(self, device: str) -> tuple[Path, dict[str, Any]]:
        """The folder and the figures of the short run."""
        if device not in self._quick:
            folder = self.folder / f"quick-{len(self._quick)}"
            self.run(device, folder, "--quick")
            self._quick[device] = folder
        folder = self._quick[device]
        return folder, json.loads((folder / "figures.json").read_text())


@pytest.fixture(scope="session")
def across_jobs(tmp_path_factory: pytest.TempPathFactory) -> Jobs:
    """The runs of this session."""
    return Jobs(tmp_path_factory.mktemp("across"))


def test_the_main_job(across_device: str, across_jobs: Jobs) -> None:
    opened(across_device)
    figures = across_jobs.run(across_device, across_jobs.folder / f"whole-{across_device.replace(':', '-')}")
    assert figures["accuracy"] >= ACCURACY


def test_a_checkpoint_resumes_on_another_device(
    across_pair: tuple[str, str], across_jobs: Jobs, tmp_path: Path
) -> None:
    """Stopped before its last epoch on one device and continued on the other, a run has the losses of a whole one."""
    first, second = across_pair
    opened(first), opened(second)
    folder, whole = across_jobs.quick(first)
    moved = tmp_path / "moved"
    shutil.copytree(folder, moved)
    shutil.rmtree(max(moved.glob("checkpoint-*")))
    figures = across_jobs.run(second, moved, "--resume")
    epochs = len(whole["history"]["loss"])
    for name in ("loss", "held_out_loss"):
        ours, theirs = figures["history"][name], whole["history"][name]
        assert ours[: epochs - 1] == theirs[: epochs - 1], "the epochs before the checkpoint are kept"
        assert len(ours) == epochs > 1
        np.testing.assert_allclose(ours[-1], theirs[-1], rtol=LOSSES, err_msg=name)
