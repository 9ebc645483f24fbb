"""Every instruction set this processor can run passes the tests of values; a wrong one is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cpu_helpers import run_python

import mlcore_cpu
from mlcore_cpu.plugin import best_isa

ORDER = ["v2", "v3", "v4"]
HERE = Path(__file__).parent


def test_the_best_one_is_chosen() -> None:
    assert run_python("import mlcore_cpu; print(mlcore_cpu.isa)", MLCORE_CPU_ISA="").strip() == best_isa()


@pytest.mark.slow
@pytest.mark.parametrize("isa", ORDER)
def test_values(isa: str) -> None:
    if "MLCORE_CPU_TESTED_ISA" in os.environ:
        pytest.skip("inside such a run")
    if best_isa() not in ORDER or ORDER.index(isa) > ORDER.index(best_isa()):
        pytest.skip(f"this processor has no {isa}")
    if isa == mlcore_cpu.isa:
        pytest.skip("is what the other tests run with")
    files = [
        str(HERE / f"test_{name}.py")
        for name in ("elementwise", "vmath", "reduce", "fused", "contract", "winograd")
    ]
    env = {**os.environ, "MLCORE_CPU_ISA": isa, "MLCORE_CPU_TESTED_ISA": isa}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *files],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout[-4000:]


def test_an_unknown_one_is_refused() -> None:
    code = "import mlcore_cpu\ntry:\n    mlcore_cpu.isa\nexcept ImportError as error:\n    print(error)\n"
    assert "MLCORE_CPU_ISA=v9" in run_python(code, MLCORE_CPU_ISA="v9")


def test_the_doctor_names_the_live_one() -> None:
    for isa in ORDER[: ORDER.index(best_isa()) + 1] if best_isa() in ORDER else []:
        code = "from mlcore.cli import main\nmain(['doctor', 'cpu'])"
        assert f"isa {isa}" in run_python(code, MLCORE_CPU_ISA=isa)
