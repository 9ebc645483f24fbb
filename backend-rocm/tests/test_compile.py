"""Every kernel compiles for AMD's targets with clang and ROCm's device libraries: no GPU is needed."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from mlcore_cupy import every
from mlcore_cupy.source import modules
from mlcore_rocm.dialect import DIALECT

import mlcore.optim  # noqa: F401  (declares the optimizers' steps)

TARGETS = ("gfx90a", "gfx1030", "gfx1100")
OPTIMIZED = "gfx90a"  # the target for which the generated kernels are optimized too; the hand-written ones are for all
LIBRARIES = Path("/usr/lib/x86_64-linux-gnu/amdgcn/bitcode")
CLANG = next((found for name in ("clang-15", "clang") if (found := shutil.which(name))), None)


def missing() -> str:
    """Why nothing can be compiled here; empty when it can."""
    if CLANG is None:
        return "no clang"
    for path in (LIBRARIES / "ocml.bc", Path("/usr/include/hip/hip_runtime.h")):
        if not path.exists():
            return f"no {path}"
    return "" if shutil.which("lld") or shutil.which("ld.lld-15") or shutil.which("ld.lld") else "no lld"


why = missing()
pytestmark = pytest.mark.skipif(
    bool(why) and os.environ.get("MLCORE_LEG") != "hip", reason=f"cannot compile: {why}"
)


def linked(target: str) -> bool:
    """Whether this ROCm's device libraries know the target, so that a whole code object can be made."""
    return (LIBRARIES / f"oclc_isa_version_{target.removeprefix('gfx')}.bc").exists()


def compile_for(text: str, target: str, folder: Path, name: str, level: str = "-O3") -> Path:
    """A code object, or assembly where the device libraries do not know the target."""
    source = folder / f"{name}.hip"
    source.write_text(text)
    made = source.with_suffix(".hsaco" if linked(target) else ".s")
    command = [
        str(CLANG), "-x", "hip", "--cuda-device-only", "--no-gpu-bundle-output", f"--offload-arch={target}",
        "--rocm-path=/usr", "-D__HIP_PLATFORM_AMD__", "-std=c++17", level, "-Wno-unused",
        *([f"--rocm-device-lib-path={LIBRARIES}", "-c"] if linked(target) else ["-nogpulib", "-S"]),
        str(source), "-o", str(made),
    ]  # fmt: skip
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, f"{target}, {name}: {run.stderr[:2000]}"
    return made


@pytest.mark.timeout(900)  # minutes where the machine is busy with something else
@pytest.mark.parametrize("target", TARGETS)
def test_every_kernel_compiles(target: str, tmp_path: Path) -> None:
    assert not why, why
    started = time.perf_counter()
    groups = list(every.groups(DIALECT))
    best = {text for text, _, _ in groups} if target == OPTIMIZED else {text for _, _, text in modules()}
    with ThreadPoolExecutor(2) as pool:
        jobs = [
            pool.submit(compile_for, text, target, tmp_path, f"k{i}", "-O3" if text in best else "-O0")
            for i, (text, _, _) in enumerate(groups)
        ]
        made = [job.result() for job in jobs]
    count = sum(number for _, _, number in groups)
    assert count > 1900
    assert all(one.stat().st_size > 1000 for one in made)
    if linked(target):
        assert all(one.read_bytes()[:4] == b"\x7fELF" for one in made)
    else:
        assert all(f"amdgcn-amd-amdhsa--{target}" in one.read_text() for one in made)
    kind = (
        "code objects" if linked(target) else "assembly (this ROCm's device libraries do not know the target)"
    )
    print(
        f"{target}: {count} kernels in {len(groups)} modules to {kind}, {time.perf_counter() - started:.0f} s"
    )


def test_a_mistake_is_refused(tmp_path: Path) -> None:
    assert not why, why
    text = '#include <hip/hip_runtime.h>\nextern "C" __global__ void k(float* y)\n{ y[0] = tanhq(1.0f); }'
    with pytest.raises(AssertionError, match=r"wrong\.hip:3:\d+: error"):
        compile_for(text, "gfx90a", tmp_path, "wrong")
