"""Import time and resident memory: one fresh process for each sample, mlcore and its rivals in turn."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile

from mlcore_bench.rows import installed
from mlcore_bench.timing import ALONE, FAILED, OK, Effort, Result, Spread

GROUP = "fresh process"

# What a process does, and the two figures it prints. VmRSS is what is resident; the peak where that is not told.
CHILD = """
import json, time
started = time.perf_counter()
{work}
took = time.perf_counter() - started
try:
    with open("/proc/self/status") as status:
        kib = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
except OSError:
    import resource, sys
    kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1)
print(json.dumps([took, kib * 1024]))
"""

CASES = {
    "import": {"": "import mlcore", "torch": "import torch", "numpy": "import numpy"},
    "import and x + y": {
        "": "import mlcore; x = mlcore.ones((8,)); x + x",
        "torch": "import torch; x = torch.ones((8,)); x + x",
        "numpy": "import numpy; x = numpy.ones((8,)); x + x",
    },
}
FLOOR = "numpy"  # shown, and not what the ratio is against


def names() -> list[str]:
    return [name for case in CASES for name in (f"{case}: time", f"{case}: resident memory")]


def run(pattern: re.Pattern[str], effort: Effort) -> list[Result]:
    """Both figures of every case of which one is asked for."""
    results = []
    for case, works in CASES.items():
        wanted = [
            name for name in names() if name.startswith(f"{case}: ") and pattern.search(f"{GROUP}: {name}")
        ]
        if wanted:
            measured = _case(case, works, min(effort.rounds, 9))
            results += [one for one in measured if one.name in wanted]
    return results


def _case(case: str, works: dict[str, str], rounds: int) -> list[Result]:
    runs = {name: work for name, work in works.items() if not name or installed(name)}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    memory: dict[str, list[float]] = {name: [] for name in runs}
    made = [
        Result(GROUP, f"{case}: time", FAILED),
        Result(GROUP, f"{case}: resident memory", FAILED, unit="B"),
    ]
    try:
        for turn in range(rounds + 1):
            for name, work in runs.items():
                took, size = child(work)
                if turn:  # the first fills the file cache
                    seconds[name].append(took)
                    memory[name].append(size)
    except (subprocess.SubprocessError, ValueError) as error:
        for result in made:
            result.note = f"{type(error).__name__}: {error}".partition("\n")[0]
        return made
    for result, samples in zip(made, (seconds, memory), strict=True):
        result.mine = Spread.of(samples.pop(""))
        if FLOOR in samples:
            result.note = f"NumPy: {shown(result.unit, Spread.of(samples.pop(FLOOR)).median)}"
        result.rivals = {name: Spread.of(found) for name, found in samples.items()}
        result.state = OK if result.rivals else ALONE
    return made


def child(work: str) -> tuple[float, float]:
    """Run `work` in a process of its own, in an empty folder, so that nothing nearby is imported by accident."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", CHILD.format(work=work)],
            capture_output=True, text=True, cwd=folder, timeout=120, check=True,
        )  # fmt: skip
    took, size = json.loads(done.stdout)
    return float(took), float(size)


def shown(unit: str, value: float) -> str:
    """A figure with the prefix that suits it.

    >>> shown("s", 0.0000123), shown("s", 1.5), shown("B", 54_300_000)
    ('12.3 µs', '1.50 s', '54.3 MB')
    """
    if unit == "B":
        return f"{value / 1e6:.1f} MB"
    for scale, name in ((1, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if value >= scale:
            return f"{value / scale:.3g} {name}" if value < 100 * scale else f"{value / scale:.0f} {name}"
    return f"{value / 1e-9:.0f} ns"
