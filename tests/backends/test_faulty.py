"""A backend that fails at every place in turn, through the public API: training, checkpoints, opening, choosing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

RUNS = (Path(__file__).parent / "faulty_runs.py").read_text(encoding="utf-8")


def runs(faulty: Any, *kinds: str) -> dict[str, Any]:
    made = faulty.run(RUNS, *kinds, MLCORE_LOG="critical")
    assert made.returncode == 0, made.stderr[-3000:]
    found: dict[str, Any] = json.loads(made.stdout.splitlines()[-1])
    return found


# kind -> the error, a part of its text, and the faults that there are at least
KINDS = {
    "memory@run": ("OutOfMemoryError", "pool of 8 MiB exhausted", 200),
    "lost@run": ("DeviceLostError", "GoneError: the bus fell over (error 999)", 200),
    "broken@run": ("DeviceError", "OSError: the cable is loose", 200),
    "memory@from_host": ("OutOfMemoryError", "pool of 8 MiB exhausted", 10),
    "lost@from_host": ("DeviceLostError", "taking a tensor of shape", 10),
    "lost@to_host": ("DeviceLostError", "reading a tensor of shape", 20),
    "pool@to_host": ("OutOfMemoryError", "CL_MEM_OBJECT_ALLOCATION_FAILURE", 20),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_run_survives_the_nth_fault(faulty: Any, kind: str) -> None:
    """The host's data is untouched; full memory and broken calls are tried again, a loss goes on from a checkpoint
    on another device: the weights in the end are those of a run without faults, bit for bit."""
    found = runs(faulty, "plain", kind)
    plain = found["plain"][""]
    assert not plain["errors"]
    error, text, least = KINDS[kind]
    opening = 0
    for name, one in found[kind].items():
        assert one["unharmed"], name
        told_kind, told = one["errors"][0]
        assert "faulty" in told, (name, told)
        assert len(told.splitlines()) <= 8, told
        if "was requested" in told:  # in the self-test: the device does not open, and says why
            assert told_kind in ("DeviceError", "DeviceBusyError", "DeviceLostError"), (name, told)
            opening += 1
            continue
        assert told_kind == error, (name, told)
        assert text in told, (name, told)
        assert one["final"] == plain["final"], name
        assert one["losses"] == plain["losses"], name
    assert len(found[kind]) - opening >= least, (len(found[kind]), opening)
    faults = Counter(faulty.faults())
    assert sum(faults.values()) >= least
    print(f"{kind}: {len(found[kind])} runs, {sum(faults.values())} faults, {opening} of them while opening")


STEPS = (
    "contract",
    "linear",
    "relu",
    "adamw_step",
    "softmax_cross_entropy",
    "reduce_sum",
    "permute_dims",
    "relu_grad",
)


def test_a_kernel_that_does_not_compile_is_replaced_and_training_goes_on(faulty: Any) -> None:
    """Whether it is met in the forward pass, the backward pass or the step; the sources' line is told."""
    plain = runs(faulty, "plain")["plain"][""]["final"]
    made = faulty.run(RUNS, "uncompiled", *STEPS, MLCORE_LOG="critical", MLCORE_FALLBACK="allow")
    assert made.returncode == 0, made.stderr[-3000:]
    content = json.loads(made.stdout.splitlines()[-1])
    happened = {line.rpartition(":")[2] for line in faulty.faults() if line != "closed"}
    assert len(happened) >= 4, happened
    for name, one in content["found"].items():
        if name == "contract":  # wanted by the self-test: there is no composition of it, so the host runs it
            continue
        assert not one["errors"], (name, one["errors"])
        for ours, theirs in zip(one["final"], plain, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)
    for name in happened:
        told = [text for text in content["texts"] if f"the kernel of {name!r} for " in text]
        assert told, name
        assert "line 2: return tanhq(x);" in told[0]
        assert "use of undeclared identifier 'tanhq'" in told[0]
        assert "on faulty" in told[0]
        assert "mlcore-test-faulty 1.0" in told[0]
        assert "instead" in told[0]


# ---------------------------------------------------------------- opening

ASK = """
import mlcore as ml
from mlcore.errors import MlcoreError
try:
    print("got", ml.ones((2,), device="faulty").sum().item())
except MlcoreError as error:
    print(type(error).__name__ + ": " + str(error))
print("other", ml.ones((2,), device="reference").sum().item(), ml.default_device())
"""

OPENING = {
    "busy@open": (
        "DeviceBusyError",
        ["state busy", "process 4711 holds the chip", "end process 4711"],
        False,
    ),
    "memory@open": ("DeviceBusyError", ["state busy", "its memory is full: pool of 8 MiB exhausted"], False),
    "broken@open": (
        "DeviceError",
        ["state broken", "raised OSError: the cable is loose while opening"],
        False,
    ),
    "lost@open": ("DeviceError", ["state broken", "raised GoneError: the bus fell over"], False),
    "nothing@open": (
        "DeviceError",
        ["state broken", "is no backend: it is a object without from_host, to_host, synchronize"],
        True,
    ),
    "wrong@run:add": ("DeviceError", ["state broken", "failed its self-test at add"], True),
    "wrong@selftest": ("DeviceError", ["state broken", "raised ArithmeticError: 2 + 2 gave 5"], True),
    "broken@selftest": ("DeviceError", ["state broken", "raised OSError: the cable is loose"], True),
    "broken@to_host": ("DeviceError", ["state broken", "its self-test", "the cable is loose"], True),
    "lost@kernel:add": ("DeviceError", ["state broken", "its self-test", "the bus fell over"], True),
}


@pytest.mark.parametrize("fault", OPENING)
def test_a_device_that_does_not_open_says_why_and_another_is_used(faulty: Any, fault: str) -> None:
    kind, texts, closed = OPENING[fault]
    made = faulty.run(ASK, FAULTY=fault, MLCORE_LOG="critical")
    assert made.returncode == 0, made.stderr
    assert made.stdout.startswith(f"{kind}: "), made.stdout
    for text in (*texts, "reference (NumPy"):
        assert text in made.stdout, made.stdout
    assert made.stdout.splitlines()[-1] == "other 2.0 reference"
    assert ("closed" in faulty.faults()) == (closed and fault != "nothing@open")


def test_what_is_busy_works_later(faulty: Any) -> None:
    code = """
import os
import mlcore as ml
from mlcore.errors import DeviceBusyError
os.environ["FAULTY"] = "busy@open"
for _ in range(2):
    try:
        ml.ones((2,), device="faulty")
    except DeviceBusyError:
        print("busy", ml.backends().named("faulty").state)
os.environ["FAULTY"] = ""
print(ml.ones((2,), device="faulty").sum().item())
"""
    assert faulty.run(code).stdout.split() == ["busy", "ready", "busy", "ready", "2.0"]


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("place", ["open", "selftest", "run:add", "to_host"])
def test_a_crash_while_opening_is_met_in_a_child_the_next_time(faulty: Any, place: str) -> None:
    first = faulty.run(ASK, FAULTY=f"crash@{place}")
    assert first.returncode == -signal.SIGSEGV
    second = faulty.run(ASK, FAULTY=f"crash@{place}", MLCORE_LOG="critical")
    assert second.returncode == 0, second.stderr
    assert "state crashed" in second.stdout
    assert "crashed (SIGSEGV) while opening faulty:0 in a child process" in second.stdout
    assert "mlcore doctor faulty --retry" in second.stdout
    assert second.stdout.splitlines()[-1] == "other 2.0 reference"
    count = len(faulty.faults())
    third = faulty.run(ASK, FAULTY=f"crash@{place}", MLCORE_LOG="critical")  # remembered: not even a child
    assert third.stdout == second.stdout
    assert len(faulty.faults()) == count
    retried = faulty.run(
        "import sys; from mlcore.cli import main; sys.exit(main(['doctor', 'faulty', '--retry']))"
    )
    assert retried.returncode == 0, retried.stdout
    assert faulty.run(ASK).stdout.splitlines() == ["got 2.0", "other 2.0 faulty"]


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_death_that_was_no_fault_of_the_plugin_costs_one_child(faulty: Any) -> None:
    assert faulty.run(ASK, FAULTY="crash@open").returncode == -signal.SIGSEGV
    assert faulty.run(ASK).stdout.splitlines() == ["got 2.0", "other 2.0 faulty"]  # repaired meanwhile
    assert not list((faulty.home / "cache/probes").glob("*.opening"))


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_device_that_hangs_while_opening_is_passed_over_once_somebody_killed_it(faulty: Any) -> None:
    assert faulty.run("import mlcore; mlcore.backends()").returncode == 0  # the probe proved harmless
    code = f"import os, sys; os.environ.update({{'FAULTY': 'hang@open'}})\n{ASK}"
    environment = {**os.environ, "MLCORE_CACHE_DIR": str(faulty.home / "cache"), "MLCORE_BACKENDS": "faulty"}
    environment["PYTHONPATH"] = os.pathsep.join([str(faulty.site), *sys.path])
    environment.pop("MLCORE_DEVICE", None)
    process = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while not list((faulty.home / "cache/probes").glob("*.opening")) and time.monotonic() < until:
        time.sleep(0.02)
    process.kill()
    process.wait()
    made = faulty.run(ASK, FAULTY="hang@open", MLCORE_OPEN_TIMEOUT="4", MLCORE_LOG="critical")
    assert made.returncode == 0, made.stderr
    assert "did not open faulty:0 within 4 s in a child process" in made.stdout
    assert made.stdout.splitlines()[-1] == "other 2.0 reference"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit of memory is Linux's")
def test_a_probe_that_eats_memory_is_stopped_in_its_child(faulty: Any) -> None:
    made = faulty.run(ASK, FAULTY="eat@probe", MLCORE_LOG="critical")
    assert made.returncode == 0, made.stderr
    assert "raised MemoryError while probing" in made.stdout
    assert made.stdout.splitlines()[-1] == "other 2.0 reference"


# ---------------------------------------------------------------- lost in mid-run


def test_a_lost_device_is_out_and_its_sister_goes_on(faulty: Any) -> None:
    code = """
import mlcore as ml
from mlcore.errors import DeviceLostError, DeviceError
from mlcore.backends import detect
host = ml.asarray([1.0, 2.0], device="reference")
x = host.to("faulty?fault=lost@run:tanh")
y = host.to("faulty:1")
for use in (lambda: ml.tanh(x), lambda: x + x, lambda: x.to("reference"), lambda: print(x), lambda: x.item,
            lambda: ml.ones((2,), device=x.device), lambda: ml.ones((2,), device="faulty"),
            lambda: ml.save({"x": x}, "x.safetensors")):
    try:
        use()
        print("no error")
    except DeviceLostError as error:
        print("lost", str(error).splitlines()[0])
print(ml.tanh(y).shape, host.tolist(), [d.id for d in ml.devices()])
print([line for line in ml.explain_device().splitlines() if "lost" in line])
detect.reset()
print(ml.default_device(), ml.best_device(ml.nn.Linear(2, 2), (1, 2)).id)
"""
    made = faulty.run(code, MLCORE_LOG="critical", MLCORE_DEVICE="auto")
    assert made.returncode == 0, made.stderr
    lines = made.stdout.splitlines()
    assert lines[0].startswith("lost tanh on device faulty")
    assert lines[1].startswith("lost add on device faulty")
    assert lines[2].startswith("lost reading a tensor on device faulty")
    assert lines[3].startswith("lost reading a tensor on device faulty")
    assert lines[4] == "no error"
    assert lines[5].startswith("lost fill on device faulty")
    assert lines[6].startswith("lost device 'faulty' was requested (device=) but is not usable")
    assert lines[7].startswith("lost reading a tensor on device faulty")
    assert lines[8] == "(2,) [1.0, 2.0] ['faulty:1', 'reference:0']"
    assert "stopped working at tanh: GoneError" in lines[9]
    assert lines[10] == "faulty:1 faulty:1"


def test_a_model_that_cannot_be_moved_stays_where_it_was(faulty: Any) -> None:
    code = """
import mlcore as ml
from mlcore import nn
from mlcore.errors import OutOfMemoryError
kept = 0
for n in range(2, 40):
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 2)).to("reference")
    model(ml.ones((4, 3), device="reference")).sum().backward()
    before = [(one.numpy().copy(), one.grad) for one in model.parameters()]
    try:
        model.to(f"faulty?fault=memory@from_host%23{n}!".replace("%23", "#"))
    except OutOfMemoryError:
        kept += 1
        assert all(one.device == "reference" for one in (*model.parameters(), *model.buffers()))
        assert all((one.numpy() == a).all() and one.grad is g for one, (a, g) in zip(model.parameters(), before))
        model(ml.ones((4, 3), device="reference"))
print(kept)
"""
    made = faulty.run(code, MLCORE_LOG="critical", MLCORE_DEVICE="reference")
    assert made.returncode == 0, made.stderr
    assert int(made.stdout) >= 12
