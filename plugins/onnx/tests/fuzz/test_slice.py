"""A short run of coverage-guided fuzzing over every reader, the core's and this package's: the leg `fuzz`.

Long runs are made by hand: ``python tools/fuzz/run_all.py``; docs/fuzzing.md has what they found.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).resolve().parents[4] / "tools/fuzz/run_all.py"
INPUTS = 2_000  # of each reader; beginning with the corpus, at another place each time
READERS = {
    "safetensors",
    "folder",
    "checkpoint",
    "torch_zip",
    "torch_pickle",
    "torch_legacy",
    "npy",
    "npz",
    "gguf",
    "onnx",
}

if sys.version_info >= (3, 14):
    pytest.skip("atheris has no wheel for Python 3.14 and newer", allow_module_level=True)
if importlib.util.find_spec("atheris") is None and os.environ.get("MLCORE_LEG") != "fuzz":
    pytest.skip("atheris is not installed", allow_module_level=True)


@pytest.mark.timeout(600)
def test_no_reader_crashes(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-P",
        str(RUN),
        "--runs",
        str(INPUTS),
        "--corpus",
        str(tmp_path),
        "--jobs",
        "2",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=570, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-3000:]
    log = json.loads((tmp_path / "log.json").read_text())
    assert set(log) >= READERS
    assert all(one["inputs"] >= INPUTS and one["covered"][0] > 50 for one in log.values()), log
    print(f"{sum(one['inputs'] for one in log.values()):,} inputs to {len(log)} readers, no crash")
