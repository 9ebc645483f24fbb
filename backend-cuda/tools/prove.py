"""What shows that the backend works on this machine's card, in one command, with everything recorded:

    python backend-cuda/tools/prove.py            # or: python backend-cuda/tools/prove.py --device rocm

1. what there is: mlcore doctor, the card, the driver, CuPy
2. the conformance suite, level 2, on the device
3. compute-sanitizer (memcheck, racecheck, initcheck, synccheck) over the hand-written kernels; CUDA only
4. NCCL's or RCCL's collectives, in as many processes as there are cards (collectives.py); of one card they are a job
   of one. They need the library: `pip install './backend-cuda[nccl13]'`; more cards need `./plugins/mpi[mpich]` too
5. `mlcore train digits` on the device
6. the training rows of the bench, and training steps beside PyTorch eager on the same card (beside_torch.py)

Where PyTorch is not installed the last step is left out. Each step's output goes to prove-DEVICE/ and a summary to
prove-DEVICE/summary.md, in the form of docs/hardware.md. A step that fails does not stop the others; the exit status is
the number of steps that failed.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

KERNELS = "softmax or norm or pool or convolution or attention or entropy or dropout or step"
SANITIZER = ("--target-processes", "all", "--error-exitcode", "9")
TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")


@dataclass
class Step:
    """A command, and how it went."""

    name: str
    command: list[str]
    status: int | None = None
    seconds: float = 0.0
    last: str = ""


def mlcore(*arguments: str) -> list[str]:
    return [
        sys.executable,
        "-P",
        "-m",
        "mlcore",
        *arguments,
    ]  # -P: what is installed, not the sources around us


def cards(device: str) -> int:
    """How many devices of this kind mlcore finds."""
    code = "import sys, mlcore as ml; print(sum(d.id.split(':')[0] == sys.argv[1] for d in ml.devices()))"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, device.split(":")[0]], capture_output=True, text=True
    )
    return int(done.stdout) if done.returncode == 0 else 0


def collectives(device: str) -> Step:
    program = [str(Path(__file__).with_name("collectives.py")), "--device", device.split(":")[0]]
    count = cards(device)
    if count > 1 and importlib.util.find_spec("mlcore_mpi"):
        return Step("collectives", mlcore("launch", "-n", str(count), *program))
    return Step("collectives", [sys.executable, *program])


def steps(device: str, folder: Path, quick: bool) -> list[Step]:
    level = [] if quick else ["--level", "2"]
    found = [
        Step("doctor", mlcore("doctor", device)),
        Step("devices", mlcore("devices")),
        Step(
            "conformance", mlcore("conformance", device, *level, "--report", str(folder / "conformance.json"))
        ),
    ]
    sanitizer = shutil.which("compute-sanitizer")
    if sanitizer and device.startswith("cuda"):
        kit = mlcore("conformance", device, "--quick", "-k", f"values and ({KERNELS})")
        found += [Step(tool, [sanitizer, *SANITIZER, "--tool", tool, *kit]) for tool in TOOLS]
    found += [collectives(device), Step("digits", mlcore("train", "digits"))]
    if importlib.util.find_spec("torch") is None:
        print("bench, beside torch: left out, PyTorch is not installed", flush=True)
        return found
    found += [
        Step(
            "bench", mlcore("bench", "--device", device, "--rows", "training", "--out", str(folder / "bench"))
        ),
        Step(
            "beside torch",
            [sys.executable, str(Path(__file__).with_name("beside_torch.py")), "--device", device],
        ),
    ]
    return found


def run(step: Step, device: str, folder: Path) -> None:
    started = time.perf_counter()
    environment = {**os.environ, "MLCORE_DEVICE": device, "MLCORE_FALLBACK": "error"}
    with open(folder / f"{step.name}.txt", "w", encoding="utf-8") as file:
        done = subprocess.run(step.command, stdout=file, stderr=subprocess.STDOUT, env=environment)
    step.status, step.seconds = done.returncode, time.perf_counter() - started
    lines = (folder / f"{step.name}.txt").read_text(encoding="utf-8", errors="replace").strip().splitlines()
    step.last = lines[-1] if lines else ""
    result = "ok" if step.status == 0 else f"failed ({step.status})"
    print(f"{step.name:<12} {result:<12} {step.seconds:7.1f} s  {step.last}", flush=True)


def facts(device: str) -> dict[str, str]:
    """The card, as its driver and CuPy name it."""
    code = (
        "import cupy, json; d = cupy.cuda.Device(0); p = cupy.cuda.runtime.getDeviceProperties(0);"
        "print(json.dumps({'card': p['name'].decode(), 'memory': f\"{p['totalGlobalMem'] / 2**30:.0f} GiB\","
        "'arch': d.compute_capability, 'cupy': cupy.__version__,"
        "'driver API': cupy.cuda.runtime.driverGetVersion(), 'runtime': cupy.cuda.runtime.runtimeGetVersion()}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return (
        {k: str(v) for k, v in json.loads(done.stdout).items()}
        if done.returncode == 0
        else {"card": "unknown"}
    )


def summary(device: str, all_: list[Step]) -> str:
    lines = [f"### {device}, {datetime.date.today().isoformat()}", ""]
    lines += [f"- {name}: {value}" for name, value in facts(device).items()]
    lines += ["", "| step | result | seconds | last line |", "|---|---|---|---|"]
    for step in all_:
        result = "ok" if step.status == 0 else f"failed ({step.status})"
        lines.append(f"| {step.name} | {result} | {step.seconds:.0f} | {step.last.replace('|', '/')} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="conformance at level 1")
    parser.add_argument("--only", nargs="*", default=[], help="names of steps")
    arguments = parser.parse_args()
    folder = Path(f"prove-{arguments.device.replace(':', '')}")
    folder.mkdir(exist_ok=True)
    chosen = [
        s
        for s in steps(arguments.device, folder, arguments.quick)
        if not arguments.only or s.name in arguments.only
    ]
    for step in chosen:
        run(step, arguments.device, folder)
    text = summary(arguments.device, chosen)
    (folder / "summary.md").write_text(text, encoding="utf-8")
    print(f"\n{text}")
    return sum(step.status != 0 for step in chosen)


if __name__ == "__main__":
    sys.exit(main())
