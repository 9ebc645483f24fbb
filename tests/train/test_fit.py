"""The training loop: it learns, resumes exactly, stops on Ctrl-C, and notices when it diverges."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import nn, optim
from mlcore.data import DataLoader, TensorDataset
from mlcore.errors import ArgumentError, CheckpointError, DataError
from mlcore.io import load_checkpoint
from mlcore.train import DivergedError, History, Interrupted, evaluate, fit

SAMPLES = 96


def data() -> TensorDataset:
    """Points in three clouds."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, SAMPLES)
    points = rng.normal(size=(SAMPLES, 4)) + np.eye(4)[labels] * 3
    return TensorDataset(ml.asarray(points.astype(np.float32)), ml.asarray(labels))


def order(epoch: int) -> DataLoader:
    return DataLoader(data(), batch_size=16, shuffle=True, generator=ml.Generator(7).spawn(epoch))


class Setting:
    """A model with dropout, AdamW, a schedule and a noisy augmentation: all that a resumed run must bring back."""

    def __init__(self) -> None:
        ml.manual_seed(3)
        self.model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3))
        self.optimizer = optim.AdamW(self.model.parameters(), lr=0.02)
        self.scheduler = optim.lr_scheduler.CosineAnnealingLR(self.optimizer, T_max=24)

    def fit(self, epochs: int = 4, **more: Any) -> History:
        arguments = dict(
            epochs=epochs, samples=SAMPLES, scheduler=self.scheduler, quiet=True, clip_norm=1.0,
            augment=lambda x: x + ml.random.normal(x.shape) * 0.05,
            validate=lambda: evaluate(self.model, DataLoader(data(), 50), classes=3),
        )  # fmt: skip
        return fit(self.model, self.optimizer, order, **{**arguments, **more})

    def weights(self) -> dict[str, bytes]:
        return {name: np.asarray(tensor).tobytes() for name, tensor in self.model.state_dict().items()}


@pytest.fixture(scope="module")
def uninterrupted() -> tuple[dict[str, bytes], History]:
    setting = Setting()
    history = setting.fit()
    return setting.weights(), history


def test_it_learns(uninterrupted: tuple[dict[str, bytes], History]) -> None:
    _, history = uninterrupted
    assert len(history) == 4
    assert history.loss[-1] < 0.6 * history.loss[0]
    assert history.held_out_accuracy[-1] > 0.9
    assert history.rate[-1] == pytest.approx(0, abs=1e-12)


def test_two_runs_are_equal(uninterrupted: tuple[dict[str, bytes], History]) -> None:
    weights, history = uninterrupted
    setting = Setting()
    again = setting.fit()
    assert setting.weights() == weights
    assert again.loss == history.loss
    assert again.held_out_loss == history.held_out_loss


class Stop(Exception):
    """What ends a run in the middle."""


@pytest.mark.parametrize(
    "steps", [1, 6, 8, 17], ids=["in epoch 1", "after epoch 1", "in epoch 2", "in epoch 3"]
)
def test_a_resumed_run_is_bit_for_bit_the_uninterrupted_one(
    tmp_path: Path, uninterrupted: tuple[dict[str, bytes], History], steps: int
) -> None:
    weights, history = uninterrupted
    done = 0

    def cut(x: Any) -> Any:
        nonlocal done
        if done == steps:
            raise Stop
        done += 1
        return x + ml.random.normal(x.shape) * 0.05

    first = Setting()
    with pytest.raises(Stop):
        first.fit(checkpoints=tmp_path, save_every=0.0, augment=cut)  # saves after each step
    assert load_checkpoint(tmp_path).step == steps
    second = Setting()
    ml.manual_seed(1234)
    again = second.fit(checkpoints=tmp_path, resume=True)
    assert second.weights() == weights
    assert again.loss == history.loss
    assert again.held_out_accuracy == history.held_out_accuracy


@pytest.mark.parametrize("steps", [1, 5, 6, 11])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_with_a_state_goes_on_where_it_was(tmp_path: Path, steps: int, workers: int) -> None:
    """Shuffled by the default stream, which dropout draws from too: passing over batches would not do."""

    def run(seed: int, **more: Any) -> tuple[Setting, History]:
        setting = Setting()
        ml.manual_seed(seed)
        loader = DataLoader(data(), 16, shuffle=True, num_workers=workers)
        return setting, fit(
            setting.model, setting.optimizer, loader, epochs=3, samples=SAMPLES,
            scheduler=setting.scheduler, quiet=True, **more,
        )  # fmt: skip

    whole, history = run(3)
    with pytest.raises(Interrupted):
        run(3, checkpoints=tmp_path, save_every=0.0, augment=_stop_after(steps))
    assert load_checkpoint(tmp_path).step == steps
    again, resumed = run(99, checkpoints=tmp_path, resume=True)
    assert again.weights() == whole.weights()
    assert resumed.loss == history.loss


def _stop_after(steps: int) -> Any:
    done = 0

    def augment(x: Any) -> Any:
        nonlocal done
        done += 1
        if done > steps:
            raise KeyboardInterrupt
        return x

    return augment


def test_resuming_a_finished_run_changes_nothing(tmp_path: Path) -> None:
    first = Setting()
    first.fit(checkpoints=tmp_path)
    second = Setting()
    history = second.fit(checkpoints=tmp_path, resume=True)
    assert len(history) == 4
    assert second.weights() == first.weights()


def test_max_steps_and_extra(tmp_path: Path) -> None:
    Setting().fit(checkpoints=tmp_path, max_steps=7, extra={"note": "short"})
    found = load_checkpoint(tmp_path)
    assert found.step == 7
    assert found.state["extra"] == {"note": "short"}


def test_ctrl_c_becomes_interrupted_with_the_checkpoint(tmp_path: Path) -> None:
    steps = 0

    def press(x: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == 9:
            signal.raise_signal(signal.SIGINT)
        return x

    with pytest.raises(
        Interrupted, match=r"interrupted in epoch 2, after 8 steps; the last checkpoint is .*000001"
    ) as stop:
        Setting().fit(checkpoints=tmp_path, augment=press)
    assert stop.value.checkpoint == tmp_path / "checkpoint-000001"
    assert isinstance(stop.value, KeyboardInterrupt)
    assert load_checkpoint(tmp_path).step == 6
    with pytest.raises(Interrupted, match="there is no checkpoint yet"):
        Setting().fit(augment=lambda _: signal.raise_signal(signal.SIGINT))


SCRIPT = """
import sys, time
sys.path.insert(0, {here!r})
import mlcore as ml
from mlcore.train import Interrupted
from {module} import Setting
setting = Setting()
epoch = [0]
def validate():
    epoch[0] += 1
    print("epoch", epoch[0], flush=True)
    from mlcore.train import evaluate
    from mlcore.data import DataLoader
    from {module} import data
    return evaluate(setting.model, DataLoader(data(), 50), classes=3)
try:
    setting.fit(epochs=10**6, checkpoints={folder!r}, save_every=0.0, validate=validate)
except Interrupted as stop:
    print("stopped", stop.checkpoint, flush=True)
    sys.exit(130)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_at_any_moment_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    """In the middle of a step, of saving, of evaluating: what is named afterwards can be loaded."""
    script = textwrap.dedent(SCRIPT).format(
        here=str(Path(__file__).parent), module=Path(__file__).stem, folder=str(tmp_path)
    )
    rng = np.random.default_rng(0)
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            for line in child.stdout:
                if line.startswith("epoch 2"):
                    break
            time.sleep(float(rng.uniform(0, 0.1)))
            child.send_signal(signal.SIGINT)
            rest = child.stdout.read()
        assert child.returncode == 130
        named = Path(rest.strip().splitlines()[-1].partition("stopped ")[2])
        assert load_checkpoint(named).step >= 12
        assert not [name for name in os.listdir(tmp_path) if name.endswith(".tmp")]


def test_a_diverging_run_says_so(tmp_path: Path) -> None:
    setting = Setting()
    steps = 0

    def spoil(x: Any) -> Any:
        nonlocal steps
        steps += 1
        return x * float("inf") if steps == 8 else x

    with pytest.raises(
        DivergedError, match=r"(?s)the loss is nan at step 8 \(epoch 2\).*the input of this batch"
    ):
        setting.fit(checkpoints=tmp_path, augment=spoil)
    assert load_checkpoint(tmp_path).step == 6
    bad = Setting()
    with ml.no_grad():
        weight = dict(bad.model.named_parameters())["0.weight"]
        weight[0, 0] = float("nan")
    with pytest.raises(DivergedError, match=r"parameter 0\.weight is not finite"):
        bad.fit()


def test_bad_arguments(tmp_path: Path) -> None:
    setting = Setting()
    with pytest.raises(ArgumentError, match="epochs=0"):
        setting.fit(epochs=0)
    with pytest.raises(ArgumentError, match="needs the folder"):
        setting.fit(resume=True)
    with pytest.raises(DataError, match="no batches"):
        fit(setting.model, setting.optimizer, [], epochs=1, samples=1, quiet=True)
    with pytest.raises(DataError, match="no batches"):
        evaluate(setting.model, [], classes=3)
    setting.fit(epochs=1, checkpoints=tmp_path)
    other = Setting()
    more: dict[str, Any] = dict(epochs=1, samples=SAMPLES, checkpoints=tmp_path / "plain", quiet=True)
    fit(other.model, other.optimizer, order, **more)
    with pytest.raises(CheckpointError, match="holds no 'scheduler'"):
        other.fit(checkpoints=tmp_path / "plain", resume=True)


def test_evaluate_restores_the_mode_and_keeps_no_gradient() -> None:
    setting = Setting()
    for mode in (True, False):
        setting.model.train(mode)
        first = evaluate(setting.model, DataLoader(data(), 10), classes=3)
        assert setting.model.training is mode
        second = evaluate(setting.model, DataLoader(data(), 96), classes=3)
        assert first.loss == pytest.approx(second.loss, rel=1e-5)
        np.testing.assert_array_equal(first.confusion, second.confusion)
        assert (first.count, first.errors) == (SAMPLES, SAMPLES - int(np.trace(first.confusion)))
    assert all(parameter.grad is None for parameter in setting.model.parameters())


def test_a_plain_iterable_works_too() -> None:
    setting = Setting()
    batches = list(DataLoader(data(), 32))
    assert len(fit(setting.model, setting.optimizer, batches, epochs=2, samples=SAMPLES, quiet=True)) == 2
