"""best_device on simulated profiles, against answers computed here; and on devices that really run the model."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import nn
from mlcore.backends import detect
from mlcore.backends.profile import Profile
from mlcore.backends.protocol import MemoryStats
from mlcore.backends.reference import ReferenceBackend
from mlcore.choosing import best_device, workload
from mlcore.cli import main
from mlcore.compile.shape_only import shape_only
from mlcore.errors import ArgumentError, DeviceError, ShapeError, UnsupportedOpError
from mlcore.ops import random

GIB = 2**30


def flat(gflops: float, gbs: float, launch: float, bus: float, **facts: Any) -> Profile:
    """A device that is as fast at every size."""
    return Profile({"64": gflops, "256": gflops, "1024": gflops}, gbs, launch, bus, bus, **facts)


HOST = Profile({"64": 60.0, "256": 200.0, "1024": 400.0}, 30.0, 2e-7, 12.0, 12.0)
FAR = Profile({"64": 2.0, "256": 400.0, "1024": 12000.0}, 900.0, 2e-5, 10.0, 10.0)  # fast, late to start
BUS = flat(3000.0, 300.0, 5e-6, 0.05)  # behind a slow cable
QUEUED = Profile({"64": 5.0, "256": 500.0, "1024": 9000.0}, 700.0, 2e-5, 10.0, 10.0, queued=2e-6)
WEAK = flat(3.0, 4.0, 1e-6, 5.0)
KINDS = {"host": HOST, "far": FAR, "bus": BUS, "queued": QUEUED, "weak": WEAK}


# ---------------------------------------------------------------- the answers, computed another way


def products(layers: int, n: int, rows: int) -> list[tuple[int, int, int]]:
    """(FLOPs, bytes, bytes written) of each kernel of `layers` linear layers without bias, each with a relu."""
    linear = (2 * rows * n * n, 4 * (rows * n + n * n + rows * n), 4 * rows * n)
    relu = (0, 4 * 2 * rows * n, 4 * rows * n)
    return [linear, relu] * layers


def tiny(count: int, rows: int, width: int) -> list[tuple[int, int, int]]:
    """The same of `count` elementwise operations of one input."""
    return [(0, 8 * rows * width, 4 * rows * width)] * count


def speed(measured: Profile, flops: int) -> float:
    sizes = np.array([2.0 * int(n) ** 3 for n in measured.gemm])
    rates = np.array(list(measured.gemm.values())) * 1e9
    return float(np.exp(np.interp(np.log(flops), np.log(sizes), np.log(rates))))


def seconds(
    kernels: list[tuple[int, int, int]], given: int, out: int, training: bool, measured: Profile
) -> float:
    total = 0.0
    for flops, moved, _ in kernels:
        total += max(flops / speed(measured, flops) if flops else 0.0, moved / (measured.bandwidth * 1e9))
        total += measured.launch if measured.queued is None else measured.queued
    total *= 3 if training else 1
    if measured.queued is not None:
        total += measured.launch
    return total + given / (measured.upload * 1e9) + (4 if training else out) / (measured.download * 1e9)


def memory(kernels: list[tuple[int, int, int]], parameters: int, given: int, training: bool) -> int:
    if training:
        return 4 * parameters + given + sum(written for _, _, written in kernels)
    return parameters + given + max(moved for _, moved, _ in kernels)


class Mlp(nn.Module):
    def __init__(self, layers: int, n: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(n, n, bias=False) for _ in range(layers))

    def forward(self, x: ml.Tensor) -> ml.Tensor:
        for layer in self.layers:
            x = ml.relu(layer(x))
        return x


class Chain(nn.Module):
    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, x: ml.Tensor) -> ml.Tensor:
        for _ in range(self.count):
            x = ml.tanh(x)
        return x


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, int], list[tuple[int, int, int]], int]] = {
    f"mlp {layers}x{n}, batch {rows}": (
        lambda layers=layers, n=n: Mlp(layers, n), (rows, n), products(layers, n, rows), 4 * layers * n * n,
    )
    for layers, n, rows in [(1, 16, 1), (3, 64, 8), (2, 256, 64), (4, 512, 512), (2, 2048, 1024), (1, 4096, 4)]
} | {
    f"{count} small operations on {rows}x{width}": (
        lambda count=count: Chain(count), (rows, width), tiny(count, rows, width), 0,
    )
    for count, rows, width in [(100, 1, 8), (300, 4, 32), (5, 4096, 4096), (30, 1024, 256)]
}  # fmt: skip


@pytest.mark.parametrize("training", [False, True])
def test_the_choice_is_the_computed_one_over_a_grid(provide: Any, training: bool) -> None:
    for name, measured in KINDS.items():
        provide(name, measured, memory=64 * GIB)
    provide("small", flat(20000.0, 2000.0, 1e-7, 100.0), memory=3 * 2**20)  # the best at everything, and tiny
    compared = 0
    winners = set()
    for shape_of, (make, shape, kernels, parameters) in MODELS.items():
        with shape_only():
            model = make().train(training)
        given = out = 4 * math.prod(shape)
        needs = memory(kernels, parameters, given, training)
        for count in range(1, len(KINDS) + 1):
            for names in itertools.combinations(KINDS, count):
                asked = [*names, "small"]
                times = {n: seconds(kernels, given, out, training, KINDS[n]) for n in names}
                fits = needs <= 3 * 2**20
                expected = "small" if fits else min(times, key=times.__getitem__)
                found = best_device(model, shape, how="estimate", devices=asked)
                assert found.id == f"{expected}:0", (shape_of, names, found.explain())
                by_id = {one.short: one for one in found.candidates}
                for name, taken in times.items():
                    if by_id[name].seconds is not None:
                        assert by_id[name].seconds == pytest.approx(taken, rel=1e-9), (shape_of, name)
                assert by_id["small"].needs == needs
                if not fits:
                    assert by_id["small"].rejected == f"needs {shown(needs)}, has 3 MiB"
                winners.add(expected)
                compared += 1
    assert compared == len(MODELS) * (2 ** len(KINDS) - 1) == 310
    assert winners >= {"host", "far", "small", "queued"}, winners


def shown(count: int) -> str:
    for scale, unit in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count} B"


def test_many_small_operations_stay_on_the_host_and_a_large_product_leaves_it(provide: Any) -> None:
    provide("host", HOST)
    provide("far", FAR, rank=300)
    assert best_device(Chain(200), (4, 16), how="estimate").id == "host:0"
    large = best_device(Mlp(2, 2048), (1024, 2048), how="estimate")
    assert large.id == "far:0"
    text = str(large)
    assert text == large.explain() == repr(large)
    lines = text.splitlines()
    assert lines[0] == "best device for Mlp (time): far, estimated from its profile"
    assert lines[1].split() == [
        "device",
        "hardware",
        "compute",
        "traffic",
        "launch",
        "transfer",
        "step",
        "memory",
    ]
    assert lines[2].startswith("*  far     Simulated far   ")
    assert lines[2].endswith("estimated")
    assert lines[-1].startswith("one training step: 51.5 GFLOP in products, ")
    assert lines[-1].endswith("12 kernels; parameters 32 MiB, input 8 MiB")


def test_too_little_memory_excludes_with_the_figures(provide: Any) -> None:
    provide("host", HOST, memory=64 * GIB)
    provide("far", FAR, memory=8 * GIB, rank=300)
    with shape_only():  # without values: a gigabyte each
        one, three = Mlp(1, 16384), Mlp(3, 16384)
    found = best_device(one, (4096, 16384), how="estimate")
    assert (found.id, found.because) == ("far:0", "estimated from its profile")
    found = best_device(three, (4096, 16384), how="estimate")
    assert found.id == "host:0"
    assert found.because == "the only one that fits"
    (far,) = [one for one in found.candidates if one.id == "far:0"]
    assert far.rejected == "needs 13.8 GiB, has 8 GiB"
    assert "needs 13.8 GiB, has 8 GiB" in str(found)
    with pytest.raises(DeviceError, match=r"(?s)no device can run Mlp.*far: needs 13.8 GiB, has 8 GiB"):
        best_device(three, (4096, 16384), how="estimate", devices=["far"])


def test_the_memory_that_was_measured_counts_before_the_one_that_is_built_in(provide: Any) -> None:
    provide("host", HOST)
    provide("far", flat(1e4, 1e3, 1e-8, 50.0, memory=2**20), memory=64 * GIB)
    assert best_device(Mlp(1, 1024), (8, 1024), how="estimate").id == "host:0"
    assert best_device(Mlp(1, 64), (8, 64), how="estimate").id == "far:0"


def test_the_one_with_the_most_room(provide: Any) -> None:
    provide("host", HOST, memory=16 * GIB)
    provide("far", FAR, memory=80 * GIB)
    found = best_device(Chain(3), (4, 4), "memory")
    assert (found.id, found.because) == ("far:0", "it has the most memory left")


def test_with_the_processor_alone_it_is_chosen_and_nothing_is_opened(provide: Any) -> None:
    plugin = provide("host")
    found = best_device(Mlp(2, 32), (4, 32))
    assert (found.id, found.because, plugin.opened) == ("host:0", "the only one", 0)


def test_the_reference_is_chosen_where_there_is_no_other(provide: Any) -> None:
    assert best_device(Mlp(2, 32), (4, 32)).id == "reference:0"


def test_without_profiles_an_estimate_goes_by_rank_and_says_so(provide: Any) -> None:
    provide("host", rank=100)
    provide("far", rank=300)
    found = best_device(Mlp(1, 8), (2, 8), how="estimate")
    assert found.id == "far:0"
    assert "by rank: nothing is measured" in str(found)


def test_a_device_without_a_profile_cannot_be_held_against_one_that_has(provide: Any) -> None:
    provide("host", HOST)
    provide("far", rank=300)
    found = best_device(Mlp(1, 8), (2, 8), how="estimate")
    assert found.id == "host:0"
    assert "not measured: mlcore devices --measure" in str(found)


def test_what_a_device_composes_costs_it_more(provide: Any) -> None:
    model = nn.Sequential(nn.LayerNorm(32), nn.GELU(), nn.LayerNorm(32))
    whole = workload(model, (8, 32), training=False)
    assert whole.kernels == 3
    every = frozenset(call.op for call in whole.calls)
    provide("fused", flat(100.0, 30.0, 1e-6, 10.0, fused=tuple(every)))
    provide("composed", flat(100.0, 30.0, 1e-6, 10.0, fused=()), rank=300)
    found = best_device(model, (8, 32), how="estimate", training=False)
    times = {one.short: one.seconds for one in found.candidates}
    parts = sum(call.parts for call in whole.calls)
    assert found.id == "fused:0"
    assert parts > 12
    assert times["composed"] > 3 * times["fused"]


# ---------------------------------------------------------------- run for real


class Slow(ReferenceBackend):
    """The reference, each of whose kernels takes its time."""

    delay = 0.002

    def kernel(self, op: Any) -> Any:
        inner = super().kernel(op)
        if inner is None:
            return None

        def run(*args: Any) -> Any:
            time.sleep(self.delay)
            return inner(*args)

        return run


class Full(ReferenceBackend):
    """One whose memory is full whenever a matrix product is wanted; it does not say how much it has."""

    def memory_stats(self) -> MemoryStats:
        return MemoryStats()

    def kernel(self, op: Any) -> Any:
        inner = super().kernel(op)
        if op.name != "contract":
            return inner

        def run(*args: Any) -> Any:
            if args[0].shape == (2, 2):  # the self-test fits
                return inner(*args)
            raise MemoryError("the pool is exhausted")

        return run


class Rowdy(nn.Module):
    """Branches on a value, draws numbers and has a buffer that a forward pass changes."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: ml.Tensor) -> ml.Tensor:
        y = self.drop(self.norm(self.inner(x)))
        return y * 2 if y.sum() > 0 else y


@pytest.mark.parametrize("training", [False, True])
def test_a_run_finds_the_faster_one_and_is_remembered(provide: Any, training: bool) -> None:
    provide("slow", make=Slow, rank=300)
    provide("fast", rank=100)
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2)).train(training)
    x = ml.ones((4, 8), device="reference")
    found = best_device(model, x, how="measure", seconds=0.05)
    assert (found.id, found.because) == ("fast:0", "measured")
    times = {one.short: one.seconds for one in found.candidates}
    assert times["slow"] > 2 * Slow.delay
    assert times["slow"] > 2 * times["fast"]
    started = time.perf_counter()
    again = best_device(model, x, how="measure", seconds=5.0)
    assert time.perf_counter() - started < 1
    assert {one.short: one.seconds for one in again.candidates} == times
    assert {one.how for one in again.candidates} == {"measured before"}
    other = nn.Sequential(nn.Linear(8, 9), nn.ReLU(), nn.Linear(9, 2)).train(training)
    assert "measured before" not in str(best_device(other, x, how="measure", seconds=0.02))


def test_nothing_of_the_model_is_changed_by_a_run(provide: Any) -> None:
    provide("one")
    provide("two")
    model = Rowdy()
    x = ml.ones((6, 4), device="reference")
    model(x).sum().backward()
    before = {name: one.numpy().copy() for name, one in model.state_dict().items()}
    grads = [one.grad.numpy().copy() for one in model.parameters()]
    state = random.get_state()
    found = best_device(model, (x, ml.zeros((6,))), seconds=0.02)
    assert found.id in ("one:0", "two:0")
    assert found.because == "measured"
    assert "unknown before it runs" in str(found)
    assert random.get_state() == state
    for name, one in model.state_dict().items():
        np.testing.assert_array_equal(one.numpy(), before[name])
    for one, grad in zip(model.parameters(), grads, strict=True):
        np.testing.assert_array_equal(one.grad.numpy(), grad)
        assert one.device == model.inner.weight.device
    with pytest.raises(UnsupportedOpError):
        best_device(model, x, how="estimate")


def test_a_device_that_fails_the_run_is_left_out(provide: Any) -> None:
    provide("full", make=Full, rank=300)
    provide("other", make=Full)
    provide("fine", rank=100)
    found = best_device(nn.Linear(8, 8), ml.ones((4, 8), device="reference"), how="measure", seconds=0.02)
    assert found.id == "fine:0"
    (full,) = [one for one in found.candidates if one.short == "full"]
    assert "cannot allocate" in full.rejected
    with pytest.raises(DeviceError, match="no device can run Linear"):
        best_device(nn.Linear(8, 8), (4, 8), how="measure", devices=["full", "other"], seconds=0.02)


def test_an_estimate_keeps_hopeless_devices_from_being_run(provide: Any) -> None:
    hopeless = provide("hopeless", flat(0.001, 0.001, 1.0, 0.001), rank=300)
    provide("one", HOST)
    provide("two", HOST)
    found = best_device(nn.Linear(8, 8), ml.ones((4, 8), device="reference"), seconds=0.02)
    assert found.because == "measured"
    assert hopeless.opened == 0
    (out,) = [one for one in found.candidates if one.short == "hopeless"]
    assert out.rejected.endswith("times slower: not tried")


def test_a_loss_is_part_of_the_step(provide: Any) -> None:
    provide("one")
    provide("two")
    calls = []

    def loss(model: Any, batch: Any) -> Any:
        calls.append(1)
        return nn.functional.cross_entropy(model(batch[0]), batch[1])

    batch = (ml.ones((4, 8), device="reference"), ml.asarray([0, 1, 1, 0], device="reference"))
    found = best_device(nn.Linear(8, 2), batch, loss=loss, seconds=0.02)
    assert len(calls) > 8
    assert any("cross_entropy" in call.op for call in found.work.calls)


def test_the_verdict_stands_for_a_device(provide: Any) -> None:
    provide("one")
    model = nn.Linear(4, 4)
    choice = best_device(model, (2, 4))
    assert model.to(choice).weight.device is choice.device
    assert ml.ones((2,), device=choice).device is choice.device
    with ml.device(choice):
        assert ml.zeros((1,)).device is choice.device
    assert json.loads(json.dumps(choice.to_json()))["device"] == "one:0"
    assert detect.resolve("auto") is choice.device


BAD = {
    "energy": (ArgumentError, "nothing|no backend measures", lambda m: best_device(m, (2, 4), "energy")),
    "objective": (ArgumentError, "objective='speed'", lambda m: best_device(m, (2, 4), "speed")),
    "how": (ArgumentError, "how='guess'", lambda m: best_device(m, (2, 4), how="guess")),
    "no device": (ArgumentError, "devices is empty", lambda m: best_device(m, (2, 4), devices=[])),
    "unknown device": (
        DeviceError,
        "unknown device 'nine'",
        lambda m: best_device(m, (2, 4), devices=["nine"]),
    ),
    "shapes": (ShapeError, "last dimension|expected", lambda m: best_device(m, (2, 5))),
    "no model": (TypeError, "pass a Module", lambda m: best_device(ml.tanh, (2, 5))),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_questions(provide: Any, case: str) -> None:
    kind, text, ask = BAD[case]
    with pytest.raises(kind, match=text):
        ask(nn.Linear(4, 4))


def test_the_command(provide: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    provide("host", HOST)
    provide("far", FAR)
    asked = [
        "devices",
        "--for",
        "mlcore.nn:Linear",
        "in_features=2048",
        "out_features=2048",
        "--in",
        "B 2048",
    ]
    assert main([*asked, "--size", "B=2048"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("B = 2048\nbest device for Linear (time): far, estimated")
    assert main([*asked, "--size", "B=1", "--eval", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["device"] in ("host:0", "far:0")
    assert found["training"] is False
    assert {one["id"] for one in found["candidates"]} == {"host:0", "far:0"}
    assert main([*asked, "--how", "measure", "--eval"]) == 0
    assert ", measured\n" in capsys.readouterr().out
    assert main(["devices", "--for", "mlcore.nn:Linear", "in_features=2", "out_features=2"]) == 2
    assert 'write --in "B 3 224 224"' in capsys.readouterr().err


def test_importing_mlcore_does_not_import_it() -> None:
    code = "import sys, mlcore; print([m for m in sys.modules if m.startswith('mlcore.choosing')])"
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert made.stdout.strip() == "[]"
