"""Real jobs of 1, 2 and 4 processes, started as people start them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("program.py")
LEG = os.environ.get("MLCORE_LEG")

if not LEG:  # in the leg, a missing library is a failure
    pytest.importorskip("mpi4py", reason="mpi4py is not installed")
    pytest.importorskip("mlcore_mpi", reason="mlcore-mpi is not installed")


def job(
    count: int, *arguments: str, seconds: float = 60, program: Path = PROGRAM
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "mlcore", "launch", "-n", str(count), str(program), *arguments]
    environment = {**os.environ, "SECONDS": str(seconds)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=150, check=False)


@pytest.mark.parametrize("device", ["cpu", "reference"])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_every_operation_is_numpys(count: int, device: str) -> None:
    done = job(count, "operations", device)
    assert done.returncode == 0, done.stdout + done.stderr
    compared = int(re.search(r"compared (\d+)", done.stdout).group(1))  # type: ignore[union-attr]
    print(f"{count} processes on {device}: {compared} results compared")
    assert compared > 1000
    assert done.stdout.count("refused") == done.stdout.count("trained") == count


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("what", ["killed", "raises"])
def test_a_dead_process_is_named_by_all_others(what: str, count: int) -> None:
    done = job(count, what, seconds=30)
    assert done.returncode not in (0, 124)
    said = re.findall(
        r"rank (\d): .all_reduce #2 .*? cannot end.*?cause: rank 1 \(process \d+ on \S+\) is gone",
        done.stdout,
    )
    assert sorted(said) == [str(r) for r in range(count) if r != 1], done.stdout + done.stderr
    if what == "killed":
        assert "rank 1 was killed by signal 9" in done.stderr
    else:
        assert "a bug of the program" in done.stderr


@pytest.mark.parametrize("count", [2, 4])
def test_a_process_that_hangs_is_named_after_the_timeout(count: int) -> None:
    done = job(count, "hangs", seconds=1.5)
    said = re.findall(
        r"rank (\d): .all_reduce #2 .*?cause: rank 1 \(process \d+ on \S+\) did not come within 1.5 s",
        done.stdout,
    )
    assert sorted(said) == [str(r) for r in range(count) if r != 1], done.stdout + done.stderr
    assert done.returncode not in (0, 124)


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("other operation", r"rank 1: barrier"),
        ("other shape", r"rank 1: all_reduce\('sum', \(4,\), 'float32'\)"),
        ("other dtype", r"rank 1: all_reduce\('sum', \(3,\), 'float64'\)"),
        ("leaves", r"rank 1: the end of the program"),
    ],
)
@pytest.mark.parametrize("count", [2, 4])
def test_processes_that_do_different_things_are_told_apart(what: str, text: str, count: int) -> None:
    done = job(count, what)
    said = done.stdout + done.stderr
    assert (
        len(re.findall(rf"the processes do not do the same thing.*?{text}", said, re.DOTALL)) >= count - 1
    ), said
    assert done.returncode not in (0, 124)


def test_bad_commands(tmp_path: Path) -> None:
    assert "1 process or more" in job(0, "x").stderr
    assert "there is no file" in job(2, program=tmp_path / "none.py").stderr


def test_without_a_launcher_a_program_is_a_job_of_one(tmp_path: Path) -> None:
    program = tmp_path / "one.py"
    program.write_text(
        "from mlcore import distributed as d\n"
        "print(d.init_process_group(), 'mpi' in d.available())\n"
        "d.destroy_process_group()\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "<Group alone, rank 0 of 1> True"
