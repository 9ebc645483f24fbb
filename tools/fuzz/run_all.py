"""Fuzz every reader, one after the other, and make the table of docs/fuzzing.md from what libFuzzer says.

``run_all.py --runs 1000000 --corpus FOLDER [--jobs 2] [--asan] [TARGET...]``. What ran before counts: each target's
inputs are added up in FOLDER/log.json, and a target that has had its inputs is left out. The status is the number of
targets that crashed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CHUNK = 80_000  # inputs of one process: what a process keeps too long shows, and little is lost by a crash

_lock = threading.Lock()


def names() -> list[str]:
    code = "import targets; print(' '.join(targets.TARGETS))"
    made = subprocess.run([sys.executable, "-c", code], cwd=HERE, capture_output=True, text=True, check=True)
    return made.stdout.split()


def read(log: Path) -> dict[str, Any]:
    return json.loads(log.read_text()) if log.exists() else {}


def once(
    name: str, runs: int, corpus: Path, environment: dict[str, str], through: list[str]
) -> dict[str, Any]:
    """One process of at most `runs` inputs: what libFuzzer says of it."""
    before = set(corpus.glob(f"{name}-*-*"))
    started = time.monotonic()
    command = [
        *through,
        sys.executable,
        str(HERE / "fuzz.py"),
        name,
        "--runs",
        str(runs),
        "--corpus",
        str(corpus),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, errors="replace", env={**os.environ, **environment}
    )
    text = done.stdout + done.stderr
    units = re.search(r"stat::number_of_executed_units:\s*(\d+)", text)
    seen = re.findall(r"cov: (\d+) ft: (\d+) corp: (\d+)", text)
    (corpus / f"{name}.last.txt").write_text(text)
    return {
        "inputs": int(units[1]) if units else 0,
        "seconds": time.monotonic() - started,
        "covered": [int(one) for one in seen[-1]] if seen else [0, 0, 0],
        "crashes": sorted(path.name for path in set(corpus.glob(f"{name}-*-*")) - before),
        "status": done.returncode,
    }


def run(name: str, arguments: argparse.Namespace, environment: dict[str, str]) -> int:
    log = arguments.corpus / ("log-asan.json" if arguments.asan else "log.json")
    while True:
        with _lock:
            so_far = read(log).get(name, {"inputs": 0, "seconds": 0.0, "crashes": []})
        left = arguments.runs - so_far["inputs"]
        if left <= 0:
            return 0
        found = once(name, min(CHUNK, left), arguments.corpus, environment, shlex.split(arguments.through))
        with _lock:
            table = read(log)
            so_far = table.get(name, so_far)
            table[name] = {
                "inputs": so_far["inputs"] + found["inputs"],
                "seconds": round(so_far["seconds"] + found["seconds"], 1),
                "covered": found["covered"],
                "crashes": so_far["crashes"] + found["crashes"],
            }
            log.write_text(json.dumps(table, indent=1))
        print(
            f"{name}: {table[name]['inputs']:,} inputs, {found['covered']}, {found['crashes'] or 'no crash'}",
            flush=True,
        )
        if found["status"] != 0 and not found["crashes"] and found["inputs"]:
            continue  # something else ended it, such as a time limit
        if found["status"] != 0:
            print((arguments.corpus / f"{name}.last.txt").read_text()[-3000:], flush=True)
            return 1


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("targets", nargs="*")
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--corpus", type=Path, default=Path("build/fuzz"))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument(
        "--through", default="", help="a command that runs each process, such as 'nice -n 19'"
    )
    parser.add_argument("--asan", default="", help="a sanitizer's library to load before everything else")
    arguments = parser.parse_args()
    arguments.corpus.mkdir(parents=True, exist_ok=True)
    environment = {}
    if arguments.asan:
        environment = {
            "LD_PRELOAD": str(arguments.asan),
                "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1:allocator_may_return_null=1",
            "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
        }  # fmt: skip
    with ThreadPoolExecutor(arguments.jobs) as pool:
        return sum(pool.map(lambda name: run(name, arguments, environment), arguments.targets or names()))


if __name__ == "__main__":
    sys.exit(main())
