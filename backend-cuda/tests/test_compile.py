"""Every kernel, hand-written and generated, compiles for every target with NVRTC: no GPU is needed."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))

import nvrtc
from mlcore_cuda.dialect import DIALECT
from mlcore_cupy import every
from mlcore_cupy.source import ELEMENTS, FILES, modules

import mlcore.optim  # noqa: F401  (declares the optimizers' steps)

why = nvrtc.missing()
pytestmark = pytest.mark.skipif(bool(why) and not nvrtc.required(), reason=f"cannot compile: {why}")


OPTIMIZED = (
    90  # the target for which the generated kernels are optimized too; the hand-written ones are for all
)


@pytest.mark.timeout(900)  # minutes where the machine is busy with something else
@pytest.mark.parametrize("target", nvrtc.TARGETS)
def test_every_kernel_compiles(target: int) -> None:
    assert not why, why
    started = time.perf_counter()
    groups = list(every.groups(DIALECT))
    written = {text for _, _, text in modules()}
    sizes = nvrtc.compile_all(
        [(text, text in written or target == OPTIMIZED) for text, _, _ in groups], target
    )
    assert len(sizes) == len(groups) > len(written) == len(FILES) * len(ELEMENTS)
    assert all(size > 1000 for size in sizes)
    count = sum(number for _, _, number in groups)
    assert count > 1900
    how = "optimized" if target == OPTIMIZED else "the hand-written ones optimized"
    print(
        f"sm_{target}: {count} kernels in {len(groups)} modules, {how}, {sum(sizes):,} bytes,"
        f" {time.perf_counter() - started:.0f} s, NVRTC {nvrtc.version()}"
    )


def test_a_mistake_is_refused_and_its_line_is_named() -> None:
    assert not why, why
    with pytest.raises(AssertionError, match=r"kernel\.cu\(2\): error"):
        nvrtc.compile_for('extern "C" __global__ void k(float* y)\n{ y[0] = tanhq(1.0f); }', 80)
