"""`mlcore schedule`: the rates it draws, what it refuses, and that each schedule can be drawn."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from mlcore.cli import main
from mlcore.cli.chart import chart
from mlcore.optim.lr_scheduler import preview

WORDS = {
    "ConstantLR": [],
    "CosineAnnealingLR": ["T_max=30"],
    "CosineAnnealingWarmRestarts": ["T_0=5", "T_mult=2"],
    "CyclicLR": ["base_lr=0.01", "max_lr=0.1", "step_size_up=4"],
    "ExponentialLR": ["gamma=0.9"],
    "InverseSqrtLR": ["warmup_steps=10"],
    "LambdaLR": ["lr_lambda=math:sqrt"],
    "LinearLR": [],
    "MultiStepLR": ["milestones=[10,20]"],
    "MultiplicativeLR": ["lr_lambda=math:cos"],
    "OneCycleLR": ["max_lr=0.5", "total_steps=40", "anneal_strategy=linear"],
    "PolynomialLR": ["total_iters=20", "power=2.0"],
    "ReduceLROnPlateau": ["patience=0"],
    "StepLR": ["step_size=5"],
    "SWALR": ["swa_lr=0.01"],
    "WarmupStableDecay": ["warmup_steps=3", "stable_steps=4", "decay_steps=5"],
}


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = main(["schedule", *words])
    shown = capsys.readouterr()
    return status, shown.out, shown.err


def test_each_schedule_has_words() -> None:
    assert sorted(WORDS) == sorted(preview.names())


@pytest.mark.parametrize("name", WORDS)
def test_every_schedule_can_be_drawn(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    losses = ["--losses", "3,2,2,2,1"] if name == "ReduceLROnPlateau" else []
    status, out, _ = run(capsys, name, *WORDS[name], *losses, "--width", "40", "--height", "5", "--momentum")
    assert status == 0
    lines = out.splitlines()
    assert lines[0].startswith(name)
    assert max(map(len, lines)) <= 80
    assert lines[-1].startswith("mean")
    status, out, _ = run(capsys, name, *WORDS[name], *losses, "--json")
    assert status == 0
    told = json.loads(out)
    assert len(told["lr"]) == len(told["momentum"]) == told["steps"] + 1 >= 5


def test_the_rates_are_the_schedules(capsys: pytest.CaptureFixture[str]) -> None:
    told = json.loads(
        run(capsys, "StepLR", "step_size=2", "gamma=0.5", "--lr", "1", "--steps", "5", "--json")[1]
    )
    assert told == {
        "schedule": "StepLR step_size=2 gamma=0.5",
        "steps": 5,
        "lr": [1.0, 1.0, 0.5, 0.5, 0.25, 0.25],
        "momentum": [0.9] * 6,
    }
    words = ["LinearLR", "start_factor=0.5", "total_iters=2", "at", "2", "ExponentialLR", "gamma=0.5"]
    assert json.loads(run(capsys, *words, "--lr", "1", "--steps", "4", "--json")[1])["lr"] == [
        0.5,
        0.75,
        1.0,
        0.5,
        0.25,
    ]
    told = json.loads(
        run(capsys, "ReduceLROnPlateau", "patience=0", "--lr", "1", "--losses", "2,2,1", "--json")[1]
    )
    assert told["lr"] == [1.0, 1.0, 0.1, 0.1]


def test_a_function_of_ones_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_training.py").write_text(
        "from mlcore.optim import lr_scheduler as s\n"
        "def schedule(optimizer, gamma=0.5):\n    return s.ExponentialLR(optimizer, gamma)\n"
        "def wrong(optimizer):\n    return 3\n"
        "def factor(epoch):\n    return 1 / (1 + epoch)\n"
    )
    monkeypatch.chdir(tmp_path)
    told = json.loads(
        run(capsys, "my_training:schedule", "gamma=0.1", "--lr", "1", "--steps", "1", "--json")[1]
    )
    assert told["lr"] == [1.0, 0.1]
    told = json.loads(
        run(capsys, "LambdaLR", "lr_lambda=my_training:factor", "--lr", "1", "--steps", "1", "--json")[1]
    )
    assert told["lr"] == [1.0, 0.5]
    status, _, error = run(capsys, "my_training:wrong")
    assert status == 2
    assert "my_training:wrong returned a int, not an LRScheduler" in error
    assert str(tmp_path) not in sys.path


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["StepLr", "step_size=3"], "no schedule is called 'StepLr'; did you mean 'StepLR'?"),
        (["StepLR", "step_sise=3"], "'step_sise=3'; did you mean 'step_size'?"),
        (["StepLR", "3"], "write name=value, of step_size, gamma"),
        (["StepLR"], "missing 1 required positional argument: 'step_size'"),
        (["StepLR", "step_size=0"], "step_size is 0"),
        (["StepLR", "step_size=3", "--lr", "-1"], "SGD: lr is -1"),
        (["StepLR", "step_size=3", "--steps", "-1"], "steps is -1"),
        (["StepLR", "step_size=3", "at"], "'at' ''"),
        (["StepLR", "step_size=3", "at", "5"], "there is no schedule"),
        (["ReduceLROnPlateau"], "its rate depends on how training goes"),
        (["nothing:here"], "nothing:here: No module named 'nothing'"),
        (["math:nothing"], "has no attribute 'nothing'"),
        (["LambdaLR", "lr_lambda=3"], "lr_lambda is a int, not a function"),
    ],
)
def test_refusals(words: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, error = run(capsys, *words)
    assert status == 2
    assert not out
    assert text in error


def test_charts() -> None:
    assert chart([1.0], width=5, height=2) == ["   1 ┤█████", "     │█████", "   0 └┬───┬", "      0   0"]
    assert len(chart([0.0, 0.0], width=4, height=2)) == 4
    down = chart([1.0, 0.1, 0.01], width=9, height=2, log=True, ascii_only=True)
    assert down[0] == "   1 +###"
    assert all(line.isascii() for line in down)
    many = chart([i / 999 for i in range(1000)], width=50, height=10)
    assert max(map(len, many)) <= 60
    assert many[-1].endswith("999")
    negative = chart([-1.0, 1.0], width=2, height=2)
    assert negative[-2].lstrip().startswith("-1")
