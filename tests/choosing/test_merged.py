"""Two backends that see the same hardware: one stands for it, the other can be asked for by name."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

import mlcore as ml
from mlcore import nn
from mlcore.backends import detect
from mlcore.backends.profile import Profile
from mlcore.backends.ranking import identities, ranking
from mlcore.choosing import best_device
from mlcore.cli import main
from mlcore.plugin import DeviceInfo

FAST = Profile({"64": 90.0, "256": 900.0, "1024": 9000.0}, 900.0, 1e-6, 20.0, 20.0)
SLOW = Profile({"64": 9.0, "256": 90.0, "1024": 900.0}, 90.0, 1e-5, 20.0, 20.0)

SAME = [
    ({"uuid": "GPU-4a1c-11"}, {"uuid": "gpu-4A1C-11"}),
    ({"uuid": "GPU-4a1c-11"}, {"uuid": "4a1c11"}),
    ({"uuid": "0000:3b:00.0"}, {"uuid": "00000000:3B:00.0"}),
    ({"uuid": "0000:3b:00.0"}, {"uuid": "3b:00.0"}),
    ({"uuid": "x1", "details": {"pci": "3b:00.0"}}, {"details": {"pci": "0000:3b:00.0"}}),
    ({"uuid": "x1", "details": {"pci": "3b:00.0"}}, {"uuid": "PCI:3b:00.0"}),
    (
        {"uuid": "GPU-1", "details": {"bus": "0000:3b:00.0"}},
        {"uuid": "0000:3b:00.0", "details": {"units": "4"}},
    ),
]
OTHER = [
    ({"uuid": "GPU-4a1c-11"}, {"uuid": "GPU-4a1c-12"}),
    ({"uuid": "0000:3b:00.0"}, {"uuid": "0001:3b:00.0"}),
    ({"uuid": ""}, {"uuid": ""}),
    ({"uuid": "x", "details": {"threads": "2"}}, {"uuid": "y", "details": {"threads": "2"}}),
    ({"uuid": "x1", "details": {"pci": "3b:00.0"}}, {"details": {"pci": "3b:00.1"}}),
]


@pytest.mark.parametrize(("one", "other"), SAME)
@pytest.mark.parametrize("ranks", [(100, 300), (300, 100)])
def test_the_better_rank_stands_for_the_hardware(
    provide: Any, one: Any, other: Any, ranks: tuple[int, int]
) -> None:
    provide("one", rank=ranks[0], **one)
    provide("other", rank=ranks[1], **other)
    best, worse = ("one", "other") if ranks[0] > ranks[1] else ("other", "one")
    found = ranking()
    assert [usable.id for usable in found.usable] == [f"{best}:0", "reference:0"]
    assert [usable.id for usable in found.duplicates] == [f"{worse}:0"]
    assert found.duplicates[0].reason == (
        f"the same hardware as {best} (test-{best} 1.0), of rank {max(ranks)}; by name it can be used"
    )
    assert detect.resolve(worse).type == worse


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_other_hardware_stays_apart(provide: Any, one: Any, other: Any) -> None:
    provide("one", rank=100, **one)
    provide("other", rank=300, **other)
    assert [usable.id for usable in ranking().usable] == ["other:0", "one:0", "reference:0"]


def test_identities() -> None:
    compared = 0
    for one, other in SAME + OTHER:
        names = [identities(DeviceInfo("toy:0", **facts)) for facts in (one, other)]
        assert bool(names[0] & names[1]) == ((one, other) in SAME)
        compared += 1
    assert compared == 12


def test_a_measured_one_is_kept_before_one_of_a_better_rank(provide: Any) -> None:
    provide("ranked", SLOW, rank=300, uuid="chip")
    provide("measured", FAST, rank=100, uuid="chip")
    found = ranking()
    assert found.usable[0].id == "measured:0"
    assert "which is faster" in found.duplicates[0].reason


@pytest.mark.parametrize("order", list(itertools.permutations(("a", "b", "c"))))
def test_three_that_are_one(provide: Any, order: tuple[str, ...]) -> None:
    """Joined by a chain: the first by uuid, the second by uuid and address, the third by address."""
    facts = {
        "a": {"uuid": "u"},
        "b": {"uuid": "u", "details": {"pci": "01:00.0"}},
        "c": {"details": {"pci": "01:00.0"}},
    }
    for name in order:
        provide(name, rank=300 if name == "c" else 200, **facts[name])
    found = ranking()
    assert [usable.id for usable in found.usable] == ["c:0", "reference:0"]
    assert sorted(usable.id for usable in found.duplicates) == ["a:0", "b:0"]


def test_it_is_no_choice_and_is_explained(
    provide: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    provide("best", rank=300, uuid="chip", memory=2**30)
    provide("second", rank=200, uuid="chip", memory=2**30)
    assert detect.resolve("auto").type == "best"
    assert detect.resolve("auto,!best").type == "reference"
    assert [one.id for one in ml.devices()] == ["best:0", "reference:0"]
    assert "second" in repr(ml.devices())
    lines = ml.explain_device().splitlines()
    assert [line.split()[:2] for line in lines if "the same hardware as best" in line] == [
        ["second", "duplicate"]
    ]
    model = nn.Linear(4, 4)
    assert [one.id for one in best_device(model, (2, 4), "memory").candidates] == [
        "best:0"
    ]  # a gigabyte, once
    assert main(["devices", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert [one["id"] for one in content["duplicates"]] == ["second:0"]
    main(["doctor"])
    assert "the same hardware as best" in capsys.readouterr().out
    monkeypatch.setenv("MLCORE_DEVICE", "second")
    detect.reset()
    assert ml.default_device().type == "second"
    assert "* " in next(line for line in ml.explain_device().splitlines() if line.endswith("can be used"))
