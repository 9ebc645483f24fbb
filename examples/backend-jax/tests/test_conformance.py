"""The conformance kit's quick choice on JAX's CPU; the README says when the whole of it was run, and what it found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FAST = (  # thousands of programs are used once: XLA shall compile fast rather than well
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    " --xla_cpu_use_fusion_emitters=false"
)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_level_one(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = ["-m", "mlcore", "conformance", "jax", "--level", "1", "--quick", "-n", "2"]
    made = subprocess.run(
        [sys.executable, *command, "--report", str(report)],
        env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": FAST},
        capture_output=True,
        text=True,
        check=False,
        timeout=570,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    assert "level L1" in made.stdout
    found = json.loads(report.read_text())
    print(made.stdout.strip().splitlines()[-1])
    assert found["cases"] > 8_000
