"""NCCL's collectives, as far as they are Python: real jobs of processes under MPI, each with a GPU of the stand-in.

The same program as the MPI plugin's tests: every operation, dtype and shape against NumPy, bad input, training, and
processes that die, hang, leave or do something else. What NCCL itself does is not shown here.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("collectives_run.py")

if not os.environ.get("MLCORE_LEG"):  # in the leg, a missing library is a failure
    pytest.importorskip("mpi4py", reason="mpi4py is not installed")
    pytest.importorskip("mlcore_mpi", reason="mlcore-mpi is not installed")


def job(
    tmp_path: Path, count: int, *arguments: str, seconds: float = 60, **environment: str
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "mlcore", "launch", "-n", str(count), str(PROGRAM), *arguments]
    env = {
        **os.environ, "SECONDS": str(seconds), "TMPDIR": str(tmp_path), "STANDIN_DEVICES": "4",
        "MLCORE_COLLECTIVES": "", "MLCORE_FALLBACK": "error", **environment,
    }  # fmt: skip
    del env["MLCORE_COLLECTIVES"]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=170, check=False)


@pytest.mark.parametrize("count", [2, 4])
def test_every_operation_is_numpys(tmp_path: Path, count: int) -> None:
    done = job(tmp_path, count, "operations")
    assert done.returncode == 0, done.stdout + done.stderr
    compared = int(re.search(r"compared (\d+)", done.stdout).group(1))  # type: ignore[union-attr]  # None fails
    print(f"{count} processes, each with a GPU of the stand-in: {compared} results compared")
    assert compared > 1000
    assert done.stdout.count("refused") == done.stdout.count("trained") == count
    for rank in range(count):
        assert f"<Group nccl, rank {rank} of {count}> device to device" in done.stdout


def test_a_job_of_one() -> None:
    """What a machine with one GPU can run: NCCL by name, no launcher."""
    environment = {**os.environ, "MLCORE_COLLECTIVES": "nccl"}
    command = [sys.executable, "-P", str(PROGRAM), "operations"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "<Group nccl, rank 0 of 1> device to device" in done.stdout


@pytest.mark.parametrize(
    ("environment", "gpus", "text"),
    [
        ({"STANDIN_NCCL": "0"}, "4", r"CuPy finds no NCCL in rank 0, 1 \(pip install nvidia-nccl-cu13\)"),
        ({}, "1", "rank 0, 1 share a GPU; give each its own"),
    ],
)
def test_where_nccl_cannot_serve_arrays_go_through_the_host(
    tmp_path: Path, environment: dict[str, str], gpus: str, text: str
) -> None:
    done = job(tmp_path, 2, "operations", gpus, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("through the host, by mpi") == 2
    assert len(re.findall(f"rank [01]: nccl is not used: {text}", done.stdout)) == 2, done.stdout
    assert done.stdout.count("refused") == done.stdout.count("trained") == 2


@pytest.mark.parametrize(("count", "what"), [(2, "killed"), (2, "killed inside"), (4, "killed inside")])
def test_a_dead_process_is_named_by_all_others(tmp_path: Path, what: str, count: int) -> None:
    """Before the operation, where the control misses it, and inside, where the device would wait for ever."""
    done = job(tmp_path, count, what, seconds=40)
    assert done.returncode not in (0, 124)
    said = re.findall(
        r"rank (\d): .all_\w+ #\d .*? cannot end.*?cause: rank 1 \(process \d+ on \S+\) is gone", done.stdout
    )
    assert sorted(said) == [str(r) for r in range(count) if r != 1], done.stdout + done.stderr
    assert "rank 1 was killed by signal 9" in done.stderr


def test_a_process_that_hangs_inside_is_found_by_the_timeout(tmp_path: Path) -> None:
    command = job(tmp_path, 2, "hangs inside", seconds=2)
    assert "all processes came, and it did not end within 2 s" in command.stdout, (
        command.stdout + command.stderr
    )


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("other operation", "rank 1: barrier"),
        ("other shape", r"rank 1: all_reduce\('sum', \(4,\), 'float32'\) on cuda"),
        ("other dtype", r"rank 1: all_reduce\('sum', \(3,\), 'float64'\) on cuda"),
    ],
)
def test_processes_that_do_different_things_are_told_apart(tmp_path: Path, what: str, text: str) -> None:
    done = job(tmp_path, 2, what)
    said = done.stdout + done.stderr
    assert re.search(rf"the processes do not do the same thing.*?{text}", said, re.DOTALL), said
    assert done.returncode not in (0, 124)
