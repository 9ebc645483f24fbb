"""Import time and resident memory, from one fresh process for each sample; and what is installed."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from mlcore.bench.processes import installed
from mlcore.bench.timing import ALONE, FAILED, MINE, OK, Effort, Result, Spread

GROUP: Final = "fresh process"
FIRST: Final = "import and x + y"
INSTALLED: Final = "installed size, without NumPy"

# What a process does, and the two figures it prints. VmRSS is what is resident; the peak where that is not told.
CHILD: Final = """
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

CASES: Final = {
    "import": {MINE: "import mlcore", "torch": "import torch", "numpy": "import numpy"},
    FIRST: {
        MINE: "import mlcore; x = mlcore.ones((8,)); x + x",
        "torch": "import torch; x = torch.ones((8,)); x + x",
        "numpy": "import numpy; x = numpy.ones((8,)); x + x",
    },
}
SHOWN: Final = "numpy"  # and not what the ratio is against


def names() -> list[str]:
    """The names of the rows."""
    return [*(name for case in CASES for name in (f"{case}: time", f"{case}: resident memory")), INSTALLED]


def run(pattern: re.Pattern[str], effort: Effort, backend: str) -> list[Result]:
    """Both figures of every case of which one is asked for. `backend` is the module of mlcore's."""
    results = []
    for case, works in CASES.items():
        wanted = [
            name for name in names() if name.startswith(f"{case}: ") and pattern.search(f"{GROUP}: {name}")
        ]
        if wanted:
            measured = _case(case, works, min(effort.rounds, 9))
            results += [one for one in measured if one.name in wanted]
    if pattern.search(f"{GROUP}: {INSTALLED}"):
        results.append(installed_size(backend))
    return results


def _case(case: str, works: dict[str, str], rounds: int) -> list[Result]:
    runs = {name: work for name, work in works.items() if name == MINE or installed(name)}
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
        result.mine = Spread.of(samples.pop(MINE))
        if SHOWN in samples:
            result.others = {SHOWN: Spread.of(samples.pop(SHOWN))}
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


# -- what is installed -------------------------------------------------------------------------------------------


def installed_size(backend: str) -> Result:
    """Bytes of the distributions with everything they require, NumPy left out on both sides."""
    result = Result(GROUP, INSTALLED, ALONE, unit="B")
    wanted = ["mlcore-core", *importlib.metadata.packages_distributions().get(backend, [])[:1]]
    mine = _with_requirements(wanted)
    result.mine = Spread.of([float(sum(mine.values()))])
    result.facts = {name: float(size) for name, size in mine.items()}
    if installed("torch"):
        result.rivals = {"torch": Spread.of([float(sum(_with_requirements(["torch"]).values()))])}
        result.state = OK
    return result


def _with_requirements(names: list[str]) -> dict[str, int]:
    """Bytes of each distribution, and of those they need, by name."""
    found: dict[str, int] = {}
    waiting = list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found or name == "numpy":
            continue
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:  # for another platform or Python
            continue
        found[name] = sum(_sizes(distribution))
        for line in distribution.requires or ():
            if "extra ==" not in line:
                # a requirement begins with its name
                waiting.append(re.match(r"[\w.-]+", line)[0])  # type: ignore[index]
    return found


def _sizes(distribution: importlib.metadata.Distribution) -> Iterator[int]:
    """Of the files on disk; one that has several names counts once."""
    files = [Path(str(distribution.locate_file(file))) for file in distribution.files or ()]
    if '"editable": true' in (distribution.read_text("direct_url.json") or ""):
        files += _editable(distribution)  # only the record is there; the tree is elsewhere
    known = set()
    for file in files:
        if file.is_file():
            facts = file.stat()
            if (facts.st_dev, facts.st_ino) not in known:
                known.add((facts.st_dev, facts.st_ino))
                yield facts.st_size


def _editable(distribution: importlib.metadata.Distribution) -> list[Path]:
    modules: dict[str, Any] = {}
    for module, owners in importlib.metadata.packages_distributions().items():
        if distribution.metadata["Name"] in owners and (spec := importlib.util.find_spec(module)):
            modules.update(dict.fromkeys(spec.submodule_search_locations or ()))
    return [file for folder in modules for file in Path(folder).rglob("*")]
