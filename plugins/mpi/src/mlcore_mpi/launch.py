"""``mlcore launch -n 4 program.py``: the program in several processes that work together."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from mlcore.errors import ArgumentError, PluginError

# Stands between the launcher and each process, because launchers kill all processes as soon as they see one fail.
KEEPER = """
trap '' USR1  # how MPICH's launcher tells of a process that was killed
"$@"
status=$?
rank=${PMI_RANK:-$OMPI_COMM_WORLD_RANK}
if [ $status -gt 128 ]; then echo "mlcore launch: rank $rank was killed by signal $((status - 128))" >&2; fi
if [ $status -ne 0 ]; then sleep 2; fi
exit $status
"""


def add_command(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser("launch", help="run a program in several processes, through MPI")
    parser.add_argument("-n", dest="count", type=int, required=True, metavar="N", help="how many processes")
    parser.add_argument(
        "--threads",
        type=int,
        metavar="T",
        help="threads of each process (default: its share of the processors)",
    )
    parser.add_argument("program", help="a Python file, or -m")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="what the program gets")
    parser.set_defaults(run=run)


def mpiexec() -> str:
    """The launcher of this environment, else the one on the path."""
    beside = Path(sys.executable).parent / "mpiexec"
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    if found is None:
        raise PluginError(
            "no mpiexec was found",
            cause="mlcore launch starts the processes through an MPI library's launcher",
            fix="pip install mlcore-mpi[mpich], or install the system's MPI",
        )
    return found


def command_of(launcher: str, count: int, program: list[str]) -> list[str]:
    """How the program is started, so that the other processes live when one dies: they say which one it was."""
    version = subprocess.run([launcher, "--version"], capture_output=True, text=True, check=False).stdout
    if "Open MPI" in version or "OpenRTE" in version:
        how = ["--mca", "orte_abort_on_non_zero_status", "0", "--oversubscribe"]
    else:
        how = ["-disable-auto-cleanup"] if "HYDRA" in version.upper() else []
    return [launcher, *how, "-n", str(count), "/bin/sh", "-c", KEEPER, "mlcore", sys.executable, *program]


def run(arguments: argparse.Namespace) -> int:
    """The exit status is 0 if every process ended well."""
    if arguments.count < 1:
        raise ArgumentError(f"launch: -n is {arguments.count}", fix="1 process or more")
    if arguments.program != "-m" and not Path(arguments.program).is_file():
        raise ArgumentError(
            f"launch: there is no file {arguments.program!r}", fix="a Python file, or -m MODULE"
        )
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = arguments.threads or max(1, usable // arguments.count)
    environment = {"MLCORE_NUM_THREADS": str(threads), **os.environ}
    command = command_of(mpiexec(), arguments.count, [arguments.program, *arguments.arguments])
    status = subprocess.run(command, env=environment, check=False).returncode
    return min(abs(status), 255)
