"""What `import mlcore` costs and touches."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

RATIO = """
from time import perf_counter as now
start = now()
import numpy
middle = now()
import mlcore
print((now() - start) / (middle - start))
"""
# What may come with the core: its requirements and what these import themselves.
EXPECTED = {"mlcore", "numpy", "pluggy", "safetensors", "ml_dtypes", "tqdm", "typing_extensions"}


def python(code: str, tmp_path: Path, **environment: str) -> str:
    """Run code in a Python of its own, away from the source tree; what it printed."""
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_import_loads_no_plugin_and_no_other_library(tmp_path: Path) -> None:
    code = "import sys, json; old = {*sys.modules}; import mlcore; print(json.dumps([*{*sys.modules} - old]))"
    names = [
        name for name in json.loads(python(code, tmp_path)) if not name.startswith(("_cython", "cython"))
    ]
    loaded = {name.partition(".")[0] for name in names}
    strangers = loaded - EXPECTED - set(sys.stdlib_module_names)
    assert not strangers, f"import mlcore also imports {sorted(strangers)}"


def test_import_starts_no_thread_and_writes_no_file(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    code = "import mlcore, threading; print(threading.active_count())"
    assert python(code, tmp_path, MLCORE_CACHE_DIR=str(cache)).strip() == "1"
    assert not cache.exists()


def test_import_takes_at_most_twice_as_long_as_numpy(tmp_path: Path) -> None:
    """Both parts are timed in the same process, so what else the machine does slows both; the median of runs."""
    # Byte code is kept, as it is wherever packages are installed; the first run writes it.
    cached = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path / "cache")}
    python(RATIO, tmp_path, **cached)
    medians = []
    for _ in range(3):
        medians.append(statistics.median(float(python(RATIO, tmp_path, **cached)) for _ in range(9)))
        if medians[-1] <= 2:
            break
    assert min(medians) <= 2, f"importing mlcore takes {min(medians):.2f} times as long as importing NumPy"


@pytest.mark.parametrize("plugins", ["0", "1"])
def test_subnormal_numbers_survive(tmp_path: Path, plugins: str) -> None:
    """A library linked with -ffast-math switches them off for the whole process, NumPy included."""
    code = (
        "import numpy as np, mlcore\n"
        "if mlcore.devices(): mlcore.ones((3,)).sum().item()\n"
        "x = np.full(64, 1e-40, np.float32)\n"
        "print((x * np.float32(1)).tolist() == x.tolist() and float(np.float64(5e-324) * 1.0) > 0)\n"
    )
    assert python(code, tmp_path, MLCORE_PLUGINS=plugins).strip() == "True"
